"""The concatenation: ties, kinks, cancellation, infinities, and the weights of a few queries."""

import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS
from nlcore_keras import non_local_operation
from nlcore_keras.operation.concatenation import (
    concatenation,
    concatenation_weights,
    logit_share,
    pair_sums,
)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_ties_and_kinks_on_each_engine(normalization, tensors, gradient):
    # small integers: sums are exact, many b_j are equal, and a_i + b_j is often exactly 0
    rng = np.random.default_rng(2)
    a, b, g = (rng.integers(-3, 4, size=s).astype(float) for s in ((2, 9), (2, 12), (2, 12, 3)))
    a[0, 0] = -9.0  # no key is active: C(x) = 0
    spec = NonLocalSpec(1, pairwise="concatenation", normalization=normalization)
    arrays = [a[..., None], b[..., None], g, np.ones(2), np.array(0.0)]
    y = ops.convert_to_numpy(non_local_operation(spec, *tensors(*arrays)))
    np.testing.assert_allclose(y, nlcore.operation(spec, *arrays), rtol=1e-14)
    np.testing.assert_array_equal(y[0, 0], 0)

    got = gradient(lambda *a: non_local_operation(spec, *a), *arrays)
    want = nlcore.operation_vjp(spec, *arrays[:3], np.ones(y.shape), *arrays[3:])
    for array, expected in zip(got, want.values(), strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-12)


def test_a_mean_of_nearly_equal_logits(tensors):
    # weights a_i + b_j = 1e-6 left over from terms of size 1: in prefix sums of b_j g_j they drown
    rng = np.random.default_rng(3)
    b = np.float32(1) + np.float32(1e-6) * rng.random((1, 1000), np.float32)
    a = np.full((1, 1), -1, np.float32)
    g = 1 + rng.random((1, 1000, 1), np.float32)
    sums = ops.convert_to_numpy(pair_sums(*tensors(a, b, g, dtype="float32")))
    weights = np.maximum(a.astype(float)[..., None] + b[:, None], 0)
    np.testing.assert_allclose(sums, weights @ g, rtol=1e-5)


@pytest.mark.parametrize(
    ("a", "b"), [([np.inf, 2], [3, 1]), ([1, 2], [np.inf, 1]), ([1, 2], [np.inf, np.inf])]
)
def test_infinite_logits(a, b, tensors):
    a, b = (np.array([row], float)[..., None] for row in (a, b))  # (1, 2, 1)
    spec = NonLocalSpec(2, 1, pairwise="concatenation")
    arguments = (a, b, np.ones((1, 2, 1)), np.ones(2))
    y = ops.convert_to_numpy(non_local_operation(spec, *tensors(*arguments)))
    np.testing.assert_array_equal(y, nlcore.operation(spec, *arguments))


@pytest.mark.parametrize("by_sum", [True, False])
def test_weights_give_y(by_sum, tensors):
    rng = np.random.default_rng(4)
    a, b, g = tensors(*(rng.normal(size=s) for s in ((2, 7), (2, 5), (2, 5, 3))))
    a = ops.where(ops.equal(ops.arange(7), 3), -9.0 + 0 * a, a)  # C(x) = 0
    w = ops.convert_to_numpy(concatenation_weights(a[:, 3:5], b, by_sum))
    y = ops.convert_to_numpy(concatenation(a, b, g, by_sum))
    np.testing.assert_allclose(w @ ops.convert_to_numpy(g), y[:, 3:5], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(w[:, 0], 0)
    assert np.abs(w[:, 1]).max() > 0


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_a_logits_share_is_wide(dtype, tensors):
    # 300 products of 300 are beyond float16
    rows, weight, bias = tensors(np.full((1, 2, 300), 300.0), np.full(300, 1.0), 0.5, dtype=dtype)
    share = logit_share(rows, weight, bias)
    np.testing.assert_array_equal(ops.convert_to_numpy(share), [[90000.5, 90000.5]])
