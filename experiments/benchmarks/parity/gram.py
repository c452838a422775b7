"""GRAM."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.nn.functional import cross_entropy, normalize

from recsys.errors import UserError
from recsys.experiments.benchmarks.parity.compare import Comparison, Source, difference
from recsys.experiments.benchmarks.parity.material import Material
from recsys.experiments.benchmarks.parity.multiview import views
from recsys.objectives.contrastive.gram import gram, volumes

SOURCE = Source("ispamm/GRAM", ("GRAM",), "the function and the loss that its README prints")
TEMPERATURE = 0.07


def compare(folder: Path, given: Material) -> Comparison:
    found, published = Comparison(), _volume(folder)
    # It takes determinants in single precision, which is 3e-6 off.
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        for count in (2, 3, 4):
            rows = views(count)
            unit = [normalize(x, dim=1) for x in rows]
            target = torch.arange(len(rows[0]))
            volume = published(*unit)
            found.vectors(f"{count} modalities, volumes", volumes(unit[0], torch.stack(unit[1:])), volume)
            for smoothing in (0.1, 0.0):
                logits = (-volume / TEMPERATURE, -volume.T / TEMPERATURE)
                theirs = sum(cross_entropy(x, target, label_smoothing=smoothing) for x in logits) / 2
                own = gram(rows[0], rows[1:], TEMPERATURE, label_smoothing=smoothing, eps=0)
                about = f"{count} modalities, label smoothing {smoothing}"
                found.loss(about, own, theirs)
                sides = (torch.autograd.grad(x, rows, retain_graph=True) for x in (own, theirs))
                for place, (got, expected) in enumerate(zip(*sides, strict=True)):
                    found.gradients(f"{about}, modality {place}", got, expected)
        rows = views(3)
        plain = gram(rows[0], rows[1:], TEMPERATURE, eps=0)
        apart = difference(gram(rows[0], rows[1:], TEMPERATURE), plain)
    found.depart(
        "V = sqrt(det G + 1e-6)",
        "the gradient of the root stays finite where vectors are dependent",
        "`eps: 0` (compared above)",
        apart,
    )
    return found


def _volume(folder: Path) -> Any:
    """The function `volume_computation` of the README."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if "def volume_computation" in block:
            names: dict[str, Any] = {"torch": torch}
            exec(compile(block, "GRAM/README.md", "exec"), names)
            return names["volume_computation"]
    raise UserError(f"{folder}/README.md defines no volume_computation; use the commit that the page names")
