"""Network.fused: normalizations folded into the layers before them.

That the logits stay within a derived bound is tested in tests/studies/test_networks.py.
"""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nlcore.video import NetworkSpec, placement
from nlcore_torch.video.network import Network

NETWORKS = {
    "C2D, 5 blocks": NetworkSpec(non_local=placement(50, 5), width=4, classes=5),
    "I3D 3x1x1, 1 block": NetworkSpec(50, "3x1x1", placement(50, 1), width=4, classes=5),
    "I3D 3x3x3": NetworkSpec(50, "3x3x3", width=4, classes=5),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request):
    """A network in float64, whose normalizations have statistics of their own."""
    torch.manual_seed(0)
    found = Network(request.param, identity=False, dtype=torch.float64)
    for norm in (m for m in found.modules() if isinstance(m, _BatchNorm)):
        for value in (norm.running_var, norm.weight):
            nn.init.uniform_(value, 0.5, 1.5)
        for value in (norm.running_mean, norm.bias):
            nn.init.normal_(value)
    return found.eval()


@pytest.fixture
def clips():
    return torch.randn(2, 3, 8, 32, 32, dtype=torch.float64)


def test_nothing_is_left_to_normalize_or_train(network, clips):
    fused = network.fused()
    with torch.no_grad():
        assert fused(clips).shape == network(clips).shape
    assert not any(isinstance(module, _BatchNorm) for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())


@pytest.mark.parametrize("kind", ["weight", "bias", "running_mean", "running_var"])
def test_every_normalization_counts(network, clips, kind):
    """Any other value in any normalization changes the fused logits, as it changes the others."""
    with torch.no_grad():
        right, fused_right = network(clips), network.fused()(clips)
        for norm in [m for m in network.modules() if isinstance(m, _BatchNorm)][::7]:
            value = getattr(norm, kind)
            before = value.clone()
            value.mul_(1.25).add_(0.125)
            change = network(clips) - right
            fused_change = network.fused()(clips) - fused_right
            # float64's roundings are 2^20 times smaller than this
            assert (fused_change - change).abs().max() <= 2.0**-10 * change.abs().max()
            value.copy_(before)


def test_the_network_stays_as_it_was(network, clips):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    network.fused()
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_replaced_convolution_is_refused(network):
    network.res2[0].conv2 = nn.Sequential(network.res2[0].conv2)
    with pytest.raises(TypeError, match=r"conv2 must be a convolution; received a Sequential"):
        network.fused()
