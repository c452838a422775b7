"""What `recsys list`, `recsys show` and `--help-settings` print."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recsys.cli.parts.kinds import KINDS
from recsys.cli.parts.settings_table import plain_table, settings_tables
from recsys.cli.parts.source import class_text, first_line
from recsys.errors import UserError
from recsys.registry import Registry

CAPABILITIES = {
    "reads_content": "reads content",
    "ranks_cold_items": "ranks cold items",
    "exports_vectors": "exports vectors",
    "personal": "ranks for each user",
    "serves_new_users": "serves new users",
    "linear_in_history": "scores are sums over the history",
    "trains_in_shares": "trains on several processes",
    "trains_by_columns": "several processes divide its columns",
    "closed_form": "closed form",
}


def registry_of(kind: str) -> tuple[str, Registry]:
    """The kind's name in the plural, and its registry; the singular is understood too."""
    if kind not in KINDS and f"{kind}s" in KINDS:
        kind = f"{kind}s"
    return kind, KINDS.get(kind)


def kinds_table() -> Table:
    """Each kind of part, how many there are, and the packages that add some."""
    table = plain_table("parts", "kind", "parts", "added by")
    for kind in KINDS.builtin:
        registry = KINDS.get(kind)
        added = {registry.origin(name) for name in registry if name not in registry.builtin}
        table.add_row(kind, str(len(registry)), ", ".join(sorted(added)))
    return table


def parts_table(kind: str) -> Table:
    """Name, first lines of what it is, and where it comes from where it is not built in."""
    kind, registry = registry_of(kind)
    foreign = any(name not in registry.builtin for name in registry)
    table = plain_table(kind, "name", "what it is", *(["from"] if foreign else []))
    for name in registry:
        origin = "" if name in registry.builtin else registry.origin(name)
        table.add_row(name, _summary(kind, registry, name), *([origin] * foreign))
    return table


def _summary(kind: str, registry: Registry, name: str) -> str:
    if kind == "datasets":
        from recsys.datasets.cards import find_card

        try:
            return find_card(name).title
        except UserError as error:
            return str(error)
    target = registry.target(name)
    if kind == "models" and target and (paper := class_text(target, "paper")):
        return paper.removeprefix("None: ")
    if kind == "readers" and target:
        target = target.partition(":")[0]  # all are called `read`; the file says what they know
    doc = first_line(target) if target else inspect.getdoc(registry.get(name)) or ""
    sentence = " ".join(doc.partition("\n\n")[0].split()).partition(". ")[0]
    return sentence.rstrip(".")


def description(kind: str, name: str) -> Iterator[RenderableType]:
    """One part, in pieces to print."""
    kind, registry = registry_of(kind)
    part = registry.get(name)
    yield Text(f"{registry.kind} {name}", style="bold")
    yield _facts({"from": registry.origin(name) or BUILT_IN_FAMILY, "source": _source(registry, name, part)})
    yield from DESCRIBED.get(kind, _documented)(name, part)


BUILT_IN_FAMILY = "built in"


def _source(registry: Registry, name: str, part: Any) -> str:
    try:
        return str(inspect.getsourcefile(part) or "")
    except TypeError:
        return registry.target(name) or str(part)


def _facts(facts: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if value:
            table.add_row(key, value)
    return table


def _documented(name: str, part: Any) -> Iterator[RenderableType]:
    if doc := inspect.getdoc(part):
        yield Padding(Text(_reflowed(doc)), (1, 0))


def _reflowed(doc: str) -> str:
    """The docstring with each paragraph on one line, for the terminal to wrap; indented lines stay."""
    paragraphs = doc.split("\n\n")
    return "\n\n".join(p if "\n " in p else " ".join(p.split()) for p in paragraphs)


def _model(name: str, model: Any) -> Iterator[RenderableType]:
    can = [label for key, label in CAPABILITIES.items() if getattr(model, key, False) is True]
    cannot = [label for key, label in CAPABILITIES.items() if getattr(model, key, True) is False]
    paper = getattr(model, "paper", "")
    views = "; ".join(f"of {side}: {', '.join(names)}" for side, names in getattr(model, "views", {}).items())
    facts = {"paper": paper, "published": _published(model), "yes": ", ".join(can), "no": ", ".join(cannot)}
    yield _facts(facts | {"views": views})
    yield from _documented(name, model)
    yield from model_settings(name)


def _published(model: Any) -> str:
    """What `--published` sets, and where it was read."""
    known = getattr(model, "published", None)
    if known is None:
        return ""
    values = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in known.settings.items())
    return f"{', '.join(values)} ({known.source})"


