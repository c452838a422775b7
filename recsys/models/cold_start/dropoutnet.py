"""DropoutNet: a net that learns to do without preferences where there are none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, mse_loss

from recsys.coldstart.scale import ColdScale, cold_scale_setting
from recsys.datasets.dataset import Modality
from recsys.encoders.content import ItemContent
from recsys.encoders.linear import linear
from recsys.graphs.normalise import row_normalise
from recsys.inputs.content import choose
from recsys.inputs.sampler import Batch
from recsys.inputs.training_data import TrainingData
from recsys.models.base import Model, Vectors, triple_scores
from recsys.serving.fold_in import Pooled
from recsys.settings import Settings, setting
from recsys.solvers.als import weighted_factors


class DropoutNetSettings(Settings):
    width: int = setting(200, "width of preferences and of vectors", low=1, high=4096, search=[64, 128, 200])
    hidden: int = setting(200, "width of the hidden layer", low=1, high=8192, search=[200, 400, 800])
    dropout: float = setting(
        0.5, "share of inputs whose preferences are dropped", low=0, high=1, search=(0.1, 0.9)
    )
    confidence: float = setting(
        10.0, "extra weight of an interaction in the factorisation", low=0, search=(1.0, 100.0), log=True
    )
    factor_reg: float = setting(
        50.0, "L2 weight of the factorisation", low=1e-6, search=(1.0, 200.0), log=True
    )
    sweeps: int = setting(10, "sweeps of the factorisation", low=1, high=1000)
    modalities: list[str] = setting([], "modalities to read; empty: all of them")
    calibrate_cold_scale: ColdScale = cold_scale_setting()


class Tower(nn.Module):
    """W2 tanh(batchnorm(W1 [preference, content] + b1)) + b2, the widths of content given one by one."""

    def __init__(self, width: int, hidden: int, contents: list[int], generator: torch.Generator):
        super().__init__()
        self.preference = linear(width, hidden, generator)
        self.contents = nn.ModuleList(linear(depth, hidden, generator, bias=False) for depth in contents)
        self.norm = nn.BatchNorm1d(hidden, eps=1e-3, momentum=0.01)
        self.out = linear(hidden, width, generator)
        with torch.no_grad():
            # Products of two outputs, sums over `width`, start in the range of the scores they are to meet.
            self.out.weight *= width**-0.25

    def forward(self, preference: Tensor, content: list[Tensor]) -> Tensor:
        """(n, width) preferences and one (n, hidden) product for each content -> (n, width)."""
        return self.out(torch.tanh(self.norm(sum(content, start=self.preference(preference)))))

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights (inputs, outputs) and biases of both layers without content, the normalisation of scoring in the
        first's."""
        norm, first = self.norm, self.preference
        scale = norm.weight / torch.sqrt(norm.get_buffer("running_var") + norm.eps)
        bias = (first.bias - norm.get_buffer("running_mean")) * scale + norm.bias
        pairs = ((first.weight * scale[:, None], bias), (self.out.weight, self.out.bias))
        return [(weight.T.contiguous().cpu().numpy(), shift.cpu().numpy()) for weight, shift in pairs]


