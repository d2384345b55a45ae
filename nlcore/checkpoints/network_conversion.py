"""Weights of other projects' video networks as a `NetworkSpec`'s, and back, by name and shape.

`nlcore_torch.convert` reads their files and takes tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nlcore.checkpoints.block_conversion import check_affine
from nlcore.checkpoints.converted import (
    Converted,
    Place,
    Weights,
    account,
    as_affine,
    distribute,
    fill_statistics,
    fill_zeros,
    take,
    without_statistics,
)
from nlcore.checkpoints.network_origins import NetworkOrigin, named_network_origin
from nlcore.checkpoints.origins import block_places, check_holds, named_origin
from nlcore.spec import NonLocalSpec
from nlcore.video.network import BN_EPS, NetworkSpec, Pool
from nlcore.video.network_weights import FC, check_network_weights, network_weight_shapes


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
    A network has one `scale` for all of its blocks, while D^-1/2 differs from stage to stage. Theta
    carries the quotient, f = exp((s theta)^T phi), and is rounded once.

    Biases that the origin does not have, and affine layers, are as in `convert_block`.

    `PUBLISHED` has the published networks. In all of them blocks stand after res3.1, res3.3,
    res4.1, res4.3 and res4.5, pool by (1, 2, 2) and have biases. This includes SlowFast's
    ResNet-101, where C2 has res4.6, res4.13 and res4.20. SlowFast's NLN 8x8 have
    ``temporal_strides=(1, 1, 2)`` and pool before phi and g. mmaction2's I3D have (2, 2, 2) and
    pool after phi and g. C2's have ``stem_padding=0`` and pool before phi and g; its 8x8 and 32x4
    models have (1, 1, 2), its 32x2 and 128x1 models (2, 2, 2). Those of 32x4 and 128x1 have affine
    layers, and blocks without batch normalization.
    """
    known = named_network_origin(origin)
    theirs = _blocks(network, known, use_scale)
    caffe2_names = origin == "slowfast" and "conv1_w" in state
    naming = named_network_origin("caffe2") if caffe2_names else known
    shapes, places = network_weight_shapes(network), _places(network, naming, theirs)
    weights, names = take(state, places, shapes, replaceable=FC if partial else ())
    notes = []
    if named_origin(naming.block).affine:
        notes = fill_statistics(weights, _norms(network))
        if notes and any(block.startswith("res3.") for block in theirs):
            notes.append(
                "with affine layers, C2 computes res3's blocks in windows of 4 frames, res4's not"
            )
    notes += fill_zeros(weights, shapes, places)
    for block, spec in theirs.items():
        notes += _scale_theta(weights, block, spec.scale / _scale(network))
    notes += differences(network, origin)
    converted = account(network, shapes, weights, names, state, naming.ignored, notes)
    return converted if partial else converted.whole()


def export_network(
    network: NetworkSpec,
    weights: Mapping[str, Any],
    origin: str,
    *,
    use_scale: bool | None = None,
    affine: bool = False,
) -> Weights:
    """All weights of a network under the names and in the shapes of another project.

    The other network's configuration sets everything that is no weight. `differences` lists what
    it cannot set.

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
    known = named_network_origin(origin)
    check_network_weights(network, weights)
    if network.inflation not in known.inflations:
        raise ValueError(
            f"{origin} cannot hold inflation={network.inflation!r}: expected one of "
            f"{known.inflations}"
        )
    own = {name: np.asarray(value) for name, value in weights.items()}
    theirs = _blocks(network, known, use_scale)
    for block, spec in theirs.items():
        _scale_theta(own, block, _scale(network) / spec.scale)
    if not named_origin(known.block).bias_optional:  # its biases are 0 where ours do not exist
        theirs = {block: replace(spec, bias=True) for block, spec in theirs.items()}
    places = _places(network, known, theirs)
    if affine:
        check_affine(origin, named_origin(known.block))
        own, places = as_affine(own, _norms(network)), without_statistics(places)
    return distribute(own, places, origin)


def differences(network: NetworkSpec, origin: str) -> tuple[str, ...]:
    """How the origin's network differs from this one with the same weights, in words.

    SlowFast, mmaction2 and C2 pool over as many frames as their stride, or take every second frame.
    The paper's Table 1, and so NetworkSpec, pools over 3.

    Raises
    ------
    ValueError
        Unknown origin.
    """
    known = named_network_origin(origin)
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


def _blocks(
    network: NetworkSpec, known: NetworkOrigin, use_scale: bool | None
) -> dict[str, NonLocalSpec]:
    """The non-local blocks by name, with the origin's scale, that its block can have."""
    scaled = known.use_scale if use_scale is None else use_scale
    found = {}
    for name, spec in network.blocks.items():
        if spec.pairwise == "embedded_gaussian":
            spec = replace(spec, scale=spec.inner_channels**-0.5 if scaled else 1.0)
        elif spec.pairwise == "dot_product":
            spec = replace(spec, scale=1.0)
        check_holds(known.block, spec)
        found[name] = spec
    if found and not _scale(network):
        raise ValueError("the network's block must have a scale other than 0; received scale=0.0")
    return found


def _scale(network: NetworkSpec) -> float:
    """Of the network's non-local blocks."""
    return float(network.block.get("scale", 1.0))


def _scale_theta(weights: Weights, block: str, factor: float) -> list[str]:
    """Multiply a block's theta by the factor, in place; notes of it."""
    if factor == 1.0:
        return []
    for name in (f"{block}.theta.weight", f"{block}.theta.bias"):
        if name in weights:
            value = weights[name]
            weights[name] = (value.astype(np.float64) * factor).astype(value.dtype)
    return [f"{block}.theta is multiplied by {factor:.6g}, the quotient of scales"]


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
