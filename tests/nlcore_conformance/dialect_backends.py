"""Backends that compute one dialect, another spec than the one asked for, or few specs."""

from __future__ import annotations

from functools import cache

import numpy as np

import nlcore
from nlcore import weight_shapes
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.identify import Identification, identify

PLAIN = Plain(("float32",))


def fixed(dialect: str, pairwise: str = "embedded_gaussian", **overrides):
    """A plain function as it is written for one block's weights: it computes one thing always."""

    def block(spec, weights, x, training=False):
        overridden = {"ndim": x.ndim - 2, **overrides}
        inner = len(weights["g.weight"])
        own = nlcore.dialect(dialect, x.shape[1], pairwise, inner_channels=inner, **overridden)
        weights = {name: weights[name] for name in weight_shapes(own)}  # KeyError for others
        return PLAIN.block(own, weights, x, training)

    return as_backend(block, dialect)


def respecified(change):
    """A plain function that computes another spec than the one asked for."""

    def block(spec, weights, x, training=False):
        own = change(spec)
        return PLAIN.block(own, {name: weights[name] for name in weight_shapes(own)}, x, training)

    return as_backend(block, "respecified")


def strict(rule):
    """A plain function that refuses every spec but those for which `rule` holds."""

    def block(spec, weights, x, training=False):
        if not rule(spec):
            raise NotImplementedError("it is not supported")
        return PLAIN.block(spec, weights, x, training)

    return as_backend(block, "strict")


class Ceil(Plain):
    """Positions that fill no window are pooled too."""

    def pool(self, call, x):
        window = zip(x.shape[1:-1], call.spec.pool, strict=True)
        more = [(0, -size % n) for size, n in window]
        return super().pool(call, np.pad(x, [(0, 0), *more, (0, 0)], mode="edge"))


@cache
def of_plain() -> Identification:
    """What is found of a backend that follows the spec."""
    return identify(PLAIN)


@cache
def of_caffe2() -> Identification:
    """What is found of a function that computes one dialect always."""
    return identify(fixed("caffe2"))


def table(found: Identification) -> dict[str, str]:
    """What was found about each rule, by its name."""
    return {name: rule.text for name, rule in found.rules.items()}


def computes(found: Identification, pairwise: str) -> str:
    """What was found for one pairwise function."""
    return {row[0]: row[3] for row in found.rows}[pairwise]
