"""Student: one model of vectors that ranks as a trained teacher does, by default an ensemble, Confluence; ours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.coldstart.cold_items import take
from recsys.datasets.dataset import Modality
from recsys.encoders.fields import AttributeFields, Numbers, Words, read_fields
from recsys.errors import UserError
from recsys.evaluation.scorers import KeptScorer, Scorer, StandardScorer
from recsys.inputs.content import unit_rows, without_content
from recsys.inputs.requests import NewItems, QueryUsers
from recsys.inputs.training_data import TrainingData
from recsys.models import MODELS
from recsys.models.base import Model, Vectors
from recsys.models.inner import inner_settings, inner_training, own_settings
from recsys.serving.cold import Cold, Kernel, sparse_rows
from recsys.settings import Settings, setting

BLOCK_CELLS = 2**23
"""float32 cells of the teacher's scores that are held at once: 32 MiB."""
KEPT_BYTES = 2**30
"""Size of the teacher's scores that are kept between passes; scores beyond it are computed anew."""
SPARE = 16
"""Columns beyond the width in which the space of the scores is looked for."""
RIDGES, SHARPNESS = (1e-4, 1e-3, 1e-2, 1e-1), (1.0, 4.0, 16.0)
"""Ridges and kernels of the map from content, of which a tenth of the items chooses."""
LINEAR_RIDGES = (0.1, 0.3, 1.0)
"""Ridges of the linear map from sparse modalities."""
CLOSE, STEPS = 1e-3, 100
"""Conjugate gradients stop where so much of the targets is left, or after so many steps."""
FITTED = 5
"""Items for each reference item, at most, that the map from content is fitted to."""


class StudentSettings(Settings):
    teacher: str = setting("confluence", "name of the model whose rankings are learned")
    teacher_settings: dict[str, Any] = setting({}, "its settings and its training's by name")
    width: int = setting(256, "width of the vectors", low=1, high=4096, search=[64, 128, 256])
    passes: int = setting(
        4, "times that all of the teacher's scores are gone through in search of their space", low=1, high=20
    )
    references: int = setting(
        4000,
        "items, drawn at random, that an item's content is compared with to place it",
        low=10,
        high=100_000,
    )


