"""`python -m recsys` is the command line."""

from recsys.cli.app import main

if __name__ == "__main__":
    main()
