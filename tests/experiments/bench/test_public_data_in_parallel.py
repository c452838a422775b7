"""The default data set in several processes, as a user starts them: no variable of threads is set."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
FILE = "models: [contentknn, pop]\ndatasets: [ml-100k]\nsplits: [random]\nseeds: [0]\n"

needs_ml_100k = pytest.mark.skipif(
    importlib.util.find_spec("recbole") is None,
    reason="ml-100k comes with recbole: the extra is not installed",
)
needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="needs the extra dask"
)


@needs_ml_100k
@pytest.mark.parametrize(
    "how", [["--jobs", "2"], pytest.param(["--dask", "local:2"], marks=needs_dask)], ids=" ".join
)
def test_a_worker_sees_the_same_data_and_gets_the_same_figures(how, tmp_path):
    (tmp_path / "b.yaml").write_text(FILE)
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    figures = []
    for number, options in enumerate(([], how)):
        command = [sys.executable, "-m", "recsys", "bench", "b.yaml", "--out", f"out{number}", *options]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        results = json.loads((tmp_path / f"out{number}" / "results.json").read_text())
        assert not results["failed"]
        rows = results["tables"][0]["rows"]
        figures.append(
            {row["model"]: {c: cell["per_seed"] for c, cell in row["columns"].items()} for row in rows}
        )
    assert figures[0] == figures[1] and set(figures[0]) == {"contentknn", "pop"}
