"""The dtype of sums, rounded products, and quotients where the divisor is 0."""

import numpy as np
import pytest
from keras import ops

from nlcore_keras.operation.precision import divided, product, sum_dtype


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64",) * 2],
)
def test_the_dtype_of_sums(dtype, expected):
    assert sum_dtype(dtype) == expected


def test_bfloat16_products_are_rounded_to_nearest():
    rng = np.random.default_rng(0)
    a, b = (ops.cast(rng.normal(size=(32, 32)), "bfloat16") for _ in range(2))
    exact = np.float64(ops.cast(a, "float32")) @ np.float64(ops.cast(b, "float32"))
    error = np.abs(np.float64(ops.cast(product(a, b), "float32")) - exact)
    # half the distance of two bfloat16 numbers, and the rounding of the sums in float32
    assert np.all(error <= 2.0**-8 * np.abs(exact) + 1e-4)


def test_divided_by_zero_is_zero_without_a_gradient(tensors, gradient):
    y, total = np.array([[[2.0], [3.0]]]), np.array([[[0.0], [6.0]]])
    found = ops.convert_to_numpy(divided(*tensors(y, total)))
    np.testing.assert_array_equal(found, [[[0.0], [0.5]]])
    dy, dtotal = gradient(divided, y, total)
    np.testing.assert_allclose(dy, [[[0.0], [1 / 6]]], rtol=1e-15)
    np.testing.assert_allclose(dtotal, [[[0.0], [-1 / 12]]], rtol=1e-15)
