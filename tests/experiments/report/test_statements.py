"""What the report's page says in words follows from what its runs recorded."""

import json

import pytest

BENCH = "models: {rows}\ndatasets: [toy]\nsplits: [random]\nseeds: [0]\ndecide_by: {by}\n"


@pytest.fixture
def bench(recsys, tmp_path):
    def run(name, rows, by="ndcg@10"):
        (tmp_path / f"{name}.yaml").write_text(BENCH.format(rows=rows, by=by))
        assert recsys("bench", f"{name}.yaml", "--out", f"all/{name}")[0] == 0

    return run


def page_of(recsys, tmp_path):
    assert recsys("report", "all")[0] == 0
    folder = tmp_path / "all" / "report"
    return (folder / "index.html").read_text(), json.loads((folder / "results.json").read_text())


def test_settings_of_unknown_choice_are_called_so(recsys, tmp_path, bench):
    bench("one", "[pop, itemknn]")
    page, results = page_of(recsys, tmp_path)
    assert "The settings are defaults or were typed by hand; how they were chosen is not recorded." in page
    assert "chosen on the validation" not in page, "these models have no epochs, and nobody searched"
    assert "The test part was evaluated once by each run." in page
    assert [table["decide_by"] for table in results["tables"]] == ["ndcg@10"], "the experiment's own metric"


def test_settings_from_a_file_are_named_with_what_was_changed(recsys, tmp_path, bench):
    (tmp_path / "best.yaml").write_text("k: 7\n")
    bench("one", "{pop: {}, knn: {model: itemknn, tuned: best.yaml, settings: {k: 5}}}")
    page, _ = page_of(recsys, tmp_path)
    assert "1 of 2 runs took settings from files of tuned settings or from published code (best.yaml" in page
    assert "(best.yaml, but for k); the others" in page
    (run,) = (tmp_path / "all" / "one" / "jobs").glob("knn-*")
    assert "settings_from: best.yaml, but for k" in (run / "config.yaml").read_text()


def test_runs_of_experiments_that_decide_by_different_metrics_are_ranked_by_the_usual_one(
    recsys, tmp_path, bench
):
    bench("one", "[pop]")
    bench("two", "[itemknn]", by="recall@20")
    _, results = page_of(recsys, tmp_path)
    assert [table["decide_by"] for table in results["tables"]] == ["ndcg@20"]


def test_the_epoch_is_said_to_be_chosen_on_validation_where_it_was(recsys, tmp_path):
    recsys("train", "--model", "pop", "--dataset", "toy", "--out", "all/pop")
    small = ["--set", "width=4", "--set", "max_epochs=2"]
    recsys("train", "--model", "lightgcn", "--dataset", "toy", "--out", "all/lightgcn", *small)
    page, _ = page_of(recsys, tmp_path)
    assert "Of 1 of 2 runs the epoch was chosen on the validation part." in page


def test_a_run_in_stages_is_reported_with_a_curve_for_each(recsys, tmp_path):
    components = "components={lightgcn: {}, cm3: {settings: {k: 3}}, pop: {}}"
    small = ["--set", "max_epochs=2", "--set", components]
    assert (
        recsys("train", "--model", "confluence", "--dataset", "toy", "--out", "all/flagship", *small)[0] == 0
    )
    page, _ = page_of(recsys, tmp_path)
    assert "Learning curves of confluence" in page and '"#missing"' not in page
