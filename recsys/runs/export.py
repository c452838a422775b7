"""A trained run's vectors as plain files, for whatever serves them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recsys.errors import UserError, nearest
from recsys.files import atomic, cannot_write, write_text
from recsys.runs.graphs import export_graph
from recsys.runs.run import Run


def export_as(run: Run, folder: Path, form: str) -> None:
    """`export_vectors` or `export_graph`, by the name of the form: vectors or pyg.

    Raises:
        UserError: another form, or what these raise.
    """
    forms = {"vectors": export_vectors, "pyg": export_graph}
    if form not in forms:
        raise UserError(f"nothing is exported as '{form}'{nearest(form, forms)}")
    forms[form](run, folder)


def export_vectors(run: Run, folder: Path) -> None:
    """Write `user_vectors.npy`, `item_vectors.npy` (float32, a row each), `user_ids.json`, `item_ids.json` (the raw
    id of each row) and `export.json` (what they are of).

    A user's score of an item is the inner product of their rows. Items that the model cannot rank are left out.

    Raises:
        UserError: the model's scores are no inner products, or the folder cannot be written.
    """
    if not run.model.exports_vectors:
        raise UserError(
            f"{run.config.model} has no vectors to export: its scores are no inner product of a user's and an item's; "
            "export a run of mmhcl, freedom, lightgcn or another model with vectors"
        )
    ranked = np.flatnonzero(~run.model.cannot_score())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    embedded = run.model.embed(run.data.query_users(run.support("test")))
    users, items = (vectors.detach().float().cpu().numpy() for vectors in embedded)
    items = items[ranked]
    for noun, vectors, ids in (
        ("user", users, run.dataset.user_ids),
        ("item", items, run.dataset.item_ids[ranked]),
    ):
        with atomic(folder / f"{noun}_vectors.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, np.ascontiguousarray(vectors, dtype=np.float32), allow_pickle=False)
        write_text(folder / f"{noun}_ids.json", json.dumps(ids.tolist(), ensure_ascii=False) + "\n")
    about = {
        "model": run.config.model,
        "dataset": run.dataset.name,
        "split": run.config.split,
        "users": len(users),
        "items": len(items),
        "width": users.shape[1],
        "score": "inner product",
    }
    write_text(folder / "export.json", json.dumps(about, indent=2) + "\n")
