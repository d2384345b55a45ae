"""This package as backends for the conformance suite: NumPy arrays in and out.

`backend` runs the engine that Keras is configured for; `keras_tensorflow`, `keras_jax` and
`keras_torch` choose one. A process has one engine, so these raise RuntimeError where Keras already
runs another. They are made on first use: importing this module does not import Keras.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nlcore import NonLocalSpec, check_input, check_weights, weight_shapes
from nlcore.weights import RUNNING

ENGINES = ("tensorflow", "jax", "torch")
#: Of XLA: each block is run once, and compiles in half the time without LLVM's optimization.
JAX_OPTIONS = {"xla_backend_optimization_level": 0}


class KerasBackend:
    """`nlcore_keras.NonLocalBlock` on one engine.

    Parameters
    ----------
    name : str
        What reports call it.
    engine : {"tensorflow", "jax", "torch"}, optional
        Default: the one that Keras is configured for.

    Attributes
    ----------
    dtypes : tuple of str
        In which a block can be computed. On JAX jax_enable_x64 is switched on, for the process,
        and compilations are kept in ~/.cache/nlcore/jax unless jax_compilation_cache_dir is set.
    device : str, optional
        "cpu", "cuda", "cuda:1", ...; default the engine's own choice.

    Raises
    ------
    RuntimeError
        Keras already runs another engine.
    """

    dtypes = ("float16", "bfloat16", "float32", "float64")

    def __init__(self, name: str, engine: str | None = None) -> None:
        self.name = name
        self.device: str | None = None
        self.engine = _start(name, engine)

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or why not: every spec in `dtypes`."""
        return dtype in self.dtypes or f"dtype must be one of {self.dtypes}; received {dtype}"

    def paths(self, spec: NonLocalSpec, dtype: str) -> tuple[int, ...]:
        """The number of pairs beyond which the Gaussians are computed in chunks."""
        from nlcore_keras.operation.gaussian import CHUNK

        return (CHUNK,) if "gaussian" in spec.pairwise else ()

    def block(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        training: bool = False,
    ) -> np.ndarray:
        """z (B, C, *positions) of x (B, C, *positions), in the dtype of x; see `nlcore.block`."""
        with self._scope(spec, weights, x):
            x = native(x)
            if self.engine == "jax":
                z = _jax_block(spec, weights, x, training)
            else:
                z = _layer(spec, weights, x.dtype.name)(x, training=training)
            return as_numpy(z, x.dtype)

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Mapping[str, np.ndarray],
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """dx and dweights by name, by the engine's own differentiation; see `nlcore.block_vjp`."""
        with self._scope(spec, weights, x):
            x, dz = native(x), native(dz)
            if self.engine == "jax":
                dx, gradients = _jax_vjp(spec, weights, x, dz, training)
            else:
                vjp = _tensorflow_vjp if self.engine == "tensorflow" else _torch_vjp
                dx, gradients = vjp(_layer(spec, weights, x.dtype.name), x, dz, training)
            names = [name for name in weight_shapes(spec) if name not in RUNNING]
            named = zip(names, gradients, strict=True)
            return as_numpy(dx, x.dtype), {name: as_numpy(grad, x.dtype) for name, grad in named}

    def _scope(self, spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray) -> Any:
        import keras

        check_input(spec, x.shape, x.dtype.name)
        check_weights(spec, weights)
        # Keras says gpu, and leaves the choice to the engine where it is given none
        device = self.device and self.device.replace("cuda", "gpu")
        return keras.device(device) if device else nullcontext()


def _start(name: str, engine: str | None) -> str:
    """Import Keras, on `engine` if given, and return its engine."""
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


_CHOICES = {"backend": ("keras", None)} | {
    f"keras_{engine}": (f"keras-{engine}", engine) for engine in ENGINES
}


def __getattr__(name: str) -> KerasBackend:
    if name not in _CHOICES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = KerasBackend(*_CHOICES[name])
    return made


