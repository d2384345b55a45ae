"""The sentence is the simplest that explains all answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dialect_backends import PLAIN, Ceil, computes, fixed, of_caffe2, of_plain, respecified, strict

import nlcore
from nlcore import DIALECTS
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.identify import ASKED, identify


def test_what_follows_the_spec_has_every_dialect():
    found = of_plain()
    assert found.follows and found.identified
    assert found.dialects == tuple(DIALECTS)
    assert found.sentence.startswith("computes what the spec asks for; it has paper, ")
    assert 0 < found.ratio <= 1
    assert found.unanswered == {}


@pytest.mark.parametrize(
    "dialect, pairwise",
    [
        *((name, known.pairwise[0]) for name, known in DIALECTS.items()),
        ("alexhex7", "concatenation"),
        ("tea1528", "concatenation"),
        ("gcnet", "dot_product"),
    ],
)
def test_a_function_that_heeds_no_rule_is_its_dialect(dialect, pairwise):
    found = identify(fixed(dialect, pairwise))
    assert not found.follows
    # without a scale, gcnet is mmcv in two dimensions
    same = ("mmcv", "gcnet") if (dialect, pairwise) == ("gcnet", "dot_product") else (dialect,)
    assert (found.dialects, found.lacks) == (same, ())
    assert found.ratio <= 1
    names = " or ".join(same)
    assert computes(found, pairwise) == f"dialect {names}, whatever other rules the spec asks for"


def test_a_function_of_one_pairwise_function_says_which():
    found = of_caffe2()
    assert found.sentence == (
        "computes dialect caffe2, embedded_gaussian, whatever other rules the spec asks for"
    )
    assert computes(found, "dot_product") == found.sentence.removeprefix("computes ")
    assert any("KeyError: 'theta.weight'" in why for why in found.unanswered)


def test_biases_and_batch_norm_that_are_left_to_the_user_do_not_hide_a_dialect():
    def change(spec):
        if spec.pairwise not in DIALECTS["caffe2"].pairwise:
            raise NotImplementedError
        own = nlcore.dialect(
            "caffe2",
            spec.channels,
            spec.pairwise,
            ndim=spec.ndim,
            inner_channels=spec.inner_channels,
        )
        return replace(own, bias=spec.bias, batch_norm=spec.batch_norm, subsample=spec.subsample)

    found = identify(respecified(change))
    assert found.dialects == ("caffe2",)
    assert found.sentence == "computes dialect caffe2, whatever other rules the spec asks for"


def test_options_of_a_dialect_are_said():
    found = identify(fixed("mmcv", batch_norm=True))
    assert found.dialects == ("mmcv",)
    assert found.sentence == (
        "computes dialect mmcv, embedded_gaussian, with batch normalization, "
        "whatever other rules the spec asks for"
    )


def test_a_dialect_without_biases_is_not_the_dialect():
    found = identify(fixed("caffe2", bias=False))
    assert (found.dialects, found.lacks) == (("caffe2",), ("biases",))
    assert found.sentence == (
        "computes dialect caffe2, embedded_gaussian, without biases, "
        "whatever other rules the spec asks for"
    )


@pytest.mark.parametrize(
    "change, says",
    [
        ({"scale": 16**-0.5, "extent": "space"}, "caffe2 with scale C^-1/2 and extent space"),
        ({"eps": 1e-3}, "caffe2 with eps 0.001"),
        ({"scale": 0.3}, "caffe2 with scale 0.3"),
        ({"subsample": (2, 2, 2)}, "caffe2 with pooling window (2, 2, 2)"),
        ({"normalization": "count"}, "caffe2 with C(x) number of positions"),
        ({"bias": "embeddings", "eps": 1e-3}, "caffe2 with no bias of W_z and eps 0.001"),
    ],
    ids=str,
)
def test_a_dialect_with_a_wrong_rule_is_named_with_it(change, says):
    found = identify(fixed("caffe2", **change))
    assert not found.identified and found.dialects == ()
    assert found.nearest is not None and found.nearest.name == "caffe2"
    assert found.sentence.startswith(f"computes no known dialect, but {says} (error / bound of")
    assert found.ratio > 1000


@pytest.mark.parametrize(
    "change, says",
    [
        ({"subsample_at": "input"}, "pooling order before the embeddings"),
        ({"normalization": "sum"}, "C(x) sum of f"),
        (
            {"bias": False, "pair_bias": False},
            "no biases and no bias in the ReLU for concatenation",
        ),
    ],
    ids=str,
)
def test_one_rule_that_is_not_heeded_is_told_from_a_dialect(change, says):
    found = identify(respecified(lambda spec: replace(spec, **change)))
    assert not found.identified
    assert found.nearest is not None and found.nearest.name == ASKED
    assert found.sentence.startswith(f"computes no known dialect, but {ASKED} with {says} (")
    assert found.ratio > 1000


def test_a_port_with_more_pairwise_functions_is_told_from_its_dialect():
    def change(spec):
        scaled = spec.pairwise == "embedded_gaussian"
        scale = spec.inner_channels**-0.5 if scaled else 1.0
        fields = {"extent": "all", "window": None, "pair_bias": False, "normalization": None}
        return replace(spec, subsample_at="input", scale=scale, **fields)

    found = identify(respecified(change))
    assert found.sentence.startswith(
        "computes no known dialect, but paper_formula with scale D^-1/2 for embedded_gaussian ("
    )
    assert computes(found, "embedded_gaussian").startswith("dialect caffe2, whatever")


def test_what_no_rule_explains_is_said_to_be_so():
    def doubled(spec, weights, x, training=False):
        return 2 * PLAIN.block(spec, weights, x, training)

    found = identify(as_backend(doubled, "doubled"))
    assert not found.identified
    assert found.sentence.startswith("computes something that no rules explain (error / bound of")
    assert found.ratio > 1000
    assert found.rules == {}

    def sometimes(spec, weights, x, training=False):
        return PLAIN.block(spec, weights, x, training) * (1 + (spec.pairwise == "concatenation"))

    found = identify(as_backend(sometimes, "sometimes"))
    given = sum(answer.computed is not None for answer in found.answers)
    assert found.sentence.startswith(
        f"computes what the spec asks for, in {given} of {len(found.answers)} answers; no rules "
        "explain the others (error / bound of what is asked itself: "
    )
    assert not found.identified and found.ratio > 1000


def test_pooling_that_drops_nothing_is_not_what_the_spec_asks_for():
    found = identify(Ceil(("float32",)))
    assert found.sentence.startswith(
        "computes what the spec asks for, where its pooling windows are filled; elsewhere no rules "
        "explain its answers (error / bound of what is asked itself: "
    )
    assert not found.identified and found.ratio > 1000


def test_what_is_right_for_one_spec_follows_nothing():
    def rule(spec):
        return spec == nlcore.dialect("timm", 16, inner_channels=8)

    found = identify(strict(rule))
    assert found.sentence == "computes dialect timm"
    assert not found.follows and found.dialects == ("timm",)
