"""Batch normalization: the statistics of a batch, and what is done with them."""

import numpy as np
from keras import ops

from nlcore_keras.batch_norm import batch_norm, moments


def test_the_variance_does_not_cancel(tensors):
    x = (1e4 + np.random.default_rng(5).normal(size=(50, 4, 2))).astype("float32")
    found = [ops.convert_to_numpy(value) for value in moments(*tensors(x, dtype="float32"))]
    mean, variance, unbiased = found
    np.testing.assert_allclose(mean, x.mean((0, 1), float), rtol=1e-6)
    np.testing.assert_allclose(variance, x.var((0, 1), float), rtol=1e-5)
    np.testing.assert_allclose(unbiased, x.var((0, 1), float, ddof=1), rtol=1e-5)


def test_one_value_per_channel_has_no_variance(tensors):
    mean, variance, unbiased = moments(*tensors(np.array([[[2.0, -3.0]]])))
    np.testing.assert_array_equal(ops.convert_to_numpy(mean), [2, -3])
    for value in (variance, unbiased):
        np.testing.assert_array_equal(ops.convert_to_numpy(value), [0, 0])


def test_the_formula(tensors):
    rng = np.random.default_rng(0)
    x, (weight, bias, mean, variance) = rng.normal(size=(2, 5, 3)), rng.uniform(1, 2, (4, 3))
    found = batch_norm(*tensors(x, weight, bias, mean, variance), 0.1)
    want = (x - mean) / np.sqrt(variance + 0.1) * weight + bias
    np.testing.assert_allclose(ops.convert_to_numpy(found), want, rtol=1e-13)
