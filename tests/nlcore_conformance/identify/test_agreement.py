"""Dialects agree wholly, without parts, or not."""

from __future__ import annotations

from dataclasses import replace

from dialect_backends import fixed, of_caffe2, of_plain, respecified, strict

import nlcore
from nlcore import DIALECTS
from nlcore_conformance.identify import ASKED, identify
from nlcore_conformance.identify.agreement import LACKING, Agreement, form, lessen, text


def agreements(found) -> dict[str, str]:
    return {agreement.name: text(agreement) for agreement in found.agreements}


def test_the_fewest_parts_come_first_and_those_without_biases():
    assert LACKING[:4] == [
        (),
        ("subsampling",),
        ("batch normalization",),
        ("subsampling", "batch normalization"),
    ]
    assert ("biases",) in LACKING


def test_a_dialect_without_parts():
    spec = nlcore.dialect("alexhex7", 16)
    less = lessen(spec, ("subsampling", "the bias of W_z"))
    assert less == replace(spec, subsample=None, bias="embeddings")
    assert lessen(nlcore.dialect("paper", 16), ("the bias of W_z",)).bias is False


def test_what_follows_the_spec_has_every_dialect():
    assert agreements(of_plain()) == dict.fromkeys(DIALECTS, "yes")


def test_a_dialect_that_has_biases_is_one_without_where_there_are_none():
    def bare(spec):
        return not spec.bias and not spec.batch_norm and spec.subsample is None

    found = agreements(identify(strict(bare)))
    assert found["paper"] == "without subsampling and batch normalization"
    assert found["caffe2"] == "without subsampling, batch normalization and biases"
    assert found["mmcv"] == "without biases"
    bare = respecified(lambda spec: replace(spec, bias=bool(spec.bias) and "embeddings"))
    found = agreements(identify(bare))
    assert found["caffe2"] == "without the bias of W_z"
    assert found["paper"] == "yes"


def test_the_rules_of_a_dialect_that_differ_are_said():
    found = agreements(of_caffe2())
    assert found["caffe2"] == "yes"
    assert found["paper"] == "no: it has scale 1, pooling order after the embeddings and no biases"
    assert found["timm"] == "no: it has scale C^-1/2 and no subsampling"
    found = agreements(identify(fixed("paper", "gaussian")))
    assert found["timm"] == "no: it has only embedded_gaussian, with ndim 2"


def test_a_dialect_that_never_pools_has_no_order_of_pooling():
    found = agreements(identify(respecified(lambda spec: replace(spec, subsample_at="input"))))
    assert found["paper"] == "no: it has pooling order after the embeddings"
    assert found["mmcv"] == found["paper"]  # its constructor has an option
    assert found["tea1528"] == found["timm"] == found["gcnet"] == "yes"


def test_an_answer_is_compared_with_what_was_asked_or_with_the_dialect():
    found = identify(fixed("caffe2", "dot_product", normalization="sum"))
    spec = nlcore.dialect("tea1528", 16, "dot_product", inner_channels=8)
    (answer,) = (a for a in found.answers if a.asked == spec)
    assert form(Agreement(ASKED, (), True, ()), answer) == spec
    own = nlcore.dialect("caffe2", 16, "dot_product", inner_channels=8)
    assert found.nearest is not None and form(found.nearest, answer) == own
