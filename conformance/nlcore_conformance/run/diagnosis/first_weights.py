"""Mutants whose new blocks have weights as the backend's have, up to what chance explains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.bounds.normal_draws import mean_bound, square_bounds
from nlcore_conformance.checks.comparison import Broken, float64, new_weights
from nlcore_conformance.mutants import Mutant
from nlcore_conformance.run.diagnosis.replies import Known


def starting_alike(backend: Backend, zoo: Iterable[Mutant], known: Known) -> list[Mutant]:
    """The mutants whose new weights are the backend's, or random as these are.

    There are none where the backend's weights are right, and what it computes with them is wrong.
    """
    every = [case.spec for case, _ in (*known.wrong, *known.right)]
    try:
        theirs = [(spec, new_weights(backend, spec)) for spec in every]
    except Broken:
        return []
    if _alike(Plain(), theirs):
        return []
    return [m for m in zoo if _alike(m.make(), theirs)]


def _alike(mutant: Backend, theirs: Iterable[tuple[NonLocalSpec, dict[str, Any]]]) -> bool:
    for spec, weights in theirs:
        ours = new_weights(mutant, spec)
        if not all(_same_distribution(np.asarray(ours[n]), np.asarray(weights[n])) for n in ours):
            return False
    return True


def _same_distribution(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether both are equal, or can be draws of one distribution.

    Means and mean squares are then as near as those of normal draws, see `normal_draws`. An array
    of equal values is not random, unless it has one value only.
    """
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = float64(a), float64(b)
    if np.array_equal(a, b):
        return True
    if a.size > 1 and (np.ptp(a) == 0.0 or np.ptp(b) == 0.0):
        return False
    squares = sorted((np.mean(a**2), np.mean(b**2)))
    lower, upper = square_bounds(a.size, 1.0)
    near = abs(a.mean() - b.mean()) <= 2 * mean_bound(a.size, float(np.sqrt(squares[1])))
    return bool(near and squares[1] * lower <= squares[0] * upper)
