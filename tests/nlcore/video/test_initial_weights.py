"""Initial weights have the right sizes, and depend on the seed alone."""

import numpy as np
import pytest

from nlcore.video import NetworkSpec, network_weight_shapes
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.network_weights import check_network_weights

NETWORK = NetworkSpec(
    inflation="3x1x1", non_local=("res3.1", "res4.4"), width=16, classes=50, block={"bias": True}
)


def test_names_and_constants():
    weights = initial_network_weights(NETWORK, 1)
    check_network_weights(NETWORK, weights)
    assert list(weights) == list(network_weight_shapes(NETWORK))
    for name, value in weights.items():
        assert value.dtype == np.float32
        if name.endswith("running_var") or (".bn" in name and name.endswith("weight")):
            expected = 0 if "non_local" in name and name.endswith("weight") else 1
            assert (value == expected).all(), name
        elif value.ndim == 1:
            assert (value == 0).all() or name in ("bn1.weight",) or "shortcut_bn" in name, name


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("conv1.weight", (2 / (16 * 5 * 49)) ** 0.5),
        ("res4.2.conv2.weight", (2 / (64 * 9)) ** 0.5),
        ("res4.2.conv1.weight", (2 / (64 * 3)) ** 0.5),
        ("fc.weight", 0.01),
        ("res4.4.non_local.theta.weight", (2 / 256) ** 0.5),
    ],
)
def test_deviations(name, std):
    value = initial_network_weights(NETWORK, 1)[name].astype(np.float64)
    # of n normal numbers, the deviation is within 5 / sqrt(2 n) of std with probability 1 - 6e-7
    assert abs(value.std() / std - 1) < 5 / np.sqrt(2 * value.size)
    assert abs(value.mean()) < 5 * std / np.sqrt(value.size)


def test_seeds_and_layers_are_independent():
    one, again, other = (initial_network_weights(NETWORK, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[n], again[n]) for n in one)
    assert not np.array_equal(one["conv1.weight"], other["conv1.weight"])
    first, second = one["res4.1.conv2.weight"], one["res4.2.conv2.weight"]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(first.size)


def test_options():
    weights = initial_network_weights(NETWORK, 1, "normal", False, True)
    assert (weights["res4.4.non_local.bn.weight"] == 1).all()
    assert abs(weights["res4.4.non_local.g.weight"].std() / 0.01 - 1) < 0.05
    zero = [n for n, v in weights.items() if n.endswith("bn3.weight") and not v.any()]
    assert len(zero) == 16
