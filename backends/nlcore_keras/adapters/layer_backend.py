"""A backend for a Keras layer of another package, on the engine that Keras runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import FLOATS
from nlcore.wrapped_block import Parameters, Rules, WrappedBlock
from nlcore_keras.engines import (
    as_numpy,
    eager_vjp,
    jax_functions,
    native,
    on_device,
    start,
)

Weights = Mapping[str, np.ndarray]


class LayerBackend(WrappedBlock):
    """A backend for the conformance suite, from a `keras.layers.Layer` that takes x and returns z.

    For each call it builds a layer, with x's dtype as Keras' dtype policy, and assigns the weights.
    Gradients are those of the engine that Keras runs. On JAX it keeps the layers, which would be
    compiled anew for each call.

    Parameters
    ----------
    name : str
        Name of the backend.
    build : callable
        ``build(spec)`` returns the layer of a `nlcore.NonLocalSpec`.
    parameters : mapping, or callable
        nlcore's name of a weight -> the path of attributes to a variable, such as "theta.kernel" or
        "bn.moving_variance". A variable that the layer itself has added goes by its name. Sizes of
        1 may differ: a matrix (C, D) is also the kernel (1, 1, 1, C, D) of a convolution. A tuple
        of names is a variable that stores several weights, one after the other along the axis of
        outputs: ``("theta.weight", "phi.weight", "g.weight"): "qkv.kernel"``. None stands for a
        weight that the layer does not have, and that must be 0. A callable returns such a mapping
        for a spec. A bias that the layer has and the spec has not is set to 0.
    supports : mapping or callable, optional
        Strict: the specs that the layer computes. A mapping of words to ``rule(spec)``, where the
        words of the first rule that is False are the reason, or a function ``supports(spec)`` that
        returns True or the reason. Lax, by default: every spec whose weights have a variable.
        `build` then decides which fields are used, and `nlcore-conformance identify` finds out.
    dtypes : tuple of str
        Names of the dtypes that it computes in.
    axes : {"channels_last", "channels_first", "tokens"}
        What the layer takes and returns: (B, *positions, C), (B, C, *positions) or (B, N, C).
    inputs_first : bool
        Whether matrices are (inputs, outputs), as the kernels of Keras' layers.
    output : callable
        z from what the layer returns, such as ``lambda returned: returned[0]``.
    init : {"he", "he_fan_out", "normal"}, optional
        The distribution of a new layer's weights (`nlcore.init_weights`), if it is one of these.

    Attributes
    ----------
    device : str, optional
        Such as "cpu", "cuda" or "cuda:1". Default: the engine's own choice.

    Raises
    ------
    ValueError
        An argument is wrong. In a call: the layer has no variable of a name that is given, or one
        of another shape. A trainable variable stores no weight. z has another shape or dtype than
        x. The message contains both names or both shapes.
    TypeError
        On a call: `build` does not return a layer, or the layer does not return a tensor.
    NotImplementedError
        On a call: the spec is not supported. The message is the reason.

    Examples
    --------
    >>> from nlcore_keras import NonLocalBlock
    >>> backend = LayerBackend(
    ...     "ours",
    ...     lambda spec: NonLocalBlock(inner_channels=spec.inner_channels, ndim=spec.ndim),
    ...     {name: name for name in ("theta.weight", "phi.weight", "g.weight", "out.weight")},
    ...     supports={"ndim is 2": lambda spec: spec.ndim == 2},
    ... )
    >>> backend.supports(NonLocalSpec(4, batch_norm=False), "float32")
    'ndim is 2'
    """

    def __init__(
        self,
        name: str,
        build: Callable[[NonLocalSpec], keras.layers.Layer],
        parameters: Parameters | Callable[[NonLocalSpec], Parameters],
        *,
        supports: Rules | Callable[[NonLocalSpec], bool | str] | None = None,
        dtypes: tuple[str, ...] = ("float32",),
        axes: str = "channels_last",
        inputs_first: bool = True,
        output: Callable[[Any], Any] = lambda returned: returned,
        init: str | None = None,
    ) -> None:
        super().__init__(
            name,
            build,
            parameters,
            supports=supports,
            dtypes=dtypes,
            axes=axes,
            inputs_first=inputs_first,
            output=output,
            init=init,
        )
        self.device: str | None = None
        self.engine = start(name)

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        """`nlcore.block` in x's dtype: x (B, C, *positions) -> z (B, C, *positions)."""
        self._check(spec, weights, x)
        inputs = native(self._arranged(x))
        with on_device(self.device):
            layer = self._loaded(spec, weights, inputs)
            if self.engine == "jax":
                call, _ = _compiled(self, layer, inputs.shape, training)
                z = call(*_values_of(layer), inputs)
            else:
                z = self._z(layer(inputs, training=training), inputs.shape, layer)
            return self._restored(as_numpy(z, inputs.dtype), x)

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`nlcore.block_vjp` in x's dtype, differentiated by the engine: dx, dweights by name."""
        self._check(spec, weights, x)
        inputs, upstream = (native(self._arranged(a)) for a in (x, dz))
        with on_device(self.device):
            layer = self._loaded(spec, weights, inputs)
            if self.engine == "jax":
                _, vjp = _compiled(self, layer, inputs.shape, training)
                gradients, dx = vjp(*_values_of(layer), inputs, upstream)
            else:
                dx, gradients = eager_vjp(
                    layer, inputs, upstream, training, lambda z: self._z(z, inputs.shape, layer)
                )
            paths = {id(variable): path for path, variable in variables(layer).items()}
            pairs = zip(layer.trainable_variables, gradients, strict=True)
            found = {paths[id(v)]: as_numpy(g, inputs.dtype) for v, g in pairs}
            held = [p for p in self._held(spec, _shapes(layer)) if p.learned]
            if frozen := [p.parameter for p in held if p.parameter not in found]:
                raise ValueError(f"{self.name} must have trainable variables; {frozen} are not")
            return self._restored(as_numpy(dx, inputs.dtype), x), self._named(spec, held, found)

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        """The weights of a layer that `build` has just returned, by nlcore's names."""
        if (why := self.supports(spec, self.dtypes[0])) is not True:
            raise NotImplementedError(why)
        positions = [2 * size for size in spec.pool]
        positions[0] *= spec.window or 1
        shape = self._arranged(np.empty((1, spec.channels, *positions))).shape
        with on_device(self.device):
            layer = self._layer(spec, shape, "float32")
            own, held = variables(layer), self._held(spec, _shapes(layer))
            arrays = {p.parameter: as_numpy(own[p.parameter], np.dtype("float32")) for p in held}
        found = self._named(spec, held, arrays)
        return {n: found.get(n, np.zeros(s, np.float32)) for n, s in weight_shapes(spec).items()}

    def _layer(self, spec: NonLocalSpec, shape: tuple[int, ...], dtype: str) -> Any:
        """The layer that `build` returns, with its variables, for an input of this shape."""
        with _policy(dtype):
            layer = self._build(spec)
            if not isinstance(layer, keras.layers.Layer):
                raise TypeError(f"build must return a layer; received {type(layer).__name__}")
            if not layer.built:
                layer(keras.KerasTensor(shape, dtype=dtype))
        return layer

    def _loaded(self, spec: NonLocalSpec, weights: Weights, inputs: np.ndarray) -> Any:
        """The layer with these weights."""
        make = _kept_layer if self.engine == "jax" else LayerBackend._layer
        layer = make(self, spec, inputs.shape, inputs.dtype.name)
        own = variables(layer)
        learned = [path for path, variable in own.items() if variable.trainable]
        for path, value in self._values(spec, weights, _shapes(layer), learned).items():
            own[path].assign(native(np.array(value, order="C")))
        return layer

    def _z(self, returned: Any, shape: tuple[int, ...], layer: Any) -> Any:
        """z of what the layer returns for an input of this shape."""
        z = self._output(returned)
        if not keras.ops.is_tensor(z):
            raise TypeError(
                f"{self.name} must return a tensor; received {type(z).__name__}. `output` chooses "
                "z from what it returns"
            )
        dtype = keras.backend.standardize_dtype(z.dtype)
        self._check_output(z.shape, dtype, shape, layer.compute_dtype)
        return z


