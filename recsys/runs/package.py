"""A trained run as a bundle: all that it needs to answer, in a folder of its own."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluation.ranking import ordered_top_k
from recsys.graphs.cooccurrence import cooccurrence_graph
from recsys.inputs.requests import QueryUsers
from recsys.runs.artifacts import BUNDLE_FOLDER, fingerprint
from recsys.runs.run import Run
from recsys.serving.arrays import replacing
from recsys.serving.bundle import load_bundle
from recsys.serving.ids import Ids
from recsys.serving.parts import LOWEST, Content, History, Lists, Part, Query, Rules, Vectors
from recsys.serving.write import write_bundle

LISTED = 500
"""Items kept for each user of a model that is served by lists."""
COMPARED = 64
"""Users whose scores are compared with the model's before a bundle is written."""
TOLERANCE = 1e-5
"""Of scores, of the largest among them."""
NEIGHBOURS = 100
"""Items of each item that rank for people whom a bundle of lists does not know."""


def package(run: Run, folder: Path, of: Path | None = None) -> Path:
    """Write what `run` needs to answer to `folder`, which must not be there or be empty, or hold a bundle: whole or not
    at all.

    Args:
        of: the run's folder, where the bundle is to be told from those of other runs.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    folder = folder.absolute()
    with replacing(folder) as temporary:
        _write(run, temporary, fingerprint(of) if of else "")
        load_bundle(temporary, verify=False)
    return folder


def keep_bundle(run: Run, folder: Path) -> None:
    """Write the bundle of a trained run into its folder, from which `recsys recommend --run` then
    answers, whatever becomes of the data set."""
    if not run.trained:  # the folder's run was finished before
        from recsys.training.weights import load_model

        load_model(run.model, folder)
    run.model.eval()
    package(run, folder / BUNDLE_FOLDER, folder)


def _write(run: Run, folder: Path, mark: str) -> None:
    dataset, data = run.dataset, run.data
    users = data.query_users(run.support("test"))
    part, how = part_of(run, users)
    refuses = _refuses_items(run, part)
    bank = {} if refuses else {name: [m.features, m.mask] for name, m in data.modalities.items()}
    ids = {
        noun: Ids.made_of(np.asarray(names).astype(str), noun, dataset.name)
        for noun, names in (("user", dataset.user_ids), ("item", dataset.item_ids))
    }
    config = run.config
    about = {
        "model": config.model,
        "dataset": dataset.name,
        "task": config.task,
        "split": config.split,
        "seed": config.seed,
        "version": metadata.version("recsys"),
        "run": mark,
        "users": dataset.n_users,
        "items": dataset.n_items,
        **how,
        "new_items": "" if refuses else how["new_items"],
        "refuses_items": refuses,
    }
    had = dataset.matrix(np.arange(len(dataset.interactions)))
    history = sp.csr_array(users.history, dtype=np.float32)
    arrays = {
        "part": part,
        "history": history,
        "before": history,
        "had": sp.csr_array(had, dtype=np.float32),
        "warm": data.warm_items,
        "bank": bank,
    }
    reading = {
        "encoders": {name: spec.short() for name, spec in dataset.encoders.items()},
        "id_columns": {noun: list(names) for noun, names in dataset.id_columns.items()},
        "renames": {noun: dict(names) for noun, names in dataset.renames.items()},
    }
    trained = {"user": dataset.n_users, "item": dataset.n_items}
    frames = dataset.item_attributes.reindex(range(dataset.n_items)), dataset.user_attributes.iloc[:0]
    write_bundle(folder, about, trained, ids, arrays, reading, frames)


@torch.no_grad()
def part_of(run: Run, users: QueryUsers) -> tuple[Part, dict[str, str]]:
    """What answers for a run's users, and how: `answers`, `new_users` and `new_items` of a bundle's head.

    A model whose arrays do not give the model's own scores is served by lists, whatever it declares.
    """
    part = run.model.serving(users)
    if part is None or not agrees(run, part, users):
        return _lists(run, users), {
            "answers": f"lists of the {min(LISTED, run.dataset.n_items)} best items of each user",
            "new_users": "the items that others took beside theirs (item k-NN), which is not the model",
            "new_items": "",
        }
    vectors = any(isinstance(one, Vectors) for one in _parts(part))
    rule = "a ridge regression on their items' vectors" if vectors else "what they took alone"
    placed = "the mean of the items that they resemble in content, which is near what the model would give"
    return part, {
        "answers": "vectors" if isinstance(getattr(part, "part", None), Vectors) else "scores",
        "new_users": "exact"
        if agrees_on_strangers(run, part, users)
        else f"{rule}, which is near what the model would give",
        "new_items": placed
        if any(isinstance(one, Vectors) and _stands_in(one) for one in _parts(part))
        else "exact",
    }


def agrees(run: Run, part: Part, users: QueryUsers) -> bool:
    """Whether `part` gives the scores of the model, for some users drawn evenly."""
    rows = _drawn(users)
    expected = run.model.scorer(users)(rows).cpu().numpy()
    history = sp.csr_array(users.history[rows], dtype=np.float32)
    return _close(expected, part.scores(Query(rows, history, history)))


def agrees_on_strangers(run: Run, part: Part, users: QueryUsers) -> bool:
    """Whether `part` gives the scores of the model for people whom training has not seen: with the histories of some
    users, with others' of the rest of the catalogue, cold items among them, and without any."""
    rows, n = _drawn(users), run.dataset.n_items
    own = sp.csr_array(users.history[rows], dtype=np.float32)
    moved = sp.csr_array((own.data, (own.indices + n // 2) % n, own.indptr), shape=own.shape)
    moved.sort_indices()
    none = sp.csr_array((1, n), dtype=np.float32)
    history = sp.csr_array(sp.vstack([own, moved, none]))
    places = np.concatenate([rows, rows, rows[:1]])
    attributes = users.attributes.iloc[places] if len(users.attributes) else users.attributes
    nobody = np.full(len(places), -1)
    scorer = run.model.scorer(QueryUsers(nobody, history, attributes))
    expected = scorer(np.arange(len(places))).cpu().numpy()
    return _close(expected, part.scores(Query(nobody, history, history)))


def _drawn(users: QueryUsers) -> np.ndarray:
    return np.unique(np.linspace(0, len(users) - 1, COMPARED).astype(int))


def _close(expected: np.ndarray, found: np.ndarray) -> bool:
    """Whether scores are equal up to `TOLERANCE`, and the same items cannot be scored."""
    if found.shape != expected.shape:
        return False
    scored = expected > LOWEST
    largest = np.abs(expected[scored]).max(initial=1.0)
    return bool(
        np.array_equal(scored, found > LOWEST)
        and np.allclose(found[scored], expected[scored], rtol=0, atol=TOLERANCE * largest)
    )


def _lists(run: Run, users: QueryUsers) -> Lists:
    scorer, n = run.model.scorer(users), run.dataset.n_items
    had = run.dataset.matrix(np.arange(len(run.dataset.interactions)))
    k = min(LISTED, n)
    items = np.full((len(users), k), -1, dtype=np.int32)
    values = np.zeros((len(users), k), dtype=np.float32)
    size = max(1, 2**22 // n)
    for low in range(0, len(users), size):
        rows = np.arange(low, min(low + size, len(users)))
        scores = scorer(rows).cpu()
        taken, columns = had[rows].nonzero()
        scores[torch.from_numpy(taken), torch.from_numpy(columns)] = -torch.inf
        places, best = ordered_top_k(scores, k)
        items[rows], values[rows] = np.where(best > LOWEST, places, -1), best
    counts = run.data.item_counts().astype(np.float32)
    graph = sp.csr_array(cooccurrence_graph(run.data.interactions, NEIGHBOURS).T)
    cold = np.flatnonzero(~run.data.warm_items)
    nothing = np.empty(0, dtype=np.int64)
    others = Rules(History(graph), cold, nothing, counts, None, True, True, [])
    return Lists(items, np.where(np.isfinite(values), values, 0), others)


def _stands_in(part: Vectors) -> bool:
    """Whether new items are placed otherwise than by the model's own rule."""
    return part.cold is not None and not part.cold.exact


def _parts(part: Any) -> list[Any]:
    """A part and all parts in it."""
    inner = [part.part] if hasattr(part, "part") else list(getattr(part, "parts", ()))
    return [part, *(one for each in inner for one in _parts(each))]


def _refuses_items(run: Run, part: Part) -> str:
    """Why new items cannot be ranked; empty where they can."""
    content, name = run.config.content, run.config.model
    if isinstance(part, Lists):
        return (
            f"a bundle of {name} holds lists of the catalogue: it cannot rank new items; ask the run itself"
        )
    if not run.model.ranks_cold_items:
        return f"{name} cannot rank new items: it does not read content"
    if content.control:
        return f"this run was trained on a control instead of content ({content.control}): it cannot rank new items"
    attributes = any(isinstance(one, Vectors) and one.cold is None for one in _parts(part))
    if attributes and not any(isinstance(one, Content) for one in _parts(part)) and not run.data.modalities:
        return f"a bundle of {name} cannot place new items by attributes alone; ask the run itself"
    return ""
