"""The networks as data: the shapes of Table 1, the costs of Table 2e, and the errors."""

import numpy as np
import pytest

from nlcore import dialect
from nlcore.block_cost import block_cost
from nlcore.video import (
    Imported,
    NetworkSpec,
    check_network_weights,
    cost,
    network_weight_shapes,
    placement,
)
from nlcore.video.network_layers import SLOW_ONLY
from nlcore.video.network_weights import selected_weights

#: Table 2e's multiply-adds are those of the first ResNets' strides and C2's 55 x 55 after pool1.
TABLE_2E = {"stem_padding": 0, "stride_at": "1x1", "block": {"subsample": (1, 2, 2)}}
#: C2 pools x before phi and g.
C2_BLOCK = {"subsample": (1, 2, 2), "subsample_at": "input", "bias": True}


def total(network, field="multiply_adds", positions=(32, 224, 224)):
    return sum(getattr(row, field) for row in cost(network, positions))


def convolutions_and_fc(network):
    """Parameters without batch normalization, as Table 2e counts them."""
    parts = ("conv1", "conv2", "conv3", "shortcut")
    norms = sum(2 * r.shape[0] for r in cost(network) if r.name.split(".")[-1] in parts)
    return total(network, "parameters") - norms


@pytest.mark.parametrize("depth", [50, 101])
def test_table_1(depth):
    shapes = {row.name: row.shape for row in cost(NetworkSpec(depth))}
    last = {n: max(k for k in shapes if k.startswith(f"res{n}")) for n in (2, 3, 4, 5)}
    assert shapes["conv1"] == (64, 16, 112, 112)
    assert shapes["pool1"] == (64, 8, 56, 56)
    assert shapes[last[2].rpartition(".")[0] + ".conv3"] == (256, 8, 56, 56)
    assert shapes["pool2"] == (256, 4, 56, 56)
    assert shapes[last[3].rpartition(".")[0] + ".conv3"] == (512, 4, 28, 28)
    assert shapes[last[4].rpartition(".")[0] + ".conv3"] == (1024, 4, 14, 14)
    assert shapes[last[5].rpartition(".")[0] + ".conv3"] == (2048, 4, 7, 7)
    assert shapes["fc"] == (400, 1, 1, 1)


def test_c2_stem():
    shapes = {row.name: row.shape for row in cost(NetworkSpec(stem_padding=0))}
    assert shapes["pool1"] == (64, 8, 55, 55)
    shapes = {r.name: r.shape for r in cost(NetworkSpec(stem_padding=0), (32, 256, 256))}
    assert shapes["pool1"] == (64, 8, 63, 63)


def test_table_2e():
    base = NetworkSpec(101, **TABLE_2E)
    assert f"{convolutions_and_fc(base) / 1e6:.1f}M" == "43.2M"
    assert f"{total(base) / 1e9:.1f}B" == "34.2B"
    parameters, multiply_adds = total(base, "parameters"), total(base)
    ratios = {}
    for name, network in {
        "3x3x3": NetworkSpec(101, "3x3x3"),
        "3x1x1": NetworkSpec(101, "3x1x1"),
        "blocks": NetworkSpec(101, block=C2_BLOCK).with_blocks(5),
    }.items():
        of = NetworkSpec(101)  # as C2 has it, whose I3D strides in the second convolution
        found = total(network, "parameters") / parameters, total(network) / total(of)
        ratios[name] = tuple(f"{ratio:.1f}" for ratio in found)
    assert ratios == {"3x3x3": ("1.5", "1.8"), "3x1x1": ("1.2", "1.5"), "blocks": ("1.2", "1.2")}
    five = NetworkSpec(50, **{**TABLE_2E, "block": C2_BLOCK}).with_blocks(5)
    assert 0.7 <= total(five, "parameters") / parameters < 0.75  # Sec. 5.1: about 70% and 80%
    assert 0.75 <= total(five) / multiply_adds < 0.85


