"""What a spec must satisfy so that another project's block can compute it.

The requirements of a `*_form` function decide whether the project has a module with these weights.
Those of a `*_limits` function decide whether the module computes the spec. They were read in the
sources that `nlcore.dialects` names.
"""

from __future__ import annotations

from typing import NamedTuple

from nlcore.dialects import POOLS
from nlcore.spec import NonLocalSpec


class Requirement(NamedTuple):
    """A requirement on one field of a spec, in words, and whether the spec satisfies it."""

    field: str
    words: str
    holds: bool


def mmcv_form(spec: NonLocalSpec) -> list[Requirement]:
    return [
        Requirement("inner_channels", "D is C // reduction", reduction(spec) is not None),
        _one_width(spec),
    ]


def reduction(spec: NonLocalSpec) -> int | None:
    """mmcv's argument `reduction` such that D = C // reduction, or None if there is none."""
    c, d = spec.channels, spec.inner_channels
    return next((r for r in range(1, c + 1) if c // r == d), None)


def mmcv_limits(spec: NonLocalSpec) -> list[Requirement]:
    scales = (1.0, spec.inner_channels**-0.5)
    return [
        *_after_embedding(spec),
        _by_function(spec),
        Requirement(
            "scale",
            "scale is 1, or D**-0.5 with use_scale for the embedded Gaussian",
            spec.scale in (scales if spec.pairwise == "embedded_gaussian" else (1.0,)),
        ),
        _no_pair_bias(spec),
    ]


def alexhex7_form(spec: NonLocalSpec) -> list[Requirement]:
    return [_one_width(spec)]


def alexhex7_limits(spec: NonLocalSpec) -> list[Requirement]:
    return [
        *_after_embedding(spec),
        _by_function(spec),
        Requirement("scale", "scale is 1", spec.scale == 1.0),
        _no_pair_bias(spec),
        Requirement("eps", "eps is 1e-5", spec.eps == 1e-5),
    ]


def caffe2_form(spec: NonLocalSpec) -> list[Requirement]:
    known = ("embedded_gaussian", "dot_product")
    return [
        Requirement("pairwise", "instantiation is softmax or dot_product", spec.pairwise in known),
        Requirement("ndim", "ndim is 3", spec.ndim == 3),
        _one_width(spec),
    ]


def caffe2_limits(spec: NonLocalSpec) -> list[Requirement]:
    softmax = spec.pairwise == "embedded_gaussian"
    scales = (1.0, spec.inner_channels**-0.5) if softmax else (1.0,)
    return [
        Requirement("extent", "every position sees all others of its frames", spec.extent == "all"),
        Requirement(
            "subsample",
            "the pooling window is square, over one frame",
            spec.pool[0] == 1 and len(set(spec.pool[1:])) <= 1,
        ),
        *_softmax_or_dot_product(spec),
        Requirement(
            "scale", "scale is 1, or D**-0.5 with USE_SCALE for softmax", spec.scale in scales
        ),
    ]


def slowfast_limits(spec: NonLocalSpec) -> list[Requirement]:
    softmax = spec.pairwise == "embedded_gaussian"
    return [
        _sees_all(spec),
        *_softmax_or_dot_product(spec),
        Requirement(
            "scale",
            "scale is D**-0.5 for softmax, 1 for dot_product",
            spec.scale == (spec.inner_channels**-0.5 if softmax else 1.0),
        ),
    ]


def timm_form(spec: NonLocalSpec) -> list[Requirement]:
    return [
        Requirement(
            "pairwise",
            "the embedded Gaussian is the only pairwise function",
            spec.pairwise == "embedded_gaussian",
        ),
        Requirement("ndim", "ndim is 2", spec.ndim == 2),
        Requirement("batch_norm", "there is always batch normalization", spec.batch_norm),
        _one_width(spec),
    ]


def timm_limits(spec: NonLocalSpec) -> list[Requirement]:
    scales = (spec.channels**-0.5, 1.0)
    return [
        Requirement("subsample", "there is no pooling", spec.subsample is None),
        Requirement("normalization", "normalization is by sum", spec.normalization == "sum"),
        Requirement("scale", "scale is C**-0.5, or 1 without use_scale", spec.scale in scales),
        Requirement("eps", "eps is 1e-5", spec.eps == 1e-5),
    ]


def _one_width(spec: NonLocalSpec) -> Requirement:
    holds = spec.value_channels == spec.inner_channels
    return Requirement("value_channels", "theta, phi and g have the same number of channels", holds)


def _softmax_or_dot_product(spec: NonLocalSpec) -> list[Requirement]:
    softmax = spec.pairwise == "embedded_gaussian"
    return [
        Requirement(
            "subsample_at",
            "pooling is before phi and g",
            spec.subsample is None or spec.subsample_at == "input",
        ),
        Requirement(
            "normalization",
            "softmax is normalized by sum, dot_product by count",
            spec.normalization == ("sum" if softmax else "count"),
        ),
    ]


def _after_embedding(spec: NonLocalSpec) -> list[Requirement]:
    pool = POOLS[spec.ndim]
    return [
        _sees_all(spec),
        Requirement("subsample", f"the pooling window is {pool}", spec.subsample in (None, pool)),
        Requirement(
            "subsample_at",
            "pooling is after phi and g",
            spec.subsample is None or spec.subsample_at == "embedding",
        ),
    ]


def _sees_all(spec: NonLocalSpec) -> Requirement:
    field = "window" if spec.extent == "all" else "extent"
    holds = spec.extent == "all" and spec.window is None
    return Requirement(field, "every position sees all others", holds)


def _by_function(spec: NonLocalSpec) -> Requirement:
    return Requirement(
        "normalization",
        "the Gaussians are normalized by sum, the others by count",
        spec.normalization == ("sum" if "gaussian" in spec.pairwise else "count"),
    )


def _no_pair_bias(spec: NonLocalSpec) -> Requirement:
    return Requirement("pair_bias", "there is no bias inside the ReLU", not spec.pair_bias)
