"""A bundle: a trained run's answers without its data set, split or graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from recsys.errors import UserError, nearest
from recsys.inputs.requests import NewItems
from recsys.serving.arrays import MANIFEST, Reader, damaged, replacing
from recsys.serving.ids import Ids
from recsys.serving.notes import notes_on
from recsys.serving.parts import LOWEST, Bank, Part, Query, Vectors
from recsys.serving.sparse import keys, ones, taller, union, wider
from recsys.serving.top import top_k
from recsys.serving.where import allowed_by
from recsys.serving.write import ARRAYS, ITEMS_FILE, USERS_FILE, write_bundle

if TYPE_CHECKING:
    import pandas as pd
    from narwhals.typing import IntoDataFrame

    from recsys.datasets.dataset import Dataset
    from recsys.inputs.new_data import Interactions

CELLS = 2**22
"""Scores of one block of users."""
CACHED = ("attributes", "attribute_columns", "dataset")
"""What a bundle with more items makes anew."""
EXPLAINED = 1000
"""Items of a history that an explanation weighs, the last of them."""


@dataclass(frozen=True, eq=False)
class Recipients:
    """b users to recommend to.

    Attributes:
        ids: (b,) raw ids.
        query: what scores are asked with.
        had: (b, n) CSR, what is not recommended to them.
    """

    ids: np.ndarray
    query: Query
    had: sp.csr_array

    def rows(self, places: slice) -> Recipients:
        """Some of them."""
        rows, history, before = self.query
        query = Query(rows[places], history[places], before[places])
        return Recipients(self.ids[places], query, self.had[places])


class ServingBundle:
    """What `recsys package` wrote of a run, ready to answer. `recsys.load_bundle` reads it.

    The users and items of training stand first. Those that `updated` folded in stand behind them and are placed by the
    parts as any that arrive: at every request, by their history and content, so that an update and a service that took
    the same in give the same.

    Attributes:
        about: the manifest's head: model, data set, split, version, sizes, how new users and items are placed and,
            after an update, `updated`: how many `users`, `items` and `interactions` it brought, how many interactions
            were `known`, and `notes` on what was mended.
        users, items: raw ids; `items` counts new ones too.

    Stability: experimental.

    Example:
        >>> import recsys, tempfile
        >>> run = recsys.train("ease", recsys.toy_data())
        >>> bundle = recsys.load_bundle(run.package(tempfile.mkdtemp() + "/bundle"))
        >>> bundle.recommend(["u0"], k=2).item.tolist() == run.recommend(["u0"], k=2).item.tolist()
        True
    """

    def __init__(self, reader: Reader):
        manifest = reader.manifest
        self.folder, self._manifest = reader.folder, manifest
        try:
            self.about: dict[str, Any] = manifest["about"]
            manifest = {"before": manifest["history"], **manifest}  # bundles of before there were updates
            kept = {name: reader.value(manifest[name]) for name in ARRAYS}
            ids = {noun: reader.value(manifest["ids"][noun]) for noun in ("user", "item")}
            name = self.about["dataset"]
            self.users, self.items = (
                Ids(ids[noun][0], ids[noun][1], noun, name) for noun in ("user", "item")
            )
            trained = manifest.get("trained", {})
            self.n_trained_users = int(trained.get("user", len(self.users.names)))
            self.n_trained_items = int(trained.get("item", len(self.items.names)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(reader.folder, f"{MANIFEST} lacks {error}") from None
        self.part: Part = kept["part"]
        self._own_part = self.part
        self._history: sp.csr_array = kept["history"]
        self._before: sp.csr_array = kept["before"]
        self._had: sp.csr_array = kept["had"]
        self._warm, self._bank = kept["warm"], kept["bank"]
        self.n_catalogue = len(self.items.names)
        self.new_items: NewItems | None = None

    @property
    def trained_history(self) -> sp.csr_array:
        """(n_users, n_trained_items) CSR, what users' histories were when the bundle was packaged; empty rows of those
        who came later."""
        return self._before

    @property
    def n_items(self) -> int:
        """The catalogue's items and the new ones."""
        return len(self.items.names)

    @cached_property
    def attributes(self) -> pd.DataFrame:
        """Of the catalogue's items and the new ones, a row for each in order; titles in `title`."""
        frame = self._catalogue
        if self.new_items is None:
            return frame
        import pandas as pd

        return pd.concat([frame, self.new_items.attributes], ignore_index=True)

    @cached_property
    def attribute_columns(self) -> dict[str, np.ndarray]:
        """The columns of `attributes`, which a request reads cell by cell."""
        return {str(name): self.attributes[name].to_numpy(dtype=object) for name in self.attributes}

    @cached_property
    def _catalogue(self) -> pd.DataFrame:
        return _read(self.folder / ITEMS_FILE)

    @cached_property
    def dataset(self) -> Dataset:
        """What files and frames of new users and items are read against: ids, attributes and content, without
        interactions."""
        import pandas as pd

        from recsys.datasets.content.spec import content_spec
        from recsys.datasets.dataset import Dataset

        about = self._manifest
        return Dataset(
            self.about["dataset"],
            pd.DataFrame({"user": np.empty(0, np.int64), "item": np.empty(0, np.int64)}),
            np.array(self.users.names),
            np.array(self.items.names),
            self._modalities,
            _read(self.folder / USERS_FILE),
            self.attributes,
            encoders={name: content_spec(said) for name, said in about["encoders"].items()},
            id_columns={noun: tuple(names) for noun, names in about["id_columns"].items()},
            renames=about["renames"],
        )

    @cached_property
    def _modalities(self) -> dict[str, Any]:
        from recsys.datasets.dataset import Modality

        return {name: Modality(*kept) for name, kept in self._bank.items()}

    def recommend(
        self,
        users: Iterable[Any] | None = None,
        k: int = 10,
        *,
        new_items: IntoDataFrame | NewItems | None = None,
        new_users: IntoDataFrame | Mapping[str, Iterable[Any]] | None = None,
        pool: str = "new",
        exclude: Iterable[Any] = (),
        include: Iterable[Any] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """The `k` best items for each user, without those that the user has; as `TrainedRun.recommend`.

        Args:
            users: raw ids; None: all of them, or all of `new_users`.
            k: items for each user.
            new_items: items that arrived after training, as in `TrainedRun.recommend`.
            new_users: user -> the items that they took, or a frame with a row for each interaction.
            pool: with new items, "new" ranks them alone and "all" among the whole catalogue.
            exclude: raw ids of items that are left out, such as those out of stock.
            include: raw ids of the only items that may be recommended; None: all.
            where: attribute -> value, list of values, or {"min": a, "max": b}, which an item must have; of an
                attribute with several values, separated by "|", one of them.

        Returns:
            Frame with `user`, `rank` (from 1), `item`, `score` and `new` (a new item), best first.

        Raises:
            UserError: a user or item whom nobody knows, or a model that cannot rank new items.
            DataError: new items or users that do not fit the bundle.

        Example:
            >>> import recsys, tempfile
            >>> run = recsys.train("lightgcn", recsys.toy_data(), max_epochs=2)
            >>> bundle = recsys.load_bundle(run.package(tempfile.mkdtemp() + "/bundle"))
            >>> bundle.recommend(k=1, new_users={"me": ["p00", "p05"]}, exclude=["p01"]).user.tolist()
            ['me']
        """
        if pool not in ("new", "all"):
            raise UserError(
                f"pool is '{pool}'; expected 'new' (new items alone) or 'all' (among the catalogue)"
            )
        if pool == "all" and new_items is None:
            raise UserError("pool='all' ranks new items among the catalogue; give new_items")
        bundle, notes = (self, []) if new_items is None else self.with_items(new_items)
        recipients = bundle.recipients(users, new_users)
        first = self.n_catalogue if new_items is not None and pool == "new" else 0
        allowed = bundle.allowed(exclude, include, where)
        frame = bundle.lists(recipients, k, allowed, first)
        frame.attrs["notes"] = [*notes, *bundle.notes(recipients)]
        return frame

    def lists(
        self, recipients: Recipients, k: int, allowed: np.ndarray | None = None, first: int = 0
    ) -> pd.DataFrame:
        """The frame of `recommend`, of users whom `recipients` or `strangers` made.

        Args:
            allowed: (n_items,) bool; None: all items.
            first: items before this number are left out.
        """
        import pandas as pd

        if first:
            allowed = np.ones(self.n_items, dtype=bool) if allowed is None else allowed
            allowed[:first] = False
        blocks = list(self.ranked(recipients, k, allowed))
        rows, ranks, items, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return pd.DataFrame(
            {
                "user": recipients.ids[rows],
                "rank": ranks,
                "item": np.asarray(self.items.names)[items],
                "score": values,
                "new": items >= self.n_catalogue,
            }
        )

    def notes(self, recipients: Recipients) -> list[str]:
        """What should be known of what these users are recommended."""
        notes = []
        unknown = recipients.query.rows < 0
        if unknown.any() and (how := self.about["new_users"]) != "exact":
            notes.append(f"users whom training has not seen are placed by {how}")
        if self.new_items is not None and (how := self.about["new_items"]) != "exact":
            notes.append(f"new items are placed by {how}")
        rules = getattr(self.part, "others", self.part)
        without = getattr(rules, "without", None)
        return notes + notes_on(
            self.about["model"],
            users=len(recipients.ids),
            strangers=int((np.diff(recipients.query.history.indptr) == 0).sum()),
            popular=bool(getattr(rules, "popular_without_history", False)),
            new_items=self.n_items - self.n_catalogue,
            without_content=0 if without is None else len(without),
        )

    def ranked(
        self, recipients: Recipients, k: int, allowed: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Blocks of users' lists: places among the recipients, ranks from 1, item numbers, scores.

        Args:
            allowed: (n_items,) bool; None: all items.
        """
        size = max(1, CELLS // self.n_items)
        for low in range(0, max(1, len(recipients.ids)), size):
            rows, ranks, items, scores = self.rank(recipients.rows(slice(low, low + size)), k, allowed)
            yield low + rows, ranks, items, scores

    def rank(
        self, recipients: Recipients, k: int, allowed: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The one block of `ranked` that these recipients are."""
        if k < 1:
            raise UserError(f"k is {k}; expected 1 or more items")
        scores = self.part.scores(recipients.query)
        had = recipients.had
        scores[np.repeat(np.arange(len(scores)), np.diff(had.indptr)), had.indices] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        places, values = top_k(scores, k)
        rows, ranks = np.nonzero(values > LOWEST)
        return rows, ranks + 1, places[rows, ranks], values[rows, ranks]

    def recipients(
        self,
        users: Iterable[Any] | None = None,
        new_users: IntoDataFrame | Mapping[str, Iterable[Any]] | None = None,
        since: Mapping[str, Sequence[str]] | None = None,
    ) -> Recipients:
        """Whom to recommend to.

        Args:
            since: user -> items that they took since the bundle was made, new items among them.

        Raises:
            UserError: nobody knows a user.
            DataError: new users that do not fit.
        """
        wanted = None
        if users is not None:
            wanted = list(dict.fromkeys(str(one) for one in ([users] if isinstance(users, str) else users)))
            if not wanted:
                raise UserError("users is empty; give raw ids, or None for all")
        if new_users is not None:
            return self._new_users(new_users, wanted)
        rows = np.arange(len(self.users.names)) if wanted is None else self._user_rows(wanted, since)
        ids = (
            np.asarray(self.users.names).astype(object) if wanted is None else np.array(wanted, dtype=object)
        )
        if wanted is None:
            query = Query(self._trained(rows), self._history, self._before)
            return Recipients(ids, query, wider(self._had, self.n_items))
        held = np.flatnonzero(rows >= 0)
        spread = sp.csr_array(
            (np.ones(len(held), np.float32), (held, rows[held])), (len(rows), len(self.users.names))
        )
        matrices = (self._history, self._before, self._had)
        history, before, had = (sp.csr_array(spread @ matrix) for matrix in matrices)
        if since:
            more = self.matrix([self.items.rows(list(since.get(str(user), ()))) for user in ids])
            history = union(history, more[:, : self.n_trained_items])
            had = union(wider(had, self.n_items), more)
        return Recipients(ids, Query(self._trained(rows), history, before), wider(had, self.n_items))

    def _trained(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the bundle's users as its parts know them: -1 for who came after training."""
        return np.where(rows < self.n_trained_users, rows, -1)

    def _user_rows(self, wanted: list[str], since: Mapping[str, Sequence[str]] | None) -> np.ndarray:
        rows = self.users.rows(wanted)
        for user, row in zip(wanted, rows, strict=True):
            if row < 0 and user not in (since or {}):
                self.users.known([user])
        return rows

    def _new_users(self, given: Any, wanted: list[str] | None) -> Recipients:
        """Users by their histories alone: given as a mapping or a frame."""
        if isinstance(given, Mapping):
            ids = [str(user) for user in given]
            took = [self.items.known(items) for items in given.values()]
            if known := next(
                (one for one, row in zip(ids, self.users.rows(ids), strict=True) if row >= 0), None
            ):
                raise UserError(f"user '{known}' is not new, the bundle has it; recommend to it by its id")
            history = self.matrix(took)
        else:
            from recsys.datasets.frames import to_pandas
            from recsys.inputs.new_data import new_users_of

            frame, query = new_users_of(to_pandas(given, "new users"), self.dataset, "new users")
            ids, history = [str(one) for one in frame], query.history
        return self.strangers_named(ids, history, wanted)

    def strangers_named(
        self, ids: Sequence[str], history: sp.csr_array, wanted: Sequence[str] | None
    ) -> Recipients:
        """`strangers`, of whom only `wanted` are meant where that is not None.

        Raises:
            UserError: there is no such user among them.
        """
        ids, history = [str(one) for one in ids], wider(history, self.n_items)
        if wanted is not None:
            rows = Ids.made_of(np.array(ids, dtype=str), "user", "new users").rows(wanted)
            if (rows < 0).any():
                lacking = wanted[int(np.argmax(rows < 0))]
                raise UserError(f"the new users have no user '{lacking}'{nearest(lacking, ids)}")
            ids, history = list(wanted), history[rows]
        return self.strangers(ids, history)

    def strangers(self, ids: Sequence[str], history: sp.csr_array) -> Recipients:
        """People whom the bundle does not know, by their histories, (b, n_items) CSR."""
        liked = sp.csr_array(history[:, : self.n_trained_items])
        return Recipients(np.array(ids, dtype=object), Query(np.full(len(ids), -1), liked, liked), history)

    def matrix(self, took: Sequence[np.ndarray]) -> sp.csr_array:
        """(b, n_items) CSR of ones; numbers below 0 are left out."""
        kept = [np.unique(items[items >= 0]) for items in took]
        indptr = np.concatenate([[0], np.cumsum([len(items) for items in kept])])
        indices = np.concatenate([*kept, np.empty(0, np.int64)]).astype(np.int32)
        return sp.csr_array(
            (np.ones(len(indices), np.float32), indices, indptr), shape=(len(kept), self.n_items)
        )

    def allowed(
        self,
        exclude: Iterable[Any] = (),
        include: Iterable[Any] | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> np.ndarray | None:
        """(n_items,) bool, the items that may be recommended; None where all may.

        Raises:
            UserError: an item or attribute that there is not, or a condition that is none.
        """
        exclude = list(exclude)
        if not exclude and include is None and not where:
            return None
        mask = np.ones(self.n_items, dtype=bool)
        if include is not None:
            mask[:] = False
            mask[self.items.known(include)] = True
        mask[self.items.known(exclude)] = False
        return mask & allowed_by(where, self.attributes) if where else mask

    def with_items(self, new: IntoDataFrame | NewItems) -> tuple[ServingBundle, list[str]]:
        """This bundle with new items behind its catalogue, and notes on what was mended.

        Raises:
            UserError: the model cannot rank new items.
            DataError: content that does not fit.
        """
        from recsys.inputs.new_data import new_items_of_frame

        if reason := self.about["refuses_items"]:
            raise UserError(reason)
        notes: list[str] = []
        if not isinstance(new, NewItems):
            new, notes = new_items_of_frame(new, self.dataset)
        made = object.__new__(ServingBundle)
        made.__dict__ |= {k: v for k, v in self.__dict__.items() if k not in CACHED}
        made.part = self._own_part.with_items(new, Bank(self._modalities, np.asarray(self._warm)))
        made.new_items = new
        names = np.concatenate([self.items.names[: self.n_catalogue], new.ids.astype(str)])
        made.items = Ids.made_of(names, "item", self.items.of)
        return made, notes

    def updated(
        self,
        interactions: IntoDataFrame | Interactions | None = None,
        new_items: IntoDataFrame | NewItems | None = None,
    ) -> ServingBundle:
        """This bundle with what happened since, as `recsys update`; nothing is trained again, and `save` keeps it.

        Known users' histories grow, new users are known from now on, and new items belong to the catalogue. All are
        placed as `recsys serve` places what it is told while it runs. What the bundle has already changes nothing.

        Args:
            interactions: a frame with a row for each, in the data set's own columns, with users of the bundle and new
                ones; where the item is empty, a user without any.
            new_items: items with their content, as in `recommend`.

        Raises:
            UserError: the model cannot rank new items.
            DataError: an item that neither the bundle nor `new_items` has, or content that does not fit.

        Example:
            >>> import recsys, tempfile, pandas as pd
            >>> run = recsys.train("ease", recsys.toy_data())
            >>> bundle = recsys.load_bundle(run.package(tempfile.mkdtemp() + "/bundle"))
            >>> later = bundle.updated(pd.DataFrame({"user": ["me", "me"], "item": ["p00", "p05"]}))
            >>> later.about["updated"]["users"], later.recommend(["me"], k=2).user.tolist()
            (1, ['me', 'me'])
        """
        from recsys.datasets.frames import to_pandas
        from recsys.inputs.new_data import Interactions, interactions_of

        bundle, notes = (self, list[str]()) if new_items is None else self.with_items(new_items)
        if interactions is None:
            rows = Interactions(np.empty(0, dtype=object), np.empty(0, np.int64), {})
        elif isinstance(interactions, Interactions):
            rows = interactions
        else:
            table = to_pandas(interactions, "interactions")
            rows = interactions_of(table, bundle.dataset, "interactions")
        if rows.others:
            notes = [*notes, f"not read of the interactions: {', '.join(rows.others)}"]
        return bundle._with_interactions(rows, notes)

    def _with_interactions(self, rows: Interactions, notes: list[str]) -> ServingBundle:
        """With new items as items of the catalogue."""
        ids, of_row = np.unique(rows.users.astype(str), return_inverse=True)
        unknown = ids[self.users.rows(ids) < 0]
        made = object.__new__(ServingBundle)
        made.__dict__ |= {k: v for k, v in self.__dict__.items() if k not in CACHED}
        names = np.concatenate([np.asarray(self.users.names), unknown]) if len(unknown) else self.users.names
        made.users = Ids.made_of(np.asarray(names), "user", self.users.of) if len(unknown) else self.users
        made.new_items, made.n_catalogue, made._own_part = None, self.n_items, self.part
        made.__dict__["_catalogue"] = self.attributes
        n, taken = len(names), rows.items >= 0
        pairs = np.unique(made.users.rows(ids)[of_row][taken] * self.n_items + rows.items[taken])
        had, history, before = (taller(one, n) for one in (self._had, self._history, self._before))
        had = wider(had, self.n_items)
        users, items = np.divmod(pairs, self.n_items)
        more = ones(users, items, (n, self.n_items))
        known = np.isin(pairs, keys(had))
        known &= (items >= self.n_trained_items) | np.isin(pairs, keys(wider(history, self.n_items)))
        made._had = union(had, more)
        made._history = union(history, more[:, : self.n_trained_items])
        made._before = before
        brought = {
            "users": len(unknown),
            "items": self.n_items - self.n_catalogue,
            "interactions": int((~known).sum()),
            "known": int(known.sum()),
            "notes": notes,
        }
        sizes = {"users": n, "items": self.n_items}
        made.about = {**self.about, **sizes, "updated": brought}
        return made

    def save(self, folder: str | Path) -> Path:
        """Write this bundle, such as one that `updated` gave, to a folder that is not there or holds a bundle, its own
        too: whole or not at all.

        Raises:
            UserError: the folder holds something else, or cannot be written.

        Example:
            >>> import recsys, tempfile
            >>> run = recsys.train("pop", recsys.toy_data())
            >>> bundle = recsys.load_bundle(run.package(tempfile.mkdtemp() + "/bundle"))
            >>> recsys.load_bundle(bundle.updated().save(tempfile.mkdtemp() + "/later")).about["updated"]["users"]
            0
        """
        if self.new_items is not None:
            return self.updated().save(folder)
        target = Path(folder).absolute()
        trained = {"user": self.n_trained_users, "item": self.n_trained_items}
        arrays = {
            "part": self.part,
            "history": self._history,
            "before": self._before,
            "had": self._had,
            "warm": self._warm,
            "bank": self._bank,
        }
        reading = {name: self._manifest[name] for name in ("encoders", "id_columns", "renames")}
        frames = self.attributes, _read(self.folder / USERS_FILE)
        with replacing(target) as temporary:
            ids = {"user": self.users, "item": self.items}
            write_bundle(temporary, self.about, trained, ids, arrays, reading, frames)
            load_bundle(temporary, verify=False)
        return target

    def similar_items(self, item: Any, k: int = 10, allowed: np.ndarray | None = None) -> pd.DataFrame:
        """The `k` items most like `item`: by the cosine of their vectors, or, of a model that has none, by what the
        model recommends to somebody who took that item alone.

        Returns:
            Frame with `item`, `similarity` and the items' attributes, best first; `attrs["by"]` says by what.

        Raises:
            UserError: there is no such item.
        """
        import pandas as pd

        row = int(self.items.known([item])[0])
        vectors = self.vectors
        if vectors is not None:
            scores, by = cosines(vectors.items, vectors.items[row]), "cosine of vectors"
        elif row >= self.n_trained_items:
            raise UserError(
                f"this model has no vectors: what is similar to the new item '{item}' is not known"
            )
        else:
            scores = self.part.scores(self.strangers(["-"], self.matrix([np.array([row])])).query)[0]
            by = "what is recommended to who took that item alone"
        scores = np.array(scores, dtype=np.float32)
        scores[row] = -np.inf
        scores[self.cannot_score] = -np.inf
        if allowed is not None:
            scores[~allowed] = -np.inf
        places, values = top_k(scores[None], k)
        kept = places[0][np.isfinite(values[0]) & (values[0] > LOWEST)]
        frame = pd.DataFrame({"item": np.asarray(self.items.names)[kept], "similarity": scores[kept]})
        frame = pd.concat([frame, self.attributes.iloc[kept].reset_index(drop=True)], axis=1)
        frame.attrs["by"] = by
        return frame

    @property
    def vectors(self) -> Vectors | None:
        """The users' and items' vectors whose inner products are the scores; None where there are none."""
        inner = getattr(self.part, "part", self.part)
        return inner if isinstance(inner, Vectors) else None

    @property
    def cannot_score(self) -> np.ndarray:
        """Numbers of the items that the model cannot score."""
        return np.asarray(getattr(self.part, "cannot_score", np.empty(0, np.int64)))

    def explain(self, recipients: Recipients, item: Any, k: int = 5) -> tuple[list[tuple[str, float]], str]:
        """The items of one user's history that speak most for `item`, with what each adds, and by what this is said.

        Exact where a model's scores are sums over the history; otherwise by the cosine of vectors, or by the score
        that somebody who took that item alone would have.

        Raises:
            UserError: there is no such item, or the user has no history.
        """
        row = int(self.items.known([item])[0])
        taken = recipients.query.history[[0]].indices[-EXPLAINED:]
        if not len(taken):
            raise UserError(f"user '{recipients.ids[0]}' has no interactions: nothing explains an item")
        if self.vectors is not None:
            items = self.vectors.items
            weights, by = cosines(items[taken], items[row]), "cosine of vectors"
        else:
            alone = self.strangers(["-"] * len(taken), self.matrix([np.array([one]) for one in taken]))
            weights = self.part.scores(alone.query)[:, row]
            by = "its share of the score" if self.part.linear else "the score of who took that item alone"
        order = np.argsort(-weights, kind="stable")[:k]
        names = np.asarray(self.items.names)
        return [(str(names[taken[place]]), float(weights[place])) for place in order], by

    def __repr__(self) -> str:
        of = f"{self.about['model']} on {self.about['dataset']}"
        return f"<bundle of {of}: {len(self.users.names):,} users, {self.n_items:,} items>"


def load_bundle(folder: str | Path, *, verify: bool = True) -> ServingBundle:
    """A bundle that `recsys package` or `TrainedRun.package` wrote. Its arrays are mapped into memory.

    Args:
        verify: compare every file's SHA-256 with the manifest's; without it sizes alone are compared.

    Raises:
        UserError: the folder holds no whole bundle.

    Stability: experimental.

    Example:
        >>> import recsys, tempfile
        >>> run = recsys.train("pop", recsys.toy_data())
        >>> recsys.load_bundle(run.package(tempfile.mkdtemp() + "/bundle")).about["model"]
        'pop'
    """
    return ServingBundle(Reader(Path(folder), verify))


def cosines(rows: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(n,) cosines of rows (n, d) with one vector (d,); 0 where a length is 0."""
    norms = np.linalg.norm(rows, axis=1) * max(float(np.linalg.norm(of)), 1e-12)
    return np.asarray((rows @ of) / np.maximum(norms, 1e-12))


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise damaged(path.parent, f"{path.name}: {error}") from None
