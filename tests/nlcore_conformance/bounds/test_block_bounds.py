"""The bounds' own second evaluation of the block agrees with the reference within them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import nlcore
from nlcore.spec import PAIRWISE
from nlcore_conformance.bounds.arithmetic import arithmetic
from nlcore_conformance.bounds.block_bounds import block_bounds, bounded_outputs
from nlcore_conformance.bounds.forward_bounds import Setting
from nlcore_conformance.problems.case import arrays
from nlcore_conformance.problems.question import Question
from nlcore_conformance.problems.strategies import Sizes, cases
from nlcore_conformance.problems.templates import templates


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_values_agree_with_the_reference(pairwise, training):
    every = templates(pairwise)
    allowed = {t: t.choices for t in every if not training or dict(t.fields)["batch_norm"]}

    @settings(
        max_examples=40,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(Question(name="any", training=training), allowed, ("float64",), Sizes(wide=64)))
    def compare(case):
        weights, x, dz = arrays(case)
        dx, dweights = nlcore.block_vjp(case.spec, weights, x, dz, training)
        expected = {"z": nlcore.block(case.spec, weights, x, training), "dx": dx, **dweights}
        granted = block_bounds(case.spec, weights, x, dz, training, dtype="float64")
        exact = arithmetic("float64")
        given = {name: exact.given(np.asarray(w, np.float64)) for name, w in weights.items()}
        values = bounded_outputs(Setting(exact, case.spec, given, training, None), x, dz)
        assert expected.keys() == granted.keys() == values.keys()
        for name, value in values.items():
            assert value.value.shape == expected[name].shape == granted[name].shape
            error = np.abs(value.value - expected[name])
            assert np.all((error <= granted[name]) | ~np.isfinite(expected[name])), name

    compare()


def test_bounds_scale_with_the_unit_roundoff():
    spec = nlcore.NonLocalSpec(16, 8, subsample=(1, 2, 2))
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x, dz = rng.normal(size=(2, 2, 16, 2, 4, 4))
    single = block_bounds(spec, weights, x, dz, False, dtype="float32")
    double = block_bounds(spec, weights, x, dz, False, dtype="float64")
    for name, bound in single.items():
        ratio = np.median(bound / double[name])
        assert 2.0**27 < ratio < 2.0**30, name  # 2^29, less what the reference's own rounding adds


def test_the_forward_bound_is_the_same_with_and_without_gradients():
    spec = nlcore.NonLocalSpec(4, ndim=2, pairwise="concatenation")
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(1, 4, 3, 3))
    alone = block_bounds(spec, weights, x, None, False, dtype="float32")
    both = block_bounds(spec, weights, x, x, False, dtype="float32")
    assert alone.keys() == {"z"}
    np.testing.assert_array_equal(alone["z"], both["z"])


def test_what_is_declared_to_accumulate_in_half_precision_is_granted_it():
    spec = nlcore.NonLocalSpec(4, ndim=1, pairwise="dot_product")
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(1, 4, 200))
    single = block_bounds(spec, weights, x, dtype="float16")["z"]
    half = block_bounds(spec, weights, x, dtype="float16", sums="float16")["z"]
    assert np.all(half > 3 * single)
    again = block_bounds(spec, weights, x, dtype="float16", sums="float32")["z"]
    np.testing.assert_array_equal(again, single)
