"""What is damaged, what reads it, and what a right answer is."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from recsys.experiments.benchmarks.fuzzing import binary, trees  # noqa: F401 - they register damages
from recsys.experiments.benchmarks.fuzzing.damage import damages_of, pick
from recsys.experiments.benchmarks.fuzzing.reading import (
    PLAIN,
    Unreadable,
    any_of,
    difference,
    json_of,
    text_of,
    there,
    token,
    yaml_of,
)

ORDERED = {
    *("citeulike/users.dat", "citeulike/item-tag.dat", "citeulike/tags.dat", "citeulike/citations.dat"),
    *("files/new-items.csv", "files/new-users.csv", "files/users.txt"),
}
"""Files of lines whose order says something."""
Judge = Callable[[Path, Any], str]
"""(the case's folder, how its command ended) -> what is wrong; "" where nothing."""


@dataclass
class Plan:
    """One case.

    Attributes:
        body: damages and runs the command.
        judge: prints what is wrong of how it ended.
        also: exit statuses that are as good as 0.
        must_succeed: whether status 2 is wrong.
        prints_first: whether a part of the answer may stand above the error's line.
    """

    title: str
    body: Callable[[], None]
    judge: Callable[[Any], None]
    also: tuple[int, ...] = ()
    must_succeed: bool = False
    prints_first: bool = False


@dataclass
class Command:
    """A command line, in a case's folder.

    Attributes:
        judge: of an answer, whether it is right; gets whether the damage left the file whole.
        remove: files that are taken away before.
    """

    arguments: tuple[str, ...]
    judge: Callable[[Path, Any, bool], str]
    also: tuple[int, ...] = ()
    remove: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What a command prints, and the files that it writes into `out`."""

    out: str
    files: dict[str, bytes]


Ask = Callable[[Path, tuple[str, ...]], Answer]
"""(a whole run's folder, a command line) -> its answer."""


@dataclass
class Target:
    """A file of a sample.

    Attributes:
        kind: the row that it counts in.
        tree: folder of the samples that is copied to `place` in the case's folder.
        file: the file in it.
        commands: what may read it.
        whole: whether a damage that leaves the meaning whole must go unnoticed.
    """

    kind: str
    tree: Path
    place: str
    file: str
    commands: list[Command]
    whole: bool = True

    def plan(self, folder: Path, rng: np.random.Generator) -> Plan:
        """Draw a damage and a command."""
        shutil.copytree(self.tree, folder / self.place)
        path = folder / self.place / self.file
        damage, command = pick(rng, damages_of(path)), pick(rng, self.commands)
        ordered = f"{self.tree.name}/{self.file}" in ORDERED
        whole = self.whole and damage.whole and not (damage.__name__ == "shuffled" and ordered)

        def body() -> None:
            with warnings.catch_warnings(action="ignore"):
                damage(path, rng)
            for name in command.remove:
                subprocess.run(["rm", "-rf", folder / name], check=True)
            run_command(folder, command.arguments)

        def judge(ended: Any) -> None:
            print(half_written(folder / "out"))
            if ended.status != 2:
                print(command.judge(folder, ended, whole))

        title = f"{self.file} {damage.__name__}, {' '.join(command.arguments[:2])}"
        return Plan(title, body, judge, command.also, whole)


def run_command(folder: Path, arguments: tuple[str, ...]) -> None:
    """The command line in a folder."""
    from recsys.cli.app import main

    os.chdir(folder)
    main(list(arguments))


def preload() -> None:
    """Import what commands import, once, for all forks."""
    import torch

    from recsys import datasets, experiments, graphs, runs, training
    from recsys.cli.app import make_app

    torch.set_num_threads(1)
    make_app()
    for package in (datasets, experiments, graphs, runs, training):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "cluster" not in module.name and "benchmarks" not in module.name:
                importlib.import_module(module.name)
    for name in (
        "optuna",
        "sklearn.feature_extraction.text",
        "sklearn.decomposition",
        "sklearn.preprocessing",
    ):
        importlib.import_module(name)


def half_written(out: Path) -> str:
    """The first file below a folder that is not whole; "" where all are."""
    import pyarrow.parquet as pq
    from safetensors.numpy import load_file

    readers: dict[str, Callable[[Path], Any]] = {
        ".json": lambda p: json.loads(p.read_text()),
        ".yaml": lambda p: yaml.safe_load(p.read_text()),
        ".parquet": lambda p: pq.read_table(p),
        ".npy": lambda p: np.load(p),
        ".safetensors": lambda p: load_file(p),
        ".csv": lambda p: p.read_text().endswith("\n") or 1 / 0,
        ".html": lambda p: p.read_text().rstrip().endswith("</html>") or 1 / 0,
    }
    for path in [out] if out.is_file() else sorted(out.rglob("*")):
        if path.name.startswith(".") and path.name != ".lock":
            return f"{path.name} was left behind"
        if path.is_file() and path.suffix in readers:
            try:
                readers[path.suffix](path)
            except Exception as error:
                return f"{path.name} is half-written: {error}"
    return ""


# --- data sets ------------------------------------------------------------------------------------------------------


def reader_targets(samples: Path) -> list[Target]:
    """Each file of each reader's sample, and of the toy data, whose card has checksums."""
    from recsys.datasets.cards import load_dataset
    from recsys.runs.versions import data_checksum

    made = []
    for folder in sorted((samples / "data").iterdir()):
        name = folder.name
        expected = data_checksum(load_dataset(name, samples / "data"))
        sealed = name == "toy"

        def judge(case: Path, ended: Any, whole: bool, name=name, expected=expected, sealed=sealed) -> str:
            data = load_dataset(name, case / "data")
            own = case / "data" / name
            if data_checksum(data) == expected:
                return ""
            if whole:
                return "another data set than that of the whole file"
            try:
                card = yaml_of(own / "card.yaml") if there(own / "card.yaml") else {"reader": name}
                if sealed and card.get("files", {}).get("items.parquet"):
                    return "a data set that its card's checksums are not of"
                return difference(data, PLAIN[card["reader"]](own, card.get("options") or {}))
            except Unreadable as error:
                return f"read what is none: {error}"

        def listed(case: Path, ended: Any, whole: bool) -> str:
            return "" if "title" in ended.out or "data sets" in ended.out else "no list"

        place = ("--data-root", "data")
        train = ("train", "--model", "pop", "--dataset", name, *place, "--split", "random", "--out", "out")
        commands = [Command(("data", "info", name, *place), judge)] * 6
        commands += [Command(train, judge), Command(("data", "list", *place), listed)]
        if name in ("mmrec", "lattice", "diffmm", "citeulike", "clhe"):  # recognised without a card
            card = (f"data/{name}/card.yaml",)
            commands += [Command(("data", "info", name, *place), judge, remove=card)] * 2
            commands += [Command(("data", "list", *place), listed, remove=card)]
        if name not in ("bundle-csv", "clhe"):  # bundles cannot be converted
            commands += [Command(("data", "convert", name, "out/made", *place), judge)]
        made += [
            Target(
                f"data: {name}" if path.name != "card.yaml" else "card",
                folder,
                f"data/{name}",
                path.name,
                commands,
                whole=not sealed or path.name == "card.yaml",
            )
            for path in sorted(folder.iterdir())
        ]
    return made


# --- runs -----------------------------------------------------------------------------------------------------------


def run_targets(samples: Path, answer: Ask) -> list[Target]:
    """Each file of each trained run."""
    recommend = ("recommend", "--run", "run", "--user", "u1")
    asked = {
        "closed": [recommend, ("report", "run", "--out", "out"), ("rerun", "run", "--out", "out")],
        "trained": [
            recommend,
            ("export", "--run", "run", "--output", "out"),
            ("report", "run", "--out", "out"),
        ],
        "content": [
            recommend,
            (
                "recommend",
                "--run",
                "run",
                "--user",
                "u1",
                "--new-items",
                str(samples / "files/new-items.csv"),
            ),
        ],
    }
    made = []
    for name, lines in asked.items():
        commands = []
        for arguments in lines:
            judge = {"report": _reported, "rerun": _repeated}.get(
                arguments[0], _same(samples / "runs" / name, arguments, answer)
            )
            commands.append(Command(arguments, judge, (1,) if arguments[0] == "rerun" else ()))
        for path in sorted((samples / "runs" / name).iterdir()):
            more = []
            if name == "trained" and path.name != "metrics.json":
                resume = (
                    "train",
                    "--model",
                    "bpr",
                    "--dataset",
                    "toy",
                    "--split",
                    "random",
                    "--device",
                    "cpu",
                )
                resume += ("--data-root", str(samples / "data"), "--out", "run", "--resume")
                resume += ("--set", "max_epochs=1", "--set", "width=4", "--set", "batch_size=64")
                more = [Command(resume, _resumed(samples / "runs" / name), remove=("run/metrics.json",))] * (
                    6 if path.suffix == ".ckpt" else 2
                )
            made.append(Target("run", samples / "runs" / name, "run", path.name, commands + more))
    return made


def _same(run: Path, arguments: tuple[str, ...], answer: Ask) -> Callable[[Path, Any, bool], str]:
    """The answer of the whole run: what is printed, and the files that are written."""
    expected = answer(run, arguments)

    def judge(case: Path, ended: Any, whole: bool) -> str:
        if ended.out != expected.out:
            return "another answer than that of the whole run"
        if expected.files != files_in(case / "out"):
            return "other files than those of the whole run"
        return ""

    return judge


def files_in(folder: Path) -> dict[str, bytes]:
    """Name -> content of a folder's files."""
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _figures(path: Path) -> dict[str, Any]:
    values = json_of(path)
    return values["test"] if isinstance(values, dict) else {}


def _reported(case: Path, ended: Any, whole: bool) -> str:
    """The figures of metrics.json."""
    tables = json.loads((case / "out" / "results.json").read_text())["tables"]
    (row,) = tables[0]["rows"]
    try:
        figures = _figures(case / "run" / "metrics.json")
    except Unreadable as error:
        return f"reported a run whose metrics.json is none: {error}"
    shown = row["columns"]["ndcg@20"]["mean"]
    return "" if abs(shown - figures["ndcg@20"]) < 1e-9 else f"{shown} is reported for {figures['ndcg@20']}"


def _repeated(case: Path, ended: Any, whole: bool) -> str:
    """Status 0 where the figures are the same, 1 where they are not."""
    old, new = (_figures(case / name / "metrics.json") for name in ("run", "out"))
    gap = max(abs(old.get(k, np.inf) - new.get(k, np.inf)) for k in old | new)
    return (
        f"status {ended.status}, and figures that differ by {gap}"
        if (gap > 1e-6) > (ended.status == 1)
        else ""
    )


def _resumed(run: Path) -> Callable[[Path, Any, bool], str]:
    expected = _figures(run / "metrics.json")
    return lambda case, ended, whole: (
        ""
        if _figures(case / "run" / "metrics.json") == expected
        else "other figures than those of the whole run"
    )


# --- new items and users, experiments, scans, settings ----------------------------------------------------------------


def file_targets(samples: Path, answer: Ask) -> list[Target]:
    """Each file of `samples/files`."""
    files, root = samples / "files", ("--data-root", str(samples / "data"))
    runs = {path.name: str(path) for path in (samples / "runs").iterdir()}
    made = []
    for path in sorted(files.iterdir()):
        given = f"files/{path.name}"
        noun, _, sort = path.stem.removeprefix("new-").partition(".")
        if path.stem.startswith("new-"):
            more = ("--user", "u1") if noun == "items" else ()
            run = ("recommend", "--run", runs[sort or "content"], f"--new-{noun}", given, *more)
            command = Command((*run, "-k", "100", "--output", "out.parquet"), _ranked(given, noun))
            kind = f"new {noun}"
        elif path.name == "users.txt":
            run = (
                "recommend",
                "--run",
                runs["closed"],
                "--users",
                given,
                "-k",
                "100",
                "--output",
                "out.parquet",
            )
            command, kind = Command(run, _ranked(given, noun)), "list of users"
        elif path.stem == "experiment":
            command, kind = Command(("bench", given, "--out", "out", *root), _benched(given)), "experiment"
        elif path.stem == "scan":
            scan = ("scan", given, "--out", "out", "--trials", "2", "--timeout", "4", *root)
            command, kind = Command(scan, _scanned), "scan"
        else:
            train = ("train", "--model", "ease", "--dataset", "toy", "--config", given, "--out", "out", *root)
            command, kind = Command(train, _configured(given)), "settings"
        # As often as the files of several readers together.
        made += [Target(kind, files, "files", path.name, [command])] * (3 if path.suffix == ".yaml" else 1)
    return made


def _ranked(given: str, noun: str) -> Callable[[Path, Any, bool], str]:
    """A ranking for the ids that the file holds, without what they have."""

    def judge(case: Path, ended: Any, whole: bool) -> str:
        path = case / given
        try:
            if path.suffix == ".txt":
                wanted, had = {line for line in text_of(path).splitlines() if line}, set()
            elif path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as archive:
                    wanted, had = set(map(token, archive["item"].tolist())), set()
            else:
                rows = any_of(path)
                wanted = {token(row[noun.removesuffix("s")]) for row in rows}
                had = {(token(r["user"]), str(r["item"])) for r in rows} if noun == "users" else set()
        except (Unreadable, KeyError) as error:
            return f"read what is none: {error!r:.100}"
        made = any_of(case / "out.parquet")
        found = {row[noun.removesuffix("s")] for row in made}
        if found != wanted:
            return f"ranked {sorted(found ^ wanted)[:3]!r:.100} otherwise"
        return (
            "somebody was recommended what they have" if had & {(r["user"], r["item"]) for r in made} else ""
        )

    return judge


def _benched(given: str) -> Callable[[Path, Any, bool], str]:
    """A table with the rows that the file names."""

    def judge(case: Path, ended: Any, whole: bool) -> str:
        try:
            named = yaml_of(case / given)
        except Unreadable as error:
            return f"read what is none: {error!r:.100}"
        results = json.loads((case / "out" / "results.json").read_text())
        rows = {row["model"] for row in results["tables"][0]["rows"]}
        wanted = set(map(str, named["models"]))
        failed = str(results["failed"])
        return "" if rows == wanted or failed != "{}" else f"rows {sorted(rows)} for {sorted(wanted)}"

    return judge


def _scanned(case: Path, ended: Any, whole: bool) -> str:
    return "" if (case / "out" / "best.yaml").exists() else "no best.yaml"


def _configured(given: str) -> Callable[[Path, Any, bool], str]:
    """The settings that the file holds."""

    def judge(case: Path, ended: Any, whole: bool) -> str:
        try:
            wanted = yaml_of(case / given) if text_of(case / given).strip() not in ("", "null", "~") else {}
        except Unreadable as error:
            return f"read what is none: {error!r:.100}"
        used = yaml.safe_load((case / "out" / "config.yaml").read_text())["settings"]
        odd = [k for k, v in wanted.items() if used.get(k) != v and str(used.get(k)) != str(v)]
        return f"{odd[0]} is {used.get(odd[0])}, given as {wanted[odd[0]]}" if odd else ""

    return judge


# --- places to write to ----------------------------------------------------------------------------------------------


@dataclass
class Place:
    """Commands that write, to a terminal, file or folder that cannot take it."""

    samples: Path
    kind: str = "places to write"

    def plan(self, folder: Path, rng: np.random.Generator) -> Plan:
        """Draw a command and what is wrong with the place."""
        root = ("--data-root", str(self.samples / "data"))
        runs, files = self.samples / "runs", self.samples / "files"
        train = ("train", "--dataset", "toy", "--split", "random", *root, "--out", "out", "--model")
        arguments = pick(
            rng,
            [
                *(
                    ("list", "models"),
                    ("show", "models", "ease"),
                    ("data", "list", *root),
                    ("data", "info", "toy", *root),
                ),
                *(
                    ("data", "convert", "toy", "out", *root),
                    (*train, "ease"),
                    (*train, "bpr", "--set", "max_epochs=1"),
                ),
                ("recommend", "--run", str(runs / "closed"), "--user", "u1"),
                ("recommend", "--run", str(runs / "closed"), "--users", "all", "--output", "out.csv"),
                ("recommend", "--run", str(runs / "closed"), "--users", "all", "--output", "out.parquet"),
                ("export", "--run", str(runs / "trained"), "--output", "out"),
                ("report", str(runs / "trained"), "--out", "out"),
                ("rerun", str(runs / "closed"), "--out", "out"),
                ("bench", str(files / "experiment.yaml"), "--out", "out", *root),
                ("scan", str(files / "scan.yaml"), "--out", "out", *root),
            ],
        )
        way = pick(
            rng,
            [
                "full terminal",
                "full disk",
                "full disk",
                "full disk",
                "file",
                "pipe",
                "link to /dev/full",
                "link",
            ],
        )
        size = int(rng.integers(1000, 60_000))

        def body() -> None:
            outs = [folder / name for name in ("out", "out.csv", "out.parquet")]
            if way == "full terminal":
                os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
            elif way == "full disk":
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            for out in outs:
                if way == "file":
                    out.write_text("mine\n")
                elif way == "pipe":
                    os.mkfifo(out)
                elif way.startswith("link"):
                    out.symlink_to("/dev/full" if way != "link" else out)
            run_command(folder, arguments)

        def judge(ended: Any) -> None:
            for name in ("out", "out.csv", "out.parquet"):
                if way != "file":
                    print(half_written(folder / name))
            if ended.status == 0 and way == "full terminal":
                print("status 0, and nobody could read the answer")

        return Plan(f"{way}, {' '.join(arguments[:2])}", body, judge, prints_first=True)


def targets_of(samples: Path, answer: Ask) -> list[Target | Place]:
    """All targets; those of a data set's files once each."""
    places: list[Target | Place] = [Place(samples)] * 8
    return [*reader_targets(samples), *run_targets(samples, answer), *file_targets(samples, answer), *places]
