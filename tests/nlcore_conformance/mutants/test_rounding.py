"""The arithmetic of the mutants that round."""

from __future__ import annotations

import numpy as np

from nlcore_conformance.mutants.rounding import tf32


def test_tf32_keeps_ten_bits_and_rounds_half_to_even():
    unit = np.float32(2.0**-10)
    given = np.array([1, 1 + unit, 1 + unit / 2, 1 + 1.5 * unit, 1 + 0.75 * unit, -3, np.inf])
    kept = np.array([1, 1 + unit, 1, 1 + 2 * unit, 1 + unit, -3, np.inf])
    np.testing.assert_array_equal(tf32(given.astype(np.float32)), kept.astype(np.float32))
