"""Logits keep below their limit, and large data reaches it."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.problems.case import Case, arrays

#: The largest logit, and the largest of "large" data.
LIMITS = {"bfloat16": (4, 16), "float16": (6, 60), "float32": (6, 120), "float64": (6, 800)}


def largest_logit(spec: NonLocalSpec, dtype: str, data: str, seed: int) -> float:
    weights, x, _ = arrays(Case(spec, 2, (9,), dtype, data, seed=seed))
    rows = x.astype(np.float64)  # (B, C, N)
    theta, phi = (
        weights[f"{n}.weight"].astype(np.float64) @ rows if spec.embedded else rows
        for n in ("theta", "phi")
    )
    return float(np.abs(spec.scale * theta.swapaxes(1, 2) @ phi).max())


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded_gaussian", "dot_product"])
def test_logits_are_below_their_limit_and_large_ones_reach_it(pairwise, dtype):
    spec = NonLocalSpec(24, 20, ndim=1, pairwise=pairwise, normalization="sum", scale=-0.7)
    plain, large = LIMITS[dtype]
    for seed in range(5):
        rounding = 1 + 16 * float(2.0**-8)  # of theta, phi and x to bfloat16
        assert largest_logit(spec, dtype, "normal", seed) <= plain * rounding
        most = largest_logit(spec, dtype, "large", seed)
        assert most <= large * rounding
        if dtype in ("float32", "float64"):  # which have no limit of a logit's absolute terms
            assert most >= large / rounding
