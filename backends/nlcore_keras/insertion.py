"""Non-local blocks in a functional Keras model that exists already, after layers of it by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from nlcore_keras.block import NonLocalBlock

#: What the name of an inserted block ends in; before it stands the layer's that it follows.
SUFFIX = "_non_local"


def insert(
    model: keras.Model, where: Mapping[str, Mapping[str, Any]], *, identity: bool = True
) -> keras.Model:
    """The model with a `NonLocalBlock` after each named layer, on the same layers and weights.

    Parameters
    ----------
    model
        Functional or sequential, as those of keras.applications are; it stays as it is.
    where
        Layer name -> arguments of the block, but for channels; ndim is the layer's, and so is
        data_format if it has one.
    identity
        Start as the identity, so that the model computes the same, bit for bit.

    Raises
    ------
    ValueError
        A name that the model does not have or that has a block already, or a wrong field.
    TypeError
        The model is neither functional nor sequential.
    """
    names = {layer.name for layer in _functional(model).layers}
    for name in where:
        if name not in names:
            near = sorted(n for n in names if n.split("_")[0] == name.split("_")[0])
            raise ValueError(
                f"a block must follow a layer of the model; received {name!r}, beside {near[:12]}"
            )
        if name + SUFFIX in names:
            raise ValueError(f"{name!r} has a block already; see remove(model)")

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = layer(*args, **kwargs)
        if layer.name not in where:
            return output
        given = {
            "ndim": len(output.shape) - 2,
            "dtype": layer.dtype_policy,
            "data_format": getattr(layer, "data_format", None),
            **where[layer.name],
        }
        return NonLocalBlock(identity=identity, name=layer.name + SUFFIX, **given)(output)

    return _rebuilt(model, call)


def remove(model: keras.Model) -> keras.Model:
    """The model without its inserted blocks, on the same layers and weights."""
    inserted = blocks(model).values()

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if any(layer is block for block in inserted) else layer(*args, **kwargs)

    return _rebuilt(model, call)


def blocks(model: keras.Model) -> dict[str, NonLocalBlock]:
    """The inserted blocks, by the names of the layers that they follow."""
    return {
        layer.name.removesuffix(SUFFIX): layer
        for layer in model.layers
        if isinstance(layer, NonLocalBlock) and layer.name.endswith(SUFFIX)
    }


def assert_identity(model: keras.Model) -> None:
    """Raise AssertionError unless every inserted block is the identity."""
    for name, block in blocks(model).items():
        for weight, values in _zeros(block):
            if values.any():
                raise AssertionError(
                    f"the block after {name!r} is not the identity: expected {weight} to be 0; "
                    f"received values up to {np.abs(values).max():.3g}"
                )


def is_active(model: keras.Model) -> dict[str, bool]:
    """Whether each inserted block has left the identity, by layer name."""
    return {
        name: any(values.any() for _, values in _zeros(block))
        for name, block in blocks(model).items()
    }


def _zeros(block: NonLocalBlock) -> Iterator[tuple[str, np.ndarray]]:
    """The weights that are 0 in a block that is the identity."""
    assert block.spec is not None
    part = "bn" if block.spec.batch_norm else "out"
    weights = block.export_weights()
    for name in (f"{part}.weight", f"{part}.bias"):
        if name in weights:
            yield name, weights[name]


def _rebuilt(model: keras.Model, call: Any) -> keras.Model:
    """The model called anew, layer after layer, through `call(layer, *args, **kwargs)`."""
    return keras.models.clone_model(
        _functional(model), clone_function=lambda layer: layer, call_function=call
    )


def _functional(model: keras.Model) -> keras.Model:
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not hasattr(model, "inputs") or not hasattr(model, "_nodes"):
        raise TypeError(
            f"the model must be functional or sequential; received {type(model).__name__}"
        )
    return model
