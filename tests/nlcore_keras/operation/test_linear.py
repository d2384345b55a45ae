"""Linear maps: stacked weights and biases."""

import numpy as np
import pytest
from keras import ops

from nlcore_keras.operation.linear import linear, stacked


@pytest.mark.parametrize("bias", [False, True])
def test_stacked_weights_multiply_as_each(bias, tensors):
    rng = np.random.default_rng(0)
    arrays = {f"{name}.weight": rng.normal(size=(3, 4)) for name in ("theta", "phi")}
    if bias:
        arrays |= {f"{name}.bias": rng.normal(size=3) for name in ("theta", "phi")}
    weights = dict(zip(arrays, tensors(*arrays.values()), strict=True))
    x = rng.normal(size=(2, 5, 6, 4))
    found = linear(*tensors(x), stacked(weights, "theta", "phi"))  # (2, 5, 6, 6)
    for k, name in enumerate(("theta", "phi")):
        want = x @ arrays[f"{name}.weight"].T + arrays.get(f"{name}.bias", 0)
        part = ops.convert_to_numpy(found[..., 3 * k : 3 * k + 3])
        np.testing.assert_allclose(part, want, rtol=1e-12, atol=1e-14)


def test_one_weight_is_not_copied(tensors):
    (weight,) = tensors(np.ones((3, 4)))
    layer = stacked({"g.weight": weight}, "g")
    assert layer[0] is weight and layer[1] is None


def test_a_biass_gradient_is_a_wide_sum(gradient):
    # in float16 a sum of 4096 ones stays at 2048
    x, weight = np.zeros((1, 4096, 1), "float16"), np.ones((1, 1), "float16")
    (got,) = gradient(
        lambda bias: linear(ops.convert_to_tensor(x), (weight, bias)), np.ones(1, "float16")
    )
    np.testing.assert_array_equal(got, [4096])
