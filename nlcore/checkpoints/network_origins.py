"""Origins of networks: projects whose video networks can be converted, and their layer names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nlcore.checkpoints.block_origins import named_origin
from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import Pool, placement


@dataclass(frozen=True)
class NetworkOrigin:
    """The video networks of one project: names of layers, and properties that are not weights."""

    block: str  # origin of the blocks, a key of `nlcore.checkpoints.block_origins.ORIGINS`
    source: str
    #: nlcore's name of a layer or a block ("res3.1.non_local") -> the project's name or prefix.
    layer: Callable[[str], str]
    #: Whether the embedded Gaussian has the scale D^-1/2 in the published models.
    use_scale: bool
    #: Values of `NetworkSpec.inflation` that the project supports.
    inflations: tuple[str, ...]
    #: The temporal strides of a NetworkSpec -> the pool1 and pool2 of the project.
    pools: Callable[[tuple[int, int, int]], tuple[Pool, Pool]]
    #: Regular expression of the names that are not weights.
    ignored: str
    #: The temporal stride of conv1, or None if it can be configured.
    stride: int | None = None
    #: Values of `NetworkSpec.stride_at` that the project supports.
    stride_at: tuple[str, ...] = ("3x3", "1x1")


def named_network_origin(origin: str) -> NetworkOrigin:
    """Return the origin of this name, or raise a ValueError."""
    if not isinstance(origin, str) or origin not in NETWORKS:
        raise ValueError(f"origin must be one of {tuple(NETWORKS)}; received {origin!r}")
    return NETWORKS[origin]


def _parts(layer: str) -> tuple[int, str, str]:
    """ "res3.1.bn2" -> 3, "1", "bn2"."""
    stage, index, part = layer.split(".")
    return int(stage.removeprefix("res")), index, part


def _mmaction2(layer: str) -> str:
    if layer == "fc":
        return "cls_head.fc_cls"
    if layer in ("conv1", "bn1"):
        return f"backbone.conv1.{layer[:-1]}"
    stage, index, part = _parts(layer)
    within = {"non_local": "non_local_block.", "shortcut": "downsample.conv"}
    within |= {"shortcut_bn": "downsample.bn"}
    inner = within.get(part) or f"conv{part[-1]}.{part[:-1]}"
    return f"backbone.layer{stage - 1}.{index}.{inner}"


def _slowfast(layer: str) -> str:
    if layer == "fc":
        return "head.projection"
    if layer in ("conv1", "bn1"):
        return f"s1.pathway0_stem.{layer[:-1]}"
    stage, index, part = _parts(layer)
    if part == "non_local":
        return f"s{stage}.pathway0_nonlocal{index}."
    return f"s{stage}.pathway0_res{index}.{_branch(part, '.')}"


def _caffe2(layer: str) -> str:
    if layer in ("fc", "conv1", "bn1"):
        return {"fc": "pred", "conv1": "conv1", "bn1": "res_conv1_bn"}[layer]
    stage, index, part = _parts(layer)
    if part == "non_local":
        return f"nonlocal_conv{stage}_{index}_"
    return f"res{stage}_{index}_{_branch(part, '')}"


def _branch(part: str, between: str) -> str:
    """The name of a convolution or its normalization: "conv1" -> "branch2a", the shortcut is 1."""
    norm = "_bn" if "bn" in part else ""
    if part.startswith("shortcut"):
        return f"branch1{norm}"
    return f"branch2{between}{'abc'[int(part[-1]) - 1]}{norm}"


def _pool1(frames: int, stride: int, space: int) -> Pool:
    return Pool("pool1", (frames, 3, 3), (stride, 2, 2), (0, space, space))


def _pool2(stride: int) -> Pool:
    return Pool("pool2", (stride, 1, 1), (stride, 1, 1), (0, 0, 0))


NETWORKS: dict[str, NetworkOrigin] = {
    "mmaction2": NetworkOrigin(
        block="mmcv",
        source="open-mmlab/mmaction2, models/backbones/resnet3d.py and heads/i3d_head.py",
        layer=_mmaction2,
        use_scale=False,
        inflations=("none", "3x1x1", "3x3x3"),
        pools=lambda strides: (_pool1(1, strides[1], 1), _pool2(strides[2])),
        ignored=r".*\.num_batches_tracked|data_preprocessor\.(mean|std)",
    ),
    "slowfast": NetworkOrigin(
        block="slowfast",
        source="facebookresearch/SlowFast, slowfast/models/video_model_builder.py, ResNet",
        layer=_slowfast,
        use_scale=True,
        inflations=("none", "3x1x1"),
        pools=lambda strides: (_pool1(1, 1, 1), _pool2(strides[2])),
        ignored=r".*\.num_batches_tracked",
        stride=1,
    ),
    "caffe2": NetworkOrigin(
        block="caffe2",
        source="facebookresearch/video-nonlocal-net, lib/models/resnet_video.py (8 frames) and "
        "resnet_video_org.py (32 and 128)",
        layer=_caffe2,
        use_scale=True,
        inflations=("none", "3x1x1"),
        pools=lambda strides: (_pool1(strides[1], strides[1], 0), _pool2(2)),
        ignored=named_origin("caffe2").ignored,
        stride_at=("3x3",),
    ),
}


def _network(
    inflation: str, strides: tuple[int, int, int], space: int, **block: Any
) -> NetworkSpec:
    """A ResNet-50 with 5 non-local blocks, where `space` is the spatial padding of pool1."""
    return NetworkSpec(
        50,
        inflation,
        placement(50, 5),
        {"subsample": (1, 2, 2), "bias": True, **block},
        temporal_strides=strides,
        stem_padding=space,
    )


_BEFORE = {"subsample_at": "input"}
_SHORT, _LONG = (1, 1, 2), (2, 2, 2)
_MMACTION2 = "i3d_imagenet-pretrained-r50-nl-{}_8xb8-32x2x1-100e_kinetics400-rgb"
#: Name of a published file or configuration -> its network. The name is without the suffix, and
#: without "_IN_pretrain" or "_I3D_pretrain" and what follows. `differences` lists what a
#: `NetworkSpec` does not describe.
PUBLISHED: dict[str, NetworkSpec] = {
    # SlowFast, configs/Kinetics
    "C2D_NLN_8x8_R50": _network("none", _SHORT, 1, **_BEFORE),
    "I3D_NLN_8x8_R50": _network("3x1x1", _SHORT, 1, **_BEFORE),
    "I3D_NLN_8x8_R101": replace(_network("3x1x1", _SHORT, 1, **_BEFORE), depth=101),
    # mmaction2, configs/recognition/i3d
    _MMACTION2.format("dot-product"): _network("3x1x1", _LONG, 1, pairwise="dot_product"),
    _MMACTION2.format("embedded-gaussian"): _network("3x1x1", _LONG, 1),
    _MMACTION2.format("gaussian"): _network("3x1x1", _LONG, 1, pairwise="gaussian"),
    # C2, README.md; 32x4 and 128x1 have affine layers
    "c2d_nonlocal_8x8": _network("none", _SHORT, 0, **_BEFORE),
    "i3d_nonlocal_8x8": _network("3x1x1", _SHORT, 0, **_BEFORE),
    "c2d_nonlocal_32x2": _network("none", _LONG, 0, **_BEFORE),
    "i3d_nonlocal_32x2": _network("3x1x1", _LONG, 0, **_BEFORE),
    "i3d_nonlocal_32x4": _network("3x1x1", _SHORT, 0, batch_norm=False, **_BEFORE),
    "i3d_nonlocal_128x1": _network("3x1x1", _LONG, 0, batch_norm=False, **_BEFORE),
}
