"""What a learner computes, as compiled functions of tensors that change nothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from nlcore.video import Recipe
from nlcore.video.loading.targets import one_label
from nlcore_keras.batch_norm import Moments, observed_moments
from nlcore_keras.video.compiling import Tensors, engine, seed_state
from nlcore_keras.video.network import Network
from nlcore_keras.video.norms import MomentsByName, RecipeNorms
from nlcore_keras.video.sgd import (
    all_finite,
    clipped,
    sgd_update,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)


class Steps:
    """The functions of a recipe.

    Parameters
    ----------
    network : Network
        Its variables are not used: weights are arguments, by nlcore's names.
    norms : RecipeNorms
    recipe : Recipe
    scaled : bool
        Whether the loss is scaled, so that updates look for gradients that are not finite.

    Attributes
    ----------
    gradients, gradients_of_several : function
        (trained, others, pixels, targets, seed, share, scale) -> ((scaled loss, (loss, right clips,
        moments)), gradients). The loss is multiplied by `share`. Of several batches at once, one
        on each device, the arguments have a first axis, the results are sums, and the moments are
        the first batch's.
    moments, moments_of_several : function
        (weights, pixels) -> moments by name of a forward pass in training.
    added : function
        (gradients, gradients) -> their sum.
    update : function
        (trained, momentum, gradients, rate, 1 / scale) -> (trained, momentum, whether all gradients
        are finite).
    running : function
        (weights, moments) -> the running statistics after the batch.
    scores : function
        (weights, pixels) -> scores (B, classes) in evaluation.
    """

    def __init__(
        self, network: Network, norms: RecipeNorms, recipe: Recipe, scaled: bool = False
    ) -> None:
        self._network, self._norms, self._recipe = network, norms, recipe
        self._scaled, self._engine = scaled, engine()
        self._names = {id(v): name for name, v in network.named_variables().items()}
        compiled = self._engine.compiled
        self.gradients = compiled(self._gradients)
        self.gradients_of_several = compiled(self._gradients_of_several)
        self.moments = compiled(self._moments)
        self.moments_of_several = compiled(self._moments_of_several)
        self.added = compiled(lambda a, b: {name: a[name] + b[name] for name in a})
        self.update = compiled(self._update)
        self.running = compiled(norms.running)
        self.scores = compiled(self._scores)

    def _gradients(
        self,
        trained: Tensors,
        others: Tensors,
        pixels: Any,
        targets: Any,
        seed: Any,
        share: Any,
        scale: Any,
    ) -> Any:
        def loss(weights: Tensors) -> tuple[Any, Any]:
            found, rest = self._loss(weights | others, pixels, targets, seed)
            found = found * ops.cast(share, found.dtype)
            return found * ops.cast(scale, found.dtype), (ops.stop_gradient(found), *rest)

        return self._engine.value_and_gradients(loss, trained)

    def _gradients_of_several(
        self,
        trained: Tensors,
        others: Tensors,
        pixels: Any,
        targets: Any,
        seeds: Any,
        share: Any,
        scale: Any,
    ) -> Any:
        def loss(weights: Tensors) -> tuple[Any, Any]:
            one = self._engine.over_devices(lambda *given: self._loss(weights | others, *given))
            losses, (right, moments) = one(pixels, targets, seeds)
            found = ops.sum(losses) * ops.cast(share, losses.dtype)
            first = {name: Moments(*(part[0] for part in m)) for name, m in moments.items()}
            rest = (ops.stop_gradient(found), ops.sum(right), first)
            return found * ops.cast(scale, found.dtype), rest

        return self._engine.value_and_gradients(loss, trained)

    def _loss(
        self, weights: Tensors, pixels: Any, targets: Any, seed: Any
    ) -> tuple[Any, tuple[Any, MomentsByName]]:
        """The sum over a batch's clips, the number of right ones, and the batch's moments."""
        with observed_moments() as seen:
            logits = self._logits(weights, pixels, seed)
        if keras.backend.standardize_dtype(logits.dtype) != "float64":
            logits = ops.cast(logits, "float32")
        if one_label(self._recipe):
            loss = softmax_cross_entropy(logits, targets)
            best, labels = (ops.cast(n, "int32") for n in (ops.argmax(logits, -1), targets))
            right = ops.sum(ops.cast(best == labels, "int32"))
        else:
            loss, right = sigmoid_cross_entropy(logits, targets), ops.zeros((), "int32")
        return loss, (right, self._norms.named(seen))

    def _logits(self, weights: Tensors, pixels: Any, seed: Any) -> Any:
        """The logits in training. Dropout draws from `seed`, the state of its generator."""
        network = self._network
        trainable = [weights[self._names[id(v)]] for v in network.trainable_variables]
        others = [
            weights[self._names[id(v)]] if id(v) in self._names else seed
            for v in network.non_trainable_variables
        ]
        return network.stateless_call(trainable, others, _channels_last(pixels), training=True)[0]

    def _moments(self, weights: Tensors, pixels: Any) -> MomentsByName:
        with observed_moments() as seen:
            self._logits(weights, pixels, ops.convert_to_tensor(seed_state(0)))
        return self._norms.named(seen)

    def _moments_of_several(self, weights: Tensors, pixels: Any) -> MomentsByName:
        return self._engine.over_devices(lambda own: self._moments(weights, own))(pixels)

    def _update(
        self, trained: Tensors, momentum: Tensors, gradients: Tensors, rate: Any, unscale: Any
    ) -> tuple[Tensors, Tensors, Any]:
        finite: Any = True
        if self._scaled:
            gradients = {name: g * ops.cast(unscale, g.dtype) for name, g in gradients.items()}
            finite = all_finite(gradients)
        gradients = clipped(gradients, self._recipe.clip_norm)
        return (*sgd_update(self._recipe, trained, momentum, gradients, rate), finite)

    def _scores(self, weights: Tensors, pixels: Any) -> Any:
        activation = "softmax" if one_label(self._recipe) else "sigmoid"
        variables = self._network.named_variables()
        values = [(variables[name], value) for name, value in weights.items()]
        with keras.StatelessScope(state_mapping=values):
            return self._network.scores(_channels_last(pixels), activation)


def _channels_last(pixels: Any) -> Any:
    """(B, 3, T, H, W) -> (B, T, H, W, 3)."""
    return ops.moveaxis(pixels, 1, -1)
