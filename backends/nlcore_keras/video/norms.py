"""Batch normalization in training: modes by recipe, and running statistics from moments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keras import ops

from nlcore.video import Recipe
from nlcore_keras.batch_norm import Moments, Observed
from nlcore_keras.video.compiling import Tensors
from nlcore_keras.video.network import Network

#: Of the trained normalizations, by the name before ".weight" of the scale.
MomentsByName = dict[str, Moments]


class RecipeNorms:
    """The batch normalizations of a network.

    Attributes
    ----------
    trained : list of str
        Names of those that compute with the statistics of the batch in training.
    """

    def __init__(self, network: Network, recipe: Recipe) -> None:
        self._momentum = recipe.bn_momentum
        every = network.named_norms()
        self._names = {id(layer): name for name, layer in every.items()}
        self.trained = [
            name
            for name in every
            if recipe.batch_norm == "trained" and recipe.trained(f"{name}.weight")
        ]
        for name, layer in every.items():
            # Keras' word for it. Gradients do not depend on it here, see `KerasLearner`.
            layer.trainable = name in self.trained

    def named(self, seen: Observed) -> MomentsByName:
        """The moments that layers have appended in one forward pass."""
        return {self._names[id(layer)]: batch for layer, batch in seen}

    def running(self, weights: Tensors, batch: MomentsByName) -> Tensors:
        """The running statistics after a batch, by the names of weights."""
        found = {}
        for name, moments in batch.items():
            for part, new in (("running_mean", moments.mean), ("running_var", moments.unbiased)):
                old = weights[f"{name}.{part}"]
                value = (1.0 - self._momentum) * ops.cast(old, new.dtype) + self._momentum * new
                found[f"{name}.{part}"] = ops.cast(value, old.dtype)
        return found


class MomentSums:
    """Sums of moments over batches, in float64, from which statistics are computed anew."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, list[np.ndarray]] = {}

    def add(self, given: Mapping[str, tuple[np.ndarray, np.ndarray]], batches: int) -> None:
        """Add the means and the biased variances of batches, by name: (C,) or (batches, C) each."""
        self.count += batches
        for name, moments in given.items():
            mean, variance = (np.asarray(value, np.float64) for value in moments)
            for number, new in enumerate((mean, variance + np.square(mean))):
                total = self._sums.setdefault(name, [np.zeros(new.shape[-1]) for _ in range(2)])
                total[number] += new.reshape(batches, -1).sum(0)

    def statistics(self) -> dict[str, np.ndarray]:
        """The mean of the means, and the mean of the squares minus its square, by name."""
        found = {}
        for name, sums in self._sums.items():
            mean, square = (total / self.count for total in sums)
            found[f"{name}.running_mean"] = mean
            found[f"{name}.running_var"] = np.maximum(square - np.square(mean), 0.0)
        return found
