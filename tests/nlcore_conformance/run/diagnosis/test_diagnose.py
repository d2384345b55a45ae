"""A failing backend is told which known mistake it makes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from nlcore.block_cost import seen
from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.checks.catalogue import CHECKS
from nlcore_conformance.mutants import mutants
from nlcore_conformance.mutants.conditions import Conditional
from nlcore_conformance.mutants.mutant import together
from nlcore_conformance.run.results import Cause, Diagnosis
from nlcore_conformance.run.runner import run

SELF_TEST = Path(__file__).parents[4] / "docs" / "self_test.json"
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


def test_two_mistakes_at_once_are_named():
    both = together(ZOO["no scale"], ZOO["softmax over queries"]).make()

    def block(spec, weights, x, training=False):
        return both.block(spec, weights, x, training)

    checks = ("forward / embedded_gaussian", "forward / dot_product")
    report = run(as_backend(block, "hidden"), only=lambda check: check.name in checks)
    found = {d.checks: [cause.name for cause in d.causes] for d in report.diagnoses}
    assert found["forward / embedded_gaussian",] == ["no scale + softmax over queries"]
    assert "no scale" in found["forward / dot_product",]


def test_answers_that_depend_on_what_was_asked_before_are_diagnosed():
    report = run(ZOO["gradients pile up"].make(), only=lambda c: c.name == "gradient / dot_product")
    assert names(report) == [["gradients pile up"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_every_mutant_is_named(name):
    """By a check that rejects it, first by the one of the self-test."""
    rows = {row["name"]: row for row in json.loads(SELF_TEST.read_text(encoding="utf-8"))["rows"]}
    first = rows[name]["check"]
    conditional = issubclass(ZOO[name].make, Conditional)
    mutant = ZOO[name].make(complete=True) if conditional else ZOO[name].make()
    for check in sorted(CHECKS, key=lambda check: check.name != first):
        report = run(mutant, only=lambda known, check=check: known is check)
        if name in itertools.chain.from_iterable(names(report)):
            return
    pytest.fail("no check names it")


class WrongFallback(Plain):
    """Where many positions see each other, f is not scaled."""

    def block(self, spec, weights, x, training=False):
        kind = ZOO["no scale"].make if seen(spec, x.shape[2:]) > 600 else Plain
        return kind().block(spec, weights, x, training)


def test_a_mistake_of_one_path_is_named():
    report = run(WrongFallback(), only=lambda check: check.name == "forward / embedded_gaussian")
    (found,) = report.diagnoses
    assert [cause.name for cause in found.causes] == ["no scale"]
    assert found.lines[0].startswith("computes what 'no scale' computes (NL-3")
    assert ", but only where positions=up to 4096" in found.lines[0]


class WrongInHalf(Plain):
    """In float16, theta has no part in dx."""

    def block_vjp(self, spec, weights, x, dz, training=False):
        kind = ZOO["dx without theta"].make if x.dtype == np.float16 else Plain
        return kind().block_vjp(spec, weights, x, dz, training)


def test_a_mistake_in_one_dtype_is_one_mistake():
    backend = WrongInHalf(FLOATS)
    report = run(backend, only=lambda check: check.name == "gradient / dot_product")
    (found,) = report.diagnoses
    assert [cause.name for cause in found.causes] == ["dx without theta"]
    assert found.only.startswith("dtype=float16")


def test_a_mistake_at_large_sizes_is_named():
    mutant = ZOO["wrong where N > 1,024"].make(complete=True)
    report = run(mutant, only=lambda check: check.name == "forward / concatenation")
    (found,) = names(report)
    assert "wrong where N > 1,024" in found and "wrong where N > 600" not in found


@pytest.mark.parametrize("name", ["scale drawn", "he without root"])
def test_random_weights_are_told_apart(name):
    report = run(ZOO[name].make(), only=lambda check: check.initial)
    assert names(report) == [[name]]


def test_new_weights_that_are_right_are_no_mistake():
    class Zero(Plain):
        """A block that returns 0, of right weights."""

        def block(self, spec, weights, x, training=False):
            return np.zeros_like(x)

    report = run(Zero(), only=lambda check: check.initial)
    assert report.results[0].failure is not None
    assert not any(names(report))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("weights built in each call", "forward / gaussian"),
        ("weights of the first call", "forward / dot_product"),
    ],
)
def test_random_and_stored_answers_are_diagnosed(name, check):
    """The first gives no answer twice. The second is wrong after new weights only."""
    report = run(ZOO[name].make(), only=lambda known: known.name == check)
    assert names(report) == [[name]]


class Unknown(Plain):
    """A mistake that no mutant makes."""

    def pairwise(self, call, t):
        return np.tanh(super().pairwise(call, t))


def test_an_unknown_mistake_has_no_diagnosis():
    report = run(Unknown(), only=lambda check: check.name == "forward / gaussian")
    assert report.results[0].failure is not None and report.diagnoses == []


class BrokenInTime(Plain):
    """No mutant's mistake, where positions see their own pixel through time."""

    def block(self, spec, weights, x, training=False):
        z = super().block(spec, weights, x, training)
        return z * z.dtype.type(1.5) if spec.extent == "time" else z


def test_checks_that_fail_in_one_mode_are_one_finding():
    checks = ("forward / gaussian", "forward / concatenation")
    report = run(BrokenInTime(), only=lambda check: check.name in checks)
    (found,) = report.diagnoses
    assert found == Diagnosis(checks, only="extent=time")
    assert found.lines[0].startswith("fails only where extent=time")


class BrokenForOneFunction(Plain):
    """Raises for one pairwise function in one dimension."""

    def block(self, spec, weights, x, training=False):
        if spec.pairwise == "concatenation" and spec.ndim == 1:
            raise RuntimeError("not ready")
        return super().block(spec, weights, x, training)


def test_a_mode_of_one_pairwise_function_names_it():
    checks = ("forward / gaussian", "forward / concatenation")
    report = run(BrokenForOneFunction(), only=lambda check: check.name in checks)
    (found,) = report.diagnoses
    assert found == Diagnosis(checks[1:], only="ndim=1 and pairwise=concatenation")


def test_right_answers_have_no_diagnosis():
    report = run(Plain(), only=lambda check: check.name == "rescaling")
    assert report.diagnoses == []


def test_several_mistakes_that_are_equal_are_all_said():
    found = Diagnosis(("a check",), (Cause("one", "It is.", "NL-1"), Cause("two", "So.", "NL-2")))
    assert found.lines == [
        "computes what 'one' computes (NL-1): It is.",
        "or 'two' (NL-2), equal here: So.",
    ]
