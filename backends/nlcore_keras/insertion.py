"""Non-local blocks in a functional or sequential model that exists already, after layers by name.

`insert` and `remove` return a new model on the same layers and weights. The model that they are
given stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import keras
import numpy as np

from nlcore.block_activity import BlockActivity, assert_zero, left_zero
from nlcore.weights import identity_weights
from nlcore_keras.block import NonLocalBlock

#: An inserted block has the name of the layer that it follows, and this.
SUFFIX = "_non_local"

#: Calls a layer, of this path, on its arguments.
LayerCall = Callable[..., Any]  # (path, layer, *args, **kwargs)


@keras.saving.register_keras_serializable(package="nlcore")
class InsertedBlock(NonLocalBlock):
    """A non-local block that `insert` put in, so that `remove` may take it out."""


def insert(
    model: keras.Model, where: Mapping[str, Mapping[str, Any]], *, identity: bool = True
) -> keras.Model:
    """The model with a `NonLocalBlock` after each named layer, on the same layers and weights.

    A layer that the model calls in several places has one block, which follows each call.

    Parameters
    ----------
    model
        Functional or sequential, as those of keras.applications are. It stays as it is.
    where
        Layer name -> arguments of the block: fields of `nlcore.NonLocalSpec`, and init or
        momentum. "inner/conv1" is the layer conv1 of a nested model inner. channels and ndim are
        those of the layer's output, dtype is the layer's. data_format is the layer's, or if it has
        none the one that all layers of the model have, or Keras' default.
    identity
        Start as the identity, so that the model computes the same, bit for bit. XLA may add the
        terms of a sum beside the block in another order, in compiled functions on JAX.

    Returns
    -------
    keras.Model
        Sequential if the model is, else functional; a subclass becomes its plain class. Compiled
        as the model is. A frozen layer stays frozen, and a block after it trains.

    Raises
    ------
    ValueError
        A name that the model does not have or that has a block already, two names of one layer, a
        wrong field, or a Sequential that is not built.
    TypeError
        The model is neither functional nor sequential, or a layer does not return one tensor.

    Examples
    --------
    >>> features = keras.layers.Conv2D(8, 3, name="features")
    >>> model = keras.Sequential([keras.Input((16, 16, 3)), features, keras.layers.Flatten()])
    >>> list(non_local_blocks(insert(model, {"features": {"pairwise": "dot_product"}})))
    ['features_non_local']
    """
    known = _layers_of(model)
    _check_places(known, where)
    formats = {
        layer.data_format
        for layer in known.values()
        if hasattr(layer, "data_format") and not isinstance(layer, keras.layers.Flatten)
    }
    common = formats.pop() if len(formats) == 1 else None
    made: dict[str, InsertedBlock] = {}

    def call(path: str, layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        if path not in where:
            return output
        if path not in made:
            given = {
                "ndim": _ndim(path, output),
                "dtype": layer.dtype_policy,
                "data_format": getattr(layer, "data_format", common),
                "name": layer.name + SUFFIX,
                **where[path],
            }
            made[path] = InsertedBlock(identity=identity, **given)
        return made[path](output)

    rebuilt = _rebuilt(model, call, {path.rpartition("/")[0] for path in where})
    if missed := sorted(set(where) - set(made)):
        raise ValueError(f"a block must follow layers that the model calls; received {missed}")
    return rebuilt


def remove(model: keras.Model) -> keras.Model:
    """The model without its inserted blocks, on the same layers and weights.

    Blocks that a model has of its own stay.

    Raises
    ------
    TypeError
        The model is neither functional nor sequential.
    """
    inserted = [path for path, v in _layers_of(model).items() if isinstance(v, InsertedBlock)]

    def call(path: str, layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if path in inserted else layer(*args, **kwargs)

    return _rebuilt(model, call, {path.rpartition("/")[0] for path in inserted})


def non_local_blocks(model: keras.Layer) -> dict[str, NonLocalBlock]:
    """Every non-local block of a model: its own, inserted ones, and those of layers in layers.

    Keys are paths of layer names, "inner/features_non_local". Layers outside of functional and
    sequential models may have equal paths: the second of these ends in "_1".

    Examples
    --------
    >>> import keras
    >>> layers = [keras.Input((6, 6, 3)), keras.layers.Conv2D(8, 1, name="features")]
    >>> model = insert(keras.Sequential(layers), {"features": {}})
    >>> list(non_local_blocks(model)), list(non_local_blocks(remove(model)))
    (['features_non_local'], [])
    """
    found: dict[str, NonLocalBlock] = {}
    seen: set[int] = set()

    def visit(layer: Any, path: str) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if isinstance(layer, NonLocalBlock):
            found[_unused(path, found)] = layer
        for inner in layer._flatten_layers(include_self=False, recursive=False):
            visit(inner, inner.name if layer is model else f"{path}/{inner.name}")

    visit(model, model.name)
    return found


def assert_identity(model: keras.Layer) -> None:
    """Raise AssertionError unless every non-local block is the identity.

    Raises
    ------
    ValueError
        The model has no non-local block, or one that is not built.
    """
    blocks = non_local_blocks(model)
    if not blocks:
        raise ValueError(f"model must contain a non-local block; received {model.name!r} without")
    for name, block in blocks.items():
        assert_zero(name, _zeros(block))


def block_activity(model: keras.Layer) -> dict[str, BlockActivity]:
    """Whether each non-local block is no longer the identity, by name. Keras stores no gradient.

    Raises
    ------
    ValueError
        A block is not built.

    Examples
    --------
    >>> import keras
    >>> layers = [keras.Input((6, 6, 3)), keras.layers.Conv2D(8, 1, name="features")]
    >>> model = insert(keras.Sequential(layers), {"features": {}})
    >>> assert_identity(model)
    >>> block_activity(model)["features_non_local"]
    BlockActivity(gradient=None, left_zero=False)
    """
    return {
        name: BlockActivity(gradient=None, left_zero=left_zero(_zeros(block)))
        for name, block in non_local_blocks(model).items()
    }


def is_graph(layer: Any) -> bool:
    """Whether a layer is a functional or sequential model, whose layers Keras knows."""
    functional = isinstance(layer, keras.Model) and isinstance(layer, keras.Function)
    return functional or isinstance(layer, keras.Sequential)


def _unused(path: str, taken: Mapping[str, Any]) -> str:
    """The path, or the first of path_1, path_2, ... that is not taken."""
    numbered = (f"{path}_{n}" for n in range(1, len(taken) + 1))
    return next(name for name in (path, *numbered) if name not in taken)


def _zeros(block: NonLocalBlock) -> dict[str, np.ndarray]:
    """The weights that are 0 in a block that is the identity."""
    weights = block.export_weights()
    assert block.spec is not None
    return {name: weights[name] for name in identity_weights(block.spec)}


def _layers_of(model: Any, path: str = "") -> dict[str, Any]:
    """The layers of a functional or sequential model, and of those nested in it, by path."""
    if not is_graph(model):
        raise TypeError(
            f"the model must be functional or sequential; received {type(model).__name__}"
        )
    found = {}
    for layer in model.layers:
        found[path + layer.name] = layer
        if is_graph(layer):
            found |= _layers_of(layer, f"{path}{layer.name}/")
    return found


def _check_places(known: Mapping[str, Any], where: Mapping[str, Any]) -> None:
    for path in where:
        if path not in known:
            raise ValueError(
                f"a block must follow a layer of the model; received {path!r}, {_hint(path, known)}"
            )
        if path + SUFFIX in known:
            raise ValueError(
                f"{path!r} has a block already, or a layer of its name {path + SUFFIX!r}; see "
                "remove(model)"
            )
        same = [other for other in where if known.get(other) is known[path]]
        if len(same) > 1:
            raise ValueError(f"a layer takes one block; received its names {same}")


def _hint(path: str, known: Mapping[str, Any]) -> str:
    """Where a layer of this name may be."""
    parent, _, name = path.rpartition("/")
    nested = [other for other in known if other.rpartition("/")[2] == name]
    if nested:
        return f"which is in a nested model, as {nested[:12]}"
    if parent in known and not is_graph(known[parent]):
        kind = type(known[parent]).__name__
        return f"but {parent!r} is no functional or sequential model, but of class {kind}"
    return f"beside {get_close_matches(path, known, 12, 0.3) or list(known)[:12]}"


def _ndim(path: str, output: Any) -> int:
    """The number of position axes of a layer's output."""
    if not isinstance(output, keras.KerasTensor):
        raise TypeError(
            f"a block must follow a layer that returns one tensor; {path!r} returned a "
            f"{type(output).__name__}"
        )
    if not 3 <= len(output.shape) <= 5:
        raise ValueError(
            "a block must follow a layer that returns a batch, channels and one to three axes of "
            f"positions; {path!r} returned shape {output.shape}"
        )
    return len(output.shape) - 2


