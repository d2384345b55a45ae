"""Functions that support a few specs, none of them a dialect's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.identify.identification import identify

README = Path(__file__).parents[3] / "README.md"
PLAIN = Plain()


def strict(rule):
    def block(spec, weights, x, training=False):
        if not rule(spec):
            raise NotImplementedError("it is not supported")
        return PLAIN.block(spec, weights, x, training)

    return as_backend(block, "strict")


def test_the_example_of_the_readme_gets_an_answer():
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# mylib/non_local.py.*?)```", text, re.S)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    found = identify(as_backend(names["backend"], "mylib"))
    assert found.follows and found.dialects == ()
    assert found.sentence.startswith("computes what the spec asks for; no dialect is among")


@pytest.mark.parametrize("inner", [1, 2, 4, 8, 16])
def test_one_scale_and_one_width(inner):
    def rule(spec):
        fields = spec.pairwise, spec.scale, spec.bias, spec.batch_norm, spec.subsample
        return fields == ("embedded_gaussian", 1.0, False, False, None) and (
            spec.inner_channels == max(spec.channels * inner // 16, 1)
            and (spec.normalization, spec.extent, spec.window) == ("sum", "all", None)
        )

    found = identify(strict(rule))
    assert "paper" in found.dialects
    assert "without subsampling and batch normalization" in found.sentence
    assert "tea1528" not in found.dialects  # it has biases, and the block has none
