"""From a name to a Dataset: cards, folders, checksums, and what is said where one of them is missing."""

import hashlib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import yaml

from recsys.datasets import cards
from recsys.datasets.cards import find_card, known_names, load_dataset, read_card, verify
from recsys.datasets.readers import READERS
from recsys.datasets.readers.table import TableOptions
from recsys.errors import DataError

LOG = "user,item\na,x\nb,y\n"
SHIPPED = ["amazon-beauty", "amazon-clothing", "amazon-sports", "amazon-sports-attributes", "bundle-clothing"]
SHIPPED += [
    "bundle-electronic",
    "bundle-food",
    "citeulike-a",
    "gowalla",
    "ml-100k",
    "ml-1m",
    "ml-1m-posters",
    "ml-1m-posters-encoders",
    "ml-1m-posters-llm",
]
SHIPPED += ["tiktok", "yelp"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("RECSYS_DATA", raising=False)


def write_card(folder: Path, **more) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.csv").write_text(LOG)
    values = {"name": folder.name, "reader": "table", "options": {"interactions": "log.csv"}} | more
    (folder / "card.yaml").write_text(yaml.safe_dump(values))
    return folder / "card.yaml"


def write_guessable(folder: Path) -> None:
    folder.mkdir()
    (folder / f"{folder.name}.inter").write_text("userID\titemID\tx_label\n0\t0\t0\n")


def test_shipped_cards_are_complete():
    assert sorted(cards.CARDS.builtin) == SHIPPED
    for name in SHIPPED:
        card = find_card(name)
        assert card.name == name and card.reader in READERS and card.files
        assert card.title and card.licence and card.citation and card.homepage and card.get
        assert all(value is None or len(value) == 64 for value in card.files.values())
        if card.reader == "table":
            assert set(card.modalities) >= set(card.options_as(TableOptions).content)


def test_an_unknown_name_offers_the_nearest(tmp_path):
    with pytest.raises(DataError, match=r"no data set 'tiktk'; did you mean 'tiktok'\?"):
        find_card("tiktk")
    write_guessable(tmp_path / "mine")
    with pytest.raises(DataError, match="did you mean 'mine'"):
        load_dataset("mines", tmp_path)
    with pytest.raises(DataError, match=r"known: amazon-beauty, .*, mine, ml-100k, .*tiktok"):
        find_card("qqqqqq", tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc", "", ".hidden"])
def test_a_name_never_leaves_the_data_root(tmp_path, name):
    with pytest.raises(DataError, match="there is no data set"):
        find_card(name, tmp_path)


def test_a_folder_with_a_card_and_one_without(tmp_path, monkeypatch):
    write_card(tmp_path / "carded")
    write_guessable(tmp_path / "guessed")
    (tmp_path / "neither").mkdir()
    assert set(known_names(tmp_path)) == {*cards.CARDS, "carded", "guessed"}
    assert load_dataset("carded", tmp_path).n_users == 2
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    assert load_dataset("guessed").n_users == 1 and find_card("guessed").reader == "mmrec"
    assert find_card("tiktok").reader == "mmrec"


def test_a_folder_s_own_card_comes_before_the_shipped_one(tmp_path):
    write_card(tmp_path / "tiktok")
    assert load_dataset("tiktok", tmp_path).n_items == 2


def test_a_card_by_its_path(tmp_path):
    path = write_card(tmp_path / "here", name="elsewhere", files={"log.csv": None})
    assert load_dataset(str(path)).name == "elsewhere"
    write_card(tmp_path / "root" / "elsewhere")
    (tmp_path / "root" / "elsewhere" / "log.csv").write_text(LOG + "c,x\n")
    (tmp_path / "here" / "log.csv").unlink()
    assert load_dataset(str(path), tmp_path / "root").n_users == 3


def test_third_parties_bring_cards_with_the_data_beside_them(tmp_path, monkeypatch):
    package = tmp_path / "site" / "theirpackage"
    path = write_card(package / "theirs", files={"log.csv": None})
    (package / "log.csv").write_text(LOG + "c,x\n")
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom recsys.datasets.cards import Card\n"
        f"THEIRS = {str(path)!r}\n"
        "OTHER = Card(name='other', reader='table', options={'interactions': 'log.csv'}, files={'log.csv': None})\n"
        "WRONG = Path(THEIRS)\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    names = {"theirs": "THEIRS", "other": "OTHER", "wrong": "WRONG"}
    points = {n: [EntryPoint(n, f"theirpackage:{v}", "recsys.datasets")] for n, v in names.items()}
    monkeypatch.setattr(cards.CARDS, "_plugins", points)
    assert names.keys() <= set(known_names())
    assert load_dataset("theirs").n_users == 2 and load_dataset("other").n_users == 3
    write_card(tmp_path / "root" / "theirs")  # the user's own folder comes first
    (tmp_path / "root" / "theirs" / "log.csv").write_text(LOG + "d,x\ne,x\n")
    assert load_dataset("theirs", tmp_path / "root").n_users == 4
    with pytest.raises(DataError, match="for 'wrong' says name: theirs; make the two names equal"):
        find_card("wrong")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lisence": "x"}, r"card\.yaml: unknown key 'lisence'; did you mean 'licence'\?"),
        ({"reader": "tabel"}, "there is no reader 'tabel'; did you mean 'table'"),
        ({"files": {"../x": None}}, "'../x' must lie inside"),
        ({"files": {"log.csv": 3}}, r"card\.yaml: files\.log\.csv: "),
        ({"name": "a/b"}, "'a/b' must be letters"),
    ],
)
def test_a_faulty_card_is_one_line(tmp_path, more, message):
    path = write_card(tmp_path / "mine", **more)
    with pytest.raises(DataError, match=message) as caught:
        read_card(path)
    assert "\n" not in str(caught.value)


