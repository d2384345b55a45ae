"""Weights of other projects' blocks as nlcore's, and back: by name and shape, never in part unsaid.

Values are NumPy arrays, or what NumPy makes arrays of; `nlcore_torch.convert` takes tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Generic, TypeVar

import numpy as np

from nlcore.dialects import DIALECTS, dialect
from nlcore.origins import POOLS, Origin, Place, block_places, check_holds, named_origin
from nlcore.spec import NonLocalSpec, check_float
from nlcore.weights import check_weights, weight_shapes

Weights = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]
Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Converted(Generic[Spec]):
    """Weights by nlcore's names, what they are weights of, and what became of every name."""

    spec: Spec
    weights: Weights = field(repr=False)
    names: dict[str, str] = field(repr=False)  # nlcore's name -> the origin's, where it came from
    missing: tuple[str, ...]  # nlcore's names that nothing was found for
    left_over: tuple[str, ...]  # the origin's names that there is no place for
    ignored: tuple[str, ...]  # the origin's names of what is no weight
    notes: tuple[str, ...]  # what was made, or is another computation there

    def report(self) -> str:
        """All of that in words, one line each."""
        lines = [f"{len(self.names)} weights mapped, {len(self.weights)} weights of {self.spec}"]
        lines += [f"note: {note}" for note in self.notes]
        for kind in ("missing", "left_over", "ignored"):
            names = getattr(self, kind)
            lines.append(f"{kind.replace('_', ' ')}: {', '.join(names) or 'none'}")
        return "\n".join(lines)


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

    Sizes, biases, batch normalization and the number of axes are read from names and shapes; mmcv's
    and AlexHex7's names tell of pooling too. The spec is the origin's dialect (`nlcore.dialect`).

    Parameters
    ----------
    state : mapping of str to array
        The block's state dict, or one that has it under a prefix.
    origin : str
        One of `nlcore.origins.ORIGINS`: "mmcv", "alexhex7", "slowfast", "pytorchvideo", "caffe2",
        "timm".
    pairwise : str, optional
        Needed where names leave a choice, which is between "embedded_gaussian" and "dot_product".
    use_scale : bool, optional
        Whether the embedded Gaussian has the origin's scale. Needed for mmcv.
    prefix : str
        What stands before the names, ``"nonlocal_conv3_1_"``; other names are not looked at.
    partial : bool
        Return what there is, where something is missing or left over.
    **fields
        Fields of NonLocalSpec that names and shapes do not tell: subsample, needed for SlowFast and
        pytorchvideo; eps, where it is not the origin's default; window.

    Returns
    -------
    converted : Converted
        With `spec`, `weights`, and the names that were mapped, missing, left over or ignored.

    Raises
    ------
    ValueError
        Something that has to be said is not; a weight of another shape; a field that the origin's
        block cannot have; or, unless `partial`, weights that are missing or left over, all by name.

    Notes
    -----
    Where the origin's block has no bias of W_z (mmcv's beside batch normalization), out.bias is 0.
    C2's affine layers, a scale and a shift, are batch normalization of mean 0 and variance
    1 - eps: variance + eps is 1 in float32 and in float64, so that they compute just the scale and
    the shift where statistics are constant.
    """
    known = named_origin(origin)
    own = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    spec = _spec(origin, known, own, pairwise, use_scale, fields)
    return collect(
        spec,
        weight_shapes(spec),
        {n: Place(prefix + p.name, p.shape) for n, p in block_places(origin, spec).items()},
        {prefix + name: value for name, value in own.items()},
        ignored=re.escape(prefix) + f"({known.ignored})",
        affine={"bn": spec.eps} if known.affine and spec.batch_norm else {},
        partial=partial,
    )


def export_block(
    spec: NonLocalSpec,
    weights: Mapping[str, Any],
    origin: str,
    *,
    prefix: str = "",
    affine: bool = False,
) -> Weights:
    """A block's weights by the names and in the shapes of another project's, all of them.

    What is no weight (scale, eps, the kind of pairwise function, SlowFast's pooling) is for the
    other block's constructor to be told. Biases that the spec has not are 0 there; C2's blocks may
    be without.

    Parameters
    ----------
    prefix : str
        Put before every name.
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
    with_bias = spec if known.bias_optional else replace(spec, bias=True)
    places = block_places(origin, with_bias)
    placed = {n: Place(prefix + p.name, p.shape) for n, p in places.items()}
    if affine:
        check_affine(origin, known)
    norms = {"bn": spec.eps} if affine and spec.batch_norm else {}
    return distribute(weights, placed, norms, origin)


def check_affine(origin: str, known: Origin) -> None:
    """Raise ValueError unless the origin has affine layers."""
    if not known.affine:
        raise ValueError(f"affine must be False for {origin}, whose statistics are kept")


def collect(
    spec: Spec,
    shapes: Shapes,
    places: Mapping[str, Place],
    state: Mapping[str, Any],
    *,
    ignored: str,
    affine: Mapping[str, float],
    partial: bool,
    replaceable: tuple[str, ...] = (),
) -> Converted[Spec]:
    """Take every weight from its place.

    Parameters
    ----------
    shapes
        nlcore's names and shapes.
    affine
        Batch normalizations, with eps, that may be a scale and a shift.
    replaceable
        Names that count as missing, in part, where their shape is another one.
    """
    weights: Weights = {}
    names: dict[str, str] = {}
    notes: list[str] = []
    for name, place in places.items():
        if place.name not in state:
            continue
        value = np.asarray(state[place.name])
        check_float(f"weight {place.name!r}", value.dtype.name)
        if value.shape != place.shape:
            if partial and name in replaceable:
                continue
            raise ValueError(
                f"{place.name!r} must have shape {place.shape}, being {name!r}; "
                f"received shape {value.shape}"
            )
        weights[name] = value.reshape(shapes[name])
        names[name] = place.name
    made = {name: _statistics(weights, name, eps) for name, eps in affine.items()}
    if filled := [name for name, statistics in made.items() if statistics]:
        weights |= {name: v for norm in filled for name, v in made[norm].items()}
        notes.append(f"a scale and a shift alone, so that mean is 0, variance 1 - eps: {filled}")
    dtype = next(iter(weights.values())).dtype if weights else np.float32
    if zeros := [name for name in shapes if name not in places]:
        weights |= {name: np.zeros(shapes[name], dtype) for name in zeros}
        notes.append(f"0, since the origin has none: {zeros}")
    rest = sorted(set(state) - set(names.values()))
    converted = Converted(
        spec,
        {name: weights[name] for name in shapes if name in weights},
        names,
        missing=tuple(name for name in shapes if name not in weights),
        left_over=tuple(name for name in rest if not re.fullmatch(ignored, name)),
        ignored=tuple(name for name in rest if re.fullmatch(ignored, name)),
        notes=tuple(notes),
    )
    if not partial and (converted.missing or converted.left_over):
        raise ValueError(
            f"expected just the weights of {spec}, and all of them; missing: "
            f"{list(converted.missing)}; left over: {list(converted.left_over)} "
            "(partial=True takes what there is)"
        )
    return converted


def _statistics(weights: Weights, norm: str, eps: float) -> Weights:
    """Running statistics of a batch normalization that has a scale and a shift alone, or none."""
    mean, variance = f"{norm}.running_mean", f"{norm}.running_var"
    if f"{norm}.weight" not in weights or mean in weights or variance in weights:
        return {}
    scale = weights[f"{norm}.weight"]
    dtype = np.promote_types(scale.dtype, np.float32)  # in which 1 - eps is not 1
    return {mean: np.zeros(scale.shape, dtype), variance: np.full(scale.shape, 1 - eps, dtype)}


def distribute(
    weights: Mapping[str, Any], places: Mapping[str, Place], affine: Mapping[str, float], to: str
) -> Weights:
    """Put every weight in its place, and 0 where there is none.

    `affine` are the batch normalizations, with eps, to be written as a scale and a shift.
    """
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    for name in sorted(arrays.keys() - places.keys()):
        if np.any(arrays[name]):
            raise ValueError(f"{to} cannot hold {name!r}, but where it is 0")
    dropped: set[str] = set()
    for norm, eps in affine.items():
        names = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        scale, shift, mean, variance = (arrays[n].astype(np.float64) for n in names)
        slope = scale / np.sqrt(variance + eps)
        arrays[names[0]] = slope.astype(arrays[names[0]].dtype)
        arrays[names[1]] = (shift - mean * slope).astype(arrays[names[1]].dtype)
        dropped |= set(names[2:])
    dtype = next(iter(arrays.values())).dtype
    return {
        place.name: arrays[name].reshape(place.shape)
        if name in arrays
        else np.zeros(place.shape, dtype)
        for name, place in places.items()
        if name not in dropped
    }


def _spec(
    origin: str,
    known: Origin,
    own: Mapping[str, Any],
    pairwise: str | None,
    use_scale: bool | None,
    fields: dict[str, Any],
) -> NonLocalSpec:
    """The spec of a block of these names and shapes."""
    pools, batch_norm = _form(origin, known, own)
    layers = known.layers(pools, batch_norm)
    g = known.join(layers["g"], "weight")
    shape = np.shape(own[g])
    ndim = len(shape) - 2
    if ndim not in POOLS or any(size != 1 for size in shape[2:]):
        raise ValueError(
            f"{g!r} must have shape (D, C, 1), (D, C, 1, 1) or (D, C, 1, 1, 1); "
            f"received shape {shape}"
        )
    fields, unsaid = dict(fields), []
    possible = _pairwise(origin, known, layers, own, pairwise)
    if pairwise is None and len(possible) > 1:
        unsaid.append(f"pairwise, one of {possible}")
    chosen = pairwise or possible[0]
    if known.layers(True, batch_norm) != known.layers(False, batch_norm):  # names tell
        fields.setdefault("subsample", POOLS[ndim] if pools else None)
    elif "subsample" in known.must_say and "subsample" not in fields:
        unsaid.append("subsample, None or the pooling window")
    if chosen == "embedded_gaussian" and "scale" not in fields:
        if use_scale is None and "use_scale" in known.must_say:
            unsaid.append("use_scale, True or False, if it is the embedded Gaussian")
        if use_scale is True and DIALECTS[known.dialect].scale(4, 4) == 1.0:
            raise ValueError(f"use_scale must not be True: the block of {origin} has no scale")
        if use_scale is False:
            fields["scale"] = 1.0
    if unsaid:
        raise ValueError(
            f"names and shapes do not tell everything about a block of {origin}: expected as "
            f"arguments {'; '.join(unsaid)}"
        )
    spec = dialect(
        known.dialect,
        shape[1],
        chosen,
        inner_channels=shape[0],
        ndim=ndim,
        bias=known.join(layers["g"], "bias") in own,
        batch_norm=batch_norm,
        **fields,
    )
    check_holds(origin, spec)
    return spec


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
