"""What an implementation must look like to be judged: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.bounds.arithmetic import arithmetic

Weights = Mapping[str, np.ndarray]


class CannotRun(Exception):
    """Nothing could be judged; the message is one line that says what to do."""


class Backend(Protocol):
    """An implementation of the block; the method `block` is the one thing required.

    block(spec, weights, x, training=False) -> z
        As `nlcore.block`, computed in the dtype of x (bfloat16 through ml_dtypes). Raising
        NotImplementedError says that the spec is not supported.

    Besides, it may have:

    name
        What `identify` and `runner.run` call it, by default how it was asked for. Reports of the
        command and of pytest name it as it was asked for, which is how `replay` finds it.
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

    def __init__(self, function: Callable[..., np.ndarray], name: str) -> None:
        self.name = name
        self.block = function


def as_backend(found: Any, name: str) -> Backend:
    """The Backend that `found` is or makes: an object, a class of one, or a plain function.

    Raises
    ------
    TypeError
        None of these, or one with an attribute of another form than `Backend` says.
    """
    if isinstance(found, type):
        return as_backend(found(), name)
    if hasattr(found, "block"):
        return _checked(found, name)
    if callable(found):
        return _Function(found, name)
    raise TypeError(
        f"{name} must be an object with block(spec, weights, x, training=False), or a plain "
        f"function of that form; received {found!r}"
    )


def _checked(backend: Any, name: str) -> Backend:
    if not hasattr(backend, "name"):
        try:
            backend.name = name
        except AttributeError as error:
            raise TypeError("it must have an attribute `name`, or take one") from error
    own = getattr(backend, "dtypes", ("float32",))
    if not own or not set(own) <= set(FLOATS):
        raise TypeError(f"dtypes must be a tuple of some of {FLOATS}; received {own!r}")
    sums = getattr(backend, "accumulates", {})
    if not isinstance(sums, Mapping) or not {*sums, *sums.values()} <= set(FLOATS):
        raise TypeError(f"accumulates must map some of {FLOATS} to them; received {sums!r}")
    for dtype, kept in sums.items():
        if arithmetic(kept).unit > arithmetic(dtype).unit:
            raise TypeError(
                f"accumulates must name dtypes no coarser than that computed in; received {sums!r}"
            )
    return backend


def dtypes(backend: Backend) -> tuple[str, ...]:
    """The dtypes that the backend computes in."""
    return tuple(getattr(backend, "dtypes", ("float32",)))


def declared_sums(backend: Backend) -> dict[str, str]:
    """What the backend itself says of the dtypes of its sums."""
    return dict(getattr(backend, "accumulates", {}))


def accumulates(backend: Backend, dtype: str) -> str:
    """The dtype that the backend's sums are kept in, where it computes in `dtype`."""
    return declared_sums(backend).get(dtype, "float64" if dtype == "float64" else "float32")


def supports(backend: Backend, spec: NonLocalSpec, dtype: str) -> bool | str:
    """True, or why the backend does not support the spec in this dtype.

    Raises
    ------
    CannotRun
        The backend's own `supports` raises.
    """
    if not hasattr(backend, "supports"):
        return True
    try:
        answer = backend.supports(spec, dtype)
    except Exception as error:  # whatever someone's method may raise
        why = f"supports must return True, or a str that says why not; it raised {said(error)}"
        raise CannotRun(why) from error
    return answer if answer is True or isinstance(answer, str) else "not supported"


def said(error: Exception) -> str:
    """An exception of someone's code in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
