"""The report: what it says is what the runs hold, whatever else lies in the folder."""

import dataclasses
import errno
import html
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys import files, toy_data
from recsys.datasets.convert import convert
from recsys.errors import UserError
from recsys.experiments import demo
from recsys.experiments.bench import results as results_module
from recsys.experiments.bench.runner import BenchOptions, run_bench
from recsys.experiments.report import explorer, figures, sources
from recsys.experiments.report.charts import charts_of
from recsys.experiments.report.collect import Group, collect
from recsys.experiments.report.phrasing import verdict_words
from recsys.experiments.report.slices import by_activity
from recsys.experiments.report.svg import Axis, mark
from recsys.experiments.report.write import ReportOptions, write_report
from recsys.inputs.corruption import ContentCorruption
from recsys.runs.config import RunConfig
from recsys.runs.recommend import RecommendRequest, recommend
from recsys.runs.run import execute, load_run, prepare

TINY = {"width": 4, "max_epochs": 3, "batch_size": 64}
FILE = {
    "title": "Toys & <b>others</b>",
    "models": {
        "pop": None,
        "itemknn": None,
        "content": {"model": "contentknn"},
        "small lightgcn": {"model": "lightgcn", "settings": TINY},
    },
    "datasets": ["toy"],
    "splits": ["random", "cold-item"],
    "seeds": [0, 1],
}