def test_yaml_that_is_none_or_unsafe(tmp_path):
    path = tmp_path / "card.yaml"
    path.write_text("a: [")
    with pytest.raises(DataError, match="not valid YAML"):
        read_card(path)
    path.write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(DataError, match="not valid YAML"):
        read_card(path)
    path.write_text("- 1")
    with pytest.raises(DataError, match=r"card\.yaml: card: "):
        read_card(path)
    with pytest.raises(DataError, match="no such file"):
        find_card(str(tmp_path / "gone.yaml"))


def test_checksums(tmp_path):
    good = hashlib.sha256(LOG.encode()).hexdigest()
    write_card(tmp_path / "mine", files={"log.csv": good})
    assert verify("mine", tmp_path) == {"log.csv": good}
    assert load_dataset("mine", tmp_path).n_users == 2
    (tmp_path / "mine" / "log.csv").write_text(LOG + "c,x\n")
    found = hashlib.sha256((LOG + "c,x\n").encode()).hexdigest()
    for function in (verify, load_dataset):
        with pytest.raises(DataError, match=rf"log\.csv: SHA-256 is {found}, expected {good}"):
            function("mine", tmp_path)


def test_large_files_are_hashed_by_verify_alone(tmp_path, monkeypatch):
    write_card(tmp_path / "mine", files={"log.csv": "0" * 64})
    monkeypatch.setattr(cards, "CHECKED_ON_LOAD", 3)
    assert load_dataset("mine", tmp_path).n_users == 2
    with pytest.raises(DataError, match="SHA-256"):
        verify("mine", tmp_path)


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"tiktok: no data root given.*to get it: tiktok\.inter from MMHCL"):
        load_dataset("tiktok")
    with pytest.raises(
        DataError, match=r"ml-1m: .*to get it: download https://files\.grouplens\.org\S+ml-1m\.zip"
    ):
        load_dataset("ml-1m")
    with pytest.raises(DataError, match=rf"tiktok: no folder {tmp_path}/tiktok; to get it"):
        load_dataset("tiktok", tmp_path)
    write_card(tmp_path / "mine", files={"log.csv": None, "gone.npy": None}, get="ask Ada")
    with pytest.raises(DataError, match=rf"no file {tmp_path}/mine/gone\.npy; to get it: ask Ada"):
        load_dataset("mine", tmp_path)


def test_a_modality_that_the_card_names_must_be_there(tmp_path):
    write_guessable(tmp_path / "mine")
    (tmp_path / "mine" / "card.yaml").write_text("name: mine\nreader: mmrec\nmodalities: [image, text]\n")
    np.save(tmp_path / "mine" / "image_feat.npy", np.ones((1, 2)))
    with pytest.raises(DataError, match="no modality text; the card names it, found image"):
        load_dataset("mine", tmp_path)


def test_a_card_that_lists_no_files_is_about_the_folder_that_it_lies_in(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "log.csv").write_text("user,item\na,x\nb,y\n")
    (folder / "card.yaml").write_text("name: shop\nreader: table\noptions: {interactions: log.csv}\n")
    assert load_dataset(str(folder / "card.yaml")).n_users == 2
