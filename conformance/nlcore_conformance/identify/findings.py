"""The specs that explain a backend's answers, and the rules in which they differ from each dialect.

Each finding is about one pairwise function and one number of axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nlcore import DIALECTS, NonLocalSpec
from nlcore_conformance.identify.answers import Answer, Examined
from nlcore_conformance.identify.candidates import (
    ASKED,
    combinations,
    dialect_spec,
    dialects,
    forms,
    scales,
)


@dataclass(frozen=True)
class Distance:
    """How far answers are from a dialect."""

    changes: tuple[str, ...] | None  # rules that differ, like "scale=1"; None if no rules explain
    ratio: float  # of the worst answer, against the dialect itself
    pairwise: tuple[str, ...]  # the pairwise functions that explain the answers


@dataclass(frozen=True)
class Finding:
    """What a backend computes when it is asked for one pairwise function.

    Attributes
    ----------
    answers
        Its answer about each spec.
    own, exact
        The dialects whose own spec it answered, and those that it answered right.
    distances
        How far it is from `ASKED`, and from each dialect that uses these weights.
    several
        Whether the specs that it answered differ in their rules.
    """

    pairwise: str
    ndim: int
    answers: tuple[Answer, ...]
    own: tuple[str, ...]
    exact: tuple[str, ...]
    distances: dict[str, Distance]
    several: bool

    @property
    def answered(self) -> int:
        """How many specs were answered."""
        return sum(answer.z is not None for answer in self.answers)

    @property
    def as_asked(self) -> bool:
        """Whether every answer is right for the spec asked for."""
        return self.explained(ASKED)

    def explained(self, name: str) -> bool:
        """Whether the dialect, or ASKED, explains every answer."""
        return name in self.distances and self.distances[name].changes == ()

    @property
    def dialects(self) -> tuple[str, ...]:
        """The dialects that explain every answer: those answered themselves, if there are any."""
        right = [name for name in DIALECTS if self.explained(name)]
        return tuple([name for name in right if name in self.exact] or right)

    def far(self, name: str) -> tuple[int, int, int, float]:
        """How far the answers are from a dialect, as numbers with the most important first.

        Whether no rules explain them, how many rules differ, whether the dialect's own spec was not
        answered, and the ratio.
        """
        distance = self.distances[name]
        foreign = name not in (ASKED, *self.own)
        changes = distance.changes
        return int(changes is None), len(changes or ()), int(foreign), distance.ratio


def found(examined: Examined, answers: tuple[Answer, ...]) -> Finding:
    """The finding from the answers about specs of one pairwise function and number of axes."""
    pairwise, ndim = answers[0].asked.pairwise, answers[0].asked.ndim
    given = {a.asked: a.z for a in answers if a.z is not None}
    asked_for = {name: dialect_spec(name, pairwise, ndim) for name in DIALECTS}
    own = {name: s for name, s in asked_for.items() if s is not None and s in given}
    explained = {spec: _explanations(examined, spec, z) for spec, z in given.items()}
    far = {name: _distance(examined, name, given, explained) for name in (ASKED, *DIALECTS)}
    return Finding(
        pairwise,
        ndim,
        answers,
        own=tuple(own),
        exact=tuple(name for name, s in own.items() if examined.ratio(given[s], s) <= 1),
        distances={name: distance for name, distance in far.items() if distance and given},
        several=len({(s.normalization, s.scale, s.subsample, s.subsample_at) for s in given}) > 1,
    )


def _explanations(examined: Examined, spec: NonLocalSpec, z: np.ndarray) -> list[NonLocalSpec]:
    """The specs whose result z is: dialects, or if there is none any combination of rules."""
    for candidates in (dialects, combinations):
        near = examined.nearest(z, candidates(spec))
        if right := [candidate for candidate in near if examined.ratio(z, candidate) <= 1]:
            return right
    return []


def _distance(
    examined: Examined,
    name: str,
    given: dict[NonLocalSpec, np.ndarray],
    explained: dict[NonLocalSpec, list[NonLocalSpec]],
) -> Distance | None:
    """How far the answers are from a dialect; None if it has no form with these weights."""
    if not all(forms(name, spec) for spec in given):
        return None
    ratios = [
        examined.ratio(z, examined.nearest(z, forms(name, spec))[0]) for spec, z in given.items()
    ]
    ratio = max(ratios, default=0.0)
    if not all(explained.values()):
        return Distance(None, ratio, ())
    changes: dict[str, None] = {}
    pairwise: dict[str, None] = {}
    for spec in given:
        form, computed = _closest(spec, forms(name, spec), explained[spec])
        changes |= dict.fromkeys(_changes(form, computed))
        pairwise[computed.pairwise] = None
    return Distance(tuple(changes), ratio, tuple(pairwise))


def _closest(
    spec: NonLocalSpec, dialect: list[NonLocalSpec], explained: list[NonLocalSpec]
) -> tuple[NonLocalSpec, NonLocalSpec]:
    """The dialect's form and the explanation in which the fewest rules differ."""

    def difference(pair: tuple[NonLocalSpec, NonLocalSpec]) -> tuple[int, bool, bool]:
        form, computed = pair
        return (
            len(_changes(form, computed)),
            form.pairwise != computed.pairwise,
            computed.pairwise != spec.pairwise,
        )

    return min(((form, e) for form in dialect for e in explained), key=difference)


def _changes(form: NonLocalSpec, computed: NonLocalSpec) -> tuple[str, ...]:
    """The rules in which the spec that is computed differs from a dialect's form."""
    was, now = form.arguments(), computed.arguments()
    if not computed.subsample:
        del was["subsample_at"]  # without subsampling it has no meaning
    inner = computed.inner_channels
    return tuple(_rule(key, now[key], inner) for key in was if was[key] != now[key])


def _rule(key: str, value: object, inner: int) -> str:
    """A rule in words, like "scale=D^-1/2"."""
    formulas = {scale: text for text, scale in scales(inner).items()}
    return f"{key}={formulas.get(value, repr(value)) if isinstance(value, float) else repr(value)}"
