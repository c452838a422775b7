"""Registries: a name is taken once, packages add to them, and a broken one leaves the others alone."""

import logging
from importlib.metadata import EntryPoint

import pytest

from recsys.cli.parts.kinds import KINDS
from recsys.datasets.readers import READERS, guess_reader
from recsys.errors import UserError
from recsys.registry import Registry


class Distribution:
    def __init__(self, name, version):
        self.name, self.version = name, version


def point(name, value, package="theirs"):
    return EntryPoint(name, value, "recsys.parts")._for(Distribution(package, "1.2"))


@pytest.fixture
def installed(monkeypatch):
    """A registry of parts with built-in `a`, and the entry points that a test says are installed."""

    def make(*points):
        found = {"recsys.parts": points}
        monkeypatch.setattr("recsys.registry.entry_points", lambda group: found.get(group, ()))
        return Registry("part", "recsys.parts", {"a": "math:pi"})

    return make


def test_a_registry_refuses_a_second_part_of_one_name():
    registry = Registry("part", None, {"a": "math:pi"})
    registry.add("b", 3)
    assert registry.names() == ["a", "b"] and registry.get("a") > 3 and registry.get("b") == 3
    with pytest.raises(UserError, match="part 'a' is registered twice"):
        registry.add("a", 1)
    with pytest.raises(UserError, match="there is no part 'z'; known: a, b"):
        registry.get("z")


def test_a_family_makes_what_follows_the_colon():
    registry = Registry("part", None, {}, {"decimal": "decimal:Decimal"})
    assert registry.get("decimal:0.1") * 10 == 1 and registry.names() == []
    with pytest.raises(UserError, match=r"there is no part 'other:0\.1'"):
        registry.get("other:0.1")


def test_a_registry_finds_entry_points_and_knows_where_each_part_is_from(installed):
    registry = installed(point("tau", "math:tau"), point("join", "os:path.join"))
    registry.add("b", 3)
    assert list(registry) == ["a", "b", "join", "tau"] and len(registry) == 4 and "tau" in registry
    assert registry.get("tau") > 6 and registry.get("join")("x", "y") == "x/y"
    origins = {name: registry.origin(name) for name in registry}
    assert origins == {
        "a": "built in",
        "b": "added by the program",
        "join": "theirs 1.2",
        "tau": "theirs 1.2",
    }
    assert registry.target("tau") == "math:tau" and registry.target("b") is None
    assert registry.builtin == ("a",)


def test_a_broken_package_is_one_line_and_leaves_the_others_alone(installed, tmp_path, monkeypatch):
    (tmp_path / "falls_over.py").write_text("raise RuntimeError('first\\nsecond')")
    monkeypatch.syspath_prepend(tmp_path)
    registry = installed(
        point("gone", "no_such_module:part"), point("bad", "falls_over:part"), point("tau", "math:tau")
    )
    for name, reason in (("gone", "ModuleNotFoundError"), ("bad", "RuntimeError: first second")):
        with pytest.raises(
            UserError, match=rf"part '{name}' of theirs 1\.2 cannot be imported \({reason}"
        ) as caught:
            registry.get(name)
        assert "\n" not in str(caught.value)
    assert (
        registry.get("tau") > 6 and registry.get("a") > 3 and registry.names() == ["a", "bad", "gone", "tau"]
    )


def test_a_package_cannot_take_a_built_in_name(installed, caplog):
    registry = installed(point("a", "math:tau"))
    with caplog.at_level(logging.WARNING):
        assert 3 < registry.get("a") < 4 and registry.names() == ["a"]
    assert caplog.messages == ["part 'a' of theirs 1.2 is left out: the name is taken"]


def test_of_two_packages_with_one_name_neither_counts(installed):
    registry = installed(point("x", "math:tau"), point("x", "math:pi", "ours"))
    with pytest.raises(UserError, match=r"part 'x' comes from ours 1\.2 and theirs 1\.2; uninstall one"):
        registry.get("x")


@pytest.mark.parametrize("kind", KINDS.builtin)
def test_a_part_of_a_wrong_kind_is_one_line_and_leaves_the_others_alone(kind, monkeypatch):
    """A number where a class, a function or a card is expected."""
    registry = KINDS.get(kind)
    monkeypatch.setattr(registry, "_plugins", {"odd": [point("odd", "math:pi")]})
    with pytest.raises(UserError) as caught:
        registry.get("odd")
    assert str(caught.value) == (
        f"{registry.kind} 'odd' of theirs 1.2 is of type float, but a {registry.kind} is {registry._expected}; "
        "mend or uninstall the package"
    )
    assert "odd" in registry and registry.get(registry.builtin[0]) is not None


@pytest.mark.parametrize("kind", KINDS.builtin)
def test_what_is_built_in_is_of_its_kind(kind):
    registry = KINDS.get(kind)
    assert [name for name in registry.builtin if not registry._accepts(registry.get(name))] == []


def test_a_function_is_no_model_and_a_model_no_metric(monkeypatch):
    points = {"odd": [point("odd", "math:sqrt")], "model": [point("model", "recsys.models.base:Model")]}
    for kind, name, type_name in (
        ("models", "odd", "builtin_function_or_method"),
        ("metrics", "model", "type"),
    ):
        monkeypatch.setattr(KINDS.get(kind), "_plugins", points)
        with pytest.raises(UserError, match=f"is of type {type_name}, but a"):
            KINDS.get(kind).get(name)


def test_every_kind_has_a_group_of_its_own():
    groups = {kind: KINDS.get(kind)._group for kind in KINDS}
    assert groups == {kind: f"recsys.{kind}" for kind in KINDS}


def test_folders_are_offered_to_every_reader_that_can_be_imported(tmp_path, monkeypatch, caplog):
    (tmp_path / "their_reader.py").write_text(
        "def read(folder, card): ...\n"
        "read.recognises = lambda folder: (folder / 'users.dat').is_file() or (folder / 'theirs').is_file()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    values = {"broken": "no_such_module:read", "other": "their_reader:read"}
    points = {name: [point(name, value)] for name, value in values.items()}
    monkeypatch.setattr(READERS, "_plugins", points)
    folder = tmp_path / "data"
    folder.mkdir()
    assert guess_reader(folder) is None
    assert "reader 'broken' of theirs 1.2 cannot be imported" in caplog.text
    (folder / "theirs").touch()
    assert guess_reader(folder) == "other"
    (folder / "users.dat").write_text("1::F::25\n")
    assert guess_reader(folder) == "other"
    (folder / "users.dat").write_text("2 0 3\n")
    assert guess_reader(folder) == "citeulike"
