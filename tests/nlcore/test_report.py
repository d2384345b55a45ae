"""Placement reports: the paper's totals, counts by hand, and the table."""

from dataclasses import replace

import pytest

from nlcore import NonLocalSpec
from nlcore.spec import NORMALIZATIONS, PAIRWISE
from nlcore.video import NetworkSpec, cost
from nlcore.video.cost import non_local_cost
from nlcore.video.report import Placed, PlacementReport, placed, placement_report

#: C2 pools x before phi and g.
C2_BLOCK = {"subsample": (1, 2, 2), "subsample_at": "input", "bias": True}


def at(shape, itemsize=4, **fields):
    """A block with D = 3 at x (B, C, *positions)."""
    spec = NonLocalSpec(shape[1], 3, len(shape) - 2, **fields)
    return placed("block", spec, shape, itemsize)


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


@pytest.mark.parametrize(("block", "billions"), [(C2_BLOCK, "8.13"), ({}, "20.2")])
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


@pytest.mark.parametrize(
    ("pairwise", "written", "executed"),
    [
        # C = 4, D = 3, N = 40, M = 8: theta, phi before pooling, g and W_z are N C D = 480 each
        ("gaussian", 2 * 480 + 320 * (4 + 3), 2 * 480 + 320 * (4 + 3)),
        ("embedded_gaussian", 4 * 480 + 320 * 6, 4 * 480 + 320 * 6),
        # (M + C) D^2, less than (M + N) D^2 = 432 and N M 2 D = 1920
        ("dot_product", 4 * 480 + 320 * 6, 4 * 480 + 12 * 9),
        ("concatenation", 4 * 480 + 48 * 3 + 320 * 3, 3 * 480 + 40 * 4 + 8 * 3 + 48 * 3),
    ],
)
def test_multiply_adds_by_hand(pairwise, written, executed):
    block = at((1, 4, 2, 4, 5), pairwise=pairwise, subsample=(1, 2, 2))  # 4 x 5 pools to 2 x 2
    assert (block.multiply_adds, block.executed) == (written, executed)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_pooled_input_saves_products(pairwise):
    fields = {"pairwise": pairwise, "subsample": (2,), "normalization": "count"}
    at_input, at_embedding = (
        at((1, 4, 10), subsample_at=where, **fields) for where in ("input", "embedding")
    )
    embeddings = 1 if pairwise == "gaussian" else 2  # g, and phi
    saved = embeddings * (10 - 5) * 4 * 3
    assert at_embedding.multiply_adds - at_input.multiply_adds == saved
    if pairwise == "concatenation":  # phi is then not computed at all
        saved = (10 - 5) * 4 * 3 + 10 * 4 * 3 + 5 * 3 - 5 * 4
    assert at_embedding.executed - at_input.executed == saved


def test_a_sum_has_a_normalizer():
    # the dot product divides y by it, so that nothing is folded: (M + N) D^2, not (M + C) D^2
    added = {"dot_product": 20 * 3 + (20 - 4) * 9, "concatenation": 20 + 20}
    for pairwise, products in added.items():
        by_sum, by_count = (
            at((1, 4, 20), pairwise=pairwise, normalization=n).executed for n in NORMALIZATIONS
        )
        assert by_sum - by_count == products


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("subsample_at", ["input", "embedding"])
def test_axes_of_one_cost_nothing(pairwise, subsample_at):
    fields = {"pairwise": pairwise, "subsample_at": subsample_at}
    line = at((1, 4, 20), subsample=(2,), **fields)
    square = at((1, 4, 20, 1), subsample=(2, 1), **fields)
    cube = at((1, 4, 20, 1, 1), subsample=(2, 1, 1), **fields)
    assert replace(square, shape=line.shape) == line
    assert replace(cube, shape=line.shape) == line


@pytest.mark.parametrize(("fields", "pairs"), [({"extent": "space"}, 30), ({"extent": "time"}, 4)])
def test_pairs_that_are_seen(fields, pairs):
    assert at((1, 4, 4, 5, 6), **fields).pairs == 4 * 120 * pairs
    assert at((1, 4, 4, 5, 6), window=2).pairs == 4 * 120 * 60
    assert at((1, 4, 4, 5, 6)).pairs == 4 * 120 * 120
    assert at((1, 4, 4, 5, 6), subsample=(2, 2, 2)).pairs == 4 * 120 * (2 * 2 * 3)


def test_kept_by_hand():
    # theta and y are N D = 120, phi and g M D, z and W_z y + b N C = 160; N = 40, M = 10 or 40
    cases = {
        120 * 4 + 160 * 2: {},
        120 * 4 + 160: {"batch_norm": False},
        120 * 2 + 160 * 2: {"pairwise": "gaussian"},
        120 * 2 + 30 * 2 + 160 * 2: {"subsample": (2, 2)},
        120 * 2 + 30 * 2 + 160 * 2 + 40: {"subsample": (2, 2), "subsample_at": "input"},
        120 + 30 + 160 * 2 + 40: {"subsample": (2, 2), "pairwise": "gaussian"},
    }
    for numbers, fields in cases.items():
        assert at((1, 4, 4, 10), **fields).kept == 4 * numbers
    assert at((3, 4, 4, 10), itemsize=2).kept == 3 * 2 * (120 * 4 + 160 * 2)


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
    spec = NonLocalSpec(4, ndim=2, subsample=(2, 2))
    with pytest.raises(ValueError, match=r"here: positions must be 2; received \(4, 5, 6\)"):
        non_local_cost("here", spec, (4, 5, 6))
    with pytest.raises(ValueError, match=r"here: positions \(4, 1\) are smaller than subsample"):
        placed("here", spec, (1, 4, 4, 1), 4)


def test_table():
    first = Placed("a.non_local", (1, 8, 4, 4), 1_250, 2_345_678, 1_000, 999, 12_345)
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
    report = PlacementReport((Placed("a", (1,), 0, number, 0, 0, 0),), 0, number)
    assert f"  {shown}  100.0  " in str(report)
