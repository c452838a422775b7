"""The experiments and scans that are shipped: each is sound, and each experiment runs in its tiny size."""

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from recsys import experiments
from recsys.datasets.cards import load_dataset
from recsys.errors import UserError
from recsys.experiments.bench.config import find_file, read_experiment
from recsys.experiments.bench.runner import BenchOptions, run_bench
from recsys.experiments.bench.search import candidates
from recsys.experiments.tune.config import ScanOptions, read_scan
from recsys.experiments.tune.scan import run_scan
from recsys.experiments.tune.space import search_space
from recsys.files import read_yaml
from recsys.inputs.corruption import CONTROLS
from recsys.models import MODELS
from recsys.runs.config import resolve_settings, tuned_path
from recsys.settings import merge

FILES = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (Path(experiments.__file__).parent / "configs").glob("*/*.yaml")
}
BENCHES = sorted(name for name, values in FILES.items() if "models" in values)
SCANS = sorted(FILES.keys() - set(BENCHES))
LONG = {
    "amazon-beauty",
    "bundles-ablation",
    "citeulike-a-cold-item",
    "missing-modality",
    "missing-raw",
    "ml-100k-cold-item",
    "ml-100k-random",
    "tiktok-cold-item",
    "aff-ml-100k-cold-items",
    "aff-ml-100k-cold-items-ablation",
    "confluence-ablation",
    "confluence-ablation-random",
    "confluence-ablation-tiktok",
    "claims-aff",
    "claims-aff-rates",
    "claims-clhe",
    "claims-clhe-noise",
    "claims-cm3",
    "claims-mmhcl",
    "claims-sige",
    "content-encoders",
    "content-models",
    "objectives-cm3",
    "objectives-mmhcl",
    "objectives-sige",
    "yelp",
}
"""Many variants of models that `bundles`, `cold-start` and `tiktok-warm` run already."""
PUBLISHED_SPLITS = {"gowalla", "tiktok", "ml-1m-posters"}
"""Data sets that bring a split of their own."""


@pytest.fixture
def data(request):
    """Loads data sets by name; the test is skipped, and says why, where one is not there."""

    def load(names):
        embedded = set(names) <= {"ml-100k"}
        root = None if embedded else str(request.getfixturevalue("shared_data"))
        try:
            return {name: load_dataset(name, root) for name in names}, root
        except UserError as error:
            pytest.skip(f"no data: {error}")

    return load


def test_there_are_both():
    assert {"demo", "tiktok-warm", "cold-start", "bundles"} <= set(BENCHES) and len(SCANS) >= 5


@pytest.mark.parametrize("name", BENCHES)
def test_an_experiment_is_sound(name):
    """All that can be told without its data: the smoke size makes cells of it."""
    path = find_file(name)
    experiment = read_experiment(path)
    for label in experiment.models:
        config = experiment.config(label)
        for dataset in experiment.datasets:
            for splitting in experiment.splits:
                usual = "predefined" if dataset in PUBLISHED_SPLITS else "random"
                tuned = tuned_path(config, dataset, splitting.protocol or usual)
                for searched in candidates(experiment.search.get(label, {})):
                    values = merge(read_yaml(tuned) if tuned else {}, config.settings, searched)
                    resolve_settings(MODELS.get(config.model), values)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in BENCHES]
)
def test_an_experiment_runs_in_its_smoke_size(name, data, tmp_path):
    experiment = read_experiment(find_file(name), smoke=True)
    _, root = data(experiment.datasets)
    options = BenchOptions(out=tmp_path / "out", smoke=True, data_root=root)
    results = run_bench(name, options, Console(file=io.StringIO()))
    assert not results["failed"]
    ran = {row["model"] for table in results["tables"] for row in table["rows"]}
    beside = (
        {row for row in ran if row.rpartition(", ")[2] in CONTROLS.values()} if experiment.controls else set()
    )
    assert ran - beside == set(experiment.models)


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_sound(name):
    scan = read_scan(find_file(name), ScanOptions())
    assert search_space(MODELS.get(scan.run.model), scan.run.settings, scan.search)


@pytest.mark.parametrize("name", [n for n in SCANS if "smoke" in FILES[n]])
def test_a_scan_runs_in_its_smoke_size(name, data, tmp_path):
    scan = read_scan(find_file(name), ScanOptions(smoke=True))
    _, root = data([scan.run.dataset])
    options = ScanOptions(out=tmp_path / "scan", smoke=True, run=(("data_root", root),))
    told = run_scan(name, options, Console(file=io.StringIO()))
    assert sum(told["trials"].values()) == scan.trials and told["trials"]["failed"] == 0


def test_a_file_without_a_smoke_size_says_so():
    with pytest.raises(UserError, match="has no smoke section"):
        read_scan(find_file("tiktok-scan"), ScanOptions(smoke=True))
