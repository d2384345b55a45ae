"""Reading weights from files as arrays by name. No framework is needed.

The kind of a file, and where its weights are, is determined by its content, not by its name.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from nlcore.checkpoints.safe_pickle import read_pickle

#: Entries of a training checkpoint that contain the weights of the model. The first is chosen.
CONTAINERS = (
    *("state_dict", "model_state", "model_state_dict", "model", "net", "network", "params"),
    *("module", "weights", "blobs", "model_ema", "state_dict_ema", "ema"),
)
#: Prefixes that wrappers add to every name: DataParallel, torch.compile, Lightning.
PREFIXES = ("module.", "_orig_mod.", "model.")
#: What a file begins with, if torch.save has written it before PyTorch 1.6.
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_arrays(path: str | PathLike[str], entry: str | None = None) -> dict[str, np.ndarray]:
    """Read weights by name from a pickle or a .safetensors file.

    Parameters
    ----------
    path : path
        Its ending does not matter. `read_pickle` reads a pickle and executes nothing in it. Reading
        .safetensors needs the package safetensors.
    entry : str, optional
        Name of the entry that contains the weights, such as "model_ema". By default, the weights
        are all of the content, or the first entry in `CONTAINERS` with arrays by name, or the only
        entry with arrays by name. Entries are searched at every depth.

    Returns
    -------
    dict of str to array
        Without the prefixes "module.", "_orig_mod." and "model.", if every name has them.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        The file is of another kind, is damaged, contains values that are not arrays, or several
        entries with weights.
    """
    kind = kind_of(path)
    if kind == "safetensors":
        return state_of(_read_safetensors(path), path, entry)
    if kind == "pickle":
        return arrays_of(state_of(read_pickle(path), path, entry), path)
    raise ValueError(
        f"{path}: expected a pickle or a .safetensors file; received a file of torch.save, which "
        "nlcore_torch.convert.read_weights reads"
    )


def kind_of(path: str | PathLike[str]) -> str:
    """The kind of a file, "safetensors", "torch" or "pickle", by the bytes at its beginning.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        It is of no such kind.
    """
    with open(path, "rb") as file:
        start = file.read(32)
    if start.startswith(b"PK"):
        with contextlib.suppress(zipfile.BadZipFile):  # torch.load explains what is damaged
            names = zipfile.ZipFile(path).namelist()
            if not any(name.endswith("data.pkl") for name in names):
                raise ValueError(_no_weights(path, f"an archive of {names[:3]}"))
        return "torch"
    if start.startswith(OLD_TORCH):
        return "torch"
    if start[8:9] == b"{" and start[4:8] == b"\0\0\0\0":  # the length of a header in JSON
        return "safetensors"
    if start[:1] in (b"\x80", b"(", b"}", b"c"):  # protocols from 2 on, and 0 and 1
        return "pickle"
    raise ValueError(_no_weights(path, f"a file that begins with {start!r}"))


def _no_weights(path: str | PathLike[str], received: str) -> str:
    kinds = "a .safetensors file, a file of torch.save or a pickle"
    return f"{path}: expected a file of weights: {kinds}; received {received}"


def _read_safetensors(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    with contextlib.suppress(ImportError):
        import ml_dtypes  # noqa: F401  # registers bfloat16 in NumPy
    try:
        return load_file(path)
    except (SafetensorError, TypeError) as error:  # TypeError: NumPy does not know the dtype
        raise ValueError(f"{path}: expected a .safetensors file of arrays; {error}") from error


def state_of(content: Any, path: str | PathLike[str], entry: str | None = None) -> dict[str, Any]:
    """The weights in the content of a file, by name. See `read_arrays`.

    `path` is named in the error.

    Raises
    ------
    ValueError
        The content has no mapping of names to values, or several entries with weights.
    """
    if entry is not None:
        if not isinstance(content, Mapping) or entry not in content:
            have = list(content) if isinstance(content, Mapping) else _kind(content)
            raise ValueError(f"{path}: expected an entry {entry!r}; received {have}")
        content = content[entry]
    found = _weights_in(content, path)
    if found is None:  # the error names what is there instead
        inner = content if isinstance(content, Mapping) else {}
        found = next((inner[n] for n in CONTAINERS if isinstance(inner.get(n), Mapping)), content)
    if not isinstance(found, Mapping) or not found or not all(isinstance(n, str) for n in found):
        raise ValueError(
            f"{path}: expected arrays by name, or an entry such as {CONTAINERS[:4]} with arrays by "
            f"name; received {_kind(found)}"
        )
    names = list(found)
    while shared := next((p for p in PREFIXES if all(n.startswith(p) for n in names)), None):
        names = [name.removeprefix(shared) for name in names]
    return dict(zip(names, found.values(), strict=True))


def _weights_in(content: Any, path: str | PathLike[str]) -> Mapping[str, Any] | None:
    """The mapping of names to arrays and numbers in the content, or None if there is none."""
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return None
    arrays = [_is_array(value) for value in content.values()]
    numbers = [isinstance(value, (int, float)) for value in content.values()]
    if any(arrays) and all(a or n for a, n in zip(arrays, numbers, strict=True)):
        return content
    inner = {name: _weights_in(value, path) for name, value in content.items()}
    found = {name: weights for name, weights in inner.items() if weights is not None}
    for name in CONTAINERS:
        if name in found:
            return found[name]
    if len(found) > 1:
        raise ValueError(
            f"{path}: expected one entry with weights; received {list(found)} (the argument entry "
            "chooses one)"
        )
    return next(iter(found.values()), None)


def _is_array(value: Any) -> bool:
    """Whether the value is an array or a tensor."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


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
            f"{path}: expected arrays by name, or an entry such as {CONTAINERS[:4]} with arrays by "
            f"name; received {len(other)} other value(s), {shown}"
        )
    return {name: np.asarray(value) for name, value in state.items()}


def _kind(value: Any) -> str:
    """The type of a value and the length of a container: "dict of 2"."""
    size = f" of {len(value)}" if isinstance(value, (Mapping, list, tuple)) else ""
    return type(value).__name__ + size