def _layer(spec: NonLocalSpec, weights: Mapping[str, np.ndarray], dtype: str) -> Any:
    """The public layer, holding `weights`."""
    from keras import ops

    from nlcore_keras.block import NonLocalBlock

    class Given(NonLocalBlock):
        # given rather than imported: on JAX each shape's random initial values would be compiled
        def _initializer(self, name: str) -> Callable[..., Any]:
            return lambda shape, dtype: ops.convert_to_tensor(weights[name], dtype=dtype)

    return Given.from_spec(spec, dtype=dtype, data_format="channels_first", name="block")


def native(array: np.ndarray) -> np.ndarray:
    """The array in the machine's byte order, which engines need."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def as_numpy(tensor: Any, dtype: np.dtype) -> np.ndarray:
    """The tensor as an array; bfloat16 travels as float32, which holds it exactly."""
    from keras import ops

    if dtype.itemsize == 2:
        tensor = ops.cast(tensor, "float32")
    return np.asarray(ops.convert_to_numpy(tensor)).astype(dtype)


def _tensorflow_vjp(layer: Any, x: np.ndarray, dz: np.ndarray, training: bool) -> Any:
    import tensorflow as tf

    inputs, upstream = tf.constant(x), tf.constant(dz)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        z = layer(inputs, training=training)
    variables = [variable.value for variable in layer.trainable_variables]
    dx, *gradients = tape.gradient(
        z, [inputs, *variables], upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return dx, gradients


def _torch_vjp(layer: Any, x: np.ndarray, dz: np.ndarray, training: bool) -> Any:
    import torch
    from keras import ops

    inputs = ops.convert_to_tensor(x, dtype=x.dtype.name).requires_grad_(True)
    upstream = ops.convert_to_tensor(dz, dtype=x.dtype.name)
    z = layer(inputs, training=training)
    variables = [variable.value for variable in layer.trainable_variables]
    dx, *gradients = torch.autograd.grad(
        z, [inputs, *variables], upstream, allow_unused=True, materialize_grads=True
    )
    return dx, gradients


def _jax_block(
    spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray, training: bool
) -> Any:
    values, other = _jax_weights(spec, weights, x.dtype)
    return _jax_functions(spec, x.dtype.name, training)[0](values, other, x)


def _jax_vjp(
    spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray, dz: np.ndarray, training: bool
) -> Any:
    values, other = _jax_weights(spec, weights, x.dtype)
    dvalues, dx = _jax_functions(spec, x.dtype.name, training)[1](values, other, x, dz)
    return dx, dvalues


def _jax_weights(
    spec: NonLocalSpec, weights: Mapping[str, Any], dtype: np.dtype
) -> tuple[list[Any], list[Any]]:
    """Trainable and running values, in the layer's order."""
    names = list(weight_shapes(spec))
    given = {name: np.asarray(weights[name]).astype(dtype) for name in names}
    running = [name for name in names if name in RUNNING]
    return [given[n] for n in names if n not in running], [given[n] for n in running]


@lru_cache(maxsize=512)  # a function that is made anew would be traced and compiled anew
def _jax_functions(spec: NonLocalSpec, dtype: str, training: bool) -> tuple[Any, Any]:
    """z(values, other, x) and its gradients (values, other, x, dz), compiled for each shape."""
    import jax

    zeros = {name: np.zeros(shape) for name, shape in weight_shapes(spec).items()}
    layer = _layer(spec, zeros, dtype)

    def call(values: list[Any], other: list[Any], x: Any) -> Any:
        return layer.stateless_call(values, other, x, training=training)[0]

    def gradients(values: list[Any], other: list[Any], x: Any, dz: Any) -> Any:
        return jax.vjp(lambda values, x: call(values, other, x), values, x)[1](dz)

    # outside jit every operation would be compiled by itself for its shapes
    return (
        jax.jit(call, compiler_options=JAX_OPTIONS),
        jax.jit(gradients, compiler_options=JAX_OPTIONS),
    )
