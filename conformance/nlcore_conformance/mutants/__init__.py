"""Mutants: implementations with one wrong rule each, which the suite has to reject.

Each module has those of one topic. `nlcore_conformance.selftest` judges all of them.
"""

from nlcore_conformance.mutants import (
    embeddings,
    extents,
    interface,
    normalization,
    operation_gradients,
    pairwise,
    pooling,
    residual,
    rounding,
    stage_gradients,
    weight_gradients,
)
from nlcore_conformance.mutants.mutant import Mutant

__all__ = ["Mutant", "mutants"]

_TOPICS = (
    embeddings,
    pairwise,
    normalization,
    pooling,
    extents,
    residual,
    operation_gradients,
    weight_gradients,
    stage_gradients,
    rounding,
    interface,
)


def mutants() -> tuple[Mutant, ...]:
    """Implementations with one wrong rule each, in the order of the specification."""
    return tuple(mutant for topic in _TOPICS for mutant in topic.ZOO)
