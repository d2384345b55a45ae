"""The table says what was found about each rule, or why nothing was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dialect_backends import PLAIN, Ceil, of_caffe2, of_plain, respecified, strict, table

import nlcore
from nlcore import NonLocalSpec, weight_shapes
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.identify import identify

IDENTITY = "identity at construction"


def test_a_function_that_heeds_nothing_has_a_value_of_each_rule():
    found = of_caffe2()
    assert table(found) == {
        "pairwise function": "embedded_gaussian",
        "positions": "as asked ((T, H, W), (H, W), (T))",
        "D": "as asked (C/2, C/16, C/8, C)",
        "V": "D (only this was answered)",
        "C(x)": "sum of f",
        "scale": "D^-1/2",
        "extent": "all",
        "subsampling": "yes",
        "pooling window": "(1, 2, 2) for ndim 3; (2, 2) (only this was answered) for ndim 2; "
        "(2,) (only this was answered) for ndim 1",
        "pooling order": "before the embeddings",
        "biases of the embeddings": "yes (only this was answered)",
        "bias of W_z": "yes (only this was answered)",
        "bias in the ReLU": "not asked",
        "batch normalization": "yes (only this was answered)",
        "eps": "1e-05",
        "positions that fill no window": "dropped",
        IDENTITY: "not asked",
    }
    why = {name: rule.why for name, rule in found.rules.items() if rule.why}
    assert why["bias in the ReLU"] == "only concatenation has one"
    assert why[IDENTITY] == "the backend has no `initial`"
    assert "KeyError: 'theta.bias'" in why["bias of W_z"]
    assert "KeyError: 'bn.weight'" in why["batch normalization"]
    assert {*why} == {"V", "biases of the embeddings", "bias of W_z", *why}


def test_a_function_that_heeds_everything_is_said_to_do_so():
    found = table(of_plain())
    assert all(text.startswith("as asked (") for text in list(found.values())[:-2])
    assert found["scale"] == "as asked (1, D^-1/2, C^-1/2, D^1/2, 0.7)"
    assert found["extent"] == "as asked (all, space, time, windows of 3 frames)"
    assert found["pooling order"] == "as asked (after the embeddings, before the embeddings)"


def test_pairwise_functions_that_differ_are_told_apart():
    def change(spec):
        scaled = spec.pairwise == "embedded_gaussian"
        return replace(spec, scale=spec.inner_channels**-0.5 if scaled else 1.0, normalization=None)

    found = table(identify(respecified(change)))
    assert found["scale"] == "1 for gaussian and dot_product; D^-1/2 for embedded_gaussian"
    assert found["C(x)"] == (
        "sum of f for gaussian and embedded_gaussian; "
        "number of positions for dot_product and concatenation"
    )


def test_what_was_answered_alone_is_said_with_the_reason():
    def rule(spec):
        return (spec.pairwise, spec.normalization) in (
            ("embedded_gaussian", "sum"),
            ("dot_product", "count"),
        ) and (spec.ndim, spec.extent, spec.eps) == (2, "all", 1e-5)

    found = identify(strict(rule))
    text = table(found)
    assert text["C(x)"] == (
        "sum of f for embedded_gaussian; number of positions for dot_product "
        "(only these were answered)"
    )
    assert text["eps"] == "1e-05 (only this was answered)"
    assert text["extent"] == "not asked"
    assert found.rules["eps"].why == "it is not supported"
    assert found.rules["extent"].why == "only (T, H, W) has another than all"


def test_a_rule_on_which_nothing_depends_is_not_asked():
    def rule(spec):
        return (spec.pairwise, spec.normalization) == ("dot_product", "sum")

    found = identify(strict(rule))
    assert table(found)["scale"] == "not asked"
    assert found.rules["scale"].why == "no answer depends on it"


def test_formulas_that_agree_are_all_said():
    def rule(spec):
        return spec.inner_channels == 1 and spec.scale == 1 and spec.pairwise == "embedded_gaussian"

    found = table(identify(strict(rule)))
    assert found["D"] == "C/16 or 1 (only this was answered)"
    assert found["scale"] == "1 or D^-1/2 or D^1/2 (only this was answered)"


def test_positions_that_fill_no_window():
    rest = "positions that fill no window"
    found = identify(Ceil(("float32",)))
    assert table(found)[rest] == "something that is no rule"
    assert table(found)["scale"].startswith("as asked")

    def even(spec, weights, x, training=False):
        if any(size % 2 for size in x.shape[2:]):
            raise ValueError("sizes must be even")
        return PLAIN.block(spec, weights, x, training)

    found = identify(as_backend(even, "even"))
    assert table(found)[rest] == "not asked"
    assert "sizes must be even" in found.rules[rest].why
    assert found.follows


class Constructed(Plain):
    """With initial weights."""

    def __init__(self, initial) -> None:
        super().__init__(("float32",))
        self.initial = initial

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        return (spec.pairwise, spec.ndim) == ("dot_product", 1) or "other"


def weights(spec, identity):
    return nlcore.init_weights(spec, np.random.default_rng(0), identity=identity)


@pytest.mark.parametrize(
    "initial, text, why",
    [
        (lambda spec: weights(spec, True), "yes", ""),
        (lambda spec: weights(spec, False), "no", ""),
        (
            lambda spec: weights(spec, spec.batch_norm),
            "yes with batch normalization, no without",
            "",
        ),
        (
            lambda spec: {n: np.zeros(s) for n, s in weight_shapes(spec).items() if "run" not in n},
            "yes",
            "",
        ),
        (lambda spec: 1 / 0, "not asked", "initial raised ZeroDivisionError: division by zero"),
    ],
)
def test_identity_at_construction(initial, text, why):
    found = identify(Constructed(initial)).rules[IDENTITY]
    assert (found.text, found.why) == (text, why)
