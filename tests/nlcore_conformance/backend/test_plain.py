"""The plain NumPy implementation agrees with the reference within the derived bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nlcore
from nlcore import NonLocalSpec
from nlcore.spec import FLOATS, PAIRWISE
from nlcore_conformance.backend.plain import Plain, backend
from nlcore_conformance.bounds.block_bounds import block_bounds
from nlcore_conformance.problems.case import Case, arrays

#: Fields of a spec of 6 channels, and the positions of x.
PLACES = {
    "1-D": (dict(ndim=1), (9,)),
    "2-D, odd under pooling": (dict(ndim=2, subsample=(2, 3), subsample_at="input"), (5, 7)),
    "3-D": (dict(subsample=(1, 2, 2), bias=True), (2, 4, 5)),
    "space": (dict(extent="space", subsample=(1, 2, 1), bias=True), (3, 4, 2)),
    "time": (dict(extent="time", subsample=(2, 1, 1), subsample_at="input"), (5, 2, 2)),
    "window": (dict(window=2, batch_norm=False), (4, 2, 3)),
    "one position": (dict(bias=True, batch_norm=False), (1, 1, 1)),
}


def _case(place: str, pairwise: str, normalization: str | None, dtype: str, **fields) -> Case:
    given, positions = PLACES[place]
    pair_bias = pairwise == "concatenation" and place in ("3-D", "time")
    spec = NonLocalSpec(
        6,
        inner_channels=5,
        pairwise=pairwise,
        normalization=normalization,
        scale=1.0 if pairwise == "concatenation" else 0.7,
        pair_bias=pair_bias,
        **given,
    )
    return replace(Case(spec, 2, positions, dtype, seed=3), **fields)


def _worst(case: Case) -> dict[str, float]:
    """The worst ratio of each output."""
    weights, x, dz = arrays(case)
    plain = Plain((case.dtype,))
    dx, dweights = plain.block_vjp(case.spec, weights, x, dz, case.training)
    z = plain.block(case.spec, weights, x, case.training)
    received = {"z": z, "dx": dx, **dweights}
    dx, dweights = nlcore.block_vjp(case.spec, weights, x, dz, case.training)
    right = nlcore.block(case.spec, weights, x, case.training)
    expected = {"z": right, "dx": dx, **dweights}
    assert list(received) == list(expected)
    assert {a.dtype.name for a in received.values()} == {case.dtype}
    bounds = block_bounds(case.spec, weights, x, dz, case.training, dtype=case.dtype)
    out = {}
    for name, value in expected.items():
        error = np.abs(received[name].astype(np.float64) - value)
        counted = np.isfinite(bounds[name])
        assert counted.any(), name
        least = np.where(bounds[name] == 0, np.finfo(float).tiny, bounds[name])  # exactly right
        out[name] = float((error / least)[counted].max())
    return out


@pytest.mark.parametrize("normalization", ["sum", "count"])
@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("place", PLACES)
def test_float32_agrees_with_the_reference(place, pairwise, normalization):
    ratios = _worst(_case(place, pairwise, normalization, "float32"))
    assert max(ratios.values()) <= 1, ratios
    assert ratios["z"] > 0  # it is another implementation


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_every_dtype_agrees_with_the_reference(pairwise, dtype):
    for training in (False, True):
        ratios = _worst(_case("3-D", pairwise, None, dtype, training=training))
        assert max(ratios.values()) <= 1, ratios


@pytest.mark.parametrize("layout", ["strided", "reversed", "byteswapped", "channels_last"])
def test_the_layout_of_x_changes_nothing(layout):
    case = _case("3-D", "embedded_gaussian", "sum", "float32")
    weights, x, _ = arrays(case)
    _, other, _ = arrays(replace(case, layout=layout))
    assert other.strides != x.strides or other.dtype != x.dtype
    z, again = (backend.block(case.spec, weights, a) for a in (x, other))
    np.testing.assert_array_equal(z, again)
    assert again.dtype.isnative


def test_of_equals_the_first_gets_the_gradient_and_relu_has_no_slope_at_0():
    spec = NonLocalSpec(
        1,
        1,
        ndim=1,
        pairwise="concatenation",
        subsample=(2,),
        subsample_at="input",
        batch_norm=False,
    )
    names = ("theta.weight", "phi.weight", "g.weight", "out.weight")
    weights = {name: np.ones((1, 1), np.float32) for name in names}
    weights["f.weight"] = np.ones(2, np.float32)
    dz = np.ones((1, 1, 2), np.float32)
    x = np.array([[[1, 1]]], np.float32)  # f = 2 for both i, y = 2
    dx, _ = backend.block_vjp(spec, weights, x, dz)
    # residual 1, theta 1, and at the first position phi 2 and g 4 besides
    np.testing.assert_array_equal(dx, [[[1 + 1 + 2 + 4, 1 + 1]]])
    weights["f.weight"] = np.zeros(2, np.float32)  # every t is 0
    dx, dweights = backend.block_vjp(spec, weights, x, dz)
    np.testing.assert_array_equal(dx, dz)
    assert all(not grad.any() for grad in dweights.values())
