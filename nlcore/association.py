"""In which order the dot product's matrices are multiplied: the values are the same in each."""

from __future__ import annotations


def dot_product_costs(
    queries: int, keys: int, inner: int, values: int, channels: int | None = None
) -> dict[str, int]:
    """Multiply-adds between the embeddings and W_z of one item, by the order of the products.

    ==========  ====================  ============================================
    "pairs"     (theta phi^T) g       N M (D + V)
    "keys"      theta (phi^T g)       (M + N) D V
    "folded"    theta (phi^T g W_z^T) (M + C) D V, and theta's product is W_z's
    ==========  ====================  ============================================

    Without `channels`, C, nothing is folded into W_z. Where all pairs are the cheapest there are
    fewer of them than the embeddings have entries.
    """
    costs = {
        "keys": (keys + queries) * inner * values,
        "pairs": queries * keys * (inner + values),
    }
    if channels is not None:
        costs["folded"] = (keys + channels) * inner * values
    return costs


def dot_product_order(
    queries: int, keys: int, inner: int, values: int, channels: int | None = None
) -> str:
    """The order with the fewest multiply-adds, see `dot_product_costs`."""
    costs = dot_product_costs(queries, keys, inner, values, channels)
    return min(costs, key=lambda order: costs[order])
