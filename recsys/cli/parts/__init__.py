"""What `recsys list`, `show`, `--help-settings` and the shell completion know of parts: their names, papers and settings."""