def variables(layer: Any) -> dict[str, Any]:
    """The floating-point variables of a layer by their paths, such as "theta.kernel"."""
    found: dict[int, str] = {}
    kept: dict[str, Any] = {}
    for prefix, owner in _layers(layer, ""):
        for variable in owner.variables:
            path = f"{prefix}{variable.name}"
            path = path if path not in kept else f"{prefix}{variable.path}"
            if id(variable) not in found and variable.dtype in FLOATS:
                found[id(variable)], kept[path] = path, variable
    return kept


def _layers(layer: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The layers in a layer with the paths that lead to them, the innermost first."""
    # on PyTorch a layer is a module, which has its modules apart from its attributes
    own = {**vars(layer), **vars(layer).get("_modules", {})}
    named = [(name, value) for name, value in own.items() if not name.startswith("_")]
    named += [(inner.name, inner) for inner in getattr(layer, "layers", ())]  # of a model
    for name, value in named:
        members: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, keras.layers.Layer):
            yield from _layers(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)):
            members = enumerate(value)
        elif isinstance(value, dict):
            members = value.items()
        for key, member in members:
            if isinstance(member, keras.layers.Layer):
                yield from _layers(member, f"{prefix}{name}.{key}.")
    yield prefix, layer


def _shapes(layer: Any) -> dict[str, tuple[int, ...]]:
    return {path: tuple(variable.shape) for path, variable in variables(layer).items()}


@contextmanager
def _policy(dtype: str) -> Iterator[None]:
    """A context in which new layers compute in the dtype, and have their variables in it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@lru_cache(maxsize=512)  # on JAX a layer that is made anew would be traced and compiled anew
def _kept_layer(
    backend: LayerBackend, spec: NonLocalSpec, shape: tuple[int, ...], dtype: str
) -> Any:
    return backend._layer(spec, shape, dtype)


@lru_cache(maxsize=512)
def _compiled(
    backend: LayerBackend, layer: Any, shape: tuple[int, ...], training: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The layer and its gradients as `jax_functions`."""
    return jax_functions(layer, training, lambda z: backend._z(z, shape, layer))


def _values_of(layer: Any) -> tuple[list[Any], list[Any]]:
    """The values of the trainable variables, and of the others."""
    return (
        [variable.value for variable in layer.trainable_variables],
        [variable.value for variable in layer.non_trainable_variables],
    )
