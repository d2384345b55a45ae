"""Conversion of other projects' video network weights to a `NetworkSpec`'s, and back.

`nlcore_torch.convert` takes tensors and files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nlcore.checkpoints.block_conversion import check_affine
from nlcore.checkpoints.block_origins import block_places, check_holds, named_origin
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
from nlcore.spec import NonLocalSpec
from nlcore.video.network import NetworkSpec
from nlcore.video.network_layers import BN_EPS, Pool
from nlcore.video.network_weights import FC, check_network_weights, network_weight_shapes


def convert_network(
    state: Mapping[str, Any],
    network: NetworkSpec,
    origin: str,
    *,
    use_scale: bool | None = None,
    partial: bool = False,
) -> Converted[NetworkSpec]:
    """Convert the weights of another project's video network to weights of the network.

    Parameters
    ----------
    state : mapping of str to array
        The state dict of the whole recognizer, or C2's blobs. With origin "slowfast" the names can
        also be C2's, as in the model zoo of SlowFast.
    network : NetworkSpec
        The depth, the inflation and the blocks must be those of the file. `PUBLISHED` contains the
        specs of published models.
    origin : str
        The project: "mmaction2", "slowfast" or "caffe2".
    use_scale : bool, optional
        Whether the embedded Gaussian of the file has the scale D^-1/2. The default is that of the
        origin's published models: False for mmaction2, True for the others.
    partial : bool
        Whether to return an incomplete result if weights are missing or left over. If False, this
        is an error. An fc with another number of classes is both missing and left over.

    Returns
    -------
    converted : Converted
        Its `notes` include the `differences` of the origin's network.

    Raises
    ------
    ValueError
        A weight has the wrong shape, or the origin's block cannot have a field of `network.block`.
        Unless `partial`: weights are missing or left over. The message gives names.

    Notes
    -----
    A network has one `scale` for all of its blocks, but D^-1/2 differs between stages. So theta is
    multiplied by the quotient of the two scales, f = exp((s theta)^T phi), and rounded once.

    Biases that the origin does not have, and affine layers, are converted as in `convert_block`.

    All networks in `PUBLISHED` have blocks after res3.1, res3.3, res4.1, res4.3 and res4.5, with
    subsample (1, 2, 2) and biases. This includes the ResNet-101 of SlowFast, where C2 has blocks
    after res4.6, res4.13 and res4.20. The other fields differ:

    - SlowFast, NLN 8x8: ``temporal_strides=(1, 1, 2)``, subsampling before phi and g.
    - mmaction2, I3D: (2, 2, 2), subsampling after phi and g.
    - C2: ``stem_padding=0``, subsampling before phi and g. The 8x8 and 32x4 models have (1, 1, 2),
      and the 32x2 and 128x1 models have (2, 2, 2). The 32x4 and 128x1 models have affine layers,
      and blocks without batch normalization.
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
                "with affine layers, C2 computes the blocks of res3, but not of res4, in windows "
                "of 4 frames"
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
    """All weights of a network with the names and shapes of another project.

    Set everything that is not a weight in the configuration of the other network. `differences`
    lists what its configuration cannot change.

    Parameters
    ----------
    network : NetworkSpec
    weights : mapping of str to array
        Exactly the names and shapes of `nlcore.video.network_weight_shapes(network)`.
    origin : str
        The project, see `convert_network`.
    use_scale : bool, optional
        Whether the embedded Gaussian of the other network has a scale, see `convert_network`.
    affine : bool
        C2 only: write batch normalizations and their running statistics as a scale and a shift.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError, TypeError
        The origin does not support the inflation or a field of `network.block`, or a weight is
        missing, extra or wrong.
    """
    known = named_network_origin(origin)
    check_network_weights(network, weights)
    if network.inflation not in known.inflations:
        raise ValueError(
            f"{origin} cannot hold inflation={network.inflation!r}: it must be one of "
            f"{known.inflations}"
        )
    own = {name: np.asarray(value) for name, value in weights.items()}
    theirs = _blocks(network, known, use_scale)
    for block, spec in theirs.items():
        _scale_theta(own, block, _scale(network) / spec.scale)
    if not named_origin(known.block).bias_optional:  # biases that we do not have are written as 0
        theirs = {block: replace(spec, bias=True) for block, spec in theirs.items()}
    places = _places(network, known, theirs)
    if affine:
        check_affine(origin, named_origin(known.block))
        own, places = as_affine(own, _norms(network)), without_statistics(places)
    return distribute(own, places, origin)


def differences(network: NetworkSpec, origin: str) -> tuple[str, ...]:
    """Differences between this network and the origin's with the same weights, in words.

    The temporal pooling of SlowFast, mmaction2 and C2 has a window equal to its stride, or takes
    every second frame. In the paper's Table 1, and so in `NetworkSpec`, the window is 3 frames.

    Raises
    ------
    ValueError
        The origin is unknown.
    """
    known = named_network_origin(origin)
    found = []
    conv1, pool1 = network.stem
    if known.stride not in (None, conv1.stride[0]):
        found.append(
            f"conv1 has temporal stride {known.stride}; in this network it is {conv1.stride[0]}"
        )
    pools = known.pools(network.temporal_strides)
    for theirs, own in zip(pools, (pool1, network.pool2), strict=True):
        if theirs != own:
            found.append(f"{own.name} has {_shown(theirs)}; in this network it has {_shown(own)}")
    if network.stride_at not in known.stride_at:
        found.append(
            f"stride_at is {known.stride_at[0]!r}; in this network it is {network.stride_at!r}"
        )
    return tuple(f"in {origin}, {difference}" for difference in found)


def _shown(pool: Pool) -> str:
    return f"kernel {pool.kernel}, stride {pool.stride} and padding {pool.padding}"


def _blocks(
    network: NetworkSpec, known: NetworkOrigin, use_scale: bool | None
) -> dict[str, NonLocalSpec]:
    """The specs of the non-local blocks by name, with the scale of the origin.

    Raises ValueError if the origin's block cannot compute one of them.
    """
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
        raise ValueError("network.block must have a scale other than 0; received scale=0.0")
    return found


def _scale(network: NetworkSpec) -> float:
    """The scale of the network's non-local blocks."""
    return float(network.block.get("scale", 1.0))


def _scale_theta(weights: Weights, block: str, factor: float) -> list[str]:
    """Multiply theta of a block by the factor, in place. Returns notes."""
    if factor == 1.0:
        return []
    for name in (f"{block}.theta.weight", f"{block}.theta.bias"):
        if name in weights:
            value = weights[name]
            weights[name] = (value.astype(np.float64) * factor).astype(value.dtype)
    return [f"{block}.theta is multiplied by {factor:.6g}, the quotient of the two scales"]


def _norms(network: NetworkSpec) -> dict[str, float]:
    """The names of all batch normalizations -> eps."""
    ending = ".running_var"
    names = [n.removesuffix(ending) for n in network_weight_shapes(network) if n.endswith(ending)]
    own = network.block.get("eps", BN_EPS)
    return {name: own if name.endswith(".non_local.bn") else BN_EPS for name in names}


def _places(
    network: NetworkSpec, known: NetworkOrigin, blocks: Mapping[str, NonLocalSpec]
) -> dict[str, Place]:
    """nlcore's names of the network's weights -> their names and shapes in the origin.

    `blocks` are the specs of the non-local blocks in the origin.
    """
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
