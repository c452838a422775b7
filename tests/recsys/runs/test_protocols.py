"""What published tables do otherwise: masking training items alone, and splits without a validation part."""

import json

import pandas as pd
import pytest

import recsys as package
from recsys.datasets.splits import make_split
from recsys.errors import DataError, UserError

ROWS = [
    ("anna", "a", "train"),
    ("anna", "b", "valid"),
    ("anna", "c", "test"),
    *((f"x{n}", "b", "train") for n in range(4)),
    *((f"x{n}", "c", "train") for n in range(3)),
    *((f"x{n}", "d", "train") for n in range(2)),
]


def labelled(rows):
    frame = pd.DataFrame(rows, columns=["user", "item", "part"])
    return package.Dataset.from_frame(frame, user="user", item="item", label="part")


@pytest.mark.parametrize(("mask", "rank"), [("train+valid", 1), ("train", 2)])
def test_masking_training_items_alone_ranks_validation_items(mask, rank):
    """By popularity b, c, d: anna's test item c stands behind her validation item b, or before all."""
    run = package.train("pop", labelled(ROWS), mask=mask, metrics=["mrr@10", "recall@1"])
    assert run.metrics.test["mrr@10"] == pytest.approx(1 / rank)
    assert run.metrics.test["recall@1"] == (rank == 1)
    assert run.metrics.values["mask"] == run.config.mask == mask


def test_the_mask_is_part_of_the_test(toy):
    scores = toy.matrix(make_split(toy, "random").train)
    row = package.evaluate(scores, toy, split="random", mask="train")
    with pytest.raises(UserError, match="mask 'train'"):
        package.compare({"pop": "pop", "given": row}, toy, split="random", seeds=[0])
    both = package.compare({"pop": "pop", "given": row}, toy, split="random", seeds=[0], mask="train")
    assert "mask: train" in both.to_markdown() and set(both.table.index) == {"pop", "given"}


def test_the_mask_is_named_wherever_figures_are(recsys, tmp_path):
    run = ["train", "--dataset", "toy", "--model", "pop", "--out"]
    assert "mask: train" in recsys(*run, "runs/alone", "--mask", "train")[1]
    assert "mask" not in recsys(*run, "runs/both")[1]
    assert recsys("report", "runs")[0] == 0
    tables = json.loads((tmp_path / "runs" / "report" / "results.json").read_text())["tables"]
    assert {table["title"].partition("mask")[2] for table in tables} == {"", ": train"}
    status, _, err = recsys(*run, "other", "--mask", "valid")
    assert status == 2 and "'train' or 'train+valid'" in err and err.count("\n") == 1


def test_a_validation_part_is_drawn_from_train_where_there_is_none(toy, tmp_path):
    rows = [(*key, "train") for key in zip(toy.interactions["user"], toy.interactions["item"], strict=True)]
    rows = [(u, i, "test" if n % 8 == 0 else "train") for n, (u, i, _) in enumerate(rows)]
    data = labelled(rows)
    parts, again, other = (make_split(data, "predefined", seed) for seed in (0, 0, 1))
    assert len(parts.test) == len(rows) / 8
    drawn = data.interactions["user"].iloc[parts.valid].value_counts()
    assert (drawn == 1).all() and len(drawn) == toy.n_users, "a tenth of seven, and one at least"
    assert (parts.valid == again.valid).all() and not (parts.valid == other.valid).all()
    run = package.train("lightgcn", data, width=4, max_epochs=2, folder=tmp_path / "run")
    said = json.loads((tmp_path / "run" / "environment.json").read_text())["notes"]
    assert said == ["'data' has no validation part: 48 of its 336 training rows were drawn for it"]
    assert run.config.split == "predefined"


def test_a_model_that_needs_no_validation_part_takes_none():
    rows = [row for row in ROWS if row[2] != "valid"]
    run = package.train("ease", labelled(rows), split_options={"valid": 0})
    assert len(run.split.train) == len(rows) - 1 and not len(run.split.valid)
    with pytest.raises(UserError, match="max_epochs"):
        package.train("lightgcn", labelled(rows), split_options={"valid": 0})


def test_a_part_is_never_empty_by_accident():
    with pytest.raises(DataError, match="test part empty"):
        make_split(labelled([(u, i, "train") for u, i, _ in ROWS]), "predefined")
