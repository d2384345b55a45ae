"""The rules of running error analysis hold for real float32 arithmetic, and are not vacuous."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore_conformance.bounds.arithmetic import Bounded, arithmetic

A = arithmetic("float32")
EXACT = Bounded.exact


def _float32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32).astype(np.float64)


def _ratio(bounded: Bounded, computed: np.ndarray) -> float:
    error = np.abs(computed.astype(np.float64) - bounded.value)
    return float(np.max(error / bounded.error))


@pytest.mark.parametrize("terms", [1, 7, 64, 4096])
def test_matmul_in_float32_is_within_its_bound(terms):
    rng = np.random.default_rng(0)
    x, y = _float32(rng, 16, terms), _float32(rng, terms, 16)
    sequential = np.zeros((16, 16), np.float32)  # the order with the largest errors
    for k in range(terms):
        sequential += x[:, k, None].astype(np.float32) * y[k].astype(np.float32)
    ratio = _ratio(A.matmul(EXACT(x), EXACT(y)), sequential)
    assert 1e-3 < ratio <= 1


def test_matmul_with_half_precision_sums_is_not():
    rng = np.random.default_rng(0)
    x, y = np.abs(_float32(rng, 4, 4096)), np.abs(_float32(rng, 4096, 4))
    x, y = x.astype(np.float16).astype(float), y.astype(np.float16).astype(float)
    total = np.zeros((4, 4), np.float16)
    for k in range(4096):
        total += (x[:, k, None] * y[k]).astype(np.float16)
    assert _ratio(arithmetic("float16").matmul(EXACT(x), EXACT(y)), total) > 1


@pytest.mark.parametrize("depth", [8, 64, 512])
def test_operands_rounded_like_tf32_are_seen_in_float32(depth):
    rng = np.random.default_rng(0)
    x, y = _float32(rng, 64, depth), _float32(rng, depth, 64)

    def tf32(a: np.ndarray) -> np.ndarray:  # 10 stored significand bits
        mantissa, exponent = np.frexp(a)
        return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent)

    bounded = A.matmul(EXACT(x), EXACT(y))
    assert _ratio(bounded, tf32(x) @ tf32(y)) > 1
    assert _ratio(bounded, x.astype(np.float32) @ y.astype(np.float32)) <= 1


def test_the_probabilistic_factor_takes_over_where_it_is_smaller():
    u = A.unit
    assert A.gamma(10) == pytest.approx(12 * u, rel=1e-3)
    assert A.gamma(10_000) == pytest.approx(6 * np.sqrt(10_002) * u, rel=1e-3)


def test_errors_of_operands_are_carried():
    x = Bounded(np.array([2.0]), np.array([0.1]), np.array([2.0]))
    y = Bounded(np.array([3.0]), np.array([0.2]), np.array([3.0]))
    assert A.add(x, y).error == pytest.approx(0.3, abs=1e-5)
    assert A.multiply(x, y).error == pytest.approx(2 * 0.2 + 3 * 0.1 + 0.02, abs=1e-5)
    assert A.divide(x, y).error == pytest.approx((0.1 + 2 / 3 * 0.2) / 2.8, abs=1e-5)
    assert A.matmul(x.reshape(1, 1), y.reshape(1, 1)).error == pytest.approx(0.72, abs=1e-5)
    assert A.exp(x, 0.0).error == pytest.approx(np.exp(2) * np.expm1(0.1), rel=1e-4)
    assert A.rsqrt(x).error == pytest.approx(1.9**-0.5 - 2**-0.5, rel=1e-4)


def test_what_rounding_decides_is_in_doubt():
    x = Bounded(np.array([1.0, 1e-9, -1e-9, -1.0, 0.0]), np.full(5, 1e-8), np.ones(5))
    np.testing.assert_array_equal(A.step(x).value, [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(A.step(x).error, [0, 1, 1, 0, 1])
    np.testing.assert_allclose(A.relu(x).error, [1e-8, 1e-8, 0.9e-8, 0, 1e-8])


def test_division_by_what_may_be_zero_is_unbounded_and_by_a_certain_zero_is_zero():
    one = EXACT(np.array([1.0]))
    doubtful = Bounded(np.array([1e-9]), np.array([1e-8]), np.array([1.0]))
    assert np.isinf(A.divide(one, doubtful).error)
    certain = A.divide(one, EXACT(np.array([0.0])))
    assert certain.value == 0 and certain.error == 0


def test_overflow_of_the_dtype_is_unbounded():
    half = arithmetic("float16")
    assert np.isinf(half.multiply(EXACT(np.array([300.0])), EXACT(np.array([300.0]))).error)
    assert np.isfinite(A.multiply(EXACT(np.array([300.0])), EXACT(np.array([300.0]))).error)


def test_a_sum_of_which_a_part_may_overflow_is_unbounded():
    half, large = arithmetic("float16"), EXACT(np.array([40000.0]))
    less = EXACT(-large.value)
    assert np.isinf(half.total(large, less, large, less).error)
    assert np.isfinite(half.total(large, less, EXACT(np.array([1.0]))).error)
    assert np.isfinite(A.total(large, less, large, less).error)


def test_a_partial_sum_beyond_the_range_of_sums_is_unbounded():
    large = np.array([[2e38, 2e38, -2e38, -2e38]])
    assert np.isinf(A.sum(EXACT(large), 1).error)
    assert np.isinf(A.matmul(EXACT(large), EXACT(np.ones((4, 1)))).error)
    assert np.isfinite(A.sum(EXACT(large / 4), 1).error)
