"""Which order of the dot product's matrices is chosen, and in which dtype."""

import numpy as np
import pytest
import torch

from nlcore_torch.operation.dot_product import dot_product, dot_product_order


@pytest.mark.parametrize(
    ("sizes", "order"),
    [
        ((12544, 3136, 256, 256, 512), "merged"),  # res3 of 128 frames
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


@pytest.mark.parametrize("by_sum", [False, True])
def test_phi_times_g_may_be_larger_than_float16(by_sum):
    theta, phi, g = (
        torch.full((1, n, 1), value, dtype=torch.float16, requires_grad=True)
        for n, value in ((5, 2.0**-10), (3, 2.0**10), (3, 2.0**10))
    )
    y = dot_product(theta, phi, g, 1.0, by_sum)  # f = 1
    y.sum().backward()
    assert y.dtype == torch.float16 and (y == 2.0**10).all()
    assert (g.grad == torch.tensor(5 / 3, dtype=torch.float16)).all()
    assert (phi.grad == (0 if by_sum else torch.tensor(5 / 3, dtype=torch.float16))).all()
