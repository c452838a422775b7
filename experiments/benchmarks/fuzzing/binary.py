"""Damages of arrays, Parquet files, pickles, tensors and weights: of the right kind, with a wrong content."""

from __future__ import annotations

import os
import pickle
import struct
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.experiments.benchmarks.fuzzing.damage import damage, pick
from recsys.experiments.benchmarks.fuzzing.values import HOSTILE

# --- arrays ---------------------------------------------------------------------------------------------------------


def _changed(values: np.ndarray, rng: np.random.Generator) -> Any:
    """An array of another type, shape or content."""
    kinds = ["i8", "i1", "?", "c16", "f2", ">f4", "U8", "S8", "M8[s]", "O", "f8", "u8"]
    shapes = [
        values[:-1],
        values[:0],
        values.ravel(),
        values[None],
        np.vstack([values, values]),
        values.T,
        values[..., :0],
    ]
    odd = values.copy()
    if odd.size:
        low = np.array(pick(rng, [np.nan, np.inf, -1.0, 3e38, 1e30, 0.0, 9.9e9]))
        with np.errstate(all="ignore"):
            odd.flat[int(rng.integers(odd.size))] = low.astype(odd.dtype)
    if rng.integers(3) == 0:
        return odd
    with np.errstate(all="ignore"):
        return pick(rng, shapes) if rng.integers(2) else values.astype(pick(rng, kinds))


@damage("npy", "npy", "npy")
def odd_array(path, rng):
    np.save(path, _changed(np.load(path), rng), allow_pickle=True)


@damage("npy", "npy")
def lying_header(path, rng):
    content = path.read_bytes()
    old = content[10 : 10 + struct.unpack("<H", content[8:10])[0]].decode("latin-1")
    shapes = [
        "(1125899906842624, 3)",
        "(9, 300)",
        "(-9, 3)",
        "(9.0, 3)",
        "(9, 3, 1)",
        "9",
        "(True, 27)",
        "(" * 200,
        "()",
    ]
    shape = old[old.index("(") : old.index(")") + 1]
    kinds = [
        "'>f4'",
        "'|O'",
        "'<f8'",
        "'<i4'",
        "'<c8'",
        "'<M8[s]'",
        "[('a', '<f4')]",
        "'|V4'",
        "'<f400'",
        "None",
        "'<U1'",
    ]
    choices = (
        [(shape, s) for s in shapes]
        + [("'<f4'", k) for k in kinds]
        + [("False", "True"), ("False", "0"), ("{", "[")]
    )
    header = old.rstrip().replace(*pick(rng, choices)).ljust(len(old) + 63) + "\n"
    length = struct.pack("<H", pick(rng, [len(header), len(header), len(header), 65535, 0, 7]))
    path.write_bytes(content[:8] + length + header.encode("latin-1") + content[10 + len(old) :])


@damage("npz", "npz", "npz")
def odd_part(path, rng):
    with np.load(path) as archive:
        parts = dict(archive)
    name = pick(rng, list(parts))
    kind = int(rng.integers(6))
    if kind == 0:
        del parts[name]
    elif kind == 1:
        parts[pick(rng, ["more", "item.mask", "title.data", "../x", "indices"])] = np.arange(3)
    elif kind == 2:
        parts[name] = parts[name][:-1] if parts[name].ndim else np.array("x")
    elif kind == 3:
        parts[name] = parts[name] * 2 if parts[name].dtype.kind in "fiu" else np.array(["bsr"])
    elif kind == 4:
        parts[name] = np.array([2**50, 4]) if name == "shape" else parts[name].astype("O")
    else:
        parts[name] = _changed(parts[name], rng) if parts[name].dtype.kind in "fiu" else np.array([1, 1])
    np.savez(path, **parts)


@damage("npz")
def another_matrix(path, rng):
    with np.load(path) as archive:
        if "format" not in archive:
            return
    matrix = sp.load_npz(path)
    kind = pick(rng, ["csc", "coo", "bsr", "dia"])
    sp.save_npz(path, getattr(sp, f"{kind}_array")(matrix))


# --- Parquet --------------------------------------------------------------------------------------------------------


@damage("parquet", "parquet", "parquet", "parquet")
def odd_parquet_column(path, rng):
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = pq.read_table(path)
    place = int(rng.integers(made.num_columns))
    name, n = made.column_names[place], made.num_rows
    own = made.column(place).to_pylist()
    text = [str(v) for v in own]
    choices = [
        *(
            pa.array([[t] for t in text]),
            pa.array([[1.0, 2.0]] * n),
            pa.array([{"a": t} for t in text]),
            pa.nulls(n),
        ),
        *(pa.array([t.encode() for t in text]), pa.array([True] * n), pa.array(text).dictionary_encode()),
        *(
            pa.array([None, *own[1:]]),
            pa.array([own[0]] * n),
            pa.array(np.arange(n) + 0.5),
            pa.array(np.arange(n) * 1.0),
        ),
        *(
            pa.array([2**63 + v for v in range(n)], pa.uint64()),
            pa.array([-1] * n),
            pa.array([np.nan] * n),
            pa.array(text),
        ),
        *(
            pa.array(range(n)).cast(pa.decimal128(20)),
            pa.array(range(n)).cast(pa.timestamp("s")),
            pa.array([np.inf] * n),
        ),
        *(
            pa.array([pick(rng, HOSTILE), *text[1:]]),
            pa.array([[]] * n, pa.list_(pa.string())),
            pa.array([[[t]] for t in text]),
        ),
    ]
    pq.write_table(made.set_column(place, name, pick(rng, choices)), path)


