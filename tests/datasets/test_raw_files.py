"""Raw files in every form that a card can name: tables of any kind, plain or compressed; content in files of its own;
pictures in folders and archives; features by id in arrays of any kind."""

import gzip
import io
import json
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recsys.datasets.cards import load_dataset
from recsys.datasets.content.files import Files
from recsys.datasets.files import object_of, read_table
from recsys.errors import DataError

CLICKS = [(f"u{u}", f"0{i}", 10 * u + i) for u in range(4) for i in range(5) if (u + i) % 3]
ITEMS = ["00", "01", "02", "03", "04"]
TITLES = ["red lamp", "blue rug", 'a "big", pan', "", "red rug"]
FEATURES = np.arange(1, 11, dtype=np.float32).reshape(5, 2)
ORDER = [3, 0, 4, 1, 2]
"""Rows of feature files, in another order than the items."""


def text_of(kind, frame):
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in frame.to_dict("records"))
    if kind == "json":
        return json.dumps(frame.to_dict("records"))
    return frame.to_csv(sep={"csv": ",", "tsv": "\t", "inter": "\t", "dat": ";"}[kind], index=False)


def bytes_of(kind, frame):
    if kind == "parquet":
        held = io.BytesIO()
        frame.to_parquet(held, index=False)
        return held.getvalue()
    return text_of(kind, frame).encode()


def write(path, data):
    """The bytes, compressed as the file's name says."""
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = pytest.importorskip("zstandard", reason="needs the extra zstd").compress(data)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(path.stem, data)
    else:
        path.write_bytes(data)


def shop(folder, kind="csv", packed="", **options):
    """A card of clicks and items in files of a kind."""
    clicks = pd.DataFrame(CLICKS, columns=["who", "what", "at"])
    items = pd.DataFrame({"sku": ITEMS, "title": TITLES})
    write(folder / f"clicks.{kind}{packed}", bytes_of(kind, clicks))
    write(folder / f"items.{kind}{packed}", bytes_of(kind, items))
    given = {
        "interactions": f"clicks.{kind}{packed}",
        "columns": {"user": "who", "item": "what", "timestamp": "at"},
        "items": {"file": f"items.{kind}{packed}", "id": "sku"},
        **({"sep": ";"} if kind == "dat" else {}),
    }
    (folder / "card.yaml").write_text(
        yaml.safe_dump({"name": "shop", "reader": "table", "options": given | options})
    )
    return str(folder / "card.yaml")


@pytest.mark.parametrize("packed", ["", ".gz", ".zip", ".zst"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "inter", "dat", "jsonl", "json", "parquet"])
def test_tables_of_every_kind_give_the_same_data(tmp_path, kind, packed):
    data = load_dataset(shop(tmp_path, kind, packed))
    frame = data.interactions
    ids = (data.user_ids[frame["user"]], data.item_ids[frame["item"]], frame["timestamp"])
    assert list(zip(*ids, strict=True)) == sorted(CLICKS)
    assert data.item_ids.tolist() == ITEMS and data.item_attributes["title"].tolist() == TITLES


