"""Reading pickles of arrays without executing any code that a pickle names.

A pickle is a program that calls the functions it names. Here the few names that NumPy writes are
replaced by stand-ins, which store their arguments and do nothing else. Every other name is an
error. After the program has ended, arrays are made from the arguments that the stand-ins stored.
"""

from __future__ import annotations

import math
import pickle
import re
from os import PathLike
from typing import Any

import numpy as np

_NUMBER = re.compile("b1|[iu][1248]|f[248]")


def read_pickle(path: str | PathLike[str]) -> Any:
    """Read a pickle of numeric NumPy arrays in plain containers.

    Plain containers are dicts, lists and tuples. They can also contain str, bytes, int, float, bool
    and None. Pickles of Python 2 are supported, with str decoded as Latin-1.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        The pickle contains anything else or is damaged. Nothing in it was called or imported.

    Examples
    --------
    >>> import pickle
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "weights.pkl")
    ...     _ = file.write_bytes(pickle.dumps({"fc": np.arange(3.0)}))
    ...     found = read_pickle(file)
    >>> found
    {'fc': array([0., 1., 2.])}
    """
    with open(path, "rb") as file:
        try:
            return _plain(_Reader(file, encoding="latin1").load())
        except Exception as error:  # a damaged pickle can raise any exception
            early = isinstance(error, EOFError) or "truncated" in str(error)
            why = "the file ends early" if early else f"{type(error).__name__}: {error}"
            expected = "expected a pickle of numeric NumPy arrays in plain containers"
            raise ValueError(f"{path}: {expected}; {why}") from error


class _StandIn:
    """An object that a pickle may name. The pickle cannot set attributes on it or on its class."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it sets a state on an object that has none")


class _DType(_StandIn):
    __slots__ = ("code", "order")

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(code, str) or not _NUMBER.fullmatch(code):
            raise pickle.UnpicklingError(f"it contains an array of dtype {code!r}")
        self.code: str = code
        self.order: Any = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)


class _Array(_StandIn):
    """An array as all protocols write it. Its state is (version, shape, dtype, Fortran, data)."""

    __slots__ = ("state",)

    def __init__(self, subtype: Any, shape: Any, code: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        shape, dtype, fortran, data = self.state[-4:]
        return _filled(data, dtype, shape, "F" if fortran else "C")


class _Buffer(_StandIn):
    """An array as protocol 5 writes it."""

    __slots__ = ("arguments", "axes")

    def __init__(self, data: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> None:
        self.arguments, self.axes = (data, dtype, shape, "C" if order == "K" else order), axes

    def array(self) -> np.ndarray:
        array = _filled(*self.arguments)
        return array if self.axes is None else array.transpose(self.axes)


class _Scalar(_StandIn):
    __slots__ = ("arguments",)

    def __init__(self, dtype: Any, data: Any) -> None:
        self.arguments = (data, dtype, (), "C")

    def array(self) -> np.ndarray:
        return _filled(*self.arguments)


class _Encoded(_StandIn):
    """Bytes as Python 3 writes them in protocol 2: a text and its encoding, or no arguments."""

    __slots__ = ("data",)

    def __init__(self, text: str = "", encoding: str = "latin1") -> None:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it contains bytes in encoding {encoding!r}")
        self.data = text.encode("latin1")


_NAMES: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): _StandIn,
    ("numpy", "dtype"): _DType,
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): _Encoded,
    ("__builtin__", "bytes"): _Encoded,
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[_core + ".multiarray", "_reconstruct"] = _Array
    _NAMES[_core + ".multiarray", "scalar"] = _Scalar
    _NAMES[_core + ".numeric", "_frombuffer"] = _Buffer


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return _NAMES[module, name]


def _plain(value: Any) -> Any:
    """The value with stand-ins replaced by arrays and bytes."""
    if isinstance(value, dict):
        return {_plain(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if isinstance(value, (_Array, _Buffer, _Scalar)):
        return value.array()
    if isinstance(value, _Encoded):
        return value.data
    if value is None or isinstance(value, (str, bytes, bytearray, int, float)):
        return value
    raise pickle.UnpicklingError(f"it contains a {type(value).__name__}")


def _filled(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """The array that these bytes describe. It is read-only if `data` is."""
    if isinstance(data, str):  # a pickle of Python 2
        data = data.encode("latin1")
    if isinstance(data, _Encoded):
        data = data.data
    if not isinstance(data, (bytes, bytearray)) or not isinstance(dtype, _DType):
        raise pickle.UnpicklingError(f"it contains an array of {type(data).__name__}, not numbers")
    kind = dtype.dtype()
    if len(data) != math.prod(shape) * kind.itemsize:
        raise pickle.UnpicklingError(
            f"it contains {len(data)} bytes for shape {shape} and dtype {kind}"
        )
    return np.ndarray(shape, kind, data, order=order)
