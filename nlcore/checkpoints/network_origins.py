"""Origins of networks: projects whose video networks can be converted, and their layer names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from nlcore.checkpoints.block_origins import named_origin
from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import I3D, SLOW_ONLY, Pool

#: Names of weights of a second pathway, in SlowFast and C2, pytorchvideo, and mmaction2.
SECOND_PATHWAY = re.compile(r".*(pathway1_|multipathway_|fast_path\.)|t_(conv1|res\d)_|s\d_fuse\.")
#: Fields of C2D, I3D and SlowOnly that decide the temporal kernels.
KINDS = (
    {"inflation": "none", "conv1_frames": 1},
    {"inflation": "3x1x1", "conv1_frames": 5, "inflated": I3D},
    {"inflation": "3x1x1", "conv1_frames": 1, "inflated": SLOW_ONLY},
)


@dataclass(frozen=True)
class NetworkOrigin:
    """The video networks of one project: names of layers, and properties that are not weights."""

    block: str  # origin of the blocks, a key of `nlcore.checkpoints.block_origins.ORIGINS`
    source: str
    #: nlcore's name of a layer or a block ("res3.1.non_local"), and the network -> the project's
    #: name or prefix.
    layer: Callable[[str, NetworkSpec], str]
    #: Whether the embedded Gaussian has the scale D^-1/2 in the published models.
    use_scale: bool
    #: Values of `NetworkSpec.depth` and `NetworkSpec.inflation` that the project supports.
    depths: tuple[int, ...]
    inflations: tuple[str, ...]
    #: The pool1 and pool2 of the project with the strides of the network.
    pools: Callable[[NetworkSpec], tuple[Pool, Pool]]
    #: Values of `NetworkSpec.head` that the project supports.
    heads: tuple[str, ...]
    #: Regular expression of the names that are not weights.
    ignored: str
    #: The temporal stride of conv1, or None if it can be configured.
    stride: int | None = None
    #: Values of `NetworkSpec.stride_at` that the project supports.
    stride_at: tuple[str, ...] = ("3x3", "1x1")
    #: The entries of `KINDS` that the project supports, or none if kernels can be configured.
    kinds: tuple[dict[str, object], ...] = ()
    #: The side of a window, or None if it can be configured.
    head_window: int | None = None


def named_network_origin(origin: str) -> NetworkOrigin:
    """Return the origin of this name, or raise a ValueError."""
    if not isinstance(origin, str) or origin not in NETWORKS:
        raise ValueError(f"origin must be one of {tuple(NETWORKS)}; received {origin!r}")
    return NETWORKS[origin]


def check_network_holds(origin: str, network: NetworkSpec) -> None:
    """Raise a ValueError that names the field unless the origin has networks of these kernels."""
    known = named_network_origin(origin)
    for field, values in {"depth": known.depths, "inflation": known.inflations}.items():
        if getattr(network, field) not in values:
            raise ValueError(
                f"{origin} does not support {field}={getattr(network, field)!r}: it must be one of "
                f"{values}"
            )
    alike = [_kernels(replace(network, **kind)) for kind in known.kinds]  # type: ignore[arg-type]
    if alike and _kernels(network) not in alike:
        fields = ("inflation", "conv1_frames", "inflated")
        raise ValueError(
            f"{origin} does not support these temporal kernels: they must be those of one of "
            f"{known.kinds}; received { {name: getattr(network, name) for name in fields} }"
        )


def check_pathways(names: Iterable[str]) -> None:
    """Raise a ValueError if one of the names is a weight of a second pathway."""
    second = next(filter(SECOND_PATHWAY.match, names), None)
    if second is not None:
        raise ValueError(
            "expected a network with one pathway, which a NetworkSpec describes; received one with "
            f"two, such as SlowFast, with the weight {second!r}"
        )


def _kernels(network: NetworkSpec) -> list[tuple[int, int, int]]:
    convs = (conv for stage in network.stages for residual in stage for conv in residual.convs)
    return [network.stem[0].kernel, *(conv.kernel for conv in convs)]


def _parts(layer: str) -> tuple[int, str, str]:
    """ "res3.1.bn2" -> 3, "1", "bn2"."""
    stage, index, part = layer.split(".")
    return int(stage.removeprefix("res")), index, part


def _mmaction2(layer: str, network: NetworkSpec) -> str:
    if layer == "fc":
        return "cls_head.fc_cls"
    if layer in ("conv1", "bn1"):
        return f"backbone.conv1.{layer[:-1]}"
    stage, index, part = _parts(layer)
    within = {"non_local": "non_local_block.", "shortcut": "downsample.conv"}
    within |= {"shortcut_bn": "downsample.bn"}
    inner = within.get(part) or f"conv{part[-1]}.{part[:-1]}"
    return f"backbone.layer{stage - 1}.{index}.{inner}"


def _slowfast(layer: str, network: NetworkSpec) -> str:
    if layer == "fc":
        return "head.projection"
    if layer in ("conv1", "bn1"):
        return f"s1.pathway0_stem.{layer[:-1]}"
    stage, index, part = _parts(layer)
    if part == "non_local":
        return f"s{stage}.pathway0_nonlocal{index}."
    return f"s{stage}.pathway0_res{index}.{_branch(part, '.')}"


def _caffe2(layer: str, network: NetworkSpec) -> str:
    if layer in ("fc", "conv1", "bn1"):
        return {"fc": "pred", "conv1": "conv1", "bn1": "res_conv1_bn"}[layer]
    stage, index, part = _parts(layer)
    if part == "non_local":
        return f"nonlocal_conv{stage}_{index}_"
    return f"res{stage}_{index}_{_branch(part, '')}"


def _pytorchvideo(layer: str, network: NetworkSpec) -> str:
    """The name in `Net.blocks`, where pool2 is an element if the network has one.

    A non-local block is the element of `ResStage.res_blocks` after its residual block.
    """
    pooled = network.temporal_strides[2] > 1
    if layer == "fc":
        return f"blocks.{5 + pooled}.proj"
    if layer in ("conv1", "bn1"):
        return f"blocks.0.{'conv' if layer == 'conv1' else 'norm'}"
    stage, index, part = _parts(layer)
    before = [int(_parts(f"{name}.")[1]) for name in network.non_local if _stage(name) == stage]
    place = int(index) + sum(k < int(index) for k in before) + (part == "non_local")
    prefix = f"blocks.{stage - 1 + (pooled and stage > 2)}.res_blocks.{place}."
    if part == "non_local":
        return prefix
    kind = "norm" if "bn" in part else "conv"
    if part.startswith("shortcut"):
        return f"{prefix}branch1_{kind}"
    return f"{prefix}branch2.{kind}_{'abc'[int(part[-1]) - 1]}"


def _stage(residual: str) -> int:
    return int(residual.partition(".")[0].removeprefix("res"))


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


def _mmaction2_pools(network: NetworkSpec) -> tuple[Pool, Pool]:
    _, first, second = network.temporal_strides
    space = network.stem_padding if network.inflation == "none" else 1  # its class C2D has 0
    return _pool1(1, first, space), _pool2(second)


def _pytorchvideo_pools(network: NetworkSpec) -> tuple[Pool, Pool]:
    pool = network.stem[1]
    return replace(pool, padding=(pool.kernel[0] // 2, 1, 1)), _pool2(network.temporal_strides[2])


def _caffe2_pools(network: NetworkSpec) -> tuple[Pool, Pool]:
    stride = network.temporal_strides[1]
    return _pool1(stride, stride, 0), _pool2(2)


NETWORKS: dict[str, NetworkOrigin] = {
    "mmaction2": NetworkOrigin(
        block="mmcv",
        source="open-mmlab/mmaction2, models/backbones/resnet3d.py, resnet3d_slowonly.py and "
        "c2d.py, and heads/i3d_head.py",
        layer=_mmaction2,
        use_scale=False,
        depths=(50, 101, 152),
        inflations=("none", "3x1x1", "3x3x3"),
        pools=_mmaction2_pools,
        heads=("mean",),
        ignored=r".*\.num_batches_tracked|data_preprocessor\.(mean|std)",
    ),
    "slowfast": NetworkOrigin(
        block="slowfast",
        source="facebookresearch/SlowFast, slowfast/models/video_model_builder.py, ResNet, and "
        "head_helper.py, ResNetBasicHead",
        layer=_slowfast,
        use_scale=True,
        depths=(50, 101),
        inflations=("none", "3x1x1"),
        pools=lambda network: (_pool1(1, 1, 1), _pool2(network.temporal_strides[2])),
        heads=("windows",),
        ignored=r".*\.num_batches_tracked",
        stride=1,
        kinds=KINDS,
    ),
    "pytorchvideo": NetworkOrigin(
        block="pytorchvideo",
        source="pytorchvideo 0.1.5, models/resnet.py, create_resnet, and models/head.py",
        layer=_pytorchvideo,
        use_scale=True,
        depths=(50, 101, 152),
        inflations=("none", "3x1x1"),
        pools=_pytorchvideo_pools,
        heads=("window_logits", "windows"),  # without and with head_activation
        ignored=r".*\.num_batches_tracked",
        stride_at=("3x3",),
    ),
    "caffe2": NetworkOrigin(
        block="caffe2",
        source="facebookresearch/video-nonlocal-net, lib/models/resnet_video.py (8 frames) and "
        "resnet_video_org.py (32 and 128)",
        layer=_caffe2,
        use_scale=True,
        depths=(50, 101),
        inflations=("none", "3x1x1"),
        pools=_caffe2_pools,
        heads=("windows",),
        ignored=named_origin("caffe2").ignored,
        stride_at=("3x3",),
        kinds=KINDS[:2],
        head_window=7,
    ),
}