@pytest.mark.parametrize(("count", "added"), [(5, 7_358_464), (10, 14_716_928)])
def test_added_parameters(count, added):
    base = NetworkSpec(block=C2_BLOCK)
    found = total(base.with_blocks(count), "parameters") - total(base, "parameters")
    assert found == added


@pytest.mark.parametrize(("block", "billions"), [(C2_BLOCK, "8.13"), ({"subsample": None}, "20.2")])
def test_added_multiply_adds(block, billions):
    base = NetworkSpec(block=block)
    assert f"{(total(base.with_blocks(5)) - total(base)) / 1e9:.3g}" == billions


@pytest.mark.parametrize("extent", ["all", "space", "time"])
def test_cost_by_extent(extent):
    spec = NetworkSpec(block={"extent": extent, "subsample": None}, width=2).with_blocks(1)
    (block,) = spec.blocks.values()
    c, d, n = block.channels, block.inner_channels, 4 * 5 * 6
    seen = {"all": n, "space": 30, "time": 4}[extent]
    assert block_cost(block, (4, 5, 6)).multiply_adds == 4 * n * c * d + 2 * n * seen * d


def test_weights_have_the_costs_parameters():
    network = NetworkSpec(50, "3x1x1", block=C2_BLOCK).with_blocks(5)
    shapes = network_weight_shapes(network)
    count = 0
    for name, shape in shapes.items():
        size = 1
        for n in shape:
            size *= n
        count += 0 if "running" in name else size
    assert count == total(network, "parameters")
    assert shapes["conv1.weight"] == (64, 3, 5, 7, 7)
    assert shapes["res3.1.non_local.theta.bias"] == (256,)
    assert shapes["res3.0.shortcut.weight"] == (512, 256, 1, 1, 1)
    assert shapes["res2.0.conv1.weight"] == (64, 64, 3, 1, 1)
    assert shapes["res5.0.conv1.weight"] == (512, 1024, 1, 1, 1)
    assert shapes["fc.weight"] == (400, 2048)


def test_inflated_blocks():
    network = NetworkSpec(101, "3x3x3")
    names = [b.name for stage in network.stages for b in stage if b.convs[1].kernel == (3, 3, 3)]
    fourth = [f"res4.{k}" for k in range(0, 23, 2)]
    assert names == ["res2.0", "res2.1", "res2.2", "res3.0", "res3.2", *fourth, "res5.1"]


def test_strides():
    for at, index in (("1x1", 0), ("3x3", 1)):
        residual = NetworkSpec(stride_at=at).stages[1][0]
        assert [k for k, conv in enumerate(residual.convs) if conv.stride == (1, 2, 2)] == [index]
        assert residual.shortcut.stride == (1, 2, 2)


def kernels(network):
    """Temporal kernels of conv1 and of the first convolution of every residual block."""
    blocks = [[b.convs[0].kernel[0] for b in stage] for stage in network.stages]
    return [network.stem[0].kernel[0], *blocks]


