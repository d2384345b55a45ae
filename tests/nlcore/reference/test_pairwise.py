"""f and df/dt as scalar kernels: from both halves of t, against 50 digits."""

import math
from fractions import Fraction
from operator import mul

import numpy as np
import oracle
import pytest

from nlcore import NonLocalSpec, operation
from nlcore.reference.pairwise import EXP, KIND, LINEAR, RELU, Rule, pair_row
from nlcore.spec import PAIRWISE

MP = oracle.MP


def row(kind, high, low=0.0, scale=1.0, shifted=False):
    """f and slope of one row."""
    high = np.atleast_1d(np.asarray(high, float))
    low = np.broadcast_to(low, high.shape).astype(float)
    f, slope = np.empty_like(high), np.empty_like(high)
    pair_row(Rule(kind, scale, shifted), high, low, f, slope)
    return f, slope


def errors(actual, exact):
    """Relative errors in units of u."""
    pairs = zip(actual, exact, strict=True)
    return [float(abs(MP.mpf(float(a)) - e) / abs(e)) / oracle.U for a, e in pairs]


def test_every_pairwise_function_has_a_kind():
    assert tuple(KIND) == PAIRWISE


# low is at most u |high| where nothing cancels in t, and may be anything where terms do
HALVES = {
    "no low half": lambda rng, n: (rng.uniform(-700, 700, n), np.zeros(n)),
    "normalized": lambda rng, n: (lambda t: (t, t * rng.uniform(-1, 1, n) * oracle.U))(
        rng.uniform(-700, 700, n)
    ),
    "low of 1e-6": lambda rng, n: (rng.uniform(-5, 5, n), 1e-6 * rng.normal(size=n)),
    "low of 0.1": lambda rng, n: (rng.uniform(-5, 5, n), 0.1 * rng.normal(size=n)),
}


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("halves", HALVES)
def test_exp_takes_both_halves(halves, scale, rng):
    high, low = HALVES[halves](rng, 200)
    f, slope = row(EXP, high, low, scale)
    exact = [
        MP.exp(MP.mpf(scale) * (MP.mpf(h) + MP.mpf(e))) for h, e in zip(high, low, strict=True)
    ]
    assert max(errors(f, exact)) <= 4.0
    np.testing.assert_array_equal(slope, scale * f)


@pytest.mark.parametrize("around", [0.0, 1e3, -1e3, 1e9, 1e15])
def test_shifted_exp_is_relative_to_the_largest(around, rng):
    high, low = around + rng.uniform(-5, 5, 50), 1e-3 * rng.normal(size=50)
    f, _ = row(EXP, high, low, shifted=True)
    t = [MP.mpf(h) + MP.mpf(e) for h, e in zip(high, low, strict=True)]
    exact = [MP.exp(v - MP.mpf(high.max())) for v in t]
    assert max(errors(f, exact)) <= 4.0


@pytest.mark.parametrize("scale", [1.0, -2.5])
def test_shifted_exp_does_not_overflow_and_underflows_to_0(scale):
    f, slope = row(EXP, [1e300, -1e300, 0.0], scale=scale, shifted=True)
    largest = 0 if scale > 0 else 1
    np.testing.assert_array_equal(f, np.eye(3)[largest])
    np.testing.assert_array_equal(slope, scale * f)


def test_exp_overflows_to_infinity_and_underflows_to_0():
    f, _ = row(EXP, [1000.0, -1000.0, np.inf, -np.inf])
    np.testing.assert_array_equal(f, [np.inf, 0.0, np.inf, 0.0])


def test_exp_with_no_finite_largest_is_nan():
    for high in ([np.inf, 0.0], [-np.inf, -np.inf]):
        assert np.isnan(row(EXP, high, shifted=True)[0]).any()


@pytest.mark.parametrize("scale", [1.0, -0.3])
def test_linear_takes_both_halves(scale, rng):
    high, low = HALVES["low of 0.1"](rng, 50)
    f, slope = row(LINEAR, high, low, scale)
    np.testing.assert_array_equal(f, scale * (high + low))
    np.testing.assert_array_equal(slope, np.full(50, scale))


def test_relu_takes_both_halves():
    f, slope = row(RELU, [2.0, 2.0, -2.0, 1.0, 1.0], [0.5, -3.0, 3.0, -1.0, -1.0 + 2.0**-53])
    np.testing.assert_array_equal(f, [2.5, 0.0, 1.0, 0.0, 2.0**-53])
    np.testing.assert_array_equal(slope, [1.0, 0.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_derivative_of_the_relu_at_0_is_0(zero):
    f, slope = row(RELU, [zero])
    assert f[0] == 0.0
    assert slope[0] == 0.0


@pytest.mark.parametrize("kind", [EXP, LINEAR, RELU])
@pytest.mark.parametrize("low", [0.0, np.nan])
def test_not_finite(kind, low):
    """The low half of what is not finite means nothing."""
    f, _ = row(kind, [np.nan, np.inf, -np.inf], low)
    smallest = -np.inf if kind == LINEAR else 0.0
    np.testing.assert_array_equal(f, [np.nan, np.inf, smallest])


def test_one_nan_stays_one_under_a_count():
    f, _ = row(EXP, [0.0, np.nan, 0.0])
    np.testing.assert_array_equal(f, [1.0, np.nan, 1.0])


@pytest.mark.parametrize("size", [1.0, 1e8, 1e9, 1e10, 1e12])
@pytest.mark.parametrize("scale", [1.0, -0.3])
def test_a_softmax_of_huge_logits(size, scale, rng):
    """NL-4.5: beside exact logits, also where their spacing in float64 is far above 1."""
    spec = NonLocalSpec(4, 4, ndim=1, scale=scale)
    for _ in range(20):
        theta = rng.normal(size=(1, 2, 4)) * size
        phi = theta[:, :1] + rng.normal(size=(1, 5, 4)) / size  # logits that differ by about 1
        g = rng.normal(size=(1, 5, 1))
        y = operation(spec, theta, phi, g)
        for i in range(2):
            logits = [
                Fraction(scale) * sum(map(mul, map(Fraction, theta[0, i]), map(Fraction, row)))
                for row in phi[0]
            ]
            f = [math.exp(max(t - max(logits), -800)) for t in logits]
            right = sum(a * b for a, b in zip(f, g[0, :, 0], strict=True)) / sum(f)
            assert y[0, i, 0] == pytest.approx(right, rel=1e-13, abs=1e-14)
