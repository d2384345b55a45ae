"""Weights of other projects' video networks as a `NetworkSpec`'s, and back.

By name and shape, framework-free; `nlcore_torch.convert` reads their files and takes tensors. How
their blocks' weights are called is `nlcore.origins`' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlcore.conversion import Converted, Weights, check_affine, collect, distribute
from nlcore.origins import Place, block_places, check_holds, named_origin
from nlcore.spec import NonLocalSpec
from nlcore.video.network import BN_EPS, NetworkSpec, Pool, Residual, placement
from nlcore.video.weights import check_network_weights, network_weight_shapes

FC = ("fc.weight", "fc.bias")


@dataclass(frozen=True)
class NetworkOrigin:
    """How one project calls a video network's layers, and what it computes that is no weight."""

    block: str  # whose blocks they are
    source: str
    #: nlcore's name of a layer, or of a block, "res3.1.non_local" -> theirs.
    layer: Callable[[str], str]
    #: Whether the published models' embedded Gaussian has a scale.
    use_scale: bool
    inflations: tuple[str, ...]
    #: Temporal strides -> pool1 and pool2.
    pools: Callable[[tuple[int, int, int]], tuple[Pool, Pool]]
    #: Names, as a regular expression, of what is no weight.
    ignored: str
    #: Of conv1 over time; None if it can be told.
    stride: int | None = None
    #: Values of NetworkSpec.stride_at.
    stride_at: tuple[str, ...] = ("3x3", "1x1")


def convert_network(
    state: Mapping[str, Any],
    network: NetworkSpec,
    origin: str,
    *,
    use_scale: bool | None = None,
    partial: bool = False,
) -> Converted[NetworkSpec]:
    """Weights of another project's video network as the network's.

    Parameters
    ----------
    state : mapping of str to array
        The whole recognizer's state dict, or C2's blobs. With origin "slowfast" they may have C2's
        names, as those in SlowFast's model zoo have.
    network : NetworkSpec
        Its depth, inflation and blocks are the file's; `PUBLISHED` has those of published models.
    origin : str
        One of `NETWORKS`: "mmaction2", "slowfast", "caffe2".
    use_scale : bool, optional
        Whether the file's embedded Gaussian has the scale D^-1/2. As in the origin's published
        models by default: in mmaction2's it has not, in the others' it has.
    partial : bool
        Return what there is, where something is missing or left over; an fc of other classes is
        both.

    Returns
    -------
    converted : Converted
        Its `notes` say what else the origin's network computes, see `differences`.

    Raises
    ------
    ValueError
        A weight of another shape; a field of `network.block` that the origin's block cannot have;
        or, unless `partial`, weights that are missing or left over, all by name.

    Notes
    -----
    A network has one `scale` for all of its blocks, and D^-1/2 is another one in each stage: theta
    carries the quotient, f = exp((s theta)^T phi), which rounds it once.

    What `convert_block` says of biases that are not there and of affine layers holds here.

    The published networks, as `PUBLISHED` has them: blocks stand after res3.1, res3.3, res4.1,
    res4.3 and res4.5 in all of them, SlowFast's ResNet-101 included (C2's has res4.6, res4.13 and
    res4.20 instead), pool by (1, 2, 2) and have biases. SlowFast's NLN 8x8 have
    ``temporal_strides=(1, 1, 2)`` and pool before phi and g. mmaction2's I3D have (2, 2, 2), and
    pool after phi and g. C2's have ``stem_padding=0`` and pool before phi and g; (1, 1, 2) is of
    its 8x8 and 32x4 models, (2, 2, 2) of its 32x2 and 128x1. Those of 32x4 and 128x1 have affine
    layers, and blocks without batch normalization.
    """
    known = _named(origin)
    names = origin
    if origin == "slowfast" and "conv1_w" in state:
        names = "caffe2"
    theirs = _blocks(network, known, use_scale)
    places = _places(network, NETWORKS[names], theirs)
    affine = named_origin(NETWORKS[names].block).affine
    converted = collect(
        network,
        network_weight_shapes(network),
        places,
        state,
        ignored=NETWORKS[names].ignored,
        affine=_norms(network) if affine else {},
        partial=partial,
        replaceable=FC,
    )
    notes = [*converted.notes, *differences(network, origin)]
    weights = dict(converted.weights)
    for block, spec in theirs.items():
        notes += _scaled(weights, block, spec.scale / _scale(network))
    filled = "bn1.running_mean" in weights and "bn1.running_mean" not in converted.names
    if filled and any(block.startswith("res3.") for block in theirs):
        notes.append("with affine layers, C2 has res3's blocks in windows of 4 frames, res4's not")
    return replace(converted, weights=weights, notes=tuple(notes))


