"""Tables as Markdown and LaTeX: text from data stays text, figures stand where they should."""

from __future__ import annotations

import pytest

from recsys.experiments.bench.tables import Bold, latex, markdown, markdown_table


@pytest.fixture
def results():
    def row(model, mean, best):
        column = {"mean": mean, "may_be_best": best, "interval": [0.1, 0.3], "verdict": "best"}
        return {
            "model": model,
            "ranks_cold_items": True,
            "columns": {"ndcg@20": column},
            "seconds": 1.25,
            "seeds": 3,
            "seeds_wanted": 3,
        }

    table = {
        "title": "50% of a_b & c",
        "columns": ["ndcg@20"],
        "decide_by": "ndcg@20",
        "seeds": 3,
        "rows": [row("a|b*_<i>", 0.25, True), row("x_1", 0.125, False)],
        "chance": {"ndcg@20": 0.01},
    }
    return {"title": None, "tables": [table], "paper": [], "failed": {"x_2": "ValueError: [a](b)\nno"}}


def rows_of(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line[1:-1].split(" | ")] for line in text.splitlines() if line[:1] == "|"
    ]


def test_markdown_escapes_what_it_would_read_as_more_than_text(results):
    lines = rows_of(markdown(results))
    assert lines[0] == ["model", "ndcg@20", "seconds"]
    assert lines[2] == [r"a\|b\*\_\<i>", "**0.2500**", "1.2"]
    assert lines[3] == ["x_1", "0.1250", "1.2"] and lines[4] == ["chance", "0.0100", ""]
    assert r"- x_2: ValueError: [a]\(b) no" in markdown(results)


def test_a_markdown_table_aligns_text_left_and_numbers_right():
    lines = markdown_table(["model", "n"], [["007", Bold("1.10")], ["1e5", "2"]]).splitlines()
    assert lines[1].replace("-", "") == "|:|:|" or (lines[1][1] == ":" and lines[1].endswith(":|"))
    assert rows_of("\n".join(lines))[2:] == [["007", "**1.10**"], ["1e5", "2"]]


def test_latex_escapes_and_rules_off_the_chance_level(results):
    text = latex(results)
    assert (
        r"\caption{50\% of a\_b \& c. means over seeds; bold: not shown to be worse than any other.}" in text
    )
    assert r"a|b*\_<i> & \textbf{0.2500} & 1.2 \\" in text and r"x\_1 & 0.1250 & 1.2 \\" in text
    assert "\\\\\n\\midrule\nchance & 0.0100 &  \\\\\n\\bottomrule" in text
    assert text.count(r"\toprule") == text.count(r"\end{table}") == 2