def model_settings(name: str) -> Iterator[RenderableType]:
    """The tables of a model's settings and, where it is trained, of training's."""
    model = KINDS.get("models").get(name)
    yield from settings_tables(model.Settings, f"settings of {name}")
    if not model.closed_form:
        from recsys.inputs.train_settings import TrainSettings

        yield from settings_tables(TrainSettings, f"settings of its training ({name})", model.train_defaults)


def _split(name: str, split: Callable) -> Iterator[RenderableType]:
    from recsys.datasets.splits import split_options

    yield from _documented(name, split)
    table = plain_table("options (--split-set)", "option", "default", "meaning")
    for option, (default, meaning) in split_options(split).items():
        table.add_row(option, str(default), meaning)
    yield Padding(table if table.row_count else Text("It has no options."), (1, 0, 0, 0))


def _metric(name: str, metric: Callable) -> Iterator[RenderableType]:
    of_lists = getattr(metric, "of_all_lists", False)
    yield _facts(
        {"value": "one for all lists together" if of_lists else "one for each user's list, then the mean"}
    )
    kind = getattr(metric, "takes", "")
    asked = f"{name}.NAME@20, NAME being that of the {kind}" if kind else f"{name}@20"
    yield _facts({"ask for it": f"--metric {asked}, at any cut-off"})
    yield from _documented(name, metric)


def _reranker(name: str, step: Any) -> Iterator[RenderableType]:
    yield _facts({"ask for it": f"--rerank {name}, settings by --rerank-set KEY=VALUE"})
    yield from _documented(name, step)
    yield from settings_tables(step.Settings, f"settings of {name}")


def _function(name: str, function: Callable) -> Iterator[RenderableType]:
    yield _facts({"call": f"{name}{inspect.signature(function)}"})
    yield from _documented(name, function)


def _reader(name: str, read: Callable) -> Iterator[RenderableType]:
    from pydantic import BaseModel

    module = inspect.getmodule(read)
    rule = getattr(read, "recognises", None)
    recognises = (inspect.getdoc(rule) or "its own rule") if rule else "nothing: the folder needs a card"
    yield _facts({"recognises": recognises})
    yield from _documented(name, module)
    for key, value in vars(module).items():
        own = inspect.isclass(value) and value.__module__ == getattr(module, "__name__", "")
        if own and issubclass(value, BaseModel) and key.endswith("Options"):
            yield from settings_tables(value, "options of the card")
            yield from _documented(name, value)


def _dataset(name: str, _: Any) -> Iterator[RenderableType]:
    from recsys.datasets.cards import find_card

    card = find_card(name)
    facts = {
        key: str(getattr(card, key)) for key in ("title", "reader", "licence", "citation", "homepage", "get")
    }
    facts["modalities"], facts["files"] = ", ".join(card.modalities), ", ".join(card.files)
    yield _facts(facts)


def _command(name: str, command: Any) -> Iterator[RenderableType]:
    yield _facts({"use": f"recsys {name} --help"})
    if inspect.isfunction(command):
        yield from _documented(name, command)


def _encoder(name: str, encoder: Callable) -> Iterator[RenderableType]:
    from recsys.datasets.content.encoder import encoder_options, facts_of

    facts = facts_of(encoder)
    reads = {"text": "cells as text", "file": "files that cells name"}[facts.reads]
    options = {key: default for key, (default, _) in encoder_options(encoder).items()}
    try:
        revision = facts.revision_for(options)
    except UserError:
        revision = "that of the model"
    yield _facts(
        {
            "reads": reads,
            "width": facts.width,
            "encodes": "each item for itself"
            if facts.each
            else "all items together, fitted to the catalogue",
            "weights": facts.weights,
            "revision": revision,
            "licence": facts.licence,
            "kept": ""
            if facts.revision
            else "no: it has no revision, and is encoded whenever the data are read",
        }
    )
    yield from _documented(name, encoder)
    if known := encoder_options(encoder):
        table = plain_table("options", "option", "default", "meaning")
        for option, (default, meaning) in known.items():
            table.add_row(option, repr(default), meaning)
        yield Padding(table, (1, 0, 0, 0))


DESCRIBED: dict[str, Callable[[str, Any], Iterator[RenderableType]]] = {
    "models": _model,
    "splits": _split,
    "metrics": _metric,
    "reranking": _reranker,
    "readers": _reader,
    "datasets": _dataset,
    "commands": _command,
    "objectives": _function,
    "content": _encoder,
}
