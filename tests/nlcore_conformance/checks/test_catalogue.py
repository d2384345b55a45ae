"""Every check passes the reference."""

from __future__ import annotations

import pytest

from nlcore import NonLocalSpec
from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.checks.catalogue import CHECKS
from nlcore_conformance.checks.judging import attempt
from nlcore_conformance.problems.case import Case


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_accepts_one_value_of_each_axis(check):
    spec = NonLocalSpec(2, 1, extent="space", batch_norm=check.training)
    case = Case(spec, 2, (1, 1, 1), "float64", training=check.training)
    assert all(j.ratio <= 1 for j in attempt(check, Reference(), case))
