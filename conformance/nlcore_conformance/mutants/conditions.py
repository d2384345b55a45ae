"""Implementations that are wrong only under a condition, as fast paths and fallbacks are.

Where the condition holds, z = x, and every gradient but dx = dz is 0. So only the questions that
are asked decide whether the mistake is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nlcore import NonLocalSpec
from nlcore.block_cost import seen
from nlcore.spec import FLOATS, NORMALIZATIONS
from nlcore.weights import RUNNING
from nlcore_conformance.backend.plain import Grads, Plain
from nlcore_conformance.backend.protocol import Weights
from nlcore_conformance.mutants.mutant import Zoo

ZOO = Zoo()


class Asked(NamedTuple):
    """A question to a backend."""

    spec: NonLocalSpec
    x: np.ndarray  # (B, C, *positions)
    training: bool
    gradient: bool

    @property
    def n(self) -> int:
        """How many positions see each other."""
        return seen(self.spec, self.x.shape[2:])

    @property
    def batch(self) -> int:
        return len(self.x)

    @property
    def dtype(self) -> str:
        return self.x.dtype.name

    @property
    def pooled(self) -> bool:
        return self.spec.subsample is not None

    @property
    def repeats(self) -> bool:
        """Whether the first position of an item comes back in the same item."""
        rows = self.x.reshape(*self.x.shape[:2], -1)  # (B, C, N)
        return bool((rows[:, :, 1:] == rows[:, :, :1]).all(1).any())


Condition = Callable[[Asked], Any]


class Conditional(Plain):
    """The identity where `condition` holds.

    Elsewhere it is the right block if it is `complete`, and otherwise says that it does not support
    the question, so that the suite's own test spends no time on right answers.
    """

    condition: Condition

    def __init__(self, complete: bool = False) -> None:
        super().__init__()
        self.complete = complete

    def holds(self, spec: NonLocalSpec, x: np.ndarray, training: bool, gradient: bool) -> bool:
        """Whether the answer is wrong."""
        wrong = bool(type(self).condition(Asked(spec, x, training, gradient)))
        if not (wrong or self.complete):
            raise NotImplementedError("it is right here")
        return wrong

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        if self.holds(spec, x, training, gradient=False):
            return np.asarray(x, x.dtype.newbyteorder("=") if x.dtype.kind == "f" else x.dtype)
        return super().block(spec, weights, x, training)

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, Grads]:
        if self.holds(spec, x, training, gradient=True):
            return dz, {n: np.zeros_like(w) for n, w in weights.items() if n not in RUNNING}
        return super().block_vjp(spec, weights, x, dz, training)


def _where(said: str, clause: str, condition: Condition) -> None:
    """Add the mutant that is wrong where the condition holds, and `said` says."""
    ZOO.replace(
        f"wrong where {said}",
        clause,
        "",
        f"z = x, and there are no gradients, where {said}.",
        base=Conditional,
        condition=staticmethod(condition),
    )


# Sizes.
_where("N > 600", "NL-2.1", lambda a: a.n > 600)
_where("N > 1,024", "NL-2.1", lambda a: a.n > 1024)
_where("N > 4,096", "NL-2.1", lambda a: a.n > 4096)
_where("N > 16,384", "NL-2.1", lambda a: a.n > 16384)
_where("N > 600 is no multiple of 64", "NL-2.1", lambda a: a.n > 600 and a.n % 64)
_where("N > 600 in the second item", "NL-1.6", lambda a: a.n > 600 and a.batch > 1)
_where("N > 600 are pooled", "NL-5.1", lambda a: a.n > 600 and a.pooled)
_where("N > 600 are not pooled", "NL-5.1", lambda a: a.n > 600 and not a.pooled)
_where("N > 600 in a window of frames", "NL-6.4", lambda a: a.n > 600 and a.spec.window)
_where("N > 600 in a frame", "NL-6.2", lambda a: a.n > 600 and a.spec.extent == "space")
_where("N > 600 over time", "NL-6.3", lambda a: a.n > 600 and a.spec.extent == "time")
_where("N = 1", "NL-1.3", lambda a: a.n == 1)
_where("N > 2,000 in a gradient", "NL-9.1", lambda a: a.n > 2000 and a.gradient)


def _long_in(dtype: str) -> Condition:
    return lambda a: a.n > 600 and a.dtype == dtype


def _long_gradient_in(dtype: str) -> Condition:
    return lambda a: a.n > 600 and a.dtype == dtype and a.gradient


def _long_gradient_of(pairwise: str, norm: str) -> Condition:
    rules = pairwise, norm
    return lambda a: a.n > 600 and a.gradient and (a.spec.pairwise, a.spec.normalization) == rules


for _dtype in FLOATS:
    _where(f"N > 600 in {_dtype}", "NL-1.4", _long_in(_dtype))
    _where(f"N > 600 in a gradient in {_dtype}", "NL-9.1", _long_gradient_in(_dtype))
for _norm in NORMALIZATIONS:
    for _pairwise, _clause in (
        ("gaussian", "NL-3.1"),
        ("embedded_gaussian", "NL-3.2"),
        ("dot_product", "NL-3.3"),
        ("concatenation", "NL-3.4"),
    ):
        _where(
            f"N > 600 in a gradient of the {_pairwise.replace('_', ' ')} by {_norm}",
            _clause,
            _long_gradient_of(_pairwise, _norm),
        )
_where("s < 0 and N > 600", "NL-3.1", lambda a: a.spec.scale < 0 and a.n > 600)
_where("s < 0 in a gradient", "NL-3.1", lambda a: a.spec.scale < 0 and a.gradient)
_where("batch statistics of N > 600", "NL-8.2", lambda a: a.training and a.n > 600)
_where("batch statistics of three items", "NL-8.2", lambda a: a.training and a.batch == 3)
_where("eps is not 1e-5", "NL-8.1", lambda a: a.spec.batch_norm and a.spec.eps != 1e-5)
_where("D = C", "NL-2.1", lambda a: a.spec.inner_channels == a.spec.channels > 8)
_where(
    "V > D among N > 600",
    "NL-2.5",
    lambda a: a.n > 600 and a.spec.value_channels > a.spec.inner_channels,
)
_where(
    "V < D in a gradient of N > 600",
    "NL-2.5",
    lambda a: a.n > 600 and a.gradient and a.spec.value_channels < a.spec.inner_channels,
)
_where("D = 1", "NL-2.1", lambda a: a.spec.inner_channels == 1 < a.spec.channels)
_where(
    "three axes are pooled",
    "NL-5.1",
    lambda a: a.pooled and a.spec.ndim == 3 and 1 not in a.spec.pool,
)
_where(
    "windows of frames are pooled in a gradient",
    "NL-5.1",
    lambda a: a.pooled and a.spec.window and a.gradient,
)
_where(
    "x is pooled in float64",
    "NL-5.2",
    lambda a: a.pooled and a.spec.subsample_at == "input" and a.dtype == "float64",
)
_where(
    "a NaN or an infinity is among N > 600",
    "NL-11.2",
    lambda a: a.n > 600 and not np.isfinite(a.x.astype(np.float64)).all(),
)
_where(
    "a position of zeros is among N > 600",
    "NL-2.1",
    lambda a: a.n > 600 and (a.x == 0).all(1).any(),
)
_where("keys are equal among N > 600", "NL-2.1", lambda a: a.n > 600 and a.repeats)
