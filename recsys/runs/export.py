"""A trained run's vectors and lists as plain files, for whatever serves or measures them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recsys.errors import UserError
from recsys.files import atomic, cannot_write, write_text
from recsys.runs.artifacts import make_folder
from recsys.runs.lists_files import write_qrels, write_run
from recsys.runs.recommend import catalogue_users, recommend_to, rerank_of
from recsys.runs.run import Run


def export_trec(run: Run, folder: Path, k: int) -> None:
    """Write `lists.run` (a TREC run: the top `k` of each tested user, by the test's rules: what was held out is ranked,
    what the user is known to have is not) and `test.qrels` (the test part).

    Raises:
        UserError: an id holds white space, nothing was held out, or the folder cannot be written.
    """
    dataset, split = run.dataset, run.split
    if not len(split.test):
        raise UserError(
            f"split '{split.protocol}' holds nothing out: there are no qrels; export a tested run"
        )
    make_folder(folder, resume=True)
    tested = dataset.user_ids[np.unique(dataset.interactions["user"].to_numpy()[split.test])]
    recipients = catalogue_users(run, tested, held_out=True, mask=run.config.mask)
    step = rerank_of(run, None)
    frame = recommend_to(run, recipients, None, k=k, reranker=step).frame
    if step is not None:  # tools sort by score, which is not the order of a re-ranked list
        frame = frame.assign(score=k + 1 - frame["rank"])
    write_run(frame, folder / "lists.run", run.config.model)
    write_qrels(dataset, split, folder / "test.qrels")


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
