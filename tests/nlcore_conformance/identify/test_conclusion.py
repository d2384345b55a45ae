"""The sentence names the dialect that explains all answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dialect_backends import Respecified, computes, fixed

import nlcore
from nlcore import DIALECTS
from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.identify import identify


def test_the_reference_follows_the_spec_and_has_every_dialect():
    found = identify(Reference())
    assert found.follows
    assert found.dialects == tuple(DIALECTS)
    assert found.sentence.startswith("computes what the spec asks for; it has paper, ")
    assert 0 < found.ratio <= 1
    assert found.unanswered == {}


@pytest.mark.parametrize(
    "dialect, pairwise",
    [(name, pairwise) for name, known in DIALECTS.items() for pairwise in known.pairwise],
)
def test_a_function_that_heeds_no_rule_is_its_dialect(dialect, pairwise):
    found = identify(fixed(dialect, pairwise))
    assert not found.follows
    # without a scale, gcnet is mmcv in two dimensions
    same = ("mmcv", "gcnet") if (dialect, pairwise) == ("gcnet", "dot_product") else (dialect,)
    assert found.dialects == same
    assert computes(found, pairwise, DIALECTS[dialect].ndims[0]) == ", ".join(same)


def test_a_function_of_one_pairwise_function_says_which():
    found = identify(fixed("caffe2"))
    assert found.sentence == (
        "computes dialect caffe2, embedded_gaussian, whatever other rules the spec asks for"
    )
    assert computes(found, "dot_product") == "caffe2 (embedded_gaussian)"
    assert any("KeyError: 'theta.weight'" in why for why in found.unanswered)


def test_biases_and_batch_norm_that_are_left_out_do_not_hide_a_dialect():
    def change(spec):
        if spec.pairwise not in DIALECTS["caffe2"].pairwise:
            raise NotImplementedError
        own = nlcore.dialect("caffe2", spec.channels, spec.pairwise, ndim=spec.ndim)
        return replace(own, bias=spec.bias, batch_norm=spec.batch_norm, subsample=spec.subsample)

    found = identify(Respecified(change))
    assert found.dialects == ("caffe2",)
    assert found.sentence == "computes dialect caffe2, whatever other rules the spec asks for"
