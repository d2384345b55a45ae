"""conformance/studies/networks.py: PyTorch and Keras agree on one file within the derived bound."""

import importlib.util
from dataclasses import replace
from pathlib import Path

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

PUBLISHED_HERE = (
    "ResNet-152, 1 block",
    "slowfast, I3D_NLN_8x8_R50",
    "caffe2, i3d_nonlocal_32x4",
    "pytorchvideo, slow_r50",
    "mmaction2, i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1-100e_kinetics400-rgb",
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
    assert found.bounds.max() < 1e-5 * np.abs(found.ours).max()


@pytest.mark.parametrize("name", PUBLISHED_HERE)
@pytest.mark.parametrize("scores", [False, True])
def test_published_networks_within_the_bound(networks, clips, name, scores):
    torch.manual_seed(0)
    spec = dict(networks.as_published())[name]
    found = networks.agreement(spec, clips, scores=scores)
    assert found.ratio <= 1
    assert found.bounds.max() < 1e-5 * np.abs(found.ours).max()


@pytest.mark.parametrize("name", CHOSEN)
def test_folded_normalizations_within_the_bound(networks, clips, name):
    torch.manual_seed(0)
    found = networks.folded_agreement(dict(networks.reduced())[name], clips)
    assert found.ratio <= 1
    assert found.bounds.max() < 1e-5 * np.abs(found.ours).max()


@pytest.mark.parametrize("kind", ["weight", "bias", "running_mean", "running_var"])
def test_a_fold_of_other_values_is_beyond_the_bound(networks, clips, kind):
    """One value of one normalization of the network that is folded differs by 2^-20."""
    torch.manual_seed(0)
    spec = dict(networks.reduced())["ResNet-50, C2D, 5 blocks"]
    fused = networks.Network.fused

    def other(network):
        values = getattr(network.res3[1].bn2, kind)
        with torch.no_grad():
            values[0] += 2.0**-20 * (1 + values[0].abs())
        return fused(network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks.Network, "fused", other)
        assert networks.folded_agreement(spec, clips).ratio > 1


#: Networks that are built by their origins' own code, a name of each kind.
OF_ORIGINS = (
    "C2D_NLN_8x8_R50",
    "I3D_NLN_8x8_R101",
    "SLOW_NLN_8x8_R50",
    "c2d_r50",
    "i3d_r50, 5 blocks",
    "slow_r50, 5 dot products, windows",
)


def of_origin(networks, name):
    """The origin and the spec of a network that its own code builds, where it is installed."""
    origin, spec = {n: (o, s) for n, o, s in networks.of_origins()}[name]
    pytest.importorskip(origin, exc_type=ImportError)
    return origin, spec


@pytest.mark.parametrize("name", OF_ORIGINS)
def test_a_converted_network_computes_its_origins_logits_and_scores(networks, name):
    origin, spec = of_origin(networks, name)
    torch.manual_seed(0)
    for scores, positions in ((False, (8, 32, 32)), (True, (8, 64, 96))):
        if not scores and spec.head == "windows" and origin == "pytorchvideo":
            continue  # its softmax is a part of the network
        clips = np.random.default_rng(0).normal(size=(2, 3, *positions))
        found = networks.origin_agreement(origin, spec, clips, scores=scores)
        assert found.ratio <= 1
        assert found.bounds.max() < 1e-5 * np.abs(found.ours).max()


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("I3D_NLN_8x8_R50", "head", "window_logits"),
        ("I3D_NLN_8x8_R50", "head", "mean"),
        ("I3D_NLN_8x8_R50", "pool_frames", (1, 3)),
        ("I3D_8x8_R50", "stem_padding", 0),
        ("I3D_8x8_R50", "stride_at", "1x1"),
        ("i3d_r50", "head", "windows"),
    ],
)
def test_another_field_is_beyond_the_bound(networks, monkeypatch, name, field, value):
    """The origin's network with the weights of a spec that differs in one field, not in shapes."""
    origin, spec = of_origin(networks, name)
    builds = {"slowfast": "slowfast_network", "pytorchvideo": "pytorchvideo_network"}[origin]
    build = getattr(networks, builds)
    monkeypatch.setattr(networks, builds, lambda _, *sizes: build(spec, *sizes))
    monkeypatch.setattr(networks, "convert_network", without_notes(networks.convert_network))
    torch.manual_seed(0)
    clips = np.random.default_rng(0).normal(size=(1, 3, 8, 64, 96))
    other = replace(spec, **{field: value})
    assert networks.origin_agreement(origin, other, clips, scores=True).ratio > 1
    assert networks.origin_agreement(origin, spec, clips, scores=True).ratio <= 1


def without_notes(convert):
    """The conversion, whose notes list the difference."""

    def converted(state, spec, origin):
        return replace(convert(state, spec, origin), notes=())

    return converted


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
    logits, bounds = networks.output_bounds(network, torch.from_numpy(clips), range(5))
    network.res3[1].bn2.eps *= 1 + 1e-4
    with torch.no_grad():
        wrong = network(torch.from_numpy(clips)).numpy()
    assert (np.abs(wrong - logits) / bounds).max() > 1
    assert found.ratio <= 1
