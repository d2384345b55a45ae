"""Weights of other projects' blocks as nlcore's, and back, by name and shape.

Every weight is converted or reported. Values are NumPy arrays, or what NumPy makes arrays of;
`nlcore_torch.convert` takes tensors and files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

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
from nlcore.checkpoints.origins import Origin, block_places, check_holds, named_origin
from nlcore.dialects import DIALECTS, POOLS, dialect
from nlcore.spec import NonLocalSpec
from nlcore.weights import check_weights, weight_shapes


def convert_block(
    state: Mapping[str, Any],
    origin: str,
    pairwise: str | None = None,
    *,
    use_scale: bool | None = None,
    prefix: str = "",
    partial: bool = False,
    **fields: Any,
) -> Converted[NonLocalSpec]:
    """A spec and weights that compute what another project's block computes with these weights.

    Sizes, biases, batch normalization and the number of axes are read from names and shapes. mmcv's
    and AlexHex7's names show pooling too. The spec is the origin's dialect (`nlcore.dialect`).

    Parameters
    ----------
    state : mapping of str to array
        The block's state dict, or one that has it under a prefix.
    origin : str
        One of `nlcore.checkpoints.origins.ORIGINS`: "mmcv", "alexhex7", "slowfast",
        "pytorchvideo", "caffe2", "timm".
    pairwise : str, optional
        Required where names allow both "embedded_gaussian" and "dot_product".
    use_scale : bool, optional
        Whether the embedded Gaussian has the origin's scale. Required for mmcv.
    prefix : str
        Prefix of the block's names, ``"nonlocal_conv3_1_"``; other names are skipped.
    partial : bool
        Return what there is, where something is missing or left over.
    **fields
        Fields of NonLocalSpec that names and shapes do not determine: subsample, required for
        SlowFast and pytorchvideo; eps, where it is not the origin's default; window.

    Returns
    -------
    converted : Converted
        The spec, its weights, and the names that were missing, left over or ignored.

    Raises
    ------
    ValueError
        A required argument is missing; a weight of another shape; a field that the origin's block
        cannot have; or, unless `partial`, weights that are missing or left over, all by name.

    Notes
    -----
    Where the origin's block has no bias of W_z (mmcv's beside batch normalization), out.bias is 0.
    C2's affine layers, a scale and a shift, become batch normalization of mean 0 and variance
    1 - eps. Variance + eps is 1 in float32 and in float64, so constant statistics change nothing.
    """
    known = named_origin(origin)
    under = {name: value for name, value in state.items() if name.startswith(prefix)}
    own = {name.removeprefix(prefix): value for name, value in under.items()}
    spec = _spec(origin, own, pairwise, use_scale, fields)
    shapes, places = weight_shapes(spec), _prefixed(block_places(origin, spec), prefix)
    weights, names = take(under, places, shapes)
    notes = fill_statistics(weights, _norms(spec)) if known.affine else []
    notes += fill_zeros(weights, shapes, places)
    ignored = re.escape(prefix) + f"({known.ignored})"
    converted = account(spec, shapes, weights, names, under, ignored, notes)
    return converted if partial else converted.whole()


def export_block(
    spec: NonLocalSpec,
    weights: Mapping[str, Any],
    origin: str,
    *,
    prefix: str = "",
    affine: bool = False,
) -> Weights:
    """All weights of a block under the names and in the shapes of another project.

    Pass the scale, eps, the pairwise function and SlowFast's pooling to the other block's
    constructor: they are no weights. Biases that the spec does not have are 0 there, but C2's
    blocks may have none.

    Parameters
    ----------
    prefix : str
        Prefix of every name.
    affine : bool
        C2 only: batch normalization with its running statistics as a scale and a shift.

    Raises
    ------
    ValueError, TypeError
        A field that the origin's block cannot have, or weights that are not the spec's.
    """
    check_weights(spec, weights)
    check_holds(origin, spec)
    known = named_origin(origin)
    if affine:
        check_affine(origin, known)
        weights = as_affine(weights, _norms(spec))
    with_bias = spec if known.bias_optional else replace(spec, bias=True)
    places = _prefixed(block_places(origin, with_bias), prefix)
    return distribute(weights, without_statistics(places) if affine else places, origin)


def check_affine(origin: str, known: Origin) -> None:
    """Raise ValueError unless the origin has affine layers."""
    if not known.affine:
        raise ValueError(f"affine must be False for {origin}, whose statistics are kept")


def _prefixed(places: Mapping[str, Place], prefix: str) -> dict[str, Place]:
    return {name: Place(prefix + place.name, place.shape) for name, place in places.items()}


def _norms(spec: NonLocalSpec) -> dict[str, float]:
    """The block's batch normalization, if it has one, and its eps."""
    return {"bn": spec.eps} if spec.batch_norm else {}


