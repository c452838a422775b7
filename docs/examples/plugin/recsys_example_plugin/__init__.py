"""One of each part that a package can add to recsys: each file is one part, named in pyproject.toml."""
