"""Mutants: implementations with one wrong rule each, which the suite has to reject.

Each module has those of one topic. `nlcore_conformance.selftest` judges all of them.
"""

from nlcore_conformance.mutants import (
    conditions,
    embeddings,
    extents,
    interface,
    new_blocks,
    normalization,
    pairwise,
    pooling,
    residual,
    rounding,
)
from nlcore_conformance.mutants.gradients import of_operation, of_stages, of_weights
from nlcore_conformance.mutants.mutant import Mutant

__all__ = ["Mutant", "mutants"]

_TOPICS = (
    embeddings,
    pairwise,
    normalization,
    pooling,
    extents,
    residual,
    of_operation,
    of_weights,
    of_stages,
    rounding,
    interface,
    new_blocks,
    conditions,
)


def mutants() -> tuple[Mutant, ...]:
    """Implementations with one wrong rule each, in the order of the specification."""
    return tuple(mutant for topic in _TOPICS for mutant in topic.ZOO)
