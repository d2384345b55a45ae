"""Batch normalization in training: modes by recipe, and statistics computed anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class NormRecipe(Protocol):
    """What a recipe states of batch normalization, see `nlcore.video.Recipe`."""

    @property
    def batch_norm(self) -> str: ...
    @property
    def bn_momentum(self) -> float: ...
    def trained(self, name: str) -> bool: ...


class Norms:
    """The batch normalizations of a network.

    Attributes
    ----------
    trained : dict of str to module
        Those that compute with the statistics of the batch in training, by name.
    """

    def __init__(self, network: nn.Module, recipe: NormRecipe) -> None:
        self._network = network
        self._every = {n: m for n, m in network.named_modules() if isinstance(m, _BatchNorm)}
        for module in self._every.values():
            module.momentum = recipe.bn_momentum
        self.trained = {
            name: module
            for name, module in self._every.items()
            if recipe.batch_norm == "trained" and recipe.trained(f"{name}.weight")
        }
        self._running: bool | None = None  # as of the last `train`, or None in evaluation

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all batch normalizations."""
        return tuple(self._every)

    def train(self, running: bool) -> None:
        """Set the network to training. `running`: whether the running statistics change."""
        if running is self._running:
            return  # going through all modules takes longer than a small layer
        self._running = running
        self._network.train()
        for name, module in self._every.items():
            module.train(name in self.trained)
            module.track_running_stats = running or name not in self.trained

    def evaluate(self) -> None:
        """Set the network to evaluation: running statistics are used everywhere."""
        self._running = None
        self._network.eval()
        for module in self._every.values():
            module.track_running_stats = True

    @property
    def running(self) -> list[Tensor]:
        """The running statistics of the trained ones: mean and variance of each."""
        found = ((m.running_mean, m.running_var) for m in self.trained.values())
        return [tensor for pair in found for tensor in pair if tensor is not None]

    @contextmanager
    def moments(self) -> Iterator[list[Tensor]]:
        """While it is entered, forward passes in training add to sums of moments, float64.

        Yields the sums for each trained one: of the means of its batches, and of their means of
        squares.
        """
        sums = [torch.zeros_like(tensor, dtype=torch.float64) for tensor in self.running]
        hooks = [
            module.register_forward_pre_hook(_adding(*sums[2 * number : 2 * number + 2]))
            for number, module in enumerate(self.trained.values())
        ]
        try:
            yield sums
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def set_running(self, sums: list[Tensor], batches: float) -> None:
        """Set the running statistics to those of sums of moments over a number of batches."""
        for number in range(0, len(sums), 2):
            mean, square = (total / batches for total in sums[number : number + 2])
            self.running[number].copy_(mean)
            self.running[number + 1].copy_((square - mean.square()).clamp(min=0.0))


def _adding(means: Tensor, squares: Tensor):
    """A hook that adds the moments of an input (B, C, *positions)."""

    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        x = arguments[0].detach().float()
        variance, mean = torch.var_mean(x, (0, *range(2, x.ndim)), correction=0)
        mean = mean.double()
        means.add_(mean)
        squares.add_(variance.double() + mean.square())

    return hook
