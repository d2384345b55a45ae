"""All mutants, topic by topic."""

from __future__ import annotations

from nlcore_conformance.mutants import (
    arithmetic,
    embeddings,
    extents,
    gradients,
    interface,
    normalization,
    pairwise,
    pooling,
    residual,
)
from nlcore_conformance.mutants.mutant import Mutant

_TOPICS = (
    embeddings,
    pairwise,
    normalization,
    pooling,
    extents,
    residual,
    gradients,
    arithmetic,
    interface,
)


def mutants() -> tuple[Mutant, ...]:
    """Implementations with one wrong rule each, in the order of the specification."""
    return tuple(mutant for topic in _TOPICS for mutant in topic.ZOO)
