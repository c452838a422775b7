"""Strangers' files: times in any unit, ids written in two ways, repeated headers, columns that are no features."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recsys
from recsys.datasets.cards import Card
from recsys.datasets.checks import to_numbers
from recsys.datasets.files import read_delimited
from recsys.datasets.joins import check_join
from recsys.datasets.readers import READERS
from recsys.datasets.times import UNITS, to_timestamps
from recsys.errors import DataError

MOMENT = datetime(2024, 5, 31, 18, 30, tzinfo=UTC)
SECONDS = MOMENT.timestamp()


def times(values, dtype=None):
    return to_timestamps(pd.Series(values, dtype=dtype, name="at"), "clicks.csv")


@given(
    st.lists(st.integers(631_152_000, 4_000_000_000), min_size=1, max_size=20),  # 1990 to 2096
    st.sampled_from(sorted(UNITS)),
)
def test_the_unit_of_times_is_found_and_named(seconds, unit):
    found, notes = times([s * int(UNITS[unit]) for s in seconds])
    np.testing.assert_allclose(found, seconds, rtol=1e-12)
    assert notes == ([] if unit == "seconds" else [f"clicks.csv: at read as {unit}"])


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("2024-05-31T18:30:00Z", []),
        ("2024-05-31T20:30:00+02:00", []),
        ("2024-05-31 18:30:00", ["clicks.csv: at has no time zone and was read as UTC"]),
        ("2024-05-31T18:30:00.000", ["clicks.csv: at has no time zone and was read as UTC"]),
    ],
)
def test_dates_of_iso_and_sql_are_read(text, note):
    found, notes = times([text, text])
    assert found.tolist() == [SECONDS, SECONDS] and notes == note


def test_days_and_columns_of_moments_are_read():
    day = datetime(2024, 5, 31, tzinfo=UTC).timestamp()
    assert times(["2024-05-31"])[0][0] == times([MOMENT.date()], object)[0][0] == day
    naive = pd.Series(pd.to_datetime(["2024-05-31"]))
    assert to_timestamps(naive.rename("at"), "x")[0][0] == day
    assert to_timestamps(naive.dt.tz_localize("Europe/Berlin").rename("at"), "x")[0][0] == day - 7200


@pytest.mark.parametrize("values", [["yesterday"], ["2024-13-45"], [1e25, 2e25], [-5e9, -6e9], [True, False]])
def test_times_that_are_none_are_refused(values):
    with pytest.raises(DataError, match=r"clicks\.csv"):
        times(values)


CARD = Card(
    name="shop",
    reader="table",
    options={"interactions": "clicks.csv", "items": {"file": "products.csv", "id": "sku"}},
)


def shop(folder, items, products, reader="table"):
    pd.DataFrame({"user": "u", "item": items}).to_csv(folder / "clicks.csv", index=False)
    pd.DataFrame({"sku": products, "title": "x"}).to_csv(folder / "products.csv", index=False)
    return READERS.get(reader)(folder, CARD)


@pytest.mark.parametrize(
    ("items", "products", "cure"),
    [
        (["a1", "b2"], ["A1", "B2"], r"'a1' is 'A1' there: write both alike \(upper and lower case\)"),
        (["1", "2"], ["001", "002"], r"'1' is '001' there: write both alike \(leading zeros\)"),
        (["1.0", "2.0"], ["1", "2"], r"'1.0' is '1' there: write both alike \(a decimal point\)"),
        ([" a", "b"], ["a", "b"], r"' a' is 'a' there: write both alike \(blanks\)"),
        (
            ["a", "b"],
            ["x", "y"],
            r"2 of 2 items .*such as 'a', 'b'; products\.csv has 'x', 'y'; give them rows",
        ),
    ],
)
def test_ids_that_do_not_join_are_refused_with_the_cure(tmp_path, items, products, cure):
    with pytest.raises(DataError, match=cure) as caught:
        shop(tmp_path, items, products)
    assert "\n" not in str(caught.value)


def test_a_share_that_may_be_missing_is_counted(tmp_path):
    ids = [f"i{n}" for n in range(10)]
    card = CARD.model_copy(update={"options": CARD.options | {"min_joined": 0.8}})
    pd.DataFrame({"user": "u", "item": ids}).to_csv(tmp_path / "clicks.csv", index=False)
    for known, kept in ((8, True), (7, False)):
        pd.DataFrame({"sku": ids[:known], "title": "x"}).to_csv(tmp_path / "products.csv", index=False)
        if kept:
            notes = READERS.get("table")(tmp_path, card).notes
            assert "2 of 10 items of clicks.csv are not in products.csv" in notes
        else:
            with pytest.raises(DataError, match=r"allow it with min_joined: 0\.7"):
                READERS.get("table")(tmp_path, card)


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40), min_size=1))
def test_joins_are_counted_as_sets_are(left, right):
    tokens, known = (np.array(sorted(map(str, s)), dtype=object) for s in (left, right))
    missing = len(left - right)
    notes = check_join(tokens, known, "item", "a.csv", "b.csv", 0.0)
    assert notes == ([f"{missing} of {len(left)} items of a.csv are not in b.csv"] if missing else [])


def test_float_ids_of_parquet_are_the_whole_numbers_that_they_are(tmp_path):
    pd.DataFrame({"user": [1.0, 2.0], "item": [3.0, 4.0]}).to_parquet(tmp_path / "clicks.parquet")
    pd.DataFrame({"sku": [3, 4], "title": "x"}).to_csv(tmp_path / "products.csv", index=False)
    options = CARD.options | {"interactions": "clicks.parquet"}
    data = READERS.get("table")(tmp_path, CARD.model_copy(update={"options": options}))
    assert data.item_ids.tolist() == ["3", "4"] and data.user_ids.tolist() == ["1", "2"]


def test_frames_are_joined_by_the_same_rule():
    clicks = pd.DataFrame({"user": ["u", "u"], "item": ["a", "B"]})
    with pytest.raises(recsys.DataError, match="'B' is 'b' there"):
        recsys.Dataset.from_frame(clicks, items=pd.DataFrame({"item": ["a", "b"]}))
    made = recsys.Dataset.from_frame(clicks, items=pd.DataFrame({"item": ["a", "b"]}), min_joined=0.5)
    assert made.n_items == 3 and "1 of 2 items of interactions are not in items" in made.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item\na,x\nuser,item\nb,y\n", "line 3 repeats the header"),
        ("user,item,rating\na,x,1\nb,y\nc,z,2\n", "line 3 has 2 columns, the header has 3"),
        ("user,item\na,x\nb,y,z\n", "cannot be read as a table"),
    ],
)
def test_rows_that_do_not_fit_the_header_are_named(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_delimited(tmp_path / "a.csv", ",", quoted=True)


def test_a_user_called_like_the_column_and_empty_last_cells_are_fine(tmp_path):
    (tmp_path / "a.csv").write_text('user,item,note\nuser,x,\nb,y,"a,b"\n')
    assert read_delimited(tmp_path / "a.csv", ",", quoted=True)["user"].tolist() == ["user", "b"]


def test_a_saved_index_is_no_feature_and_no_attribute(tmp_path):
    pd.DataFrame({"user": ["u", "u"], "item": ["a", "b"]}).to_csv(tmp_path / "clicks.csv", index=False)
    pd.DataFrame({"sku": ["a", "b"], "title": ["x", "y"]}).to_csv(tmp_path / "products.csv")
    pd.DataFrame({"sku": ["a", "b"], "v": [1.0, 2.0]}).to_csv(tmp_path / "vectors.csv")
    options = CARD.options | {"features": {"v": {"file": "vectors.csv", "id": "sku"}}}
    data = READERS.get("table")(tmp_path, CARD.model_copy(update={"options": options}))
    assert data.modalities["v"].width == 1 and list(data.item_attributes) == ["title"]
    assert any("a saved index, is not read" in note for note in data.notes)


@pytest.mark.parametrize("values", [[True, False], [1 + 2j, 3j], [[1], [2]]])
def test_values_that_are_no_numbers_are_no_features(values):
    with pytest.raises(DataError, match=r"expected (a number|numbers)"):
        to_numbers(pd.Series(values, name="v"), "vectors.parquet")


@pytest.mark.parametrize("column", ["label", "rating"])
def test_rows_of_zero_are_no_interactions(tmp_path, column):
    """RecBole's files for click prediction hold what was shown and not taken."""
    rows = "u\ta\t1\nu\tb\t0\nv\tb\t1\nv\tc\t0\n"
    (tmp_path / "tiny.inter").write_text(f"user_id:token\titem_id:token\t{column}:float\n{rows}")
    data = READERS.get("atomic")(tmp_path, Card(name="tiny", reader="atomic"))
    pairs = zip(
        data.user_ids[data.interactions["user"]], data.item_ids[data.interactions["item"]], strict=True
    )
    assert sorted(pairs) == [("u", "a"), ("v", "b")] and data.n_items == 3
    assert any("2 rows" in note and "no interactions" in note for note in data.notes)


