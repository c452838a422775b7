"""A trained and tested model: its figures, and what it recommends."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from recsys.api.figures import RunMetrics
from recsys.datasets.cards import CARD_FILE, load_dataset
from recsys.datasets.checks import positions
from recsys.datasets.convert import convert
from recsys.datasets.dataset import Dataset
from recsys.datasets.frames import to_pandas
from recsys.errors import UserError, nearest
from recsys.evaluation.ranking import ordered_top_k
from recsys.inputs.new_data import new_items_of_frame, new_users_of
from recsys.runs.artifacts import DATA_FOLDER, USERS_FILE, make_folder, own_card, read_metrics
from recsys.runs.config import RunConfig, save_config
from recsys.runs.export import export_as
from recsys.runs.graphs import graph_arrays, pyg_graph
from recsys.runs.recommend import Recipients, catalogue_users, new_users, recommend_to, rerank_of
from recsys.runs.refit import refit_config
from recsys.runs.run import Run, execute, prepare
from recsys.runs.run import load_run as load
from recsys.runs.versions import data_checksum
from recsys.terminal import PlainConsole

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame

    from recsys.datasets.splits import Split
    from recsys.models.base import Model


class TrainedRun:
    """A trained model with its data, split and figures. `recsys.train` and `recsys.load_run` make it.

    Attributes:
        metrics: the test's figures: `metrics.test["ndcg@20"]`, `metrics.cold["recall@20"]`; see `RunMetrics`.

    Stability: stable.

    Example:
        >>> import recsys
        >>> run = recsys.train("lightgcn", recsys.toy_data(), split="random", max_epochs=2)
        >>> len(run.similar_items("p00", k=3)), run.config.seed, run.dataset.n_items
        (3, 0, 60)
    """

    def __init__(self, run: Run, folder: Path, temporary: TemporaryDirectory[str] | None = None):
        values = read_metrics(folder)
        if values is None:
            raise UserError(f"{folder} holds no finished run; finish it with resume=True")
        self.metrics = RunMetrics(values)
        self._run, self._folder, self._temporary = run, folder, temporary

    @property
    def config(self) -> RunConfig:
        """Everything that decides the figures."""
        return self._run.config

    @property
    def dataset(self) -> Dataset:
        """What the model was trained and tested on."""
        return self._run.dataset

    @property
    def split(self) -> Split:
        """Which interactions were for training, validation and test."""
        return self._run.split

    @property
    def model(self) -> Model:
        """The trained model, a torch module."""
        return self._run.model

    @property
    def folder(self) -> Path:
        """Where the run's files are; a temporary folder unless one was named."""
        return self._folder

    @property
    def per_user(self) -> pd.DataFrame:
        """Each tested user's figures: columns `user` (raw id), `number`, `group` and one for each metric."""
        return pd.read_parquet(self._folder / USERS_FILE)

    def recommend(
        self,
        users: Iterable[Any] | None = None,
        k: int = 10,
        *,
        new_items: IntoDataFrame | None = None,
        new_users: IntoDataFrame | Mapping[str, Iterable[Any]] | None = None,
        pool: str = "new",
        held_out: bool = False,
        rerank: str = "",
        rerank_options: Mapping[str, Any] | None = None,
        because: int = 0,
    ) -> pd.DataFrame:
        """The `k` best items for each user, without those that the user has.

        Args:
            users: raw ids of users of the data set; None: all of them, or all of `new_users`.
            k: items for each user.
            new_items: items that arrived after training: ids, and content in the data set's columns, raw where it
                was given raw. Nothing is trained again.
            new_users: users who arrived after training: user -> the items that they took, or a frame with a row for
                each interaction.
            pool: with new items, "new" ranks them alone and "all" among the whole catalogue.
            held_out: rank also what the split held out for the test, as the test does.
            rerank: step that puts the best items in another order: "mmr", "calibrated" or "caps"; "none" for none
                where the run has one. Empty: the run's own.
            rerank_options: its settings, such as {"modality": "title", "relevance": 0.5}.
            because: name so many items that the user took and that weigh most, heaviest first, in the columns
                `because` and `because_weights`. They are the terms of the score, exactly, of a model whose scores are
                sums over the history (`ease`, `itemknn`, `contentknn`, ...), and similarities of another, which the
                notes say.

        Returns:
            Frame with `user`, `rank` (from 1), `item`, `score`, `new` (a new item) and, with `held_out`, whether the
            item was kept for the test. Its `attrs["notes"]` say what should be known of it.

        Raises:
            UserError: a user or item whom nobody knows, or a model that cannot rank new items.
            DataError: new items or users that do not fit the data set.

        Example:
            >>> import recsys
            >>> data = recsys.toy_data()
            >>> run = recsys.train("ease", data)
            >>> run.recommend([data.user_ids[0]], k=2).columns.tolist()
            ['user', 'rank', 'item', 'score', 'new']
        """
        if pool not in ("new", "all"):
            raise UserError(
                f"pool is '{pool}'; expected 'new' (new items alone) or 'all' (among the catalogue)"
            )
        if pool == "all" and new_items is None:
            raise UserError("pool='all' ranks new items among the catalogue; give new_items")
        items, notes = (None, []) if new_items is None else new_items_of_frame(new_items, self.dataset)
        recipients = self._recipients(users, new_users, held_out)
        step = rerank_of(self._run, items, rerank, rerank_options)
        made = recommend_to(
            self._run, recipients, items, new_only=pool == "new", k=k, reranker=step, because=because
        )
        made.frame.attrs["notes"] = [*notes, *made.notes]
        return made.frame

    def _recipients(
        self,
        users: Iterable[Any] | None,
        given: IntoDataFrame | Mapping[str, Iterable[Any]] | None,
        held_out: bool,
    ) -> Recipients:
        wanted = None
        if users is not None:
            wanted = _ids([users] if isinstance(users, str) else users)
            if not len(wanted):
                raise UserError("users is empty; give raw ids, or None for all")
        if given is None:
            return catalogue_users(self._run, wanted, held_out)
        if isinstance(given, Mapping):
            rows = [(user, item) for user, items in given.items() for item in (list(items) or [""])]
            table = pd.DataFrame(rows, columns=["user", "item"])
        else:
            table = to_pandas(given, "new users")
        return new_users(new_users_of(table, self.dataset, "new users"), "new_users", wanted)

    def similar_items(self, item: Any, k: int = 10) -> pd.DataFrame:
        """The `k` items whose vectors have the highest cosine with that of `item`.

        Returns:
            Frame with `item`, `similarity` and the items' attributes, best first.

        Raises:
            UserError: there is no such item, the model cannot score it, or has no vectors.
        """
        _, items = self._vectors()
        cannot_score = self.model.cannot_score()
        row = _place(item, self.dataset.item_ids, "item", self.dataset.name)
        if cannot_score[row]:
            raise UserError(
                f"{self.config.model} knows nothing of item '{item}': it has no training interactions"
            )
        rows, cosines = _nearest(items, row, k, ~cannot_score)
        frame = pd.DataFrame({"item": self.dataset.item_ids[rows], "similarity": cosines})
        return pd.concat([frame, self.dataset.item_attributes.iloc[rows].reset_index(drop=True)], axis=1)

    def similar_users(self, user: Any, k: int = 10) -> pd.DataFrame:
        """The `k` users whose vectors have the highest cosine with that of `user`.

        Returns:
            Frame with `user` and `similarity`, best first.

        Raises:
            UserError: there is no such user, or the model has no vectors.
        """
        users, _ = self._vectors()
        row = _place(user, self.dataset.user_ids, "user", self.dataset.name)
        rows, cosines = _nearest(users, row, k, np.ones(len(users), bool))
        return pd.DataFrame({"user": self.dataset.user_ids[rows], "similarity": cosines})

    def _vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_users, d) and (n_items, d) float32."""
        if not self.model.exports_vectors:
            raise UserError(
                f"{self.config.model} has no vectors to compare; train lightgcn, freedom, mmhcl or another model with "
                "vectors (see `recsys list models`)"
            )
        users, items = self.model.embed(self._run.data.query_users(self._run.support("test")))
        return users.detach().float().cpu().numpy(), items.detach().float().cpu().numpy()

    def export(self, folder: str | Path, formats: Iterable[str] = ("npy",)) -> list[str]:
        """Write the users' and items' vectors as files and indexes, for whatever serves them, or, of a model without
        vectors, the best items of every user; as `recsys export`.

        Args:
            formats: any of "npy", "parquet", "faiss-flat", "faiss-ivf", "faiss-hnsw", "usearch" and "onnx"; "trec":
                the lists of the test; "pyg": the training graphs, which `recsys.runs.graphs.load_graph` reads.

        Returns:
            Sentences on what should be known, such as that there are no vectors.

        Raises:
            UserError: there is no such format, a package lacks, or the folder cannot be written.
        """
        return export_as(self._run, Path(folder), tuple(formats))

    def package(self, folder: str | Path) -> Path:
        """Write a bundle: all that the run needs to answer, without its data set; as `recsys package`.

        Returns:
            The folder, which `recsys.load_bundle`, `recsys recommend --bundle` and `recsys serve` read.

        Raises:
            UserError: the folder holds something else, or cannot be written.

        Example:
            >>> import recsys, tempfile
            >>> run = recsys.train("itemknn", recsys.toy_data())
            >>> bundle = recsys.load_bundle(run.package(tempfile.mkdtemp() + "/bundle"))
            >>> bundle.recommend(["u1"], k=3).item.tolist() == run.recommend(["u1"], k=3).item.tolist()
            True
        """
        from recsys.runs.package import package

        return package(self._run, Path(folder))

    def graph(self, form: str = "pyg", kind: str = "interactions", k: int = 5) -> Any:
        """What training knew as a graph of torch-geometric, held-out interactions left out.

        Args:
            form: "pyg", the one there is.
            kind: "interactions": a HeteroData of users and items, with the items' features; "users" or "items": a
                HyperGraphData, users joined by an item, or items joined by the neighbours of an item in a modality.
            k: neighbours that an item's hyperedge is made of, the item included.

        Raises:
            UserError: another form or kind, or torch-geometric is not installed.

        Example:
            >>> import recsys
            >>> run = recsys.train("pop", recsys.toy_data())
            >>> graph = run.graph("pyg")
            >>> graph.node_types, graph["user", "takes", "item"].edge_index.shape[0]
            (['user', 'item'], 2)
        """
        if form != "pyg":
            raise UserError(f"there is no graph as '{form}'; known: pyg")
        return pyg_graph(*graph_arrays(self._run, k), kind)

    def refit(self, folder: str | Path | None = None) -> TrainedRun:
        """The model trained again for use, on all interactions: same settings and seed, for as many epochs as were
        best here. Nothing is held out, so that it has no figures; those of this run say what to expect.

        Args:
            folder: where the new run's files go; None: a temporary folder.

        Raises:
            UserError: this run held nothing out itself, or the folder holds another run.

        Example:
            >>> import recsys
            >>> tested = recsys.train("lightgcn", recsys.toy_data(), split="random", max_epochs=3)
            >>> served = tested.refit()
            >>> served.config.split, served.config.refit.epochs["model"] == tested.metrics.values["best_epoch"] + 1
            ('none', True)
        """
        return train_config(refit_config(self._run, self._folder), self.dataset, folder)

    def save(self, folder: str | Path) -> Path:
        """Write the run's files to a new folder, from which `recsys.load_run` and the command line take it up: the
        configuration, the weights, the figures, and the data set where it was made in memory.

        Raises:
            UserError: the folder is not empty, or cannot be written.

        Example:
            >>> import recsys, tempfile
            >>> run = recsys.train("pop", recsys.toy_data())
            >>> saved = run.save(tempfile.mkdtemp() + "/pop")
            >>> recsys.load_run(saved).metrics.test == run.metrics.test
            True
        """
        target = Path(folder)
        make_folder(target)
        shutil.copytree(self._folder, target, dirs_exist_ok=True)
        if self.dataset.origin is None and own_card(target) is None:
            kept = keep_data(self.dataset, target)
            save_config(self.config.model_copy(update={"dataset": kept}), target)
        return target

    def __repr__(self) -> str:
        config, test = self.config, self.metrics.test
        shown = ", ".join(f"{name} {test[name]:.4f}" for name in ("recall@20", "ndcg@20") if name in test)
        shown = f": {shown}" if shown else ""
        return f"<{config.model} on {self.dataset.name}, split {config.split}, seed {config.seed}{shown}>"


def train_config(
    config: RunConfig,
    dataset: Dataset,
    folder: str | Path | None = None,
    *,
    resume: bool = False,
    progress: bool = False,
) -> TrainedRun:
    """What `recsys.train` makes of a configuration."""
    console = PlainConsole(stderr=True) if progress else None
    if folder is None:
        if resume:
            raise UserError("resume=True goes on with the run of a folder; name it with folder=")
        temporary = TemporaryDirectory(prefix="recsys-")
        run = prepare(config, dataset)
        execute(run, Path(temporary.name), resume=True, console=console)
        return TrainedRun(run, Path(temporary.name), temporary)
    path = Path(folder)
    run = prepare(config, dataset)
    make_folder(path, resume)
    if dataset.origin is None:
        run.config = run.config.model_copy(update={"dataset": keep_data(dataset, path)})
    execute(run, path, resume=True, console=console)
    return TrainedRun(load(path) if resume else run, path)


def keep_data(dataset: Dataset, folder: Path) -> str:
    """Write a data set that was made in memory into a run's folder, unless it is there; the path of its card.

    Raises:
        UserError: the folder holds another data set.
        DataError: it cannot be written.
    """
    card = own_card(folder)
    if card is None:
        target = folder / DATA_FOLDER / dataset.name
        convert(dataset, target)
        card = target / CARD_FILE
    elif data_checksum(load_dataset(str(card))) != data_checksum(dataset):
        raise UserError(f"{folder} holds a run on other data; choose another folder")
    return str(card.resolve())


def load_run(folder: str | Path, data_root: str | Path | None = None) -> TrainedRun:
    """A finished run from its folder, made by `recsys train`, `recsys bench`, `TrainedRun.save` or `recsys.train`.

    Args:
        data_root: where its data set lies, if not where it lay.

    Raises:
        UserError: the folder holds no finished run.
        DataError: its data set is not there, or has changed.

    Stability: stable.

    Example:
        >>> import recsys, tempfile
        >>> folder = tempfile.mkdtemp() + "/run"
        >>> run = recsys.train("pop", recsys.toy_data(), folder=folder)
        >>> recsys.load_run(folder).recommend(["u0"], k=2).equals(run.recommend(["u0"], k=2))
        True
    """
    path = Path(folder)
    return TrainedRun(load(path, str(data_root) if data_root else None), path)


def _ids(values: Iterable[Any]) -> np.ndarray:
    return np.array(list(dict.fromkeys(str(value) for value in values)), dtype=object)


def _place(wanted: Any, ids: np.ndarray, noun: str, name: str) -> int:
    row = int(positions(ids, np.array([str(wanted)], dtype=object))[0])
    if row < 0:
        raise UserError(f"'{name}' has no {noun} '{wanted}'{nearest(str(wanted), ids)}")
    return row


def _nearest(vectors: np.ndarray, row: int, k: int, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and cosines of the `k` vectors nearest to that of `row`, itself left out, best first."""
    import torch

    if k < 1:
        raise UserError(f"k is {k}; expected 1 or more")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit[row]
    among = among.copy()
    among[row] = False
    candidates = np.flatnonzero(among)
    places, values = ordered_top_k(torch.from_numpy(cosines[candidates])[None], k)
    return candidates[places[0]], values[0]
