"""Result files and the pages written from them: the kept pages are current, and a benchmark's folder becomes a page."""

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console

from recsys.errors import UserError
from recsys.experiments.bench import claims, objectives, pages
from recsys.experiments.bench.result_file import ResultFile, as_json, write_results
from recsys.experiments.bench.runner import BenchOptions, run_bench

ROOT = Path(__file__).parents[3]
TOYS = {
    "title": "Toys",
    "models": {"pop": None, "near": {"model": "itemknn", "settings": {"k": 3}}},
    "datasets": ["toy"],
    "splits": [{"protocol": "random", "seeds": [4]}],
    "seeds": [0, 1],
    "columns": ["recall@20"],
    "reference": "pop",
}


@pytest.fixture(scope="module")
def measured(root, tmp_path_factory):
    """A benchmark's folder, and what results.json holds."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "toys.yaml").write_text(yaml.safe_dump(TOYS, sort_keys=False))
    options = BenchOptions(out=folder / "toys", data_root=str(root))
    return folder / "toys", run_bench(str(folder / "toys.yaml"), options, Console(file=io.StringIO()))


def test_the_pages_are_what_the_command_writes():
    written = pages.pages(ROOT)
    # These are written by other commands, or by hand from what they print.
    own = {"parity.md", "scale.md", "seeds.md", "updates.md"}
    others = {path.name for path in (ROOT / pages.PAGES).iterdir()} - own
    assert others == {path.name for path in written}
    for path, text in written.items():
        assert path.read_text(encoding="utf-8") == text, f"run {pages.COMMAND}"


def test_diagnostics_of_the_vectors_are_means_over_the_runs(root, tmp_path):
    row = {"model": "lightgcn", "settings": {"width": 4, "max_epochs": 3, "diagnostics": True}}
    path = tmp_path / "toys.yaml"
    path.write_text(yaml.safe_dump(TOYS | {"models": {"pop": None, "trained": row}}, sort_keys=False))
    options = BenchOptions(out=tmp_path / "toys", data_root=str(root))
    run_bench(str(path), options, Console(file=io.StringIO()))
    (table,) = pages.from_bench(tmp_path / "toys").tables
    rows = {row.model: row.vectors for row in table.rows}
    values = []
    for run in (tmp_path / "toys" / "jobs").glob("trained*"):
        history = pd.read_csv(run / "history.csv", index_col="epoch")
        best = json.loads((run / "metrics.json").read_text())["best_epoch"]
        values.append(history["embedding_effective_rank_items"][best])
    assert rows["pop"] == {} and len(values) == 2
    assert rows["trained"]["effective_rank_items"] == pytest.approx(sum(values) / 2, rel=1e-3)
    assert "effective rank items" in pages.page("toys", pages.from_bench(tmp_path / "toys"))


def test_a_copied_result_file_claims_nothing_that_was_not_kept():
    for path in (ROOT / pages.FILES).glob("*.json"):
        results = pages.read_results(path)
        if results.source != "measured":
            assert results.printed_by and results.commit is None and results.settings is None
        for table in results.tables:
            assert table.reference in {None, *(row.model for row in table.rows)}
            assert all(set(row.figures) <= set(table.columns) for row in table.rows)


def test_a_benchmarks_folder_becomes_a_result_file_and_its_page(measured, tmp_path):
    folder, found = measured
    pages.main(["--from", str(folder), "--root", str(tmp_path)])
    results = pages.read_results(tmp_path / pages.FILES / "toys.json")
    assert (results.title, results.source, results.seeds, results.split_seeds) == (
        "Toys",
        "measured",
        [0, 1],
        [4],
    )
    assert results.command == "recsys bench toys --data-root DIR"
    (rows,) = results.settings.values()
    assert rows["near"]["model"] == "itemknn" and rows["near"]["settings"]["k"] == 3
    jobs = [json.loads(path.read_text()) for path in folder.glob("jobs/*/job.json")]
    assert {results.data_sha256["toy"]} == {job["data_sha256"] for job in jobs}
    (table,), (other,) = results.tables, found["tables"]
    assert (table.reference, table.decide_by) == ("pop", "ndcg@20")
    for row, said in zip(table.rows, other["rows"], strict=True):
        assert row.figures["recall@20"] == pytest.approx(said["columns"]["recall@20"]["mean"], abs=1e-6)
        against = said["columns"]["ndcg@20"].get("against")
        assert (row.verdict is None) == (against is None) == (row.model == "pop")
        if against:
            assert row.difference == pytest.approx(against["difference"], abs=1e-6)
            assert row.difference_interval == pytest.approx(against["interval"], abs=1e-6)
    text = (tmp_path / pages.PAGES / "toys.md").read_text()
    assert text.index("recsys bench toys") < text.index("| near") and results.data_sha256["toy"] in text
    assert str(folder) not in text and str(tmp_path) not in (tmp_path / pages.FILES / "toys.json").read_text()


def test_the_reading_stands_below_the_tables(measured, tmp_path):
    write_results(pages.from_bench(measured[0]), tmp_path / pages.FILES / "toys.json")
    without = pages.pages(tmp_path)[tmp_path / pages.PAGES / "toys.md"]
    (tmp_path / pages.FILES / "toys.md").write_text("Pop is enough.\n")
    text = pages.pages(tmp_path)[tmp_path / pages.PAGES / "toys.md"]
    assert text == without + "\n## Reading\n\nPop is enough.\n" and "## Reading" not in without


def test_unknown_things_are_said_to_be_unknown(measured):
    known = pages.from_bench(measured[0])
    unknown = known.model_copy(update={"commit": None, "settings": None, "data_sha256": {"toy": None}})
    text = pages.page("toys", unknown)
    assert text.count(pages.NOT_KEPT) == 3


@pytest.mark.parametrize("text", ["no json", "{}", '{"title": "a"}'])
def test_a_broken_result_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json is no result file"):
        pages.read_results(tmp_path / "a.json")


def test_folders_that_make_no_result_file(measured, tmp_path):
    with pytest.raises(SystemExit, match=r"holds no results\.json"):
        pages.main(["--from", str(tmp_path), "--root", str(tmp_path)])
    copy = tmp_path / "copy"
    shutil.copytree(measured[0], copy)
    next(copy.glob("jobs/*/config.yaml")).unlink()
    with pytest.raises(UserError, match=r"config\.yaml"):
        pages.from_bench(copy)
    (copy / "results.json").write_text(json.dumps(measured[1] | {"failed": {"pop": "ValueError"}}))
    with pytest.raises(UserError, match="some runs failed"):
        pages.from_bench(copy)


def test_json_with_a_line_for_each_row_is_json():
    value = {"title": "a", "tables": [{"rows": [{"model": "m" * 200, "figures": {}}], "empty": []}]}
    assert json.loads(as_json(value)) == value
    assert '{"model": "mmm' in as_json(value)


CLAIMED = """
Toy:
  paper: A paper.
  claims:
    - {claim: a part helps, results: toys, without: [less]}
    - {claim: another helps, results: later, without: [less]}
    - {claim: it helps new items, results: toys, without: [less], column: "cold:ndcg@20"}
  reading: In short.
