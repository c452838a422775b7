"""Crafted pickles: each is refused in one line, and nothing of it runs, with and without address randomisation."""

import json
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from recsys.datasets.pickled import Call, Name

RECONSTRUCT = Name("numpy.core.multiarray", "_reconstruct")
DTYPE, NDARRAY = Name("numpy", "dtype"), Name("numpy", "ndarray")
RUN = 'import pathlib; pathlib.Path("ran").touch()'


def dump(value):
    """The instructions (protocol 2 and some later ones) that make a value, of `Name`s and `Call`s too."""
    match value:
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"I" + str(value).encode() + b"\n"
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(dump, value)) + b"t"
        case list():
            return b"(" + b"".join(map(dump, value)) + b"l"
        case dict():
            return b"(" + b"".join(dump(k) + dump(v) for k, v in value.items()) + b"d"
        case Name():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            new = value.name.module.startswith("scipy.")  # made by its class's __new__, without __init__
            made = dump(value.name) + dump(value.arguments) + (b"\x81" if new else b"R")
            return made if value.state is None else made + dump(value.state) + b"b"
    raise TypeError(value)


def dtype(text="i4", order="<", flags=0):
    return Call(DTYPE, (text, False, True), (3, order, None, None, None, -1, -1, flags))


def array(values=(0, 1), kind=None, shape=None, content=None, fortran=False):
    content = np.array(values, "<i4").tobytes() if content is None else content
    shape = (len(values),) if shape is None else shape
    return Call(RECONSTRUCT, (NDARRAY, (0,), b"b"), (1, shape, kind or dtype(), fortran, content))


def matrix(layout="coo", **changes):
    state = {"_shape": (2, 3), "data": array((1, 1))}
    state |= (
        {"row": array(), "col": array()}
        if layout == "coo"
        else {"indices": array(), "indptr": array((0, 1, 2))}
    )
    state |= changes
    state = {key: value for key, value in state.items() if value != "left out"}
    return Call(Name(f"scipy.sparse._{layout}", f"{layout}_matrix"), (), state)


def stream(value):
    return b"\x80\x02" + dump(value) + b"."


def harmless():
    return [stream(matrix()), stream(matrix("csr")), stream(matrix("coo", coords=(array(), array())))]


