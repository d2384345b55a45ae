"""The forward direction of the plain NumPy implementation."""

from __future__ import annotations

import numpy as np
import pytest

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain, backend


def test_f_beyond_float16_does_not_spoil_y():
    spec = NonLocalSpec(1, 1, ndim=1, pairwise="gaussian", normalization="count", batch_norm=False)
    weights = {"g.weight": np.full((1, 1), 1e-3), "out.weight": np.ones((1, 1))}
    weights = {name: w.astype(np.float16) for name, w in weights.items()}
    x = np.full((1, 1, 4), 3.5, np.float16)  # f = exp(12.25) = 2.1e5, beyond float16's 65504
    z = Plain(("float16",)).block(spec, weights, x)
    right = nlcore.block(spec, weights, x)
    assert np.isfinite(z).all() and right[0, 0, 0] > 500
    np.testing.assert_allclose(z.astype(np.float64), right, rtol=2.0**-9)  # four roundings of 2^-11


def test_what_does_not_fit_is_an_error_that_says_so():
    spec = NonLocalSpec(2, ndim=1, batch_norm=False)
    weights = {n: np.ones(s, np.float32) for n, s in nlcore.weight_shapes(spec).items()}
    x = np.ones((1, 2, 3), np.float32)
    with pytest.raises(ValueError, match=r"weight 'g.weight' is missing"):
        backend.block(spec, {n: w for n, w in weights.items() if n != "g.weight"}, x)
    with pytest.raises(ValueError, match="x must have 2 channels"):
        backend.block(spec, weights, x[:, :1])
    assert backend.supports(spec, "float32") is True
    assert "float64" in str(backend.supports(spec, "float64"))