class DropoutNet(Model):
    """Two towers rebuild a factorisation's scores, also where its preference vectors are withheld.

    "DropoutNet: Addressing Cold Start in Recommender Systems", Volkovs, Yu and Poutanen, NeurIPS 2017. With
    U, V from weighted matrix factorisation, X an item's content, and standardised inputs:

        L = mean (U_u . V_i - f_U(U_u) . f_V(V_i, X_i))^2

    where a share `dropout` of the items' V_i is replaced by zero (item dropout) and of the users' U_u by the mean
    V of their items (user transform). A cold item enters as (0, X_i), a cold user by the mean V of their
    interactions.

    Departures: the pairs are the batch's interactions and sampled non-interactions (the paper takes each user's
    best-scored and random items), Adam replaces SGD with momentum, and users have no content, so that dropping
    their preferences altogether would leave nothing.
    """

    Settings = DropoutNetSettings
    paper = "DropoutNet: Addressing Cold Start in Recommender Systems, NeurIPS 2017"
    reads_content = True
    ranks_cold_items = True
    user_factors: Tensor
    item_factors: Tensor

    def __init__(self, settings: DropoutNetSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        self.modalities = choose(data.modalities, settings.modalities, "DropoutNet")
        self.content = ItemContent(self.modalities)
        self.users = Tower(settings.width, settings.hidden, [], self.init_generator)
        self.items = Tower(settings.width, settings.hidden, self.content.widths, self.init_generator)
        # Saved with the model, which cannot be told from its weights alone.
        self.register_buffer("user_factors", torch.zeros(data.n_users, settings.width))
        self.register_buffer("item_factors", torch.zeros(data.n_items, settings.width))
        data.ledger.record("factorisation", "preferences", data.warm_users, data.warm_items)
        self.noise = torch.Generator().manual_seed(seed)
        self._inputs: tuple[Tensor, Tensor, Tensor] | None = None

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self.noise = generator
        if not self.user_factors.any():
            self.factorise()
        self._inputs = None

    def factorise(self) -> None:
        """Make U and V from the training interactions."""
        settings = self.settings
        factors = weighted_factors(
            self.data.interactions,
            settings.width,
            confidence=settings.confidence,
            reg=settings.factor_reg,
            sweeps=settings.sweeps,
            seed=self.seed,
        )
        for buffer, values in zip((self.user_factors, self.item_factors), factors, strict=True):
            buffer.copy_(torch.from_numpy(values))

    def preferences(self) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised U, mean V of each user's items, and V, (n, width); rows of cold users and items are zero."""
        if self._inputs is None or self._inputs[0].device != self.user_factors.device:
            means = self._mean_items(self.data.interactions)
            warm_users, warm_items = self._warm()
            self._inputs = (
                _standardised(self.user_factors, self.user_factors[warm_users], warm_users),
                _standardised(means, means[warm_users], warm_users),
                _standardised(self.item_factors, self.item_factors[warm_items], warm_items),
            )
        return self._inputs

    def _warm(self) -> tuple[Tensor, Tensor]:
        device = self.item_factors.device
        users, items = torch.from_numpy(self.data.warm_users), torch.from_numpy(self.data.warm_items)
        return users.to(device), items.to(device)

    def _mean_items(self, history: sp.csr_array) -> Tensor:
        """(n, width): mean V over the warm items of each row; zero where it has none."""
        known = sp.csr_matrix(history @ sp.diags_array(self.data.warm_items.astype(np.float32)))
        known.eliminate_zeros()
        return torch.from_numpy(row_normalise(known) @ self.item_factors.cpu().numpy()).to(self.item_factors)

    def _item_tower(self, preference: Tensor, content: ItemContent, rows: Tensor | None = None) -> Tensor:
        return self.items(preference, content.project(self.items.contents, rows))

    def forward(self) -> Vectors:
        users, _, items = self.preferences()
        return Vectors(self.users(users, []), self._item_tower(items, self.content))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        users, means, items = self.preferences()
        drawn = torch.cat([batch.positives, batch.negatives.flatten()])
        withheld = self._drop(len(batch.users))
        user_rows = torch.where(withheld, embedding(batch.users, means), embedding(batch.users, users))
        item_rows = embedding(drawn, items) * ~self._drop(len(drawn))
        positives, negatives = self._split(self._item_tower(item_rows, self.content, drawn), batch)
        scores = torch.cat(triple_scores(self.users(user_rows, []), positives, negatives), 1)
        factors = self._split(embedding(drawn, self.item_factors), batch)
        targets = torch.cat(triple_scores(embedding(batch.users, self.user_factors), *factors), 1)
        return {"scores": mse_loss(scores, targets)}

    def _split(self, rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(b, width) positives and (b, n, width) negatives."""
        positives, negatives = rows.split([len(batch.positives), batch.negatives.numel()])
        return positives, negatives.view(*batch.negatives.shape, -1)

    def _drop(self, n: int) -> Tensor:
        drawn = torch.rand(n, 1, generator=self.noise) < self.settings.dropout
        return drawn.to(self.item_factors.device)

    @torch.no_grad()
    def encode_users(
        self, history: sp.csr_array, attributes: pd.DataFrame | None = None, vectors: Vectors | None = None
    ) -> Tensor:
        """(n, width): f_U of the mean V of each row's warm items; of zero, the mean, where it has none."""
        means, trained = self._mean_items(history), self._mean_items(self.data.interactions)
        held = means.any(1)
        return self.users(_standardised(means, trained[self._warm()[0]], held), [])

    @torch.no_grad()
    def user_part(self, vectors: Vectors) -> Pooled:
        mean, std = _moments(self._mean_items(self.data.interactions)[self._warm()[0]])
        weights, biases = zip(*self.users.layers(), strict=True)
        return Pooled(
            self.item_factors.cpu().numpy(),
            self.data.warm_items.astype(np.float32),
            "mean",
            gain=(1 / std).cpu().numpy(),
            shift=(-mean / std).cpu().numpy(),
            nothing=np.zeros(self.settings.width, np.float32),
            weights=list(weights),
            biases=list(biases),
            activations=["none", "tanh", "none"],
            one=False,
        )

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        rows = self.content.of(content)
        nothing = self.item_factors.new_zeros(len(rows.absent), self.settings.width)
        return self._item_tower(nothing, rows)

    def load_arrays(self, arrays: Mapping[str, Tensor]) -> None:
        super().load_arrays(arrays)
        self._inputs = None


def _standardised(rows: Tensor, sample: Tensor, held: Tensor) -> Tensor:
    """(rows - mean) / std by the columns of `sample`; zero where not `held`."""
    mean, std = _moments(sample)
    return (rows - mean) / std * held.unsqueeze(1)


def _moments(sample: Tensor) -> tuple[Tensor, Tensor]:
    """The columns' means and standard deviations."""
    std, mean = torch.std_mean(sample, dim=0, correction=0)
    return mean, std.clamp_min(1e-6)