def _rebuilt(
    model: Any,
    call: LayerCall,
    inside: set[str],
    path: str = "",
    done: dict[int, Any] | None = None,
) -> Any:
    """The model called anew on the same layers, each as `call(path, layer, *args, **kwargs)`.

    Nested models are rebuilt in turn where their path is in `inside` or leads to one that is.
    """
    done = {} if done is None else done  # a nested model that is called twice is rebuilt once

    def each(layer: Any, *args: Any, **kwargs: Any) -> Any:
        own = path + layer.name
        if is_graph(layer) and any(f"{name}/".startswith(f"{own}/") for name in inside):
            if id(layer) not in done:
                done[id(layer)] = _rebuilt(layer, call, inside, f"{own}/", done)
            layer = done[id(layer)]
        return call(own, layer, *args, **kwargs)

    if not isinstance(model, keras.Sequential):
        return keras.models.clone_model(
            model, clone_function=lambda layer: layer, call_function=each
        )
    if not hasattr(model, "inputs"):
        raise ValueError(
            f"a Sequential must be built, or begin with keras.Input; received {model.name!r}"
        )
    chain = keras.Model(model.inputs[0], model.outputs[0])
    chain = keras.models.clone_model(chain, clone_function=lambda layer: layer, call_function=each)
    made = keras.Sequential(chain.layers, name=model.name)
    if model.compiled:
        made.compile_from_config(model.get_compile_config())
    return made
