"""Settings and registries: declared once, mistyped never."""

import pytest

from recsys.errors import UserError
from recsys.models import MODELS
from recsys.registry import Registry
from recsys.runs.config import resolve_settings
from recsys.settings import Settings, build, divide, parse_assignments, setting


class Knobs(Settings):
    width: int = setting(64, "a width", low=1, high=100, search=[32, 64])
    rate: float = setting(0.1, "a rate", low=0, search=(1e-4, 1.0), log=True)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_setting_has_a_meaning_and_a_default(name):
    for key, field in MODELS.get(name).Settings.model_fields.items():
        assert field.description, key
        assert not field.is_required(), key
    _, training = resolve_settings(MODELS.get(name), {})
    assert (training is None) == MODELS.get(name).closed_form


def test_a_setting_carries_its_search_range():
    assert Knobs.model_fields["rate"].json_schema_extra == {"search": [1e-4, 1.0], "log": True}


def test_assignments_are_yaml_scalars():
    values = parse_assignments(["a=3", "b=1e-3", "c=[x, y]", "d=true", "e=a=b"])
    assert values == {"a": 3, "b": "1e-3", "c": ["x", "y"], "d": True, "e": "a=b"}
    assert build(Knobs, {"rate": values["b"]}, "Knobs").rate == 0.001


def test_keys_go_to_the_group_that_declares_them():
    class Other(Settings):
        depth: int = setting(1, "a depth")

    assert divide({"depth": 2, "width": 3}, one=Knobs, two=Other) == {
        "one": {"width": 3},
        "two": {"depth": 2},
    }
    with pytest.raises(UserError, match="no setting 'detph'; did you mean 'depth'"):
        divide({"detph": 2}, one=Knobs, two=Other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 101}, "'width' of Knobs: .*100, got 101"),
        ({"width": 2.5}, "'width' of Knobs"),
        ({"width": True}, "expected a number, got True"),
        ({"rate": float("nan")}, "'rate' of Knobs"),
        ({"widht": 1}, "no setting 'widht'; did you mean 'width'"),
    ],
)
def test_wrong_values_end_in_one_line(values, message):
    with pytest.raises(UserError, match=message) as caught:
        build(Knobs, values, "Knobs")
    assert "\n" not in str(caught.value)


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


def test_a_registry_finds_entry_points(monkeypatch):
    class Point:
        name, value = "theirs", "math:tau"

    monkeypatch.setattr(
        "recsys.registry.entry_points", lambda group: [Point] if group == "recsys.parts" else []
    )
    registry = Registry("part", "recsys.parts", {})
    assert "theirs" in registry and registry.get("theirs") > 6
