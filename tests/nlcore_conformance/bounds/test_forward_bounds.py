"""Bounds of z: many pairs, overflow, and roundings that are not independent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nlcore
from nlcore_conformance.backend.variants import InSequence, honest
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_conformance.checks.check import forward
from nlcore_conformance.problems.case import Case


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


def test_nearly_equal_terms_in_sequence_are_within_their_bounds():
    spec = nlcore.NonLocalSpec(2, 1, pairwise="dot_product", extent="space", bias=True)
    for seed in (39, 47, 75, 192):  # with factors for independent roundings these were rejected
        case = Case(spec, 3, (8, 8, 8), "float32", "tiny", seed=seed, training=True)
        (judgement,) = forward(InSequence(), case)
        assert 0.05 < judgement.ratio <= 1


@pytest.mark.parametrize("bias", [True, "embeddings"])
def test_b_g_may_be_added_after_the_mean(bias):
    """W_g x nearly cancels b_g, so that the terms of W_z b_g are far larger than those of W_z y."""
    spec = nlcore.NonLocalSpec(2, 2048, ndim=1, bias=bias, batch_norm=False)
    rng = np.random.default_rng(0)
    weights = nlcore.init_weights(spec, rng, identity=False)
    weights["g.bias"] = 1000 + rng.random(2048)
    weights["out.weight"] = 1 + rng.random((2, 2048))
    weights["g.weight"] /= 100
    weights["g.weight"][:, 0] = -weights["g.bias"]
    x = 0.1 * rng.normal(size=(1, 2, 40))
    x[:, 0] = 1
    weights = {name: value.astype("float32") for name, value in weights.items()}
    x = x.astype("float32")
    (variant,) = (v.backend for v in honest() if v.name == "b_g after the mean")
    error = np.abs(variant.block(spec, weights, x) - nlcore.block(spec, weights, x))
    ratio = (error / block_bounds(spec, weights, x)["z"]).max()
    assert 0.02 < ratio <= 1  # without the extra terms it is 2.6
