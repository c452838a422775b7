"""`recsys recommend`: the items that a trained run, or a bundle of one, ranks highest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from recsys.cli.options import DataRoot, RerankOptions, console
from recsys.cli.parts import completion
from recsys.errors import DataChanged, UserError

if TYPE_CHECKING:
    import pandas as pd

    from recsys.runs.lists import RecommendRequest
    from recsys.serving.bundle import ServingBundle

Pool = Literal["new", "all"]


def recommend(
    run: Annotated[Path | None, typer.Option(help="Folder of a trained run.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder that `recsys package` wrote, in place of --run.")
    ] = None,
    user: Annotated[str, typer.Option(help="Raw id of the user.")] = "",
    users: Annotated[str, typer.Option(help="File of raw ids, one on each line; or all.")] = "",
    all_users: Annotated[bool, typer.Option("--all-users", help="The same as --users all.")] = False,
    new_users: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file of new users with their interactions.")
    ] = None,
    new_items: Annotated[
        Path | None, typer.Option(help="npz, Parquet or CSV file of new items with their content.")
    ] = None,
    pool: Annotated[
        Pool | None,
        typer.Option(help="With --new-items: rank new items only (new, the default), or all items."),
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(help="File of items that are left out, one raw id on each line.")
    ] = None,
    include: Annotated[
        Path | None, typer.Option(help="File of the only items that may be recommended.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ATTRIBUTE=VALUE",
            help="Only items with this value, or with a number in 1990..2000; may be repeated.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", help="Write a .csv or .parquet file instead of printing."),
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out",
            help="Rank also what was held out for the test, marked, as the test does. Without it nobody is recommended "
            "what they have.",
        ),
    ] = False,
    rerank: Annotated[
        str,
        typer.Option(
            help="Re-rank the best items: mmr, calibrated or caps; none: by score where the run re-ranks.",
            autocompletion=completion.reranking,
        ),
    ] = "",
    rerank_options: RerankOptions = None,
    because: Annotated[
        int, typer.Option(min=0, help="Name so many of the items that the user took and that weigh most.")
    ] = 0,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="How many items.")] = 10,
    data_root: DataRoot = None,
) -> None:
    """Print the items that a trained run ranks highest, for its users or new users, of its items or new items."""
    from recsys.runs.lists import RecommendRequest
    from recsys.settings import parse_assignments

    if (run is None) == (bundle is None):
        raise UserError(
            "name a trained run with --run, or what `recsys package` wrote with --bundle; not both"
        )
    options = parse_assignments(rerank_options or [], "--rerank-set")
    wanted = "all" if all_users else users
    asked = RecommendRequest(
        user, wanted, new_items, new_users, pool or "", k, held_out, rerank, options, because
    )
    asked.check()
    filters = [exclude, include, where]
    if bundle is not None and held_out:
        raise UserError("a bundle does not know what was held out; give the run with --run")
    if bundle is not None and (rerank or because):
        raise UserError(
            "a bundle ranks by its scores alone; give the run with --run for --rerank and --because"
        )
    if run is None:
        assert bundle is not None
        _from_bundle(bundle, asked, filters, output)
        return
    kept = _kept(run, asked)
    if kept is not None and _says_the_same(kept, asked):
        _from_bundle(kept, asked, filters, output)
        return
    if any(filters):
        raise UserError(
            "--exclude, --include and --where filter what a bundle ranks: write one with `recsys package`, and "
            "give it with --bundle"
        )
    try:
        _from_run(run, asked, output, data_root)
    except DataChanged as error:
        if kept is None:
            raise
        console().print(f"note: {error}; answered from the run's bundle", markup=False, soft_wrap=True)
        _from_bundle(kept, asked, filters, output)


def _kept(run: Path, asked: RecommendRequest) -> Path | None:
    """The bundle that a run keeps in its folder, where it is of the weights and the configuration that are there; of
    others the run itself says what is wrong. A bundle ranks by score alone."""
    from recsys.files import read_yaml
    from recsys.runs.artifacts import CONFIG_FILE, kept_bundle

    kept = None if asked.held_out or asked.because else kept_bundle(run)
    if kept is None:
        return None
    if (asked.rerank or read_yaml(run / CONFIG_FILE).get("rerank") or "none") != "none":
        return None
    return kept


def _says_the_same(kept: Path, asked: RecommendRequest) -> bool:
    """Whether a run's bundle answers this as the run does."""
    from recsys.serving.arrays import read_manifest

    about = read_manifest(kept)["about"]
    new = {"new_users": asked.new_users, "new_items": asked.new_items}
    return all(about[key] == "exact" for key, given in new.items() if given is not None)


