"""The networks in PyTorch: names, shapes, and identity at the start."""

import numpy as np
import pytest
import torch

from nlcore.video import NetworkSpec, cost, network_weight_shapes, placement
from nlcore_torch.video.network import Network

NETWORKS = {
    "C2D": NetworkSpec(width=2, classes=5),
    "C2D, C2's stem": NetworkSpec(width=2, classes=5, stem_padding=0, temporal_strides=(1, 1, 2)),
    "I3D 3x1x1": NetworkSpec(50, "3x1x1", width=2, classes=5),
    "I3D 3x3x3": NetworkSpec(50, "3x3x3", width=2, classes=5, stride_at="1x1"),
    "ResNet-101, 5 blocks": NetworkSpec(101, "3x1x1", placement(101, 5), width=2, classes=5),
    "10 blocks": NetworkSpec(50, "none", placement(50, 10), width=2, classes=5),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def spec(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture
def clips():
    return torch.randn(2, 3, 8, 65, 64, generator=torch.Generator().manual_seed(1))


def test_names_and_shapes(spec):
    found = {name: tuple(w.shape) for name, w in Network(spec).state_dict().items()}
    assert found == network_weight_shapes(spec)


def test_shapes_of_every_layer(spec, clips):
    network, found = Network(spec).eval(), {}
    rows = {row.name: row for row in cost(spec, tuple(clips.shape[2:]))}
    for name in rows:
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: found.update({name: tuple(out.shape[1:])})
        )
    logits = network(clips)
    assert logits.shape == (2, 5)
    assert found.pop("fc") == (5,)
    assert found == {name: row.shape for name, row in rows.items() if name != "fc"}


def test_parameters(spec):
    count = sum(p.numel() for p in Network(spec).parameters())
    assert count == sum(row.parameters for row in cost(spec, (8, 64, 64)))


@pytest.mark.parametrize("training", [False, True])
def test_blocks_start_as_the_identity(clips, training):
    spec = NetworkSpec(width=2, classes=5, dropout=0.0)
    without, network = Network(spec), Network(spec.with_blocks(5))
    network.load_state_dict(without.state_dict(), strict=False)
    logits = [n.train(training)(clips) for n in (without, network)]
    assert torch.equal(*logits)
    with torch.no_grad():
        network.get_parameter("res4.3.non_local.bn.weight").fill_(1)
    assert not torch.equal(logits[0], network(clips))


def test_weights_go_out_and_in(spec, clips):
    network, other = Network(spec).eval(), Network(spec).eval()
    other.import_weights(network.export_weights())
    assert torch.equal(network(clips), other(clips))
    weights = network.export_weights()
    weights["fc.bias"] = np.zeros(4, np.float32)
    with pytest.raises(
        ValueError, match=r"'fc.bias' must have shape \(5,\); received shape \(4,\)"
    ):
        network.import_weights(weights)


def test_weights_of_wrapped_and_replaced_layers(spec):
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    network = Network(spec, identity=False)
    weights = network.export_weights()
    network.res4 = checkpoint_wrapper(network.res4)
    network.res3[0].conv2 = checkpoint_wrapper(network.res3[0].conv2)
    network.res4[4].non_local = checkpoint_wrapper(network.res4[4].non_local)
    exported = network.export_weights()
    assert exported.keys() == weights.keys()
    assert all(np.array_equal(exported[name], weights[name]) for name in weights)
    network.fc = torch.nn.Sequential(network.fc)
    with pytest.raises(TypeError, match=r"fc must be a convolution, .* received a Sequential"):
        network.export_weights()


def test_every_weight_gets_a_gradient(spec, clips):
    network = Network(spec, identity=False)
    for module in network.modules():
        if hasattr(module, "momentum"):
            module.momentum = 1.0
    network(clips)  # the statistics of these clips, and from here on constants: through batch
    network.eval()  # statistics, a bias that another normalization removes has no gradient
    network(clips).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.count_nonzero(), name
