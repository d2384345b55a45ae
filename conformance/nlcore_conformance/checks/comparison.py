"""The outputs that are expected of a backend, and how those received compare: error / bound."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import nlcore
from nlcore import NonLocalSpec, weight_shapes
from nlcore_conformance.backend.protocol import Backend, accumulates
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_conformance.problems.case import Case, Problem, problem

#: Packages whose source is not the backend's own.
FRAMEWORKS = ("jax", "jaxlib", "keras", "numba", "numpy", "tensorflow", "torch")


class Broken(Exception):
    """The backend gave no answer, or one of another form than the protocol asks for."""


@dataclass(frozen=True)
class Judgement:
    """How one output compares with the expected one, at its worst element."""

    output: str  # "z", "dx" or a weight's name
    ratio: float  # error / bound; inf where the shape or the dtype is wrong, or a NaN received
    index: tuple[int, ...]
    expected: float
    received: float
    bound: float
    elements: int  # that are compared
    unpredictable: int  # elements without a finite bound, which do not count
    vacuous: int = 0  # elements that count, with a bound above the output's largest |expected|
    note: str = ""  # the form that was expected and received, where it is wrong


@dataclass(frozen=True, eq=False)
class Expected:
    """The reference's outputs by name, and their bounds; float64."""

    values: dict[str, np.ndarray]
    bounds: dict[str, np.ndarray]


def expected(p: Problem, sums: str, gradient: bool) -> Expected:
    """The reference's outputs for a problem, and their bounds if sums have the dtype `sums`."""
    if gradient:
        dx, dweights = nlcore.block_vjp(p.spec, p.weights, p.x, p.dz, p.training)
        values = {"dx": dx, **dweights}
    else:
        values = {"z": nlcore.block(p.spec, p.weights, p.x, p.training)}
    bounds = bounds_of(p, sums, gradient)
    return Expected(values, {name: bounds[name] for name in values})


@lru_cache(maxsize=4)  # several backends get the same problem
def expected_of(case: Case, sums: str, gradient: bool) -> Expected:
    """`expected` of a case's problem, which must not be changed."""
    return expected(problem(case), sums, gradient)


def bounds_of(p: Problem, sums: str, gradient: bool = False) -> dict[str, np.ndarray]:
    """Bounds by name: of z, and with `gradient` of the gradients too."""
    dz = p.dz if gradient else None
    return block_bounds(
        p.spec,
        p.weights,
        p.x,
        dz,
        training=p.training,
        dtype=p.dtype,
        independent=p.independent,
        sums=sums,
    )


#: Computes what is expected. It is called after the backend has answered, which may refuse.
Right = Callable[[], Expected]


def judge_forward(backend: Backend, p: Problem, right: Right | None = None) -> list[Judgement]:
    """z against the reference's."""
    z = _unchanged(backend.block, p)
    found = right() if right else expected(p, accumulates(backend, p.dtype), gradient=False)
    return [judged("z", z, found.values["z"], found.bounds["z"], p.dtype)]


def judge_gradient(backend: Backend, p: Problem, right: Right | None = None) -> list[Judgement]:
    """dx and every weight's gradient against the reference's."""
    received = gradients(backend, p)
    found = right() if right else expected(p, accumulates(backend, p.dtype), gradient=True)
    if set(received) != set(found.values):
        names = sorted(found.values)
        raise Broken(f"gradients must be named {names}; received {sorted(map(str, received))}")
    return [
        judged(name, received[name], value, found.bounds[name], p.dtype)
        for name, value in found.values.items()
    ]


