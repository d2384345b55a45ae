"""The rules that differ from the nearest dialect are found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dialect_backends import Respecified, computes, fixed

from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.identify import ASKED, identify


def test_a_dialect_with_one_wrong_rule_is_named_with_it():
    found = identify(fixed("caffe2", "dot_product", normalization="sum", scale=8**-0.5))
    assert not found.identified
    assert found.nearest == "caffe2"
    assert "the nearest is caffe2 with normalization='sum'" in found.sentence
    assert found.ratio > 1000
    found = identify(fixed("caffe2", scale=16**-0.5, extent="space"))
    assert "the nearest is caffe2 with scale=C^-1/2, extent='space' (" in found.sentence


@pytest.mark.parametrize(
    "change, says",
    [
        ({"extent": "space"}, "extent='space'"),
        ({"eps": 1e-3}, "eps=0.001"),
        ({"subsample": (2, 2, 2)}, "subsample=(2, 2, 2)"),
        ({"normalization": "count"}, "normalization='count'"),
    ],
)
def test_each_rule_is_found(change, says):
    found = identify(fixed("caffe2", **change))
    assert not found.identified
    assert computes(found, "embedded_gaussian").startswith(f"caffe2 with {says} (caffe2: ratio ")


def test_one_rule_that_is_not_heeded_is_told_from_a_dialect():
    def by_sum(spec):
        return replace(spec, normalization="sum")

    found = identify(Respecified(by_sum))
    assert found.nearest == ASKED
    assert computes(found, "embedded_gaussian") == ASKED
    assert (
        "the nearest is what is asked with normalization='sum' for dot_product and concatenation"
    ) in found.sentence


def test_what_no_rule_explains_is_said_to_be_so():
    class Doubled(Reference):
        dtypes = ("float32",)

        def block(self, spec, weights, x, training=False):
            return 2 * super().block(spec, weights, x, training)

    found = identify(Doubled())
    assert not found.identified
    assert "but for something that is no rule" in found.sentence
    assert found.ratio > 1000
