"""Functions that support a few specs, none of them a dialect's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dialect_backends import strict, table

from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.identify import identify
from nlcore_conformance.identify.agreement import text

README = Path(__file__).parents[3] / "README.md"


def agreements(found) -> dict[str, str]:
    return {agreement.name: text(agreement) for agreement in found.agreements}


def test_the_example_of_the_readme():
    page = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# mylib/non_local.py.*?)```", page, re.S)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    found = identify(as_backend(names["backend"], "mylib"))
    assert found.follows and found.dialects == ()
    assert found.sentence == (
        "computes what the spec asks for, without subsampling, biases and batch normalization"
    )
    rules = table(found)
    assert rules["pairwise function"] == "embedded_gaussian (only this was answered)"
    assert rules["C(x)"] == "sum of f (only this was answered)"
    assert rules["scale"] == "as asked (1, D^-1/2, C^-1/2, D^1/2, 0.7)"
    for name in ("subsampling", "biases of the embeddings", "bias of W_z", "batch normalization"):
        assert rules[name] == "no (only this was answered)"
        assert "no subsampling" in found.rules[name].why
    assert rules["extent"] == "all (only this was answered)"
    assert found.rules["extent"].why.startswith("no subsampling, extent")
    for name in ("pooling order", "pooling window", "bias in the ReLU", "eps"):
        assert rules[name] == "not asked"
    assert agreements(found)["caffe2"] == "without subsampling, batch normalization and biases"
    assert agreements(found)["mmcv"] == "without biases"


def bare(spec):
    fields = spec.pairwise, spec.bias, spec.batch_norm, spec.subsample, spec.normalization
    return fields == ("embedded_gaussian", False, False, None, "sum") and (
        (spec.extent, spec.window) == ("all", None)
    )


@pytest.mark.parametrize("inner", [1, 2, 16])
def test_one_scale_and_one_width(inner):
    def rule(spec):
        width = max(spec.channels * inner // 16, 1)
        return bare(spec) and spec.scale == 1.0 and spec.inner_channels == width

    found = identify(strict(rule))
    assert found.sentence == (
        "computes dialect paper or paper_formula, without subsampling and batch normalization"
    )
    assert found.lacks == ("subsampling", "batch normalization")
    assert agreements(found)["tea1528"] == "without batch normalization and biases"
    width = {1: "C/16 or 1", 2: "C/8", 16: "C"}[inner]
    assert table(found)["D"] == f"{width} (only this was answered)"
    scale = "1 or D^-1/2 or D^1/2" if inner == 1 else "1"
    assert table(found)["scale"] == f"{scale} (only this was answered)"


def test_a_scale_of_the_width_is_told_from_1():
    """The suite's own search finds it at D = 1 first, where the formulas agree."""
    found = identify(strict(lambda spec: bare(spec) and spec.scale == spec.inner_channels**-0.5))
    assert table(found)["scale"] == "D^-1/2 (only this was answered)"
    assert found.sentence == "computes dialect mmcv, without biases"
    assert agreements(found)["caffe2"] == "without subsampling, batch normalization and biases"
    assert agreements(found)["paper"].startswith("no: it has scale 1")


def test_frames_alone_and_more_channels():
    """No spec over all positions is supported, and none of few channels."""

    def rule(spec):
        fields = spec.pairwise, spec.extent, spec.batch_norm, spec.bias, spec.subsample, spec.scale
        return fields == ("dot_product", "space", True, False, None, 1.0) and (
            (spec.normalization, spec.eps, spec.channels % 64) == ("count", 1e-5, 0)
        )

    found = identify(strict(rule))
    assert found.sentence.startswith(
        "computes no known dialect, but paper with extent space and no subsampling ("
    )
    assert table(found)["extent"] == "space (only this was answered)"


def timm(spec):
    """What timm's NonLocalAttn computes, by its constructor."""
    fields = spec.pairwise, spec.ndim, spec.normalization, spec.subsample, spec.batch_norm, spec.eps
    return fields == ("embedded_gaussian", 2, "sum", None, True, 1e-5)


@pytest.mark.parametrize("width", ["C/8", "C/8, rounded to 8"])
def test_timm_as_its_defaults_build_it(width):
    def rule(spec):
        inner = spec.channels // 8 if width == "C/8" else max(8, (spec.channels // 8 + 4) // 8 * 8)
        biased = spec.bias is True and spec.inner_channels == spec.value_channels == inner
        return timm(spec) and biased and spec.scale == spec.channels**-0.5

    found = identify(strict(rule))
    assert found.sentence == "computes dialect timm"
    rules = table(found)
    for name in ("biases of the embeddings", "bias of W_z", "batch normalization"):
        assert rules[name] == "yes (only this was answered)"
    assert rules["scale"] == "C^-1/2 (only this was answered)"
    assert rules["positions"] == "(H, W) (only this was answered)"
    assert rules["V"].startswith("D")
    assert agreements(found)["tea1528"] == "no: it has scale 1"


def test_timm_with_its_options():
    def rule(spec):
        return timm(spec) and spec.scale in (1.0, spec.channels**-0.5)

    found = identify(strict(rule))
    assert found.follows and found.dialects == ("tea1528", "timm")
    rules = table(found)
    assert rules["scale"] == "as asked (1, C^-1/2)"
    assert rules["biases of the embeddings"] == "as asked (yes, no)"
    assert agreements(found)["alexhex7"] == "without subsampling"
    assert agreements(found)["mmcv"] == "no: it has scale D^-1/2 and no batch normalization"


def test_a_dialect_with_another_eps():
    def rule(spec):
        fields = spec.pairwise, spec.normalization, spec.eps, spec.bias, spec.batch_norm
        return fields == ("dot_product", "count", 1e-3, True, True) and (
            (spec.subsample, spec.extent, spec.window, spec.scale) == (None, "all", None, 1.0)
        )

    found = identify(strict(rule))
    assert found.sentence.startswith("computes no known dialect, but tea1528 with eps 0.001 (")
    assert table(found)["eps"] == "0.001 (only this was answered)"
