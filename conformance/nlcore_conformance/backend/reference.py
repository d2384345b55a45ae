"""The reference as a backend, so that the suite judges it too."""

from __future__ import annotations

import numpy as np

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.backend.protocol import Weights


class Reference:
    """nlcore itself, its float64 results rounded to x's dtype."""

    name = "reference"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    init = "he"

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        return nlcore.init_weights(spec, np.random.default_rng(0))

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        return _rounded(nlcore.block(spec, weights, x, training), x.dtype)

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        dx, dweights = nlcore.block_vjp(spec, weights, x, dz, training)
        return _rounded(dx, x.dtype), {n: _rounded(d, x.dtype) for n, d in dweights.items()}


@np.errstate(over="ignore")
def _rounded(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in this dtype; numbers beyond its range become infinite."""
    return array.astype(dtype)


backend = Reference()
