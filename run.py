"""The command line from a checkout: `python run.py` is `recsys` once the package is installed."""

import os
import sys

# The checkout's root would let the folder `datasets/` shadow the library of that name for every dependency.
_root = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or os.getcwd()) != _root]

try:
    from recsys.cli.app import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "recsys":
        raise
    sys.exit("recsys is not installed here; run: pip install -c constraints.txt -e '.[recbole]'")

if __name__ == "__main__":
    main()
