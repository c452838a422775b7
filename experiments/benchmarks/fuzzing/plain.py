"""What each reader's files say, read plainly, to compare loaded data with.

Compared are ids, pairs, parts, ratings, titles, bundles' items, and features that come as numbers. Not compared: times,
and features that are made of texts, facts and links. Pickles are not read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.experiments.benchmarks.fuzzing.reading import (
    Row,
    any_of,
    array_of,
    by_row,
    column,
    content,
    json_of,
    label,
    matrix,
    need,
    number,
    sparse_of,
    table_of,
    tensor_of,
    text_of,
    there,
    token,
    whole,
)


@dataclass
class Plain:
    """What a data set's files say.

    Attributes:
        rows: (user, item, part or None, rating or None) of each interaction; None where that is not read.
        items: every item's id, where the files name them.
        features: modality -> item -> its numbers.
        titles: item -> its title.
        bundles: (bundle, item).
    """

    rows: Sequence[tuple[str, str, int | None, float | None]] | None
    items: set[str] = field(default_factory=set)
    features: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    bundles: set[tuple[str, str]] | None = None


def _arrays(folder: Path) -> tuple[dict[str, dict[str, np.ndarray]], set[str]]:
    made = {p.name.removesuffix("_feat.npy"): array_of(content(p)) for p in folder.glob("*_feat.npy")}
    sizes = {len(matrix(values)) for values in made.values()}
    need(len(sizes) < 2, "matrices of other lengths")
    ids = [str(n) for n in range(max(sizes, default=0))]
    return {name: by_row(values, ids) for name, values in made.items()}, set(ids)


def _taken(rows: list[tuple]) -> list[tuple]:
    """Without those rated 0, of ratings that are 0 or 1."""
    binary = all(row[3] in (0, 1) for row in rows)
    return [row for row in rows if row[3] != 0] if binary and any(row[3] == 0 for row in rows) else rows


def mmrec(folder: Path, options: dict) -> Plain:
    (path,) = folder.glob("*.inter")
    rows = [
        (str(whole(r["userID"])), str(whole(r["itemID"])), label(r["x_label"]), None)
        for r in _with(table_of(path, "\t"), "userID", "itemID", "x_label")
    ]
    features, items = _arrays(folder)
    return Plain(rows, items, features)


def _with(rows: list[Row], *names: str) -> list[Row]:
    for name in names:
        column(rows, name)
    return rows


def lattice(folder: Path, options: dict) -> Plain:
    rows: list[tuple] = []
    for part, file in enumerate(("train.json", "val.json", "test.json")):
        lists = json_of(folder / file)
        need(isinstance(lists, dict) and all(isinstance(items, list) for items in lists.values()), "no lists")
        rows += [(str(whole(u)), str(whole(i)), part, None) for u, items in lists.items() for i in items]
    features, items = _arrays(folder)
    return Plain(rows, items, features)


def lists(folder: Path, options: dict) -> Plain:
    rows: list[tuple] = []
    for part, names in enumerate((("train.txt",), ("valid.txt", "val.txt"), ("test.txt",))):
        for file in (folder / name for name in names):
            if part == 1 and not there(file):
                continue
            lines = [line.split() for line in re.split("\r\n|\n|\r", text_of(file)) if line.strip()]
            numbers = [[str(whole(cell)) for cell in line] for line in lines]
            need(len({line[0] for line in numbers}) == len(numbers), "a user twice")
            rows += [(line[0], item, part, None) for line in numbers for item in line[1:]]
    features, items = _arrays(folder)
    return Plain(rows, items, features)


def citeulike(folder: Path, options: dict) -> Plain:
    rows: list[tuple] = []
    for user, line in enumerate(text_of(folder / "users.dat").rstrip("\n").split("\n")):
        numbers = [whole(n) for n in line.split()]
        need(numbers and numbers[0] == len(numbers) - 1, "a count that is none")
        rows += [(str(user), str(item), None, None) for item in numbers[1:]]
    files = [folder / name for name in ("item-tag.dat", "citations.dat", "tags.dat") if there(folder / name)]
    lengths = {len(text_of(f).rstrip("\n").split("\n")) for f in files if f.name != "tags.dat"}
    need(len(lengths) < 2, "files of other lengths")
    for file in files:
        text_of(file)
    return Plain(rows, {str(n) for n in range(max(lengths, default=0))})


def movielens(folder: Path, options: dict) -> Plain:
    def rows_of(name: str, width: int) -> list[list[str]]:
        lines = re.split("\r\n|\n|\r", text_of(folder / name, "latin-1"))
        rows = [line.split("::") for line in lines if line]
        need(all(len(row) == width for row in rows), "fields")
        return rows

    rows = [(token(u), token(i), None, number(r)) for u, i, r, _ in rows_of("ratings.dat", 4)]
    rows_of("users.dat", 5)
    movies = {token(i): re.sub(r" \(\d{4}\)$", "", title) for i, title, _ in rows_of("movies.dat", 3)}
    floor = options.get("positive_from", 4)
    kept = [row for row in rows if floor is None or row[3] >= floor]
    return Plain(kept, {*movies, *(row[1] for row in rows)}, {}, movies)


def atomic(folder: Path, options: dict) -> Plain:
    def rows_of(path: Path) -> list[Row]:
        rows = table_of(path, "\t")
        return [{k.partition(":")[0]: (k.partition(":")[2], v) for k, v in row.items()} for row in rows]

    (path,) = folder.glob("*.inter")
    rows = []
    for r in _with(rows_of(path), "user_id", "item_id"):
        rating = number(r["rating"][1]) if "rating" in r else None
        if "label" not in r or number(r["label"][1]) > 0:
            rows.append((token(r["user_id"][1]), token(r["item_id"][1]), None, rating))
    plain = Plain(_taken(rows))
    for suffix in (".user", ".link", ".kg"):
        if there(path.with_suffix(suffix)):
            rows_of(path.with_suffix(suffix))
    if there(path.with_suffix(".item")):
        items = _with(rows_of(path.with_suffix(".item")), "item_id")
        ids = [token(r["item_id"][1]) for r in items]
        need(len(set(ids)) == len(ids), "an item twice")
        for name in items[0] if items else ():
            if items[0][name][0] == "float_seq":
                vectors = [[number(n) for n in r[name][1].split()] for r in items]
                width = max(map(len, vectors))
                need({len(v) for v in vectors} <= {0, width}, "vectors of other lengths")
                plain.features[name] = by_row(np.array([v or [0.0] * width for v in vectors]), ids)
        plain.items = {*ids, *(row[1] for row in rows)}
        title = {new: old for old, new in options.get("rename", {}).items()}.get("title", "title")
        plain.titles = {i: r[title][1] for i, r in zip(ids, items, strict=True) if title in r}
    return plain


def table(folder: Path, options: dict) -> Plain:
    names, sep = {"user": "user", "item": "item"} | options.get("columns", {}), options.get("sep", ",")
    rows = []
    for r in any_of(folder / options["interactions"], sep):
        given = {ours: r.get(theirs) for ours, theirs in names.items() if theirs is not None}
        part = label(given["label"]) if "label" in given else None
        rating = number(given["rating"]) if "rating" in given else None
        rows.append((token(given["user"]), token(given["item"]), part, rating))
    floor = options.get("positive_from")
    plain = Plain(_taken(rows) if floor is None else [r for r in rows if r[3] >= floor])
    for noun in ("users", "items"):
        if options.get(noun):
            entities = any_of(folder / options[noun]["file"], sep)
            ids = [token(v) for v in column(entities, options[noun]["id"])]
            need(len(set(ids)) == len(ids), "an id twice")
    if options.get("items"):
        plain.items = {*ids, *(row[1] for row in rows)}
        renamed = {new: old for old, new in options["items"].get("rename", {}).items()}
        plain.titles = {
            i: r[renamed.get("title", "title")]
            for i, r in zip(ids, entities, strict=True)
            if isinstance(r.get(renamed.get("title", "title")), str)
        }
    for name, described in (options.get("features") or {}).items():
        path = folder / described["file"]
        if path.suffix in (".npy", ".npz"):
            values = array_of(content(path)) if path.suffix == ".npy" else sparse_of(path)
            if described.get("mask"):
                values = values * array_of(content(folder / described["mask"]))[:, None]
            plain.features[name] = by_row(values, ids)
        else:
            entries = any_of(path, sep)
            own = [token(v) for v in column(entries, described["id"])]
            numbers = [[number(v) for k, v in r.items() if k != described["id"]] for r in entries]
            plain.features[name] = by_row(np.array(numbers), own)
    return plain


def bundle_csv(folder: Path, options: dict) -> Plain:
    def rows_of(name: str, *columns: str) -> list[tuple[str, ...]]:
        rows = _with(table_of(folder / name, ",", quoted=True), *columns)
        return [tuple(r[c] for c in columns) for r in rows]

    pairs = rows_of("user_item.csv", "user ID", "item ID")
    bundles = {(token(b), token(i)) for b, i in rows_of("bundle_item.csv", "bundle ID", "item ID")}
    rows_of("user_bundle.csv", "user ID", "bundle ID")
    items = {i for _, i in [*pairs, *bundles]}
    titles: dict[str, str] = {}
    for file, name in (("item_titles.csv", "titles"), ("item_categories.csv", "categories")):
        if there(folder / file):
            rows = rows_of(file, "item ID", name)
            entries = {token(i): text for i, text in rows}
            need(len(entries) == len(rows), "an item twice")
            items |= entries.keys()
            titles = entries if name == "titles" else titles
    if there(folder / "bundle_intent.csv"):
        rows_of("bundle_intent.csv", "bundle ID", "intent")
    return Plain([(token(u), token(i), None, None) for u, i in pairs], items, {}, titles, bundles)


def diffmm(folder: Path, options: dict) -> Plain:
    features, items = _arrays(folder)
    return Plain(None, items, features)


def clhe(folder: Path, options: dict) -> Plain:
    counts = json_of(folder / "count.json")
    need(isinstance(counts, dict) and all(k in counts for k in ("#U", "#B", "#I")), "no counts")
    n_users, n_bundles, n_items = (whole(counts[k]) for k in ("#U", "#B", "#I"))

    def pairs(stem: str, rows: int) -> set[tuple[str, str]]:
        if there(folder / f"{stem}.npy"):
            values = array_of(content(folder / f"{stem}.npy"))
            need(values.ndim == 2 and values.shape[1] == 2 and values.dtype.kind != "b", "no pairs")
            made = [(whole(a), whole(b)) for a, b in values.tolist()]
        else:
            lines = [
                re.split(r"[,\s]+", x.strip())
                for x in re.split(r"\r\n|\r|\n", text_of(folder / f"{stem}.txt").rstrip("\r\n"))
            ]
            made = [(whole(t[0]), whole(i)) for t in lines for i in t[1:] if i]
        need(all(a < rows and b < n_items for a, b in made), "a number beyond the counts")
        return {(str(a), str(b)) for a, b in made}

    bundles: set[tuple[str, str]] = set()
    for stem in ("bi_train", "bi_valid_input", "bi_valid_gt", "bi_test_input", "bi_test_gt"):
        bundles |= pairs(stem, n_bundles)
    features = {
        name: by_row(tensor_of(folder / f"{name}_feature.pt"), [str(n) for n in range(n_items)])
        for name in ("content", "description")
        if there(folder / f"{name}_feature.pt")
    }
    rows: list[tuple] = [(u, i, None, None) for u, i in pairs("ui_full", n_users)]
    return Plain(rows, {str(n) for n in range(n_items)}, features, {}, bundles)


PLAIN: dict[str, Callable[[Path, dict], Plain]] = {
    "mmrec": mmrec,
    "lattice": lattice,
    "lists": lists,
    "citeulike": citeulike,
    "movielens": movielens,
    "atomic": atomic,
    "table": table,
    "bundle-csv": bundle_csv,
    "clhe": clhe,
    "diffmm": diffmm,
}


def difference(data: Any, plain: Plain) -> str:
    """What a Dataset says otherwise than its files; empty where nothing."""
    frame, users, ids = data.interactions, data.user_ids, data.item_ids
    labels = frame["label"] if "label" in frame else [None] * len(frame)
    loaded = {
        (str(users[u]), str(ids[i]), None if x is None else int(x))
        for u, i, x in zip(frame["user"], frame["item"], labels, strict=True)
    }
    if plain.rows is not None and loaded != (expected := {(u, i, x) for u, i, x, _ in plain.rows}):
        odd = sorted(map(str, loaded ^ expected))[:2]
        return f"{len(loaded)} pairs for {len(expected)}; {odd!r:.200}"
    if plain.items and (odd_items := set(map(str, ids)) ^ plain.items):
        return f"items {sorted(odd_items)!r:.100}"
    place = {str(item): n for n, item in enumerate(ids)}
    for name, rows in plain.features.items():
        if name not in data.modalities:
            return f"no modality {name}"
        values = data.modalities[name].features
        values = values.toarray() if sp.issparse(values) else values
        for item, row in rows.items():
            if not np.array_equal(values[place[item]], row):
                return f"{name} of item {item!r:.40}"
    for item, title in plain.titles.items():
        if "title" in data.item_attributes and data.item_attributes["title"][place[item]] != title:
            return f"title of item {item!r:.40}: {data.item_attributes['title'][place[item]]!r:.60} for {title!r:.60}"
    if "rating" in frame and plain.rows and plain.rows[0][3] is not None:
        once: dict[tuple[str, str], list[float]] = {}
        for u, i, _, rating in plain.rows:
            once.setdefault((u, i), []).append(float(rating or 0))
        for u, i, r in zip(frame["user"], frame["item"], frame["rating"], strict=True):
            if np.float32(min(once[str(users[u]), str(ids[i])])) > np.float32(r) or np.float32(
                max(once[str(users[u]), str(ids[i])])
            ) < np.float32(r):
                return f"rating {r} of {users[u]!r:.40}"
    if plain.bundles is not None:
        own = data.bundles.items
        got = {
            (str(data.bundles.ids[b]), str(ids[i])) for b, i in zip(own["bundle"], own["item"], strict=True)
        }
        if got != plain.bundles:
            return f"bundles {sorted(got ^ plain.bundles)[:2]!r:.100}"
    return ""