@pytest.mark.parametrize("packed", [".gz", ".zip", ".zst"])
def test_damaged_compression_is_one_line(tmp_path, packed):
    card = shop(tmp_path, "csv", packed)
    path = tmp_path / f"clicks.csv{packed}"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"clicks\.csv\S+: cannot be read") as caught:
        load_dataset(card)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [".gz", ".zip", ".zst"])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path, packed, monkeypatch):
    monkeypatch.setattr("recsys.datasets.compressed.LARGEST", 2**20)
    card = shop(tmp_path, "csv", packed)
    data = b"who,what,at\n" + b" " * 2**23
    if packed == ".zip":
        with zipfile.ZipFile(tmp_path / "clicks.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("clicks.csv", data)
    else:
        write(tmp_path / f"clicks.csv{packed}", data)
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        load_dataset(card)


def test_an_archive_of_two_tables_is_refused(tmp_path):
    card = shop(tmp_path, "csv", ".zip")
    with zipfile.ZipFile(tmp_path / "clicks.csv.zip", "a") as archive:
        archive.writestr("more.csv", "a,b\n")
    with pytest.raises(DataError, match="holds 2 files; expected one"):
        load_dataset(card)


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
OBJECTS = st.dictionaries(st.text(), st.recursive(PLAIN, st.lists, max_leaves=8), min_size=1)


@given(OBJECTS)
def test_a_dict_as_python_writes_it_reads_as_its_json_does(values):
    assert object_of(repr(values)) == object_of(json.dumps(values)) == values


@pytest.mark.parametrize(
    "line",
    [
        "{'a': __import__('os').getcwd()}",
        "{'a': 1, 'a': 2}",
        "{'a': {1, 2}}",
        "{'a': b'x'}",
        "{'a': 1j}",
        "{'a': 1, 2: 3}",
        "{**{'a': 1}}",
        "{'a': " + "-" * 200_000 + "1}",
        "{'a': " + "[" * 200_000 + "]" * 200_000 + "}",
        "{'a': 'open}",
    ],
)
def test_other_python_is_no_object(line):
    with pytest.raises(ValueError):
        object_of(line)


def test_json_lines_that_are_none_name_the_line(tmp_path):
    card = shop(tmp_path, "jsonl")
    with open(tmp_path / "clicks.jsonl", "a") as file:
        file.write("\n[1]\n")
    with pytest.raises(DataError, match=rf"line {len(CLICKS) + 2} is no JSON object"):
        load_dataset(card)


def test_a_table_without_header_and_with_a_long_separator(tmp_path):
    (tmp_path / "users.dat").write_bytes("u0::é::x\nu1::b::y\nu2::c::x\nu3::d::y\n".encode("latin-1"))
    names = ["id", "name", "kind"]
    users = {
        "file": "users.dat",
        "id": "id",
        "sep": "::",
        "header": names,
        "encoding": "latin-1",
        "drop": ["kind"],
    }
    data = load_dataset(shop(tmp_path, users=users))
    assert data.user_attributes.to_dict("list") == {"name": ["é", "b", "c", "d"]}
    (tmp_path / "users.dat").write_text("u0::a::x\nu1::b\n")
    with pytest.raises(DataError, match="line 2 has 2 columns, the card names 3"):
        load_dataset(shop(tmp_path, users=users | {"encoding": "utf-8"}))


def made(folder, **content):
    return load_dataset(shop(folder, content=content)).modalities


def test_content_of_a_file_of_its_own(tmp_path):
    """Texts by id, several statements an item in rows of a file; people read them, and new items bring them."""
    with gzip.open(tmp_path / "told.json.gz", "wt") as file:
        json.dump({"04": "a rug", "00": "a lamp of glass", "99": "of no item"}, file)
    rows = [
        ("01", "made of", "wool"),
        ("01", "from", "peru"),
        ("04", "made of", "wool"),
        ("00", "made of", "glass"),
    ]
    pd.DataFrame(rows, columns=["sku", "what", "value"]).to_csv(tmp_path / "facts.tsv", sep="\t", index=False)
    content = {
        "told": {"encoder": "text", "file": "told.json.gz"},
        "facts": {"encoder": "facts", "file": "facts.tsv", "id": "sku"},
    }
    data = load_dataset(shop(tmp_path, content=content))
    assert data.modalities["told"].mask.tolist() == [True, False, False, False, True]
    assert data.item_attributes["facts"].tolist() == [
        "made of=glass", "made of=wool|from=peru", "", "", "made of=wool",
    ]  # fmt: skip
    assert data.modalities["facts"].features.sum(axis=1).tolist() == [1, 2, 0, 0, 1]
    assert data.provenance["facts"].made_of == "the texts of facts.tsv"
    content["told"]["id"] = "sku"
    with pytest.raises(DataError, match="no column sku"):
        load_dataset(shop(tmp_path, content=content))


@pytest.fixture
def pictures(tmp_path):
    """01.png to 04.png in three colours, as bytes by name."""
    pillow = pytest.importorskip("PIL.Image", reason="needs the extra image")
    held = {}
    for number, colour in enumerate([(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 0, 0)], 1):
        file = io.BytesIO()
        pillow.new("RGB", (8, 8), colour).save(file, "PNG")
        held[f"0{number}.png"] = file.getvalue()
    return held


@pytest.mark.parametrize("place", ["folder", "pictures.zip", "pictures.tar", "pictures.tar.gz"])
def test_one_picture_an_item_in_a_folder_or_archive(tmp_path, pictures, place):
    if place == "folder":
        (tmp_path / place).mkdir()
        for name, data in pictures.items():
            (tmp_path / place / name).write_bytes(data)
    elif place.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / place, "w") as archive:
            for name, data in pictures.items():
                archive.writestr(f"deep/{name}", data)
    else:
        with tarfile.open(tmp_path / place, "w:gz" if place.endswith("gz") else "w") as archive:
            for name, data in pictures.items():
                info = tarfile.TarInfo(f"./deep/{name}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    where = "folder" if place == "folder" else "archive"
    spec = {"encoder": "image", where: place, "names": "{id}.png"}
    modality = made(tmp_path, photo=spec)["photo"]
    assert modality.mask.tolist() == [False, True, True, True, True]
    np.testing.assert_array_equal(modality.features[1], modality.features[4])
    assert np.abs(modality.features[1] - modality.features[2]).max() > 0.1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("gone.zip", "not a whole archive"),
        ("bad.zip", "not a whole archive"),
        ("bad.tar", "not a whole archive"),
    ],
)
def test_an_archive_that_is_none_is_one_line(tmp_path, place, said):
    if place.startswith("bad"):
        (tmp_path / place).write_bytes(b"no archive")
    with pytest.raises(DataError, match=said) as caught:
        made(tmp_path, photo={"encoder": "image", "archive": place, "names": "{id}.png"})
    assert "\n" not in str(caught.value)