def export_network(
    network: NetworkSpec,
    weights: Mapping[str, Any],
    origin: str,
    *,
    use_scale: bool | None = None,
    affine: bool = False,
) -> Weights:
    """A network's weights by the names and in the shapes of another project's, all of them.

    What is no weight is for the other network's configuration to be told; `differences` says what
    it cannot be told.

    Parameters
    ----------
    use_scale : bool, optional
        Whether the other network's embedded Gaussian has its scale; see `convert_network`.
    affine : bool
        C2 only: every batch normalization with its running statistics as a scale and a shift.

    Raises
    ------
    ValueError, TypeError
        The origin has no weights of such an inflation; a field of `network.block` that its block
        cannot have; or weights that are not the network's.
    """
    known = _named(origin)
    check_network_weights(network, weights)
    if network.inflation not in known.inflations:
        raise ValueError(
            f"{origin} cannot hold inflation={network.inflation!r}: expected one of "
            f"{known.inflations}"
        )
    if affine:
        check_affine(origin, named_origin(known.block))
    own = {name: np.asarray(value) for name, value in weights.items()}
    theirs = _blocks(network, known, use_scale)
    for block, spec in theirs.items():
        _scaled(own, block, _scale(network) / spec.scale)
    if not named_origin(known.block).bias_optional:  # there are biases, 0 where we have none
        theirs = {block: replace(spec, bias=True) for block, spec in theirs.items()}
    places = _places(network, known, theirs)
    return distribute(own, places, _norms(network) if affine else {}, origin)


def differences(network: NetworkSpec, origin: str) -> tuple[str, ...]:
    """What the origin's network computes otherwise than this one with the same weights, in words.

    SlowFast, mmaction2 and C2 pool over as many frames as their stride is, or take every second
    frame; the paper's Table 1, which NetworkSpec has, pools over 3.

    Raises
    ------
    ValueError
        Unknown origin.
    """
    known = _named(origin)
    found = []
    conv1, pool1 = network.stem
    if known.stride not in (None, conv1.stride[0]):
        found.append(f"conv1 has stride {known.stride} over time, in the network {conv1.stride[0]}")
    pools = known.pools(network.temporal_strides)
    for theirs, own in zip(pools, (pool1, network.pool2), strict=True):
        if theirs != own:
            found.append(f"{own.name} is {_shown(theirs)}, in the network {_shown(own)}")
    if network.stride_at not in known.stride_at:
        found.append(f"stride_at is {known.stride_at[0]!r}, in the network {network.stride_at!r}")
    return tuple(f"in {origin}, {difference}" for difference in found)


def _shown(pool: Pool) -> str:
    return f"of kernel {pool.kernel}, stride {pool.stride} and padding {pool.padding}"


def _named(origin: str) -> NetworkOrigin:
    if not isinstance(origin, str) or origin not in NETWORKS:
        raise ValueError(f"origin must be one of {tuple(NETWORKS)}; received {origin!r}")
    return NETWORKS[origin]


def _blocks(
    network: NetworkSpec, known: NetworkOrigin, use_scale: bool | None
) -> dict[str, NonLocalSpec]:
    """The non-local blocks by name, with the origin's scale, that its block can have."""
    scaled = known.use_scale if use_scale is None else use_scale
    found = {}
    for residual in _residuals(network):
        spec = residual.non_local
        if spec is None:
            continue
        if spec.pairwise == "embedded_gaussian":
            spec = replace(spec, scale=spec.inner_channels**-0.5 if scaled else 1.0)
        elif spec.pairwise == "dot_product":
            spec = replace(spec, scale=1.0)
        check_holds(known.block, spec)
        found[f"{residual.name}.non_local"] = spec
    if found and not _scale(network):
        raise ValueError("the network's block must have a scale other than 0; received scale=0.0")
    return found


