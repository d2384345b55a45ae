"""NL-9 got wrong: the gradients of C(x), f and the logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.plain import Grads, Plain
from nlcore_conformance.backend.plain_forward import Call, Pairs, Stages
from nlcore_conformance.mutants.mutant import Zoo, by_sum

ZOO = Zoo()


class _Detached(Plain):
    """C(x) is taken for a constant with this pairwise function."""

    of: str

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        if by_sum(call) and call.spec.pairwise == self.of:
            return self.divided(call, dweight, p.c)
        return super().normalizer_vjp(call, p, dweight)


for _pairwise in PAIRWISE:
    ZOO.replace(
        f"normalizer detached, {_pairwise}",
        "NL-9.1",
        "operation",
        f"The gradient takes the sum C(x) of the {_pairwise} for a constant.",
        base=_Detached,
        of=_pairwise,
    )


@ZOO.wrong("softmax's mean unweighted", "NL-9.1", "operation")
class _Unweighted(Plain):
    """What a softmax's gradient subtracts is a mean, not a weighted mean."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        if not by_sum(call):
            return super().normalizer_vjp(call, p, dweight)
        return self.divided(call, dweight - dweight.mean(-1, keepdims=True), p.c)


@ZOO.wrong("gradient by N before pooling", "NL-9.1", "operation")
class _CountUnpooled(Plain):
    """The gradient divides by the number of positions i, not j."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        if by_sum(call):
            return super().normalizer_vjp(call, p, dweight)
        return dweight / call.work.type(p.t.shape[1])


@ZOO.wrong("gradient at C = 0", "NL-9.5", "operation")
class _ThroughZero(Plain):
    """Where C(x) is 0, the gradient goes through as though it were 1."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        right = super().normalizer_vjp(call, p, dweight)
        return np.where(p.c == 0, dweight, right)


@ZOO.wrong("gradient NaN at C = 0", "NL-9.5", "operation")
class _NaNAtZero(Plain):
    """Where C(x) is 0, the gradient is NaN."""

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        right = super().normalizer_vjp(call, p, dweight)
        return np.where(p.c == 0, np.nan, right).astype(call.work)


ZOO.replace(
    "exp has slope 1",
    "NL-9.1",
    "operation",
    "df/dt is 1 for the two Gaussians.",
    slope=lambda self, call, p: (
        1.0 if "gaussian" in call.spec.pairwise else Plain.slope(self, call, p)
    ),
)


class _Step(Plain):
    """Another derivative of the ReLU."""

    step: Callable[[np.ndarray], np.ndarray]  # of t

    def slope(self, call: Call, p: Pairs) -> np.ndarray | float:
        if call.spec.pairwise != "concatenation":
            return super().slope(call, p)
        return self.step(p.t).astype(call.work)


ZOO.replace(
    "ReLU'(0) = 1",
    "NL-9.3",
    "operation",
    "The ReLU's derivative at 0 is 1.",
    base=_Step,
    step=lambda self, t: t >= 0,
)
ZOO.replace(
    "ReLU'(0) = 1/2",
    "NL-9.3",
    "operation",
    "The ReLU's derivative at 0 is 1/2.",
    base=_Step,
    step=lambda self, t: np.heaviside(t, 0.5),
)
ZOO.replace(
    "ReLU' is 1",
    "NL-9.1",
    "operation",
    "The gradient goes through the ReLU everywhere.",
    base=_Step,
    step=lambda self, t: np.ones_like(t),
)


@ZOO.wrong("f for f / C in g's gradient", "NL-9.1", "operation")
class _UnnormalizedG(Plain):
    """g's gradient leaves out the division by C(x)."""

    def operation_vjp(
        self, call: Call, s: Stages, dy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Grads]:
        dtheta, dphi, _, grads = super().operation_vjp(call, s, dy)
        return dtheta, dphi, self.product(call, s.pairs.f.swapaxes(1, 2), dy), grads


class _LogitsVjp(Plain):
    """Other dtheta and dphi."""

    def alter(
        self, call: Call, dtheta: np.ndarray, dphi: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def logits_vjp(
        self, call: Call, s: Stages, dt: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Grads]:
        dtheta, dphi, grads = super().logits_vjp(call, s, dt)
        return *self.alter(call, dtheta, dphi), grads


ZOO.replace(
    "dtheta and dphi change places",
    "NL-9.1",
    "operation",
    "The gradients of theta and phi change places where they have one shape.",
    base=_LogitsVjp,
    alter=lambda self, call, dtheta, dphi: (
        (dphi, dtheta) if dtheta.shape == dphi.shape else (dtheta, dphi)
    ),
)


@ZOO.wrong("gradient without scale", "NL-9.1", "operation")
class _Unscaled(_LogitsVjp):
    """The scale is missing from the gradient."""

    def alter(
        self, call: Call, dtheta: np.ndarray, dphi: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        s = call.work.type(call.spec.scale)
        return dtheta / s, dphi / s


ZOO.replace(
    "scale twice in dphi",
    "NL-9.1",
    "operation",
    "phi's gradient has the scale twice.",
    base=_LogitsVjp,
    alter=lambda self, call, dtheta, dphi: (dtheta, dphi * call.work.type(call.spec.scale)),
)
