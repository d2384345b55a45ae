"""What a backend computes is told from its answers alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import nlcore
from nlcore import DIALECTS, weight_shapes
from nlcore_conformance.identify import ASKED, Identification, identify, show
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.backend.reference import Reference


def fixed(dialect: str, pairwise: str = "embedded_gaussian", **overrides):
    """A plain function as it is written for one block's weights: it computes one thing always."""

    def block(spec, weights, x, training=False):
        overridden = {"ndim": x.ndim - 2, **overrides}
        inner = len(weights["g.weight"])
        own = nlcore.dialect(dialect, x.shape[1], pairwise, inner_channels=inner, **overridden)
        weights = {name: weights[name] for name in weight_shapes(own)}  # KeyError for others
        return nlcore.block(own, weights, x, training).astype(x.dtype)

    return as_backend(block, dialect)


class Respecified(Reference):
    """The reference, in float32, on another spec than the one asked for."""

    dtypes = ("float32",)

    def __init__(self, change) -> None:
        self.change = change

    def block(self, spec, weights, x, training=False):
        return super().block(self.change(spec), weights, x, training)


def computes(found: Identification, pairwise: str, ndim: int = 3) -> str:
    (finding,) = [f for f in found.findings if (f.pairwise, f.ndim) == (pairwise, ndim)]
    return finding.text


def test_the_reference_follows_the_spec_and_has_every_dialect():
    found = identify(Reference())
    assert found.follows
    assert found.dialects == tuple(DIALECTS)
    assert found.sentence.startswith("computes what the spec asks for; it has paper, ")
    assert 0 < found.ratio <= 1
    assert found.unanswered == {}


def test_what_is_refused_is_counted_and_what_is_left_is_listed():
    class Few(Reference):
        dtypes = ("float32",)

        def supports(self, spec, dtype):
            return (spec.ndim == 3 and spec.bias) or "three axes, with bias"

    found = identify(Few())
    assert found.follows
    assert found.dialects == ("caffe2", "mmcv", "alexhex7", "tea1528")
    asked = sum(len(f.answers) for f in found.findings)
    answered = sum(f.answered for f in found.findings)
    assert found.unanswered == {"three axes, with bias": asked - answered}


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


def test_a_bias_of_w_z_that_some_sources_do_not_have_does_not_count():
    class Without(Reference):
        dtypes = ("float32",)

        def block(self, spec, weights, x, training=False):
            if "out.bias" in weights:
                weights = {**weights, "out.bias": np.zeros_like(weights["out.bias"])}
            return super().block(spec, weights, x, training)

    assert identify(Without()).dialects == tuple(DIALECTS)


def test_biases_and_batch_norm_that_are_left_out_do_not_hide_a_dialect():
    def change(spec):
        if spec.pairwise not in DIALECTS["caffe2"].pairwise:
            raise NotImplementedError
        own = nlcore.dialect("caffe2", spec.channels, spec.pairwise, ndim=spec.ndim)
        return replace(own, bias=spec.bias, batch_norm=spec.batch_norm, subsample=spec.subsample)

    found = identify(Respecified(change))
    assert found.dialects == ("caffe2",)
    assert found.sentence == "computes dialect caffe2, whatever other rules the spec asks for"


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


@pytest.mark.parametrize(
    "wrong, why",
    [
        (lambda spec, weights, x, training=False: x[:1], "expected an array of shape"),
        (lambda spec, weights, x, training=False: 1 / 0, "ZeroDivisionError"),
        (lambda spec, weights, x, training=False: x.astype(np.float64), "expected dtype float32"),
    ],
)
def test_no_answer_is_no_dialect(wrong, why):
    found = identify(as_backend(wrong, "wrong"))
    assert not found.identified
    assert found.sentence == "answers none of the specs that it is asked"
    assert all(why in reason for reason in found.unanswered)
    assert sum(found.unanswered.values()) == sum(len(f.answers) for f in found.findings)


def test_it_is_shown_as_a_sentence_and_a_table():
    console = Console(width=120)
    with console.capture() as captured:
        show(identify(fixed("timm")), console)
    first, *rest = captured.get().splitlines()
    assert first.startswith("timm computes dialect timm")
    assert any("embedded_gaussian" in line and " of 8 " in line and "timm" in line for line in rest)
    assert any("specs not answered" in line for line in rest)


def test_progress_hears_of_every_spec():
    heard: list[tuple[str, int, int]] = []
    identify(fixed("timm"), lambda name, done, total: heard.append((name, done, total)))
    assert [done for _, done, _ in heard] == list(range(1, len(heard) + 1))
    assert {total for *_, total in heard} == {len(heard)}
