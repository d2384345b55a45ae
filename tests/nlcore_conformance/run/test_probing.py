"""A backend is asked which specs it supports, or called."""

from __future__ import annotations

import pytest

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import CannotRun, as_backend
from nlcore_conformance.run.runner import run


def test_a_function_that_cannot_be_asked_gives_its_reasons_by_what_it_raises():
    def one_axis(spec, weights, x, training=False):
        if spec.ndim != 1 or spec.subsample or spec.bias or spec.batch_norm:
            raise NotImplementedError("one axis, no subsampling, biases or batch norm")
        return Plain().block(spec, weights, x, training)

    backend = as_backend(one_axis, "one axis")
    missing = run(backend, only=lambda c: c.name.startswith("forward"), examples=6).not_covered
    refused = {"ndim", "subsample", "subsample_at", "extent", "window", "bias", "batch_norm"}
    reasons = {why for name in refused | {"training"} for why in missing[name].values()}
    assert reasons == {"one axis, no subsampling, biases or batch norm"}


def test_what_supports_raises_ends_the_run():
    class Undecided(Plain):
        def supports(self, spec, dtype):
            raise ValueError("neither\nnor")

    says = "supports must return True, or .*; it raised ValueError: neither nor$"
    with pytest.raises(CannotRun, match=says):
        run(Undecided())

    class Later(Plain):
        def supports(self, spec, dtype):
            return spec.channels == 64 or Undecided().supports(spec, dtype)

    with pytest.raises(CannotRun, match=says):
        run(Later(), only=lambda c: c.name == "rescaling")
