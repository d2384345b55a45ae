"""Weights of a 2-D ResNet in a network for clips: other libraries' names, and kernels over time.

A kernel over t frames is the 2-D one t times, divided by t, so that a video that stands still
gives what its frame gives (arXiv 1711.07971, Sec. 4.1), wherever padding in time has no part: at
the ends of a clip I3D's kernels over time meet zeros, C2D has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlcore.video.network import NetworkSpec
from nlcore.video.weights import network_weight_shapes

#: eps of batch normalization in keras.applications' ResNets.
KERAS_EPS = 1.001e-5

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Mapped:
    """Weights by nlcore's names, and what did not go across."""

    weights: Weights
    missing: tuple[str, ...]  # names of the network that the source has not
    left_over: tuple[str, ...]  # names of the source that the network has no place for


def inflate(network: NetworkSpec, source: Mapping[str, Any], names: str = "torchvision") -> Mapped:
    """Weights of a 2-D ResNet of the network's depth, as weights of the network.

    Parameters
    ----------
    source
        Arrays by name: a state dict of torchvision's or timm's resnet50 or resnet101, or what
        `keras_arrays` gives of keras.applications' ResNet50 or ResNet101.
    names : {"torchvision", "keras"}
        Whose names they are; timm has torchvision's.

    Returns
    -------
    mapped : Mapped
        What is missing is at least the non-local blocks; fc is, where it has other classes.

    Raises
    ------
    ValueError
        Unknown names, or a weight of another shape, by name.

    Notes
    -----
    keras.applications' convolutions have biases, and its batch normalization another eps: both
    become part of the running statistics. Its spatial strides are those of ``stride_at="1x1"``.
    """
    if names not in NAMES:
        raise ValueError(f"names must be one of {tuple(NAMES)}; received {names!r}")
    theirs = NAMES[names]
    arrays = {name: np.asarray(value) for name, value in source.items()}
    found: Weights = {}
    used = {name for name in arrays if name.endswith("num_batches_tracked")}
    missing = []
    for name, shape in network_weight_shapes(network).items():
        other = theirs(name)
        if ".non_local." in name or other not in arrays:
            missing.append(name)
            continue
        value = arrays[other]
        if names == "keras":
            value = _channels_first(value)
        if len(shape) == 5:
            value = np.repeat(value[:, :, None], shape[2], axis=2) / shape[2]
        if name.startswith("fc.") and len(value) != network.classes:
            missing.append(name)  # another task's
            continue
        if value.shape != shape:
            raise ValueError(
                f"{other!r} must have the shape of {name!r} over one frame, "
                f"{shape[:2] + shape[3:]}; received shape {arrays[other].shape}"
            )
        found[name] = value
        used.add(other)
    if names == "keras":
        used |= _without_biases(found, arrays)
    return Mapped(found, tuple(missing), tuple(sorted(set(arrays) - used)))


def keras_arrays(model: Any) -> Weights:
    """A Keras model's weights as arrays, by layer and variable: "conv1_conv/kernel"."""
    return {
        f"{layer.name}/{variable.path.rpartition('/')[2]}": np.asarray(value)
        for layer in model.layers
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True)
    }


def _torchvision(name: str) -> str:
    """nlcore's name -> torchvision's and timm's."""
    name = re.sub(r"^res(\d)", lambda m: f"layer{int(m[1]) - 1}", name)
    return name.replace("shortcut_bn", "downsample.1").replace("shortcut", "downsample.0")


def _keras(name: str) -> str:
    """nlcore's name -> keras.applications', layer and variable."""
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
    """(H, W, inputs, outputs) -> (outputs, inputs, H, W), (inputs, outputs) transposed."""
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T


def _without_biases(found: Weights, arrays: Weights) -> set[str]:
    """Move convolutions' biases and the other eps into running statistics; the names so used."""
    used = set()
    for name in [n for n in found if n.endswith("running_mean")]:
        norm = name.removesuffix(".running_mean")
        found[f"{norm}.running_var"] = found[f"{norm}.running_var"] + (KERAS_EPS - 1e-5)
        conv = _keras(f"{norm}.weight").replace("_bn/gamma", "_conv/bias")
        if conv in arrays:
            found[name] = found[name] - arrays[conv]
            used.add(conv)
    return used
