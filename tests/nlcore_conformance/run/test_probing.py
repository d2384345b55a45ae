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


class Earlier(Plain):
    """From before version 1.2: g is as wide as theta, and W_z has a bias wherever they have."""

    def block(self, spec, weights, x, training=False):
        needed = ["theta", "phi", "g", "out"] if spec.embedded else ["g", "out"]
        biases = [weights[f"{name}.bias"] for name in needed if spec.bias]
        weights["g.weight"].reshape(spec.inner_channels, spec.channels)
        assert len(biases) == (len(needed) if spec.bias else 0)
        return super().block(spec, weights, x, training)


@pytest.mark.parametrize("backend", [Earlier(), as_backend(Earlier().block, "a function")])
def test_what_an_earlier_backend_cannot_know_is_not_held_against_it(backend):
    report = run(backend, only=lambda c: c.name == "forward / dot_product", examples=20)
    assert [r.verdict for r in report.results] == ["pass"]
    assert set(report.covered["bias"]) == {"False", "True"}
    assert report.covered["value_channels"].keys() == {"= inner"}
    assert report.not_covered["bias"] == {"embeddings": "KeyError: 'out.bias'"}
    reasons = report.not_covered["value_channels"]
    assert reasons.keys() == {"> inner", "< inner"}
    assert all(why.startswith("ValueError: cannot reshape array") for why in reasons.values())


def test_a_wrong_answer_to_what_is_new_is_wrong():
    class Cut(Plain):
        def g(self, call, x):
            g = super().g(call, x)
            g[..., call.spec.inner_channels :] = 0
            return g

    class NoBiases(Plain):
        def bias(self, call, name):
            return super().bias(call, name) if call.spec.bias is True else None

    for wrong in (Cut(), NoBiases()):
        report = run(wrong, only=lambda c: c.name == "forward / dot_product")
        assert [r.verdict for r in report.results] == ["FAIL"]


def test_an_error_about_what_is_not_new_is_held_against_it():
    class Broken(Plain):
        def block(self, spec, weights, x, training=False):
            if spec.subsample:
                raise KeyError("pool")
            return super().block(spec, weights, x, training)

    for backend in (Broken(), as_backend(Broken().block, "a function")):
        report = run(backend, only=lambda c: c.name == "forward / dot_product", examples=20)
        assert [r.verdict for r in report.results] == ["FAIL"]


def test_a_block_of_one_d_and_another_v_is_found():
    class OfSagan(Plain):
        """D = C / 8 and V = C / 2."""

        def supports(self, spec, dtype):
            d, v = max(spec.channels // 8, 1), max(spec.channels // 2, 1)
            fits = (spec.inner_channels, spec.value_channels, spec.scale) == (d, v, 1.0)
            return fits or "D is C / 8 and V is C / 2"

    report = run(OfSagan(), only=lambda c: c.name == "forward / embedded_gaussian", examples=20)
    assert [r.verdict for r in report.results] == ["pass"]
    assert "> inner" in report.covered["value_channels"]
