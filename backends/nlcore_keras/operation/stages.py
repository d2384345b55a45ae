"""From x to W_z y + b, which the block normalizes and adds to x."""

from __future__ import annotations

from typing import Any

from keras import ops

from nlcore import NonLocalSpec
from nlcore_keras.operation.concatenation import concatenation, concatenation_weights
from nlcore_keras.operation.dot_product import dot_product, dot_product_weights
from nlcore_keras.operation.embeddings import embeddings
from nlcore_keras.operation.extent import unfold
from nlcore_keras.operation.gaussian import gaussian, gaussian_weights
from nlcore_keras.operation.linear import Weights, linear, stacked


def response(spec: NonLocalSpec, weights: Weights, x: Any) -> Any:
    """W_z y + b for checked arguments: x (B, *positions, C) -> (B, *positions, C).

    `weights` are in the dtype of x. Sizes other than C may be unknown.
    """
    y = attend(spec, *embeddings(spec, weights, x))  # (B', N', V)
    return unfold(spec, linear(y, stacked(weights, "out")), ops.shape(x))


def attend(spec: NonLocalSpec, theta: Any, phi: Any, g: Any) -> Any:
    """y (B', N', V) from `embeddings`."""
    by_sum = spec.normalization == "sum"
    if spec.pairwise == "concatenation":
        return concatenation(theta, phi, g, by_sum)
    if spec.pairwise == "dot_product":
        return dot_product(theta, phi, g, spec.scale, by_sum)
    return gaussian(theta, phi, g, spec.scale, by_sum)


def pair_weights(spec: NonLocalSpec, theta: Any, phi: Any) -> Any:
    """w_ij = f(x_i, x_j) / C(x) of a few queries i, (B', R, M'), from `embeddings`.

    y_i = sum_j w_ij g_j, so w_ij = 0 where C(x) = 0. w has the dtype of sums.
    """
    by_sum = spec.normalization == "sum"
    if spec.pairwise == "concatenation":
        return concatenation_weights(theta, phi, by_sum)
    if spec.pairwise == "dot_product":
        return dot_product_weights(theta, phi, spec.scale, by_sum)
    return gaussian_weights(theta, phi, spec.scale, by_sum)