class Student(Model):
    """Users' and items' vectors U, V = argmin ||S - U V^T||, S the teacher's scores, each user's standardised over the
    warm items that the teacher ranks: the truncated singular value decomposition of S, which is never held as a whole.

    Subspace iteration ("Finding Structure with Randomness", Halko et al., SIAM Review 2011, algorithm 4.4): an
    orthonormal basis Q of `width` + 16 columns is multiplied by S^T S, block of users by block, `passes` times; then
    U V^T = (S Q) Q^T, cut to its largest singular values. The teacher, any other model, is trained and calibrated
    first, in the same run, on the same split, or is that of a run which was trained on this split (`learn_from`). It is
    not kept.

    A cold item's vector comes from content alone, and a new item's in the same way: for all items of the catalogue the
    teacher is asked what it would score them if they were new, the least-squares vectors of these scores are found
    beside U, and a kernel ridge regression on similarities to `references` items maps content to them. Its kernel is
    exp(-c ||x - y||^2 / 2) per modality, x and y of unit length, added up. Of many words or links few are shared with
    any reference item, so sparse modalities may be mapped by a linear ridge regression first, and the kernel's targets
    are what that leaves. c, the ridges, whether that is done, and whether attributes count as modalities are chosen by
    the scores of a tenth of the items. A new user's vector is mapped from the items of the history
    (`Model.encode_users`).
    """

    Settings = StudentSettings
    paper = (
        "None: this engine's distillation of a teacher's scores, by truncated singular value decomposition"
    )
    settings: StudentSettings
    reads_content = True
    ranks_cold_items = True
    users: Tensor
    items: Tensor
    centres: Tensor
    weights: Tensor
    linear: Tensor
    mean: Tensor
    sharpness: Tensor
    reads_fields: Tensor

    def __init__(self, settings: StudentSettings, data: TrainingData, seed: int):
        super().__init__(settings, data, seed)
        kind = MODELS.get(settings.teacher)
        if kind is Student:
            raise UserError("student: a student teaches nobody; name another model")
        self.closed_form = kind.closed_form
        # Not a module of this one: what is kept of a trained student are vectors.
        self._teacher: list[Model] = []
        self._trained: Callable[[], Model] | None = None
        # Whether a model in closed form reads content is often a setting of it, and to make one costs nothing.
        places_items = self.teacher().ranks_cold_items if kind.closed_form else kind.ranks_cold_items
        self.reads_content = self.ranks_cold_items = bool(places_items and data.modalities)
        self.modalities = dict(data.modalities) if self.reads_content else {}
        self.fields = AttributeFields(data.item_attributes, data.warm_items, [], "item")
        self.calibrating = False

    def learn_from(self, trained: Callable[[], Model]) -> None:
        """Take the teacher that `trained` gives when it is first needed, trained on the same data already: nothing is
        left to train or to calibrate."""
        self._trained, self.closed_form = trained, True
        self._teacher.clear()

    @property
    def distilled(self) -> bool:
        """Whether there are vectors; they are made when they are first needed."""
        return hasattr(self, "items")

    def teacher(self) -> Model:
        """The teacher, made when it is first needed."""
        if not self._teacher:
            self._teacher.append(self._trained() if self._trained else self._made())
        return self._teacher[0]

    def _made(self) -> Model:
        settings, _ = self._divided()
        return MODELS.get(self.settings.teacher)(settings, self.data, self.seed)

    def _divided(self) -> tuple[Any, dict[str, Any]]:
        """The teacher's settings, and what is said of its training."""
        kind = MODELS.get(self.settings.teacher)
        return inner_settings(kind, self.settings.teacher_settings, "student: teacher_settings")

    @classmethod
    def source_modules(cls, settings: Mapping[str, Any]) -> tuple[str, ...]:
        own = own_settings(cls, settings)
        inner = MODELS.get(own.teacher).source_modules(own.teacher_settings)
        return tuple(sorted({*super().source_modules(settings), *inner}))

    def stages(self, settings: Any) -> Mapping[str, tuple[Model, Any]]:
        teacher = self.teacher()
        training = inner_training(type(teacher), settings, self._divided()[1], "student: teacher_settings")
        return teacher.stages(training) or {"teacher": (teacher, training)}

    def calibrate(self, validate: Callable[[str], float]) -> None:
        """The teacher's calibration, while which the teacher scores; then the vectors."""
        self.calibrating = True
        try:
            self.teacher().calibrate(validate)
        finally:
            self.calibrating = False
        self.distil()

    def calibration(self) -> dict[str, Tensor]:
        """The teacher's, which is kept beside the vectors, where it is trained here."""
        if self._trained:
            return {}
        of_teacher = self.teacher().calibration()
        return {name: self.get_buffer(_kept(name)) for name in of_teacher} if self.distilled else of_teacher

    def arrays(self) -> dict[str, Tensor]:
        if not self.distilled:
            self.distil()
        return super().arrays()

    def fit(self) -> None:
        """The vectors of a teacher that is trained already, or that needs no training."""
        if not self._trained:
            self.teacher().fit()
        self.distil()

    @torch.no_grad()
    def distil(self) -> None:
        """Make the vectors, and the map of content, of the teacher's scores."""
        self.teacher().eval()
        for name, buffer in self.calibration().items():
            self.register_buffer(_kept(name), buffer.clone())
        n, warm = self.data.n_items, np.flatnonzero(self.data.warm_users)
        width = min(self.settings.width, n, len(warm))
        generator = torch.Generator().manual_seed(self.seed)
        basis = torch.randn(n, min(width + SPARE, n), generator=generator)
        scorer = self._standardised(None)
        for _ in range(self.settings.passes):
            basis = torch.linalg.qr(basis).Q
            basis = sum((block.T @ (block @ basis) for _, block in _blocks(scorer, warm)), torch.zeros(()))
        basis = torch.linalg.qr(basis).Q
        rows = torch.cat([block @ basis for _, block in _blocks(scorer, warm)])
        squares, turn = torch.linalg.eigh((rows.T @ rows).double())
        turn, root = turn.flip(1)[:, :width].float(), squares.flip(0)[:width].clamp_min(1e-12).float() ** 0.25
        users = torch.zeros(self.data.n_users, width)
        users[torch.from_numpy(warm)] = rows @ turn / root
        self.register_buffer("users", users)
        self.register_buffer("items", basis @ turn * root)
        self.register_buffer("centres", torch.empty(0, dtype=torch.int64))
        self.register_buffer("weights", torch.empty(0, width))
        self.register_buffer("linear", torch.empty(0, width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("sharpness", torch.ones(1))
        self.register_buffer("reads_fields", torch.zeros(1, dtype=torch.bool))
        if self.reads_content:
            self._map_content(users, warm)

    def _standardised(self, new_items: NewItems | None) -> Scorer:
        teacher = self.teacher()
        counted = self.data.warm_items & ~teacher.cannot_score()
        scorer = StandardScorer([teacher.scorer(self.data.query_users(), new_items)], counted)
        return KeptScorer(scorer, KEPT_BYTES)

    def _as_new(self, users: Tensor, warm: np.ndarray) -> tuple[Tensor, Tensor]:
        """(n_items, d) float64 vectors V that bring `users` V^T nearest to what the teacher would score the items if
        they were new, and (d, d) float64 products of the warm users' columns."""
        n = self.data.n_items
        every = NewItems(np.arange(n).astype(str), self.modalities, self.data.item_attributes)
        scorer, own = self._standardised(every), users[torch.from_numpy(warm)]
        wanted = torch.zeros(n, own.shape[1])
        for rows, block in _blocks(scorer, warm):
            wanted += block[:, n:].T @ users[torch.from_numpy(rows)]
        gram = (own.T @ own).double()
        damped = gram + 1e-6 * gram.trace() / len(gram) * torch.eye(len(gram))
        return torch.linalg.solve(damped, wanted.T.double()).T, gram

    def _map_content(self, users: Tensor, warm: np.ndarray) -> None:
        """Fit the map from content to the vectors of items that the teacher takes for new, and put the cold ones."""
        wanted, gram = self._as_new(users, warm)
        known = np.flatnonzero(~without_content(self.modalities, self.data.n_items))
        drawn = np.random.default_rng(self.seed).permutation(known)
        self.centres = torch.from_numpy(np.sort(drawn[: self.settings.references]))
        drawn = drawn[: FITTED * self.settings.references]
        self.mean = wanted[drawn].mean(0).float()
        targets = wanted[drawn] - self.mean
        held, rest = np.split(np.arange(len(drawn)), [max(1, len(drawn) // 10)])
        # What sparse modalities say in a linear way goes before; a column of targets for each way to do that.
        sparse = sparse_rows(list(take(self.modalities, drawn).values())).astype(np.float64)
        ridges = (0.0, *LINEAR_RIDGES) if sparse.shape[1] else (0.0,)
        maps = [ridge_regression(sparse[rest], targets[rest], ridge) for ridge in ridges]
        left = torch.cat([targets - torch.from_numpy(sparse @ each) for each in maps], 1)
        fields = (False, True) if self.fields.coders else (False,)
        before = [float((each @ gram * each).sum()) for each in left[held].chunk(len(maps), 1)]
        best = np.inf
        for reads_fields, sharpness in itertools.product(fields, SHARPNESS):
            kernel = self._kernel(reads_fields, sharpness)
            fit = self._fit(kernel, drawn[rest], left[rest])
            squares, products = self._products(kernel, drawn[held], left[held])
            of_map = products.chunk(len(maps), 1)
            for ridge in RIDGES:
                for of, solution in enumerate(fit.solved(ridge).chunk(len(maps), 1)):
                    # Errors of the scores, ||U (w^T k - y)||^2, over the items held out, of their products alone.
                    after = solution @ gram * (squares @ solution - 2 * of_map[of])
                    if (error := before[of] + float(after.sum())) < best:
                        best, chosen = error, (reads_fields, sharpness, ridge, of, solution)
        reads_fields, sharpness, ridge, of, solution = chosen
        kernel = self._kernel(reads_fields, sharpness)
        # A regression's scores vary less than those that it predicts: no cold item would be among a user's best.
        near = np.concatenate([each for _, each in kernel.similarities(self._catalogue(drawn[held]))])
        predicted = torch.from_numpy(sparse[held] @ maps[of] + near @ solution.numpy())
        varied = [float((each @ gram * each).sum()) for each in (targets[held], predicted)]
        spread = math.sqrt(varied[0] / max(varied[1], 1e-12))
        linear = torch.from_numpy(ridge_regression(sparse, targets, ridges[of]))
        left = targets - torch.from_numpy(sparse @ linear.numpy())
        self.weights = (spread * self._fit(kernel, drawn, left).solved(ridge)).float()
        self.linear = (spread * linear).float()
        self.reads_fields.fill_(reads_fields)
        self.sharpness.fill_(sharpness)
        cold = np.flatnonzero(~self.data.warm_items)
        frame = self.data.item_attributes
        self.items[torch.from_numpy(cold)] = self.encode_items(take(self.modalities, cold), frame.iloc[cold])
        self.data.ledger.record("content map", "references", items=self.data.warm_items)

    def _fit(self, kernel: Kernel, items: np.ndarray, targets: Tensor) -> KernelFit:
        """What a regression of the items' targets, (n, d) float64, on their similarities needs."""
        ((_, among),) = kernel.similarities(self._catalogue(self.centres.numpy()), len(self.centres))
        return KernelFit(torch.from_numpy(among), *self._products(kernel, items, targets), len(items))

    def _products(self, kernel: Kernel, items: np.ndarray, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(c, c) and (c, d) float64, sums over the items of k k^T and k y^T."""
        c = len(self.centres)
        squares, products = np.zeros((c, c)), np.zeros((c, targets.shape[1]))
        for rows, near in kernel.similarities(self._catalogue(items)):
            squares += near.T @ near
            products += near.T @ targets[rows].numpy()
        return torch.from_numpy(squares), torch.from_numpy(products)

    def _kernel(self, reads_fields: bool, sharpness: float) -> Kernel:
        """The map from content as it stands, by another kernel."""
        centres = self._catalogue(self.centres.numpy())
        coders = self.fields.coders if reads_fields else {}
        fields = read_fields(coders, centres.attributes, len(centres))
        return Kernel(
            {name: unit_rows(m.features) for name, m in centres.modalities.items()},
            {name: list(one.vocabulary) for name, one in coders.items() if isinstance(one, Words)},
            {name: one.knots for name, one in coders.items() if isinstance(one, Numbers)},
            {name: unit_rows(m.features) for name, m in fields.items()},
            {name: np.asarray(m.mask) for name, m in {**centres.modalities, **fields}.items()},
            sharpness,
            self.weights.numpy(),
            self.linear.numpy(),
            self.mean.numpy(),
        )

    def _catalogue(self, items: np.ndarray) -> NewItems:
        """Items of the catalogue as if they were new."""
        frame = self.data.item_attributes
        return NewItems(items.astype(str), take(self.modalities, items), frame.iloc[items])

    def forward(self) -> Vectors:
        if not self.distilled:
            self.distil()
        return Vectors(self.users, self.items)

    @torch.no_grad()
    def scorer(self, users: QueryUsers | None = None, new_items: NewItems | None = None) -> Scorer:
        return (
            self.teacher().scorer(users, new_items) if self.calibrating else super().scorer(users, new_items)
        )

    def content_map(self) -> Kernel:
        """How items find their place by content."""
        return self._kernel(bool(self.reads_fields), float(self.sharpness))

    @torch.no_grad()
    def encode_items(self, content: Mapping[str, Modality], attributes: pd.DataFrame | None = None) -> Tensor:
        n = len(next(iter(content.values())).mask)
        frame = pd.DataFrame(index=range(n)) if attributes is None else attributes
        return torch.from_numpy(self.content_map().place(NewItems(np.arange(n).astype(str), content, frame)))

    def cold_part(self, items: np.ndarray) -> Cold | None:
        return self.content_map() if self.reads_content else None


def _kept(name: str) -> str:
    """What a calibrated buffer of the teacher is called beside the vectors."""
    return f"calibrated_{name.replace('.', '_')}"


def _blocks(scorer: Scorer, users: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """The users in blocks, with their scores."""
    size = max(16, BLOCK_CELLS // scorer.n_items)
    for start in range(0, len(users), size):
        rows = users[start : start + size]
        yield rows, scorer(rows)


class KernelFit(NamedTuple):
    """Products of a kernel ridge regression of n items on c centres.

    Attributes:
        among: (c, c) float64 similarities K of the centres.
        squares, products: (c, c) and (c, d) float64, sums over items of k k^T and k y^T.
        n: items.
    """

    among: Tensor
    squares: Tensor
    products: Tensor
    n: int

    def solved(self, ridge: float) -> Tensor:
        """(c, d) float64: argmin sum_i ||w^T k_i - y_i||^2 + ridge mean(K_jj) (n / c) tr(w^T K w)."""
        scale = ridge * float(self.among.diagonal().mean()) * self.n / len(self.among)
        system = self.squares + scale * self.among
        system.diagonal().add_(1e-8 * float(system.diagonal().mean()))
        return torch.linalg.solve(system, self.products)


def ridge_regression(rows: sp.csr_array, targets: Tensor, ridge: float) -> np.ndarray:
    """(w, d) float64 argmin ||rows W - targets||^2 + ridge ||W||^2, by conjugate gradients on its dual; zeros where the
    ridge is 0, which stands for none.

    Args:
        rows: (n, w).
        targets: (n, d) float64.
    """
    if not ridge:
        return np.zeros((rows.shape[1], targets.shape[1]))
    left = targets.numpy().copy()
    solution, step, size = np.zeros_like(left), left.copy(), (left**2).sum(0)
    enough = CLOSE**2 * size.sum()
    for _ in range(STEPS):
        if size.sum() <= enough:
            break
        along = rows @ (rows.T @ step) + ridge * step
        length = size / np.maximum((step * along).sum(0), 1e-300)
        solution += length * step
        left -= length * along
        before, size = size, (left**2).sum(0)
        step = left + size / np.maximum(before, 1e-300) * step
    return np.asarray(rows.T @ solution)
