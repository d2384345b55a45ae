"""A network's weights by name: shapes and checks, shared by every backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlcore.video.network import Conv, NetworkSpec
from nlcore.weights import check_named_weights, weight_shapes

#: Weights that another task has in other shapes.
FC = ("fc.weight", "fc.bias")


def network_weight_shapes(network: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight, in the order of computation.

    Convolutions are (outputs, inputs, T, H, W), fc is (classes, features).
    """
    shapes = _conv_shapes(network.stem[0])
    for stage in network.stages:
        for residual in stage:
            for conv in residual.convs:
                shapes |= _conv_shapes(conv)
            if residual.shortcut is not None:
                shapes |= _conv_shapes(residual.shortcut)
            if residual.non_local is not None:
                own = weight_shapes(residual.non_local)
                shapes |= {f"{residual.name}.non_local.{name}": s for name, s in own.items()}
    return shapes | {
        "fc.weight": (network.classes, network.features),
        "fc.bias": (network.classes,),
    }


def check_network_weights(network: NetworkSpec, weights: Mapping[str, Any]) -> None:
    """Raise unless `weights` holds just the names that the network needs, each of its shape.

    Raises
    ------
    ValueError
        A missing, extra or misshapen weight, by name, with the shape expected and received.
    TypeError
        `weights` is not a mapping, or an array in it is not floating point.
    """
    check_named_weights(network_weight_shapes(network), weights)


def _conv_shapes(conv: Conv) -> dict[str, tuple[int, ...]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{conv.name}.weight": (conv.outputs, conv.inputs, *conv.kernel),
        **{f"{conv.norm}.{name}": (conv.outputs,) for name in names},
    }
