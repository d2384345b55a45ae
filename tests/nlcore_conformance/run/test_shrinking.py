"""A failing case is reduced in every size, as far as it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.checks.judging import Failure
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.shrinking import TRIES, shrunk, smaller

CHECK = named_check("forward / embedded_gaussian")
LARGE = Case(
    NonLocalSpec(64, 16, scale=16**-0.5, subsample=(1, 2, 2), batch_norm=False),
    batch=3,
    positions=(4, 9, 9),
    dtype="float32",
    data="large",
    layout="reversed",
)


class Twice(Plain):
    """Adds x twice, where a spec has at least so many channels."""

    least = 1
    asked = 0

    def block(self, spec, weights, x, training=False):
        type(self).asked += 1
        z = super().block(spec, weights, x, training)
        return z + x if spec.channels >= self.least else z


def test_every_size_becomes_the_least():
    case = shrunk(CHECK, Twice(), Failure(LARGE, None)).case
    assert (case.batch, case.positions, case.spec.channels) == (1, (1, 2, 2), 1)
    assert (case.data, case.layout) == ("normal", "contiguous")
    assert case.spec.inner_channels == 1 and case.spec.scale == 1.0


class FromTwelve(Twice):
    least = 12


def test_it_stops_where_the_check_passes():
    case = shrunk(CHECK, FromTwelve(), Failure(LARGE, None)).case
    assert case.spec.channels == 16
    assert case.spec.scale == case.spec.inner_channels**-0.5 == 0.5


def test_the_width_of_g_is_reduced_too():
    for value, least in ((16, {1, 2, 4, 8}), (48, {3, 6, 12, 24})):
        wide = replace(LARGE, spec=replace(LARGE.spec, value_channels=value))
        specs = [c.spec for c in smaller(wide) if c.spec.channels in (4, 8, 16, 32)]
        assert {spec.value_channels for spec in specs} == least
        assert {spec.value_channels // spec.inner_channels for spec in specs} == {value // 16}


def test_a_case_that_cannot_be_reduced_is_kept_and_the_tries_are_few():
    small = Case(NonLocalSpec(1, ndim=1), 1, (1,), "float32")
    assert list(smaller(small)) == []
    failure = Failure(small, None, "error")
    assert shrunk(CHECK, Twice(), failure) is failure
    Twice.asked = 0
    shrunk(CHECK, Plain(), Failure(LARGE, None))
    FromTwelve.least = 64
    FromTwelve.asked = 0
    shrunk(CHECK, FromTwelve(), Failure(LARGE, None))
    assert 0 < FromTwelve.asked <= TRIES


def test_windows_stay_whole_and_batch_statistics_keep_two_items():
    case = Case(NonLocalSpec(4, window=3), 3, (12, 2, 2), "float32", training=True)
    found = list(smaller(case))
    assert {c.positions[0] for c in found if c.positions[1:] == (2, 2)} == {12, 3, 6}
    assert min(c.batch for c in found) == 2
    assert all(np.prod(c.positions) > 0 for c in found)
