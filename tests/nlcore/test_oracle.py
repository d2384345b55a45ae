"""The oracle itself: its gradients are its forward direction's, by 50-digit differences."""

import itertools
from fractions import Fraction

import numpy as np
import oracle
import pytest

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import NORMALIZATIONS, PAIRWISE

EVERY = list(itertools.product(PAIRWISE, NORMALIZATIONS))
STEP = oracle.MP.mpf(10) ** -12


@pytest.mark.parametrize(("pairwise", "normalization"), EVERY)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_those_of_the_forward_direction(pairwise, normalization, training, rng):
    spec = NonLocalSpec(
        channels=2,
        inner_channels=2,
        ndim=1,
        pairwise=pairwise,
        normalization=normalization,
        scale=1.0 if pairwise == "concatenation" else 0.7,
        subsample=(2,),
        subsample_at="input" if training else "embedding",
        bias=True,
        pair_bias=pairwise == "concatenation",
    )
    values = {"x": rng.normal(size=(2, 5, 2)), "bn.running_var": rng.uniform(0.5, 2.0, 2)}
    values |= {n: rng.normal(size=s) for n, s in weight_shapes(spec).items() if n not in values}
    values = {name: oracle.fifty_digits(value) for name, value in values.items()}
    dz = oracle.fifty_digits(rng.normal(size=(2, 5, 2)))

    def loss(**moved):
        w = values | moved
        return (dz * oracle.block(spec, w, w["x"], training)).sum()

    dx, grads = oracle.block_vjp(spec, values, values["x"], dz, training)
    assert set(grads) == {n for n in weight_shapes(spec) if "running" not in n}
    for name, grad in {"x": dx, **grads}.items():
        direction = oracle.fifty_digits(rng.normal(size=values[name].shape))
        step = np.asarray(STEP * direction, object)
        rise = loss(**{name: values[name] + step}) - loss(**{name: values[name] - step})
        expected = np.sum(direction * grad)
        assert abs(rise / (2 * STEP) - expected) < oracle.MP.mpf(10) ** -20, name


def test_magnitudes_are_carried():
    a, b = oracle.rounded(oracle.numbers(6.0)).item(), oracle.rounded(oracle.numbers(-2.0)).item()
    for result, value, magnitude in (
        (a + b, 4, 8),
        (a - b, 8, 8),
        (a * b, -12, 24),
        (a / b, -3, 6),
        (oracle._exp(b), oracle.MP.exp(-2), 2 * np.exp(-2)),
        (oracle._rsqrt(a), 1 / oracle.MP.sqrt(6), 0.5 / np.sqrt(6)),
    ):
        assert result.value == value
        assert result.magnitude == pytest.approx(magnitude, rel=1e-15)


def test_arrays_are_converted_exactly():
    a = np.array([[0.1, -(2.0**-1074)], [1e308, 0.0]])
    for numbers in (oracle.fifty_digits(a), oracle.fractions(a)):
        assert (numbers.astype(np.float64) == a).all()
    assert oracle.fractions(a)[0, 0] == Fraction(3602879701896397, 2**55)


def test_ratio_is_in_units_of_u():
    expected = oracle.rounded(oracle.numbers([1.0, 4.0]))
    assert oracle.ratio(np.array([1.0, 4.0]), expected) == 0.0
    assert oracle.ratio(np.array([1.0 + 2.0**-52, 4.0]), expected) == 2.0
    assert oracle.ratio(np.array([1.0]), oracle.numbers([2.0])) == np.inf
    assert oracle.ratio(np.array([np.nan]), expected[:1]) == np.inf
