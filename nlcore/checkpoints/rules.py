"""Which blocks other projects have: what must hold of a spec, so that their block can be it.

A `form` is what has a module and weights there. `rules` are what the module computes. Read in
their sources; they are those of `nlcore.dialects`.
"""

from __future__ import annotations

from typing import NamedTuple

from nlcore.dialects import POOLS
from nlcore.spec import NonLocalSpec


class Rule(NamedTuple):
    """What must hold of a spec, in words, and the field that it is about."""

    field: str
    words: str
    holds: bool


def mmcv_form(spec: NonLocalSpec) -> list[Rule]:
    return [Rule("inner_channels", "D is C // reduction", reduction(spec) is not None)]


def reduction(spec: NonLocalSpec) -> int | None:
    """mmcv's argument that makes D of C, if there is one."""
    c, d = spec.channels, spec.inner_channels
    return next((r for r in range(1, c + 1) if c // r == d), None)


def mmcv_rules(spec: NonLocalSpec) -> list[Rule]:
    scales = (1.0, spec.inner_channels**-0.5)
    return [
        *_after_embedding(spec),
        _by_function(spec),
        Rule(
            "scale",
            "scale is 1, or D**-0.5 with use_scale for the embedded Gaussian",
            spec.scale in (scales if spec.pairwise == "embedded_gaussian" else (1.0,)),
        ),
        _no_pair_bias(spec),
    ]


def alexhex7_rules(spec: NonLocalSpec) -> list[Rule]:
    return [
        *_after_embedding(spec),
        _by_function(spec),
        Rule("scale", "scale is 1", spec.scale == 1.0),
        _no_pair_bias(spec),
        Rule("eps", "eps is 1e-5", spec.eps == 1e-5),
    ]


def caffe2_form(spec: NonLocalSpec) -> list[Rule]:
    known = ("embedded_gaussian", "dot_product")
    return [
        Rule("pairwise", "instantiation is softmax or dot_product", spec.pairwise in known),
        Rule("ndim", "ndim is 3", spec.ndim == 3),
    ]


def caffe2_rules(spec: NonLocalSpec) -> list[Rule]:
    softmax = spec.pairwise == "embedded_gaussian"
    scales = (1.0, spec.inner_channels**-0.5) if softmax else (1.0,)
    return [
        Rule("extent", "every position sees all others of its frames", spec.extent == "all"),
        Rule(
            "subsample",
            "the pooling window is square, over one frame",
            spec.pool[0] == 1 and len(set(spec.pool[1:])) <= 1,
        ),
        *_softmax_or_dot_product(spec),
        Rule("scale", "scale is 1, or D**-0.5 with USE_SCALE for softmax", spec.scale in scales),
    ]


def slowfast_rules(spec: NonLocalSpec) -> list[Rule]:
    softmax = spec.pairwise == "embedded_gaussian"
    return [
        _sees_all(spec),
        *_softmax_or_dot_product(spec),
        Rule(
            "scale",
            "scale is D**-0.5 for softmax, 1 for dot_product",
            spec.scale == (spec.inner_channels**-0.5 if softmax else 1.0),
        ),
    ]


def timm_form(spec: NonLocalSpec) -> list[Rule]:
    return [
        Rule(
            "pairwise",
            "the embedded Gaussian is the only pairwise function",
            spec.pairwise == "embedded_gaussian",
        ),
        Rule("ndim", "ndim is 2", spec.ndim == 2),
        Rule("batch_norm", "there is always batch normalization", spec.batch_norm),
    ]


def timm_rules(spec: NonLocalSpec) -> list[Rule]:
    scales = (spec.channels**-0.5, 1.0)
    return [
        Rule("subsample", "there is no pooling", spec.subsample is None),
        Rule("normalization", "normalization is by sum", spec.normalization == "sum"),
        Rule("scale", "scale is C**-0.5, or 1 without use_scale", spec.scale in scales),
        Rule("eps", "eps is 1e-5", spec.eps == 1e-5),
    ]


def _softmax_or_dot_product(spec: NonLocalSpec) -> list[Rule]:
    softmax = spec.pairwise == "embedded_gaussian"
    return [
        Rule(
            "subsample_at",
            "pooling is before phi and g",
            spec.subsample is None or spec.subsample_at == "input",
        ),
        Rule(
            "normalization",
            "softmax is normalized by sum, dot_product by count",
            spec.normalization == ("sum" if softmax else "count"),
        ),
    ]


def _after_embedding(spec: NonLocalSpec) -> list[Rule]:
    pool = POOLS[spec.ndim]
    return [
        _sees_all(spec),
        Rule("subsample", f"the pooling window is {pool}", spec.subsample in (None, pool)),
        Rule(
            "subsample_at",
            "pooling is after phi and g",
            spec.subsample is None or spec.subsample_at == "embedding",
        ),
    ]


def _sees_all(spec: NonLocalSpec) -> Rule:
    field = "window" if spec.extent == "all" else "extent"
    holds = spec.extent == "all" and spec.window is None
    return Rule(field, "every position sees all others", holds)


def _by_function(spec: NonLocalSpec) -> Rule:
    return Rule(
        "normalization",
        "the Gaussians are normalized by sum, the others by count",
        spec.normalization == ("sum" if "gaussian" in spec.pairwise else "count"),
    )


def _no_pair_bias(spec: NonLocalSpec) -> Rule:
    return Rule("pair_bias", "there is no bias inside the ReLU", not spec.pair_bias)
