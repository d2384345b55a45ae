"""Conversion of other projects' block weights to nlcore's names and shapes, and back.

Every weight is either converted or reported. Values are NumPy arrays, or values that NumPy
converts to arrays. `nlcore_torch.convert` takes tensors and files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from nlcore.checkpoints.block_origins import Origin, block_places, check_holds, named_origin
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
from nlcore.dialects import DIALECTS, POOLS, dialect
from nlcore.spec import NonLocalSpec
from nlcore.weights import check_weights, weight_shapes


def convert_block(
    state: Mapping[str, Any],
    origin: str | Origin,
    pairwise: str | None = None,
    *,
    use_scale: bool | None = None,
    prefix: str = "",
    partial: bool = False,
    **fields: Any,
) -> Converted[NonLocalSpec]:
    """The spec and the weights that compute the same as another project's block.

    The sizes, the number of axes, biases and batch normalization are read from names and shapes.
    For mmcv and AlexHex7, names also determine subsampling. The spec is the dialect of the origin
    (`nlcore.dialect`).

    Parameters
    ----------
    state : mapping of str to array
        The state dict of the block, or a state dict that contains the block under a prefix.
    origin : str or Origin
        The project, one of `nlcore.checkpoints.block_origins.ORIGINS`: "mmcv", "alexhex7",
        "slowfast", "pytorchvideo", "caffe2", "timm". `block_naming` declares other names.
    pairwise : str, optional
        Required if the names allow both "embedded_gaussian" and "dot_product".
    use_scale : bool, optional
        Whether the embedded Gaussian has the scale of the origin. Required for mmcv.
    prefix : str
        Prefix of the names of the block, such as ``"nonlocal_conv3_1_"``. Other names are skipped.
    partial : bool
        Whether to return an incomplete result if weights are missing or left over. If False, this
        is an error.
    **fields
        Fields of `NonLocalSpec` that names and shapes do not determine: subsample (required for
        SlowFast and pytorchvideo), eps (if it is not the default of the origin), window.

    Returns
    -------
    converted : Converted
        The spec, the weights, and the names that were missing, left over or ignored.

    Raises
    ------
    ValueError
        A required argument is missing, a weight has the wrong shape, or the origin's block cannot
        have a field. Unless `partial`: weights are missing or left over. The message gives names.

    Notes
    -----
    If the origin's block has no bias of W_z, out.bias is 0. This is mmcv's block with batch
    normalization. C2 can have affine layers, a scale and a shift, in the place of batch
    normalization. They become batch normalization with mean 0 and variance 1 - eps. Then
    variance + eps is 1 in float32 and in float64, so that only the scale and the shift have effect.

    Examples
    --------
    >>> from nlcore import init_weights
    >>> spec = dialect("timm", 16)
    >>> state = export_block(spec, init_weights(spec, np.random.default_rng(0)), "timm")
    >>> state["t.weight"].shape
    (8, 16, 1, 1)
    >>> convert_block(state, "timm").spec == spec
    True
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
    origin: str | Origin,
    *,
    prefix: str = "",
    affine: bool = False,
) -> Weights:
    """All weights of a block with the names and shapes of another project.

    Weights do not contain the scale, eps, the pairwise function and SlowFast's subsampling. Pass
    them to the constructor of the other block. Biases that the spec does not have are written as 0,
    except for C2, whose blocks can be without biases.

    Parameters
    ----------
    spec : NonLocalSpec
    weights : mapping of str to array
        Exactly the names and shapes of `nlcore.weight_shapes(spec)`.
    origin : str or Origin
        The project, see `convert_block`.
    prefix : str
        Prefix of every name.
    affine : bool
        C2 only: write batch normalization and its running statistics as a scale and a shift.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError, TypeError
        The origin's block cannot have a field of the spec, or a weight is missing, extra or wrong.
    """
    check_weights(spec, weights)
    check_holds(origin, spec)
    known = named_origin(origin)
    if affine:
        check_affine(origin, known)
        weights = as_affine(weights, _norms(spec))
    with_bias = spec if known.bias_optional else replace(spec, bias=True)
    places = _prefixed(block_places(origin, with_bias), prefix)
    return distribute(weights, without_statistics(places) if affine else places, str(origin))


def check_affine(origin: str | Origin, known: Origin) -> None:
    """Raise ValueError unless the origin has affine layers."""
    if not known.affine:
        raise ValueError(
            f"affine must be False for {origin}, which has no affine layers; received True"
        )


def _prefixed(places: Mapping[str, Place], prefix: str) -> dict[str, Place]:
    return {name: Place(prefix + place.name, place.shape) for name, place in places.items()}


def _norms(spec: NonLocalSpec) -> dict[str, float]:
    """The name and the eps of the block's batch normalization, if it has one."""
    return {"bn": spec.eps} if spec.batch_norm else {}


def _spec(
    origin: str | Origin,
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
        "use_scale, True or False for the embedded Gaussian": "use_scale" in known.must_say
        and chosen == "embedded_gaussian"
        and use_scale is None
        and "scale" not in given,
    }
    if any(required.values()):
        missing = "; ".join(name for name, is_missing in required.items() if is_missing)
        raise ValueError(f"names and shapes do not determine the block of {origin}: pass {missing}")
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
    """D, C and ndim, from the shape of the weight of g."""
    shape = np.shape(own[name])
    if len(shape) - 2 not in POOLS or any(size != 1 for size in shape[2:]):
        raise ValueError(
            f"{name!r} must have shape (D, C, 1), (D, C, 1, 1) or (D, C, 1, 1, 1); "
            f"received shape {shape}"
        )
    return shape[0], shape[1], len(shape) - 2


def _check_use_scale(origin: str | Origin, known: Origin, use_scale: bool) -> None:
    if use_scale and DIALECTS[known.dialect].scale(4, 4) == 1.0:
        raise ValueError(
            f"use_scale must be None or False, because the block of {origin} has no scale; "
            "received True"
        )


def _form(origin: str | Origin, known: Origin, own: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the block subsamples, if names show it, and whether it has batch normalization."""
    wanted = set()
    for pools, batch_norm in product((False, True), repeat=2):
        layers = known.layers(pools, batch_norm)
        g, out, norm = (known.join(layers[part], "weight") for part in ("g", "out", "bn"))
        if g in own and out in own and (norm in own) == batch_norm:
            return pools, batch_norm
        wanted |= {g, out}
    raise ValueError(
        f"expected a block of {origin}, with names from {sorted(wanted)}; received {sorted(own)}"
    )


def _pairwise(
    origin: str | Origin,
    known: Origin,
    layers: Mapping[str, str],
    own: Mapping[str, Any],
    pairwise: str | None,
) -> tuple[str, ...]:
    """The pairwise functions that the names allow and that the origin supports.

    Raises
    ------
    ValueError
        There is none, or `pairwise` is given and is not one of them.
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
            f"pairwise must be one of {fitting}, which the names of the weights allow, and of "
            f"{there}, which {origin} supports; received {pairwise!r}"
        )
    return possible
