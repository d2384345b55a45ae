"""The bounds' own second evaluation of the block agrees with the reference within them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import nlcore
from nlcore.spec import PAIRWISE
from nlcore_conformance.bounds.arithmetic import arithmetic
from nlcore_conformance.bounds.block_bounds import _block, block_bounds
from nlcore_conformance.checks.catalogue import forward
from nlcore_conformance.mutants.accepted import InSequence
from nlcore_conformance.problems.case import Case, arrays
from nlcore_conformance.problems.strategies import Sizes, cases
from nlcore_conformance.problems.templates import templates


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
        granted = block_bounds(case.spec, weights, x, dz, training, "float64")
        values = dict(_block(arithmetic("float64"), case.spec, weights, x, dz, training))
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


def test_with_many_pairs_evenly_spaced_positions_are_bounded():
    spec = nlcore.NonLocalSpec(3, 2, ndim=1)
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    x = rng.normal(size=(1, 3, 50))
    whole = block_bounds(spec, weights, x)["z"]
    some = block_bounds(spec, weights, x, pairs=10 * 50)["z"]
    kept = np.isfinite(some).all(1)[0]  # (N,)
    assert kept.sum() == 10 and kept[0] and kept[-1]
    np.testing.assert_allclose(some[..., kept], whole[..., kept], rtol=1e-12)  # BLAS's order


def test_an_f_beyond_float16_must_not_spoil_y():
    spec = nlcore.NonLocalSpec(2, 2, ndim=1, pairwise="gaussian", normalization="count")
    weights = {"g.weight": np.eye(2), "out.weight": np.eye(2)}
    spec = replace(spec, batch_norm=False)
    x = np.zeros((1, 2, 64))
    x[0, :, 0] = 2.5  # f = exp(12.5) = 2.7e5 at one pair, y about 1e4
    assert np.isfinite(block_bounds(spec, weights, x, dtype="float16")["z"]).all()
    x[0, :, 0] = 3.5  # y about 2e9
    assert np.isinf(block_bounds(spec, weights, x, dtype="float16")["z"][0, :, 0]).all()


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
    granted = block_bounds(spec, weights, x, dz, False, "float16")
    each = dz.astype(np.float64).sum(2).astype(np.float16).astype(np.float64)  # (B, C)
    error = np.abs(each.sum(0) - dz.astype(np.float64).sum((0, 2)))  # of bn.bias
    ratio = error / granted["bn.bias"]
    assert 0.1 < ratio.max() <= 1


def test_nearly_equal_terms_in_sequence_are_within_their_bounds():
    spec = nlcore.NonLocalSpec(2, 1, pairwise="dot_product", extent="space", bias=True)
    for seed in (39, 47, 75, 192):  # with factors for independent roundings these were rejected
        case = Case(spec, 3, (8, 8, 8), "float32", "tiny", seed=seed, training=True)
        (judgement,) = forward(InSequence(), case)
        assert 0.05 < judgement.ratio <= 1