def _from_bundle(folder: Path, asked: RecommendRequest, filters: list, output: Path | None) -> None:
    from recsys.serving.bundle import load_bundle
    from recsys.serving.where import parse_where

    loaded, notes = load_bundle(folder), list[str]()
    exclude, include, where = filters
    restrictions: dict[str, Any] = {
        "exclude": _lines(exclude) if exclude else (),
        "include": _lines(include) if include else None,
        "where": parse_where(where or []),
    }
    if asked.users == "all" and output is not None and output.suffix == ".parquet" and not asked.new_users:
        from recsys.serving.batch import write_all

        if asked.new_items is not None:
            raise UserError("--new-items with all users: write .csv, or name users with --users FILE")
        write_all(loaded, output, asked.k, **restrictions)
        console().print(f"wrote {output}", markup=False, soft_wrap=True)
        return
    loaded, frame = _answer(loaded, asked, restrictions, notes)
    attributes = loaded.attributes.set_axis(loaded.items.names, axis=0)
    _tell(frame, attributes, f"{loaded.about['model']} on {loaded.about['dataset']}", notes, output)


def _answer(
    loaded: ServingBundle, asked: RecommendRequest, restrictions: dict, notes: list[str]
) -> tuple[ServingBundle, pd.DataFrame]:
    """The bundle with the new items asked for, and the lists."""
    first = 0
    if asked.new_items is not None:
        from recsys.inputs.new_files import read_new_items

        items, more = read_new_items(asked.new_items, loaded.dataset)
        loaded, _ = loaded.with_items(items)
        notes += more
        first = 0 if asked.pool == "all" else loaded.n_catalogue
    if asked.new_users is None:
        recipients = loaded.recipients(asked.named())
    else:
        from recsys.inputs.new_files import read_new_users

        ids, query = read_new_users(asked.new_users, loaded.dataset)
        recipients = loaded.strangers_named(ids.tolist(), query.history, asked.named())
    frame = loaded.lists(recipients, asked.k, loaded.allowed(**restrictions), first)
    notes += loaded.notes(recipients)
    return loaded, frame


def _from_run(run: Path, asked: RecommendRequest, output: Path | None, data_root: Path | None) -> None:
    from recsys.runs import recommend as recommending
    from recsys.runs.run import load_run

    trained = load_run(run, str(data_root) if data_root else None)
    answer = recommending.recommend(trained, asked)
    of = f"{trained.config.model} on {trained.dataset.name}"
    _tell(answer.frame, answer.attributes, of, answer.notes, output)


def _tell(
    frame: pd.DataFrame, attributes: pd.DataFrame, of: str, notes: list[str], output: Path | None
) -> None:
    from recsys.runs.lists import tables, write_frame

    screen = console()
    for note in notes:
        screen.print(f"note: {note}", markup=False, soft_wrap=True)
    if output:
        write_frame(frame, output)
        screen.print(f"wrote {output}", markup=False, soft_wrap=True)
    else:
        for table in tables(frame, attributes, of):
            screen.print(table)


def _lines(path: Path) -> list[str]:
    from recsys.datasets.files import read_text

    return [line for line in read_text(path).splitlines() if line]
