"""Keras on TensorFlow as Model.fit runs it: the layer inside a tf.function, with XLA or without.

nlcore-conformance run benchmarks.traced:traced benchmarks.traced:xla
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from nlcore import NonLocalSpec
from nlcore_keras.backend import KerasBackend, as_numpy, native
from nlcore_keras.block import NonLocalBlock


class Traced(KerasBackend):
    """One function for each spec, dtype and mode, traced once for each shape."""

    def __init__(self, name: str, jit_compile: bool) -> None:
        super().__init__(name, "tensorflow")
        self.name, self.jit_compile = name, jit_compile

    def block(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        training: bool = False,
    ) -> np.ndarray:
        layer, forward, _ = _functions(spec, x.dtype.name, training, self.jit_compile)
        layer.import_weights(weights)
        return as_numpy(forward(tf.constant(native(x))), x.dtype)

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        layer, _, backward = _functions(spec, x.dtype.name, training, self.jit_compile)
        layer.import_weights(weights)
        dx, *grads = backward(tf.constant(native(x)), tf.constant(native(dz)))
        names = [n for n in weights if not n.startswith("bn.running_")]
        named = zip(names, grads, strict=True)
        return as_numpy(dx, x.dtype), {name: as_numpy(grad, x.dtype) for name, grad in named}


@lru_cache(maxsize=64)
def _functions(
    spec: NonLocalSpec, dtype: str, training: bool, jit_compile: bool
) -> tuple[NonLocalBlock, Callable[..., Any], Callable[..., Any]]:
    """A layer, z(x), and the gradients (dx, dweights...) of (x, dz)."""
    layer = NonLocalBlock.from_spec(spec, dtype=dtype, data_format="channels_first")

    @tf.function(jit_compile=jit_compile, autograph=False)
    def forward(x: Any) -> Any:
        return layer(x, training=training)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def backward(x: Any, dz: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = layer(x, training=training)
        variables = [variable.value for variable in layer.trainable_variables]
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(z, [x, *variables], dz, unconnected_gradients=zero)

    return layer, forward, backward


traced = Traced("keras-tensorflow traced", False)
xla = Traced("keras-tensorflow xla", True)
