"""What every registered reader keeps to, over one tiny data set written in each reader's format.

Users 0..3, items 0..4. Item 3 has zero image features, item 4 no interaction. A reader registered without a
case here fails; a fault that a format cannot have says why.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.datasets.cards import Card
from recsys.datasets.readers import READERS, guess_reader
from recsys.errors import DataError

ROWS = [(0, 0, 0), (0, 1, 0), (1, 1, 0), (2, 2, 0), (3, 0, 0), (1, 3, 1), (2, 3, 2)]
IMAGE = np.array([[1, 0], [0, 1], [3, 4], [0, 0], [2, 2]], dtype=np.float16)
AUDIO = np.array([[1], [2], [3], [4], [5]], dtype=np.float32)
TITLES = ["red fox", "blue fox", "red hen", "blue hen", "grey owl"]


def write_npy(folder: Path) -> None:
    np.save(folder / "image_feat.npy", IMAGE)
    np.save(folder / "audio_feat.npy", AUDIO)


def write_mmrec(folder: Path, rows: list) -> None:
    lines = ["userID\titemID\tx_label", *(f"{u}\t{i}\t{x}" for u, i, x in rows)]
    (folder / "tiny.inter").write_text("\n".join(lines) + "\n")
    write_npy(folder)


def write_lattice(folder: Path, rows: list) -> None:
    (folder / "5-core").mkdir(exist_ok=True)
    for label, part in enumerate(("train", "val", "test")):
        lists: dict = {}
        for u, i, x in rows:
            if x == label:
                lists.setdefault(str(u), []).append(i)
        (folder / "5-core" / f"{part}.json").write_text(json.dumps(lists))
    write_npy(folder)


def write_lists(folder: Path, rows: list) -> None:
    for label, part in enumerate(("train", "valid", "test")):
        lines: dict = {}
        for u, i, x in rows:
            if x == label:
                lines.setdefault(u, [u]).append(i)
        text = "".join(" ".join(map(str, line)) + "\n" for line in lines.values())
        (folder / f"{part}.txt").write_text(text)
    write_npy(folder)


def write_diffmm(folder: Path, rows: list, width: int = 5) -> None:
    for label, part in enumerate(("trn", "val", "tst")):
        pairs = np.array([(u, i) for u, i, x in rows if x == label]).reshape(-1, 2)
        matrix = sp.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(4, width))
        (folder / f"{part}Mat.pkl").write_bytes(pickle.dumps(matrix))
    write_npy(folder)


def write_citeulike(folder: Path, rows: list) -> None:
    lists = [[i for u, i, _ in rows if u == user] for user in range(4)]
    (folder / "users.dat").write_text("\n".join(" ".join(map(str, [len(x), *x])) for x in lists))
    (folder / "item-tag.dat").write_text("2 0 1\n1 0\n1 2\n0\n2 1 2\n")
    (folder / "citations.dat").write_text("1 1\n0\n2 1 2\n0\n1 0\n")


def write_atomic(folder: Path, rows: list) -> None:
    lines = ["user_id:token\titem_id:token\trating:float", *(f"u{u}\ti{i}\t{5 - x}" for u, i, x in rows)]
    (folder / "tiny.inter").write_text("\n".join(lines) + "\n")
    lines = [f"i{i}\t{TITLES[i]}\t{IMAGE[i, 0]} {IMAGE[i, 1]}" for i in range(5)]
    header = "item_id:token\ttitle:token_seq\timage:float_seq"
    (folder / "tiny.item").write_text("\n".join([header, *lines]) + "\n")
    (folder / "tiny.link").write_text("item_id:token\tentity_id:token\ni0\tm0\ni1\tm1\ni9\tm9\n")
    facts = "head_id:token\trelation_id:token\ttail_id:token\nm0\tgenre\tg1\nm1\tgenre\tg1\nm1\tactor\ta1\n"
    (folder / "tiny.kg").write_text(facts)


def write_movielens(folder: Path, rows: list) -> None:
    text = "\n".join(f"{u}::{i}::{5 - x}::{978300000 + 10 * u + i}" for u, i, x in rows)
    (folder / "ratings.dat").write_text(text + "\n")
    (folder / "users.dat").write_text("".join(f"{u}::F::25::7::0210{u}\n" for u in range(4)))
    movies = [f"{i}::{TITLES[i]} ({1990 + i})::Drama|War\n" for i in range(5)]
    (folder / "movies.dat").write_text("".join(movies), encoding="latin-1")


def write_table(folder: Path, rows: list) -> None:
    parts = ("train", "valid", "test")
    lines = ["who,what,part", *(f"{u},{i},{parts[x]}" for u, i, x in rows)]
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    (folder / "items.csv").write_text("id,name\n" + "".join(f"{i},{TITLES[i]}\n" for i in (4, 3, 2, 1, 0)))
    np.save(folder / "image.npy", IMAGE[::-1])


TABLE = {
    "interactions": "log.csv",
    "columns": {"user": "who", "item": "what", "label": "part"},
    "items": {"file": "items.csv", "id": "id", "rename": {"name": "title"}},
    "features": {"image": {"file": "image.npy"}},
}


def write_bundle_csv(folder: Path, rows: list) -> None:
    lines = ["user ID,item ID,timestamp", *(f"{u},{i},{100 + i}" for u, i, _ in rows)]
    (folder / "user_item.csv").write_text("\n".join(lines) + "\n")
    (folder / "bundle_item.csv").write_text("bundle ID,item ID\n7,0\n7,1\n8,1\n8,3\n")
    (folder / "user_bundle.csv").write_text("user ID,bundle ID\n0,7\n1,8\n")
    titles = [f'{i},"{TITLES[i]}"' for i in (4, 3, 2, 1, 0)]
    (folder / "item_titles.csv").write_text("\n".join(["item ID,titles", *titles]) + "\n")


def write_clhe(folder: Path, rows: list) -> None:
    import torch

    (folder / "count.json").write_text('{"#U": 4, "#B": 3, "#I": 5}')
    (folder / "ui_full.txt").write_text("".join(f"{u}\t{i}\n" for u, i, _ in rows))
    parts = {
        "train": "0, 0",
        "valid_input": "1, 1",
        "valid_gt": "1, 3",
        "test_input": "2, 2",
        "test_gt": "2, 4",
    }
    for part, text in parts.items():
        (folder / f"bi_{part}.txt").write_text(text + "\n")
    torch.save(torch.from_numpy(IMAGE), folder / "content_feature.pt")


def spoil_clhe(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    import torch

    def fault(folder: Path) -> None:
        values = change(IMAGE.copy())
        torch.save(torch.from_numpy(np.ascontiguousarray(values)), folder / "content_feature.pt")

    return fault


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    def fault(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))

    return fault


def array(file: str, change: Callable) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / file, change(np.load(folder / file)))


def put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(a: np.ndarray) -> np.ndarray:
        a[2, 0] = value
        return a

    return change


def cut(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:-3])


def rows_with(write: Callable, *more: tuple) -> Callable[[Path], None]:
    return lambda folder: write(folder, [*ROWS, *more])


def bad_diffmm(folder: Path) -> None:
    matrix = sp.coo_matrix(([1.0], ([0], [0])), shape=(4, 5))
    matrix.col[0] = -1
    (folder / "trnMat.pkl").write_bytes(pickle.dumps(matrix))


def wide_diffmm(folder: Path) -> None:
    write_diffmm(folder, [*ROWS, (0, 5, 0)], width=6)


def npy_faults(file: str, short: tuple) -> dict:
    return {
        "short features": short,
        "nan features": (array(file, put(np.nan)), r"row 2 .*NaN"),
        "infinite features": (array(file, put(np.inf)), r"row 2 .*infinity"),
        "truncated": (cut(file), rf"{file}: not a whole \.npy"),
    }


SHORT = (array("audio_feat.npy", lambda a: a[:4]), r"audio_feat\.npy has 4 rows, fewer than the 5 items")
NO_INTEGER = {"non-integer id": "ids are tokens", "negative id": "ids are tokens"}
NO_PARTS = {"two parts": "the format has no split"}
MADE = {f: "features are made of texts and facts" for f in ("nan features", "infinite features", "truncated")}


@dataclass
class Case:
    write: Callable[[Path, list], None]
    faults: dict[str, tuple[Callable[[Path], None], str]]
    absent: dict[str, str] = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    prefix: tuple[str, str] = ("", "")
    labels: bool = True
    guessed: bool = True
    given: dict[str, np.ndarray] = field(default_factory=dict)


CASES = {
    "mmrec": Case(
        write_mmrec,
        {
            "missing column": (
                edit("tiny.inter", "x_label", "x"),
                "no column x_label; expected userID.*found",
            ),
            "non-integer id": (
                edit("tiny.inter", "2\t2", "2\ttwo"),
                "line 5: itemID is 'two', expected an integer",
            ),
            "negative id": (edit("tiny.inter", "2\t2", "2\t-2"), "line 5: itemID is -2"),
            "id beyond": (edit("tiny.inter", "2\t2", "2\t5"), "line 5: itemID 5 is beyond the 5 rows of"),
            "two parts": (rows_with(write_mmrec, (3, 0, 2)), "user 3 and item 0 are in both train and test"),
            "empty": (lambda f: write_mmrec(f, []), "holds no interactions"),
            **npy_faults("image_feat.npy", SHORT),
        },
        given={"image": IMAGE, "audio": AUDIO},
    ),
    "lattice": Case(
        write_lattice,
        {
            "missing column": (edit("5-core/val.json", '{"1": [3]}', "[3]"), r"val.json: expected an object"),
            "non-integer id": (
                edit("5-core/val.json", "[3]", '["x"]'),
                "user 1: item is 'x', expected an integer",
            ),
            "negative id": (edit("5-core/val.json", "[3]", "[-3]"), "user 1: item is -3"),
            "id beyond": (edit("5-core/val.json", "[3]", "[5]"), "user 1: item 5 is beyond the 5 rows of"),
            "two parts": (
                rows_with(write_lattice, (3, 0, 2)),
                "user 3 and item 0 are in both train and test",
            ),
            "empty": (lambda f: write_lattice(f, []), "holds no interactions"),
            **npy_faults("image_feat.npy", SHORT),
        },
        given={"image": IMAGE, "audio": AUDIO},
    ),
    "lists": Case(
        write_lists,
        {
            "non-integer id": (edit("valid.txt", "1 3", "1 x"), "line 1: item is 'x', expected an integer"),
            "negative id": (edit("valid.txt", "1 3", "1 -3"), "line 1: item is -3"),
            "id beyond": (edit("valid.txt", "1 3", "1 5"), "line 1: item 5 is beyond the 5 rows of"),
            "two parts": (
                rows_with(write_lists, (3, 0, 2)),
                "user 3 and item 0 are in both train and test",
            ),
            "empty": (lambda f: write_lists(f, []), "holds no interactions"),
            **npy_faults("image_feat.npy", SHORT),
        },
        {"missing column": "lists have no columns"},
        given={"image": IMAGE, "audio": AUDIO},
    ),
    "diffmm": Case(
        write_diffmm,
        {
            "negative id": (bad_diffmm, "trnMat.pkl: not a whole .*an index is beyond the shape"),
            "id beyond": (wide_diffmm, "matrix row 0: item 5 is beyond the 5 rows of"),
            "two parts": (rows_with(write_diffmm, (3, 0, 2)), "user 3 and item 0 are in both train and test"),
            "empty": (lambda f: write_diffmm(f, []), "holds no interactions"),
            **npy_faults("image_feat.npy", SHORT),
        },
        {"missing column": "matrices have no named columns", "non-integer id": "indices are integers"},
        given={"image": IMAGE, "audio": AUDIO},
    ),
    "citeulike": Case(
        write_citeulike,
        {
            "non-integer id": (
                edit("users.dat", "2 2 3", "2 2 x"),
                "line 3: item is 'x', expected an integer",
            ),
            "negative id": (edit("users.dat", "2 2 3", "2 2 -3"), "line 3: item is -3"),
            "id beyond": (edit("users.dat", "2 2 3", "2 2 5"), "line 3: item 5 is beyond the 5 rows of"),
            "short features": (
                edit("item-tag.dat", "\n2 1 2\n", "\n"),
                "item-tag.dat has 4 rows, fewer than the 5",
            ),
            "truncated": (edit("users.dat", "2 2 3", "2 2"), "line 3: expected a count, then as many ids"),
            "empty": (lambda f: write_citeulike(f, []), "holds no interactions"),
        },
        {"missing column": "lists have no columns", **NO_PARTS}
        | {f: "features are made of tags and links" for f in ("nan features", "infinite features")},
        labels=False,
    ),
    "bundle-csv": Case(
        write_bundle_csv,
        {
            "missing column": (
                edit("user_item.csv", "item ID", "thing"),
                r"user_item\.csv: no column item ID; expected user ID, item ID, found user ID, thing",
            ),
            "truncated": (
                edit("bundle_item.csv", "8,3\n", "8,\n"),
                "line 5: item ID is empty, expected an id",
            ),
            "id beyond": (
                edit("user_bundle.csv", "1,8", "9,8"),
                r"user_bundle\.csv: line 3: user ID '9' is not in user_item\.csv",
            ),
            "empty": (lambda f: write_bundle_csv(f, []), "holds no interactions"),
        },
        {
            **NO_INTEGER,
            **NO_PARTS,
            **{f: "features are made of texts" for f in ("nan features", "infinite features")},
            "short features": "made of the texts",
        },
        labels=False,
    ),
    "clhe": Case(
        write_clhe,
        {
            "non-integer id": (
                edit("ui_full.txt", "2\t2", "2\tx"),
                "line 4: item is 'x', expected an integer",
            ),
            "negative id": (edit("ui_full.txt", "2\t2", "2\t-2"), "line 4: item is -2"),
            "id beyond": (
                edit("ui_full.txt", "2\t2", "2\t5"),
                "line 4: item 5 is beyond the 5 rows of count",
            ),
            "short features": (spoil_clhe(lambda a: a[:4]), "expected a tensor of 5 rows, found .4, 2."),
            "nan features": (spoil_clhe(put(np.nan)), r"row 2 .*NaN"),
            "infinite features": (spoil_clhe(put(np.inf)), r"row 2 .*infinity"),
            "truncated": (
                lambda f: (f / "content_feature.pt").write_bytes(b"PK"),
                r"content_feature\.pt: not a whole tensor",
            ),
            "two parts": (edit("bi_test_gt.txt", "2, 4", "2, 2"), "bundle 2 with item 2 lies in two parts"),
            "empty": (lambda f: write_clhe(f, []), "holds no interactions"),
        },
        {"missing column": "pairs have no names"},
        labels=False,
        given={"content": IMAGE},
    ),
    "atomic": Case(
        write_atomic,
        {
            "missing column": (
                edit("tiny.inter", "item_id:", "thing:"),
                "no column item_id; expected user_id",
            ),
            "nan features": (edit("tiny.item", "3.0 4.0", "nan 4.0"), "row 2 .*NaN"),
            "infinite features": (edit("tiny.item", "3.0 4.0", "inf 4.0"), "row 2 .*infinity"),
            "truncated": (edit("tiny.item", "3.0 4.0", "3.0"), "row 2 of image has 1 numbers for 2"),
            "empty": (lambda f: write_atomic(f, []), "holds no interactions"),
        },
        {
            **NO_INTEGER,
            **NO_PARTS,
            "id beyond": "ids are tokens",
            "short features": "features are a column of .item",
        },
        {"text": ["title"], "knowledge": True, "width": 8},
        ("u", "i"),
        labels=False,
        given={"image": IMAGE},
    ),
    "movielens": Case(
        write_movielens,
        {
            "missing column": (
                edit("movies.dat", "::Drama|War", ""),
                "lines have 2 fields, expected 3: item::title",
            ),
            "empty": (lambda f: write_movielens(f, []), r"ratings\.dat: cannot be read as a table"),
        },
        {
            **NO_INTEGER,
            **NO_PARTS,
            **MADE,
            "id beyond": "ids are tokens",
            "short features": "made of movies.dat",
        },
        {"positive_from": None},
        labels=False,
    ),
    "table": Case(
        write_table,
        {
            "missing column": (
                edit("log.csv", "who", "user"),
                "no column who; expected who, what, part, found user",
            ),
            "id beyond": (
                edit("items.csv", "3,blue hen\n", ""),
                r"image\.npy has 5 rows for the 4 of the items",
            ),
            "two parts": (rows_with(write_table, (3, 0, 2)), "user 3 and item 0 are in both train and test"),
            "empty": (lambda f: write_table(f, []), "holds no interactions"),
            **npy_faults(
                "image.npy", (array("image.npy", lambda a: a[:4]), "4 rows for the 5 of the items file")
            ),
        },
        NO_INTEGER,
        TABLE,
        guessed=False,
        given={"image": IMAGE},
    ),
}
FAULTS = ("missing column", "non-integer id", "negative id", "id beyond", "short features", "nan features",
          "infinite features", "truncated", "two parts", "empty")  # fmt: skip


def load(folder: Path, reader: str):
    case = CASES[reader]
    return READERS.get(reader)(folder, Card(name="tiny", reader=reader, options=case.options))


@pytest.fixture(params=READERS.builtin)
def reader(request) -> str:
    assert request.param in CASES, f"reader '{request.param}' has no line in the contract"
    return request.param


@pytest.fixture
def tiny(reader, tmp_path) -> Path:
    CASES[reader].write(tmp_path, ROWS)
    return tmp_path


def test_every_pair_keeps_its_raw_ids_and_part(reader, tiny):
    dataset, case = load(tiny, reader), CASES[reader]
    frame = dataset.interactions
    users, items = dataset.user_ids[frame["user"]], dataset.item_ids[frame["item"]]
    label = frame["label"] if case.labels else np.zeros(len(frame), int)
    u, i = case.prefix
    expected = {(f"{u}{a}", f"{i}{b}", x if case.labels else 0) for a, b, x in ROWS}
    assert set(zip(users, items, label, strict=True)) == expected
    assert len(frame) == len(ROWS) and dataset.notes is not None
    assert dataset.item_ids.tolist() == [f"{i}{n}" for n in range(5)]
    assert dataset.user_ids.tolist() == [f"{u}{n}" for n in range(4)]


def test_features_are_the_published_numbers_in_item_order(reader, tiny):
    dataset, case = load(tiny, reader), CASES[reader]
    for name, expected in case.given.items():
        np.testing.assert_array_equal(dataset.modalities[name].features, expected.astype(np.float32))
    if "image" in case.given:
        assert dataset.modalities["image"].mask.tolist() == [True, True, True, False, True]
        assert any("1 of 5 rows are zero" in note for note in dataset.notes)
    for modality in dataset.modalities.values():
        dense = modality.features.toarray() if modality.is_sparse else modality.features
        assert dense.dtype == np.float32 and len(dense) == 5
        assert np.array_equal(dense.any(axis=1), modality.mask)


def test_arrays_are_read_only_and_typed(reader, tiny):
    dataset = load(tiny, reader)
    assert dataset.interactions["user"].dtype == np.int64 and dataset.interactions["item"].dtype == np.int64
    arrays = [dataset.user_ids, dataset.item_ids]
    for modality in dataset.modalities.values():
        arrays += [modality.features.data if modality.is_sparse else modality.features, modality.mask]
    for values in arrays:
        with pytest.raises(ValueError, match="read-only"):
            values[:1] = values[:1]
    assert len(dataset.user_attributes) == 4 and len(dataset.item_attributes) == 5


def test_the_order_of_rows_has_no_say(reader, tiny):
    one = load(tiny, reader)
    CASES[reader].write(tiny, [ROWS[i] for i in (6, 2, 0, 5, 1, 4, 3)])
    other = load(tiny, reader)
    assert one.interactions.equals(other.interactions)
    assert (
        one.user_ids.tolist() == other.user_ids.tolist() and one.item_ids.tolist() == other.item_ids.tolist()
    )
    for name, modality in one.modalities.items():
        assert abs(modality.features - other.modalities[name].features).max() == 0


def test_duplicates_are_merged_and_counted(reader, tiny):
    CASES[reader].write(tiny, [*ROWS, ROWS[0], ROWS[0], ROWS[6]])
    dataset = load(tiny, reader)
    assert len(dataset.interactions) == len(ROWS)
    assert any("3 duplicate interactions merged" in note for note in dataset.notes)


def test_an_unknown_option_names_its_key(reader, tiny):
    card = Card(name="tiny", reader=reader, options={**CASES[reader].options, "widht": 3})
    with pytest.raises(DataError, match="unknown key 'widht'"):
        READERS.get(reader)(tiny, card)


def test_the_format_is_recognised(reader, tiny):
    assert guess_reader(tiny) == (reader if CASES[reader].guessed else None)


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_ends_in_one_line(reader, fault, tiny):
    case = CASES[reader]
    assert (fault in case.faults) != (fault in case.absent), f"{reader}: state '{fault}' once"
    if fault in case.absent:
        return
    spoil, message = case.faults[fault]
    spoil(tiny)
    with pytest.raises(DataError, match=message) as caught:
        load(tiny, reader)
    assert "\n" not in str(caught.value)
