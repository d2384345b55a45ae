"""How v . dL/dw moves with what each stage computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from nlcore.video import Recipe
from nlcore.video.loading import Batch
from step_bounds.problems import CLIPS, Problem
from step_bounds.stages import Recorded


@contextmanager
def new_tensors() -> Iterator[None]:
    """ReLUs of the network return new tensors, so that a stage's output stays as it was."""
    import torch

    with mock.patch("nlcore_torch.video.network.F.relu", lambda x, inplace=False: torch.relu(x)):
        yield


def trained_parameters(given: Problem, network: Any) -> dict[str, Any]:
    """The trained weights of a network, by name."""
    groups = given.recipe.groups(given.state.weights).values()
    return {name: network.get_parameter(name) for group in groups for name in group}


class Differentiated:
    """The gradient of a batch's loss, with its derivatives by what each stage computes.

    Attributes
    ----------
    stages : list of Stage
    gradients : dict of str to Tensor
        Of the trained weights, by name.
    """

    def __init__(self, given: Problem, batch: Batch, network: Any) -> None:
        import torch

        recorded = Recorded(network)
        try:
            with new_tensors():
                # a gradient by the clip, so that conv1 has one of its input, too
                logits = network(torch.from_numpy(batch.pixels).requires_grad_())
        finally:
            recorded.remove()
        self.stages, self._torch = recorded.stages, torch
        loss, self._logit_errors = loss_and_errors(
            given.recipe, logits, torch.from_numpy(batch.targets)
        )
        parameters = trained_parameters(given, network)
        stages = self.stages
        self._tensors = list({id(t): t for s in stages for t in (s.x, s.y)}.values())
        wanted = [*self._tensors, *parameters.values()]
        found = torch.autograd.grad(loss, wanted, create_graph=True)
        count = len(self._tensors)
        self._slopes = {id(t): s for t, s in zip(self._tensors, found[:count], strict=True)}
        self.gradients = dict(zip(parameters, found[count:], strict=True))

    def slope(self, tensor: Any) -> Any:
        """dL/dt of a stage's input or output t."""
        return self._slopes[id(tensor)].detach()

    def moves(self, way: Mapping[str, Any]) -> tuple[dict[int, Any], dict[int, Any]]:
        """The derivatives of s = v . dL/dw by each t and by each dL/dt, by the identity of t."""
        s = sum((signs * self.gradients[name]).sum() for name, signs in way.items())
        wanted = [*self._tensors, *self._slopes.values()]
        found = self._torch.autograd.grad(s, wanted, retain_graph=True, materialize_grads=True)
        names, count = [id(t) for t in self._tensors], len(self._tensors)
        return (
            dict(zip(names, found[:count], strict=True)),
            dict(zip(names, found[count:], strict=True)),
        )

    def errors(self, ways: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """First-order errors of v . dL/dw, for each direction."""
        own = [s.backward(self.slope(s.y), self.slope(s.x)) for s in self.stages]
        logits, errors = self.stages[-1].y, []
        for way in ways:
            by_value, by_slope = self.moves(way)
            error = (by_slope[id(logits)].abs() * self._logit_errors).sum()
            for stage, (of_x, of_weights) in zip(self.stages, own, strict=True):
                error += (by_value[id(stage.y)].abs() * stage.forward).sum()
                error += (by_slope[id(stage.x)].abs() * of_x).sum()
                for name in of_weights.keys() & way.keys():
                    error += (way[name].abs() * of_weights[name]).sum()
            errors.append(float(error))
        return np.array(errors)


def loss_and_errors(recipe: Recipe, logits: Any, targets: Any) -> tuple[Any, Any]:
    """The loss of a batch, and the errors of its gradient by the logits.

    The gradient is p - t with p the softmax or the sigmoid. A sigmoid, as the derivative of
    relu(z) - z t + log(1 + exp(-|z|)), is the sum of three terms of at most 1, of which the last
    has some ten roundings.
    """
    import torch.nn.functional as F
    from networks import FLOAT64, softmax_errors

    unit = FLOAT64.unit
    if recipe.loss == "sigmoid_cross_entropy":
        total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        share = 1.0 / (logits.shape[1] * CLIPS)
        return total * share, share * 12 * unit + 0.0 * logits.detach()
    z = logits.detach()
    wrong = z.softmax(-1) - F.one_hot(targets, z.shape[1])
    errors = (softmax_errors(z) + 4 * unit * wrong.abs()) / CLIPS
    return F.cross_entropy(logits, targets, reduction="sum") / CLIPS, errors
