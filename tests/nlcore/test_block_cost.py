"""Costs of one block, counted by hand."""

import pytest

from nlcore import NonLocalSpec
from nlcore.block_cost import block_cost, counts, dot_product_costs, execution
from nlcore.spec import NORMALIZATIONS, PAIRWISE


def given(positions, **fields):
    """A spec with C = 4, D = 3, and the positions."""
    return NonLocalSpec(4, 3, len(positions), **fields), positions


def cheapest(*sizes):
    costs = dot_product_costs(*sizes)
    return min(costs, key=costs.get)


def test_counts():
    spec = NonLocalSpec(4, subsample=(1, 2, 2))
    assert counts(spec, (2, 5, 6)) == (60, 12, 60, 60 * 12)
    spec = NonLocalSpec(4, subsample=(1, 2, 2), subsample_at="input", extent="space")
    assert counts(spec, (2, 5, 6)) == (60, 12, 12, 60 * 6)


def test_costs_of_the_dot_products_orders():
    # N = 5, M = 2, D = 3, V = 4, C = 6
    costs = dot_product_costs(5, 2, 3, 4, 6)
    assert costs == {"pairs": 5 * 2 * 3 + 5 * 2 * 4, "keys": 2 * 12 + 5 * 12, "merged": 96}
    assert "merged" not in dot_product_costs(5, 2, 3, 4)


@pytest.mark.parametrize("order", ["keys", "pairs", "merged"])
def test_the_order_is_the_backends(order):
    spec, positions = given((20,), pairwise="dot_product")
    found = execution(spec, positions, lambda *sizes: order)
    between = dot_product_costs(20, 20, 3, 3, 4)[order]
    assert found.multiply_adds == 4 * 20 * 12 + between
    kept = 20 * 3 * 4 + 20 * 4 * 2  # theta, phi, g, y; W_z y and z
    assert found.kept == kept + {"keys": 0, "pairs": 400, "merged": -60}[order]


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
    at = given((2, 4, 5), pairwise=pairwise, subsample=(1, 2, 2))  # 4 x 5 pools to 2 x 2
    assert block_cost(*at).multiply_adds == written
    assert execution(*at, cheapest).multiply_adds == executed


@pytest.mark.parametrize(
    ("pairwise", "written", "executed", "kept"),
    [
        # C = 4, D = 3, V = 5, N = 40, M = 8: theta and phi are 480 each, g and W_z are N C V = 800;
        # kept are phi 24, g 40, y 200, z and W_z y + b 160 each, theta 120, and the pooled x 32
        ("gaussian", 1600 + 320 * (4 + 5), 1600 + 320 * (4 + 5), 592),
        ("embedded_gaussian", 2560 + 320 * 8, 2560 + 320 * 8, 704),
        ("dot_product", 2560 + 320 * 8, 2560 + 12 * 15, 504),  # (M + C) D V, and no y
        ("concatenation", 2560 + 48 * 3 + 320 * 5, 2080 + 40 * 4 + 8 * 3 + 48 * 5, 704),
    ],
)
def test_a_width_of_g_of_its_own(pairwise, written, executed, kept):
    at = given((2, 4, 5), pairwise=pairwise, subsample=(1, 2, 2), value_channels=5)
    assert block_cost(*at).multiply_adds == written
    assert execution(*at, cheapest) == (executed, kept)
    total = execution(*at, lambda *sizes: "pairs")
    if pairwise == "dot_product":
        assert total == (written, 704 + 320)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_pooled_input_saves_products(pairwise):
    fields = {"pairwise": pairwise, "subsample": (2,), "normalization": "count"}
    at_input, at_embedding = (
        given((10,), subsample_at=where, **fields) for where in ("input", "embedding")
    )
    embeddings = 1 if pairwise == "gaussian" else 2  # g, and phi
    saved = embeddings * (10 - 5) * 4 * 3
    assert block_cost(*at_embedding).multiply_adds - block_cost(*at_input).multiply_adds == saved
    if pairwise == "concatenation":  # phi is then not computed at all
        saved = (10 - 5) * 4 * 3 + 10 * 4 * 3 + 5 * 3 - 5 * 4
    executed = [execution(*at, cheapest).multiply_adds for at in (at_embedding, at_input)]
    assert executed[0] - executed[1] == saved


def test_a_sum_has_a_normalizer():
    # the dot product divides y by it, so that nothing is folded: (M + N) D^2, not (M + C) D^2
    added = {"dot_product": 20 * 3 + (20 - 4) * 9, "concatenation": 20 + 20}
    for pairwise, products in added.items():
        by_sum, by_count = (
            execution(*given((20,), pairwise=pairwise, normalization=n), cheapest).multiply_adds
            for n in NORMALIZATIONS
        )
        assert by_sum - by_count == products


@pytest.mark.parametrize("pairwise", PAIRWISE)
@pytest.mark.parametrize("subsample_at", ["input", "embedding"])
def test_axes_of_one_cost_nothing(pairwise, subsample_at):
    fields = {"pairwise": pairwise, "subsample_at": subsample_at}
    line = given((20,), subsample=(2,), **fields)
    for same in (
        given((20, 1), subsample=(2, 1), **fields),
        given((20, 1, 1), subsample=(2, 1, 1), **fields),
    ):
        assert block_cost(*same) == block_cost(*line)
        assert execution(*same, cheapest) == execution(*line, cheapest)


@pytest.mark.parametrize(("fields", "pairs"), [({"extent": "space"}, 30), ({"extent": "time"}, 4)])
def test_pairs_that_are_seen(fields, pairs):
    assert block_cost(*given((4, 5, 6), **fields)).pairs == 120 * pairs
    assert block_cost(*given((4, 5, 6), window=2)).pairs == 120 * 60
    assert block_cost(*given((4, 5, 6))).pairs == 120 * 120
    assert block_cost(*given((4, 5, 6), subsample=(2, 2, 2))).pairs == 120 * (2 * 2 * 3)


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
        assert execution(*given((4, 10), **fields), cheapest).kept == numbers


def test_errors():
    spec = NonLocalSpec(4, ndim=2, subsample=(2, 2))
    with pytest.raises(ValueError, match=r"positions must have 2 axes; received \(4, 5, 6\)"):
        block_cost(spec, (4, 5, 6))
    with pytest.raises(ValueError, match=r"positions must be at least the pooling window"):
        execution(spec, (4, 1), cheapest)
