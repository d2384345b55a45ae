"""Sums of products against exact fractions: rounded once, whatever the number of terms."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from nlcore.reference.compensated import TILE, column_sums, dot, fma, matmul, rounded, two_sum

U = Fraction(1, 2**53)
SIZES = st.floats(-1e150, 1e150).filter(lambda v: v == 0.0 or abs(v) > 1e-130)


@njit
def fma_of(a, b, c):
    return fma(a, b, c)


@njit
def two_sum_of(a, b):
    return two_sum(a, b)


@njit
def rounded_of(high, low):
    return rounded(high, low)


def exact(row, column):
    """(sum of products, sum of their absolute values) as fractions."""
    terms = [Fraction(a) * Fraction(b) for a, b in zip(row.tolist(), column.tolist(), strict=True)]
    return sum(terms), sum(map(abs, terms))


def within(actual, row, column):
    """|error| <= u |result| + n^2 u^2 sum |terms|, as Dot2's analysis has it."""
    value, size = exact(row, column)
    return abs(Fraction(float(actual)) - value) <= U * abs(value) + (len(row) * U) ** 2 * size


@given(SIZES, SIZES, SIZES)
@settings(deadline=None)
def test_fma_rounds_once(a, b, c):
    assert fma_of(a, b, c) == float(Fraction(a) * Fraction(b) + Fraction(c))


@given(SIZES, SIZES)
@settings(deadline=None)
def test_two_sum_is_exact(a, b):
    s, e = two_sum_of(a, b)
    assert s == a + b
    assert Fraction(s) + Fraction(e) == Fraction(a) + Fraction(b)


@pytest.mark.parametrize("high", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("low", [0.0, np.nan, -np.inf])
def test_rounded_is_high_where_it_is_not_finite(high, low):
    np.testing.assert_array_equal(rounded_of(high, low), high)


def test_rounded_adds_the_halves():
    assert rounded_of(1.0, 2.0**-52) == 1.0 + 2.0**-52


@pytest.mark.parametrize("terms", [1, 2, 3, 4, 5, 7, 8, 9, 2048])  # four are taken at a time
@pytest.mark.parametrize("columns", [1, 3])
def test_matmul_rounds_once(terms, columns, rng):
    a, b = rng.normal(size=(2, terms)), rng.normal(size=(terms, columns))
    out = matmul(a, b)
    assert out.shape == (2, columns)
    for i, q in np.ndindex(out.shape):
        assert within(out[i, q], a[i], b[:, q])


@pytest.mark.parametrize("terms", [4, 11, 2048])
@pytest.mark.parametrize("spread", [8, 45])
def test_terms_that_cancel(terms, spread, rng):
    """Terms up to 2^spread times larger than their sum."""
    row = rng.normal(size=terms) * 2.0 ** rng.integers(0, spread, terms)
    column = rng.normal(size=terms)
    column[-1], row[-1] = 1.0, 0.0
    row[-1] = -np.sum(row * column) * (1 + 2.0**-spread)
    high, low = dot(row, column)
    assert within(high + low, row, column)
    assert within(matmul(row[None], column[:, None])[0, 0], row, column)


@pytest.mark.parametrize("columns", [TILE - 1, TILE, TILE + 1, 2 * TILE + 5])
def test_tiles(columns, rng):
    """Every column is computed, and alike, wherever the tiles end."""
    a, b = rng.normal(size=(3, 10)), rng.normal(size=(10, columns))
    out = matmul(a, b)
    apart = [matmul(a, b[:, q : q + 1]) for q in range(columns)]
    np.testing.assert_array_equal(out, np.concatenate(apart, axis=1))
    assert within(out[2, -1], a[2], b[:, -1])


def test_leading_axes_and_layouts(rng):
    a, b = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(5, 6))
    out = matmul(a, b)
    assert out.shape == (2, 3, 4, 6)
    np.testing.assert_array_equal(out[1, 2], matmul(a[1, 2], b))
    np.testing.assert_array_equal(out, matmul(np.asfortranarray(a), np.asfortranarray(b)))


def test_column_sums_round_once(rng):
    a = rng.normal(size=(5, 41, 3)) * 2.0 ** rng.integers(0, 30, (5, 41, 3))
    sums = column_sums(a)
    assert sums.shape == (3,)
    for q in range(3):
        assert sums[q] == float(sum(map(Fraction, a[..., q].ravel().tolist())))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_not_finite(value):
    a = np.array([[1.0, value, 2.0, 3.0, 4.0, 5.0]])
    np.testing.assert_array_equal(matmul(a, np.ones((6, 2))), [[value, value]])
    np.testing.assert_array_equal(column_sums(a.T), [value])
    np.testing.assert_array_equal(dot(a[0], np.ones(6)), (value, 0.0))
    opposite = np.array([[np.inf, 1.0, -np.inf]])
    np.testing.assert_array_equal(matmul(opposite, np.ones((3, 1))), [[np.nan]])


def test_overflow_is_infinite():
    a = np.array([[1e200, 1.0]])
    np.testing.assert_array_equal(matmul(a, np.array([[1e200], [1.0]])), [[np.inf]])
    np.testing.assert_array_equal(matmul(a, np.array([[-1e200], [1.0]])), [[-np.inf]])


def test_same_bits_with_1_and_3_threads(rng, threads):
    a, b = rng.normal(size=(37, 50)), rng.normal(size=(50, 300))
    threads(1)
    one = matmul(a, b).tobytes()
    threads(3)
    assert matmul(a, b).tobytes() == one
