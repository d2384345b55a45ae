"""Implementations of a few specs: the right ones conform, and what they answer is all tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.problems import named
from nlcore_conformance.run.probing import allowed_templates
from nlcore_conformance.run.runner import run
from nlcore_conformance.run.verdict import Verdict

#: What is supported, of a spec s and the shape of x.
RULES = {
    "scale D^-1/2": lambda s, x: s.scale == s.inner_channels**-0.5 != 1,
    "scale C^-1/2": lambda s, x: s.scale == s.channels**-0.5 != 1,
    "scale 1, embedded": lambda s, x: s.scale == 1 and s.pairwise == "embedded_gaussian",
    "D = C // 2": lambda s, x: s.inner_channels == max(s.channels // 2, 1),
    "D = C // 8": lambda s, x: s.inner_channels == max(s.channels // 8, 1),
    "D = C": lambda s, x: s.inner_channels == s.channels,
    "D = 1": lambda s, x: s.inner_channels == 1,
    "eps 1e-4": lambda s, x: s.batch_norm and s.eps == 1e-4,
    "eps 1e-3": lambda s, x: s.batch_norm and s.eps == 1e-3,
    "eps 1e-6": lambda s, x: s.batch_norm and s.eps == 1e-6,
    "no batch norm": lambda s, x: not s.batch_norm,
    "windows of 2, of x": lambda s, x: s.pool[-1] == 2 and s.subsample_at == "input",
    "no windows": lambda s, x: s.subsample is None,
    "images": lambda s, x: s.ndim == 2,
    "sequences": lambda s, x: s.ndim == 1,
    "frames": lambda s, x: s.extent == "space",
    "even sizes": lambda s, x: all(n % 2 == 0 for n in x[2:]),
    "biases, by count": lambda s, x: s.bias and s.normalization == "count",
    "concatenation with b_f": lambda s, x: s.pair_bias,
    "one of each": lambda s, x: (
        (s.pairwise, s.scale, s.eps, s.ndim, s.subsample, s.bias)
        == ("embedded_gaussian", s.inner_channels**-0.5, 1e-4, 3, (1, 2, 2), True)
        and s.inner_channels == max(s.channels // 8, 1)
    ),
}
PLAIN = Plain()


def narrow(rule, block=PLAIN.block):
    """A plain function that supports what the rule says, and refuses the rest."""

    def function(spec, weights, x, training=False):
        if not rule(spec, x.shape):
            raise NotImplementedError("it is not supported")
        return block(spec, weights, x, training)

    return as_backend(function, "narrow")


class Declared:
    """The same with `supports`."""

    def __init__(self, rule):
        self.name, self.rule = "narrow", rule

    def supports(self, spec, dtype):
        return self.rule(spec, (1, 1, *[2] * spec.ndim)) or "it is not supported"

    def block(self, spec, weights, x, training=False):
        return narrow(self.rule).block(spec, weights, x, training)


def forward(check):
    return check.name.startswith("forward / ")


@pytest.fixture(autouse=True)
def without_the_problems_at_length(monkeypatch):
    """They take most of the time, and sizes are not the topic here."""
    monkeypatch.setattr(named, "at_length", lambda *_: [])


@pytest.mark.parametrize("name", RULES)
def test_a_right_one_conforms_whether_it_declares_or_refuses(name):
    refusing, declaring = narrow(RULES[name]), Declared(RULES[name])
    allowed, _ = allowed_templates(refusing, lambda spec: True)
    assert allowed and allowed_templates(declaring, lambda spec: True) == (allowed, _)
    report = run(refusing, examples=12, only=forward)
    assert Verdict(report).conforms, [r.failure for r in report.results if r.failure]
    assert all((r.verdict == "pass") is (r.examples > 0) for r in report.results)
    pairwise = {dict(t.fields)["pairwise"] for t in allowed}
    assert {r.name.partition(" / ")[2] for r in report.results if r.examples} >= pairwise


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("scale D^-1/2", lambda s: {"scale": s.inner_channels**0.5}),
        ("scale C^-1/2", lambda s: {"scale": 1.0}),
        ("eps 1e-4", lambda s: {"eps": 1e-3}),
        ("windows of 2, of x", lambda s: {"subsample_at": "embedding"}),
        ("biases, by count", lambda s: {"normalization": "sum"}),
    ],
)
def test_a_wrong_one_does_not(name, wrong):
    def block(spec, weights, x, training=False):
        return PLAIN.block(replace(spec, **wrong(spec)), weights, x, training)

    report = run(narrow(RULES[name], block), examples=12, only=forward)
    assert any(r.failure for r in report.results)


def test_an_answer_at_one_scale_alone_is_tried():
    """It supports every scale, and is wrong at D^-1/2 alone."""

    def block(spec, weights, x, training=False):
        if spec.scale == spec.inner_channels**-0.5 != 1:
            spec = replace(spec, scale=spec.inner_channels**0.5)
        return PLAIN.block(spec, weights, x, training)

    report = run(as_backend(block, "one"), examples=12, only=forward)
    assert {r.name for r in report.results if r.failure} >= {
        "forward / gaussian",
        "forward / embedded_gaussian",
        "forward / dot_product",
    }


def test_the_reason_is_of_the_check_and_not_of_a_choice():
    def block(spec, weights, x, training=False):
        if spec.pairwise == "concatenation":
            raise NotImplementedError("no concatenation")
        if spec.scale != spec.inner_channels**-0.5:
            raise NotImplementedError("another scale")
        return PLAIN.block(spec, weights, x, training)

    report = run(as_backend(block, "one"), examples=4, only=forward)
    reasons = {r.name: r.not_run for r in report.results if r.not_run}
    assert reasons == {"forward / concatenation": "no concatenation"}


def test_a_problem_is_not_computed_where_the_backend_refuses(monkeypatch):
    from nlcore_conformance.checks import comparison

    monkeypatch.setattr(comparison.nlcore, "block", lambda *_: pytest.fail("it was computed"))

    def block(spec, weights, x, training=False):
        raise NotImplementedError("nothing")

    report = run(as_backend(block, "none"), only=forward)
    assert not report.tried
    assert np.all([r.not_run == "nothing" for r in report.results])
