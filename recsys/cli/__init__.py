"""The command line: one file a command, found through the registry of commands."""
