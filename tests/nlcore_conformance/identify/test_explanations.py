"""The sizes that are asked, and the specs that explain the answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dialect_backends import PLAIN, fixed, respecified

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.identify.explanations import Examined, combinations, fits
from nlcore_conformance.identify.rules import RULES, changed
from nlcore_conformance.problems.templates import EPS


@pytest.mark.parametrize("pairwise", nlcore.spec.PAIRWISE)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_every_value_of_every_rule_is_told_from_the_others(pairwise, ndim, bias):
    window = {1: (2,), 2: (2, 2), 3: (1, 2, 2)}[ndim]
    spec = NonLocalSpec(16, 8, ndim=ndim, pairwise=pairwise, subsample=window, bias=bias)
    examined = Examined(PLAIN)
    for batch_norm in (True, False):
        asked = changed(spec, {"batch_norm": batch_norm, "pair_bias": bias})
        answer = examined.ask(asked)
        assert answer.computed == asked
        assert answer.could == {rule.name: rule.read(asked) for rule in RULES if rule.read(asked)}


def test_a_rule_on_which_the_answer_does_not_depend_is_left_out():
    spec = NonLocalSpec(16, 8, pairwise="dot_product", normalization="sum")
    assert "scale" not in Examined(PLAIN).ask(spec).could  # C(x) cancels it


@pytest.mark.parametrize("multiple, size", [(1, 0), (2, 1), (8, 2)])
@pytest.mark.parametrize("error", [NotImplementedError, ValueError])
def test_sizes_that_are_refused_are_followed_by_others(multiple, size, error):
    def block(spec, weights, x, training=False):
        if any(n % multiple for n in x.shape[3:]):
            raise error("unknown size")
        return PLAIN.block(spec, weights, x, training)

    examined = Examined(as_backend(block, "multiples"))
    spec = nlcore.dialect("caffe2", 16, inner_channels=8)
    answer = examined.ask(spec)
    assert (answer.computed, answer.trial.size) == (changed(spec, {}), size)
    assert ("unknown size" in answer.why) == (size > 0)
    asked = []
    examined.backend = as_backend(lambda spec, w, x, training=False: asked.append(x.shape), "spy")
    examined.ask(replace(spec, bias=False))
    assert len(asked) == 3 and asked[0] == (2, 16, *[(9, 3, 5), (6, 4, 4), (6, 8, 8)][size])


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0.3},
        {"scale": -1.25},
        {"eps": 2e-3},
        {"extent": "time", "subsample": (2, 1, 1), "normalization": "count"},
        {"pairwise": "gaussian", "bias": "embeddings", "subsample_at": "embedding"},
        {"pairwise": "dot_product", "bias": False, "batch_norm": False},
    ],
    ids=str,
)
def test_what_is_computed_instead_is_found(change):
    spec = changed(nlcore.dialect("caffe2", 16, inner_channels=8), {})
    examined = Examined(respecified(lambda spec: changed(spec, change)))
    answer = examined.ask(spec)
    assert answer.computed == changed(spec, change)
    assert answer.ratio <= 1


def test_an_answer_is_explained_as_those_before():
    examined = Examined(fixed("mmcv", scale=0.3, extent="space"))
    own = nlcore.dialect("mmcv", 16, inner_channels=8, scale=0.3, extent="space")
    for eps in EPS:
        for at in nlcore.spec.SUBSAMPLE_AT:
            spec = nlcore.dialect("caffe2", 16, inner_channels=8, eps=eps, subsample_at=at)
            assert examined.ask(spec).computed == own


def test_combinations_take_the_weights_that_there_are():
    spec = nlcore.dialect("tea1528", 16, "concatenation", inner_channels=8)
    every = combinations(spec)
    assert len(every) > 1000
    assert len({*every}) == len(every)
    assert all(fits(other, spec) for other in every)
    assert {other.pairwise for other in every} == {*nlcore.spec.PAIRWISE}
    bare = combinations(NonLocalSpec(16, pairwise="gaussian", batch_norm=False))
    assert {(s.pairwise, s.bias, s.batch_norm) for s in bare} == {("gaussian", False, False)}
