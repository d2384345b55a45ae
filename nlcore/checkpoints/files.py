"""Weights in files: arrays by name, whatever they are wrapped in. No framework is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.checkpoints.safe_pickle import read_pickle

#: Under which names training scripts save a model's weights, beside what else they save.
CONTAINERS = ("state_dict", "model_state", "model", "blobs")
#: What `torch.nn.DataParallel` puts before every name.
PARALLEL = "module."


def read_arrays(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Weights by name from a .pkl or .safetensors file.

    `nlcore.checkpoints.safe_pickle.read_pickle` reads a pickle, and runs nothing that is in it.
    Reading .safetensors needs the package safetensors. Containers are as in `state_of`.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        Another kind of file, one that is damaged, or one that holds something else than arrays.
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
        import ml_dtypes  # noqa: F401  # tells NumPy of bfloat16
    try:
        return load_file(path)
    except (SafetensorError, TypeError) as error:  # TypeError: a dtype that NumPy has not
        raise ValueError(f"{path}: expected a .safetensors file of arrays; {error}") from error


def state_of(content: Any, path: str | PathLike[str]) -> dict[str, Any]:
    """Values by name in what a file holds: it itself, or what is in it under one of `CONTAINERS`.

    The prefix "module." is taken off where every name has it.

    Raises
    ------
    ValueError
        There is no mapping of names.
    """
    found = content
    if isinstance(content, Mapping):
        inner = (content[name] for name in CONTAINERS if name in content)
        found = next((value for value in inner if isinstance(value, Mapping)), content)
    if not isinstance(found, Mapping) or not found or not all(isinstance(n, str) for n in found):
        raise ValueError(
            f"{path}: expected arrays by name, or these under one of {CONTAINERS}; "
            f"received {_kind(found)}"
        )
    if all(name.startswith(PARALLEL) for name in found):
        return {name.removeprefix(PARALLEL): value for name, value in found.items()}
    return dict(found)


def arrays_of(state: Mapping[str, Any], path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The values as arrays, numbers as arrays without axes.

    Raises
    ------
    ValueError
        Values that are neither, by name.
    """
    other = {n: v for n, v in state.items() if not isinstance(v, (np.ndarray, int, float))}
    if other:
        shown = ", ".join(f"{name!r}: {_kind(value)}" for name, value in list(other.items())[:5])
        raise ValueError(
            f"{path}: expected arrays by name, or these under one of {CONTAINERS}; "
            f"received {len(other)} other value(s), {shown}"
        )
    return {name: np.asarray(value) for name, value in state.items()}


def _kind(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, (Mapping, list, tuple)) else ""
    return type(value).__name__ + size