def _scale(network: NetworkSpec) -> float:
    """Of the network's non-local blocks."""
    return float(network.block.get("scale", 1.0))


def _scaled(weights: Weights, block: str, factor: float) -> list[str]:
    """Multiply a block's theta by the factor, in place; a note of it."""
    if factor == 1.0:
        return []
    for name in (f"{block}.theta.weight", f"{block}.theta.bias"):
        if name in weights:
            value = weights[name]
            weights[name] = (value.astype(np.float64) * factor).astype(value.dtype)
    return [f"{block}.theta is multiplied by {factor:.6g}, the quotient of scales"]


def _residuals(network: NetworkSpec) -> Iterator[Residual]:
    return (residual for stage in network.stages for residual in stage)


def _norms(network: NetworkSpec) -> dict[str, float]:
    """Every batch normalization, and its eps."""
    ending = ".running_var"
    names = [n.removesuffix(ending) for n in network_weight_shapes(network) if n.endswith(ending)]
    own = network.block.get("eps", BN_EPS)
    return {name: own if name.endswith(".non_local.bn") else BN_EPS for name in names}


def _places(
    network: NetworkSpec, known: NetworkOrigin, blocks: Mapping[str, NonLocalSpec]
) -> dict[str, Place]:
    """nlcore's names of the network's weights -> where they are kept; `blocks` are as there."""
    join = named_origin(known.block).join
    places = {}
    for name, shape in network_weight_shapes(network).items():
        layer, _, leaf = name.rpartition(".")
        if ".non_local." not in name:
            places[name] = Place(join(known.layer(layer), leaf), shape)
    for block, spec in blocks.items():
        prefix = known.layer(block)
        for name, place in block_places(known.block, spec).items():
            places[f"{block}.{name}"] = Place(prefix + place.name, place.shape)
    return places


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
    """conv1, bn1, ... and the shortcut's, as branches 2a, 2b, 2c and 1."""
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
    """ResNet-50 with 5 blocks."""
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
#: A published file's or configuration's name, without what follows the last dot or "_IN_pretrain",
#: "_I3D_pretrain" -> its network, as far as a NetworkSpec can be it (`differences`).
PUBLISHED: dict[str, NetworkSpec] = {
    # SlowFast, configs/Kinetics
    "C2D_NLN_8x8_R50": _network("none", _SHORT, 1, **_BEFORE),
    "I3D_NLN_8x8_R50": _network("3x1x1", _SHORT, 1, **_BEFORE),
    "I3D_NLN_8x8_R101": replace(_network("3x1x1", _SHORT, 1, **_BEFORE), depth=101),
    # mmaction2, configs/recognition/i3d
    _MMACTION2.format("dot-product"): _network("3x1x1", _LONG, 1, pairwise="dot_product"),
    _MMACTION2.format("embedded-gaussian"): _network("3x1x1", _LONG, 1),
    _MMACTION2.format("gaussian"): _network("3x1x1", _LONG, 1, pairwise="gaussian"),
    # C2, README.md; from 32x4 on with affine layers
    "c2d_nonlocal_8x8": _network("none", _SHORT, 0, **_BEFORE),
    "i3d_nonlocal_8x8": _network("3x1x1", _SHORT, 0, **_BEFORE),
    "c2d_nonlocal_32x2": _network("none", _LONG, 0, **_BEFORE),
    "i3d_nonlocal_32x2": _network("3x1x1", _LONG, 0, **_BEFORE),
    "i3d_nonlocal_32x4": _network("3x1x1", _SHORT, 0, batch_norm=False, **_BEFORE),
    "i3d_nonlocal_128x1": _network("3x1x1", _LONG, 0, batch_norm=False, **_BEFORE),
}
