"""Initial weights of a network, the same in every framework."""

from __future__ import annotations

from math import prod

import numpy as np

from nlcore.video.draws import Draw
from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import FC_STD
from nlcore.video.network_weights import layer_of, network_weight_shapes
from nlcore.weights import init_weights


def initial_network_weights(
    network: NetworkSpec,
    seed: int,
    block_init: str = "he",
    block_identity: bool = True,
    zero_residual: bool = False,
) -> dict[str, np.ndarray]:
    """Initial weights by name, float32, from a seed.

    Convolutions are normal with standard deviation sqrt(2 / fan_out) (He et al. 2015), where
    fan_out = outputs T H W, and fc is normal with 0.01. Each layer has a generator of its own,
    NumPy's `Generator` of the words of the choice "weights" at iteration 0 and the layer's number
    as slot. NumPy may change what a `Generator` makes of them, so that the weights are those of one
    version.

    Parameters
    ----------
    network : NetworkSpec
    seed : int
    block_init, block_identity
        Of non-local blocks, see `nlcore.init_weights`.
    zero_residual : bool
        Whether the scale of the last batch normalization of each residual block is 0.

    Examples
    --------
    >>> weights = initial_network_weights(NetworkSpec(width=2), seed=0, zero_residual=True)
    >>> weights["res2.0.bn3.weight"].any(), weights["res2.0.bn2.weight"].all()
    (np.False_, np.True_)
    """
    shapes = network_weight_shapes(network)
    found: dict[str, np.ndarray] = {}
    for number, layer in enumerate(dict.fromkeys(map(layer_of, shapes))):
        rng = Draw(seed, 0, number).generator("weights")
        if layer in network.blocks:
            own = init_weights(network.blocks[layer], rng, block_init, block_identity)
            found |= {f"{layer}.{name}": value for name, value in own.items()}
            continue
        for name, shape in shapes.items():
            if layer_of(name) == layer:
                found[name] = _initial(name, shape, rng, zero_residual)
    return {name: np.asarray(found[name], np.float32) for name in shapes}


def _initial(
    name: str, shape: tuple[int, ...], rng: np.random.Generator, zero_residual: bool
) -> np.ndarray:
    if name == "fc.weight":
        return rng.normal(0.0, FC_STD, shape)
    if len(shape) == 5:
        return rng.normal(0.0, np.sqrt(2.0 / (shape[0] * prod(shape[2:]))), shape)
    ones = name.endswith((".weight", ".running_var"))
    if zero_residual and name.endswith(".bn3.weight"):
        ones = False
    return np.full(shape, float(ones))
