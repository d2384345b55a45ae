"""What a mutant is, and the ways in which most of them are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Call, Plain
from nlcore_conformance.backend.protocol import Backend, Weights


@dataclass(frozen=True)
class Mutant:
    """An implementation with one wrong rule."""

    name: str
    rule: str  # what is wrong, in one line
    clause: str  # of docs/spec.md, that it breaks
    make: Callable[[], Backend]
    stage: str = ""  # where its numbers first part from the right ones, "" outside the stages


class Zoo(list[Mutant]):
    """The mutants of one topic, in the order in which they are written."""

    def wrong(
        self,
        name: str,
        clause: str,
        stage: str = "",
        dtypes: tuple[str, ...] = FLOATS,
        rule: str = "",
    ) -> Callable[[type[Plain]], type[Plain]]:
        """Add a kind of Plain; the rule is its docstring where none is given."""

        def add(kind: type[Plain]) -> type[Plain]:
            kind.name, kind.dtypes = name, dtypes
            said = rule or str(kind.__doc__)
            self.append(Mutant(name, said.strip().splitlines()[0], clause, kind, stage))
            return kind

        return add


class Respecified(Plain):
    """Computes another spec than the one asked for, where that other one can be."""

    def other(self, spec: NonLocalSpec, positions: tuple[int, ...]) -> dict[str, Any]:
        """The fields that differ."""
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
    return call.spec.normalization == "sum"


def gaussian(call: Call) -> bool:
    """Whether f is an exp."""
    return "gaussian" in call.spec.pairwise
