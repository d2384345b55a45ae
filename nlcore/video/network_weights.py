"""A network's weights: names, shapes and checks. Every backend uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import Conv
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


@dataclass(frozen=True)
class Imported:
    """The record of a network's `import_weights`. ``str(report)`` is a text for people.

    Attributes
    ----------
    count : int
        Number of weights that were replaced.
    missing : tuple of str
        The network's weights that were not given, and keep their values.
    left_over : tuple of str
        Names that were given and that the network does not use.
    """

    count: int
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.count} of {self.count + len(self.missing)} weights imported",
                f"missing, not changed: {_by_layer(self.missing)}",
                f"left over, not used: {_by_layer(self.left_over)}",
            ]
        )


def selected_weights(
    network: NetworkSpec, weights: Mapping[str, Any], partial: bool
) -> tuple[dict[str, Any], Imported]:
    """The weights that `import_weights` replaces, and its report.

    Unless `partial`, they are all. An fc with another number of classes is both missing and left
    over.

    Raises
    ------
    ValueError, TypeError
        See `check_network_weights`. With `partial`: no name is the network's, or a weight has the
        wrong shape or is not floating point.
    """
    shapes = network_weight_shapes(network)
    if not partial or not isinstance(weights, Mapping):
        check_named_weights(shapes, weights)
        return dict(weights), Imported(len(weights))
    other_fc = {n for n in FC if n in weights and tuple(np.shape(weights[n])) != shapes[n]}
    chosen = {n: value for n, value in weights.items() if n in shapes and n not in other_fc}
    if not chosen:
        raise ValueError(
            f"weights must have at least one of the network's names, {list(shapes)[:3]} ...; "
            f"received {sorted(weights)[:3]} ..."
        )
    check_named_weights({name: shapes[name] for name in chosen}, chosen)
    missing = tuple(name for name in shapes if name not in chosen)
    return chosen, Imported(len(chosen), missing, tuple(n for n in weights if n not in chosen))


def layer_of(name: str) -> str:
    """The layer or non-local block that has a weight: "res3.1.bn1.bias" -> "res3.1.bn1"."""
    before, block, _ = name.partition(".non_local.")
    return f"{before}.non_local" if block else name.rpartition(".")[0]


def _by_layer(names: tuple[str, ...]) -> str:
    """The layers of the names, with the number of names of each: "fc (2)"."""
    layers = [layer_of(name) or name for name in names]
    return (
        ", ".join(f"{layer} ({layers.count(layer)})" for layer in dict.fromkeys(layers)) or "none"
    )


def _conv_shapes(conv: Conv) -> dict[str, tuple[int, ...]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {
        f"{conv.name}.weight": (conv.outputs, conv.inputs, *conv.kernel),
        **{f"{conv.norm}.{name}": (conv.outputs,) for name in names},
    }
