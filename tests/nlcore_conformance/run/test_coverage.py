"""Coverage: the values that a run has judged, and why it has not judged the others."""

from __future__ import annotations

import pytest

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.problems.case import Case
from nlcore_conformance.reports.terminal import coverage
from nlcore_conformance.run.coverage import VALUES, values
from nlcore_conformance.run.results import Report
from nlcore_conformance.run.runner import run
from nlcore_conformance.run.verdict import Verdict


class Picky(Plain):
    """Supports two-dimensional embedded Gaussians only."""

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        return (spec.ndim, spec.pairwise) == (2, "embedded_gaussian") or "two axes only"


def test_what_is_not_supported_is_reported_and_not_tried():
    report: Report = run(Picky(), only=lambda c: c.name.startswith("forward"))
    assert Verdict(report).conforms
    assert report.covered["ndim"].keys() == {"2"}
    assert report.not_covered["ndim"] == {"1": "two axes only", "3": "two axes only"}
    assert report.not_covered["pairwise"].keys() == {"gaussian", "dot_product", "concatenation"}
    by_name = {r.name: r for r in report.results}
    assert by_name["forward / gaussian"].verdict == "not run"
    assert by_name["forward / gaussian"].not_run == "two axes only"


@pytest.mark.parametrize(("value", "name"), [(3, "= inner"), (4, "> inner"), (1, "< inner")])
def test_the_width_of_g_is_covered_beside_that_of_theta(value, name):
    spec = NonLocalSpec(8, 3, value_channels=value, bias="embeddings")
    found = values(Case(spec, 1, (2, 3, 4), "float32"), gradient=False)
    assert (found["value_channels"], found["bias"]) == (name, "embeddings")
    assert name in VALUES["value_channels"] and "embeddings" in VALUES["bias"]


def test_everything_is_covered_of_what_supports_everything():
    report = run(Plain(), only=lambda c: c.name.startswith("forward"))
    assert not {"value_channels", "bias", "pairwise"} & report.not_covered.keys()


def test_the_coverage_says_what_the_sums_are_said_to_be_kept_in():
    backend = Plain(("float16",))
    backend.accumulates = {"float16": "float16"}
    report = run(backend, only=lambda check: check.name == "repeatable")
    assert "dtypes float16 (sums in float16)" in str(coverage(report))
    assert report.to_json()["sums"] == {"float16": "float16"}
