"""Rules are read, and varied one at a time."""

from __future__ import annotations

import pytest

from nlcore import NonLocalSpec
from nlcore_conformance.identify.rules import RULES, changed, scale_names

SPECS = [
    NonLocalSpec(16, pairwise="embedded_gaussian", subsample=(1, 2, 2), bias=True),
    NonLocalSpec(16, pairwise="concatenation", batch_norm=False, extent="space"),
    NonLocalSpec(16, ndim=2, pairwise="gaussian", scale=0.25, bias="embeddings"),
    NonLocalSpec(16, 2, ndim=1, pairwise="dot_product", scale=2**-0.5, subsample=(2,)),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.pairwise)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_other_specs_have_another_value_of_the_rule(rule, spec):
    for other in rule.varied(spec):
        fields = other.arguments()
        assert fields[rule.field] != spec.arguments()[rule.field] or rule.name == "extent"
        if rule.matters(spec) and rule.matters(other) and rule.field != "bias":
            assert rule.read(other) != rule.read(spec)


def test_each_rule_is_read():
    spec = NonLocalSpec(
        16, 8, pairwise="concatenation", subsample=(1, 2, 2), subsample_at="input", bias=True
    )
    assert {rule.name: rule.read(spec) for rule in RULES} == {
        "pairwise function": ("concatenation",),
        "positions": ("(T, H, W)",),
        "D": ("C/2",),
        "V": ("D", "C/2"),
        "C(x)": ("number of positions",),
        "scale": (),
        "extent": ("all",),
        "subsampling": ("yes",),
        "pooling window": ("(1, 2, 2)",),
        "pooling order": ("before the embeddings",),
        "biases of the embeddings": ("yes",),
        "bias of W_z": ("yes",),
        "bias in the ReLU": ("no",),
        "batch normalization": ("yes",),
        "eps": ("1e-05",),
    }
    assert {rule.read(NonLocalSpec(16, window=4)) for rule in RULES if rule.name == "extent"} == {
        ("windows of 4 frames",)
    }


def test_a_scale_has_every_name_that_gives_it():
    assert scale_names(NonLocalSpec(16, 8, scale=8**-0.5)) == ("D^-1/2",)
    assert scale_names(NonLocalSpec(16, 1)) == ("1", "D^-1/2", "D^1/2")
    assert scale_names(NonLocalSpec(16, 8, scale=0.3)) == ("0.3",)
    (width,) = (rule for rule in RULES if rule.name == "D")
    found = {(s.inner_channels, s.value_channels, s.scale) for s in width.varied(SPECS[3])}
    assert found == {(8, 8, 8**-0.5), (1, 1, 1.0), (16, 16, 0.25)}


def test_fields_without_meaning_get_their_defaults():
    spec = NonLocalSpec(16, subsample=(1, 2, 2), subsample_at="input", scale=0.5, eps=1e-3)
    assert changed(spec, {"subsample": None}).subsample_at == "embedding"
    assert changed(spec, {"batch_norm": False}).eps == 1e-5
    assert changed(spec, {"pairwise": "concatenation"}).scale == 1.0
