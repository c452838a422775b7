"""Kinds of damage that `fuzz` found once, each at the place where it is refused."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import recsys as engine
from recsys.datasets.cards import Card, load_dataset, read_card
from recsys.datasets.files import load_npy, read_delimited, read_json, read_text
from recsys.datasets.readers import READERS, guess_reader
from recsys.errors import DataError, UserError
from recsys.experiments.benchmarks.fuzzing import samples
from recsys.files import parse_yaml
from recsys.runs.run import load_run


@pytest.fixture
def folder(request, tmp_path):
    """A sample's folder."""
    made = tmp_path / "data" / request.param
    made.mkdir(parents=True)
    options = samples.WRITERS[request.param](made)
    card = {"name": request.param, "reader": request.param, "options": options}
    (made / "card.yaml").write_text(yaml.safe_dump(card))
    return made


def refused(folder, match):
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(folder.name, folder.parent)
    assert "\n" not in str(caught.value)


def readers(*names):
    return pytest.mark.parametrize("folder", names, indirect=True)


# --- YAML and JSON --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", "'a' is given twice"),
        ("a: {b: 1, b: 1}", "'b' is given twice"),
        ("&a [*a]", "holds itself"),
        ("a: &a {b: *a}", "holds itself"),
        (
            "\n".join(
                [
                    "a0: &a0 [x, x, x, x]",
                    *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)),
                ]
            ),
            "values",
        ),
    ],
)
def test_yaml_says_each_thing_once_and_no_more_than_can_be_held(text, fault):
    with pytest.raises(ValueError, match=fault):
        parse_yaml(text)


def test_yaml_may_refer_to_what_it_has_said():
    assert parse_yaml("a: &x {c: 1}\nb: *x\nd: {<<: *x, e: 2}")["d"] == {"c": 1, "e": 2}


# --- text -----------------------------------------------------------------------------------------------------------


def test_text_with_nul_is_refused_and_a_byte_order_mark_is_no_part_of_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"user,item\na\0,x\n")
    for read in (read_text, lambda p: read_delimited(p, ",")):
        with pytest.raises(DataError, match="NUL"):
            read(path)
    path.write_bytes(b"\xef\xbb\xbfuser,item\na,x\n")
    assert read_text(path) == "user,item\na,x\n" == read_text(path, "latin-1")
    assert list(read_delimited(path, ",")) == ["user", "item"]


@readers("movielens")
def test_a_line_with_fewer_fields_is_named(folder):
    text = (folder / "movies.dat").read_bytes()
    (folder / "movies.dat").write_bytes(text.removesuffix(b"::Drama|War\n"))
    refused(folder, r"movies\.dat: line 9 has fewer fields")


@readers("bundle-csv")
def test_a_line_with_fewer_fields_is_named_among_quoted_ones(folder):
    path = folder / "item_titles.csv"
    path.write_text(path.read_text().rpartition(",")[0])
    refused(folder, r"item_titles\.csv: line 10 has 1 columns, the header has 2")


# --- something in a file's place ------------------------------------------------------------------------------------

OPTIONAL = {
    "atomic": ("atomic.item", "atomic.user"),
    "bundle-csv": ("item_titles.csv", "bundle_intent.csv"),
    "citeulike": ("item-tag.dat", "tags.dat"),
    "clhe": ("content_feature.pt", "bi_test_gt.npy"),
}


