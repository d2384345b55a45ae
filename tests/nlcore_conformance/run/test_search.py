"""The cases of a check depend on the seed, the profile and the dtypes."""

from __future__ import annotations

from dataclasses import replace

from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.run.runner import run, run_check
from nlcore_conformance.run.search import PROFILES, drawn
from nlcore_conformance.run.verdict import Verdict

QUICK = PROFILES["quick"]


class PooledAtTheInput(Plain):
    """Pools x, whatever the spec says."""

    def block(self, spec, weights, x, training=False):
        return super().block(replace(spec, subsample_at="input"), weights, x, training)


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
    # before, a run asks what the backend answers
    assert shapes == seen[-len(shapes) :]
