"""What a service loads: no model, no training, and nothing besides what `recsys[serve]` requires."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("fastapi")

ASK = """
import json, sys
from pathlib import Path
import recsys.cli.app, recsys.cli.serve
from recsys.serving import serve
from recsys.serving.service import Limits, make_service
from recsys.serving.state import State

def loaded():
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))

state = State(*map(Path, sys.argv[1:]))
state.open()
make_service(state, Limits())
bundle = state.snapshot().bundle
bundle.rank(bundle.recipients(["u1"]), 3)
bundle.rank(bundle.strangers(["-"], bundle.matrix([bundle.items.rows(["i3"])])), 3)
loaded()
state.add_items([{"item": "new", "about": "a tea", "title": "tea"}])
loaded()
"""


@pytest.mark.parametrize("model", ["ease", "vbpr"])
def test_answers_need_no_torch_and_new_items_no_training(bundles, model, tmp_path):
    folders = [str(bundles[model][1]), str(tmp_path / "state")]
    asked = subprocess.run([sys.executable, "-c", ASK, *folders], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    answering, placing = (set(json.loads(line)) for line in asked.stdout.splitlines())
    assert {"numpy", "scipy", "fastapi", "recsys"} <= answering
    assert not answering & {"torch", "sklearn", "pytorch_lightning", "transformers"}
    assert not placing & {"pytorch_lightning", "lightning_utilities", "torchmetrics", "transformers"}
