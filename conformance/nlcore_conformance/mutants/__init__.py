"""Wrong implementations, one wrong rule each, and right ones: what the suite has to tell apart.

`mutants()` must all be rejected and `honest()` all be accepted, see `nlcore_conformance.selftest`.
"""

from nlcore_conformance.mutants.accepted import Variant, honest
from nlcore_conformance.mutants.mutant import Mutant
from nlcore_conformance.mutants.zoo import mutants

__all__ = ["Mutant", "Variant", "honest", "mutants"]
