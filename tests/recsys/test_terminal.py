"""Whatever text data hold, a terminal shows it and obeys nothing in it."""

import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recsys as engine
from recsys.cli.app import main
from recsys.errors import LISTED, nearest
from recsys.runs.tables import make_table
from recsys.terminal import PlainConsole, for_spreadsheets, one_line, visible

HOSTILE = [
    "[/red]",
    "[bold]x",
    "[link=http://x]y[/link]",
    "a\x1b[31mb",
    "\x07\x9b0m",
    ":smile:",
    "\u202eabc",
    "=1+1",
]


@given(st.text())
def test_no_control_character_is_sent(text):
    shown = visible(text)
    assert shown.isprintable() or set(c for c in shown if not c.isprintable()) <= {"\n", "\t"} | set(
        c for c in text if c.isspace() or ord(c) > 0xFF
    )
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)


@given(st.text(max_size=40))
def test_tables_show_text_as_it_is(text):
    out = io.StringIO()
    table = make_table(text, ["a", "b"], text)
    table.add_row(text, text)
    console = PlainConsole(file=out, width=400, force_terminal=False)
    console.print(table)
    console.print(text)
    assert "\x1b" not in out.getvalue()
    if text.isalnum() and text.isascii():
        assert out.getvalue().count(text) >= 4


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_titles_and_ids_are_printed_and_written(text, tmp_path, capsys):
    data = engine.toy_data()
    users = data.user_ids[data.interactions["user"]]
    items = data.item_ids[data.interactions["item"]]
    products = data.item_attributes.assign(item=data.item_ids, title=text)
    named = pd.Series(users).replace("u1", text)
    clicks = pd.DataFrame({"user": named, "item": pd.Series(items).replace("p01", text)})
    products["item"] = products["item"].replace("p01", text)
    made = engine.Dataset.from_frame(clicks, items=products, content={"department": "category"})
    run = engine.train("itemknn", made)
    run.save(tmp_path / "run")
    for more in ([], ["--output", str(tmp_path / "made.csv"), "--held-out"]):
        with pytest.raises(SystemExit) as ended:
            main(["recommend", "--run", str(tmp_path / "run"), "--user", text, "-k", "60", *more])
        out = capsys.readouterr()
        assert ended.value.code in (0, None), out.err
        assert "\x1b" not in out.out and "\x07" not in out.out and "\u202e" not in out.out
        if not more:
            assert visible(text) in out.out
    cells = (tmp_path / "made.csv").read_text().replace("\n", ",").split(",")
    assert not any(cell.startswith(("=", "@")) for cell in cells)


def test_texts_that_are_no_formulas_stay():
    frame = pd.DataFrame({"a": ["x", "-1", "@b"], "n": [-1, 2, -3]})
    assert for_spreadsheets(frame)["a"].tolist() == ["x", "'-1", "'@b"]
    assert for_spreadsheets(frame)["n"].tolist() == [-1, 2, -3]


def test_an_unknown_id_names_at_most_three_others():
    ids = [f"user{n}@example.org" for n in range(20_000)]
    told = nearest("USER17@example.org ", ids)
    assert told == "; did you mean 'user17@example.org'?"
    assert nearest("somebody", ids) == "; it is none of the 20,000 known"
    names = [f"part-{n}" for n in range(100)] + ["harmonic"]
    assert nearest("harmnoic", names) == "; did you mean 'harmonic'?"
    assert nearest("xyz", names) == "; it is none of the 101 known"
    assert nearest("user19999@example.com", ids).count("@") <= 3
    assert "known: " in nearest("zzz", ids[: LISTED - 1])


@given(st.text(max_size=2000))
def test_an_error_is_one_short_line(text):
    line = one_line(engine.UserError(text))
    assert len(line.splitlines()) <= 1 and len(line) <= 440
