"""Small valid files of every kind that a command reads, for `fuzz` to damage: each reader's folder, files of new items
and users, a card, trained runs, and an experiment's, a scan's and a settings file.

A reader without a sample is an error: `reader_samples` says which.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import yaml

N_USERS, N_ITEMS = 12, 9
ROWS = [
    (user, (3 * user + step) % (N_ITEMS - 1), (0, 0, 0, 1, 2)[step])
    for user in range(N_USERS)
    for step in range(5)
]
"""(user, item, part); the last item is nobody's."""
_RNG = np.random.default_rng(0)
IMAGE = _RNG.normal(size=(N_ITEMS, 3)).astype(np.float32)
AUDIO = _RNG.normal(size=(N_ITEMS, 2)).astype(np.float32)
TITLES = ["red fox", "blue fox", "red hen", "blue hen", "grey owl", "red owl", "grey fox", "café", "blue owl"]
PARTS = ("train", "valid", "test")
TIME = 978_300_000


def _lines(path: Path, *lines: str, encoding: str = "utf-8") -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)


def _npy(folder: Path) -> None:
    np.save(folder / "image_feat.npy", IMAGE)
    np.save(folder / "audio_feat.npy", AUDIO)


def mmrec(folder: Path) -> dict[str, Any]:
    """`NAME.inter` with numbers, and arrays."""
    _lines(folder / "mmrec.inter", "userID\titemID\tx_label", *(f"{u}\t{i}\t{x}" for u, i, x in ROWS))
    _npy(folder)
    return {}


def atomic(folder: Path) -> dict[str, Any]:
    """RecBole's files, all five."""
    rows = (f"u{u}\ti{i}\t{5 - x}\t{TIME + 9 * u + i}" for u, i, x in ROWS)
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    _lines(folder / "atomic.inter", head, *rows)
    vectors = [" ".join(map(str, row)) for row in IMAGE.round(2)]
    items = (f"i{i}\t{TITLES[i]}\t{vectors[i]}" for i in range(N_ITEMS))
    _lines(folder / "atomic.item", "item_id:token\ttitle:token_seq\timage:float_seq", *items)
    _lines(folder / "atomic.user", "user_id:token\tage:float", *(f"u{u}\t{20 + u}" for u in range(N_USERS)))
    _lines(folder / "atomic.link", "item_id:token\tentity_id:token", "i0\tm0", "i1\tm1", "i2\tm2")
    facts = ("m0\tgenre\tg1", "m1\tgenre\tg1", "m1\tactor\ta1", "m2\tactor\ta1")
    _lines(folder / "atomic.kg", "head_id:token\trelation_id:token\ttail_id:token", *facts)
    return {"text": ["title"], "knowledge": True, "width": 4}


def _lists(label: int) -> dict[str, list[int]]:
    """The items of each user of one part."""
    lists: dict[str, list[int]] = {}
    for user, item, x in ROWS:
        if x == label:
            lists.setdefault(str(user), []).append(item)
    return lists


def lattice(folder: Path) -> dict[str, Any]:
    """Three JSON files of lists, and arrays."""
    for label, part in enumerate(("train", "val", "test")):
        (folder / f"{part}.json").write_text(json.dumps(_lists(label)))
    _npy(folder)
    return {}


def lists(folder: Path) -> dict[str, Any]:
    """Three text files of lists, and arrays."""
    for label, part in enumerate(("train", "valid", "test")):
        lines = (" ".join(map(str, [user, *items])) for user, items in _lists(label).items())
        _lines(folder / f"{part}.txt", *lines)
    _npy(folder)
    return {}


def diffmm(folder: Path) -> dict[str, Any]:
    """Three pickled matrices, and arrays."""
    for label, part in enumerate(("trn", "val", "tst")):
        pairs = np.array([(u, i) for u, i, x in ROWS if x == label])
        matrix = sp.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(N_USERS, N_ITEMS))
        (folder / f"{part}Mat.pkl").write_bytes(pickle.dumps(matrix))
    _npy(folder)
    return {}


