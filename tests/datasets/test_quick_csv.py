"""pyarrow's reader of plain tables against the careful one: the same frame, or none."""

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.datasets import files
from recsys.datasets.quick_csv import read_plain
from recsys.errors import DataError

CELLS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(
        [
            "",
            " ",
            "7",
            "007",
            " 7",
            "7 ",
            "+7",
            "-0",
            "1.0",
            "1e3",
            "0x1F",
            "NA",
            "nan",
            "None",
            "true",
            "2024-01-01",
        ]
    ),
    st.sampled_from(
        ['"a"', 'a"b', "user", "item", "n", "a,b", "é", "\ufeff", "#", "\\", "0", "1_000", "\t1"]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4),
)


def read(path, quick, monkeypatch, **how):
    with monkeypatch.context() as patch:
        if not quick:
            patch.setattr(files, "read_plain", lambda *arguments, **named: None)
        try:
            return files.read_delimited(path, **how)
        except DataError as error:
            return str(error)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=5),
    st.sampled_from([",", "\t", "|"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
)
@example([["01", "0x1F", "3"]], ",", False, False, "\n")
@example([["user", "item", "3"], ["a", "b", "4"]], ",", True, False, "\n")
@example([["a", "b", "99999999999999999999"]], ",", True, False, "\n")
def test_the_same_frame_or_the_same_error(tmp_path_factory, rows, sep, quoted, named, end):
    monkeypatch, path = pytest.MonkeyPatch(), tmp_path_factory.mktemp("csv") / "t.csv"
    lines = ([] if named else [sep.join(["user", "item", "n"])]) + [sep.join(row) for row in rows]
    path.write_bytes((end.join(lines) + end).encode())
    how = {
        "sep": sep,
        "text": ("user", "item"),
        "quoted": quoted,
        "header": ["user", "item", "n"] if named else (),
    }
    quick, careful = (read(path, way, monkeypatch, **how) for way in (True, False))
    if isinstance(careful, str):
        assert quick == careful
    else:
        pd.testing.assert_frame_equal(quick, careful, check_exact=True)


def test_a_plain_table_is_read_by_pyarrow_and_one_with_a_fraction_is_not(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("user,item,n\n007,NA,5\nb,c,-6\n", encoding="utf-8")
    names = ["user", "item", "n"]
    table = read_plain(path, ",", names, names[:2], quoted=True, named=False)
    assert table.to_dict("list") == {"user": ["007", "b"], "item": ["NA", "c"], "n": [5, -6]}
    for row in ("b,c,6.5", "b,,6", 'b,"c",6', "b,c", "b,c,6,7", "user,c,6", "", "b,c,"):
        path.write_text(f"user,item,n\n007,NA,5\n{row}\n", encoding="utf-8")
        assert read_plain(path, ",", names, names[:2], quoted=True, named=False) is None
