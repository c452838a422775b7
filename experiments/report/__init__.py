"""The report on a folder of runs: one page to look at, and its tables and figures as files."""