"""


def claimed(tmp_path, verdict, without="less"):
    """The lines of the page of claims that say something of CLAIMED, where `toys` has a row `less`."""
    (tmp_path / claims.FILE).write_text(CLAIMED.replace("[less]", f"[{without}]"))
    rows = [
        {"model": "toy", "figures": {"ndcg@20": 0.25, "cold:ndcg@20": 0.1}},
        {
            "model": "less",
            "figures": {"ndcg@20": 0.2},
            "difference": -0.05,
            "difference_interval": [-0.07, -0.02],
            "verdict": verdict,
        },
    ]
    table = {"title": "t", "columns": ["ndcg@20"], "decide_by": "ndcg@20", "reference": "toy", "rows": rows}
    unknown = {"commit": None, "seeds": [0], "split_seeds": [0], "data_sha256": {}, "settings": None}
    result = ResultFile.model_validate(
        {"title": "Toys", "command": "c", "source": "measured", "tables": [table], **unknown}
    )
    text = claims.page(claims.read_claims(tmp_path / claims.FILE), {"toys": result})
    assert "Measured on [Toys](toys.md).\n\nIn short." in text
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "helps" in line]


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("worse", "holds"),
        ("better", "the contrary"),
        ("no difference", "not shown"),
        ("one seed each", "no verdict"),
        (None, "no verdict"),
    ],
)
def test_a_claim_is_as_true_as_its_part_is_missed(tmp_path, verdict, said):
    first, second, third = claimed(tmp_path, verdict)
    assert first[1:3] == ["t", "toy, less: ndcg@20"]
    assert first[3:] == ["0.2500", "0.2000", "+0.0500 (+0.0200 to +0.0700)", said]
    assert second[:2] == ["another helps", "not measured yet"]
    assert third[2:] == ["toy, less: ndcg@20, cold items", "0.1000", "", "", "no verdict"]


def test_a_claim_of_a_row_that_is_not_there_is_a_line(tmp_path):
    with pytest.raises(UserError, match="toys: 't' has no row 'lesser'"):
        claimed(tmp_path, "worse", without="lesser")
    (tmp_path / "bad.yaml").write_text("Toy: {claims: []}")
    with pytest.raises(UserError, match=r"bad.yaml is no file of claims: .*paper"):
        claims.read_claims(tmp_path / "bad.yaml")


def exchanged(tmp_path):
    """The page of objectives, where two tables are measured and a third is asked for."""
    tables = tmp_path / objectives.TABLES
    tables.mkdir(parents=True)
    (tables / "objectives-toy.yaml").write_text("datasets: [a, b, c]\n")
    for name, gains in {"a": (0.03, -0.02), "b": (-0.01, 0.04)}.items():
        rows = [
            {"model": "published", "figures": {"ndcg@20": 0.2}, "vectors": {"alignment": 1.0, "seconds": 9.0}}
        ]
        for model, gain, verdict in zip(("infonce", "gram"), gains, ("better", "no difference"), strict=True):
            vectors = {"alignment": 1.0 - gain, "seconds": 1.0}
            figures = {"ndcg@20": 0.2 + gain}
            rows.append(
                {
                    "model": model,
                    "figures": figures,
                    "difference": gain,
                    "verdict": verdict,
                    "vectors": vectors,
                }
            )
        table = {"title": name, "columns": ["ndcg@20"], "decide_by": "ndcg@20", "reference": "published"}
        unknown = {"commit": None, "seeds": [0], "split_seeds": [0], "data_sha256": {}, "settings": None}
        result = {"title": "Toy", "command": "c", "source": "measured", "tables": [table | {"rows": rows}]}
        made = ResultFile.model_validate(result | unknown)
        write_results(made, tmp_path / pages.FILES / f"objectives-toy-{name}.json")
    return pages.pages(tmp_path)[tmp_path / pages.PAGES / "objectives.md"]


def test_objectives_stand_side_by_side_in_every_table_and_what_is_missing_is_named(tmp_path):
    text = exchanged(tmp_path)
    rows = {cells[1].strip(): cells[2:-1] for line in text.split("\n") if len(cells := line.split("|")) == 5}
    assert [cell.strip() for cell in rows["infonce"]] == ["+0.0300 better", "-0.0100 better"]
    assert [cell.strip() for cell in rows["gram"]] == ["-0.0200", "+0.0400"]
    assert "published" not in rows and "Not measured yet: toy-c." in text
    assert text.count("(objectives-toy-a.md)") == 1


def test_the_diagnostics_are_ranked_against_the_figures(tmp_path):
    lines = [line for line in exchanged(tmp_path).split("\n") if line.count("|") == 3 and "-1.00" in line]
    assert len(lines) == 2 and "seconds" not in exchanged(tmp_path / "again")