def test_the_type_of_a_parquet_column_counts_and_not_what_pandas_noted_of_it(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from recsys.datasets.files import read_parquet

    noted = pa.Table.from_pandas(pd.DataFrame({"user": ["a", "b"]})).schema.metadata
    table = pa.table({"user": pa.array([np.inf, 1.0])}).replace_schema_metadata(noted)
    pq.write_table(table, tmp_path / "x.parquet")
    assert read_parquet(tmp_path / "x.parquet")["user"].dtype == np.float64


def test_whole_numbers_beyond_all_floats_are_no_numbers(tmp_path):
    from recsys.datasets.checks import floats, row_numbers, to_numbers
    from recsys.datasets.times import to_timestamps

    column = pd.Series([1, int("9" * 400), "x"], dtype=object, name="n")
    assert floats(column)[:2].tolist() == [1.0, np.inf] and np.isnan(floats(column)[2])
    for read in (row_numbers, to_numbers):
        with pytest.raises(DataError, match="n is '9"):
            read(column.iloc[:2], "log.inter")
    with pytest.raises(DataError, match="expected seconds since 1970"):
        to_timestamps(column.iloc[:2], "log.inter")


def test_bytes_are_no_ids(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from recsys.datasets.checks import to_codes
    from recsys.datasets.files import read_parquet

    pq.write_table(pa.table({"user": pa.array([b"a", b"b"])}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="expected an id"):
        to_codes(read_parquet(tmp_path / "x.parquet")["user"], "x.parquet")


def test_days_written_as_one_number_are_days():
    day = pd.Timestamp("2020-07-05").timestamp()
    seconds, notes = times([20200705, 20200706, 20200705], "int64")
    assert seconds.tolist() == [day, day + 86400, day] and "YYYYMMDD" in notes[0]
    assert times(["20200705"], "str")[0].tolist() == [day]
    assert times([20200705, 20201305], "int64")[0].tolist() == [20200705, 20201305]  # there is no month 13
    assert times([20200705.5, 20200706], "float64")[0].tolist() == [20200705.5, 20200706]
    assert times([0, 20200705], "int64")[0].tolist() == [0, 20200705]
