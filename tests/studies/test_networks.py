"""conformance/studies/networks.py: PyTorch and Keras agree on one file within the derived bound."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import torch

from nlcore.video import NetworkSpec

SCRIPT = Path(__file__).parents[2] / "conformance" / "studies" / "networks.py"
#: Of the script's list, one of each architecture, with placements that differ.
CHOSEN = (
    "ResNet-50, C2D, 10 blocks",
    "ResNet-50, I3D 3x1x1, 5 blocks",
    "ResNet-50, I3D 3x3x3, res5",
    "ResNet-101, C2D, 1 blocks",
    "ResNet-101, I3D 3x1x1, res2",
    "ResNet-101, I3D 3x3x3, 5 blocks",
)

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="elsewhere Keras rounds float64 to float32"
)


@pytest.fixture(scope="module")
def networks():
    spec = importlib.util.spec_from_file_location("networks_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clips():
    return np.random.default_rng(0).normal(size=(1, 3, 8, 64, 64))


@pytest.mark.parametrize("name", CHOSEN)
def test_within_the_bound(networks, clips, name):
    torch.manual_seed(0)
    found = networks.agreement(dict(networks.reduced())[name], clips)
    assert np.isfinite(found.bounds).all()
    assert found.ratio <= 1
    # float32 anywhere would be seen: its roundings are 2^29 times as large
    assert found.bounds.max() < 1e-5 * np.abs(found.torch).max()


def test_every_architecture_and_placement(networks):
    specs = [spec for _, spec in networks.reduced()]
    assert len(specs) == 45
    assert len({replace(spec, non_local=()).inflation for spec in specs}) == 3


def test_a_wrong_stage_is_beyond_the_bound(networks, clips):
    """Batch normalization with another eps, 1e-5 * (1 + 1e-4), in one layer of Keras' network."""
    torch.manual_seed(0)
    spec = NetworkSpec(width=4, classes=5)
    found = networks.agreement(spec, clips)
    network = networks.Network(spec, identity=False, dtype=torch.float64).eval()
    networks.calibrate(network, torch.from_numpy(clips))
    logits, bounds = networks.logit_bounds(network, torch.from_numpy(clips), range(5))
    network.res3[1].bn2.eps *= 1 + 1e-4
    with torch.no_grad():
        wrong = network(torch.from_numpy(clips)).numpy()
    assert (np.abs(wrong - logits) / bounds).max() > 1
    assert found.ratio <= 1
