"""`recsys package`: a trained run as a folder that answers by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import DataRoot, console


def package(
    run: Annotated[Path, typer.Option(help="Folder of a trained run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; a bundle that is there is replaced.")],
    data_root: DataRoot = None,
) -> None:
    """Write a bundle: all that a trained run needs to answer, without its data set."""
    from recsys.runs import package as packaging
    from recsys.runs.run import load_run
    from recsys.serving.arrays import read_manifest

    packaging.package(load_run(run, str(data_root) if data_root else None), out)
    manifest, screen = read_manifest(out), console()
    about = manifest["about"]
    size = sum(file["bytes"] for file in manifest["files"].values())
    lines = [
        f"wrote {out}: {about['model']} on {about['dataset']}, {about['users']:,} users, {about['items']:,} items, "
        f"{size / 2**20:.1f} MiB",
        f"answers from {about['answers']}",
        f"new users: {about['new_users']}",
        f"new items: {about['new_items'] or about['refuses_items']}",
    ]
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)
