"""These tests run on the engine in KERAS_BACKEND, TensorFlow by default."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
from keras import ops

from nlcore import NonLocalSpec, init_weights

if keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)

UNIT = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}


@pytest.fixture
def problem():
    """Make a spec's weights, x and dz; with C(x) = sum_j f of a linear f, far from C(x) = 0."""

    def make(spec, positions, dtype="float64", batch=2, seed=0):
        rng = np.random.default_rng(seed)
        weights = init_weights(spec, rng, identity=False)
        for name, value in weights.items():
            if name.endswith("bias") or name.startswith("bn."):
                weights[name] = value + rng.uniform(0.1, 0.5, value.shape)
        x = rng.normal(size=(batch, spec.channels, *positions))
        if spec.normalization == "sum" and "gaussian" not in spec.pairwise:
            weights = {name: np.abs(value) for name, value in weights.items()}
            x = np.abs(x)
        dz = rng.normal(size=x.shape)
        return {name: w.astype(dtype) for name, w in weights.items()}, x.astype(dtype), dz

    return make


@pytest.fixture
def assert_close():
    """Compare with the reference in units of roundoff of the largest value.

    Each value passes through some ten products and sums of at most 300 terms, each with an error
    of a few u times its largest terms, and BN divides by a standard deviation under 1. Not
    derived further: the worst over these tests was 168 u for float32 and float64 (a median of
    about 3 u), and 3 u for the half precisions, on TensorFlow and PyTorch; 500 and 10 are asked.
    """

    def check(got, want, dtype, scale=None, units=500):
        scale = np.abs(want).max() if scale is None else scale
        assert np.shape(got) == np.shape(want)
        error = np.abs(np.asarray(got, np.float64) - want).max() / scale
        assert error <= units * UNIT[dtype], f"{error / UNIT[dtype]:.1f} u"

    return check


def _spec(**fields):
    return NonLocalSpec(**{"channels": 6, "inner_channels": 4, **fields})


@pytest.fixture
def spec():
    """Make a small spec."""
    return _spec


def _tensors(*arrays, dtype="float64"):
    return [ops.convert_to_tensor(array, dtype=dtype) for array in arrays]


@pytest.fixture
def tensors():
    """Tensors of the configured engine."""
    return _tensors


def _gradient(f, *arrays):
    engine = keras.backend.backend()
    if engine == "tensorflow":
        import tensorflow as tf

        inputs = [tf.constant(array) for array in arrays]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = ops.sum(f(*inputs))
        zero = tf.UnconnectedGradients.ZERO
        return [np.asarray(grad) for grad in tape.gradient(total, inputs, None, zero)]
    if engine == "jax":
        places = tuple(range(len(arrays)))
        return [np.asarray(g) for g in jax.grad(lambda *a: ops.sum(f(*a)), places)(*arrays)]
    import torch

    inputs = [torch.tensor(array, requires_grad=True) for array in arrays]
    found = torch.autograd.grad(
        ops.sum(f(*inputs)), inputs, allow_unused=True, materialize_grads=True
    )
    return [np.asarray(grad.detach()) for grad in found]


@pytest.fixture
def gradient():
    """The gradients of the sum of f(*arrays) by each array, on the configured engine."""
    return _gradient
