"""The bounds of moments hold with the stated probability, and are not far above what is needed."""

from __future__ import annotations

import numpy as np
import pytest

from nlcore_conformance.bounds.normal_draws import FALSE_ALARM, mean_bound, square_bounds


@pytest.mark.parametrize("count", [1, 2, 7, 64, 512, 4096, 2**18])
def test_each_bound_is_exceeded_as_rarely_as_stated(count):
    stats = pytest.importorskip("scipy.stats")
    std = 0.3
    lower, upper = square_bounds(count, std)
    exceeded = [
        2 * stats.norm.sf(mean_bound(count, std) * count**0.5 / std),
        stats.chi2.sf(upper * count / std**2, count),
        stats.chi2.cdf(lower * count / std**2, count),
    ]
    assert max(exceeded) <= FALSE_ALARM
    if count >= 512:  # the bounds are within a fifth of the quantiles, as distances from the mean
        exact = stats.chi2.isf(FALSE_ALARM, count) / count - 1
        assert upper / std**2 - 1 <= 1.2 * exact
        assert mean_bound(count, std) <= 1.2 * std * stats.norm.isf(FALSE_ALARM / 2) / count**0.5


def test_draws_of_another_size_are_beyond_the_bounds():
    draws = np.random.default_rng(0).normal(0, 1, 1024)
    lower, upper = square_bounds(1024, 1.0)
    assert lower < np.mean(draws**2) < upper and abs(draws.mean()) < mean_bound(1024, 1.0)
    assert np.mean((1.25 * draws) ** 2) > upper
    assert np.mean((0.75 * draws) ** 2) < lower
    assert abs(np.mean(draws + 0.3)) > mean_bound(1024, 1.0)
