"""The networks in PyTorch: names, shapes, and identity at the start."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nlcore.checkpoints import PUBLISHED, inflate
from nlcore.video import Imported, NetworkSpec, cost, network_weight_shapes, placement
from nlcore_torch.video.network import Network

NETWORKS = {
    "C2D": NetworkSpec(width=2, classes=5),
    "C2D, C2's stem": NetworkSpec(width=2, classes=5, stem_padding=0, temporal_strides=(1, 1, 2)),
    "I3D 3x1x1": NetworkSpec(50, "3x1x1", width=2, classes=5),
    "I3D 3x3x3": NetworkSpec(50, "3x3x3", width=2, classes=5, stride_at="1x1"),
    "ResNet-101, 5 blocks": NetworkSpec(101, "3x1x1", placement(101, 5), width=2, classes=5),
    "10 blocks": NetworkSpec(50, "none", placement(50, 10), width=2, classes=5),
    "ResNet-152": NetworkSpec(152, width=2, classes=5),
    "C2's, windows": replace(
        PUBLISHED["i3d_nonlocal_32x4"].spec, width=2, classes=5, head_window=2
    ),
    "SlowOnly, window logits": replace(
        PUBLISHED["slow_r50"].spec, width=2, classes=5, head_window=2
    ),
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
    windows = () if spec.head == "mean" else rows["fc"].shape[2:]
    assert found.pop("fc") == (*windows, 5)
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


@pytest.fixture
def logits():
    """Logits of windows, (2, 2, 3, 5), which differ much."""
    return 3 * torch.randn(2, 2, 3, 5, generator=torch.Generator().manual_seed(2)).double()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_average_what_the_head_says(logits, activation):
    function = {"softmax": lambda z: z.softmax(-1), "sigmoid": torch.sigmoid}[activation]
    expected = {
        "windows": function(logits).mean((1, 2)),
        "window_logits": function(logits.mean((1, 2))),
        "mean": function(logits[:, 0, 0]),
    }
    for head, scores in expected.items():
        network = Network(NetworkSpec(head=head, width=1, classes=5))
        network.window_logits = lambda x, h=head: logits[:, 0, 0] if h == "mean" else logits
        assert torch.equal(network.scores(None, activation), scores)
    assert not torch.allclose(expected["windows"], expected["window_logits"], atol=0.01)


def test_logits_of_windows_are_those_of_their_means():
    spec = NetworkSpec(head="windows", head_window=2, width=1, classes=5, dropout=0.0)
    network = Network(spec).eval()
    values = torch.randn(2, 32, 3, 3, 4, generator=torch.Generator().manual_seed(0))
    network.res5 = torch.nn.Identity()
    network.res4 = network.res3 = network.pool2 = network.res2 = network.res5
    network.conv1 = network.bn1 = network.pool1 = network.res5
    found = network.window_logits(values.clone())
    assert found.shape == (2, 2, 3, 5)
    for row in range(2):
        for column in range(3):
            window = values.relu()[..., row : row + 2, column : column + 2]
            expected = network.fc(window.mean((2, 3, 4)))
            torch.testing.assert_close(found[:, row, column], expected)
    torch.testing.assert_close(network(values.clone()), found.mean((1, 2)))
    with pytest.raises(ValueError, match=r"res5 must have at least 2 x 2 pixels.* received 3 x 1"):
        network(values[..., :1].clone())


def test_scores_of_half_precision_are_single_and_other_activations_are_refused(clips):
    network = Network(NetworkSpec(width=1, classes=5), dtype=torch.bfloat16).eval()
    scores = network.scores(clips.bfloat16())
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(1), torch.ones(2))
    with pytest.raises(ValueError, match=r"activation must be one of \('softmax', 'sigmoid'\)"):
        network.scores(clips, "relu")


def test_a_plain_checkpoint_starts_a_network_with_blocks(clips):
    plain = Network(NetworkSpec(width=2, classes=5)).eval()
    network = Network(plain.spec.with_blocks(5)).eval()
    report = network.import_weights(plain.export_weights(), partial=True)
    assert isinstance(report, Imported) and report.left_over == ()
    assert len(report.missing) == 5 * 8 and all(".non_local." in n for n in report.missing)
    assert torch.equal(network(clips), plain(clips))  # the blocks are still the identity
    with pytest.raises(ValueError, match=r"'res3.1.non_local.theta.weight' is missing"):
        network.import_weights(plain.export_weights())


def test_an_imagenet_checkpoint_starts_a_network_with_blocks():
    network = Network(NetworkSpec(width=2, classes=5).with_blocks(1))
    shapes = network_weight_shapes(NetworkSpec(width=2, classes=1000))
    state = {}
    for name, shape in shapes.items():
        name = name.replace("shortcut_bn", "downsample.1").replace("shortcut", "downsample.0")
        for stage in (2, 3, 4, 5):
            name = name.replace(f"res{stage}", f"layer{stage - 1}")
        state[name] = np.full(shape[:2] + shape[3:], 0.5, np.float32)
    before = network.export_weights()
    report = network.import_weights(inflate(network.spec, state).weights, partial=True)
    after = network.export_weights()
    kept = {name for name in after if np.array_equal(after[name], before[name])}
    assert kept == set(report.missing)
    assert (
        "fc.weight" in kept and "res4.4.non_local.g.weight" in kept and "conv1.weight" not in kept
    )
