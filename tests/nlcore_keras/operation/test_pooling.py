"""Max-pooling: ties and NaN, as the reference has them."""

import numpy as np
import pytest
from keras import ops

from nlcore.reference.pooling import max_pool as reference_max_pool
from nlcore.reference.pooling import max_pool_vjp
from nlcore_keras.operation.pooling import max_pool


@pytest.mark.parametrize("window", [(1, 2, 2), (2, 1, 3), (3, 2, 1), (1, 1, 1)])
def test_ties_go_to_the_first_on_each_engine(window, gradient):
    x = np.random.default_rng(4).integers(0, 3, (2, 5, 5, 7, 3)).astype(float)
    want, index = reference_max_pool(x, window)
    np.testing.assert_array_equal(ops.convert_to_numpy(max_pool(x, window)), want)
    (got,) = gradient(lambda x: max_pool(x, window), x)
    np.testing.assert_array_equal(got, max_pool_vjp(x.shape, window, index, np.ones(want.shape)))


def test_nan_is_the_maximum_on_each_engine():
    x = np.zeros((1, 6, 1))
    x[0, [1, 2], 0] = np.nan
    x[0, 4, 0] = -np.inf
    pooled = ops.convert_to_numpy(max_pool(x, (2,)))
    np.testing.assert_array_equal(pooled, [[[np.nan], [np.nan], [0]]])
