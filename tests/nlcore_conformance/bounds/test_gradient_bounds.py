"""Bounds of gradients: ties of subnormal numbers, and sums over a batch."""

from __future__ import annotations

import numpy as np

import nlcore
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_conformance.problems.case import Case, arrays


def test_a_subnormal_argument_may_be_flushed():
    spec = nlcore.NonLocalSpec(1, 1, ndim=1, subsample=(2,), subsample_at="input", batch_norm=False)
    weights = {f"{n}.weight": np.ones((1, 1)) for n in ("theta", "phi", "g", "out")}
    x = np.array([[[1e-40, 2e-40]]])  # a tie, if they are
    dz = np.ones_like(x)
    for dtype, doubt in (("float32", True), ("float64", False)):
        bound = block_bounds(spec, weights, x, dz, dtype=dtype)["dx"]
        assert np.all((bound > 0.1) == doubt), (dtype, bound)


def test_gradients_of_biases_may_be_stored_for_each_item():
    spec = nlcore.NonLocalSpec(64, 5, ndim=1, bias=True)
    weights, x, dz = arrays(Case(spec, 2, (6,), "float16", seed=2))
    dz[1] = dz[1] / 256 - dz[0]  # the items nearly cancel
    granted = block_bounds(spec, weights, x, dz, False, dtype="float16")
    each = dz.astype(np.float64).sum(2).astype(np.float16).astype(np.float64)  # (B, C)
    error = np.abs(each.sum(0) - dz.astype(np.float64).sum((0, 2)))  # of bn.bias
    ratio = error / granted["bn.bias"]
    assert 0.1 < ratio.max() <= 1
