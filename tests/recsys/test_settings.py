"""Settings and registries: declared once, mistyped never."""

import pytest

from recsys.errors import UserError
from recsys.models import MODELS
from recsys.renamed import RENAMED
from recsys.runs.config import resolve_settings
from recsys.settings import Settings, build, divide, merge, parse_assignments, setting


class Knobs(Settings):
    width: int = setting(64, "a width", low=1, high=100, search=[32, 64])
    rate: float = setting(0.1, "a rate", low=0, search=(1e-4, 1.0), log=True)


@pytest.mark.parametrize("name", sorted(MODELS.builtin))
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


class Inner(Settings):
    knobs: Knobs = setting(Knobs(width=3), "some knobs")
    free: dict[str, float] = setting({"a": 1.0}, "numbers by name")


class Nested(Settings):
    named: dict[str, Inner] = setting({"one": Inner()}, "groups by name")
    maybe: Inner | None = setting(None, "a group or none")
    depth: int = setting(1, "a number")


def test_dotted_keys_change_single_values_of_the_default_or_of_what_is_given():
    made = build(Nested, {"named.one.knobs.width": 5, "named.two.free.b": 2}, "Nested")
    assert made.named["one"] == Inner(knobs=Knobs(width=5))
    assert made.named["two"] == Inner(free={"a": 1.0, "b": 2.0})
    given = {"named": {"three": Inner()}, "named.three.free": {}, "depth": 2}
    made = build(Nested, given, "Nested")
    assert made == Nested(named={"three": Inner(free={})}, depth=2)
    assert given["named"] == {"three": Inner()} and Nested().named == {"one": Inner()}


def test_a_whole_value_given_later_drops_dotted_keys_before_it():
    layers = {"named": {"one": {}}, "named.one.free.b": 2}, {"depth": 3, "named": {"four": {}}}
    assert merge(*layers) == {"named.one.free.b": 2, "depth": 3, "named": {"four": {}}}
    assert list(build(Nested, merge(*layers), "Nested").named) == ["four"]
    assert merge({"depth": 1}, {"depth": 2}) == {"depth": 2}


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("named.one.nobs.width", "no setting 'named.one.nobs'; did you mean 'knobs'"),
        ("named.one.knobs.widht", "no setting 'named.one.knobs.widht'; did you mean 'width'"),
        ("maybe.nobs", "no setting 'maybe.nobs'; did you mean 'knobs'"),
        ("depth.low", "'depth.low': 'depth' is 1 and holds no settings by name"),
        ("maybe.free.a.b", "'maybe.free.a.b': 'a' is 1.0 and"),
        ("named.one.knobs.width", "'named.one.knobs.width' of Nested: .*less than or equal to 100"),
        ("nmaed.one", "no setting 'nmaed'; did you mean 'named'"),
    ],
)
def test_a_dotted_key_that_leads_nowhere_ends_in_one_line(key, message):
    with pytest.raises(UserError, match=message) as caught:
        build(Nested, {key: 999}, "Nested")
    assert "\n" not in str(caught.value)


def test_dotted_keys_go_to_the_group_of_their_first_name():
    assert divide({"named.one.free": {}, "width": 3}, one=Nested, two=Knobs) == {
        "one": {"named.one.free": {}},
        "two": {"width": 3},
    }


def test_an_old_name_is_refused_with_the_new_one(monkeypatch):
    monkeypatch.setitem(RENAMED, "breadth", "width")
    for call in (lambda: divide({"breadth": 3}, one=Knobs), lambda: build(Knobs, {"breadth": 3}, "Knobs")):
        with pytest.raises(UserError, match="no setting 'breadth'; it is `width` now"):
            call()
    with pytest.raises(UserError, match="no setting 'breadth'; "):  # another group's key
        divide({"breadth": 3}, one=Nested)
