"""A run of the suite: what it says of right and wrong implementations, and of what was tried.

That it rejects what is wrong, rule by rule, is test_mutants.py's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.checks.catalogue import checks
from nlcore_conformance.checks.comparison import Judgement
from nlcore_conformance.checks.judging import Failed, attempt, named_check
from nlcore_conformance.problems.named import problems
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.problems.case import DATA, LAYOUTS, Case, arrays, problem
from nlcore_conformance.backend.protocol import CannotRun, accumulates, as_backend
from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.reports.terminal import coverage
from nlcore_conformance.run.runner import PROFILES, Report, drawn, run, run_check
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
        as_backend(Plain().block, "plain"), only=lambda c: "rescaling" in c.name or c.needs_vjp
    )
    verdicts = {r.name: (r.verdict, r.not_run) for r in report.results}
    assert verdicts.pop("rescaling") == ("pass", "")
    assert set(verdicts.values()) == {("not run", "the backend has no block_vjp")}


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


def test_what_supports_nothing_conforms_to_nothing():
    def nothing(spec, weights, x, training=False):
        raise NotImplementedError("not yet")

    report = run(as_backend(nothing, "nothing"), only=lambda c: c.name.startswith("forward"))
    assert not Verdict(report).conforms
    assert {r.not_run for r in report.results} == {"not yet"}


def test_what_was_never_judged_has_not_passed():
    def nothing(backend, case):
        return [Judgement("z", 0.0, (0,), 0.0, 0.0, np.inf, elements=3, unpredictable=3)]

    check = replace(next(checks()), judge=nothing)
    result = run_check(check, Reference(), replace(QUICK, examples=3), 0)
    assert result.examples and result.verdict == "not run"
    assert result.not_run == "no element of any output had a finite bound"
    assert not Report("nothing", "quick", 0, [result]).tried


def test_the_coverage_says_what_the_sums_are_said_to_be_kept_in():
    backend = Plain(("float16",))
    backend.accumulates = {"float16": "float16"}
    report = run(backend, only=lambda check: check.name == "repeatable")
    assert "dtypes float16 (sums in float16)" in str(coverage(report))
    assert report.to_json()["sums"] == {"float16": "float16"}


def test_a_function_that_cannot_be_asked_gives_its_reasons_by_what_it_raises():
    def one_axis(spec, weights, x, training=False):
        if spec.ndim != 1 or spec.subsample or spec.bias or spec.batch_norm:
            raise NotImplementedError("one axis, no subsampling, biases or batch norm")
        return Plain().block(spec, weights, x, training)

    backend = as_backend(one_axis, "one axis")
    missing = run(backend, only=lambda c: c.name.startswith("forward"), examples=6).not_covered
    refused = {"ndim", "subsample", "subsample_at", "extent", "window", "bias", "batch_norm"}
    reasons = {why for name in refused | {"training"} for why in missing[name].values()}
    assert reasons == {"one axis, no subsampling, biases or batch norm"}


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


@pytest.mark.parametrize(
    "answer, came",
    [
        (lambda z: (z, np.ones(3)), "tuple"),
        (lambda z: [1, [2, 3]], "list"),
        (lambda z: None, "NoneType"),
        (lambda z: z[..., :1], "ndarray of shape (1, 2, 1)"),
    ],
    ids=["pair", "ragged", "nothing", "short"],
)
def test_an_answer_of_another_form_fails_by_its_type(answer, came):
    def block(spec, weights, x, training=False):
        return answer(Plain().block(spec, weights, x, training))

    case = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float32")
    with pytest.raises(Failed) as found:
        attempt(named_check("forward / embedded_gaussian"), as_backend(block, "own"), case)
    note = found.value.failure.judgement.note
    assert note == f"expected an array of shape (1, 2, 3); received {came}"


def test_gradients_of_other_names_fail():
    class Numbered(Plain):
        def block_vjp(self, *args):
            dx, dweights = super().block_vjp(*args)
            return dx, dict(enumerate(dweights.values()))

    case = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float32")
    with pytest.raises(Failed, match=r"gradients must be named .*; received \['0', '1'"):
        attempt(named_check("gradient / embedded_gaussian"), Numbered(), case)


def test_a_backend_is_called_as_it_was_asked_for_unless_it_has_a_name():
    class Nameless:
        def block(self, spec, weights, x, training=False):
            return x

    names = [as_backend(found, "my.lib:block").name for found in (Nameless, Nameless().block)]
    assert names == ["my.lib:block"] * 2
    assert as_backend(Reference, "my.lib:block").name == "reference"


@pytest.mark.parametrize(
    "attributes, says",
    [
        ({"dtypes": "float32"}, "dtypes must be a tuple of some of .*; received 'float32'"),
        ({"dtypes": ("float8",)}, r"dtypes must be .*; received \('float8',\)"),
        ({"dtypes": ()}, r"dtypes must be .*; received \(\)"),
        ({"accumulates": "float32"}, "accumulates must map .*; received 'float32'"),
        ({"accumulates": {"float16": "int32"}}, "accumulates must map .*; received {'float16'"),
        ({"accumulates": {"half": "float32"}}, "accumulates must map .*; received {'half'"),
        ({"accumulates": {"float32": "bfloat16"}}, "no coarser than that computed in; received"),
        ({"__slots__": ()}, "must have an attribute `name`, or take one"),
    ],
    ids=str,
)
def test_attributes_of_another_form_are_no_backend(attributes, says):
    made = type("Made", (), {"block": lambda *args: None, **attributes})
    with pytest.raises(TypeError, match=says):
        as_backend(made, "made")


def test_what_supports_raises_ends_the_run():
    class Undecided(Plain):
        def supports(self, spec, dtype):
            raise ValueError("neither\nnor")

    says = "supports must return True, or .*; it raised ValueError: neither nor$"
    with pytest.raises(CannotRun, match=says):
        run(Undecided())

    class Later(Plain):
        def supports(self, spec, dtype):
            return spec.channels == 64 or Undecided().supports(spec, dtype)

    with pytest.raises(CannotRun, match=says):
        run(Later(), only=lambda c: c.name == "rescaling")


def test_the_same_seed_finds_the_same():
    check = named_check("forward / concatenation")
    first, second = (run_check(check, PooledAtTheInput(), QUICK, seed=3) for _ in range(2))
    assert first.failure == second.failure is not None


def test_fewer_dtypes_and_more_examples_when_asked():
    report = run(
        Plain(FLOATS), only=lambda c: c.name == "rescaling", examples=60, dtypes=("float64",)
    )
    assert report.covered["dtype"] == {"float64": 18}
    report = run(Plain(), only=lambda c: c.name == "rescaling", dtypes=("float16",))
    assert not Verdict(report).conforms
    assert report.results[0].not_run == "the backend's dtypes are float32"


def test_drawn_cases_are_those_that_a_run_tries():
    seen = []

    class Noting(Plain):
        def block(self, spec, weights, x, training=False):
            seen.append((spec, x.shape, x.dtype.name))
            return super().block(spec, weights, x, training)

    check = named_check("forward / gaussian")
    result = run_check(check, Noting(), QUICK, 0)
    cases = drawn(check, Plain(), QUICK, 0)
    assert len(cases) == result.examples
    shapes = [(c.spec, (c.batch, c.spec.channels, *c.positions), c.dtype) for c in cases]
    assert shapes == seen


def test_named_problems_are_what_they_are_called():
    from nlcore_conformance.run.coverage import allowed_templates

    for check in checks():
        allowed, _ = allowed_templates(Plain(FLOATS), check.applies)
        cases = list(problems(check, allowed, FLOATS, 0))
        assert bool(cases) == check.named
        if not check.named:
            continue
        assert {c.data for c in cases} == set(DATA)
        sizes = [np.prod(c.positions) for c in cases]
        assert 1 in sizes
        inner = {c.spec.inner_channels for c in cases}
        assert {8, 64, 512} <= inner
        assert all(c.training == check.training for c in cases)
        if not check.training:
            assert max(sizes) >= (500 if check.needs_vjp else 4096)
        else:
            assert any(c.batch * np.prod(c.positions) == 1 for c in cases)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_hold_the_same_values(layout):
    case = Case(NonLocalSpec(3, ndim=2), 2, (3, 4), "float32", layout=layout, seed=1)
    x = arrays(case)[1]
    plain = arrays(replace(case, layout="contiguous"))[1]
    np.testing.assert_array_equal(x, plain)
    same = x.strides == plain.strides and x.dtype == plain.dtype
    assert same == (layout == "contiguous")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("data", DATA)
def test_numbers_are_finite_in_every_dtype_and_new_at_every_call(data, dtype):
    case = Case(NonLocalSpec(6, 5, ndim=1, pairwise="dot_product"), 2, (24,), dtype, data)
    first, again = problem(case), problem(case)
    for array in (first.x, first.dz, *first.weights.values()):
        assert array.dtype.name == dtype
        assert np.isfinite(array.astype(np.float64)).all()
    first.x[...] = 0
    assert again.x.astype(np.float64).any()


def test_what_a_backend_accumulates_in_is_its_own_word_or_float32():
    backend = Plain(FLOATS)
    assert [accumulates(backend, d) for d in ("float16", "bfloat16")] == ["float32"] * 2
    assert [accumulates(backend, d) for d in ("float32", "float64")] == ["float32", "float64"]
    backend.accumulates = {"float16": "float16"}
    assert accumulates(backend, "float16") == "float16"


@pytest.mark.parametrize("check", list(checks()), ids=lambda check: check.name)
def test_every_check_accepts_one_value_of_each_axis(check):
    spec = NonLocalSpec(2, 1, extent="space", batch_norm=check.training)
    case = Case(spec, 2, (1, 1, 1), "float64", training=check.training)
    assert all(j.ratio <= 1 for j in attempt(check, Reference(), case))
