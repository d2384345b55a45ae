"""Names of installed backends."""

from __future__ import annotations

from nlcore_conformance.backend import resolve


def test_all_names_every_installed_backend_once():
    assert resolve.names(["torch", "torch"]) == ["torch"]
    every = resolve.names(["all"])
    assert {"torch", "keras-tensorflow", "keras-jax", "keras-torch", "reference"} <= set(every)
    assert "keras" not in every
