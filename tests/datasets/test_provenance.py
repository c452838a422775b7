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