@damage("parquet", "parquet")
def odd_parquet_table(path, rng):
    import pyarrow.parquet as pq

    made = pq.read_table(path)
    names = made.column_names
    kind = int(rng.integers(8))
    if kind == 0:
        made = made.slice(0, 0)
    elif kind == 1:
        made = made.select([])
    elif kind == 2:
        made = made.slice(0, made.num_rows - 1)
    elif kind == 3:
        made = made.append_column(pick(rng, names), made.column(0))
    elif kind == 4:
        made = made.drop_columns([pick(rng, names)])
    elif kind == 5:
        made = made.take(rng.integers(0, made.num_rows, made.num_rows))
    elif kind == 6:
        made = made.rename_columns([pick(rng, HOSTILE[4:]), *names[1:]])
    else:
        made = made.append_column(pick(rng, HOSTILE), made.column(0))
    pq.write_table(made, path)


# --- pickles, tensors, weights --------------------------------------------------------------------------------------


@damage("pickle", "pickle", "pickle")
def odd_pickle(path, rng):
    matrix = pickle.loads(path.read_bytes())  # a sample of ours, not yet damaged
    shifted = matrix.copy()
    shifted.data[0] = pick(rng, [0.0, np.nan, -1.0])
    choices = [
        *(
            matrix.tolil(),
            matrix.todok(),
            matrix.toarray(),
            matrix.tocsc(),
            matrix.tobsr(),
            matrix.todia(),
            [matrix],
            None,
        ),
        *(
            {"a": matrix},
            matrix.astype(bool),
            matrix.astype("c16"),
            sp.coo_array(matrix),
            matrix.tocsr()[:, :0].tocoo(),
            shifted,
        ),
        *(matrix.T, sp.vstack([matrix, matrix]), os.getcwd, print, np.float64(1), "text", matrix.tocsr()[:3]),
    ]
    path.write_bytes(pickle.dumps(pick(rng, choices), protocol=int(rng.integers(2, 6))))


@damage("tensor", "tensor", "tensor", "tensor")
def odd_tensor(path, rng):
    import torch

    own = torch.load(path, weights_only=True)
    odd = own.clone()
    odd[1, 1] = pick(rng, [torch.nan, torch.inf, 3e38, 0.0])
    choices = [
        *(
            own.to_sparse(),
            own.to_sparse_csr(),
            own.to("meta"),
            own.to(torch.complex64),
            odd,
            own[:-1],
            own[:, :0],
            own[0],
        ),
        *(
            own.half(),
            own.double(),
            own.bool(),
            own.long(),
            own.bfloat16(),
            own.to(torch.float8_e5m2),
            own[None],
            [own],
        ),
        *(
            {"a": own},
            torch.nn.Parameter(own),
            own[:1].expand(2**40, 3),
            own.double() * 1e300,
            own.numpy(),
            torch.nn.Linear(2, 2),
        ),
        *(
            torch.quantize_per_tensor(own, 0.1, 0, torch.qint8),
            own.T,
            own.mul(1j).conj(),
            own.mul(1j).imag,
        ),
    ]
    torch.save(pick(rng, choices), path)


@damage("safetensors", "safetensors")
def odd_weights(path, rng):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(path, framework="np") as file:
        about = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    name = pick(rng, sorted(arrays) or [""])
    arrays = arrays or {"": np.zeros(1)}
    kind = int(rng.integers(4))
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays["more"] = np.zeros(3)
    elif kind == 2:
        about = pick(rng, [None, {}, {"model": "Pop"}, {**about, "model": "[red]x"}])
    else:
        changed = np.asarray(_changed(arrays[name], rng))
        if changed.dtype.kind in "fiu?":
            arrays[name] = np.ascontiguousarray(changed.astype(changed.dtype.newbyteorder("=")))
    save_file(arrays, path, metadata=about)


@damage("safetensors")
def lying_weights_header(path, rng):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    changes = [
        (b"F32", b"F64"),
        (b"F32", b"I32"),
        (b"F32", b"F8_"),
        (b"[0,", b"[9,"),
        (b"shape", b"shap3"),
        (b'":[', b'":{'),
    ]
    header = content[8 : 8 + length].replace(*pick(rng, changes))
    sizes = [len(header), len(header), 2**40, 2**63, 0, len(header) - 3]
    path.write_bytes(struct.pack("<Q", pick(rng, sizes)) + header + content[8 + length :])
