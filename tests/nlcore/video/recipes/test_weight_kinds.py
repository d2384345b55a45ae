"""Kinds of weights and their decay, by names written by hand."""

import re

import pytest

from nlcore.video import network_weight_shapes, recipe
from nlcore.video.recipes.weight_kinds import KINDS, kinds

EXPECTED = {
    "conv1.weight": {"conv"},
    "bn1.weight": {"batch_norm"},
    "bn1.bias": {"batch_norm"},
    "res2.0.conv2.weight": {"conv"},
    "res2.0.bn3.weight": {"batch_norm"},
    "res2.0.shortcut.weight": {"conv"},
    "res2.0.shortcut_bn.bias": {"batch_norm"},
    "res3.1.non_local.theta.weight": {"conv", "block"},
    "res3.1.non_local.theta.bias": {"bias", "block"},
    "res3.1.non_local.f.weight": {"conv", "block"},
    "res3.1.non_local.f.bias": {"bias", "block"},
    "res3.1.non_local.out.weight": {"conv", "block"},
    "res3.1.non_local.bn.weight": {"batch_norm", "block"},
    "res3.1.non_local.bn.bias": {"batch_norm", "block"},
    "fc.weight": {"fc"},
    "fc.bias": {"fc", "bias"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_kinds(name):
    assert kinds(name) == EXPECTED[name]
    assert kinds(name) <= set(KINDS)


@pytest.mark.parametrize("name", ["bn1.running_mean", "weight", ""])
def test_errors(name):
    message = f"name must be that of a trained weight, such as 'conv1.weight'; received {name!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        kinds(name)


def test_decay_of_each_kind():
    c2, mm = recipe("caffe2"), recipe("mmaction2")
    for name, of in EXPECTED.items():
        assert c2.decay(name) == (0 if "batch_norm" in of else 1e-4)
        assert mm.decay(name) == 1e-4
    mine = recipe("paper", undecayed=("block", "bias"), weight_decay=0.5)
    assert {name for name in EXPECTED if mine.decay(name) == 0} == {
        name for name, of in EXPECTED.items() if of & {"block", "bias"}
    }


def test_groups_contain_every_trained_weight_once():
    c2 = recipe("caffe2")
    names = list(network_weight_shapes(c2.network))
    groups = c2.groups(names)
    assert set(groups) == {0.0, 1e-4}
    # 53 convolutions and their BN, 5 blocks with BN, fc: 58 scales and 58 shifts
    assert len(groups[0.0]) == 2 * 58
    # weights of 53 convolutions, theta, phi, g and out with biases, and fc with its bias
    assert len(groups[1e-4]) == 53 + 5 * 8 + 2
    running = [name for name in names if "running" in name]
    assert sorted([*groups[0.0], *groups[1e-4], *running]) == sorted(names)


def test_affine_and_frozen_weights_are_not_trained():
    frozen = recipe("paper_128", frozen=("conv1", "res2"))
    assert not frozen.trained("conv1.weight") and not frozen.trained("res2.1.conv1.weight")
    assert frozen.trained("res3.0.conv1.weight") and frozen.trained("fc.bias")
    assert not frozen.trained("res3.0.bn1.weight")  # affine
    fixed = recipe("paper", batch_norm="fixed_statistics", precise_statistics=0)
    assert fixed.trained("res3.0.bn1.weight")
    names = network_weight_shapes(frozen.network)
    assert not any("bn" in name for group in frozen.groups(names).values() for name in group)
    assert recipe("paper", frozen=("res3.1",)).trained("res3.10.conv1.weight")
