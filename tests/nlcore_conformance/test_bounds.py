"""The bounds' own second evaluation of the block agrees with the reference within them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import nlcore
from nlcore.spec import PAIRWISE
from nlcore_conformance.arithmetic import arithmetic
from nlcore_conformance.bounds import _block, block_bounds
from nlcore_conformance.strategies import Sizes, arrays, cases, templates


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_values_agree_with_the_reference(pairwise, training):
    allowed = [t for t in templates(pairwise) if not training or dict(t.fields)["batch_norm"]]

    @settings(
        max_examples=40,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(allowed, ("float64",), Sizes(wide=64), training))
    def compare(case):
        weights, x, dz = arrays(case)
        dx, dweights = nlcore.block_vjp(case.spec, weights, x, dz, training)
        expected = {"z": nlcore.block(case.spec, weights, x, training), "dx": dx, **dweights}
        bounds = block_bounds(case.spec, weights, x, dz, training, "float64")
        values = dict(_block(arithmetic("float64"), case.spec, weights, x, dz, training))
        assert expected.keys() == bounds.keys() == values.keys()
        for name, value in values.items():
            assert value.value.shape == expected[name].shape == bounds[name].shape
            error = np.abs(value.value - expected[name])
            assert np.all((error <= bounds[name]) | ~np.isfinite(expected[name])), name

    compare()


def test_bounds_scale_with_the_unit_roundoff():
    spec = nlcore.NonLocalSpec(16, 8, subsample=(1, 2, 2))
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x, dz = rng.normal(size=(2, 2, 16, 2, 4, 4))
    single = block_bounds(spec, weights, x, dz, False, "float32")
    double = block_bounds(spec, weights, x, dz, False, "float64")
    for name, bound in single.items():
        ratio = np.median(bound / double[name])
        assert 2.0**27 < ratio < 2.0**30, name  # 2^29, less what the reference's own rounding adds


def test_the_forward_bound_is_the_same_with_and_without_gradients():
    spec = nlcore.NonLocalSpec(4, ndim=2, pairwise="concatenation")
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(1, 4, 3, 3))
    alone = block_bounds(spec, weights, x, None, False, "float32")
    both = block_bounds(spec, weights, x, x, False, "float32")
    assert alone.keys() == {"z"}
    np.testing.assert_array_equal(alone["z"], both["z"])
