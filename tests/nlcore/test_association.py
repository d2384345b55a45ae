"""Orders of the dot product's matrices: their costs, counted by hand."""

import numpy as np
import pytest

from nlcore.association import dot_product_costs, dot_product_order


def test_costs_by_hand():
    # N = 5, M = 2, D = 3, V = 4, C = 6
    costs = dot_product_costs(5, 2, 3, 4, 6)
    assert costs == {"pairs": 5 * 2 * 3 + 5 * 2 * 4, "keys": 2 * 12 + 5 * 12, "folded": 96}
    assert "folded" not in dot_product_costs(5, 2, 3, 4)


@pytest.mark.parametrize(
    ("sizes", "order"),
    [
        ((12544, 3136, 256, 256, 512), "folded"),  # res3 of 128 frames
        ((784, 196, 512, 512, 1024), "pairs"),  # res4, pooled
        ((784, 784, 512, 512, 1024), "keys"),  # and not
        ((12544, 3136, 256, 256), "keys"),
        ((1, 1, 1, 1, 1), "keys"),
    ],
)
def test_order(sizes, order):
    assert dot_product_order(*sizes) == order


def test_all_pairs_are_chosen_only_where_they_are_few():
    rng = np.random.default_rng(0)
    for n, m, d, v, c in rng.integers(1, 1000, (1000, 5)).tolist():
        if dot_product_order(n, m, d, v, c) == "pairs":
            assert n * m <= max(n, m) * max(d, v)  # theta, phi, g or y has as many entries
