"""Cases: memory layouts, and JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore_conformance.problems.case import LAYOUTS, Case, arrays


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_hold_the_same_values(layout):
    case = Case(NonLocalSpec(3, ndim=2), 2, (3, 4), "float32", layout=layout, seed=1)
    x = arrays(case)[1]
    plain = arrays(replace(case, layout="contiguous"))[1]
    np.testing.assert_array_equal(x, plain)
    same = x.strides == plain.strides and x.dtype == plain.dtype
    assert same == (layout == "contiguous")


def test_cases_survive_json():
    case = Case(
        NonLocalSpec(4, subsample=(1, 2, 2), extent="space"), 2, (1, 3, 4), "bfloat16", seed=7
    )
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case
