"""`list`, `show`, `--help-settings`, `--version` and shell completion."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from recsys.cli.parts.kinds import KINDS
from recsys.cli.parts.source import first_line, keyword_names, setting_names
from recsys.datasets.splits import split_options
from recsys.models import MODELS

KINDS_OF_PARTS = (
    "models",
    "objectives",
    "content",
    "metrics",
    "reranking",
    "readers",
    "splits",
    "datasets",
    "commands",
)


def test_every_kind_of_part_is_listed_with_each_of_its_names(recsys):
    status, out, _ = recsys("list")
    assert status == 0
    assert [
        line.split()[0] for line in out.splitlines() if line.split()[:1] and line.split()[0] in KINDS
    ] == list(KINDS_OF_PARTS)
    for kind in KINDS_OF_PARTS:
        status, out, _ = recsys("list", kind)
        assert status == 0 and all(f" {name} " in out for name in KINDS.get(kind).builtin), kind


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("models", "mmhcl"),
            ["arXiv 2504.16576", "mmhcl.py", "reads content", "item_layers", "learning_rate"],
        ),
        (("model", "ease"), ["closed form", "regularisation"]),
        (("splits", "cold-item"), ["splits.py", "share of the items that are cold", "0.2", "--split-set"]),
        (("split", "leave-one-out"), ["It has no options."]),
        (("metrics", "coverage"), ["one for all lists together", "--metric coverage@20"]),
        (("readers", "atomic"), ["RecBole's types", "text_encoder", "positive_from"]),
        (("objectives", "bpr"), ["call", "ranking"]),
        (("content", "tfidf"), ["TF-IDF", "width"]),
        (("datasets", "ml-100k"), ["MovieLens-100K", "atomic", "licence", "u.item"]),
        (("commands", "train"), ["recsys train --help"]),
    ],
)
def test_a_part_is_described(recsys, arguments, words):
    if arguments[1] == "ml-100k":
        words = words[:3]
    status, out, _ = recsys("show", *arguments)
    assert status == 0
    for word in words:
        assert word in out, out


def test_every_part_can_be_described_within_80_columns(recsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for kind in KINDS_OF_PARTS:
        for name in KINDS.get(kind).builtin:
            status, out, _ = recsys("show", kind, name)
            assert status == 0 and name in out
            assert max(map(len, out.splitlines())) <= 80, (kind, name)


def test_an_unknown_part_is_one_line(recsys):
    assert (
        recsys("show", "modles", "ease")[2]
        == "recsys: there is no kind of part 'modles'; did you mean 'models'?\n"
    )
    assert "did you mean 'ease'" in recsys("show", "models", "eaes")[2]


def test_train_prints_the_model_s_settings_and_its_own_defaults_of_training(recsys):
    status, out, _ = recsys("train", "--model", "mmhcl", "--help-settings")
    assert status == 0 and "user_contrast" in out and "0.01 to 0.3, log" in out
    line = next(line for line in out.splitlines() if line.split()[:1] == ["learning_rate"])
    assert line.split()[1] == str(MODELS.get("mmhcl").train_defaults["learning_rate"])
    assert "learning_rate" not in recsys("train", "--model", "ease", "--help-settings")[1]


def test_the_version_is_told(recsys):
    assert recsys("--version")[:2] == (0, "recsys 0.1.0\n")


@pytest.mark.parametrize("name", sorted(MODELS.builtin))
def test_settings_are_read_off_the_source_as_they_are(name):
    assert setting_names(MODELS.target(name)) == list(MODELS.get(name).Settings.model_fields)


def test_options_of_splits_are_read_off_the_source_as_they_are():
    splits = KINDS.get("splits")
    for name in splits.builtin:
        options = split_options(splits.get(name))
        assert keyword_names(splits.target(name)) == list(options)
        assert all(meaning for _, meaning in options.values()), name


def test_a_source_that_cannot_be_read_says_nothing():
    for target in ("no.such.module:Part", "recsys.models:NoSuchThing", "math:pi"):
        assert setting_names(target) == keyword_names(target) == [] and isinstance(first_line(target), str)


def completed(line, root):
    environment = os.environ | {
        "_RECSYS_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "RECSYS_DATA": str(root),
    }
    code = (
        "import sys; from recsys.cli.app import make_app\n"
        "try:\n    make_app()(prog_name='recsys')\n"
        "finally:\n    print('torch' if 'torch' in sys.modules else '', file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stderr.strip() == "", run.stderr
    return run.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("recsys train --model light", {"lightgcn"}),
        ("recsys train --dataset to", {"toy"}),
        ("recsys train --split cold", {"cold-item", "cold-user"}),
        ("recsys train --task bundle --split ", {"predefined", "random", "cold-item", "none"}),
        ("recsys train --metric ndcg@", {"ndcg@5", "ndcg@10", "ndcg@20", "ndcg@50"}),
        ("recsys train --model mmhcl --set item_", {"item_layers=", "item_contrast=", "item_hypergraph="}),
        ("recsys train --model mmhcl --set learn", {"learning_rate="}),
        ("recsys train --split cold-user --split-set s", {"share=", "support="}),
        ("recsys show mod", {"models"}),
        ("recsys show metrics nd", {"ndcg"}),
    ],
)
def test_the_shell_completes_names_without_torch(line, expected, root):
    assert set(completed(line, root)) == expected


THEIRS = SimpleNamespace(name="theirs", version="1.2")
BROKEN = {
    "bad-import": (["no_such_package.model:Model"], "of theirs 1.2 cannot be imported (ModuleNotFoundError"),
    "twice": (["math:pi", "math:tau"], "is registered twice by theirs 1.2; mend or uninstall it"),
    "wrong": (["math:pi"], "of theirs 1.2 is of type float, but a"),
}


@pytest.mark.parametrize("kind", sorted(set(KINDS_OF_PARTS) - {"commands"}))
def test_broken_packages_are_one_line_each_and_leave_the_others_usable(recsys, monkeypatch, kind):
    registry = KINDS.get(kind)
    points = {
        name: [EntryPoint(name, value, f"recsys.{kind}")._for(THEIRS) for value in values]
        for name, (values, _) in BROKEN.items()
    }
    monkeypatch.setattr(registry, "_plugins", points)
    status, out, _ = recsys("list", kind)
    assert status == 0 and all(f" {name} " in out for name in (*BROKEN, *registry.builtin))
    for name, (_, reason) in BROKEN.items():
        status, _, err = recsys("show", kind, name)
        assert status == 2 and err.count("\n") == 1 and reason in err, err
    assert recsys("show", kind, registry.builtin[0])[0] == 0
    assert recsys("train", "--model", "pop", "--dataset", "toy", "--split", "random")[0] == 0


def test_a_broken_package_s_command_says_so_and_the_others_work(recsys, monkeypatch):
    registry = KINDS.get("commands")
    point = EntryPoint("theirs", "no_such_package.cli:main", "recsys.commands")
    monkeypatch.setattr(registry, "_plugins", {"theirs": [point]})
    assert "Out of order" in recsys("--help")[1]
    status, _, err = recsys("theirs")
    assert (
        status == 2
        and err.count("\n") == 1
        and "command 'theirs' of an unknown package cannot be imported" in err
    )
    assert recsys("--version")[0] == 0
