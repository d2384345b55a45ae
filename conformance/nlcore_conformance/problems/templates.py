"""Every combination of the spec's rules, without sizes, and the choices that go with sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nlcore import NonLocalSpec
from nlcore.spec import BIASES, NORMALIZATIONS, SUBSAMPLE_AT

#: Name of a scale -> its value, from C and D.
SCALES: dict[str, Callable[[int, int], float]] = {
    "1": lambda c, d: 1.0,
    "D^-1/2": lambda c, d: d**-0.5,
    "C^-1/2": lambda c, d: c**-0.5,
    "D^1/2": lambda c, d: d**0.5,
    "other": lambda c, d: -0.7,
}
#: Name of a rule for D -> D, from C and a free number.
INNER: dict[str, Callable[[int, int], int]] = {
    "C/2": lambda c, free: max(c // 2, 1),
    "any": lambda c, free: free,
    "C/8": lambda c, free: max(c // 8, 1),
    "C": lambda c, free: c,
    "C/4": lambda c, free: max(c // 4, 1),
    "C/16": lambda c, free: max(c // 16, 1),
    "1": lambda c, free: 1,
}
#: Name of a rule for V -> V, from C, D and a free number. The usual one is the first.
VALUE: dict[str, Callable[[int, int, int], int]] = {
    "D": lambda c, d, free: d,
    "any": lambda c, d, free: free,
    "C/2": lambda c, d, free: max(c // 2, 1),
    "C": lambda c, d, free: c,
}
#: Values of batch normalization's eps, the usual one first.
EPS = (1e-5, 1e-3, 1e-4, 1e-6)


@dataclass(frozen=True)
class Choice:
    """What implementations often fix: the scale, D, V, and eps."""

    scale: str  # key of SCALES
    inner: str  # key of INNER
    value: str  # key of VALUE
    eps: float


@dataclass(frozen=True)
class Choices:
    """The scales, rules for D and V, and values of eps that an implementation takes."""

    scales: tuple[str, ...]
    inners: tuple[str, ...]
    values: tuple[str, ...]
    eps: tuple[float, ...]

    def each(self) -> Iterator[Choice]:
        """Every combination with the first rule for V, and the usual ones with the other rules."""
        first, others = self.values[:1], self.values[1:]
        for options in (
            (self.scales, self.inners, first, self.eps),
            (self.scales[:2], self.inners, others, self.eps[:1]),
        ):
            yield from itertools.starmap(Choice, itertools.product(*options))


@dataclass(frozen=True)
class Template:
    """A spec without its sizes: one choice for each rule."""

    fields: tuple[tuple[str, Any], ...]
    pool: str  # "none", "paper" or "any"

    @property
    def choices(self) -> Choices:
        """All choices for this template."""
        fields = dict(self.fields)
        scales = ("1",) if fields["pairwise"] == "concatenation" else tuple(SCALES)
        eps = EPS if fields["batch_norm"] else EPS[:1]
        return Choices(scales, tuple(INNER), tuple(VALUE), eps)

    def spec(
        self, choice: Choice, channels: int, inner: int, value: int, window: int, pool: int
    ) -> NonLocalSpec:
        """The spec with these sizes. One that the template or the choice determines is not used."""
        fields = dict(self.fields)
        ndim, extent = fields["ndim"], fields["extent"]
        inner = INNER[choice.inner](channels, inner)
        value = VALUE[choice.value](channels, inner, value)
        if fields.pop("windowed"):
            fields["window"] = window
        if self.pool != "none":
            # two sizes, so that height is not mistaken for width
            first, second = (2, 2) if self.pool == "paper" else (pool, 5 - pool)
            if extent == "time":
                fields["subsample"] = (first, 1, 1)
            elif ndim == 3 and (self.pool == "paper" or extent == "space" or "window" in fields):
                fields["subsample"] = (1, first, second)
            else:
                fields["subsample"] = (first, second, first)[:ndim]
        scale = SCALES[choice.scale](channels, inner)
        return NonLocalSpec(
            channels, inner, value_channels=value, scale=scale, eps=choice.eps, **fields
        )


def templates(pairwise: str) -> list[Template]:
    """Every combination of rules for one pairwise function, the simplest first."""
    concatenation = pairwise == "concatenation"
    places = [(1, "all", False), (2, "all", False)]
    places += [(3, extent, False) for extent in ("all", "space", "time")] + [(3, "all", True)]
    out = []
    for place, norm, pool, at, bias, pair_bias, batch_norm in itertools.product(
        places,
        NORMALIZATIONS,
        ("none", "paper", "any"),
        SUBSAMPLE_AT,
        BIASES,
        (False, True) if concatenation else (False,),
        (False, True),
    ):
        if pool == "none" and at != "embedding":
            continue
        ndim, extent, windowed = place
        fields = {
            "pairwise": pairwise,
            "normalization": norm,
            "ndim": ndim,
            "extent": extent,
            "windowed": windowed,
            "subsample_at": at,
            "bias": bias,
            "pair_bias": pair_bias,
            "batch_norm": batch_norm,
        }
        out.append(Template(tuple(fields.items()), pool))
    return out


#: The templates that a backend supports, each with the choices that it takes.
Allowed = dict[Template, Choices]


def by_place(allowed: Allowed) -> list[Allowed]:
    """The templates in groups of one ndim, extent and windowing each."""
    groups: dict[tuple, Allowed] = {}
    for template, choices in allowed.items():
        fields = dict(template.fields)
        place = (fields["ndim"], fields["extent"], fields["windowed"])
        groups.setdefault(place, {})[template] = choices
    return list(groups.values())
