"""All checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable

from nlcore import NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.checks import properties
from nlcore_conformance.checks.check import Check, forward, gradient, not_finite
from nlcore_conformance.checks.initial_state import initial_state
from nlcore_conformance.problems.case import LAYOUTS
from nlcore_conformance.problems.numbers import DATA

#: The clauses on the form of the answer, which every check judges.
FORM = ("NL-1.2", "NL-1.4", "NL-1.5")
#: Groups of clauses that several checks judge.
_OF_PAIRWISE = {
    "gaussian": ("NL-3.1", "NL-2.2", "NL-5.5"),
    "embedded_gaussian": ("NL-3.2",),
    "dot_product": ("NL-3.3",),
    "concatenation": ("NL-3.4",),
}
_VALUES = (
    *("NL-1.1", "NL-1.3", "NL-1.6", "NL-2.1", "NL-2.3", "NL-2.4", "NL-2.5"),
    *("NL-4.1", "NL-4.2", "NL-4.3", "NL-4.4", "NL-4.5"),
    *("NL-5.1", "NL-5.2", "NL-5.3", "NL-5.4", "NL-5.6"),
    *("NL-6.1", "NL-6.2", "NL-6.3", "NL-6.4", "NL-7.1", "NL-7.2", "NL-8.1", "NL-10.1", "NL-10.3"),
    *("NL-12.1", "NL-12.2", "NL-12.3", "NL-12.4", "NL-12.5"),
)
_EVERY = (*_VALUES, *(clause for own in _OF_PAIRWISE.values() for clause in own))
_GRADIENTS = ("NL-9.1", "NL-9.3", "NL-9.4", "NL-9.5")
_BATCH = ("NL-8.2", "NL-8.3")
_EXTENTS = ("NL-6.2", "NL-6.3", "NL-6.4")

#: Weights of the properties, and of the gradients, which cost more than z.
_FEW, _OF_GRADIENT = 0.3, 0.75


def _only(pairwise: str) -> Callable[[NonLocalSpec], bool]:
    return lambda spec: spec.pairwise == pairwise


def _batch_norm(spec: NonLocalSpec) -> bool:
    return spec.batch_norm


def _all_positions_alike(spec: NonLocalSpec) -> bool:
    return spec.subsample is None and spec.window is None


def _weighted_mean(spec: NonLocalSpec) -> bool:
    return spec.normalization == "sum" and spec.pairwise != "concatenation"


def _divided(spec: NonLocalSpec) -> bool:
    return spec.extent != "all" or spec.window is not None


CHECKS: tuple[Check, ...] = (
    *(
        Check(
            name=f"forward / {pairwise}",
            clause="NL-3",
            judge=forward,
            clauses=(*_VALUES, *_OF_PAIRWISE[pairwise]),
            applies=_only(pairwise),
            named=True,
            long=True,
        )
        for pairwise in PAIRWISE
    ),
    Check(
        name="forward / batch statistics",
        clause="NL-8.2",
        judge=forward,
        clauses=(*_EVERY, *_BATCH),
        applies=_batch_norm,
        named=True,
        long=True,
        training=True,
    ),
    *(
        Check(
            name=f"gradient / {pairwise}",
            clause="NL-9",
            judge=gradient,
            clauses=(*_VALUES, *_OF_PAIRWISE[pairwise], *_GRADIENTS),
            applies=_only(pairwise),
            weight=_OF_GRADIENT,
            named=True,
            long=True,
            gradient=True,
        )
        for pairwise in PAIRWISE
    ),
    Check(
        name="gradient / batch statistics",
        clause="NL-9.2",
        judge=gradient,
        clauses=(*_EVERY, *_BATCH, *_GRADIENTS, "NL-9.2"),
        applies=_batch_norm,
        weight=_OF_GRADIENT,
        named=True,
        long=True,
        training=True,
        gradient=True,
    ),
    Check(
        name="gradient / outside the extent",
        clause="NL-6",
        judge=properties.outside_the_extent,
        clauses=("NL-1.6", *_EXTENTS),
        weight=_FEW,
        gradient=True,
        data=("normal", "integers"),
    ),
    Check(
        name="memory layout",
        clause="NL-1.5",
        judge=forward,
        clauses=_EVERY,
        weight=0.7,
        data=("normal",),
        layouts=LAYOUTS,
    ),
    Check(
        name="identity at insertion",
        clause="NL-10.4",
        judge=properties.identity,
        clauses=("NL-10.4",),
        weight=_FEW,
    ),
    Check(
        name="initial state",
        clause="NL-10.5",
        judge=initial_state,
        clauses=("NL-10.3", "NL-10.4", "NL-10.5", "NL-10.6"),
        weight=_FEW,
        initial=True,
        data=("normal",),
    ),
    Check(
        name="NaN and infinity",
        clause="NL-11.2",
        judge=not_finite,
        clauses=(*_EVERY, "NL-11.1", "NL-11.2", "NL-11.3"),
        long=True,
        data=("normal",),
    ),
    Check(
        name="repeatable",
        clause="NL-10.3",
        judge=properties.repeatable,
        clauses=("NL-10.3",),
        weight=_FEW,
    ),
    Check(
        name="permutation",
        clause="NL-6.1",
        judge=properties.permutation,
        clauses=("NL-6.1",),
        applies=_all_positions_alike,
        weight=_FEW,
    ),
    Check(
        name="batch independence",
        clause="NL-1.6",
        judge=properties.batch_independence,
        clauses=("NL-1.6",),
        weight=_FEW,
    ),
    Check(
        name="constant g",
        clause="NL-4.1",
        judge=properties.constant_g,
        clauses=("NL-4.1",),
        applies=_weighted_mean,
        weight=_FEW,
        data=tuple(data for data in DATA if data != "zero f"),  # where C = 0, y is not g
    ),
    Check(
        name="extent as batches",
        clause="NL-6",
        judge=properties.extent_as_batches,
        clauses=_EXTENTS,
        applies=_divided,
        weight=_FEW,
    ),
    Check(
        name="rescaling",
        clause="NL-2.1",
        judge=properties.rescaling,
        clauses=("NL-2.1",),
        weight=_FEW,
    ),
)


def named_check(name: str) -> Check:
    """The check of this name.

    Raises
    ------
    ValueError
        Unknown name.
    """
    for check in CHECKS:
        if check.name == name:
            return check
    raise ValueError(f"check must be one of {[c.name for c in CHECKS]}; received {name!r}")
