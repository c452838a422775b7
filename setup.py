"""Finds the packages: their folders stand at the top level, but they are imported below `recsys`.

A top-level import package called `datasets` would shadow the well-known library of that name.
"""

from setuptools import find_packages, setup

FOLDERS = {
    "recsys": "recsys",
    "recsys.datasets": "datasets",
    "recsys.graphs": "graphs",
    "recsys.experiments": "experiments",
}
CHECKOUT_ONLY = ["benchmarks", "benchmarks.*"]

packages = [
    name
    for package, folder in FOLDERS.items()
    for name in (package, *(f"{package}.{below}" for below in find_packages(folder, exclude=CHECKOUT_ONLY)))
]
setup(packages=packages, package_dir=FOLDERS)
