"""Renaming and reshaping weights, with a record of the names found, missing and left over.

An origin is another project, whose checkpoints have its own names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from nlcore.arguments import check_float

Weights = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]
Spec = TypeVar("Spec")


class Place(NamedTuple):
    """The name and the shape of a weight in the origin's checkpoint."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Converted(Generic[Spec]):
    """Converted weights, and a record of every name in nlcore and in the origin's checkpoint.

    Attributes
    ----------
    spec : NonLocalSpec or NetworkSpec
        The block or network that the weights belong to.
    weights : dict of str to array
        The weights by nlcore's names.
    names : dict of str to str
        nlcore's name -> the origin's name of each weight that was read.
    missing : tuple of str
        nlcore's names for which the checkpoint has no weight.
    left_over : tuple of str
        Names in the checkpoint that have no counterpart in nlcore.
    ignored : tuple of str
        Names in the checkpoint that are not weights, such as counts of batches.
    notes : tuple of str
        Weights that were computed rather than read, and differences in what the origin computes.
    """

    spec: Spec
    weights: Weights = field(repr=False)
    names: dict[str, str] = field(repr=False)
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """The record as text, with one line for each kind of name."""
        lines = [f"{len(self.names)} weights read, {len(self.weights)} weights of {self.spec}"]
        lines += [f"note: {note}" for note in self.notes]
        for kind in ("missing", "left_over", "ignored"):
            names = getattr(self, kind)
            lines.append(f"{kind.replace('_', ' ')}: {', '.join(names) or 'none'}")
        return "\n".join(lines)

    def whole(self) -> Converted[Spec]:
        """Return self, or raise a ValueError that lists the names missing and left over."""
        if self.missing or self.left_over:
            raise ValueError(
                f"expected exactly the weights of {self.spec}; missing: {list(self.missing)}; "
                f"left over: {list(self.left_over)} (partial=True returns the weights found)"
            )
        return self


def take(
    state: Mapping[str, Any],
    places: Mapping[str, Place],
    shapes: Shapes,
    replaceable: tuple[str, ...] = (),
) -> tuple[Weights, dict[str, str]]:
    """Read the weights from their places. Returns `Converted.weights` and `Converted.names`.

    `shapes` are nlcore's shapes, to which the weights are reshaped. A weight in `replaceable` is
    skipped if its shape differs from the expected one.

    Raises
    ------
    ValueError
        A weight has the wrong shape. The message names it.
    TypeError
        A weight is not floating point.
    """
    weights: Weights = {}
    names: dict[str, str] = {}
    for name, place in places.items():
        if place.name not in state:
            continue
        value = np.asarray(state[place.name])
        check_float(f"weight {place.name!r}", value.dtype.name)
        if value.shape == place.shape:
            weights[name], names[name] = value.reshape(shapes[name]), place.name
        elif name not in replaceable:
            raise ValueError(
                f"{place.name!r} must have shape {place.shape} to become {name!r}; "
                f"received shape {value.shape}"
            )
    return weights, names


def fill_statistics(weights: Weights, norms: Mapping[str, float]) -> list[str]:
    """Add running statistics to affine layers, which have only a scale and a shift. Returns notes.

    `norms` maps the names of batch normalizations to their eps. With mean 0 and variance 1 - eps,
    batch normalization computes exactly the scale and the shift.
    """
    filled = []
    for norm, eps in norms.items():
        mean, variance = f"{norm}.running_mean", f"{norm}.running_var"
        if f"{norm}.weight" not in weights or mean in weights or variance in weights:
            continue
        scale = weights[f"{norm}.weight"]
        dtype = np.promote_types(scale.dtype, np.float32)  # in float16, 1 - eps would be 1
        weights[mean] = np.zeros(scale.shape, dtype)
        weights[variance] = np.full(scale.shape, 1 - eps, dtype)
        filled.append(norm)
    if not filled:
        return []
    return [f"mean 0 and variance 1 - eps, because the origin has only scale and shift: {filled}"]


def fill_zeros(weights: Weights, shapes: Shapes, places: Mapping[str, Place]) -> list[str]:
    """Set the weights that the origin does not have to 0, in place. Returns notes."""
    zeros = [name for name in shapes if name not in places]
    dtype = next(iter(weights.values())).dtype if weights else np.float32
    weights |= {name: np.zeros(shapes[name], dtype) for name in zeros}
    return [f"0, because the origin does not have them: {zeros}"] if zeros else []


def account(
    spec: Spec,
    shapes: Shapes,
    weights: Weights,
    names: dict[str, str],
    state: Mapping[str, Any],
    ignored: str,
    notes: list[str],
) -> Converted[Spec]:
    """The `Converted` with the weights in the order of `shapes`, and the record of every name.

    `state` is the checkpoint. `ignored` is a regular expression for names that are not weights.
    """
    rest = sorted(set(state) - set(names.values()))
    return Converted(
        spec,
        {name: weights[name] for name in shapes if name in weights},
        names,
        missing=tuple(name for name in shapes if name not in weights),
        left_over=tuple(name for name in rest if not re.fullmatch(ignored, name)),
        ignored=tuple(name for name in rest if re.fullmatch(ignored, name)),
        notes=tuple(notes),
    )


def distribute(weights: Mapping[str, Any], places: Mapping[str, Place], to: str) -> Weights:
    """The origin's weights: each weight in its place, and zeros in places without a weight.

    `to` names the origin in the error.

    Raises
    ------
    ValueError
        A weight that has no place contains a value other than 0.
    """
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    for name in sorted(arrays.keys() - places.keys()):
        if np.any(arrays[name]):
            raise ValueError(f"{to} has no place for {name!r}: expected 0; received other values")
    dtype = next(iter(arrays.values())).dtype
    return {
        place.name: arrays[name].reshape(place.shape)
        if name in arrays
        else np.zeros(place.shape, dtype)
        for name, place in places.items()
    }


def as_affine(weights: Mapping[str, Any], norms: Mapping[str, float]) -> Weights:
    """The weights with these batch normalizations (name -> eps) as affine layers.

    The scale and the shift include the running statistics, which are removed.
    """
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    for norm, eps in norms.items():
        names = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        scale, shift, mean, variance = (arrays[n].astype(np.float64) for n in names)
        slope = scale / np.sqrt(variance + eps)
        arrays[names[0]] = slope.astype(arrays[names[0]].dtype)
        arrays[names[1]] = (shift - mean * slope).astype(arrays[names[1]].dtype)
        del arrays[names[2]], arrays[names[3]]
    return arrays


def without_statistics(places: Mapping[str, Place]) -> dict[str, Place]:
    """The places without running statistics, for affine layers."""
    statistics = (".running_mean", ".running_var")
    return {name: place for name, place in places.items() if not name.endswith(statistics)}
