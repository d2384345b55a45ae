"""Conversion of other projects' video network weights to a `NetworkSpec`'s, and back.

`nlcore_torch.convert` takes tensors and files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nlcore.checkpoints.block_conversion import check_affine
from nlcore.checkpoints.block_origins import (
    block_places,
    check_holds,
    named_origin,
    with_own_biases,
)
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
from nlcore.checkpoints.network_origins import (
    NetworkOrigin,
    check_network_holds,
    check_pathways,
    named_network_origin,
)
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
        The depth, the kernels and the blocks must be those of the file. `published` returns the
        specs of published models.
    origin : str
        The project: "mmaction2", "slowfast", "pytorchvideo" or "caffe2".
    use_scale : bool, optional
        Whether the embedded Gaussian of the file has the scale D^-1/2. If ``network.dialect`` is
        the origin's, the default is whether the network's blocks have it. For other networks, the
        default is that of the origin's block: False for mmaction2, True for the others.
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
    If the scale of the network's blocks is not that of the file, theta is multiplied by the
    quotient of the two, f = exp((s theta)^T phi), and rounded once.

    Biases that the origin does not have, and affine layers, are converted as in `convert_block`.

    A checkpoint of SlowFast's two pathways is an error.
    """
    known = named_network_origin(origin)
    check_pathways(state)
    theirs = _blocks(network, known, use_scale)
    caffe2_names = origin == "slowfast" and "conv1_w" in state
    naming = named_network_origin("caffe2") if caffe2_names else known
    shapes, places = network_weight_shapes(network), _places(network, naming, theirs)
    weights, names = take(
        state, _as_stored(places, state), shapes, replaceable=FC if partial else ()
    )
    notes = []
    if named_origin(naming.block).affine:
        notes = fill_statistics(weights, _norms(network))
        windows = {block: 4 if block.startswith("res3.") else None for block in theirs}
        if notes and any(theirs[block].window != frames for block, frames in windows.items()):
            notes.append(
                "with affine layers, C2 computes the blocks of res3, but not of res4, in windows "
                "of 4 frames"
            )
    notes += fill_zeros(weights, shapes, places)
    for block, spec in network.blocks.items():
        notes += _scale_theta(weights, block, theirs[block].scale / spec.scale)
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
        The origin does not support the depth, the kernels or a field of `network.block`, or a
        weight is missing, extra or wrong.
    """
    known = named_network_origin(origin)
    check_network_weights(network, weights)
    check_network_holds(origin, network)
    own = {name: np.asarray(value) for name, value in weights.items()}
    theirs = _blocks(network, known, use_scale)
    for block, spec in network.blocks.items():
        _scale_theta(own, block, spec.scale / theirs[block].scale)
    # biases that we do not have are written as 0
    theirs = {block: with_own_biases(known.block, spec) for block, spec in theirs.items()}
    places = _places(network, known, theirs)
    if affine:
        check_affine(origin, named_origin(known.block))
        own, places = as_affine(own, _norms(network)), without_statistics(places)
    return distribute(own, places, origin)


def differences(network: NetworkSpec, origin: str) -> tuple[str, ...]:
    """Differences between this network and the origin's with the same weights, in words.

    They are strides, pooling and the head, which weights do not show. The specs in `PUBLISHED` have
    no differences from their origins.

    Raises
    ------
    ValueError
        The origin is unknown.

    Examples
    --------
    >>> from nlcore.checkpoints import published
    >>> from nlcore.video import NetworkSpec
    >>> differences(published("I3D_NLN_8x8_R50").spec, "slowfast")
    ()
    >>> differences(NetworkSpec(50), "slowfast")[0]
    'in slowfast, conv1 has temporal stride 1; in this network it is 2'
    """
    known = named_network_origin(origin)
    found = []
    conv1, pool1 = network.stem
    if known.stride not in (None, conv1.stride[0]):
        found.append(
            f"conv1 has temporal stride {known.stride}; in this network it is {conv1.stride[0]}"
        )
    pools = known.pools(network)
    for theirs, own in zip(pools, (pool1, network.pool2), strict=True):
        if theirs != own:
            found.append(f"{own.name} has {_shown(theirs)}; in this network it has {_shown(own)}")
    if network.stride_at not in known.stride_at:
        found.append(
            f"stride_at is {known.stride_at[0]!r}; in this network it is {network.stride_at!r}"
        )
    if network.head not in known.heads:
        found.append(f"head is {known.heads[0]!r}; in this network it is {network.head!r}")
    elif known.head_window not in (None, network.head_window):
        found.append(
            f"head_window is {known.head_window}; in this network it is {network.head_window}"
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
    same_dialect = network.dialect == named_origin(known.block).dialect
    found = {}
    for name, spec in network.blocks.items():
        if not spec.scale:
            raise ValueError("network.block must have a scale other than 0; received scale=0.0")
        root = spec.inner_channels**-0.5
        if spec.pairwise == "embedded_gaussian":
            default = spec.scale == root if same_dialect else known.use_scale
            scaled = default if use_scale is None else use_scale
            spec = replace(spec, scale=root if scaled else 1.0)
        elif spec.pairwise == "dot_product":
            spec = replace(spec, scale=1.0)
        check_holds(known.block, spec)
        found[name] = spec
    return found


def _as_stored(places: Mapping[str, Place], state: Mapping[str, Any]) -> dict[str, Place]:
    """The places, where 2-D convolutions of the state have no temporal axis."""
    return {
        name: Place(place.name, place.shape[:2] + place.shape[3:])
        if len(place.shape) == 5 and place.shape[2] == 1 and np.ndim(state.get(place.name, 0)) == 4
        else place
        for name, place in places.items()
    }


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
    own = {f"{block}.bn": spec.eps for block, spec in network.blocks.items()}
    return {name: own.get(name, BN_EPS) for name in names}


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
            places[name] = Place(join(known.layer(layer, network), leaf), shape)
    for block, spec in blocks.items():
        prefix = known.layer(block, network)
        for name, place in block_places(known.block, spec).items():
            places[f"{block}.{name}"] = Place(prefix + place.name, place.shape)
    return places