@pytest.mark.parametrize("put", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
@readers(*OPTIONAL)
def test_an_optional_file_is_a_file_or_not_there(folder, put):
    for name in OPTIONAL[folder.name]:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        put(folder / name)
        refused(folder, f"{name}.*no file")
        os.rmdir(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("name", ["a.inter", "ratings.dat"])
def test_a_pipe_is_not_waited_for_where_a_form_is_recognised(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert guess_reader(tmp_path) is None


@readers("mmrec")
def test_a_folder_in_a_cards_place_is_refused(folder):
    (folder / "card.yaml").unlink()
    (folder / "card.yaml").mkdir()
    refused(folder, r"card\.yaml.*no file")


def test_a_name_longer_than_any_folders_is_refused(tmp_path):
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({"name": "x" * 5000, "reader": "mmrec"}))
    with pytest.raises(DataError, match="at most 200"):
        read_card(tmp_path / "card.yaml")


# --- arrays and tensors ---------------------------------------------------------------------------------------------


def test_a_header_that_is_no_python_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[40:60] = bytes(20)
    (tmp_path / "a.npy").write_bytes(bytes(content))
    with pytest.raises(DataError, match="not a whole"):
        load_npy(tmp_path / "a.npy")


IMAGE = torch.from_numpy(samples.IMAGE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        IMAGE.to_sparse,
        IMAGE.to_sparse_csr,
        lambda: IMAGE.to("meta"),
        lambda: IMAGE.to(torch.complex64),
        lambda: IMAGE[:, :1].expand(len(IMAGE), 2**40),
        lambda: torch.quantize_per_tensor(IMAGE, 0.1, 0, torch.qint8),
        lambda: [IMAGE],
    ],
)
@readers("clhe")
def test_a_tensor_is_dense_real_and_whole(folder, make):
    torch.save(make(), folder / "content_feature.pt")
    refused(folder, r"content_feature\.pt: expected a")


@pytest.mark.parametrize("change", [torch.Tensor.half, torch.Tensor.double, torch.nn.Parameter])
@readers("clhe")
def test_a_tensor_of_another_type_of_numbers_is_read(folder, change):
    torch.save(change(IMAGE), folder / "content_feature.pt")
    data = load_dataset("clhe", folder.parent)
    np.testing.assert_array_equal(data.modalities["content"].features, change(IMAGE).detach().float().numpy())


@readers("clhe")
def test_a_flipped_bit_of_a_tensor_is_seen(folder):
    path = folder / "content_feature.pt"
    with zipfile.ZipFile(path) as archive:
        numbers = archive.read(next(n for n in archive.namelist() if n.endswith("data/0")))
    content = path.read_bytes()
    place = content.index(numbers) + 2
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    refused(folder, r"content_feature\.pt: not a whole tensor .*damaged")


@pytest.mark.parametrize("count", [2**50, -1])
@readers("clhe")
def test_counts_fit_the_pairs(folder, count):
    text = (folder / "count.json").read_text()
    for key in ("#U", "#B", "#I"):
        was = read_json(folder / "count.json")[key]
        (folder / "count.json").write_text(text.replace(f'"{key}": {was}', f'"{key}": {count}'))
        refused(folder, "count.json")
        (folder / "count.json").write_text(text)


# --- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    engine.train("ease", engine.toy_data(24), folder=tmp_path / "run")
    return tmp_path / "run"


def test_weights_that_have_changed_are_refused(run):
    path = run / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="has changed since it was written"):
        load_run(run)


def test_an_edited_configuration_is_refused_unless_it_says_where(run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text("# the same\n" + text.replace("device: auto", "device: cpu"))
    load_run(run)
    (run / "config.yaml").write_text(text.replace("regularisation: ", "regularisation: 1"))
    with pytest.raises(UserError, match=r"config\.yaml has been edited"):
        load_run(run)


def test_a_full_disk_while_weights_are_written_leaves_nothing(run, monkeypatch):
    from recsys.training.weights import save_model

    model = load_run(run).model
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}

    def full(path, content):
        with open(path, "wb") as file:
            file.write(bytes(content)[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="no space left to write"):
        save_model(model, run)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


# --- where answers go -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["list", "readers"], ["show", "readers", "table"], ["--version"]])
def test_a_terminal_that_takes_nothing_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "recsys", *arguments], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("recsys: ")


def test_a_link_in_a_circle_is_one_line(recsys, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "out")
    for arguments in (
        ["report", tmp_path, "--out", "out"],
        ["bench", "demo", "--data-root", "out", "--out", "out"],
        ["train", "--model", "pop", "--dataset", "toy", "--out", "out"],
    ):
        status, _, error = recsys(*arguments)
        assert status == 2 and error.count("\n") == 1 and error.startswith("recsys: ")


def test_every_sample_is_read():
    assert set(READERS.builtin) == set(samples.WRITERS)
    assert Card(name="x" * 200, reader="mmrec").name == "x" * 200


@pytest.mark.parametrize("key", ["true", "1", "0.5", "null", "2024-05-31", "~", "yes", "1_000"])
def test_keys_that_yaml_takes_for_something_else_are_refused(key):
    for text in (f"{key}: 1", f"a:\n  b: {{{key}: 1}}", f"- {{a: 1, {key}: 2}}"):
        with pytest.raises(ValueError, match="is no text; expected a name, in quotes") as caught:
            parse_yaml(text)
        assert str(caught.value).startswith(f"line {text.count(chr(10)) + 1}: the key {key}")
    assert parse_yaml(f'"{key}": 1') == {key: 1}
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a}") == {"a": {"x": 1}, "b": {"x": 1}}


