"""2-D weights in networks for clips: a video that stands still gives what its frame gives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nlcore.checkpoints.imagenet import inflate
from nlcore.video import NetworkSpec, placement
from nlcore_torch.video.network import Network


def frame_weights(spec, seed):
    """Of a 2-D ResNet, with torchvision's names, where no statistic is trivial."""
    rng = np.random.default_rng(seed)
    plain = NetworkSpec(spec.depth, width=spec.width, classes=spec.classes)
    weights = {}
    for name, value in Network(plain).state_dict().items():
        shape = tuple(value.shape)
        name = name.replace("shortcut_bn", "downsample.1").replace("shortcut", "downsample.0")
        for n in (2, 3, 4, 5):
            name = name.replace(f"res{n}.", f"layer{n - 1}.")
        if "running_var" in name:
            weights[name] = rng.uniform(0.5, 2, shape)
        elif len(shape) == 5:
            weights[name] = rng.normal(size=shape[:2] + shape[3:]) / np.prod(shape[1:]) ** 0.5
        else:
            weights[name] = rng.normal(size=shape)
    return weights


def frame_logits(spec, weights, frame):
    """Of a 2-D ResNet with torchvision's names, written out in torch's functions."""
    w = {name: torch.from_numpy(value) for name, value in weights.items()}

    def conv(x, name, norm, stride=1):
        kernel = w[f"{name}.weight"]
        y = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        parts = (w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, *parts)

    x = F.relu(conv(frame, "conv1", "bn1", 2))
    x = F.max_pool2d(x, 3, 2, spec.stem_padding)
    for number, stage in enumerate(spec.stages):
        for index in range(len(stage)):
            name = f"layer{number + 1}.{index}"
            stride = 2 if index == 0 and number > 0 else 1
            first, second = (1, stride) if spec.stride_at == "3x3" else (stride, 1)
            y = F.relu(conv(x, f"{name}.conv1", f"{name}.bn1", first))
            y = F.relu(conv(y, f"{name}.conv2", f"{name}.bn2", second))
            y = conv(y, f"{name}.conv3", f"{name}.bn3")
            if index == 0:
                x = conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = F.relu(y + x)
    return x.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


def network_of(spec, weights):
    """The network with inflated weights, float64, in evaluation mode."""
    network = Network(spec, dtype=torch.float64).eval()
    mapped = inflate(spec, weights)
    assert mapped.left_over == ()
    assert all(".non_local." in name for name in mapped.missing)
    network.import_weights(network.export_weights() | mapped.weights)
    return network


@settings(max_examples=12, deadline=None)
@given(
    st.builds(
        NetworkSpec,
        depth=st.sampled_from([50, 101]),
        stem_padding=st.sampled_from([0, 1]),
        stride_at=st.sampled_from(["3x3", "1x1"]),
        temporal_strides=st.sampled_from([(2, 2, 2), (1, 1, 2), (1, 1, 1)]),
        non_local=st.sampled_from([(), placement(50, 1), placement(50, 5)]),
        width=st.just(2),
        classes=st.just(3),
    ),
    st.integers(1, 9),
    st.integers(0, 2**16),
)
def test_c2d_on_a_still_video_is_the_2d_network(spec, frames, seed):
    weights = frame_weights(spec, seed)
    frame = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 3, 65, 64)))
    clip = frame.unsqueeze(2).expand(-1, -1, frames, -1, -1)
    found = network_of(spec, weights)(clip)
    torch.testing.assert_close(found, frame_logits(spec, weights, frame), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("inflation", ["3x1x1", "3x3x3"])
def test_i3d_on_a_still_video_is_c2d_but_at_its_ends(inflation):
    strides = (1, 1, 2)
    i3d = NetworkSpec(50, inflation, width=2, classes=3, temporal_strides=strides)
    c2d = NetworkSpec(50, width=2, classes=3, temporal_strides=strides)
    weights = frame_weights(c2d, 0)
    frame = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 65, 64)))
    clip = frame.unsqueeze(2).expand(-1, -1, 40, -1, -1)
    features = []
    for spec in (i3d, c2d):
        network = network_of(spec, weights)
        network.res5.register_forward_hook(lambda _, __, out: features.append(out))
        network(clip)
    # before pool2 5 frames of each end see zeros: conv1's 2 and one for each of 3 kernels. That is
    # 3 of pool2's; then come 2 kernels in res3, 3 in res4, 1 in res5
    ends = 3 + 2 + 3 + 1
    assert features[0].shape[2] == 20
    inner = slice(ends, 20 - ends)
    difference = (features[0] - features[1]).abs().amax((0, 1, 3, 4))  # (T,)
    assert difference[inner].max() < 1e-12
    assert difference[ends - 1] > 2e-12 and difference[20 - ends] > 2e-12
    assert difference[0] > 1e-3 and difference[-1] > 1e-3


def test_what_does_not_go_across_is_named():
    spec = NetworkSpec(width=2, classes=3, non_local=("res4.4",))
    weights = frame_weights(spec, 0)
    weights["head.weight"] = np.zeros((3, 4))
    weights["fc.weight"], weights["fc.bias"] = np.zeros((1000, 64)), np.zeros(1000)
    mapped = inflate(spec, weights)
    assert mapped.left_over == ("fc.bias", "fc.weight", "head.weight")
    assert {"fc.weight", "fc.bias", "res4.4.non_local.g.weight"} < set(mapped.missing)
    weights["layer1.0.conv1.weight"] = np.zeros((2, 3, 1, 1))
    with pytest.raises(ValueError, match=r"'layer1.0.conv1.weight' must have .* \(2, 2, 1, 1\)"):
        inflate(spec, weights)
