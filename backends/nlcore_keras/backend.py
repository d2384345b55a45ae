"""This package as backends for the conformance suite: NumPy arrays in and out.

`backend` runs the engine that Keras is configured for; `keras_tensorflow`, `keras_jax` and
`keras_torch` choose one. A process has one engine, so these raise RuntimeError where Keras already
runs another. They are made on first use: importing this module does not import Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from nlcore import NonLocalSpec, check_input, check_weights, weight_shapes
from nlcore.weights import RUNNING
from nlcore_keras.engines import as_numpy, eager_vjp, jax_functions, native, on_device, start

ENGINES = ("tensorflow", "jax", "torch")


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
    init = "he"

    def __init__(self, name: str, engine: str | None = None) -> None:
        self.name = name
        self.device: str | None = None
        self.engine = start(name, engine)

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or why not: every spec in `dtypes`."""
        return dtype in self.dtypes or f"dtype must be one of {self.dtypes}; received {dtype}"

    def paths(self, spec: NonLocalSpec, dtype: str) -> tuple[int, ...]:
        """The number of pairs beyond which the Gaussians are computed in chunks."""
        from nlcore_keras.operation.gaussian import CHUNK

        return (CHUNK,) if "gaussian" in spec.pairwise else ()

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        """The weights of a new layer by name, in float32."""
        from nlcore_keras.block import NonLocalBlock

        with on_device(self.device):
            return NonLocalBlock.from_spec(spec, dtype="float32").export_weights()

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
                dx, gradients = eager_vjp(_layer(spec, weights, x.dtype.name), x, dz, training)
            names = [name for name in weight_shapes(spec) if name not in RUNNING]
            named = zip(names, gradients, strict=True)
            return as_numpy(dx, x.dtype), {name: as_numpy(grad, x.dtype) for name, grad in named}

    def _scope(self, spec: NonLocalSpec, weights: Mapping[str, Any], x: np.ndarray) -> Any:
        check_input(spec, x.shape, x.dtype.name)
        check_weights(spec, weights)
        return on_device(self.device)


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
    zeros = {name: np.zeros(shape) for name, shape in weight_shapes(spec).items()}
    return jax_functions(_layer(spec, zeros, dtype), training)