def citeulike(folder: Path) -> dict[str, Any]:
    """Counted lists."""
    lists = [[i for u, i, _ in ROWS if u == user] for user in range(N_USERS)]
    _lines(folder / "users.dat", *(" ".join(map(str, [len(x), *x])) for x in lists))
    _lines(folder / "item-tag.dat", *(f"2 {i % 3} {3 + i % 2}" for i in range(N_ITEMS)))
    _lines(folder / "tags.dat", "fox", "hen", "owl", "red", "blue")
    _lines(folder / "citations.dat", *(f"1 {(i + 1) % N_ITEMS}" for i in range(N_ITEMS)))
    return {}


def movielens(folder: Path) -> dict[str, Any]:
    """Files parted by `::`."""
    _lines(folder / "ratings.dat", *(f"{u}::{i}::{5 - x}::{TIME + 10 * u + i}" for u, i, x in ROWS))
    _lines(folder / "users.dat", *(f"{u}::F::25::7::0210{u}" for u in range(N_USERS)))
    movies = (f"{i}::{TITLES[i]} ({1990 + i})::Drama|War" for i in range(N_ITEMS))
    _lines(folder / "movies.dat", *movies, encoding="latin-1")
    return {"positive_from": None, "width": 3}


def table(folder: Path) -> dict[str, Any]:
    """CSV, Parquet and arrays, dense and sparse."""
    head = "who,what,part,stars,at"
    rows = (f"u{u},{i},{PARTS[x]},{5 - x},{TIME + 9 * u + i}" for u, i, x in ROWS)
    _lines(folder / "log.csv", head, *rows)
    items = pd.DataFrame({"id": np.arange(N_ITEMS), "title": TITLES, "year": np.arange(N_ITEMS) + 1990})
    items.to_parquet(folder / "items.parquet", index=False)
    _lines(folder / "users.csv", "id,age", *(f"u{u},{20 + u}" for u in range(N_USERS)))
    np.save(folder / "image.npy", IMAGE)
    sp.save_npz(folder / "tags.npz", sp.csr_array(np.eye(N_ITEMS, 4, dtype=np.float32)))
    vectors = pd.DataFrame(AUDIO, columns=["a", "b"]).assign(id=np.arange(N_ITEMS))
    vectors.to_parquet(folder / "audio.parquet", index=False)
    return {
        "interactions": "log.csv",
        "columns": {"user": "who", "item": "what", "label": "part", "rating": "stars", "timestamp": "at"},
        "items": {"file": "items.parquet", "id": "id"},
        "users": {"file": "users.csv", "id": "id"},
        "features": {
            "image": {"file": "image.npy"},
            "tags": {"file": "tags.npz"},
            "audio": {"file": "audio.parquet", "id": "id"},
        },
        "content": {"title": "tfidf"},
    }


def bundle_csv(folder: Path) -> dict[str, Any]:
    """BundleRec's six tables."""
    rows = (f"{u},{i},{TIME + i}" for u, i, _ in ROWS)
    _lines(folder / "user_item.csv", "user ID,item ID,timestamp", *rows)
    pairs = [(b, (b + step) % N_ITEMS) for b in range(6) for step in range(3)]
    _lines(folder / "bundle_item.csv", "bundle ID,item ID", *(f"{b},{i}" for b, i in pairs))
    _lines(folder / "user_bundle.csv", "user ID,bundle ID", *(f"{b},{b}" for b in range(6)))
    _lines(folder / "item_titles.csv", "item ID,titles", *(f'{i},"{TITLES[i]}"' for i in range(N_ITEMS)))
    _lines(folder / "item_categories.csv", "item ID,categories", *(f"{i},[k{i % 3}]" for i in range(N_ITEMS)))
    _lines(folder / "bundle_intent.csv", "bundle ID,intent", *(f"{b},gift" for b in range(6)))
    return {"width": 3}


def clhe(folder: Path) -> dict[str, Any]:
    """Counts, pairs as text and as an array, and a tensor."""
    import torch

    (folder / "count.json").write_text(json.dumps({"#U": N_USERS, "#B": 6, "#I": N_ITEMS}))
    _lines(folder / "ui_full.txt", *(f"{u}\t{i}" for u, i, _ in ROWS))
    parts = {"train": "0, 0, 1, 2", "valid_input": "1, 1, 2", "valid_gt": "1, 3"}
    for part, text in parts.items():
        _lines(folder / f"bi_{part}.txt", text)
    np.save(folder / "bi_test_input.npy", np.array([[2, 2], [2, 3]]))
    np.save(folder / "bi_test_gt.npy", np.array([[2, 4]]))
    torch.save(torch.from_numpy(IMAGE), folder / "content_feature.pt")
    return {}


WRITERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "mmrec": mmrec,
    "atomic": atomic,
    "lattice": lattice,
    "lists": lists,
    "diffmm": diffmm,
    "movielens": movielens,
    "bundle-csv": bundle_csv,
    "clhe": clhe,
    "citeulike": citeulike,
    "table": table,
}
"""Reader -> what writes its files into a folder and returns the options of the card."""
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "closed": ("ease", {}),
    "trained": ("bpr", {"max_epochs": 1, "width": 4, "batch_size": 64}),
    "content": ("contentknn", {}),
    "vectors": ("contentknn", {}),
}
"""Runs on the toy data, the last on the table reader's sample: name -> model and settings."""


def reader_samples(root: Path) -> dict[str, Path]:
    """A data set `root/READER` with a card for each registered reader.

    Raises:
        LookupError: a reader has no sample.
    """
    from recsys.datasets.readers import READERS

    if missing := set(READERS.builtin) - set(WRITERS):
        raise LookupError(f"no sample for reader {', '.join(sorted(missing))}; add one to WRITERS")
    folders = {}
    for name, write in WRITERS.items():
        folders[name] = root / name
        folders[name].mkdir(parents=True)
        card = {"name": name, "reader": name, "title": "a sample", "options": write(folders[name])}
        (folders[name] / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    return folders


def other_samples(root: Path) -> None:
    """Runs on the toy data below `root/runs`, the toy data with checksums in `root/data/toy`, and the files of an
    experiment, a scan, settings, and new items and users, in `root/files`."""
    import recsys
    from recsys.datasets.convert import convert

    convert(recsys.toy_data(24), root / "data" / "toy")
    data = recsys.load_dataset("toy", root / "data")
    for name, (model, settings) in RUNS.items():
        own = recsys.load_dataset("table", root / "data") if name == "vectors" else data
        recsys.train(model, own, split="random", folder=root / "runs" / name, device="cpu", **settings)
    files = root / "files"
    files.mkdir()
    experiment = {
        "title": "two models",
        "models": {"pop": None, "ease": {"settings": {"regularisation": 5.0}}},
        "datasets": ["toy"],
        "splits": ["random"],
        "seeds": [0],
    }
    (files / "experiment.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False))
    run = {"model": "ease", "dataset": "toy", "split": "random", "device": "cpu"}
    scan = {
        "run": run,
        "search": {"regularisation": {"low": 1.0, "high": 50.0}},
        "trials": 2,
        "sampler": "random",
    }
    (files / "scan.yaml").write_text(yaml.safe_dump(scan, sort_keys=False))
    (files / "settings.yaml").write_text(yaml.safe_dump({"regularisation": 5.0, "content": 0.0}))
    new_items = pd.DataFrame(
        {"item": ["n1", "n2"], "title": ["red pan", "blue hose"], "department": ["kitchen"] * 2}
    )
    new_items.to_csv(files / "new-items.csv", index=False)
    new_items.to_parquet(files / "new-items.parquet", index=False)
    lists = {
        "image": IMAGE[:2].tolist(),
        "audio.0": [0.1, 0.2],
        "audio.1": [0.3, 0.4],
        "title": ["red ox", "hen"],
    }
    pd.DataFrame({"item": ["n1", "n2"], **lists}).to_parquet(files / "new-items.vectors.parquet", index=False)
    arrays = {name: np.eye(2, modality.width, dtype=np.float32) for name, modality in data.modalities.items()}
    np.savez(files / "new-items.npz", item=np.array(["n1", "n2"]), **arrays)
    new_users = pd.DataFrame({"user": ["v1", "v1", "v2"], "item": ["p01", "p02", "p03"]})
    new_users.to_csv(files / "new-users.csv", index=False)
    new_users.to_parquet(files / "new-users.parquet", index=False)
    (files / "users.txt").write_text("u1\nu2\n")