def test_half_a_character_is_no_text(tmp_path):
    from recsys.files import parse_json

    (tmp_path / "a.json").write_text('{"model": "\\ud800"}')
    with pytest.raises(ValueError):
        parse_json(tmp_path / "a.json")
    with pytest.raises(ValueError):
        parse_yaml('model: "\\ud800"')


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"0": [true]}', "user 0: item is 'True', a bool"),
        ('{"0": [[1]]}', "a list"),
        ('{"0": [1], "0": [2]}', "'0' is given twice"),
        ("[" * 3000, "nested|JSON"),
    ],
)
@readers("lattice")
def test_json_lists_hold_ids_and_each_user_once(folder, text, fault):
    (folder / "train.json").write_text(text)
    refused(folder, fault)


@pytest.mark.parametrize(
    "ids", [[True, False], [["a"], ["b"]], [{"a": 1}, {"a": 2}], ["a\0", "b"], [True, "a"]]
)
def test_truth_values_lists_and_nul_are_no_ids(ids):
    import pandas as pd

    for columns in ({"user": pd.Series(ids, dtype=object), "item": [1, 2]}, {"user": [1, 2], "item": ids}):
        with pytest.raises(DataError, match="expected"):
            engine.Dataset.from_frame(pd.DataFrame(columns))


@readers("mmrec")
def test_a_column_of_truth_values_is_no_row_numbers(folder):
    lines = (folder / "mmrec.inter").read_text().splitlines()
    rest = [line.partition("\t")[2] for line in lines[1:]]
    changed = [lines[0], *(f"{n % 2 == 0}\t{line}" for n, line in enumerate(rest))]
    (folder / "mmrec.inter").write_text("\n".join(changed))
    refused(folder, "column userID holds truth values")


def test_lists_of_text_are_no_vectors_of_new_items():
    import pandas as pd

    items = pd.DataFrame({"item": ["a", "b"], "v": [[0.0, 1.0], [1.0, 0.0]]})
    clicks = pd.DataFrame({"user": ["u", "u", "w", "w"], "item": ["a", "b"] * 2})
    data = engine.Dataset.from_frame(clicks, items=items, content={"v": "vector"})
    from recsys.inputs.new_data import new_items_of_frame

    for values in (["x", "y"], [[1.0], [2.0]], [None, 1.0], [True, {}]):
        with pytest.raises(DataError):
            new_items_of_frame(pd.DataFrame({"item": ["c"], "v": [values]}), data)


@pytest.mark.parametrize("options", [{"width": -1}, {"seed": -1}, {"seed": 2**32}, {"seed": 10**23}])
@readers("bundle-csv", "movielens", "atomic")
def test_widths_and_seeds_of_readers_are_those_that_can_be(folder, options):
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["options"] |= options
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    refused(folder, f"options of card {folder.name}: {next(iter(options))}")


def test_moments_are_no_numbers():
    import pandas as pd

    from recsys.datasets.checks import to_numbers

    with pytest.raises(DataError, match="expected numbers"):
        to_numbers(pd.Series(pd.to_datetime(["2024-05-31"]), name="v"), "vectors.parquet")


def test_a_history_that_is_no_numbers_is_left_out_by_name(recsys, tmp_path):
    arguments = ["--model", "bpr", "--dataset", "toy", "--set", "max_epochs=1", "--out", "run"]
    assert recsys("train", *arguments)[0] == 0
    text = (tmp_path / "run" / "history.csv").read_text().splitlines()
    (tmp_path / "run" / "history.csv").write_text(
        "\n".join([text[0], *["x" + line for line in text[1:]]]) + "\n"
    )
    status, _, error = recsys("report", "run", "--out", "page")
    assert status == 2 and "history.csv is not readable" in error and error.count("\n") == 1


def test_a_range_beyond_numbers_is_one_line():
    from recsys.experiments.tune.space import search_space
    from recsys.models import MODELS

    with pytest.raises(UserError, match="search: 'regularisation'") as caught:
        search_space(MODELS.get("ease"), {}, {"regularisation": {"low": 1, "high": 10**400}})
    assert len(str(caught.value)) < 300
