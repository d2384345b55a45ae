"""A run: the results for right and wrong backends, and the failures that it finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.checks.catalogue import CHECKS, named_check
from nlcore_conformance.checks.comparison import Judgement
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.run.results import Report
from nlcore_conformance.run.runner import run, run_check
from nlcore_conformance.run.search import PROFILES
from nlcore_conformance.run.verdict import Verdict

QUICK = PROFILES["quick"]


class PooledAtTheInput(Plain):
    """Pools x, whatever the spec says."""

    def block(self, spec, weights, x, training=False):
        return super().block(replace(spec, subsample_at="input"), weights, x, training)


def test_the_reference_takes_its_own_test_and_every_value_of_the_spec_is_tried():
    report = run(Reference())
    assert [r.name for r in report.results if r.verdict != "pass"] == []
    assert Verdict(report).conforms
    assert report.not_covered == {}
    assert all(r.seconds > 0 and r.by_output for r in report.results)


def test_plain_numpy_in_float32_conforms_and_its_ratios_are_not_vacuous():
    report = run(Plain(), only=lambda check: check.name.startswith("forward"))
    assert Verdict(report).conforms
    assert all(0.01 < r.worst <= 1 for r in report.results)


def test_without_a_gradient_its_checks_are_not_run():
    report = run(
        as_backend(Plain().block, "plain"), only=lambda c: "rescaling" in c.name or c.gradient
    )
    verdicts = {r.name: (r.verdict, r.not_run) for r in report.results}
    assert verdicts.pop("rescaling") == ("pass", "")
    assert set(verdicts.values()) == {("not run", "the backend has no block_vjp")}


def test_without_initial_its_check_is_not_run_and_it_may_conform():
    function = as_backend(Plain().block, "plain")
    report = run(function, only=lambda c: c.name in ("initial state", "rescaling"), examples=6)
    verdicts = {r.name: (r.verdict, r.not_run) for r in report.results}
    assert verdicts["initial state"] == ("not run", "the backend has no initial")
    assert Verdict(report).conforms and Verdict(report).line.startswith("plain conforms to what it")


def test_a_new_block_that_is_wrong_is_diagnosed():
    class Scaled(Plain):
        def initial(self, spec):
            weights = super().initial(spec)
            return weights | {n: 0 * w for n, w in weights.items() if n == "bn.running_var"}

    report = run(Scaled(), only=lambda c: c.name == "initial state")
    failure = report.results[0].failure
    assert failure.judgement.output == "bn.running_var" and failure.stage == ""
    (found,) = report.diagnoses
    assert [cause.name for cause in found.causes] == ["running variance 0"]


def test_a_failure_is_small_and_replays_and_names_its_stage():
    wrong = PooledAtTheInput()
    failure = run_check(named_check("forward / concatenation"), wrong, QUICK, seed=0).failure
    case = failure.case
    assert case.spec.subsample_at == "embedding"
    assert case.batch == 1 and np.prod(case.positions) <= 9 and case.spec.channels <= 4
    assert failure.stage == "pooling"
    check = named_check("forward / concatenation")
    with pytest.raises(Failed) as again:
        attempt(check, wrong, case)
    assert again.value.failure.judgement.ratio == failure.judgement.ratio > 1
    assert attempt(check, Reference(), case)[0].ratio <= 1
    with pytest.raises(ValueError, match="check must be one of"):
        named_check("no such check")


def test_a_named_problem_that_fails_alone_is_the_failure():
    class WrongAtLength(Plain):
        def block(self, spec, weights, x, training=False):
            z = super().block(spec, weights, x, training)
            return z + 1 if spec.inner_channels == 512 else z

    failure = run_check(named_check("forward / dot_product"), WrongAtLength(), QUICK, 0).failure
    assert failure.case.spec.inner_channels == 512


def test_what_supports_nothing_conforms_to_nothing():
    def nothing(spec, weights, x, training=False):
        raise NotImplementedError("not yet")

    report = run(as_backend(nothing, "nothing"), only=lambda c: c.name.startswith("forward"))
    assert not Verdict(report).conforms
    assert {r.not_run for r in report.results} == {"not yet"}


def test_what_was_never_judged_has_not_passed():
    def nothing(backend, case):
        return [Judgement("z", 0.0, (0,), 0.0, 0.0, np.inf, elements=3, unpredictable=3)]

    check = replace(CHECKS[0], judge=nothing)
    result = run_check(check, Reference(), replace(QUICK, examples=3), 0)
    assert result.examples and result.verdict == "not run"
    assert result.not_run == "no element of any output had a finite bound"
    assert not Report("nothing", "quick", 0, [result]).tried


def test_a_check_that_fails_at_once_has_tried_and_covered_the_failing_problem():
    def raises(spec, weights, x, training=False):
        raise RuntimeError("no memory")

    for backend in (as_backend(raises, "raises"), as_backend(lambda *args: args[2] + 1, "wrong")):
        report = run(backend, only=lambda c: c.name == "forward / gaussian", examples=6)
        (result,) = report.results
        assert result.verdict == "FAIL"
        assert result.examples == 2  # the first named problem, and the first that was drawn
        assert report.covered["pairwise"] == {"gaussian": 2}
        assert "gaussian" not in report.not_covered["pairwise"]
        assert bool(result.elements) == (backend.name == "wrong")
        assert (result.worst, result.by_output) == (0, {})  # of those that passed


class Varying(Plain):
    """Every third answer is wrong."""

    calls = 0

    def block(self, spec, weights, x, training=False):
        self.calls += 1
        return super().block(spec, weights, x, training) * (2 if self.calls % 3 == 0 else 1)


def test_a_failure_that_does_not_come_again_is_kept():
    report = run(Varying(), only=lambda check: check.name == "constant g")
    assert report.results[0].failure is not None
