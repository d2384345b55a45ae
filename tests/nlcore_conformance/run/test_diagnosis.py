"""A failing backend is told which known mistake it makes."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.mutants import mutants
from nlcore_conformance.run.results import Cause, Diagnosis
from nlcore_conformance.run.runner import run

ZOO = {mutant.name: mutant for mutant in mutants()}


def hidden(name):
    """The block of a mutant behind a plain function, which has no other attribute."""
    mutant = ZOO[name].make()

    def block(spec, weights, x, training=False):
        return mutant.block(spec, weights, x, training)

    return as_backend(block, "hidden")


def names(report):
    return [[cause.name for cause in found.causes] for found in report.diagnoses]


@pytest.mark.parametrize("name", ["no scale", "softmax over queries", "pooling before phi and g"])
def test_a_mutant_behind_a_function_is_named(name):
    report = run(hidden(name), only=lambda check: check.name == "forward / embedded_gaussian")
    (found,) = report.diagnoses
    assert name in [cause.name for cause in found.causes]
    assert found.checks == ("forward / embedded_gaussian",)


class QueriesOfRNAN(Plain):
    """Another code of the same mistake: each column of exp adds up to 1."""

    def operation(self, call, theta, phi, g):
        p = super().operation(call, theta, phi, g)
        if call.spec.pairwise == "embedded_gaussian" and call.spec.normalization == "sum":
            f = np.exp(p.t - p.t.max(1, keepdims=True))
            p.y = call.stored(f / f.sum(1, keepdims=True) @ g)
        return p


def test_checks_with_one_cause_are_one_finding():
    names_ = ("forward / embedded_gaussian", "forward / gaussian")
    report = run(QueriesOfRNAN(), only=lambda check: check.name in names_)
    ((found,),) = ([d for d in report.diagnoses],)
    assert found.checks == ("forward / embedded_gaussian",)
    assert [cause.clause for cause in found.causes] == ["NL-4.1"]
    assert found.lines[0].startswith("computes what 'softmax over queries' computes (NL-4.1)")


class Unknown(Plain):
    """A mistake that no mutant makes."""

    def pairwise(self, call, t):
        return np.tanh(super().pairwise(call, t))


def test_an_unknown_mistake_has_no_diagnosis():
    report = run(Unknown(), only=lambda check: check.name == "forward / gaussian")
    assert report.results[0].failure is not None and report.diagnoses == []


def test_right_answers_have_no_diagnosis():
    report = run(Plain(), only=lambda check: check.name == "rescaling")
    assert report.diagnoses == []


def test_several_mistakes_that_are_equal_are_all_said():
    found = Diagnosis(("a check",), (Cause("one", "It is.", "NL-1"), Cause("two", "So.", "NL-2")))
    assert found.lines == [
        "computes what 'one' computes (NL-1): It is.",
        "or 'two' (NL-2), equal here: So.",
    ]
