"""What a trained run serves with, and its lists, as plain files: vectors, indexes, towers, a table of best items, TREC
files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsys.errors import UserError, nearest
from recsys.files import atomic, cannot_write, write_text
from recsys.optional_imports import require
from recsys.runs.artifacts import make_folder
from recsys.runs.graphs import export_graph
from recsys.runs.lists_files import write_qrels, write_run
from recsys.runs.recommend import catalogue_users, recommend_to, rerank_of
from recsys.runs.run import Run

LISTED = 100
"""Items of each user in the table of a model without vectors."""
ABOUT_FILE, LISTS_FILE = "export.json", "top_n.parquet"
TREC, PYG = "trec", "pyg"


def export_as(run: Run, folder: Path, formats: Sequence[str] = ("npy",), k: int = LISTED) -> list[str]:
    """Write a run in each of the `formats`: trec by `export_trec`, pyg by `export_graph`, the others by
    `export_vectors`; sentences on what should be known.

    Args:
        k: items of each list of trec.

    Raises:
        UserError: there is no such format, or what these raise.
    """
    for name in formats:
        if name not in FORMATS and name not in (TREC, PYG):
            known = [*FORMATS, TREC, PYG]
            raise UserError(
                f"there is no format '{name}'{nearest(name, known)}; there are {', '.join(known)}"
            )
    if TREC in formats:
        export_trec(run, folder, k)
    if PYG in formats:
        export_graph(run, folder)
    rest = [name for name in formats if name in FORMATS]
    return export_vectors(run, folder, rest) if rest else []


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


class Exported(NamedTuple):
    """What is written.

    Attributes:
        users, items: (n_users, d) and (n_items, d) float32, whose inner products are the scores.
        user_ids, item_ids: raw ids, one a row.
    """

    users: np.ndarray
    items: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray


def export_vectors(run: Run, folder: Path, formats: Sequence[str] = ("npy",)) -> list[str]:
    """Write a run's vectors in each of the `formats`, with `export.json`, which says what they are of; sentences on
    what should be known.

    npy: `user_vectors.npy`, `item_vectors.npy` (float32, a row each), `user_ids.json`, `item_ids.json` (the raw id of
    each row). parquet: `user_vectors.parquet`, `item_vectors.parquet` with columns `id` and `vector`. faiss-flat,
    faiss-ivf, faiss-hnsw, usearch: an index of the items. onnx: towers, see `recsys.runs.towers`. A user's score of an
    item is the inner product of their rows. Items that the model cannot rank are left out.

    A model whose scores are no inner products has no vectors: `top_n.parquet`, the best items of every user, is written
    in their place.

    Raises:
        UserError: there is no such format, a package lacks, or the folder cannot be written.
    """
    for name in formats:
        for module, extra in PACKAGES.get(name, ()):
            require(module, extra)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    about: dict[str, Any] = {
        "model": run.config.model,
        "dataset": run.dataset.name,
        "split": run.config.split,
    }
    if not run.model.exports_vectors:
        rows = _write_lists(run, folder / LISTS_FILE)
        about |= {"users": run.dataset.n_users, "lists": LISTED, "rows": rows, "score": "the model's own"}
        write_text(folder / ABOUT_FILE, json.dumps(about, indent=2) + "\n")
        return [
            f"{run.config.model} has no vectors: its scores are no inner product of a user's and an item's; wrote the "
            f"{LISTED} best items of every user to {LISTS_FILE} instead"
        ]
    ranked = np.flatnonzero(~run.model.cannot_score())
    embedded = run.model.embed(run.data.query_users(run.support("test")))
    users, items = (np.ascontiguousarray(v.detach().float().cpu().numpy()) for v in embedded)
    made = Exported(users, items[ranked], run.dataset.user_ids, run.dataset.item_ids[ranked])
    for name in formats:
        FORMATS[name](run, made, folder)
    about |= {
        "users": len(users),
        "items": len(made.items),
        "width": users.shape[1],
        "score": "inner product",
    }
    write_text(folder / ABOUT_FILE, json.dumps(about, indent=2) + "\n")
    return []


def _write_lists(run: Run, path: Path) -> int:
    """The best items of every user, as a table; the number of its rows."""
    from recsys.runs.recommend import catalogue_users, recommend_to

    frame = recommend_to(run, catalogue_users(run), None, k=LISTED).frame
    with atomic(path) as temporary:
        frame[["user", "rank", "item", "score"]].to_parquet(temporary, index=False)
    return len(frame)


def _npy(run: Run, made: Exported, folder: Path) -> None:
    for noun, vectors, ids in (("user", made.users, made.user_ids), ("item", made.items, made.item_ids)):
        with atomic(folder / f"{noun}_vectors.npy") as temporary, open(temporary, "wb") as file:
            np.save(file, vectors, allow_pickle=False)
        _write_ids(folder / f"{noun}_ids.json", ids)


def _write_ids(path: Path, ids: np.ndarray) -> None:
    write_text(path, json.dumps(ids.tolist(), ensure_ascii=False) + "\n")


def _parquet(run: Run, made: Exported, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for noun, vectors, ids in (("user", made.users, made.user_ids), ("item", made.items, made.item_ids)):
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        with atomic(folder / f"{noun}_vectors.parquet") as temporary:
            pq.write_table(pa.table({"id": pa.array(ids.tolist(), pa.string()), "vector": column}), temporary)


def _faiss(kind: str) -> Callable[[Run, Exported, Path], None]:
    def write(run: Run, made: Exported, folder: Path) -> None:
        import faiss

        index: Any
        n, width = made.items.shape
        if kind == "flat":
            index = faiss.IndexFlatIP(width)
        elif kind == "ivf":
            cells = max(1, min(n // 39, round(4 * math.sqrt(n))))  # 39 a cell: FAISS warns below
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
            index.nprobe = max(1, cells // 8)
        else:
            index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(made.items)
        index.add(made.items)
        with atomic(folder / f"items.{kind}.faiss") as temporary:
            faiss.write_index(index, str(temporary))
        _write_ids(folder / "item_ids.json", made.item_ids)

    return write


def _usearch(run: Run, made: Exported, folder: Path) -> None:
    from usearch.index import Index

    index = Index(ndim=made.items.shape[1], metric="ip", dtype="f32")
    index.add(np.arange(len(made.items), dtype=np.uint64), made.items)
    with atomic(folder / "items.usearch") as temporary:
        index.save(str(temporary))
    _write_ids(folder / "item_ids.json", made.item_ids)


def _onnx(run: Run, made: Exported, folder: Path) -> None:
    from recsys.runs.towers import write_towers

    write_towers(run, folder)


FORMATS: dict[str, Callable[[Run, Exported, Path], None]] = {
    "npy": _npy,
    "parquet": _parquet,
    "faiss-flat": _faiss("flat"),
    "faiss-ivf": _faiss("ivf"),
    "faiss-hnsw": _faiss("hnsw"),
    "usearch": _usearch,
    "onnx": _onnx,
}
PACKAGES = {
    "faiss-flat": (("faiss", "faiss"),),
    "faiss-ivf": (("faiss", "faiss"),),
    "faiss-hnsw": (("faiss", "faiss"),),
    "usearch": (("usearch.index", "usearch"),),
    "onnx": (("onnx", "onnx"), ("onnxscript", "onnx")),
}
"""Format -> the modules that it needs, and the extras that bring them."""
