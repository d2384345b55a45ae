"""The suite accepts what is right and rejects what is wrong, each by the check that is meant to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plain
import pytest

from nlcore import NonLocalSpec
from nlcore_conformance.checks import checks
from nlcore_conformance.protocol import as_backend
from nlcore_conformance.reference import Reference
from nlcore_conformance.runner import PROFILES, Report, replay, run, run_check

QUICK = replace(PROFILES["quick"], examples=40)


def verdicts(backend, *names: str) -> dict:
    """The results of the checks whose name begins with one of `names`."""
    chosen = [c for c in checks() if c.name.startswith(names or "")]
    return {c.name: run_check(c, backend, QUICK, seed=0) for c in chosen}


def failed(backend, *names: str) -> list[str]:
    return [name for name, r in verdicts(backend, *names).items() if r.failure is not None]


def test_the_reference_takes_its_own_test_and_every_value_of_the_spec_is_tried():
    report = run(Reference())
    assert [r.name for r in report.results if r.verdict != "pass"] == []
    assert report.conforms
    assert report.not_covered == {}
    shares = {r.name: r.unpredictable / r.elements for r in report.results}
    assert all(share < 0.3 for name, share in shares.items() if name != "NaN and infinity"), shares


def test_plain_numpy_in_float32_conforms_and_its_ratios_are_not_vacuous():
    results = verdicts(as_backend(plain.block, "plain"))
    assert [n for n, r in results.items() if r.failure] == []
    assert all(0.01 < r.worst for n, r in results.items() if n.startswith("forward"))
    assert {n for n, r in results.items() if r.verdict == "not run"} == {
        n for n in results if n.startswith("gradient")
    }


def _respecified(**changes):
    """A backend that computes another spec than the one asked for."""

    class Wrong(Reference):
        dtypes = ("float32",)

        def block(self, spec, weights, x, training=False):
            return super().block(self.other(spec), weights, x, training)

        def block_vjp(self, spec, weights, x, dz, training=False):
            return super().block_vjp(self.other(spec), weights, x, dz, training)

        def other(self, spec):
            try:
                return replace(
                    spec, **{k: v(spec) if callable(v) else v for k, v in changes.items()}
                )
            except ValueError:
                return spec

    return Wrong()


@pytest.mark.parametrize(
    "changes, check",
    [
        ({"scale": lambda s: s.inner_channels**-0.5}, "forward / embedded_gaussian"),
        ({"scale": lambda s: -s.scale}, "forward / gaussian"),
        ({"scale": 1.0}, "forward / dot_product"),
        ({"normalization": "sum"}, "forward / dot_product"),
        ({"normalization": "count"}, "forward / embedded_gaussian"),
        ({"subsample_at": "input"}, "forward / concatenation"),
        ({"subsample_at": "embedding"}, "forward / embedded_gaussian"),
        ({"subsample": None}, "forward / gaussian"),
        ({"extent": "all"}, "forward / embedded_gaussian"),
        ({"window": None}, "forward / dot_product"),
        ({"eps": 1e-3}, "forward / batch statistics"),
    ],
    ids=str,
)
def test_another_rule_is_rejected(changes, check):
    assert failed(_respecified(**changes), check) == [check]


class Altered(Reference):
    """The reference with one function around its results."""

    dtypes = ("float32",)

    def __init__(self, z=None, dx=None, dweights=None):
        self.alter = {"z": z, "dx": dx, "dweights": dweights}

    def block(self, spec, weights, x, training=False):
        z = super().block(spec, weights, x, training)
        return self.alter["z"](spec, weights, x, z) if self.alter["z"] else z

    def block_vjp(self, spec, weights, x, dz, training=False):
        dx, dweights = super().block_vjp(spec, weights, x, dz, training)
        if self.alter["dx"]:
            dx = self.alter["dx"](x, dx)
        return dx, self.alter["dweights"](dweights) if self.alter["dweights"] else dweights


def _without(name):
    return lambda d: {k: v for k, v in d.items() if k != name}


def _scaled(name, by):
    return lambda d: {k: (v * np.float32(by) if k == name else v) for k, v in d.items()}


def _shifted_x(spec, weights, x, z):
    x += 1
    return z


@pytest.mark.parametrize(
    "backend, check, says",
    [
        (Altered(z=lambda s, w, x, z: z.astype(np.float64)), "forward / gaussian", "dtype"),
        (Altered(z=lambda s, w, x, z: z[:1, :1]), "forward / gaussian", "shape"),
        (Altered(z=lambda s, w, x, z: z.tolist()), "forward / gaussian", "array"),
        (Altered(z=lambda s, w, x, z: z[..., :-1]), "NaN and infinity", "shape"),
        (Altered(z=lambda s, w, x, z: z[..., :-1]), "repeatable", "shape"),
        (Altered(z=lambda s, w, x, z: 1 / 0), "forward / gaussian", "ZeroDivisionError"),
        (Altered(z=_shifted_x), "forward / gaussian", "must not change its arguments"),
        (Altered(z=lambda s, w, x, z: np.nan_to_num(z)), "NaN and infinity", ""),
        (Altered(z=lambda s, w, x, z: z + 0 * x.sum()), "NaN and infinity", ""),
        (Altered(z=lambda s, w, x, z: z * np.float32(1 + 1e-6)), "identity at insertion", ""),
        (Altered(dx=lambda x, dx: dx * np.float32(1.001)), "gradient / dot_product", ""),
        (Altered(dweights=_without("out.weight")), "gradient / gaussian", "out.weight"),
        (Altered(dweights=_scaled("f.weight", 1.01)), "gradient / concatenation", ""),
        (Altered(dweights=_scaled("bn.weight", 0.99)), "gradient / batch statistics", ""),
    ],
)
def test_another_answer_is_rejected(backend, check, says):
    results = verdicts(backend, check)
    failure = results[check].failure
    assert failure is not None
    seen = failure.error + (failure.judgement.note if failure.judgement else "")
    assert says in seen


def test_random_answers_are_not_repeatable():
    rng = np.random.default_rng(0)
    noisy = Altered(z=lambda s, w, x, z: z + np.float32(1e-3) * rng.random(z.shape, np.float32))
    assert failed(noisy, "repeatable") == ["repeatable"]


def test_a_failure_is_small_and_replays():
    wrong = _respecified(subsample_at="input")
    failure = verdicts(wrong, "forward / concatenation")["forward / concatenation"].failure
    case = failure.case
    assert case.spec.subsample_at == "embedding"
    assert case.batch == 1 and np.prod(case.positions) <= 9 and case.spec.channels <= 4
    judgements, error = replay("forward / concatenation", wrong, case)
    assert error == "" and judgements[0].ratio == failure.judgement.ratio > 1
    judgements, _ = replay("forward / concatenation", Reference(), case)
    assert judgements[0].ratio <= 1
    with pytest.raises(ValueError, match="check must be one of"):
        replay("no such check", wrong, case)


class _Picky(Reference):
    """Supports two-dimensional embedded Gaussians only, one way or the other of saying so."""

    dtypes = ("float32",)

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        return (spec.ndim, spec.pairwise) == (2, "embedded_gaussian") or "two axes only"


def test_what_is_not_supported_is_reported_and_not_tried():
    report: Report = run(_Picky(), only=lambda c: c.name.startswith("forward"))
    assert report.conforms
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
    assert not report.conforms
    assert {r.not_run for r in report.results} == {"not yet"}


def test_the_same_seed_finds_the_same():
    wrong = _respecified(eps=1e-3)
    first, second = (
        run_check(c, wrong, QUICK, seed=3) for c in list(checks())[4:5] for _ in range(2)
    )
    assert first.failure == second.failure is not None
