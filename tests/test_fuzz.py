"""Damaged files of every kind against the command line, and arbitrary bytes against the parsers beneath it.

`python -m recsys.experiments.benchmarks.fuzz` runs more of the same cases, and repeats one by its number.
"""

import csv
import io
import os
import re
import shutil
import sys
import time
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.datasets.files import load_npy, load_npz, read_delimited, read_json, read_text
from recsys.datasets.pickled import record
from recsys.errors import DataError
from recsys.experiments.benchmarks.fuzz import Fuzzer, in_child
from recsys.experiments.benchmarks.fuzzing import samples
from recsys.experiments.benchmarks.fuzzing.cases import half_written, run_command
from recsys.files import parse_yaml

CASES, PARTS, SECONDS = 400, 4, 10
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="cases run in forks that pidfd_open waits for"
)


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory):
    return Fuzzer(tmp_path_factory.mktemp("fuzz"), seed=0, limit=SECONDS)


@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_files_end_well_or_in_one_line(fuzzer, part):
    results = [fuzzer.run(case) for case in range(part, CASES, PARTS)]
    assert not [f"case {r.case}, {r.kind}: {r.title}: {r.fault}" for r in results if r.fault]
    outcomes = {r.outcome for r in results}
    assert outcomes == {"right", "refused"}


def test_commands_answer_rightly_on_whole_files(fuzzer, tmp_path):
    seen = set()
    for number, target in enumerate(fuzzer.targets):
        for command in getattr(target, "commands", ()):
            if (key := (target.kind, command.arguments[0])) in seen:
                continue
            seen.add(key)
            folder = tmp_path / f"{number}-{command.arguments[0]}"
            shutil.copytree(target.tree, folder / target.place)
            for name in command.remove:
                (folder / name).unlink()
            ended = in_child(partial(run_command, folder, command.arguments), folder, SECONDS)
            assert ended.status == 0, (key, ended.err)
            assert not half_written(folder / "out") and not command.judge(folder, ended, True), key
    assert len(seen) > 20


def test_a_reader_without_a_sample_is_an_error(tmp_path, monkeypatch):
    monkeypatch.delitem(samples.WRITERS, "mmrec")
    with pytest.raises(LookupError, match="no sample for reader mmrec"):
        samples.reader_samples(tmp_path)


@pytest.mark.parametrize(
    ("behave", "fault"),
    [
        (lambda: 1 / 0, "exit status 70: ZeroDivisionError"),
        (lambda: sys.exit(3), "exit status 3"),
        (lambda: (print("x\n" * 9, file=sys.stderr), sys.exit(2)), "for one line"),
        (
            lambda: print("nothing is wrong"),
            "read what is none|pairs for|another|other|no list|half-written|ranked|Error",
        ),
        (lambda: os.kill(os.getpid(), 9), "exit status -9"),
        (lambda: bytearray(2**40), "MemoryError"),
    ],
)
def test_a_command_that_misbehaves_is_a_fault(fuzzer, monkeypatch, tmp_path, behave, fault):
    monkeypatch.setattr("recsys.cli.app.main", lambda arguments: behave())
    monkeypatch.setattr(fuzzer, "root", tmp_path)
    faults = [fuzzer.run(case).fault for case in range(0, len(fuzzer.targets), 9)]
    assert sum(map(bool, faults)) >= len(faults) // 4
    assert any(re.search(fault, line) for line in faults)


def test_a_command_without_an_end_is_ended(tmp_path):
    assert in_child(lambda: time.sleep(60), tmp_path, 0.1).status == -1


anything = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
bits = st.one_of(
    st.binary(max_size=200), st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass"))
)


@anything
@given(bits, st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04"]))
def test_bytes_are_arrays_or_refused(tmp_path, content, start):
    path = tmp_path / "a.npy"
    path.write_bytes(start + content)
    for read in (load_npy, load_npz):
        try:
            read(path)
        except DataError as error:
            assert "\n" not in str(error)


@anything
@given(bits)
def test_bytes_are_a_text_and_json_or_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for read in (read_json, read_text):
        try:
            read(path)
        except DataError as error:
            assert "\n" not in str(error)


@anything
@given(bits)
def test_bytes_are_a_recorded_pickle_or_refused(content):
    try:
        record(content, lambda name: False)
    except Exception as error:
        assert isinstance(error, (ValueError, KeyError, OverflowError, IndexError)), error


@anything
@given(
    st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("[]{}:,&*!-?|>'\" \n\t#%0123")))
)
def test_text_is_yaml_or_refused(text):
    try:
        parse_yaml(text)
    except ValueError as error:
        assert "\n" not in str(error)


cell = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\ufeff"), min_size=1, max_size=8)


@anything
@given(st.lists(st.tuples(cell, cell), min_size=1, max_size=5))
def test_cells_are_what_the_csv_module_writes(tmp_path, rows):
    text = io.StringIO()
    csv.writer(text).writerows([("user", "item"), *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().encode())
    frame = read_delimited(path, ",", text=True, quoted=True)
    assert list(frame.itertuples(index=False, name=None)) == rows
    assert frame.index.tolist() == list(np.arange(2, len(rows) + 2))
