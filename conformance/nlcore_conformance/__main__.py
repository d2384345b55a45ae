"""python -m nlcore_conformance: the same as the command nlcore-conformance."""

from nlcore_conformance.cli import app

app(prog_name="nlcore-conformance")