def test_a_cell_cannot_name_a_file_outside_the_data_set(tmp_path, pictures):
    inside = tmp_path / "data"
    inside.mkdir()
    (tmp_path / "secret.png").write_bytes(pictures["01.png"])
    card = shop(inside, content={"title": {"encoder": "image"}})
    items = pd.DataFrame({"sku": ITEMS, "title": ["../secret.png", str(tmp_path / "secret.png"), "", "", ""]})
    items.to_csv(inside / "items.csv", index=False)
    with pytest.raises(DataError, match=r"no file is there, such as '../secret.png'"):
        load_dataset(card)


def arrays(folder, kind):
    """The features in another order, and how a card reads them by id."""
    rows, ids = FEATURES[ORDER], [ITEMS[n] for n in ORDER]
    path = folder / f"feat.{kind}"
    if kind == "npy":
        np.save(path, rows)
        (folder / "ids.txt").write_text("\n".join(ids))
        return {"ids": "ids.txt"}
    if kind == "npz":
        np.savez(path, vectors=rows, ids=np.array(ids))
        return {"key": "vectors"}
    if kind == "pt":
        import torch

        torch.save({item: torch.from_numpy(row.copy()) for item, row in zip(ids, rows, strict=True)}, path)
        return {}
    if kind == "safetensors":
        from safetensors.numpy import save_file

        save_file({"rows": np.ascontiguousarray(rows)}, path)
        (folder / "ids.json").write_text(json.dumps(ids))
        return {"ids": "ids.json"}
    with pytest.importorskip("h5py", reason="needs the extra hdf5").File(path, "w") as file:
        file["rows"], file["ids"] = rows, [item.encode() for item in ids]
    return {"key": "rows"}