def test_patterns_are_repeated_over_a_stage():
    i3d = NetworkSpec(50, "3x1x1")
    assert kernels(i3d) == [5, [3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]
    listed = {"inflated": [[1, 1, 1], [1, 0, 1, 0], [1, 0, 1, 0, 1, 0], [0, 1, 0]]}
    same = NetworkSpec(50, "3x1x1", **listed)
    assert kernels(same) == kernels(i3d) and hash(same) != hash(i3d)
    slow = NetworkSpec(50, "3x1x1", inflated=SLOW_ONLY, conv1_frames=1)
    assert kernels(slow) == [1, [1] * 3, [1] * 4, [3] * 6, [3] * 3]
    assert kernels(NetworkSpec(inflated=SLOW_ONLY, conv1_frames=3))[0] == 3
    assert {n for stage in kernels(NetworkSpec(inflated=SLOW_ONLY))[1:] for n in stage} == {1}


def test_resnet_152():
    network = NetworkSpec(152)
    assert [len(stage) for stage in network.stages] == [3, 8, 36, 3]
    assert f"{convolutions_and_fc(network) / 1e6:.1f}M" == "58.8M"  # 60.2M of 2-D with 1000 classes
    assert placement(152, 1) == ("res4.34",)
    with pytest.raises(ValueError, match=r"count must be one of \(0, 1\) for ResNet-152"):
        placement(152, 5)


@pytest.mark.parametrize(
    ("fields", "pool1", "pool2"),
    [
        ({}, ((3, 3, 3), (2, 2, 2), (1, 1, 1)), ((3, 1, 1), (2, 1, 1), (1, 0, 0))),
        (
            {"pool_frames": (2, 2)},
            ((2, 3, 3), (2, 2, 2), (0, 1, 1)),
            ((2, 1, 1), (2, 1, 1), (0,) * 3),
        ),
        (
            {"pool_frames": (1, 2)},
            ((1, 3, 3), (2, 2, 2), (0, 1, 1)),
            ((2, 1, 1), (2, 1, 1), (0,) * 3),
        ),
        (
            {"temporal_strides": (1, 1, 1), "stem_padding": 0},
            ((1, 3, 3), (1, 2, 2), (0, 0, 0)),
            ((1, 1, 1), (1, 1, 1), (0, 0, 0)),
        ),
    ],
)
def test_pools(fields, pool1, pool2):
    network = NetworkSpec(**fields)
    for pool, expected in ((network.stem[1], pool1), (network.pool2, pool2)):
        assert (pool.kernel, pool.stride, pool.padding) == expected


def test_blocks_by_stage_and_dialect():
    network = NetworkSpec(
        non_local=("res3.1", "res4.3"),
        dialect="caffe2",
        block={"batch_norm": False, "res3": {"window": 4, "subsample": [1, 2, 2]}},
        width=8,
    )
    third, fourth = network.blocks.values()
    changes = {"batch_norm": False, "subsample": (1, 2, 2)}
    assert third == dialect("caffe2", 64, **changes, window=4)
    assert fourth == dialect("caffe2", 128, **changes)
    assert (third.scale, fourth.scale) == (32**-0.5, 64**-0.5)
    assert NetworkSpec(non_local=("res3.1",)).blocks["res3.1.non_local"] == dialect("paper", 512)


@pytest.mark.parametrize("head", ["windows", "window_logits"])
def test_windows(head):
    network = NetworkSpec(head=head)
    assert network.windows(7, 7) == (1, 1, 1)
    assert network.windows(8, 10) == (1, 2, 4)
    assert NetworkSpec().windows(1, 2) == (1, 1, 1)
    with pytest.raises(ValueError, match=r"res5 must have at least 7 x 7 .* received 7 x 6"):
        network.windows(7, 6)
    fc = cost(network, (32, 256, 320))[-1]
    assert fc.shape == (400, 1, 2, 4)
    assert fc.multiply_adds == 8 * 2048 * 400
    assert fc.parameters == 2049 * 400
    with pytest.raises(ValueError, match="res5 must have at least 7 x 7 pixels"):
        cost(network, (32, 192, 224))


def test_selected_weights_and_their_report():
    network = NetworkSpec(width=1, classes=3).with_blocks(1)
    weights = {n: np.zeros(s) for n, s in network_weight_shapes(network).items()}
    chosen, report = selected_weights(network, weights, partial=False)
    assert chosen.keys() == weights.keys() and report == Imported(len(weights))
    assert str(report).splitlines()[1:] == [
        "missing, not changed: none",
        "left over, not used: none",
    ]
    part = {n: w for n, w in weights.items() if ".non_local." not in n}
    part |= {"fc.weight": np.zeros((7, 32)), "fc.bias": np.zeros(7), "head.a": np.zeros(1)}
    with pytest.raises(ValueError, match=r"'res4.4.non_local.theta.weight' is missing"):
        selected_weights(network, part, partial=False)
    chosen, report = selected_weights(network, part, partial=True)
    assert set(part) - set(chosen) == {"fc.weight", "fc.bias", "head.a"}
    assert report.left_over == ("fc.weight", "fc.bias", "head.a")
    assert report.missing[-2:] == ("fc.weight", "fc.bias")
    assert report.count == len(chosen) == len(weights) - len(report.missing)
    assert str(report).splitlines() == [
        f"{len(chosen)} of {len(weights)} weights imported",
        "missing, not changed: res4.4.non_local (8), fc (2)",
        "left over, not used: fc (2), head (1)",
    ]


def test_a_partial_import_of_nothing_or_of_wrong_weights():
    network = NetworkSpec(width=1, classes=3)
    with pytest.raises(ValueError, match=r"at least one of the network's names, .*\['layer1.a'\]"):
        selected_weights(network, {"layer1.a": np.zeros(1)}, partial=True)
    with pytest.raises(
        ValueError, match=r"'bn1.bias' must have shape \(1,\); received shape \(2,\)"
    ):
        selected_weights(network, {"bn1.bias": np.zeros(2)}, partial=True)
    with pytest.raises(TypeError, match=r"'bn1.bias'"):
        selected_weights(network, {"bn1.bias": np.zeros(1, int)}, partial=True)


def test_placement():
    assert placement(50, 0) == ()
    assert placement(50, 1) == ("res4.4",)
    assert placement(101, 1) == ("res4.21",)
    assert placement(101, 5) == ("res3.1", "res3.3", "res4.6", "res4.13", "res4.20")
    assert len(placement(50, 10)) == 10
    with pytest.raises(ValueError, match=r"count must be one of \(0, 1, 5\) for ResNet-101"):
        placement(101, 10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 18}, "depth must be one of"),
        ({"inflation": "2x1x1"}, "inflation must be one of"),
        ({"stem_padding": 2}, "stem_padding must be one of"),
        ({"non_local": ("res4.6",)}, "non_local must name residual blocks from res2.0"),
        ({"non_local": ("res4.4", "res4.4")}, "each once"),
        ({"dropout": 1.0}, "dropout must be in"),
        ({"temporal_strides": (1, 2)}, "one int for each of conv1, pool1, pool2"),
        ({"block": {"pairwise": "cosine"}}, "pairwise must be one of"),
        ({"block": {"res3": {"eps": 0.0}}}, "eps must be > 0"),
        ({"dialect": "timm"}, r"ndim must be one of \(2,\) for dialect 'timm'; received 3"),
        ({"dialect": "own"}, "dialect must be one of"),
        ({"inflated": ((1,), (1, 0), (1,))}, "inflated must be one tuple of 0 and 1 for each of"),
        ({"inflated": ((1,), (1, 0), (1,), ())}, "inflated must be one tuple of 0 and 1"),
        ({"inflated": ((1,), (3, 1), (1,), (1,))}, "inflated must be one tuple of 0 and 1"),
        ({"conv1_frames": 4}, "conv1_frames must be odd; received 4"),
        ({"pool_frames": (3, 3, 3)}, "pool_frames must be one int for each of pool1, pool2"),
        ({"head": "max"}, r"head must be one of \('mean', 'windows', 'window_logits'\)"),
        ({"head_window": 0}, "head_window must be an int > 0"),
    ],
)
def test_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        NetworkSpec(**fields)


def test_sizes_that_do_not_fit_name_the_layer():
    with pytest.raises(ValueError, match=r"res4.4.non_local: positions must .* \(4, 1, 1\)"):
        cost(NetworkSpec().with_blocks(1), (32, 16, 16))


def test_missing_weight():
    network = NetworkSpec(width=1)
    with pytest.raises(ValueError, match=r"'conv1.weight' is missing: expected shape \(1, 3, 1, 7"):
        check_network_weights(network, {})
