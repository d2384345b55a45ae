"""A mutant, and the ways in which most of them are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call
from nlcore_conformance.backend.protocol import Weights


@dataclass(frozen=True)
class Mutant:
    """An implementation with one wrong rule."""

    name: str
    mistake: str  # in one sentence
    clause: str  # of docs/spec.md, that it breaks
    make: type[Plain]
    stage: str = ""  # the first at which its numbers are wrong, "" outside the stages


def together(one: Mutant, other: Mutant) -> Mutant | None:
    """The mutant that makes both mistakes, or None where they change the same method."""
    if _changed(one.make) & _changed(other.make):
        return None
    dtypes = tuple(dtype for dtype in one.make.dtypes if dtype in other.make.dtypes)
    name = f"{one.name} + {other.name}"
    both = type(name, (one.make, other.make), {"name": name, "dtypes": dtypes})
    return Mutant(name, f"{one.mistake} {other.mistake}", f"{one.clause} and {other.clause}", both)


def _changed(kind: type) -> set[str]:
    """The methods and attributes in which a subclass differs from Plain."""
    inherited = kind.__mro__[: kind.__mro__.index(Plain)]
    names = {name for own in inherited for name in vars(own) if not name.startswith("__")}
    return names - {"name", "dtypes"}


class Zoo(list[Mutant]):
    """The mutants of one topic, in the order in which they are written."""

    def wrong(
        self,
        name: str,
        clause: str,
        stage: str = "",
        dtypes: tuple[str, ...] = FLOATS,
        mistake: str = "",
    ) -> Callable[[type[Plain]], type[Plain]]:
        """A decorator that adds a subclass of Plain; without `mistake`, its docstring says it."""

        def add(kind: type[Plain]) -> type[Plain]:
            kind.name, kind.dtypes = name, dtypes
            said = mistake or str(kind.__doc__)
            self.append(Mutant(name, said.strip().splitlines()[0], clause, kind, stage))
            return kind

        return add

    def replace(
        self,
        name: str,
        clause: str,
        stage: str,
        mistake: str,
        dtypes: tuple[str, ...] = FLOATS,
        base: type[Plain] = Plain,
        **attributes: Any,
    ) -> None:
        """Add a subclass of `base` in which these methods, or other attributes, are replaced.

        A method takes `self` first. ``Plain.pairwise(self, call, t)`` calls the right one.

        Parameters
        ----------
        name, clause, stage, mistake
            The mutant's.
        dtypes
            The dtypes in which it is wrong.
        base
            Plain, or a family of mutants whose undefined methods `attributes` define.
        """
        self.wrong(name, clause, stage, dtypes, mistake)(type("_Replaced", (base,), attributes))


class Respecified(Plain):
    """Computes another spec than the one asked for, if there is such a spec."""

    def other(self, spec: NonLocalSpec, positions: tuple[int, ...]) -> dict[str, Any]:
        """The fields of the other spec that differ."""
        raise NotImplementedError

    def call(self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool) -> Call:
        call = super().call(spec, weights, x, training)
        positions = x.shape[2:]
        try:
            other = replace(spec, **self.other(spec, positions))
        except ValueError:
            return call
        fits = all(n >= p for n, p in zip(positions, other.pool, strict=True))
        return replace(call, spec=other) if fits else call


def by_sum(call: Call) -> bool:
    """Whether C(x) is the sum of f."""
    return call.spec.normalization == "sum"


def gaussian(call: Call) -> bool:
    """Whether f is an exp."""
    return "gaussian" in call.spec.pairwise


def concatenation(call: Call) -> bool:
    """Whether f is the concatenation's ReLU."""
    return call.spec.pairwise == "concatenation"


def dot_product(call: Call) -> bool:
    """Whether f is the dot product."""
    return call.spec.pairwise == "dot_product"
