"""A network's weights: names, shapes and checks. Every backend uses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlcore.video.network import Conv, NetworkSpec
from nlcore.weights import check_named_weights, weight_shapes

#: Weights whose shapes depend on the number of classes.
FC = ("fc.weight", "fc.bias")


def network_weight_shapes(network: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's weights, in the order of computation.

    A convolution has shape (outputs, inputs, T, H, W), and fc has shape (classes, features).

    Examples
    --------
    >>> network_weight_shapes(NetworkSpec())["conv1.weight"]
    (64, 3, 1, 7, 7)
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
    """Raise unless `weights` has exactly the names and shapes of `network_weight_shapes`.

    Raises
    ------
    ValueError
        A weight is missing, extra or has the wrong shape. The message gives its name, the
        expected shape and the received one.
    TypeError
        `weights` is not a mapping, or a weight is not floating point.
    """
    check_named_weights(network_weight_shapes(network), weights)


def _conv_shapes(conv: Conv) -> dict[str, tuple[int, ...]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{conv.name}.weight": (conv.outputs, conv.inputs, *conv.kernel),
        **{f"{conv.norm}.{name}": (conv.outputs,) for name in names},
    }
