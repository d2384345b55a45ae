"""Inflation: weights of a 2-D ResNet trained on ImageNet, converted for a video network.

A kernel over t frames consists of t copies of the 2-D kernel, divided by t. A video of one repeated
frame then gives the result of the frame (arXiv 1711.07971, Sec. 4.1). The exception is I3D at both
ends of a clip, where temporal kernels also cover the zero padding. C2D has no temporal kernels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nlcore.checkpoints.converted import Converted, Place, Weights, account, take
from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import BN_EPS
from nlcore.video.network_weights import FC, network_weight_shapes

#: eps of batch normalization in the ResNets of keras.applications.
KERAS_EPS = 1.001e-5


def inflate(
    network: NetworkSpec, source: Mapping[str, Any], names: str = "torchvision"
) -> Converted[NetworkSpec]:
    """Convert the weights of a 2-D ResNet of the same depth to weights of the network.

    Parameters
    ----------
    network : NetworkSpec
    source : mapping of str to array
        State dict of resnet50 or resnet101 from torchvision or timm, or the result of
        `keras_arrays` for ResNet50 or ResNet101 from keras.applications.
    names : {"torchvision", "keras"}
        Whose names `source` has. The names of timm are those of torchvision.

    Returns
    -------
    converted : Converted
        The weights of non-local blocks are always missing. fc is missing too if the number of
        classes differs.

    Raises
    ------
    ValueError
        `names` is unknown, or a weight has the wrong shape. The message names the weight.

    Notes
    -----
    In keras.applications, convolutions have biases, and batch normalization has another eps. Both
    are converted by changing the running statistics. Its spatial strides are those of
    ``stride_at="1x1"``.

    Examples
    --------
    >>> import numpy as np
    >>> from nlcore.video import NetworkSpec, network_weight_shapes
    >>> name, shapes = NAMES["torchvision"], network_weight_shapes(NetworkSpec(50, classes=1000))
    >>> flat = {name(n): np.ones(s[:2] + s[3:], np.float32) for n, s in shapes.items()}
    >>> kernel = inflate(NetworkSpec(50, "3x1x1"), flat).weights["conv1.weight"]
    >>> kernel.shape, bool((kernel == np.float32(1 / 5)).all())  # five copies, divided by 5
    ((64, 3, 5, 7, 7), True)
    """
    if names not in NAMES:
        raise ValueError(f"names must be one of {tuple(NAMES)}; received {names!r}")
    arrays = {name: np.asarray(value) for name, value in source.items()}
    if names == "keras":
        arrays = {name: _channels_first(value) for name, value in arrays.items()}
    shapes = network_weight_shapes(network)
    places = {
        name: Place(NAMES[names](name), shape[:2] + shape[3:])  # without the time axis
        for name, shape in shapes.items()
        if ".non_local." not in name
    }
    flat = {name: place.shape for name, place in places.items()}
    weights, read = take(arrays, places, flat, replaceable=FC)
    for name in weights:
        if len(shapes[name]) == 5:
            weights[name] = _over_time(weights[name], shapes[name][2])
    notes = []
    if names == "keras":
        folded = _fold_biases(weights, arrays)
        arrays = {name: value for name, value in arrays.items() if name not in folded}
        notes.append(f"the running statistics include {len(folded)} biases of convolutions and eps")
    ignored = r"(.*\.)?num_batches_tracked"
    return account(network, shapes, weights, read, arrays, ignored, notes)


def _over_time(kernel: np.ndarray, frames: int) -> np.ndarray:
    """(outputs, inputs, H, W) -> (outputs, inputs, T, H, W), each frame being kernel / T."""
    return np.repeat(kernel[:, :, None], frames, axis=2) / frames


def keras_arrays(model: Any) -> Weights:
    """The weights of a Keras model as arrays, by layer and variable, as "conv1_conv/kernel"."""
    return {
        f"{layer.name}/{variable.path.rpartition('/')[2]}": np.asarray(value)
        for layer in model.layers
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True)
    }


def _torchvision(name: str) -> str:
    """nlcore's name -> the name in torchvision and timm."""
    name = re.sub(r"^res(\d)", lambda m: f"layer{int(m[1]) - 1}", name)
    return name.replace("shortcut_bn", "downsample.1").replace("shortcut", "downsample.0")


def _keras(name: str) -> str:
    """nlcore's name -> the name in keras.applications, "layer/variable"."""
    layer, _, part = name.rpartition(".")
    if layer == "fc":
        return f"predictions/{'kernel' if part == 'weight' else 'bias'}"
    norm = "bn" in layer.split(".")[-1]
    own = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
    own["running_var"] = "moving_variance"
    variable = own[part] if norm else "kernel"
    kind = "bn" if norm else "conv"
    if "." not in layer:
        return f"conv1_{kind}/{variable}"
    stage, index, last = layer.split(".")[:3]
    number = last[-1] if last[-1].isdigit() else "0"  # the shortcut is number 0
    return f"conv{stage[3:]}_block{int(index) + 1}_{number}_{kind}/{variable}"


NAMES: dict[str, Callable[[str], str]] = {"torchvision": _torchvision, "keras": _keras}


def _channels_first(value: np.ndarray) -> np.ndarray:
    """(H, W, inputs, outputs) -> (outputs, inputs, H, W), (inputs, outputs) -> its transpose."""
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def _fold_biases(weights: Weights, arrays: Weights) -> set[str]:
    """Fold Keras' convolution biases and eps into the running statistics, in place.

    Returns the names of the biases.
    """
    folded = set()
    for name in [n for n in weights if n.endswith("running_mean")]:
        norm = name.removesuffix(".running_mean")
        variance = f"{norm}.running_var"
        weights[variance] = weights[variance] + (KERAS_EPS - BN_EPS)
        bias = _keras(f"{norm}.weight").replace("_bn/gamma", "_conv/bias")
        if bias in arrays:
            weights[name] = weights[name] - arrays[bias]
            folded.add(bias)
    return folded
