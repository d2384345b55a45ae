"""Updates and losses: PyTorch's, on the configured engine."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import ops

from nlcore.video import recipe
from nlcore_keras.video.sgd import (
    all_finite,
    clipped,
    sgd_update,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

NAMES = ("conv1.weight", "bn1.weight", "fc.bias")
SHAPES = {"conv1.weight": (4, 3, 1, 2, 2), "bn1.weight": (4,), "fc.bias": (5,)}


def drawn(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: scale * rng.normal(size=SHAPES[name]) for name in NAMES}


def as_tensors(arrays):
    return {name: ops.convert_to_tensor(value, dtype="float64") for name, value in arrays.items()}


def as_arrays(tensors):
    return {name: ops.convert_to_numpy(value) for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("momentum", "nesterov", "dampening"),
    [(0.9, True, 0.0), (0.9, False, 0.0), (0.0, False, 0.0), (0.5, False, 0.25)],
)
def test_updates_are_torchs_on_each_engine(momentum, nesterov, dampening):
    mine = recipe("paper", momentum=momentum, nesterov=nesterov, dampening=dampening)
    assert [mine.decay(name) for name in NAMES] == [1e-4, 0.0, 1e-4]
    weights = drawn(0)
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    optimizer = torch.optim.SGD(
        [{"params": [theirs[name]], "weight_decay": mine.decay(name)} for name in NAMES],
        lr=1.0,
        momentum=momentum,
        nesterov=nesterov,
        dampening=dampening,
    )
    ours, buffers = as_tensors(weights), {}
    for number, rate in enumerate((0.3, 0.1, 0.2)):
        gradients = drawn(number + 1)
        for name in NAMES:
            theirs[name].grad = torch.from_numpy(gradients[name])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        ours, buffers = sgd_update(mine, ours, buffers, as_tensors(gradients), np.array(rate))
        found, kept = as_arrays(ours), as_arrays(buffers)
        assert set(kept) == (set(NAMES) if momentum else set())
        for name in NAMES:
            # at most ten roundings an update, of numbers below 20
            wrong = np.abs(found[name] - theirs[name].detach().numpy())
            assert wrong.max() <= (number + 1) * 10 * 20 * 2.0**-53
            if momentum:
                buffer = optimizer.state[theirs[name]]["momentum_buffer"].numpy()
                assert np.abs(kept[name] - buffer).max() <= (number + 1) * 10 * 20 * 2.0**-53


@pytest.mark.parametrize("largest", [0.5, 1e3, None])
def test_clipping_is_torchs_on_each_engine(largest):
    gradients = drawn(0)
    theirs = [torch.zeros(SHAPES[name], requires_grad=True) for name in NAMES]
    for parameter, name in zip(theirs, NAMES, strict=True):
        parameter.data = parameter.data.double()
        parameter.grad = torch.from_numpy(gradients[name].copy())
    if largest is not None:
        torch.nn.utils.clip_grad_norm_(theirs, largest)
    found = as_arrays(clipped(as_tensors(gradients), largest))
    for parameter, name in zip(theirs, NAMES, strict=True):
        # a sum of 57 squares in any order, a root and a quotient
        bound = 64 * 2.0**-53 * np.abs(gradients[name])
        assert (np.abs(found[name] - parameter.grad.numpy()) <= bound).all()
        assert np.array_equal(found[name], gradients[name]) == (largest != 0.5)


def test_losses_are_torchs_on_each_engine(gradient):
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    targets = rng.integers(0, 2, (6, 5)).astype(np.float64)
    z = torch.tensor(logits, requires_grad=True)
    for ours, given, theirs in (
        (softmax_cross_entropy, labels, F.cross_entropy),
        (sigmoid_cross_entropy, targets, F.binary_cross_entropy_with_logits),
    ):
        right = theirs(z, torch.from_numpy(given), reduction="sum")
        right = right / (5 if given is targets else 1)
        (slope,) = torch.autograd.grad(right, z)
        found = float(ops.convert_to_numpy(ours(ops.convert_to_tensor(logits), given)))
        # a sum of 30 terms below 20, with some ten roundings each
        assert abs(found - right.item()) <= 40 * 30 * 20 * 2.0**-53
        (own,) = gradient(lambda x, f=ours, t=given: f(x, t), logits)
        assert np.abs(own - slope.numpy()).max() <= 20 * 2.0**-53


def test_what_is_finite_on_each_engine():
    gradients = drawn(0)
    assert bool(all_finite(as_tensors(gradients)))
    for wrong in (np.nan, np.inf):
        gradients["bn1.weight"][1] = wrong
        assert not bool(all_finite(as_tensors(gradients)))
