"""The schemas of files are those of the code that reads them: every shipped file fits, and a mistyped key does not."""

import json
from pathlib import Path

import pytest
import yaml

from recsys.cli.parts.schemas import page, schema_of

jsonschema = pytest.importorskip("jsonschema", reason="checks the schemas")
ROOT = Path(__file__).parents[3]
FILES = {
    "card": sorted((ROOT / "datasets/cards").glob("*.yaml")),
    "experiment": sorted((ROOT / "experiments/configs").glob("[ta]*/*.yaml")),
    "scan": sorted((ROOT / "experiments/configs/scans").glob("*.yaml")),
}


def faults(kind, values):
    checker = jsonschema.Draft202012Validator(schema_of(kind))
    return [error.message for error in checker.iter_errors(values)]


@pytest.mark.parametrize("kind", FILES)
def test_every_shipped_file_fits(kind):
    assert len(FILES[kind]) > 5
    for path in FILES[kind]:
        assert faults(kind, yaml.safe_load(path.read_text())) == [], path.name


def table(**options):
    return {"name": "x", "reader": "table", "options": {"interactions": "x.csv"} | options}


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        (table(), True),
        (table(content={"title": "text"}), True),
        (table(content={"title": {"encoder": "text", "columns": ["a", "b"], "width": 3}}), True),
        (table(content={"kind": {"encoder": "category", "separator": ";"}}), True),
        (table(content={"title": {"encoder": "text", "widht": 3}}), False),
        (table(intercations="x.csv"), False),
        ({"name": "x", "reader": "tabel"}, False),
        ({"name": "x", "reader": "mmrec", "options": {"width": 3}}, False),
    ],
)
def test_what_the_schema_of_a_card_takes(values, fits):
    assert (faults("card", values) == []) == fits


def test_the_command_prints_it_and_writes_the_page(recsys, tmp_path):
    status, out, _ = recsys("schema", "card")
    assert status == 0 and json.loads(out) == schema_of("card")
    assert recsys("schema", "--page", "files.md")[0] == 0
    assert (tmp_path / "files.md").read_text() == page()


def test_the_page_in_the_docs_is_the_codes():
    """Written again by `recsys schema --page docs/reference/files.md`."""
    assert (ROOT / "docs/reference/files.md").read_text(encoding="utf-8") == page()


def test_every_key_has_a_meaning():
    def described(part):
        fields = part.get("properties", {})
        return [
            name for name, field in fields.items() if not field.get("description") and "$ref" not in field
        ]

    for kind in FILES:
        schema = schema_of(kind)
        for name, part in {"": schema, **schema.get("$defs", {})}.items():
            if name not in ("Columns", "MovieLensOptions"):
                assert not described(part), (kind, name, described(part))
