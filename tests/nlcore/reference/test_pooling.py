"""Max-pooling: windows, ties, tails and NaN, against a search in plain Python."""

import math

import numpy as np
import pytest

from nlcore.reference.pooling import max_pool, max_pool_vjp

CASES = [
    ((6,), (2,)),
    ((7,), (3,)),
    ((5,), (1,)),
    ((4, 6), (2, 2)),
    ((5, 7), (2, 3)),
    ((3, 3), (3, 3)),
    ((4, 5, 6), (2, 2, 3)),
    ((2, 5, 4), (1, 2, 2)),
    ((5, 2, 3), (4, 1, 1)),
]


def searched(x, window):
    """Maxima, and the index in x that each was found at, first in row-major order."""
    shape = (len(x), *(n // w for n, w in zip(x.shape[1:-1], window, strict=True)), x.shape[-1])
    values, source = np.empty(shape), np.empty(shape, object)
    for index in np.ndindex(shape):
        corner = [n * w for n, w in zip(index[1:-1], window, strict=True)]
        found = [
            (index[0], *(np.add(corner, offset)).tolist(), index[-1])
            for offset in np.ndindex(window)
        ]
        source[index] = max(found, key=lambda at: x[at])  # max keeps the first of equals
        values[index] = x[source[index]]
    return values, source


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("positions", "window"), CASES)
def test_values_and_gradients(positions, window, ties, rng):
    x = rng.normal(size=(2, *positions, 3))
    if ties:
        x = rng.integers(0, 3, x.shape).astype(float)
    values, index = max_pool(x, window)
    expected, source = searched(x, window)
    np.testing.assert_array_equal(values, expected)
    dy = rng.normal(size=values.shape)
    expected_dx = np.zeros(x.shape)
    for at in np.ndindex(dy.shape):
        expected_dx[source[at]] += dy[at]
    dx = max_pool_vjp(x.shape, window, index, dy)
    np.testing.assert_array_equal(dx, expected_dx)
    assert np.count_nonzero(dx) == values.size  # the windows do not overlap


def test_all_equal_goes_to_the_first():
    x = np.ones((1, 2, 2, 2, 1))
    values, index = max_pool(x, (2, 2, 2))
    assert values.item() == 1.0
    dx = max_pool_vjp(x.shape, (2, 2, 2), index, np.full(values.shape, 3.0))
    assert dx.ravel().tolist() == [3.0] + [0.0] * 7


def test_a_tail_is_dropped():
    x = np.arange(7.0).reshape(1, 7, 1)
    values, index = max_pool(x, (3,))
    assert values.ravel().tolist() == [2.0, 5.0]
    assert max_pool_vjp(x.shape, (3,), index, np.ones((1, 2, 1)))[0, 6, 0] == 0.0


@pytest.mark.parametrize("place", range(4))
def test_nan_is_the_maximum(place):
    x = np.array([np.inf, 1.0, 2.0, np.inf])
    x[place] = np.nan
    values, index = max_pool(x.reshape(1, 4, 1), (4,))
    assert np.isnan(values.item())
    assert index.item() == place


def test_infinities():
    x = np.array([-np.inf, -np.inf, -np.inf, np.inf]).reshape(1, 4, 1)
    values, index = max_pool(x, (2,))
    assert values.ravel().tolist() == [-np.inf, np.inf]
    assert index.ravel().tolist() == [0, 1]


@pytest.mark.parametrize(("positions", "window"), CASES)
def test_windows_of_one_leave_all_as_it_is(positions, window, rng):
    x = rng.normal(size=(2, *positions, 3))
    ones = (1,) * len(window)
    values, index = max_pool(x, ones)
    np.testing.assert_array_equal(values, x)
    np.testing.assert_array_equal(max_pool_vjp(x.shape, ones, index, x), x)
    assert not index.any()


def test_shapes(rng):
    values, index = max_pool(rng.normal(size=(2, 5, 7, 3)), (2, 3))
    assert values.shape == (2, 2, 2, 3)
    assert index.shape == (2, 2, 2, 1, 3)
    assert index.max() < math.prod((2, 3))
