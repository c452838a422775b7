"""What each modality was made from: declared in the card, refused in benchmarks where it knows the answers."""

import json

import pytest
import yaml

import recsys as package
from recsys.datasets.cards import load_dataset
from recsys.datasets.convert import convert
from recsys.errors import DataError


@pytest.fixture
def declare(toy, tmp_path):
    """A copy of the toy data set whose card says how `image` came about; returns the card's path."""

    def write(**image):
        folder = tmp_path / f"shop{len(list(tmp_path.iterdir()))}"
        convert(toy, folder)
        card = yaml.safe_load((folder / "card.yaml").read_text())
        card["provenance"] = {"image": image} if image else {}
        (folder / "card.yaml").write_text(yaml.safe_dump(card))
        return str(folder / "card.yaml")

    return write


def test_what_this_engine_encodes_is_content():
    data = package.toy_data()
    assert str(data.provenance["title"]) == "content, by encoder text"
    assert {made.made_from for made in data.provenance.values()} == {"content"}


def test_nothing_said_is_unknown_and_shown(declare, recsys, tmp_path):
    card = declare()
    assert load_dataset(card).provenance["image"].made_from == "unknown"
    (tmp_path / "b.yaml").write_text(
        f"models: [contentknn, pop]\ndatasets: [{card}]\nsplits: [random]\nseeds: [0]\n"
    )
    assert recsys("bench", "b.yaml", "--out", "out")[0] == 0
    assert "it is not known what image, tags were made from" in (tmp_path / "out" / "table.md").read_text()
    assert "made from unknown" in recsys("data", "info", card)[1]
    (run,) = (tmp_path / "out" / "jobs").glob("pop*")
    assert json.loads((run / "environment.json").read_text())["content"]["image"]["made_from"] == "unknown"


def test_content_of_all_interactions_is_refused_in_benchmarks_unless_asked_for(declare, recsys, tmp_path):
    card = declare(made_from="all interactions", made_by="a language model's profiles, revision 7")
    file = f"models: [contentknn, pop]\ndatasets: [{card}]\nsplits: [random]\nseeds: [0]\n"
    (tmp_path / "b.yaml").write_text(file)
    status, _, err = recsys("bench", "b.yaml", "--out", "out")
    assert (
        status == 2
        and "'image' of" in err
        and err.count("\n") == 1
        and not (tmp_path / "out" / "jobs").exists()
    )
    (tmp_path / "b.yaml").write_text(file + "content_of_all_interactions: true\n")
    assert recsys("bench", "b.yaml", "--out", "out")[0] == 0
    assert "the test's among them: image" in (tmp_path / "out" / "table.md").read_text()
    out = recsys("train", "--model", "pop", "--dataset", card, "--out", "run")[1]
    assert "may know the test's answers" in " ".join(out.split())


def test_declared_provenance_survives_conversion(declare, tmp_path):
    data = load_dataset(declare(made_from="content", made_by="ResNet-50, revision 2"))
    convert(data, tmp_path / "copy")
    copied = load_dataset(str(tmp_path / "copy" / "card.yaml"))
    assert str(copied.provenance["image"]) == "content, by ResNet-50, revision 2"


@pytest.fixture
def shop(tmp_path):
    """Writes a shop whose titles are encoded in a given way; returns its card."""

    def write(title, named="shop"):
        folder = tmp_path / named / "shop"
        folder.mkdir(parents=True)
        rows = "".join(f"u{u},i{i}\n" for u in range(12) for i in range(u % 3, 12, 2))
        (folder / "clicks.csv").write_text("user,item\n" + rows)
        things = "".join(f"i{i},{['red lamp', 'blue rug', 'big pan'][i % 3]} {i}\n" for i in range(12))
        (folder / "items.csv").write_text("item,title\n" + things)
        items = {"file": "items.csv", "id": "item"}
        options = {"interactions": "clicks.csv", "items": items, "content": {"title": title}}
        card = {"name": "shop", "reader": "table", "options": options}
        (folder / "card.yaml").write_text(yaml.safe_dump(card))
        return str(folder / "card.yaml")

    return write


def test_how_content_was_encoded_is_in_every_record(shop, recsys, tmp_path):
    card = shop({"encoder": "text", "width": 5})
    made = load_dataset(card).provenance["title"]
    assert (made.made_by, made.made_of) == ("encoder text", "column title")
    assert dict(made.options) == {"width": "5"} and len(made.content_sha256) == 64
    assert recsys("train", "--model", "contentknn", "--dataset", card, "--out", "run")[0] == 0
    record = json.loads((tmp_path / "run" / "environment.json").read_text())["content"]["title"]
    assert record["content_sha256"] == made.content_sha256 and record["options"] == {"width": "5"}
    assert recsys("data", "convert", card, "copy")[0] == 0
    written = yaml.safe_load((tmp_path / "copy" / "card.yaml").read_text())
    assert written["provenance"]["title"]["content_sha256"] == made.content_sha256
    assert load_dataset(str(tmp_path / "copy" / "card.yaml")).provenance["title"] == made
    assert recsys("report", "run", "--out", "page")[0] == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert f"column title, by encoder text, width 5, sha256 {made.content_sha256[:8]}" in page


def test_a_report_says_that_runs_had_unequal_features(shop, recsys, tmp_path):
    runs = tmp_path / "runs"
    for number, title in enumerate(["text", {"encoder": "text", "width": 3}]):
        card = shop(title, f"v{number}")
        out = runs / f"{number}"
        assert (
            recsys(
                "train", "--model", ["contentknn", "contentridge"][number], "--dataset", card, "--out", out
            )[0]
            == 0
        )
    assert recsys("report", "runs", "--out", "page")[0] == 0
    tables = (tmp_path / "page" / "tables.md").read_text()
    assert "runs compared here had unequal features: title by encoder text of content" in tables


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({"made_form": "content"}, "made_form"),
        ({"made_from": "cotent"}, "'content'"),
        ({"made_by": 3}, "made_by"),
    ],
)
def test_a_mistyped_declaration_is_an_error(declare, image, said):
    with pytest.raises(DataError, match=said):
        load_dataset(declare(**image))


def test_a_modality_that_is_not_there_is_an_error(declare):
    from pathlib import Path

    card = Path(declare())
    values = yaml.safe_load(card.read_text()) | {"provenance": {"imgae": {"made_from": "content"}}}
    card.write_text(yaml.safe_dump(values))
    with pytest.raises(DataError, match="did you mean 'image'"):
        load_dataset(str(card))
