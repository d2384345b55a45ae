"""Which dialect does a backend compute? Its answers alone decide.

The backend computes one small problem, on which all candidates differ by far more than their
bounds. Gradients are not computed.
"""

from nlcore_conformance.identify.candidates import ASKED
from nlcore_conformance.identify.identification import Identification, identify, show

__all__ = ["ASKED", "Identification", "identify", "show"]
