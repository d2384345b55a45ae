"""The dot product: a sum that is 0, half precision's range, and the weights of a few queries."""

import numpy as np
import pytest
from keras import ops

from nlcore_keras.operation.dot_product import dot_product, dot_product_weights


def test_a_sum_that_is_zero_on_each_engine(tensors, gradient):
    theta, phi = np.array([[[1.0], [0.0]]]), np.array([[[1.0], [-1.0]]])
    g = np.array([[[1.0], [2.0]]])
    y = dot_product(*tensors(theta, phi, g), 1.0, True)
    np.testing.assert_array_equal(ops.convert_to_numpy(y), np.zeros((1, 2, 1)))
    for grad in gradient(lambda *a: dot_product(*a, 1.0, True), theta, phi, g):
        np.testing.assert_array_equal(grad, np.zeros_like(grad))
    w = dot_product_weights(*tensors(theta, phi), 1.0, True)
    np.testing.assert_array_equal(ops.convert_to_numpy(w), np.zeros((1, 2, 2)))


def test_products_of_half_precision_stay_in_range(tensors):
    # phi^T g is 1e6, beyond float16; y is 1e3
    theta, phi, g = np.full((1, 1, 1), 1e-3), np.full((1, 1, 1), 1e3), np.full((1, 1, 1), 1e3)
    y = dot_product(*tensors(theta, phi, g, dtype="float16"), 1.0, False)
    np.testing.assert_allclose(ops.convert_to_numpy(y), [[[1e3]]], rtol=2e-3)


@pytest.mark.parametrize("by_sum", [True, False])
def test_weights_give_y(by_sum, tensors):
    rng = np.random.default_rng(0)
    theta, phi, g = tensors(*(rng.uniform(0.1, 1, s) for s in ((2, 7, 4), (2, 5, 4), (2, 5, 3))))
    w = ops.convert_to_numpy(dot_product_weights(theta[:, 3:5], phi, 0.5, by_sum))
    y = ops.convert_to_numpy(dot_product(theta, phi, g, 0.5, by_sum))
    np.testing.assert_allclose(w @ ops.convert_to_numpy(g), y[:, 3:5], rtol=1e-12)
    f = 0.5 * ops.convert_to_numpy(theta)[:, 3:5] @ ops.convert_to_numpy(phi).transpose(0, 2, 1)
    total = f.sum(2, keepdims=True) if by_sum else 5
    np.testing.assert_allclose(w, f / total, rtol=1e-12)