def _spec(
    origin: str,
    own: Mapping[str, Any],
    pairwise: str | None,
    use_scale: bool | None,
    fields: Mapping[str, Any],
) -> NonLocalSpec:
    """The spec of a block with these names and shapes."""
    known = named_origin(origin)
    pools, batch_norm = _form(origin, known, own)
    layers = known.layers(pools, batch_norm)
    possible = _pairwise(origin, known, layers, own, pairwise)
    chosen = pairwise or possible[0]
    pooling_shows = known.layers(True, batch_norm) != known.layers(False, batch_norm)
    inner, channels, ndim = _sizes(known.join(layers["g"], "weight"), own)
    given = dict(fields)
    if pooling_shows:
        given.setdefault("subsample", POOLS[ndim] if pools else None)
    if chosen == "embedded_gaussian" and use_scale is not None:
        _check_use_scale(origin, known, use_scale)
        if not use_scale:
            given.setdefault("scale", 1.0)
    required = {
        f"pairwise, one of {possible}": pairwise is None and len(possible) > 1,
        "subsample, None or the pooling window": "subsample" in known.must_say
        and "subsample" not in given,
        "use_scale, True or False, if it is the embedded Gaussian": "use_scale" in known.must_say
        and chosen == "embedded_gaussian"
        and use_scale is None
        and "scale" not in given,
    }
    if any(required.values()):
        missing = "; ".join(name for name, is_missing in required.items() if is_missing)
        raise ValueError(f"names and shapes do not determine a block of {origin}: pass {missing}")
    spec = dialect(
        known.dialect,
        channels,
        chosen,
        inner_channels=inner,
        ndim=ndim,
        bias=known.join(layers["g"], "bias") in own,
        batch_norm=batch_norm,
        **given,
    )
    check_holds(origin, spec)
    return spec


def _sizes(name: str, own: Mapping[str, Any]) -> tuple[int, int, int]:
    """D, C and ndim, from the weight of g."""
    shape = np.shape(own[name])
    if len(shape) - 2 not in POOLS or any(size != 1 for size in shape[2:]):
        raise ValueError(
            f"{name!r} must have shape (D, C, 1), (D, C, 1, 1) or (D, C, 1, 1, 1); "
            f"received shape {shape}"
        )
    return shape[0], shape[1], len(shape) - 2


def _check_use_scale(origin: str, known: Origin, use_scale: bool) -> None:
    if use_scale and DIALECTS[known.dialect].scale(4, 4) == 1.0:
        raise ValueError(f"use_scale must not be True: the block of {origin} has no scale")


def _form(origin: str, known: Origin, own: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether it pools, as far as names tell, and whether it has batch normalization."""
    wanted = set()
    for pools, batch_norm in product((False, True), repeat=2):
        layers = known.layers(pools, batch_norm)
        g, out, norm = (known.join(layers[part], "weight") for part in ("g", "out", "bn"))
        if g in own and out in own and (norm in own) == batch_norm:
            return pools, batch_norm
        wanted |= {g, out}
    raise ValueError(
        f"expected a block of {origin}, among its names some of {sorted(wanted)}; "
        f"received {sorted(own)}"
    )


def _pairwise(
    origin: str,
    known: Origin,
    layers: Mapping[str, str],
    own: Mapping[str, Any],
    pairwise: str | None,
) -> tuple[str, ...]:
    """The pairwise functions that the origin has and that names allow; the one given is among them.

    Raises
    ------
    ValueError
        There is none, or not the given one.
    """
    fitting: tuple[str, ...] = ("gaussian",)
    if known.join(layers["theta"], "weight") in own:
        fitting = ("embedded_gaussian", "dot_product")
    if "f" in layers and known.join(layers["f"], "weight") in own:
        fitting = ("concatenation",)
    there = DIALECTS[known.dialect].pairwise
    possible = tuple(name for name in fitting if name in there)
    if not possible or (pairwise is not None and pairwise not in possible):
        raise ValueError(
            f"pairwise must be one of {fitting} by the names that there are, and {origin} has "
            f"{there}; received pairwise={pairwise!r}"
        )
    return possible
