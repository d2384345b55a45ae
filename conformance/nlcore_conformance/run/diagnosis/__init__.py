"""Why a backend fails: which known mistakes give its answers."""

from nlcore_conformance.run.diagnosis.diagnose import diagnose

__all__ = ["diagnose"]
