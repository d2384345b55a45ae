"""What does a backend compute, rule by rule, and which dialect is that? Its answers alone decide.

The backend computes small problems, on which all rules differ by far more than the bounds.
Gradients are not computed.
"""

from nlcore_conformance.identify.agreement import ASKED
from nlcore_conformance.identify.identification import Identification, identify, show

__all__ = ["ASKED", "Identification", "identify", "show"]
