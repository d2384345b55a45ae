"""The Gaussians: chunks of queries, large logits, and the weights of a few queries."""

import numpy as np
import pytest
from keras import ops

import nlcore
from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS
from nlcore_keras import non_local_operation
from nlcore_keras.operation import gaussian as gaussian_module
from nlcore_keras.operation.gaussian import gaussian, gaussian_weights


def problem(n=23, m=9):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(2, n, 4)), rng.normal(size=(2, m, 4)), rng.normal(size=(2, m, 3))]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_queries_in_chunks_on_each_engine(
    normalization, monkeypatch, tensors, gradient, assert_close
):
    spec, arrays = NonLocalSpec(4, normalization=normalization), problem()
    monkeypatch.setattr(gaussian_module, "CHUNK", 100)  # 5 queries, the last chunk is of 3
    y = non_local_operation(spec, *tensors(*arrays))
    assert_close(ops.convert_to_numpy(y), nlcore.operation(spec, *arrays), "float64")

    got = gradient(lambda *a: non_local_operation(spec, *a), *arrays)
    want = nlcore.operation_vjp(spec, *arrays, np.ones((2, 23, 3)))
    for array, name in zip(got, ("theta", "phi", "g"), strict=True):
        assert_close(array, want[name], "float64")


@pytest.mark.parametrize(("chunk", "sizes"), [(100, {(2, 5, 9)}), (1 << 22, {(2, 23, 9)})])
def test_no_array_of_pairs_is_larger_than_a_chunk(chunk, sizes, monkeypatch, tensors):
    seen = set()
    weights = gaussian_module._weights

    def spied(*arguments):
        w = weights(*arguments)
        seen.add(tuple(w.shape))
        return w

    monkeypatch.setattr(gaussian_module, "CHUNK", chunk)
    monkeypatch.setattr(gaussian_module, "_weights", spied)
    gaussian(*tensors(*problem()), 1.0, True)
    assert seen == sizes


def test_large_logits_do_not_overflow_a_softmax(tensors):
    theta, phi, g = np.full((1, 2, 1), 100.0), np.array([[[9.0], [10.0]]]), np.array([[[1.0], [2]]])
    y = gaussian(*tensors(theta, phi, g, dtype="float32"), 1.0, True)
    np.testing.assert_array_equal(ops.convert_to_numpy(y), [[[2.0], [2.0]]])


@pytest.mark.parametrize("by_sum", [True, False])
def test_weights_give_y(by_sum, tensors):
    theta, phi, g = tensors(*problem())
    w = ops.convert_to_numpy(gaussian_weights(theta[:, 3:5], phi, -0.5, by_sum))
    y = ops.convert_to_numpy(gaussian(theta, phi, g, -0.5, by_sum))
    np.testing.assert_allclose(w @ ops.convert_to_numpy(g), y[:, 3:5], rtol=1e-12, atol=1e-14)
    if by_sum:
        np.testing.assert_allclose(w.sum(2), 1, rtol=1e-12)
