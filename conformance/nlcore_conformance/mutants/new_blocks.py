"""NL-10.5 and NL-10.6 got wrong: the weights of a new block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nlcore import NonLocalSpec
from nlcore.weights import starts_constant
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.mutants.mutant import Zoo

ZOO = Zoo()


class _Changed(Plain):
    """Some weights of a new block have other values."""

    changes: Callable[[NonLocalSpec, str], bool]  # whether those of this name have
    values: Callable[[np.ndarray, np.random.Generator], np.ndarray]  # of the right ones

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        new = super().initial(spec)
        return {n: self.values(w, rng) if self.changes(spec, n) else w for n, w in new.items()}


for _name, _mistake, _weight, _values in (
    (
        "scale drawn",
        "BN's weight is drawn from N(0, 0.01^2) instead of being 0.",
        "bn.weight",
        lambda self, right, rng: rng.normal(0, 0.01, right.shape),
    ),
    (
        "identity lost",
        "BN's weight starts at 1.",
        "bn.weight",
        lambda self, right, rng: np.ones_like(right),
    ),
    (
        "running variance 0",
        "The running variance starts at 0.",
        "bn.running_var",
        lambda self, right, rng: np.zeros_like(right),
    ),
):
    ZOO.replace(
        _name,
        "NL-10.5",
        "",
        _mistake,
        base=_Changed,
        changes=lambda self, spec, name, weight=_weight: name == weight,
        values=_values,
    )
ZOO.replace(
    "W_z drawn",
    "NL-10.5",
    "",
    "Without batch normalization W_z is drawn as the other weights, instead of being 0.",
    base=_Changed,
    changes=lambda self, spec, name: name == "out.weight" and not spec.batch_norm,
    values=lambda self, right, rng: rng.normal(0, right.shape[-1] ** -0.5, right.shape),
)
ZOO.replace(
    "biases drawn",
    "NL-10.6",
    "",
    "The biases of theta, phi and g are drawn uniformly, as PyTorch's convolutions do.",
    base=_Changed,
    changes=lambda self, spec, name: name in ("theta.bias", "phi.bias", "g.bias"),
    values=lambda self, right, rng: rng.uniform(-0.1, 0.1, right.shape),
)


class _Drawn(_Changed):
    """The random weights are drawn from another distribution."""

    def changes(self, spec: NonLocalSpec, name: str) -> bool:
        return starts_constant(spec, name, identity=True) is None


for _name, _mistake, _values in (
    (
        "he with fan_out",
        "The variance is 2 over the number of outputs, not of inputs.",
        lambda self, right, rng: (
            right * np.sqrt(right.shape[-1] / (right.shape[0] if right.ndim > 1 else 1))
        ),
    ),
    (
        "he without root",
        "The standard deviation is 2 / fan_in, not its root.",
        lambda self, right, rng: right * np.sqrt(2 / right.shape[-1]),
    ),
    (
        "draws above 0",
        "The draws are the absolute values of right ones.",
        lambda self, right, rng: np.abs(right),
    ),
):
    ZOO.replace(_name, "NL-10.6", "", _mistake, base=_Drawn, values=_values)
