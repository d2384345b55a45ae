"""The interface of an implementation to be judged: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore.weights import INITS
from nlcore_conformance.backend.formats import FORMATS, default_sums

Weights = Mapping[str, np.ndarray]


class CannotRun(Exception):
    """Nothing could be judged. The message is one line, with what to change."""


class Backend(Protocol):
    """An implementation of the block; only the method `block` is required.

    block(spec, weights, x, training=False) -> z
        As `nlcore.block`, computed in the dtype of x (bfloat16 is a dtype of ml_dtypes). It raises
        NotImplementedError for a spec that it does not support.

    Optional:

    name
        The name that `identify` and `runner.run` use, by default the name that was asked for.
        Reports of the command and of pytest always use the name that was asked for, because
        `replay` finds the backend by it.
    dtypes
        Names of the dtypes that it computes in, by default ("float32",).
    supports(spec, dtype)
        True, or a str with the reason why not.
    block_vjp(spec, weights, x, dz, training=False) -> (dx, dweights)
        As `nlcore.block_vjp`.
    initial(spec) -> dict of str to array
        The weights of a new block, as its constructor makes them, by the names and with the shapes
        of `nlcore.weight_shapes`, in any floating-point dtype. They may be random.
    init
        "he", "he_fan_out" or "normal", if `initial` draws as `nlcore.init_weights` does with this
        `init`. By default None: the weights are of another distribution, which is not judged.
    paths(spec, dtype)
        The numbers of pairs of positions B N M, as a tuple of int, at which it changes its
        algorithm, such as the size of a chunk. The suite asks for problems of a few more pairs.
    accumulates
        dtype -> dtype of its sums, both by name. By default float32 for the half precisions and
        the dtype itself for the others. Bounds are derived from it.
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
        `found` is none of these, or has an attribute that does not fit `Backend`.
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
    """The backend, its attributes checked; it is called `name` where it has no name."""
    if not hasattr(backend, "name"):
        try:
            backend.name = name
        except AttributeError as error:
            raise TypeError(
                "a backend must have an attribute `name`, or let one be set; this has none"
            ) from error
    own = getattr(backend, "dtypes", ("float32",))
    if not own or not set(own) <= set(FLOATS):
        raise TypeError(f"dtypes must be a tuple of some of {FLOATS}; received {own!r}")
    if init(backend) not in (None, *INITS):
        raise TypeError(f"init must be None or one of {INITS}; received {init(backend)!r}")
    sums = getattr(backend, "accumulates", {})
    if not isinstance(sums, Mapping) or not {*sums, *sums.values()} <= set(FLOATS):
        raise TypeError(f"accumulates must map some of {FLOATS} to them; received {sums!r}")
    for dtype, kept in sums.items():
        if FORMATS[kept].unit > FORMATS[dtype].unit:
            raise TypeError(
                "accumulates must name dtypes that are no coarser than the one computed in; "
                f"received {sums!r}"
            )
    return backend


def dtypes(backend: Backend) -> tuple[str, ...]:
    """The dtypes that the backend computes in."""
    return tuple(getattr(backend, "dtypes", ("float32",)))


def init(backend: Backend) -> str | None:
    """The distribution that the backend declares for the weights of a new block."""
    return getattr(backend, "init", None)


def declared_sums(backend: Backend) -> dict[str, str]:
    """dtype -> dtype of the sums, for the dtypes of which the backend itself declares it."""
    return dict(getattr(backend, "accumulates", {}))


def accumulates(backend: Backend, dtype: str) -> str:
    """The dtype of the backend's sums when it computes in `dtype`."""
    return declared_sums(backend).get(dtype, default_sums(dtype))


def supports(backend: Backend, spec: NonLocalSpec, dtype: str) -> bool | str:
    """True, or the reason why the backend does not support the spec in this dtype.

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
        why = "supports must return True, or a str with the reason why not; it raised "
        raise CannotRun(f"{why}{one_line(error)}") from error
    return answer if answer is True or isinstance(answer, str) else "not supported"


def paths(backend: Backend, spec: NonLocalSpec, dtype: str) -> tuple[int, ...]:
    """The numbers of pairs at which the backend changes its algorithm, as it declares them.

    Raises
    ------
    CannotRun
        The backend's own `paths` raises, or returns something else.
    """
    if not hasattr(backend, "paths"):
        return ()
    wanted = "paths must return a tuple of int, numbers of pairs; it "
    try:
        found = backend.paths(spec, dtype)
    except Exception as error:
        raise CannotRun(f"{wanted}raised {one_line(error)}") from error
    if not isinstance(found, tuple) or not all(isinstance(n, int) and n > 0 for n in found):
        raise CannotRun(f"{wanted}returned {found!r}")
    return found


def one_line(error: Exception) -> str:
    """An exception as one line: its type and its message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
