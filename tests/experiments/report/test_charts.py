"""Charts: what they draw of runs, on which axes, and the files that they become."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from recsys import plots
from recsys.experiments.report import maps, svg
from recsys.experiments.report.charts import Chart, Series, charts_of
from recsys.experiments.report.figures import write_figures
from recsys.experiments.report.maps import ItemMap

ROW = {"seeds": 1, "columns": {}}


def trained(label, history, monitor="ndcg@20"):
    """A run as the charts of curves read it."""
    scored = SimpleNamespace(label=label, draw=(0, 0), metrics={"timing": {"total": 1.0}})
    config = SimpleNamespace(settings={"monitor": monitor}, model=label)
    return SimpleNamespace(scored=scored, config=config, history=pd.DataFrame(history))


def curves(*runs):
    table = {"decide_by": "ndcg@20", "rows": [ROW | {"model": run.scored.label} for run in runs]}
    charts = charts_of(SimpleNamespace(runs=runs), table, [])
    return {chart.key: chart for chart in charts}


def test_a_model_trained_in_stages_has_a_curve_for_each():
    whole = trained("lightgcn", {"epoch": [0, 1], "ndcg@20": [0.1, 0.2]})
    stages = {"epoch": [0, 1, 2, 3, 4], "ndcg@20": [0.1, 0.2, 0.5, 0.6, 0.7], "stage": list("aabbb")}
    made = curves(whole, trained("confluence", stages))
    assert [series.name for series in made["curves"].series] == ["lightgcn"]
    assert made["stages"].title == "Learning curves of confluence"
    assert [(one.name, one.x, one.y) for one in made["stages"].series] == [
        ("a", (1, 2), (0.1, 0.2)),
        ("b", (3, 4, 5), (0.5, 0.6, 0.7)),
    ]


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 120, 5000])
def test_epochs_are_whole_numbers_on_the_axis(epochs):
    values = np.linspace(0.1, 0.2, epochs)
    (chart,) = curves(trained("lightgcn", {"epoch": range(epochs), "ndcg@20": values})).values()
    ticks = svg.axes_of(chart)[0].ticks()
    assert ticks and all(value == int(value) and text == str(int(value)) for value, text in ticks)
    assert len({value for value, _ in ticks}) == len(ticks) <= 8


def popularity(*values):
    cells = [{name: {"mean": mean, "interval": (mean - 0.01, mean + 0.02)} for name, mean in values}] * 2
    slices = [{"key": key, "cells": part} for key, part in zip(("head", "tail"), cells, strict=True)]
    table = {"decide_by": "ndcg@20", "rows": [ROW | {"model": name} for name, _ in values]}
    return charts_of(SimpleNamespace(runs=[]), table, slices)[0]


def test_head_and_tail_are_dots_beside_each_other_and_never_joined():
    chart = popularity(("pop", 0.1), ("ease", 0.3))
    assert chart.kind == "dots" and chart.x_names == ("tail", "head")
    drawn = str(svg.draw(chart, "x"))
    assert 'class="line' not in drawn and drawn.count('class="bar"') == 2
    places = [svg.shifted(chart, number) for number in (0, 1)]
    assert places == [(-0.25, 0.75), (0.25, 1.25)]
    alone = popularity(("pop", 0.1))
    assert svg.shifted(alone, 0) == (0, 1)


HOSTILE = "$x$ _a_ <b>&amp;\\"


def test_files_embed_truetype_fonts_and_are_equal_byte_for_byte(tmp_path):
    line = Chart(
        "c", HOSTILE, "epoch", "ndcg@20", "lines", (Series(HOSTILE, (1, 2), (0.1, 0.2)),), x_whole=True
    )
    dots = popularity(("_a", 0.1), ("$b$", 0.2))
    point = Chart("p", "t", "x", "y", "points", (Series("a", (1.0,), (1.0,), (0.5,), (1.5,)),))
    places = np.arange(20).reshape(10, 2)
    kinds = ["Drama", "other"]
    names = ["Drama", "War"] * 5
    shown = ItemMap("m", "toy", np.arange(10), places, kinds, np.arange(10) % 2, "genres", names)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert write_figures([("t", [line, dots, point])], [shown], tmp_path / name) == []
    files = sorted((tmp_path / "a" / "figures").iterdir())
    assert len(files) == 8
    for path in files:
        data = path.read_bytes()
        assert data == (tmp_path / "b" / "figures" / path.name).read_bytes()
        if path.suffix == ".pdf":
            assert b"/FontFile2" in data and b"/CIDFontType2" in data and b"/Type3" not in data
    svg_text = (tmp_path / "a" / "figures" / "t-c.svg").read_text()
    assert "$x$ _a_ &lt;b&gt;&amp;amp;" in svg_text
    assert "_a" in (tmp_path / "a" / "figures" / "t-popularity.svg").read_text()


def test_the_first_32_series_look_different():
    assert len({plots.look(number) for number in range(32)}) == 32
    pairs = {(number % svg.SHAPES, svg.dash(number)) for number in range(32)}
    assert len(pairs) == 32 and len(plots.PALETTE) == len(plots.PALETTE_DARK) == len(plots.MARKERS)


def test_the_map_names_the_categories_that_share_a_mark():
    genres = [f"g{n}" for n in range(10) for _ in range(12 - n)]
    items = np.arange(len(genres))
    names, by = maps._categories(SimpleNamespace(item_attributes=pd.DataFrame({"genres": genres})), items)
    kinds, kind = maps._codes(names)
    assert by == "genres" and kinds == [*(f"g{n}" for n in range(7)), "other"]
    drawn = ItemMap("m", "toy", items, np.zeros((len(items), 2)), kinds, kind, by, names)
    assert drawn.further == {name: names.count(name) for name in ("g7", "g8", "g9")}
    assert [kinds[k] for k in kind] == [n if n in kinds else "other" for n in names]
    eight = maps._codes([n for n in names if n < "g8"])[0]
    assert eight == [f"g{n}" for n in range(8)]
    assert ItemMap("m", "toy", items, kind, ["a", "other"], kind, by, ["a", "other"]).further == {}