@pytest.mark.parametrize("section", ["features", "content"])
@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "safetensors", "h5"])
def test_features_by_id_in_any_order(tmp_path, kind, section):
    how = arrays(tmp_path, kind) | {"file": f"feat.{kind}"}
    card = shop(
        tmp_path, **{section: {"photo": how | ({"encoder": "vector"} if section == "content" else {})}}
    )
    np.testing.assert_array_equal(load_dataset(card).modalities["photo"].features, FEATURES)


@pytest.mark.parametrize("kind", ["npz", "pt", "safetensors", "h5"])
def test_a_damaged_array_is_one_line(tmp_path, kind):
    if kind == "h5":
        pytest.importorskip("h5py", reason="needs the extra hdf5")
    (tmp_path / f"feat.{kind}").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=rf"feat\.{kind}") as caught:
        load_dataset(shop(tmp_path, features={"photo": {"file": f"feat.{kind}"}}))
    assert "\n" not in str(caught.value)


def test_a_tensor_file_that_would_run_code_is_refused(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    (tmp_path / "feat.pt").write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(DataError, match="weights only"):
        load_dataset(shop(tmp_path, features={"photo": {"file": "feat.pt"}}))
    assert not (tmp_path / "run").exists()


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"content 'titel' reads the column 'titel', .* did you mean 'title'"):
        made(tmp_path, titel="text")
    with pytest.raises(DataError, match=r"items\.csv: has no column 'titel'; did you mean 'title'"):
        load_dataset(shop(tmp_path, items={"file": "items.csv", "id": "sku", "drop": ["titel"]}))
    with pytest.raises(
        DataError, match="'title' is read by content 'title', and 'text' is fitted to it; keep it"
    ):
        load_dataset(
            shop(
                tmp_path,
                items={"file": "items.csv", "id": "sku", "drop": ["title"]},
                content={"title": "text"},
            )
        )


def test_new_items_and_users_are_read_through_the_card(tmp_path):
    """Under the file's own names, which the card renames or drops; several columns, and pictures by id."""
    from recsys.inputs.new_files import read_new_items, read_new_users

    items = {"file": "items.csv", "id": "sku", "rename": {"title": "name"}, "drop": ["link"]}
    content = {
        "about": {"encoder": "text", "columns": ["name", "brand"], "template": "{name} {brand}"},
        "brand": "category",
    }
    card = shop(tmp_path, items=items, content=content)
    frame = pd.DataFrame({"sku": ITEMS, "title": TITLES, "brand": list("xyxyx"), "link": "https://a.example"})
    frame.to_csv(tmp_path / "items.csv", index=False)
    data = load_dataset(card)
    assert list(data.item_attributes) == ["name", "brand"]
    frame.assign(sku=[f"n{item}" for item in ITEMS]).iloc[::-1].to_json(
        tmp_path / "new.jsonl", orient="records", lines=True
    )
    new, notes = read_new_items(tmp_path / "new.jsonl", data)
    assert new.ids.tolist() == [f"n{item}" for item in ITEMS] and notes == []
    for name, modality in data.modalities.items():
        np.testing.assert_allclose(new.modalities[name].features, modality.features, atol=1e-6)
        np.testing.assert_array_equal(new.modalities[name].mask, modality.mask)
    assert new.attributes["name"].tolist() == TITLES
    (tmp_path / "new.csv").write_text("sku,title\nn1,red lamp\n")  # without brands
    new, _ = read_new_items(tmp_path / "new.csv", data)
    assert new.modalities["about"].mask.tolist() == [True] and not new.modalities["brand"].mask.any()
    (tmp_path / "users.csv").write_text("who,what,at\nann,00,7\nann,03,8\n")
    ids, users = read_new_users(tmp_path / "users.csv", data)
    assert ids.tolist() == ["ann"] and users.history.toarray().tolist() == [[1, 0, 0, 1, 0]]
    (tmp_path / "odd.csv").write_text("sku,titel\nn1,red lamp\n")
    with pytest.raises(DataError, match="'titel' is no modality or item attribute of 'shop'; did you mean"):
        read_new_items(tmp_path / "odd.csv", data)


