"""Arrays out of a pickle, without unpickling it.

A pickle is a program. Here its stream is read by an interpreter of a few instructions that only records what the
program would do: a class is a name, a call is its arguments. Numeric arrays are then made from the recorded bytes, of
known number types and with lengths that fit. Nothing of NumPy, SciPy or any other library is called by the stream.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LAST = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NUMBER = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Types of numbers that an array may hold, as NumPy writes them."""
MAX_ENTRIES = 2**40
_MARK = object()


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle asks for."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """What a pickle would make by calling `name`, and the state that it would give it."""

    name: Name
    arguments: tuple[Any, ...]
    state: Any = None


class Refused(ValueError):
    """A pickle asks for what is not admitted."""


def record(data: bytes, admitted: Any) -> Any:
    """What the pickle in `data` would make, as plain values, `Name`s and `Call`s.

    Args:
        admitted: (Name) -> bool.

    Raises:
        Refused: it asks for a name that is not admitted.
        ValueError: it is no whole pickle, or one with instructions that no array needs.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        for place in range(len(stack) - 1, -1, -1):
            if stack[place] is _MARK:
                values = stack[place + 1 :]
                del stack[place:]
                return values
        raise ValueError("a mark is missing")

    def pop() -> Any:
        if not stack or stack[-1] is _MARK:
            raise ValueError("a value is missing")
        return stack.pop()

    def name_of(module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name is no text")
        wanted = Name(module, name)
        if not admitted(wanted):
            raise Refused(str(wanted))
        return wanted

    def call(name: Any, arguments: Any) -> Call:
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is no name")
        return Call(name, arguments)

    for code, argument, _ in pickletools.genops(io.BytesIO(data)):
        match code.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                value = pop()
                if stack:
                    raise ValueError("values are left over")
                return value
            case name if name in LITERALS:
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case "MARK":
                stack.append(_MARK)
            case "POP":
                pop()
            case "POP_MARK":
                since_mark()
            case "DUP":
                value = pop()
                stack += [value, value]
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                value = pop()
                stack.append(value)
                memo[len(memo) if code.name == "MEMOIZE" else int(str(argument))] = value
            case "GET" | "BINGET" | "LONG_BINGET":
                if (place := int(str(argument))) not in memo:
                    raise ValueError("a remembered value is missing")
                stack.append(memo[place])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case name if name in LAST:
                values = [pop() for _ in range(LAST[name])]
                stack.append(tuple(reversed(values)))
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                stack.append(since_mark())
            case "APPEND" | "APPENDS":
                values = [pop()] if code.name == "APPEND" else since_mark()
                _list(stack[-1:]).extend(values)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                stack.append(_pairs(since_mark()))
            case "SETITEM" | "SETITEMS":
                values = [pop(), pop()][::-1] if code.name == "SETITEM" else since_mark()
                _dict(stack[-1:]).update(_pairs(values))
            case "GLOBAL":
                stack.append(name_of(*str(argument).partition(" ")[::2]))
            case "STACK_GLOBAL":
                name, module = pop(), pop()
                stack.append(name_of(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, name = pop(), pop()
                stack.append(call(name, arguments))
            case "BUILD":
                state = pop()
                if not stack or not isinstance(stack[-1], Call):
                    raise ValueError("a state of something that is no object")
                stack[-1].state = state
            case name:
                raise ValueError(f"the instruction {name} is not admitted")
    raise ValueError("it ends too early")


def _list(values: list[Any]) -> list[Any]:
    if not values or not isinstance(values[0], list):
        raise ValueError("an entry of something that is no list")
    return values[0]


def _dict(values: list[Any]) -> dict[Any, Any]:
    if not values or not isinstance(values[0], dict):
        raise ValueError("an entry of something that is no mapping")
    return values[0]


def _pairs(values: list[Any]) -> dict[Any, Any]:
    keys = values[::2]
    if len(values) % 2 or not all(isinstance(key, str) for key in keys):
        raise ValueError("a mapping's keys are no texts")
    return dict(zip(keys, values[1::2], strict=True))


ARRAY_PARTS = {
    *(
        Name(f"numpy.{core}.multiarray", part)
        for core in ("core", "_core")
        for part in ("_reconstruct", "scalar")
    ),
    *(Name(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    Name("numpy", "ndarray"),
    Name("numpy", "dtype"),
    Name("_codecs", "encode"),
}
"""Names that a pickled array of numbers asks for."""


def array_of(value: Any) -> np.ndarray:
    """The array that a recorded value stands for; ValueError where it stands for none of plain numbers."""
    if not isinstance(value, Call):
        raise ValueError(f"{type(value).__name__} in an array's place")
    match value.name.name:
        case "_reconstruct":
            if not isinstance(value.state, tuple) or len(value.state) != 5:
                raise ValueError("an array's state is not whole")
            _, shape, kind, fortran, raw = value.state
        case "_frombuffer":
            if len(value.arguments) != 4:
                raise ValueError("an array's arguments are not whole")
            raw, kind, shape, order = value.arguments
            fortran = order == "F"
        case "scalar":
            if len(value.arguments) != 2:
                raise ValueError("a scalar's arguments are not whole")
            (kind, raw), shape, fortran = value.arguments, (), False
        case name:
            raise ValueError(f"{name} in an array's place")
    dtype, content = _dtype(kind), _bytes(raw)
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n <= MAX_ENTRIES for n in shape):
        raise ValueError("an array's shape is no tuple of sizes")
    if len(shape) > 2 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {shape} and type {dtype} has {len(content)} bytes")
    array = np.frombuffer(content, dtype)
    return array.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


def _dtype(value: Any) -> np.dtype:
    if not isinstance(value, Call) or value.name != Name("numpy", "dtype") or not value.arguments:
        raise ValueError("an array's type is none of NumPy's")
    text = value.arguments[0]
    if not isinstance(text, str) or not NUMBER.fullmatch(text):
        raise ValueError(f"arrays of type {text!r:.40} are not admitted, only of plain numbers")
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else "|"
    if order not in ("<", ">", "|", "="):
        raise ValueError("an array's byte order is none")
    return np.dtype(text) if order in "|=" else np.dtype(text).newbyteorder("<" if order == "<" else ">")


def _bytes(value: Any) -> bytes:
    if isinstance(value, Call) and value.name == Name("_codecs", "encode"):
        if len(value.arguments) != 2 or value.arguments[1] != "latin1":
            raise ValueError(f"codec {value.arguments[1:]} is not admitted")
        value = value.arguments[0]
    if isinstance(value, str):  # written by Python 2, or by `_codecs.encode`
        return value.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):
        raise ValueError("an array's content is no bytes")
    return bytes(value)
