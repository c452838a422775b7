"""What is damaged, and what reads it."""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys.experiments.benchmarks.fuzzing.answers import (
    benched,
    configured,
    ranked,
    repeated,
    reported,
    resumed,
    same,
    scanned,
)
from recsys.experiments.benchmarks.fuzzing.cases import (
    Ask,
    Command,
    Plan,
    Target,
    command_line,
    half_written,
    outputs,
    run_command,
)
from recsys.experiments.benchmarks.fuzzing.damage import pick
from recsys.experiments.benchmarks.fuzzing.plain import PLAIN, difference
from recsys.experiments.benchmarks.fuzzing.reading import Unreadable, there, yaml_of


def preload() -> None:
    """Import what commands import, once, for all forks."""
    import torch

    from recsys import datasets, experiments, graphs, runs, training

    torch.set_num_threads(1)
    command_line()
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


def _same_ways(card: dict[str, Any], whole: Path) -> bool:
    """Whether a card says of its features that they were made as the whole one says: that is part of a data set's
    identity, and of no file."""
    features = [(one.get("options") or {}).get("features") for one in (card, yaml_of(whole / "card.yaml"))]
    return features[0] == features[1]


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
                if (
                    sealed
                    and card.get("files", {}).get("items.parquet")
                    and _same_ways(card, samples / "data" / name)
                ):
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
            judge = {"report": reported, "rerun": repeated}.get(
                arguments[0], same(samples / "runs" / name, arguments, answer)
            )
            commands.append(Command(arguments, judge, (1,) if arguments[0] == "rerun" else ()))
        for path in sorted((samples / "runs" / name).iterdir()):
            more = []
            if name == "trained" and path.name != "metrics.json":
                resume: tuple[str, ...] = (
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
                more = [Command(resume, resumed(samples / "runs" / name), remove=("run/metrics.json",))] * (
                    6 if path.suffix == ".ckpt" else 2
                )
            made.append(Target("run", samples / "runs" / name, "run", path.name, commands + more))
    return made


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
            command = Command((*run, "-k", "100", "--output", "out.parquet"), ranked(given, noun))
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
            command, kind = Command(run, ranked(given, noun)), "list of users"
        elif path.stem == "experiment":
            command, kind = Command(("bench", given, "--out", "out", *root), benched(given)), "experiment"
        elif path.stem == "scan":
            scan = ("scan", given, "--out", "out", "--trials", "2", "--timeout", "4", *root)
            command, kind = Command(scan, scanned), "scan"
        else:
            train = ("train", "--model", "ease", "--dataset", "toy", "--config", given, "--out", "out", *root)
            command, kind = Command(train, configured(given)), "settings"
        # As often as the files of several readers together.
        made += [Target(kind, files, "files", path.name, [command])] * (3 if path.suffix == ".yaml" else 1)
    return made


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
            if way == "full terminal":
                os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
            elif way == "full disk":
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            for out in outputs(folder):
                if way == "file":
                    out.write_text("mine\n")
                elif way == "pipe":
                    os.mkfifo(out)
                elif way.startswith("link"):
                    out.symlink_to("/dev/full" if way != "link" else out)
            run_command(folder, arguments)

        def judge(ended: Any) -> None:
            for out in outputs(folder):
                if way != "file":
                    print(half_written(out))
            if ended.status == 0 and way == "full terminal":
                print("status 0, and nobody could read the answer")

        return Plan(f"{way}, {' '.join(arguments[:2])}", body, judge, prints_first=True)


def targets_of(samples: Path, answer: Ask) -> list[Target | Place]:
    """All targets; those of a data set's files once each."""
    places: list[Target | Place] = [Place(samples)] * 8
    return [*reader_targets(samples), *run_targets(samples, answer), *file_targets(samples, answer), *places]