@pytest.mark.parametrize("packed", [False, True])
def test_files_in_deeper_folders_are_found_by_their_names_unless_two_have_it(tmp_path, packed):
    for place, name in (
        ("a", "1.jpg"),
        ("b", "2.jpg"),
        ("a", "3.jpg"),
        ("b", "3.jpg"),
        ("", "4.jpg"),
        ("a", "4.jpg"),
    ):
        path = tmp_path / "pictures" / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{place}/{name}".encode())
    (tmp_path / "pictures" / "outside").symlink_to(tmp_path)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    place = tmp_path / "pictures"
    if packed:
        with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
            for path in sorted(place.rglob("*.jpg")):
                archive.write(path, path.relative_to(place))
        place = tmp_path / "pictures.zip"
    files = Files([place], deep=[place])
    found = [files.read(name) for name in ("1.jpg", "2.jpg", "b/3.jpg", "3.jpg", "4.jpg", "secret.jpg")]
    assert found == [b"a/1.jpg", b"b/2.jpg", b"b/3.jpg", b"", b"/4.jpg", b""]
    assert {"1", "2"} <= dict(files.stems()).keys()
    if not packed:
        assert Files([place]).read("1.jpg") == b""


def test_json_lines_may_be_called_json(tmp_path):
    (tmp_path / "a.json").write_text('{"user": "a", "item": "x"}\n{"user": "b", "item": "y"}\n')
    (tmp_path / "b.json").write_text('{"x": "words", "y": "more"}\n')
    assert read_table(tmp_path / "a.json").to_numpy().tolist() == [["a", "x"], ["b", "y"]]
    assert read_table(tmp_path / "b.json").to_numpy().tolist() == [["x", "words"], ["y", "more"]]


def write_parts(folder, test="u1,04\n", valid=True, **options):
    folder.mkdir()
    (folder / "a.csv").write_text("user,item\nu0,00\nu0,01\nu1,00\n")
    (folder / "b.csv").write_text("user,item\nu0,02\n")
    (folder / "c.csv").write_text(f"user,item\n{test}")
    files = {"train": "a.csv", "test": "c.csv"} | ({"valid": "b.csv"} if valid else {})
    card = {"name": folder.name, "reader": "table", "options": {"interactions": files} | options}
    (folder / "card.yaml").write_text(yaml.safe_dump(card))


def test_files_of_parts_are_a_split(tmp_path):
    write_parts(tmp_path / "s")
    data = load_dataset("s", tmp_path)
    assert data.item_ids.tolist() == ["00", "01", "02", "04"]
    assert data.interactions.to_numpy().tolist() == [[0, 0, 0], [0, 1, 0], [0, 2, 1], [1, 0, 0], [1, 3, 2]]
    write_parts(tmp_path / "two", valid=False)
    assert set(load_dataset("two", tmp_path).interactions["label"]) == {0, 2}


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ({"test": "u1,\n"}, r"line 2 of c\.csv: item is empty"),
        ({"test": "u0,00\n"}, "user u0 and item 00 are in both train and test"),
        ({"interactions": {"train": "a.csv", "valid": "b.csv"}}, "expected files of train and test"),
        ({"interactions": {"train": "a.csv", "tests": "c.csv"}}, "interactions"),
        ({"columns": {"label": "part"}}, "the files say the parts"),
        ({"columns": {"item": "thing"}}, r"[ac]\.csv: no column thing"),
        (
            {"interactions": {"train": "a.csv", "test": "d.csv"}},
            r"d\.csv and a\.csv have not the same columns: at",
        ),
    ],
)
def test_what_is_wrong_with_parts_is_one_line(tmp_path, how, fault):
    write_parts(tmp_path / "s", **how)
    (tmp_path / "s" / "d.csv").write_text("user,item,at\nu0,03,5\n")
    with pytest.raises(DataError, match=fault) as caught:
        load_dataset("s", tmp_path)
    assert "\n" not in str(caught.value)
