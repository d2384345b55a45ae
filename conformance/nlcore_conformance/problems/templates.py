"""Every combination of the spec's rules, without sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, SUBSAMPLE_AT

_SCALES: dict[str, Callable[[int, int], float]] = {
    "1": lambda c, d: 1.0,
    "D^-1/2": lambda c, d: d**-0.5,
    "C^-1/2": lambda c, d: c**-0.5,
    "D^1/2": lambda c, d: d**0.5,
    "other": lambda c, d: -0.7,
}


@dataclass(frozen=True)
class Template:
    """A spec without its sizes: one choice for each rule."""

    fields: tuple[tuple[str, Any], ...]
    inner: str  # "half", "eighth" or "any"
    scale: str  # key of _SCALES
    pool: str  # "none", "paper" or "any"

    def spec(self, channels: int, inner: int, window: int, pool: int, eps: float) -> NonLocalSpec:
        """The spec with these sizes; a size that the template determines is not used."""
        fields = dict(self.fields)
        ndim, extent = fields["ndim"], fields["extent"]
        inner = {"half": max(channels // 2, 1), "eighth": max(channels // 8, 1), "any": inner}[
            self.inner
        ]
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
        scale = _SCALES[self.scale](channels, inner)
        return NonLocalSpec(channels, inner, scale=scale, eps=eps, **fields)


def templates(pairwise: str) -> list[Template]:
    """Every combination of rules for one pairwise function, the simplest first."""
    concatenation = pairwise == "concatenation"
    places = [(1, "all", False), (2, "all", False)]
    places += [(3, extent, False) for extent in ("all", "space", "time")] + [(3, "all", True)]
    out = []
    for place, norm, scale, pool, at, bias, pair_bias, batch_norm, inner in itertools.product(
        places,
        NORMALIZATIONS,
        ("1",) if concatenation else tuple(_SCALES),
        ("none", "paper", "any"),
        SUBSAMPLE_AT,
        (False, True),
        (False, True) if concatenation else (False,),
        (False, True),
        ("half", "any", "eighth"),
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
        out.append(Template(tuple(fields.items()), inner, scale, pool))
    return out


def by_place(every: list[Template]) -> list[list[Template]]:
    """The templates in groups of one ndim, extent and windowing each."""
    groups: dict[tuple, list[Template]] = {}
    for template in every:
        fields = dict(template.fields)
        place = (fields["ndim"], fields["extent"], fields["windowed"])
        groups.setdefault(place, []).append(template)
    return list(groups.values())
