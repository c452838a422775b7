"""Attributes and times as fields, by hand."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from recsys.encoders.fields import AttributeFields, time_fields
from recsys.errors import UserError

EVERYBODY = np.ones(8, dtype=bool)


def read(columns, learned_on=EVERYBODY, of=None, names=()):
    frame = pd.DataFrame(columns)
    fields = AttributeFields(frame, learned_on, names, "item")
    of = frame if of is None else pd.DataFrame(of)
    return fields.read(of, len(of))


def test_words_that_enough_rows_hold_are_columns_in_order():
    genres = ["Drama War", "Drama", "War Drama", "Comedy Comedy Comedy", "", None, "War", "Rare"]
    field = read({"genres": genres})["genres"]
    expected = [[1, 1], [1, 0], [1, 1], [0, 0], [0, 0], [0, 0], [0, 1], [0, 0]]
    assert field.features.toarray().tolist() == expected
    assert field.mask.tolist() == [True, True, True, False, False, False, True, False]


def test_numbers_stand_between_their_nearest_knots():
    """46 years from 0 to 45: 16 quantiles, every third year."""
    field = read(
        {"year": [str(n) for n in range(46)]}, np.ones(46, bool), {"year": ["3", "4.5", "-7", "99", "", "x"]}
    )["year"]
    assert field.features.shape == (6, 16) and field.mask.tolist() == [True] * 4 + [False] * 2
    assert field.features[0, :3].tolist() == [0, 1, 0] and field.features[1, :4].tolist() == [0, 0.5, 0.5, 0]
    assert field.features[2, 0] == 1 and field.features[3, 15] == 1 and not field.features[4:].any()


def test_whole_numbers_are_categories_besides_where_they_may_be_codes():
    """40 codes, each held by three rows but the last by two, which is too few to learn of."""
    told = [str(n) for n in range(40) for _ in range(3)][:-1]
    fields = AttributeFields(
        pd.DataFrame({"code": told, "price": [f"{n}.5" for n in told]}),
        np.ones(len(told), bool),
        (),
        "item",
        codes=True,
    )
    asked = pd.DataFrame({"code": ["7", "7.0", 8, "39", "7.5", "", "x"], "price": ["7.5"] * 7})
    found = fields.read(asked, 7)
    rows, order = found["code"].features.toarray(), found["code"].features.toarray()[:, :16]
    places = np.interp([7, 7, 8, 39, 7.5], fields.coders["code"].numbers.knots, np.arange(16))
    np.testing.assert_allclose(order[:5] @ np.arange(16), places, atol=1e-5)
    one_hot = rows[:, 16:]
    assert one_hot.shape[1] == 39 and one_hot.sum(1).tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert (one_hot[0] == one_hot[1]).all() and (one_hot[0] != one_hot[2]).any()
    assert found["code"].mask.tolist() == [True] * 5 + [False] * 2
    assert found["price"].features.shape[1] == 16  # no whole numbers: a quantity


def test_few_numbers_are_categories():
    field = read({"code": [1, 1, 1, 18, 18, 18, 25, 25]})["code"]
    assert field.features.toarray().tolist() == [[1, 0]] * 3 + [[0, 1]] * 3 + [[0, 0]] * 2


def test_nothing_is_learned_of_cold_rows():
    column = {"colour": ["red"] * 3 + ["blue"] * 3 + ["green"] * 2}
    warm = np.array([True] * 6 + [False] * 2)
    field = read(column, warm, {"colour": ["green", "red", "blue"]})["colour"]
    assert field.features.toarray().tolist() == [[0, 0], [0, 1], [1, 0]] and field.mask.tolist() == [
        False,
        True,
        True,
    ]
    assert read(column, ~warm) == {}


def test_titles_and_columns_that_say_nothing_are_left_out():
    columns = {"title": ["a b"] * 4 + ["c d"] * 4, "same": ["x"] * 8, "own": list("abcdefgh")}
    assert read(columns) == {}
    assert list(read({"a": ["x", "y"] * 4, "b": ["x", "y"] * 4}, names=["b"])) == ["b"]
    with pytest.raises(UserError, match=r"there is no item attribute 'colur'.*colour"):
        read({"colour": ["x", "y"] * 4}, names=["colur"])


def test_a_column_that_is_not_there_is_missing_for_all():
    fields = AttributeFields(pd.DataFrame({"a": ["x", "y"] * 4}), EVERYBODY, (), "user")
    for frame in (pd.DataFrame(), pd.DataFrame({"b": ["x"] * 3}), None):
        field = fields.read(frame, 3)["a"]
        assert field.features.shape == (3, 2) and not field.mask.any()


def test_hours_and_weekdays_are_those_of_the_calendar():
    seconds = np.array([0.0, 874724710.0, 893286638.5, 978300760.0])
    found = time_fields(seconds)
    dates = [datetime.fromtimestamp(s, UTC) for s in seconds]
    assert found["hour"].tolist() == [d.hour for d in dates]
    assert found["weekday"].tolist() == [d.weekday() for d in dates]
