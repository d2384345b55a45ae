"""The bound of the weights after an iteration: of gradients, clipping and the update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlcore.video import Recipe
from step_bounds.derivatives import Differentiated, loss_and_errors, trained_parameters
from step_bounds.problems import Problem

#: Roundings of a weight's update: decay, momentum, Nesterov, rate, each a product and a sum.
UPDATE_ROUNDINGS = 10


def step_bounds(
    given: Problem, directions: Sequence[Mapping[str, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of |v . w' - the exact one| of one trainer, and |v . (w' - w)| in PyTorch.

    Both have one value for each direction, which has arrays by names of trained weights.
    """
    import torch
    from networks import FLOAT64

    from nlcore_torch.video.network import Network

    network = Network(given.recipe.network, dtype=torch.float64).eval()
    network.import_weights(given.state.weights)
    total, sizes = _summed_gradients(network, given)
    ways = [_before_clipping(given.recipe, total, way) for way in directions]
    errors = np.zeros(len(ways))
    for batch in given.batches:
        tensors = [{n: torch.from_numpy(v) for n, v in way.items()} for way in ways]
        errors += Differentiated(given, batch, network).errors(tensors)
    recipe, rate = given.recipe, given.rate
    factor = _clipping_factor(recipe, total)
    errors *= rate * (1.0 + recipe.momentum * recipe.nesterov)
    moved = np.zeros(len(ways))
    norm_error = FLOAT64.gamma(sum(g.size for g in total.values())) if factor < 1.0 else 0.0
    for k, way in enumerate(directions):
        for name, signs in way.items():
            weight = given.state.weights[name]
            buffer = np.abs(given.state.momentum.get(name, np.zeros_like(weight)))
            slope = factor * sizes[name]
            size = slope + recipe.decay(name) * np.abs(weight) + recipe.momentum * buffer
            size = np.abs(weight) + rate * (1.0 + recipe.momentum) * size
            error = UPDATE_ROUNDINGS * FLOAT64.unit * size
            error = error + rate * (1.0 + recipe.momentum) * norm_error * slope
            errors[k] += (np.abs(signs) * error).sum()
            moved[k] += (np.abs(signs) * rate * factor * np.abs(total[name])).sum()
    return errors, moved


def _summed_gradients(
    network: Any, given: Problem
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The sums over the batches of the gradients, and of their absolute values, by name."""
    import torch

    parameters = trained_parameters(given, network)
    total = {name: np.zeros(tuple(p.shape)) for name, p in parameters.items()}
    sizes = {name: np.zeros(tuple(p.shape)) for name, p in parameters.items()}
    for batch in given.batches:
        logits = network(torch.from_numpy(batch.pixels))
        loss, _ = loss_and_errors(given.recipe, logits, torch.from_numpy(batch.targets))
        found = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, found, strict=True):
            total[name] += gradient.numpy()
            sizes[name] += np.abs(gradient.numpy())
    return total, sizes


def _norm(arrays: Mapping[str, np.ndarray]) -> float:
    return float(np.sqrt(sum(np.square(array).sum() for array in arrays.values())))


def _clipping_factor(recipe: Recipe, total: Mapping[str, np.ndarray]) -> float:
    """By what the gradients are multiplied."""
    largest = recipe.clip_norm
    return 1.0 if largest is None else min(1.0, largest / _norm(total))


def _before_clipping(
    recipe: Recipe, total: Mapping[str, np.ndarray], way: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The direction along which an error of the gradient moves v . (the clipped gradient).

    With g' = c g / |g|, it is c / |g| (v - g (g . v) / |g|^2).
    """
    factor = _clipping_factor(recipe, total)
    if factor == 1.0:
        return dict(way)
    along = sum((signs * total[name]).sum() for name, signs in way.items()) / _norm(total) ** 2
    return {n: factor * (way.get(n, np.zeros_like(g)) - along * g) for n, g in total.items()}
