"""Backends that compute one dialect, or another spec than the one asked for."""

from __future__ import annotations

import nlcore
from nlcore import weight_shapes
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.identify import Identification
from nlcore_conformance.identify.conclusion import text


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
    return text(finding, found)
