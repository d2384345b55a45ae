"""Reading weights from files as arrays by name. No framework is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.checkpoints.safe_pickle import read_pickle

#: Entries of a training checkpoint that contain the weights of the model.
CONTAINERS = ("state_dict", "model_state", "model", "blobs")
#: Prefix that `torch.nn.DataParallel` adds to every name.
PARALLEL = "module."


def read_arrays(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Read weights by name from a .pkl or .safetensors file.

    The weights are the content of the file, or its entry "state_dict", "model_state", "model" or
    "blobs". The prefix "module." is removed if every name has it. `read_pickle` reads a pickle and
    executes nothing in it. Reading .safetensors needs the package safetensors.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        The file is of another kind, is damaged, or contains values that are not arrays.
    """
    suffix = Path(path).suffix
    if suffix == ".pkl":
        return arrays_of(state_of(read_pickle(path), path), path)
    if suffix == ".safetensors":
        return state_of(_read_safetensors(path), path)
    raise ValueError(f"{path}: expected a .pkl or .safetensors file; received {suffix!r}")


def _read_safetensors(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    with contextlib.suppress(ImportError):
        import ml_dtypes  # noqa: F401  # registers bfloat16 in NumPy
    try:
        return load_file(path)
    except (SafetensorError, TypeError) as error:  # TypeError: NumPy does not know the dtype
        raise ValueError(f"{path}: expected a .safetensors file of arrays; {error}") from error


def state_of(content: Any, path: str | PathLike[str]) -> dict[str, Any]:
    """The weights in the content of a file, by name: all of it, or its entry in `CONTAINERS`.

    The prefix "module." is removed if every name has it. `path` is named in the error.

    Raises
    ------
    ValueError
        The content has no mapping of names to values.
    """
    found = content
    if isinstance(content, Mapping):
        inner = (content[name] for name in CONTAINERS if name in content)
        found = next((value for value in inner if isinstance(value, Mapping)), content)
    if not isinstance(found, Mapping) or not found or not all(isinstance(n, str) for n in found):
        raise ValueError(
            f"{path}: expected arrays by name, or an entry in {CONTAINERS} with arrays by name; "
            f"received {_kind(found)}"
        )
    if all(name.startswith(PARALLEL) for name in found):
        return {name.removeprefix(PARALLEL): value for name, value in found.items()}
    return dict(found)


def arrays_of(state: Mapping[str, Any], path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Return the values as arrays. A number becomes an array of shape ().

    Raises
    ------
    ValueError
        A value is neither an array nor a number. The message lists such values by name.
    """
    other = {n: v for n, v in state.items() if not isinstance(v, (np.ndarray, int, float))}
    if other:
        shown = ", ".join(f"{name!r}: {_kind(value)}" for name, value in list(other.items())[:5])
        raise ValueError(
            f"{path}: expected arrays by name, or an entry in {CONTAINERS} with arrays by name; "
            f"received {len(other)} other value(s), {shown}"
        )
    return {name: np.asarray(value) for name, value in state.items()}


def _kind(value: Any) -> str:
    """The type of a value and the length of a container: "dict of 2"."""
    size = f" of {len(value)}" if isinstance(value, (Mapping, list, tuple)) else ""
    return type(value).__name__ + size