def crafted():
    """What was made to run code, to crash, or to take all memory."""
    spell = Call(Name("builtins", "eval"), (RUN,))
    address = struct.pack("<Q", 0x4141414141414141)
    values = {
        "eval": spell,
        "exec in the data": matrix(data=Call(Name("builtins", "exec"), (RUN,))),
        "os.system": Call(Name("os", "system"), ("touch ran",)),
        "posix.system": Call(Name("posix", "system"), ("touch ran",)),
        "subprocess": Call(Name("subprocess", "check_output"), (["touch", "ran"],)),
        "getattr": Call(Name("builtins", "getattr"), (NDARRAY, "tofile")),
        "dotted name": Call(Name("numpy", "dtype.__class__"), ("x", (), {})),
        "numpy.load": Call(Name("numpy", "load"), ("x.npy", None, True)),
        "a test helper of numpy": Call(Name("numpy.testing._private.utils", "runstring"), (RUN, {})),
        "scipy elsewhere": Call(Name("scipy.sparse.linalg", "spsolve"), (1, 2)),
        "scipy's module, another class": Call(Name("scipy.sparse._lil", "lil_matrix"), ()),
        "a module that begins like scipy.sparse": Call(Name("scipy.sparsex", "coo_matrix"), ()),
        "an object array by its type": matrix(
            data=array(kind=dtype("O8", "|", 63), content=address, shape=(1,))
        ),
        "an object array by flags": matrix(
            data=array(kind=dtype("i8", "<", 63), content=address, shape=(2,))
        ),
        "an object type of altered flags": matrix(
            data=array(kind=dtype("O", "|", 0), content=address, shape=(1,))
        ),
        "an object scalar": matrix(
            _shape=(Call(Name("numpy.core.multiarray", "scalar"), (dtype("O8"), address)), 3)
        ),
        "a structured type": matrix(data=array(kind=dtype("V8"), content=address, shape=(1,))),
        "a text type": matrix(data=array(kind=dtype("U2"), content=address, shape=(1,))),
        "a moment": matrix(data=array(kind=dtype("M8"), content=address, shape=(1,))),
        "a complex type": matrix(data=array(kind=dtype("c8"), content=address, shape=(1,))),
        "a type by a tuple": matrix(data=array(kind=Call(DTYPE, (("i4", (2,)), False, True), None))),
        "a type by a list of fields": matrix(data=array(kind=Call(DTYPE, ([("a", "O8")],), None))),
        "a type that is a number": matrix(data=array(kind=7)),
        "a type with metadata": matrix(data=array(kind=Call(DTYPE, ("O8,O8",), None))),
        "an unknown byte order": matrix(data=array(kind=dtype("i4", ["<"]))),
        "an array too short": matrix(data=array(content=b"\0" * 4)),
        "an array too long": matrix(data=array(content=b"\0" * 400)),
        "a huge shape": matrix(data=array(shape=(2**40,))),
        "a shape that overflows": matrix(data=array(shape=(2**33, 2**33))),
        "a negative shape": matrix(data=array(shape=(-1,))),
        "a shape of truths": matrix(data=array(shape=(True, True))),
        "many axes": matrix(data=array(shape=(1,) * 64, content=b"\0" * 4)),
        "a matrix of 2^40 rows": matrix(_shape=(2**40, 3)),
        "a matrix of 2^30 rows": matrix(_shape=(2**30, 3)),
        "a shape of texts": matrix(_shape=("2", "3")),
        "no shape": matrix(_shape="left out"),
        "no data": matrix(data="left out"),
        "a negative index": matrix(row=array((-1, 0))),
        "an index beyond the shape": matrix(col=array((0, 3))),
        "pointers beyond the indices": matrix("csr", indptr=array((0, 1, 200))),
        "pointers that go back": matrix("csr", indptr=array((0, 2, 1))),
        "pointers of floats": matrix("csr", indptr=array(kind=dtype("f4"), shape=(2,))),
        "a subclass with a hook": Call(RECONSTRUCT, (Name("numpy", "memmap"), (0,), b"b"), ()),
        "another codec": matrix(data=array(content=Call(Name("_codecs", "encode"), ("x", "idna")))),
        "an attribute of the class": matrix(__class__=spell),
        "keys that are numbers": Call(Name("scipy.sparse._coo", "coo_matrix"), (), {1: 2}),
    }
    raw = {
        "an extension code": b"\x80\x02\x82\x01.",
        "a persistent id": b"\x80\x02U\x01xQ.",
        "INST": b"(ios\nsystem\n.",
        "INST of what is admitted": b"(inumpy\ndtype\n.",
        "OBJ": b"(cnumpy\ndtype\nX\x02\x00\x00\x00O8o.",
        "NEWOBJ_EX": b"\x80\x04cnumpy\ndtype\n)}\x92.",
        "a call of a text": b"\x80\x02X\x01\x00\x00\x00a)R.",
        "a state of a text": b"\x80\x02X\x01\x00\x00\x00a}b.",
        "a name of numbers": b"\x80\x04K\x01K\x02\x93.",
        "a missing memory": b"\x80\x02h\x07.",
        "bytes of 2^62": b"\x80\x05\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "a bytearray of 2^62": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.",
        "a frame of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        "an integer of 5,000 digits": b"I" + b"9" * 5000 + b"\n.",
        "a long of 5,000 digits": b"L" + b"9" * 5000 + b"L\n.",
        "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
        "100,000 nested tuples": b"\x80\x02N" + b"\x85" * 100_000 + b".",
        "100,000 marks": b"\x80\x02" + b"(" * 100_000 + b"t.",
        "nothing to stop at": b"\x80\x02N",
        "two values": b"\x80\x02NN.",
        "an unknown instruction": b"\x80\x02\xff.",
        "the stack run empty": b"\x80\x020.",
        "not a pickle": b"PK\x03\x04" + bytes(60),
        "random bytes": np.random.default_rng(0).bytes(4096),
    }
    return {name: stream(value) for name, value in values.items()} | raw


SCRIPT = """
import json, pathlib, sys
from recsys.datasets.readers.diffmm import read
from recsys.datasets.cards import Card
from recsys.errors import DataError
found = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        found[folder.name] = f"{len(read(folder, Card(name='x', reader='diffmm')).interactions)} pairs"
    except DataError as error:
        found[folder.name] = "refused: " + str(error)
print(json.dumps(found))
"""


@pytest.mark.parametrize("wrapper", [[], ["setarch", "-R"]])
def test_crafted_pickles_are_refused_and_do_nothing(tmp_path, wrapper):
    if wrapper and not shutil.which(wrapper[0]):
        pytest.skip("no setarch here")
    cases = crafted()
    assert len(cases) >= 40
    files = {f"bad {name}".replace("/", " "): content for name, content in cases.items()}
    files |= {f"good {number}": content for number, content in enumerate(harmless())}
    empty = stream(matrix(data=array(()), row=array(()), col=array(())))
    for name, content in files.items():
        folder = tmp_path / "sets" / name
        folder.mkdir(parents=True)
        for part, data in (("trn", content), ("val", empty), ("tst", empty)):
            (folder / f"{part}Mat.pkl").write_bytes(data)
    command = [*wrapper, sys.executable, "-c", SCRIPT, str(tmp_path / "sets")]
    made = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert made.returncode == 0, made.stderr[-2000:]
    found = json.loads(made.stdout)
    assert not (tmp_path / "ran").exists()
    for name, outcome in found.items():
        if name.startswith("good"):
            assert outcome == "2 pairs", name
        else:
            assert outcome.startswith("refused") and "trnMat.pkl" in outcome, (name, outcome)
            assert "\n" not in outcome and len(outcome) < 500, name


def test_the_streams_written_here_are_pickles():
    """Python's own unpickler makes the same matrix of them, so that the crafted ones are near to real ones."""
    import pickle

    for content in harmless():
        np.testing.assert_array_equal(sp.coo_matrix(pickle.loads(content)).toarray(), [[1, 0, 0], [0, 1, 0]])
