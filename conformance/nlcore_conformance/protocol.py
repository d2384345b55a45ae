"""What an implementation must look like to be judged: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from nlcore import NonLocalSpec

Weights = Mapping[str, np.ndarray]


class Backend(Protocol):
    """An implementation of the block; the method `block` is the one thing required.

    block(spec, weights, x, training=False) -> z
        As `nlcore.block`, computed in the dtype of x (bfloat16 through ml_dtypes). Raising
        NotImplementedError says that the spec is not supported.

    Besides, it may have:

    name
        What reports call it, by default how it was asked for.
    dtypes
        Names of the dtypes that it computes in, by default ("float32",).
    supports(spec, dtype)
        True, or a str that says why not.
    block_vjp(spec, weights, x, dz, training=False) -> (dx, dweights)
        As `nlcore.block_vjp`.
    accumulates
        dtype -> name of the dtype that sums are kept in, by default float32 for the half
        precisions and the dtype itself for the others. Bounds are derived from it.
    device
        A str, set from the command line's --device before the first call.
    """

    name: str

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray: ...


class _Function:
    """A plain function block(spec, weights, x, training=False) as a Backend."""

    def __init__(self, function: Callable[..., np.ndarray]) -> None:
        self.name = getattr(function, "__name__", "block")
        self.block = function


def as_backend(found: Any, name: str) -> Backend:
    """The Backend that `found` is or makes: an object, a class of one, or a plain function.

    Raises
    ------
    TypeError
        None of these.
    """
    if hasattr(found, "block") and not isinstance(found, type):
        if not hasattr(found, "name"):
            found.name = name
        return found
    if isinstance(found, type):
        return as_backend(found(), name)
    if callable(found):
        return _Function(found)
    raise TypeError(
        f"{name} must be an object with block(spec, weights, x, training=False), or a plain "
        f"function of that form; received {found!r}"
    )


def dtypes(backend: Backend) -> tuple[str, ...]:
    """The dtypes that the backend computes in."""
    return tuple(getattr(backend, "dtypes", ("float32",)))


def accumulates(backend: Backend, dtype: str) -> str:
    """The dtype that the backend's sums are kept in, where it computes in `dtype`."""
    declared = getattr(backend, "accumulates", {})
    return declared.get(dtype, "float64" if dtype == "float64" else "float32")


def supports(backend: Backend, spec: NonLocalSpec, dtype: str) -> bool | str:
    """True, or why the backend does not support the spec in this dtype."""
    if not hasattr(backend, "supports"):
        return True
    answer = backend.supports(spec, dtype)
    return answer if answer is True or isinstance(answer, str) else "not supported"
