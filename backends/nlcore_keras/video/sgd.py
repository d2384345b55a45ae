"""Stochastic gradient descent as `torch.optim.SGD` computes it, and the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from nlcore.video.recipes.definition import Recipe
from nlcore_keras.video.compiling import Tensors

#: What `torch.nn.utils.clip_grad_norm_` adds to the norm that it divides by.
CLIP_EPS = 1e-6


def sgd_update(
    recipe: Recipe, weights: Tensors, momentum: Tensors, gradients: Tensors, rate: Any
) -> tuple[Tensors, Tensors]:
    """The weights and the momentum after an update, in nlcore's order of operations:

        d = gradient + decay * weight
        m = momentum * m + (1 - dampening) * d, and d in the first update
        weight - rate * (d + momentum * m with Nesterov, m without)

    Parameters
    ----------
    recipe : Recipe
        It has the decay of each weight, the momentum, dampening and Nesterov.
    weights, gradients : dict of str to tensor
        Of the trained weights, by the names of `network_weight_shapes`.
    momentum : dict of str to tensor
        Empty before the first update.
    rate : scalar tensor
    """
    new_weights, new_momentum = {}, {}
    for name, weight in weights.items():
        step = gradients[name]
        if decay := recipe.decay(name):
            step = step + decay * weight
        if recipe.momentum:
            known = momentum.get(name)
            buffer = step
            if known is not None:
                buffer = recipe.momentum * known + (1.0 - recipe.dampening) * step
            new_momentum[name] = buffer
            step = step + recipe.momentum * buffer if recipe.nesterov else buffer
        new_weights[name] = weight - ops.cast(rate, weight.dtype) * step
    return new_weights, new_momentum


def clipped(gradients: Tensors, largest: float | None) -> Tensors:
    """The gradients, scaled down if the L2 norm of all of them is above `largest`."""
    if largest is None:
        return gradients
    norm = ops.sqrt(sum(ops.sum(ops.square(value)) for value in gradients.values()))
    factor = largest / (norm + CLIP_EPS)
    factor = ops.where(factor < 1.0, factor, ops.ones_like(factor))
    return {name: value * factor for name, value in gradients.items()}


def softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """The sum over the clips of log sum exp z - z_label, for logits (B, classes), labels (B,)."""
    chosen = ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)  # (B, classes)
    return ops.sum(ops.logsumexp(logits, -1) - ops.sum(chosen * logits, -1))


def sigmoid_cross_entropy(logits: Any, targets: Any) -> Any:
    """The sum over the clips of the mean over the classes of the binary cross-entropy.

    It is max(z, 0) - z t + log(1 + exp(-|z|)), for logits z and targets t (B, classes).
    """
    targets = ops.cast(targets, logits.dtype)
    losses = ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.sum(losses) / logits.shape[-1]


def all_finite(gradients: Mapping[str, Any]) -> Any:
    """Whether every gradient is finite, () bool."""
    return ops.all(ops.stack([ops.all(ops.isfinite(value)) for value in gradients.values()]))
