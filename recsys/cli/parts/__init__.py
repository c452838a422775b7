"""What `recsys list` and `show`, `--help-settings` and completion know of parts: their names, papers and settings."""
