"""The documentation site: the formulas' places exist, every command has its page, and the reference misses no part."""

import ast
import re
import shlex
from pathlib import Path

import typer

import recsys

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| (.*?) \| (.*?) \|(.*?)\| `([\w/]+\.py)` (.*?) \|$", re.MULTILINE)


def formulas():
    return ROW.findall((ROOT / "docs/formulas.md").read_text(encoding="utf-8"))


def names_in(path):
    """Functions, classes and methods of a file."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
    return found


def test_formulas_stand_where_the_page_says():
    for name, _, paper, path, functions in formulas():
        wanted = re.findall(r"`([\w.]+)`", functions)
        assert wanted and set(wanted) <= names_in(path), name
        text = (ROOT / path).read_text(encoding="utf-8")
        assert all(number in text for number in re.findall(r"arXiv (\d{4}\.\d{5})", paper)), name


def test_no_row_of_the_formulas_is_skipped_by_these_tests():
    lines = (ROOT / "docs/formulas.md").read_text(encoding="utf-8").splitlines()
    assert len(formulas()) == sum(line.startswith("| ") and ".py`" in line for line in lines) > 60


def test_the_formulas_name_every_objective_and_no_model_that_is_gone():
    from recsys.evaluation import METRICS
    from recsys.models import MODELS
    from recsys.objectives import OBJECTIVES

    named = {word for name, *_ in formulas() for word in re.findall(r"`([\w-]+)`", name)}
    functions = {path.stem for path in (ROOT / "recsys/objectives").rglob("*.py")}
    assert set(OBJECTIVES.builtin) <= named <= {*MODELS.builtin, *METRICS.builtin, *functions}


def command_group():
    from recsys.cli.app import make_app

    return typer.main.get_command(make_app())


def options(command):
    """Long options of a command and of those below it."""
    below = getattr(command, "commands", {})
    own = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    return own.union(*map(options, below.values())) - {"--help"}


def test_every_command_has_a_page_that_names_its_options():
    from recsys.cli.app import COMMANDS

    commands = command_group().commands
    for name in COMMANDS.builtin:
        text = (ROOT / f"docs/how-to/{name}.md").read_text(encoding="utf-8")
        assert options(commands[name]) <= set(re.findall(r"--[\w-]+", text)), name
        first_cells = re.findall(r"^\| (`-.*?) \|", text, re.MULTILINE)
        assert set(re.findall(r"--[\w-]+", " ".join(first_cells))) <= options(commands[name]), name
        assert f"how-to/{name}.md" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_the_command_lines_of_the_pages_are_taken():
    group, seen = command_group(), 0
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"```sh[^\n]*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                program, *arguments = [*shlex.split(line.removesuffix(" &"), comments=True), ""]
                command, rest = group, arguments[:-1]
                while rest and rest[0] in getattr(command, "commands", {}):
                    command = command.commands[rest.pop(0)]
                if program == "recsys" and command is not group:
                    command.make_context("recsys", rest)
                    seen += 1
    assert seen >= 60


def phrases():
    """Every text of the code, without what is filled in."""
    for folder in ("recsys", "datasets", "graphs", "experiments"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_the_errors_that_the_pages_explain_are_those_of_the_code():
    known, checked = "\n".join(phrases()), 0
    for page in sorted((ROOT / "docs/how-to").glob("*.md")):
        _, _, errors = page.read_text(encoding="utf-8").partition("## What the errors mean")
        for message in re.findall(r"^\| `(.*?)`.* \|$", errors, re.MULTILINE):
            for part in re.split(r"'[\w… ]+'\??|…\??|\d+|config\.yaml", message):
                assert part.strip() in known, f"{page.name}: {part}"
                checked += len(part) > 5
    assert checked > 15


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs/reference/recsys.md").read_text(encoding="utf-8")
    shown = {path.rpartition(".")[2] for path in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)}
    assert set(recsys.__all__) - {"__version__"} <= shown
