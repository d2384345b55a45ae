"""Kinds of numbers, in every dtype."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nlcore import NonLocalSpec, block
from nlcore.spec import FLOATS, PAIRWISE
from nlcore_conformance.problems.case import Case, problem
from nlcore_conformance.problems.numbers import DATA


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("data", DATA)
def test_numbers_are_finite_in_every_dtype_and_new_at_every_call(data, dtype):
    case = Case(NonLocalSpec(6, 5, ndim=1, pairwise="dot_product"), 2, (24,), dtype, data)
    first, again = problem(case), problem(case)
    for array in (first.x, first.dz, *first.weights.values()):
        assert array.dtype.name == dtype
        assert np.isfinite(array.astype(np.float64)).all()
    first.x[...] = 0
    assert again.x.astype(np.float64).any()


@pytest.mark.parametrize("fields", [{}, {"bias": True}, {"bias": True, "subsample": (2,)}], ids=str)
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_unbalanced_weights_compute_the_same(pairwise, fields):
    pair_bias = pairwise == "concatenation" and "bias" in fields
    spec = NonLocalSpec(6, 5, ndim=1, pairwise=pairwise, pair_bias=pair_bias, **fields)
    spec = replace(spec, normalization="count")
    usual, other = (
        problem(Case(spec, 2, (24,), "float64", data, seed=3)) for data in ("normal", "unbalanced")
    )
    np.testing.assert_array_equal(usual.x, other.x)
    z = [block(spec, p.weights, p.x) for p in (usual, other)]  # powers of two round nothing
    np.testing.assert_array_equal(*z)
    largest = [np.abs(p.weights["g.weight"]).max() for p in (usual, other)]
    assert largest[1] == 1024 * largest[0]
