"""The specs that are asked for."""

from __future__ import annotations

import numpy as np
from dialect_backends import strict

from nlcore import DIALECTS, NonLocalSpec
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.identify.asking import (
    dialect_spec,
    own_questions,
    questions,
    rare_questions,
    seeds,
)
from nlcore_conformance.identify.trials import Trial

TRIAL = Trial("float32", "float32", 0)


def test_every_dialect_is_asked_for_once():
    asked = questions()
    assert len({*asked}) == len(asked)
    for name, known in DIALECTS.items():
        for pairwise in known.pairwise:
            for ndim in (1, 2, 3):
                spec = dialect_spec(name, pairwise, ndim)
                assert (spec is None) == (ndim not in known.ndims)
    assert dialect_spec("timm", "gaussian", 2) is None


def test_a_dialect_has_the_sizes_of_a_spec():
    spec = dialect_spec("caffe2", "embedded_gaussian", 2, NonLocalSpec(64, 4, value_channels=7))
    assert spec is not None
    sizes = (spec.channels, spec.inner_channels, spec.value_channels, spec.scale)
    assert sizes == (64, 4, 7, 0.5)


def quarter(spec):
    width = spec.inner_channels == spec.channels // 4
    return spec.pairwise == "dot_product" and width and spec.scale == spec.inner_channels**0.5


def test_a_backend_of_few_specs_is_asked_for_those():
    found = own_questions(strict(quarter), "dot_product")
    assert len(found) == 16
    assert all(quarter(spec) and spec.channels == 16 for spec in found)
    assert own_questions(strict(quarter), "gaussian") == []

    def biased(spec):
        return (spec.pairwise, spec.pair_bias, spec.bias) == ("concatenation", True, "embeddings")

    assert {biased(spec) for spec in own_questions(strict(biased), "concatenation")} == {True}


def test_a_backend_of_rare_specs_is_asked_for_those():
    def rare(spec):
        return quarter(spec) and spec.window is not None and spec.channels == 64

    assert own_questions(strict(rare), "dot_product") == []
    found = rare_questions(strict(rare), "dot_product")
    assert any(rare(spec) for spec in found)
    assert {spec.channels for spec in found} == {16, 64}


def test_the_richest_and_the_barest_answer_are_varied():
    def answer(**fields):
        return Answer(NonLocalSpec(16, **fields), TRIAL, z=np.zeros(1))

    bare, rich = answer(batch_norm=False), answer(subsample=(1, 2, 2), bias=True)
    flat, ambiguous = answer(ndim=2, bias=True), answer(inner_channels=1, bias=True)
    rich_but_refused = NonLocalSpec(16, pairwise="concatenation", bias=True, pair_bias=True)
    refused = Answer(rich_but_refused, TRIAL)
    found = seeds([bare, answer(bias=True), rich, flat, ambiguous, refused])
    assert found == [rich.asked, bare.asked]
    assert seeds([ambiguous]) == [ambiguous.asked]
    assert seeds([refused]) == []
