"""Checks what a wheel holds: every module and data file of the folders, the mark of typed packages, the command, no
benchmarks."""

import subprocess
import sys
import zipfile

FOLDERS = ("recsys", "datasets", "graphs", "experiments")
SUFFIXES = (".py", ".yaml", ".html", ".css", ".js", ".typed")


def expected() -> set[str]:
    """The names in the wheel of the files that git knows."""
    files = subprocess.run(
        ["git", "ls-files", *FOLDERS], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    kept = (f for f in files if f.endswith(SUFFIXES) and not f.startswith("experiments/benchmarks/"))
    return {f if f.startswith("recsys/") else f"recsys/{f}" for f in kept}


def main(path: str) -> int:
    wheel = zipfile.ZipFile(path)
    commands = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    if not commands or "recsys = recsys.cli.app:main" not in wheel.read(commands[0]).decode():
        print("missing in the wheel: the command recsys")
        return 1
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    missing, surplus = sorted(expected() - held), sorted(held - expected())
    for word, names in (("missing", missing), ("surplus", surplus)):
        for name in names:
            print(f"{word} in the wheel: {name}")
    return bool(missing or surplus)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