class Tables(HTMLParser):
    """Every table of a page: its label's id, its header, and its rows of (text, data-v)."""

    def __init__(self, page):
        super().__init__()
        self.found, self._row, self._text = {}, None, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table":
            self._rows = self.found.setdefault(attrs["aria-labelledby"], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append(["", attrs.get("data-v")])
            self._text = self._rows[-1][-1]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._text = None

    def handle_data(self, data):
        if self._text is not None:
            self._text[0] += data


def tables(page):
    return Tables(page.read_text(encoding="utf-8")).found


def embedded(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def report(folder, **options):
    out = io.StringIO()
    page = write_report(folder, ReportOptions(**options), Console(file=out, width=300))
    return page, out.getvalue()


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """A finished experiment of 16 cells."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "toys.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    options = BenchOptions(out=folder / "out", data_root=str(root))
    run_bench(str(folder / "toys.yaml"), options, Console(file=io.StringIO()))
    return folder / "out"


@pytest.fixture(scope="module")
def page(runs):
    return report(runs)[0]


@pytest.fixture(autouse=True)
def few_files(page, monkeypatch):
    """After the first report charts are drawn, but not saved as files again."""
    monkeypatch.setattr(figures, "_save", lambda *a: None)


@pytest.fixture
def copy(runs, tmp_path):
    """The experiment's folder, to break."""
    return shutil.copytree(runs, tmp_path / "copy", ignore=shutil.ignore_patterns("report"))


def test_the_ranking_holds_the_means_of_the_runs_highest_first(runs, page):
    for number, split in enumerate(("random", "cold-item")):
        header, *rows, chance = tables(page)[f"table{number}-rank"]
        names = [cell[0].strip() for cell in header]
        assert names[:4] == ["#", "model", "ndcg@20", "verdict"]
        assert len(rows) == 4 and chance[1][0] == "chance"
        values = [float(row[2][1]) for row in rows]
        assert values == sorted(values, reverse=True)
        for row in rows:
            label = row[1][0].replace("*", "").strip()
            stem = f"{label.replace(' ', '-')}-on-toy-{split}-seed-"
            metrics = [json.loads(p.read_text()) for p in runs.glob(f"jobs/{stem}*/metrics.json")]
            assert len(metrics) == 2
            wanted = {"ndcg@20": ("test", "ndcg@20"), "recall@20": ("test", "recall@20")}
            if split == "cold-item":
                wanted |= {"recall@20 cold items": ("test_cold", "recall@20")}
            for column, (group, metric) in wanted.items():
                mean = np.mean([m[group][metric] for m in metrics])
                assert float(row[names.index(column)][1]) == pytest.approx(mean)
                assert f"{mean:.4f}" in row[names.index(column)][0]
            assert float(row[-1][1]) == pytest.approx(np.mean([m["timing"]["total"] for m in metrics]))


def test_slices_agree_with_the_runs(runs, page):
    header, *rows, _ = tables(page)["table1-slices"]
    names = [re.sub(r"\d+ users$", "", cell[0]).strip() for cell in header]
    assert {"all", "warm items", "cold items", "cold among cold"} <= set(names)
    for row in rows:
        label = row[0][0].replace("*", "").strip().replace(" ", "-")
        found = runs.glob(f"jobs/{label}-on-toy-cold-item-seed-*/metrics.json")
        metrics = [json.loads(p.read_text()) for p in found]
        for name, group in (("all", "test"), ("warm items", "test_warm"), ("cold items", "test_cold")):
            mean = np.mean([m[group]["ndcg@20"] for m in metrics])
            assert float(row[names.index(name)][1]) == pytest.approx(mean)


def test_every_run_is_listed_with_its_value(runs, page):
    _, *rows = tables(page)["runs-t"]
    assert len(rows) == 16
    for row in rows:
        folder = runs / row[-1][0]
        metrics = json.loads((folder / "metrics.json").read_text())
        assert float(row[6][1]) == metrics["test"]["ndcg@20"] and row[4][0] == str(metrics["seed"])


def test_every_run_tells_the_memory_that_it_took(runs, page):
    _, *rows = tables(page)["runs-t"]
    for row in rows:
        record = json.loads((runs / row[-1][0] / "environment.json").read_text())
        assert row[9][0] == f"{record['usage']['peak_memory_mib']:,.0f} MiB"


def test_the_files_say_what_the_page_says(runs, page):
    folder = page.parent
    rows = tables(page)["table0-rank"][1:-1]
    frame = pd.read_csv(folder / "tables.csv").set_index(["split", "model", "column"])
    markdown, latex = (folder / "tables.md").read_text(), (folder / "tables.tex").read_text()
    for row in rows:
        label = row[1][0].replace("*", "").strip()
        assert frame.loc[("random", label, "ndcg@20"), "mean"] == pytest.approx(float(row[2][1]))
        assert f"{float(row[2][1]):.4f}" in markdown and f"{float(row[2][1]):.4f}" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == latex.count(r"\end{table}") == 6
    assert r"cold\_pool:recall@20" in latex and r"95\% interval" in latex
    assert all(line.endswith(r"\\") for line in latex.splitlines() if " & " in line)
    values = pd.read_csv(folder / "figures.csv")
    assert {"time", "curves", "warm-cold", "popularity"} == set(values["chart"])
    one = values[(values["chart"] == "time") & (values["model"] == "itemknn")]
    assert one["y"].tolist() == pytest.approx(
        [frame.loc[(split, "itemknn", "ndcg@20"), "mean"] for split in ("random", "cold-item")]
    )


def test_figures_are_svg_with_text_and_pdf(page):
    names = {p.name for p in (page.parent / "figures").iterdir()}
    assert len(names) == 2 * len({n.rpartition(".")[0] for n in names}) and "toy-map.pdf" in names
    svg = (page.parent / "figures" / "toy-random-curves.svg").read_text()
    assert ">small lightgcn</text>" in svg
    assert (page.parent / "figures" / "toy-map.pdf").read_bytes().startswith(b"%PDF")


def test_learning_curves_are_the_histories(runs, page):
    values = pd.read_csv(page.parent / "figures.csv").query("chart == 'curves' and table == 'toy, random'")
    (folder,) = runs.glob("jobs/small-lightgcn-on-toy-random-seed-0-*")
    history = pd.read_csv(folder / "history.csv")
    assert values["y"].tolist() == pytest.approx(history["ndcg@20"].tolist())
    assert values["x"].astype(float).tolist() == (history["epoch"] + 1).tolist()


def test_the_page_fetches_nothing_and_is_small(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text and len(text) < 300_000
    assert not re.search(r"""(?:src|href|action)\s*=\s*["'](?!#|data:,)""", text)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", text)


def test_people_have_pseudonyms_unless_their_data_set_is_public(copy, root, toy, monkeypatch):
    """A page is made to be passed on."""
    from recsys.experiments.report import sources

    load = sources.load_dataset
    monkeypatch.setattr(sources, "load_dataset", lambda *a: dataclasses.replace(load(*a), public=False))
    page, _ = report(copy)
    for table in embedded(page)["tables"]:
        assert [user["id"] for user in table["users"]] == [
            f"user {n + 1}" for n in range(len(table["users"]))
        ]


def test_the_explorer_lists_what_recommend_says(runs, page, root, toy):
    data = embedded(page)
    table = next(t for t in data["tables"] if t["title"] == "toy, cold-item")
    assert len(table["users"]) <= 50 and set(table["models"]) == set(FILE["models"])
    for model in ("content", "small lightgcn"):
        (folder,) = runs.glob(f"jobs/{model.replace(' ', '-')}-on-toy-cold-item-seed-0-*")
        run = load_run(folder, str(root))
        for user, top in list(zip(table["users"], table["lists"][table["models"].index(model)], strict=True))[
            ::7
        ]:
            frame = recommend(run, RecommendRequest(user["id"], k=10, held_out=True)).frame
            assert [toy.item_ids[i] for i in top] == frame["item"].tolist()
            held = {toy.item_ids[i] for i in user["held"]}
            assert [item in held for item in frame["item"]] == frame["held_out"].tolist()
            row = int(user["id"][1:])
            pairs = run.dataset.interactions
            known = pairs.iloc[np.concatenate([run.split.train, run.split.valid])]
            assert user["n"] == (known["user"] == row).sum()
            assert set(user["had"]) <= set(known[known["user"] == row]["item"])


def test_nearest_items_are_by_cosine_of_each_modality(page, toy):
    items = embedded(page)["items"]["toy"]
    assert list(items["near"]) == ["image", "tags"]
    image = toy.modalities["image"].features.astype(np.float64)
    unit = image / np.linalg.norm(image, axis=1, keepdims=True)
    for item, near in zip(items["with"], items["near"]["image"], strict=True):
        order = [i for i in np.argsort(-unit @ unit[item], kind="stable") if i != item]
        assert near == order[:5]
    mask = toy.modalities["tags"].mask
    for item, near in zip(items["with"], items["near"]["tags"], strict=True):
        assert len(near) == (5 if mask[item] else 0) and all(mask[i] for i in near)


def test_the_map_holds_the_best_models_vectors(page, toy):
    (found,) = embedded(page)["maps"]
    assert len(found["places"]) == 2 * len(found["items"]) and max(found["places"]) == 1000
    assert set(found["names"]) <= {"head", "tail", "no training interaction"}
    assert "by the vectors of small lightgcn" in page.read_text()


def test_a_second_report_computes_no_verdict_again(runs, page, monkeypatch):
    monkeypatch.setattr(results_module, "_column", None)
    before = page.read_bytes()
    assert report(runs)[0].read_bytes() == before


def test_the_same_tables_without_results_json(copy, page):
    (copy / "results.json").unlink()
    again, _ = report(copy)
    assert {k: v for k, v in tables(again).items() if "rank" in k}.keys() == {"table0-rank", "table1-rank"}
    old, new = (
        {r[1][0]: r[2][1] for r in t[1:-1]} for t in (tables(p)["table1-rank"] for p in (page, again))
    )
    assert new == old and "<h1>Runs in copy</h1>" in again.read_text()


HOSTILE = "</script><img src=x onerror=alert(1)>&amp;<!--"


def test_hostile_names_stay_text(toy, tmp_path):
    attributes = toy.item_attributes.assign(
        title=HOSTILE, category=[f"<i>{n % 2}" for n in range(toy.n_items)]
    )
    convert(replace(toy, item_attributes=attributes), tmp_path / "data" / "toy")
    file = FILE | {"models": {"<svg onload=a>&": {"model": "lightgcn", "settings": TINY}}, "seeds": [0]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(file))
    options = BenchOptions(out=tmp_path / "out", data_root=str(tmp_path / "data"))
    run_bench(str(tmp_path / "x.yaml"), options, Console(file=io.StringIO()))
    page, _ = report(tmp_path / "out")
    text = page.read_text()
    assert "<img" not in text and "<svg onload" not in text and "<b>others" not in text and "<i>0" not in text
    assert text.count("</script>") == 2 and "<!--" not in text
    assert set(embedded(page)["items"]["toy"]["titles"]) == {html.unescape(HOSTILE)}
    assert embedded(page)["tables"][0]["models"] == ["<svg onload=a>&"]


def test_broken_runs_are_named_and_skipped(copy):
    cells = sorted((copy / "jobs").glob("*-random-seed-1-*"))
    content, itemknn, pop, lightgcn = cells
    (content / "metrics.json").write_text("{")
    (itemknn / "per_user.parquet").write_bytes(b"PAR1")
    (pop / "config.yaml").write_text("a: [")
    (lightgcn / "metrics.json").unlink()
    (lightgcn / "error.json").write_text(json.dumps({"error": "ValueError: <b>no</b>", "cell": "x"}))
    (unread,) = (copy / "jobs").glob("small-lightgcn-on-toy-random-seed-0-*")
    (unread / "model.safetensors").write_bytes(b"nothing")
    stopped = shutil.copytree(content, copy / "jobs" / "stopped")
    (stopped / "metrics.json").unlink()
    (stopped / "job.json").unlink()
    page, said = report(copy)
    text = page.read_text()
    for folder in (*cells, stopped):
        assert f"left out: jobs/{folder.name}: " in said and f"<code>jobs/{folder.name}</code>" in text
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in text and "not finished: it has no metrics.json" in text
    assert f"not explored: jobs/{unread.name}: " in said
    _, *rows, _ = tables(page)["table0-rank"]
    assert len(rows) == 4 and len(tables(page)["runs-t"]) == 1 + 12
    assert json.loads((page.parent / "results.json").read_text())["failed"].keys() == {
        f"jobs/{folder.name}" for folder in (*cells, stopped)
    }
    table = next(t for t in embedded(page)["tables"] if t["title"] == "toy, random")
    assert "small lightgcn" not in table["models"] and len(table["models"]) == 3


def test_folders_without_a_readable_run(recsys, tmp_path):
    assert "there is no folder nowhere" in recsys("report", "nowhere")[2]
    status, _, err = recsys("report", tmp_path)
    assert status == 2 and err.count("\n") == 1 and "holds no run" in err
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.json").write_text("[]")
    status, _, err = recsys("report", tmp_path)
    assert status == 2 and err.count("\n") == 1 and "no readable run; the first of 1: a: " in err
    assert not (tmp_path / "report").exists()


def test_a_full_disk_leaves_the_old_page_whole(copy, monkeypatch):
    page, _ = report(copy)
    before, real, calls = page.read_bytes(), files.os.fsync, iter(range(10**6))

    def fill_up(handle):
        if next(calls) >= 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(files.os, "fsync", fill_up)
    with pytest.raises(UserError, match="no space left to write"):
        report(copy)
    assert page.read_bytes() == before and not list(page.parent.rglob(".*"))


def test_the_newer_of_two_runs_of_the_same_seeds_counts(copy):
    (copy / "results.json").unlink()
    (old,) = (copy / "jobs").glob("itemknn-on-toy-random-seed-0-*")
    new = shutil.copytree(old, copy / "jobs" / "another")
    metrics = json.loads((new / "metrics.json").read_text())
    metrics["timing"]["total"] = 1000.0
    (new / "metrics.json").write_text(json.dumps(metrics))
    found = collect(copy)
    assert found.replaced == [f"jobs/{old.name}"] and len([r for g in found.groups for r in g.runs]) == 16
    assert "jobs/another" in {run.name for group in found.groups for run in group.runs}


def test_runs_without_labels_are_told_apart_by_their_settings(root, tmp_path):
    for name, model, settings in (
        ("a", "itemknn", {"k": 3}),
        ("b", "itemknn", {"k": 5}),
        ("c", "contentknn", {}),
        ("d", "contentknn", {"modalities": ["image"]}),
    ):
        config = RunConfig(model=model, dataset="toy", split="random", settings=settings, data_root=str(root))
        execute(prepare(config), tmp_path / name)
    (group,) = collect(tmp_path).groups
    labels = {run.name: run.scored.label for run in group.runs}
    assert labels["a"] == "itemknn (k 3)" and labels["b"] == "itemknn (k 5)"
    assert labels["d"] == "contentknn (modalities [image])"
    page, _ = report(tmp_path)
    values = pd.read_csv(page.parent / "figures.csv").query("chart == 'modalities'")
    assert values["x"].tolist() == ["all", "image"] and values["model"].tolist() == ["contentknn"] * 2
    for name, y in zip("cd", values["y"], strict=True):
        assert y == pytest.approx(
            json.loads((tmp_path / name / "metrics.json").read_text())["test"]["ndcg@20"]
        )


def test_without_data_or_matplotlib_the_rest_is_there(copy, monkeypatch, tmp_path):
    for path in copy.rglob("config.yaml"):
        path.write_text(
            yaml.safe_dump(yaml.safe_load(path.read_text()) | {"data_root": str(tmp_path / "gone")})
        )
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    page, said = report(copy)
    assert "pip install 'recsys[plots]'" in said and not (page.parent / "figures").exists()
    text = page.read_text()
    assert (
        'id="explorer"' not in text and "it cannot be read here" in text and text.count("<svg viewBox") == 7
    )
    assert len(tables(page)["table0-rank"]) == 6


def test_other_data_than_the_runs_had_are_not_explored(copy, toy, tmp_path):
    convert(replace(toy, item_attributes=toy.item_attributes.assign(title="x")), tmp_path / "data" / "toy")
    page, said = report(copy, data_root=str(tmp_path / "data"))
    assert "it has other content here than when the runs were made" in said and not embedded(page)["tables"]


def test_bundles_take_the_users_place(tmp_path, monkeypatch):
    bundled = _bundled()
    config = RunConfig(model="cooccurrence", dataset="bundled", task="bundle", split="random")
    run = prepare(config, bundled)
    execute(run, tmp_path / "a")
    monkeypatch.setattr(sources, "load_dataset", lambda *a: bundled)
    page, _ = report(tmp_path)
    (table,) = embedded(page)["tables"]
    assert table["noun"] == "bundle" and "bundles" in tables(page)["table0-slices"][0][1][0]
    given = run.dataset.matrix(run.split.test_support)
    held = run.dataset.matrix(run.split.test)
    for bundle, top in zip(table["users"], table["lists"][0], strict=True):
        row = int(bundle["id"][1:])
        assert set(bundle["had"]) == set(given[[row]].indices) and set(bundle["held"]) == set(
            held[[row]].indices
        )
        assert not set(top) & set(bundle["had"])


def _bundled():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "recsys" / "models" / "bundle" / "conftest.py"
    spec = importlib.util.spec_from_file_location("toy_bundles", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.bundled.__wrapped__()


def test_activity_divides_the_users_in_three():
    table = {"a": np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, np.nan]])}
    activity = {(0, 0): np.array([1, 2, 3, 4, 5, 6, 99])}
    parts = dict(by_activity(table, [(0, 0)], activity))
    assert list(parts) == ["users of 1–2 items", "users of 3–4 items", "users of 5–6 items"]
    means = [np.nanmean(part["a"]) for part in parts.values()]
    assert means == pytest.approx([0.15, 0.35, 0.55])
    assert by_activity(table, [(0, 0)], {}) == []
    assert by_activity(table, [(0, 0)], {(0, 0): np.ones(7, dtype=int)}) == []


def _row(model, **cell):
    return {"model": model, "columns": {"m": cell}}


def test_verdicts_in_words():
    against = {"reference": "a", "difference": -0.02, "interval": [-0.03, -0.01], "smallest_detectable": 0.04}
    rows = [
        _row("a", verdict="highest, not shown best", may_be_best=True),
        _row("b", verdict="no difference", may_be_best=True, against=against),
        _row("c", verdict="worse", may_be_best=False, against=against),
        _row("d", verdict="equivalent", may_be_best=True, against=against),
    ]
    said = [verdict_words(row, {"rows": rows, "decide_by": "m"}, 0.01) for row in rows]
    assert said == [
        "highest, but not shown to be better than b and d",
        "not shown to differ from a; a difference of 0.0400 would be detected",
        "worse than a, by 0.0200 (0.0100 to 0.0300)",
        "as good as a: any difference is below 1%",
    ]


def test_axes_and_marks():
    axis = Axis(0.0, 1.0, 0, 112)
    assert axis(0.0) == pytest.approx(6) and axis(1.0) == pytest.approx(106)
    assert [t for _, t in axis.ticks()] == ["0", "0.25", "0.5", "0.75", "1"]
    log = Axis(1.0, 100.0, 0, 112, log=True)
    assert log(10.0) == pytest.approx(56) and [t for _, t in log.ticks()] == [
        "1",
        "10",
        "100",
    ]
    assert Axis(0.0, 0.0, 0, 1).ticks() and len({mark(n, 5, 5) for n in range(8)}) == 8


def test_a_chart_needs_something_to_show():
    group = SimpleNamespace(runs=[])
    assert charts_of(group, {"rows": [], "decide_by": ""}, []) == []


def test_titles_are_read_as_html_writes_them():
    assert explorer._plain("Tom &amp; Jerry \n x") == "Tom & Jerry x"
    assert len(explorer._plain("a" * 500)) == 90 and explorer._plain("a" * 500).endswith("…")


def test_the_command_offers_as_much_as_asked_for(recsys, copy):
    status, out, _ = recsys("report", copy, "--users", "3", "--models", "1")
    assert status == 0 and f"report: {copy / 'report' / 'index.html'}" in out
    table = embedded(copy / "report" / "index.html")["tables"][0]
    assert len(table["users"]) == 3 and len(table["models"]) == 1


@pytest.fixture
def small_demo(monkeypatch):
    monkeypatch.setattr(demo, "DATASET", "toy")
    monkeypatch.setattr(demo, "MODELS", ("pop", "itemknn"))
    monkeypatch.setattr(demo, "BUNDLE_MODELS", ("pop", "cooccurrence-content"))


def test_the_demo_ends_with_a_report(recsys, small_demo, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "BUNDLES", "elsewhere")
    status, out, _ = recsys("--out", "demo")
    assert status == 0 and "report, to open in a browser: demo/report/index.html" in out
    assert "no bundles to complete: there is no data set 'elsewhere'" in out
    assert len(tables(tmp_path / "demo" / "report" / "index.html")["runs-t"]) == 1 + 4


def test_the_demo_completes_bundles_where_there_are_some(
    recsys, small_demo, root, shared_data, monkeypatch, tmp_path
):
    shutil.copytree(root, tmp_path / "data")
    (tmp_path / "data" / "bundle-electronic").symlink_to(shared_data / "bundle-electronic")
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    assert recsys("--out", "demo")[0] == 0
    page = tmp_path / "demo" / "report" / "index.html"
    assert len(tables(page)["runs-t"]) == 1 + 6
    (table,) = (t for t in embedded(page)["tables"] if t["dataset"] == "bundle-electronic")
    assert table["noun"] == "bundle" and len(table["lists"]) == 2
    held = [set(user["held"]) for user in table["users"]]
    assert any(held[u] & set(ranked) for u, ranked in enumerate(table["lists"][0]))


def test_what_users_had_is_theirs_the_newest_first():
    data = toy_data()
    rows, users = np.arange(0, len(data.interactions), 2), np.array([3, 8])
    expected = {3: [], 8: []}
    for one in data.interactions.iloc[rows].sort_values("timestamp", ascending=False).itertuples():
        if one.user in expected:
            expected[one.user].append(one.item)
    assert explorer._latest_first(data, rows, users) == expected


def test_a_split_of_one_data_set_is_made_once():
    data = toy_data()
    group = Group("toy", "recommend", "random", {"test": 0.2}, ContentCorruption(), "", [])
    assert sources.split_of(data, group, 0) is sources.split_of(data, group, 0)
    assert sources.split_of(data, group, 1) is not sources.split_of(data, group, 0)
    assert sources.split_of(toy_data(), group, 0) is not sources.split_of(data, group, 0)
