"""Problems to compute with both the reference and PyTorch."""

import numpy as np
import pytest

from nlcore import NonLocalSpec, weight_shapes


def make_problem(spec: NonLocalSpec, positions: tuple[int, ...], batch: int = 2, seed: int = 0):
    """Weights, x and dz as float64 arrays, of a size that leaves every stage well conditioned."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(spec).items():
        fan_in = shape[-1] if name.endswith(".weight") and name != "bn.weight" else 1
        weights[name] = rng.normal(0, 0.7 / np.sqrt(fan_in), shape)
    if spec.batch_norm:
        weights["bn.running_var"] = rng.uniform(0.5, 1.5, spec.channels)
    x, dz = rng.normal(size=(2, batch, spec.channels, *positions))
    return weights, x, dz


@pytest.fixture
def problem():
    return make_problem
