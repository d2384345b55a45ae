"""Weights under other names: what was found, what is missing, and what is left over."""

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
    """Where another project keeps a weight: its name, and its shape there."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Converted(Generic[Spec]):
    """Weights under nlcore's names, and an account of every name on both sides.

    Attributes
    ----------
    spec
        The `NonLocalSpec` or `NetworkSpec` that the weights belong to.
    weights : dict of str to array
        By nlcore's names.
    names : dict of str to str
        nlcore's name -> the origin's name that the weight was read from.
    missing : tuple of str
        nlcore's names without a weight.
    left_over : tuple of str
        The origin's names that nlcore has no place for.
    ignored : tuple of str
        The origin's names of things that are no weights, like counts of batches.
    notes : tuple of str
        Weights that were computed, and what the origin computes differently.
    """

    spec: Spec
    weights: Weights = field(repr=False)
    names: dict[str, str] = field(repr=False)
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """The account as text, one line for each kind of name."""
        lines = [f"{len(self.names)} weights read, {len(self.weights)} weights of {self.spec}"]
        lines += [f"note: {note}" for note in self.notes]
        for kind in ("missing", "left_over", "ignored"):
            names = getattr(self, kind)
            lines.append(f"{kind.replace('_', ' ')}: {', '.join(names) or 'none'}")
        return "\n".join(lines)

    def whole(self) -> Converted[Spec]:
        """This, or a ValueError that lists what is missing and left over."""
        if self.missing or self.left_over:
            raise ValueError(
                f"expected exactly the weights of {self.spec}; missing: {list(self.missing)}; "
                f"left over: {list(self.left_over)} (partial=True returns what there is)"
            )
        return self


def take(
    state: Mapping[str, Any],
    places: Mapping[str, Place],
    shapes: Shapes,
    replaceable: tuple[str, ...] = (),
) -> tuple[Weights, dict[str, str]]:
    """Read each weight from its place, in nlcore's shape; returns weights and `Converted.names`.

    A name in `replaceable` is skipped if its shape is another.

    Raises
    ------
    ValueError
        A weight of another shape, by name.
    TypeError
        A weight that is not floating point.
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
                f"{place.name!r} must have shape {place.shape}, being {name!r}; "
                f"received shape {value.shape}"
            )
    return weights, names


def fill_statistics(weights: Weights, norms: Mapping[str, float]) -> list[str]:
    """Give statistics to batch normalizations that have a scale and a shift alone; notes of it.

    `norms` are the names of batch normalizations, with eps. Mean 0 and variance 1 - eps leave the
    scale and the shift as they are.
    """
    filled = []
    for norm, eps in norms.items():
        mean, variance = f"{norm}.running_mean", f"{norm}.running_var"
        if f"{norm}.weight" not in weights or mean in weights or variance in weights:
            continue
        scale = weights[f"{norm}.weight"]
        dtype = np.promote_types(scale.dtype, np.float32)  # in which 1 - eps is not 1
        weights[mean] = np.zeros(scale.shape, dtype)
        weights[variance] = np.full(scale.shape, 1 - eps, dtype)
        filled.append(norm)
    if not filled:
        return []
    return [f"mean 0 and variance 1 - eps, where the origin has a scale and a shift: {filled}"]


def fill_zeros(weights: Weights, shapes: Shapes, places: Mapping[str, Place]) -> list[str]:
    """Set weights to 0 that the origin has no place for; notes of it."""
    zeros = [name for name in shapes if name not in places]
    dtype = next(iter(weights.values())).dtype if weights else np.float32
    weights |= {name: np.zeros(shapes[name], dtype) for name in zeros}
    return [f"0, since the origin has none: {zeros}"] if zeros else []


def account(
    spec: Spec,
    shapes: Shapes,
    weights: Weights,
    names: dict[str, str],
    state: Mapping[str, Any],
    ignored: str,
    notes: list[str],
) -> Converted[Spec]:
    """The weights in the order of `shapes`, and what became of every name.

    `ignored` is a regular expression of the origin's names of things that are no weights.
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
    """Put every weight in its place, and zeros in the places that no weight is for.

    Raises
    ------
    ValueError
        A weight without a place is not 0.
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
    """The weights, with these batch normalizations, by eps, as a scale and a shift."""
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
    """The places that are left where batch normalizations are a scale and a shift."""
    statistics = (".running_mean", ".running_var")
    return {name: place for name, place in places.items() if not name.endswith(statistics)}
