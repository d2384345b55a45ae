"""The stages together: W_z y + b against the reference, and the weights of a few queries."""

import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore_keras.operation.stages import attend, pair_weights, response

KINDS = [(pairwise, by) for pairwise in PAIRWISE for by in NORMALIZATIONS]


@pytest.mark.parametrize(("pairwise", "normalization"), KINDS)
def test_the_response_is_the_block_less_x(pairwise, normalization, problem, tensors, assert_close):
    spec = NonLocalSpec(
        6,
        4,
        pairwise=pairwise,
        normalization=normalization,
        bias=True,
        batch_norm=False,
        subsample=(1, 2, 2),
    )
    weights, x, _ = problem(spec, (2, 4, 5))
    given = dict(zip(weights, tensors(*weights.values()), strict=True))
    out = ops.convert_to_numpy(response(spec, given, *tensors(np.moveaxis(x, 1, -1))))
    assert_close(np.moveaxis(out, -1, 1), nlcore.block(spec, weights, x) - x, "float64")


@pytest.mark.parametrize(("pairwise", "normalization"), KINDS)
def test_pair_weights_give_y(pairwise, normalization, tensors):
    spec = NonLocalSpec(4, pairwise=pairwise, normalization=normalization)
    rng = np.random.default_rng(0)
    width = () if pairwise == "concatenation" else (4,)
    sizes = ((2, 7, *width), (2, 5, *width), (2, 5, 3))
    theta, phi, g = tensors(*(rng.uniform(0.1, 1, size) for size in sizes))
    w = ops.convert_to_numpy(pair_weights(spec, theta[:, 2:4], phi))
    y = ops.convert_to_numpy(attend(spec, theta, phi, g))
    np.testing.assert_allclose(w @ ops.convert_to_numpy(g), y[:, 2:4], rtol=1e-12)
    assert np.abs(w).min() > 0
