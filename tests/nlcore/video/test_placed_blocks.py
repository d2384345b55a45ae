"""Placement reports: the paper's totals, counts by hand, and the table."""

import pytest

from nlcore import NonLocalSpec
from nlcore.block_cost import dot_product_costs, execution
from nlcore.spec import PAIRWISE
from nlcore.video import NetworkSpec, cost
from nlcore.video.placed_blocks import Placed, PlacementReport, placed, placement_report

#: C2 pools x before phi and g.
C2_BLOCK = {"subsample": (1, 2, 2), "subsample_at": "input", "bias": True}


def at(shape, itemsize=4, **fields):
    """A block with D = 3 at x (B, C, *positions)."""
    spec = NonLocalSpec(shape[1], 3, len(shape) - 2, **fields)
    return placed("block", spec, shape, itemsize, executes)


def executes(spec, positions):
    def cheapest(*sizes):
        costs = dot_product_costs(*sizes)
        return min(costs, key=costs.get)

    return execution(spec, positions, cheapest)


def test_table_2e():
    network = NetworkSpec(101, stem_padding=0, stride_at="1x1")
    report = placement_report(network)
    assert report.blocks == ()
    assert f"{report.multiply_adds / 1e9:.1f}B" == "34.2B"
    parts = ("conv1", "conv2", "conv3", "shortcut")
    norms = sum(2 * row.shape[0] for row in cost(network) if row.name.split(".")[-1] in parts)
    assert f"{(report.parameters - norms) / 1e6:.1f}M" == "43.2M"  # without batch normalization


@pytest.mark.parametrize(("count", "added"), [(5, 7_358_464), (10, 14_716_928)])
def test_added_parameters(count, added):
    base = NetworkSpec(block=C2_BLOCK)
    report, without = placement_report(base.with_blocks(count)), placement_report(base)
    assert len(report.blocks) == count
    assert sum(block.parameters for block in report.blocks) == added
    assert report.parameters - without.parameters == added


@pytest.mark.parametrize(("block", "billions"), [(C2_BLOCK, "8.13"), ({"subsample": None}, "20.2")])
def test_added_multiply_adds(block, billions):
    base = NetworkSpec(block=block)
    report, without = placement_report(base.with_blocks(5)), placement_report(base)
    added = sum(block.multiply_adds for block in report.blocks)
    assert f"{added / 1e9:.3g}" == billions
    assert report.multiply_adds - without.multiply_adds == added


def test_names_and_shapes():
    report = placement_report(NetworkSpec(101).with_blocks(5), (16, 256, 224))
    assert {block.name: block.shape for block in report.blocks} == {
        "res3.1.non_local": (1, 512, 2, 32, 28),
        "res3.3.non_local": (1, 512, 2, 32, 28),
        "res4.6.non_local": (1, 1024, 2, 16, 14),
        "res4.13.non_local": (1, 1024, 2, 16, 14),
        "res4.20.non_local": (1, 1024, 2, 16, 14),
    }


def test_a_batch_takes_as_much_for_each_item():
    one, three = at((1, 4, 20)), at((3, 4, 20))
    for name in ("multiply_adds", "executed", "kept", "pairs"):
        assert getattr(three, name) == 3 * getattr(one, name)
    assert three.parameters == one.parameters


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_what_grows_with_the_positions(pairwise):
    small, large = (at((1, 4, t, 6, 6), pairwise=pairwise) for t in (2, 4))
    assert large.kept == 2 * small.kept
    assert large.pairs == 4 * small.pairs
    if pairwise in ("dot_product", "concatenation"):
        assert large.executed <= 2 * small.executed
    assert large.multiply_adds > 2 * small.multiply_adds


def test_errors():
    network = NetworkSpec(block={"subsample": (1, 8, 8)}).with_blocks(1)
    message = r"res4.4.non_local: positions must be at least .*; received \(1, 4, 4\)"
    with pytest.raises(ValueError, match=message):
        placement_report(network, (8, 64, 64))


def test_without_a_backend_the_report_is_of_the_definition():
    network = NetworkSpec().with_blocks(5)
    plain, asked = placement_report(network), placement_report(network, executes=executes)
    assert plain.executed is None
    assert {(b.executed, b.kept) for b in plain.blocks} == {(None, None)}
    assert "executed" not in str(plain) and "bytes kept" not in str(plain)
    assert asked.multiply_adds == plain.multiply_adds
    assert asked.executed == asked.multiply_adds - sum(
        b.multiply_adds - b.executed for b in asked.blocks
    )
    assert "executed" in str(asked) and "bytes kept" in str(asked)


def test_table():
    first = Placed("a.non_local", (1, 8, 4, 4), 1_250, 2_345_678, 12_345, 1_000, 999)
    second = Placed("b.non_local", (), 250, 0, 0, 0, 0)
    report = PlacementReport((first, second), 10_000, 9_382_712)
    assert report.executed == 9_382_712 - 2_345_678 + 1_000
    assert str(report).splitlines() == [
        "block        x             parameters      %  multiply-adds      %  executed  bytes kept  "
        "bytes of pairs",
        "a.non_local  (1, 8, 4, 4)       1,250   12.5         2.35 M   25.0    1.00 k         999  "
        "        12.3 k",
        "b.non_local  not called           250    2.5              0    0.0         0           0  "
        "             0",
        "all blocks                      1,500   15.0         2.35 M   25.0    1.00 k         999  "
        "        12.3 k",
        "the model                      10,000  100.0         9.38 M  100.0    7.04 M",
    ]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(999, "999"), (1_000, "1.00 k"), (8_130_000_000, "8.13 G"), (629 * 10**6, "629 M")],
)
def test_numbers_in_the_table(number, shown):
    report = PlacementReport((Placed("a", (1,), 0, number, 0),), 0, number)
    assert f"  {shown}  100.0  " in str(report)