def judged(
    output: str, received: Any, right: np.ndarray, bound: np.ndarray, dtype: str
) -> Judgement:
    """The worst element of one output.

    An element without a finite bound does not count, and one whose bound is NaN is not compared at
    all. An element with a finite bound fails where `right` is not finite: so the reference, and a
    first answer of the backend's own, are judged too.

    Parameters
    ----------
    received
        The output, whatever it is.
    right, bound : array
        float64, of the output's shape.
    dtype : str
        The dtype that the output must have.
    """
    if isinstance(received, np.generic):
        received = np.asarray(received)
    if not isinstance(received, np.ndarray) or received.shape != right.shape:
        shape = f" of shape {received.shape}" if isinstance(received, np.ndarray) else ""
        came = type(received).__name__ + shape
        return _misformed(output, right, f"an array of shape {right.shape}", came)
    if received.dtype.name != dtype:
        return _misformed(output, right, f"dtype {dtype}", received.dtype.name)
    compared, counted = ~np.isnan(bound), np.isfinite(bound)
    got = float64(received)
    with np.errstate(all="ignore"):
        error = np.abs(got - right)
        ratio = np.where(error == 0, 0.0, error / bound)
    ratio = np.where(np.isnan(got) | ~np.isfinite(right), np.inf, ratio)
    ratio = np.where(counted, ratio, -1.0)
    flat = int(ratio.argmax())
    index = tuple(int(k) for k in np.unravel_index(flat, right.shape))
    largest = np.abs(right[counted & np.isfinite(right)]).max(initial=0.0)
    return Judgement(
        output,
        max(float(ratio.flat[flat]), 0.0),
        index,
        float(right[index]),
        float(got[index]),
        float(bound[index]),
        elements=int(compared.sum()),
        unpredictable=int(compared.sum() - counted.sum()),
        vacuous=int((counted & (bound > largest)).sum()),
    )


def _misformed(output: str, right: np.ndarray, wanted: str, came: str) -> Judgement:
    """The judgement of an output of another form."""
    note = f"expected {wanted}; received {came}"
    return Judgement(output, np.inf, (), np.nan, np.nan, np.nan, right.size, 0, note=note)


def asked(backend: Backend, p: Problem) -> Any:
    """The backend's z."""
    return _asked(backend.block, p.spec, p.weights, p.x, p.training)


def gradients(backend: Backend, p: Problem) -> dict[str, Any]:
    """The backend's "dx" and weight gradients by name."""
    vjp = backend.block_vjp  # type: ignore[attr-defined]
    answer = _asked(vjp, p.spec, p.weights, p.x, p.dz, p.training)
    try:
        dx, dweights = answer
        return {"dx": dx, **dweights}
    except (TypeError, ValueError) as error:
        raise Broken(
            f"block_vjp must return (dx, dweights by name); received {answer!r}"
        ) from error


def new_weights(backend: Backend, spec: NonLocalSpec) -> dict[str, Any]:
    """The weights of a new block of the backend's, by name."""
    answer = _asked(backend.initial, spec)  # type: ignore[attr-defined]
    names = list(weight_shapes(spec))
    if not isinstance(answer, Mapping) or set(answer) != set(names):
        came = sorted(map(str, answer)) if isinstance(answer, Mapping) else repr(answer)
        raise Broken(f"initial must return weights named {names}; received {came}")
    return dict(answer)


def float64(value: Any) -> np.ndarray:
    """The numbers as a float64 array."""
    return np.asarray(value).astype(np.float64)


def _unchanged(block: Callable[..., Any], p: Problem) -> Any:
    """block's answer; raises Broken if block has changed its arguments."""
    before = {"x": p.x.copy(), **{name: w.copy() for name, w in p.weights.items()}}
    z = _asked(block, p.spec, p.weights, p.x, p.training)
    for name, old in before.items():
        new = p.x if name == "x" else p.weights[name]
        if not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            raise Broken(f"block must not change its arguments; it changed {name}")
    return z


def _asked(function: Callable[..., Any], *arguments: Any) -> Any:
    """The backend's answer; its exceptions are raised as Broken, but for NotImplementedError."""
    try:
        return function(*arguments)
    except NotImplementedError:
        raise
    except Exception as error:
        raise Broken(f"raised {type(error).__name__}: {_text(error)} {_place(error)}") from error


def _text(error: Exception) -> str:
    """The error's message without colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip()


def _place(error: Exception) -> str:
    """The innermost line of the backend's own source, like "(block.py:12)".

    A line of a framework is named only if there is no other.
    """
    frames = list(traceback.walk_tb(error.__traceback__))[1:]  # without this module's own
    names = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in frames]
    own = [f for f, name in zip(frames, names, strict=True) if name not in FRAMEWORKS] or frames
    if not own:
        return ""
    frame, line = own[-1]
    return f"({Path(frame.f_code.co_filename).name}:{line})"
