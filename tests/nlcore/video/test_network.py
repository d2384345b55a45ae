"""The networks as data: the shapes of Table 1, the costs of Table 2e, and the errors."""

import pytest

from nlcore.block_cost import block_cost
from nlcore.video import (
    NetworkSpec,
    check_network_weights,
    cost,
    network_weight_shapes,
    placement,
)

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
