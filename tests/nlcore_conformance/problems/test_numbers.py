"""Kinds of numbers, in every dtype."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
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
