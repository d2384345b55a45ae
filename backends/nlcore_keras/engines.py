"""What depends on Keras' engine: its start, calls of a layer, and their derivatives.

Importing this module does not import Keras, so that an engine can be chosen first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

#: Of XLA: each block is run once, and compiles in half the time without LLVM's optimization.
JAX_OPTIONS = {"xla_backend_optimization_level": 0}
#: z from what a layer returns.
Output = Callable[[Any], Any]


def start(name: str, engine: str | None = None) -> str:
    """Import Keras, on `engine` if given, and return its engine.

    On JAX jax_enable_x64 is switched on, for the process, and compilations are kept in
    ~/.cache/nlcore/jax unless jax_compilation_cache_dir is set.

    Raises
    ------
    RuntimeError
        Keras already runs another engine. `name` is that of the backend in the message.
    """
    if engine is not None and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = engine
    import keras

    running = keras.backend.backend()
    if engine not in (None, running):
        raise RuntimeError(
            f"{name} needs Keras on {engine}, but Keras already runs {running}: start a process "
            f"for each engine, with KERAS_BACKEND={engine}"
        )
    if running == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
        if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
            # hundreds of small problems, each compiled for its shapes: keep them for the next run
            caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            jax.config.update("jax_compilation_cache_dir", str(Path(caches, "nlcore", "jax")))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return running


def on_device(device: str | None) -> Any:
    """A context in which Keras computes on the device, or where the engine chooses."""
    import keras

    # Keras says gpu, and leaves the choice to the engine where it is given none
    return keras.device(device.replace("cuda", "gpu")) if device else nullcontext()


def native(array: np.ndarray) -> np.ndarray:
    """The array in the machine's byte order, which engines need."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_numpy(tensor: Any, dtype: np.dtype) -> np.ndarray:
    """The tensor as an array; bfloat16 travels as float32, which holds it exactly."""
    from keras import ops

    if dtype.itemsize == 2:
        tensor = ops.cast(tensor, "float32")
    return np.asarray(ops.convert_to_numpy(tensor)).astype(dtype)


def eager_vjp(
    layer: Any, x: np.ndarray, dz: np.ndarray, training: bool, output: Output = lambda z: z
) -> tuple[Any, list[Any]]:
    """dx, and the gradients of the layer's trainable variables, on TensorFlow or PyTorch."""
    import keras

    vjp = _tensorflow_vjp if keras.backend.backend() == "tensorflow" else _torch_vjp
    return vjp(layer, x, dz, training, output)


def _tensorflow_vjp(
    layer: Any, x: np.ndarray, dz: np.ndarray, training: bool, output: Output
) -> tuple[Any, list[Any]]:
    import tensorflow as tf

    inputs, upstream = tf.constant(x), tf.constant(dz)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        z = output(layer(inputs, training=training))
    variables = [variable.value for variable in layer.trainable_variables]
    dx, *gradients = tape.gradient(
        z, [inputs, *variables], upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return dx, gradients


def _torch_vjp(
    layer: Any, x: np.ndarray, dz: np.ndarray, training: bool, output: Output
) -> tuple[Any, list[Any]]:
    import torch
    from keras import ops

    inputs = ops.convert_to_tensor(x, dtype=x.dtype.name).requires_grad_(True)
    upstream = ops.convert_to_tensor(dz, dtype=x.dtype.name)
    z = output(layer(inputs, training=training))
    variables = [variable.value for variable in layer.trainable_variables]
    dx, *gradients = torch.autograd.grad(
        z, [inputs, *variables], upstream, allow_unused=True, materialize_grads=True
    )
    return dx, gradients


def jax_functions(
    layer: Any, training: bool, output: Output = lambda z: z
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """z(values, other, x) and its gradients (values, other, x, dz), compiled for each shape.

    `values` and `other` are those of the layer's trainable and other variables. The gradients are
    those of `values` and of x.
    """
    import jax
    import keras

    def call(values: list[Any], other: list[Any], x: Any) -> Any:
        # not stateless_call, which hands `training` on only if the layer's own call takes it
        variables = [*layer.trainable_variables, *layer.non_trainable_variables]
        with keras.StatelessScope(zip(variables, [*values, *other], strict=True)):
            return output(layer(x, training=training))

    def gradients(values: list[Any], other: list[Any], x: Any, dz: Any) -> Any:
        return jax.vjp(lambda values, x: call(values, other, x), values, x)[1](dz)

    # outside jit every operation would be compiled by itself for its shapes
    return (
        jax.jit(call, compiler_options=JAX_OPTIONS),
        jax.jit(gradients, compiler_options=JAX_OPTIONS),
    )
