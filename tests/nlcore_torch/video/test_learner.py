"""The learner: what it computes does not depend on how its clips are divided."""

import numpy as np
import pytest
import torch
from training_set import small_recipe

from nlcore.video.draws import framework_seed
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.loading import Batch
from nlcore.video.running.learner import LearnerState
from nlcore_torch.video import Network
from nlcore_torch.video.learner import TorchLearner


def batch_of(first, clips, iteration=0, classes=4, several=False):
    """Clips of slots from `first` on: each slot has clips of its own."""
    rngs = [np.random.default_rng([iteration, first + k]) for k in range(clips)]
    pixels = np.stack([rng.normal(size=(3, 4, 32, 32)) for rng in rngs]).astype(np.float32)
    if several:
        targets = np.stack([rng.integers(0, 2, classes) for rng in rngs]).astype(np.float32)
    else:
        targets = np.array([rng.integers(classes) for rng in rngs])
    return Batch(iteration, first, np.arange(first, first + clips), pixels, targets)


def learner_of(recipe, **options):
    learner = TorchLearner(recipe, seed=5, **options)
    weights = initial_network_weights(recipe.network, 0, block_identity=False)
    rng = np.random.default_rng(1)
    for name, value in weights.items():
        if name.endswith("running_var"):
            weights[name] = value * rng.uniform(0.5, 2.0, value.shape).astype(np.float32)
    learner.load(LearnerState(weights, {}, {}))
    return learner


def gradients_of(learner):
    return {
        name: parameter.grad.double().numpy().copy()
        for name, parameter in learner.network.named_parameters()
        if parameter.grad is not None
    }


def fixed(**fields):
    """A recipe of 8 clips whose result does not depend on the other clips of a device."""
    return small_recipe(
        batch=8,
        clips_per_device=8,
        batch_norm="fixed_statistics",
        precise_statistics=0,
        network={"dropout": 0.0},
        **fields,
    )


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_eight_clips_and_two_times_four_have_the_same_gradients(loss):
    """The bound: gradients are sums over clips, so a change of order moves them by rounding.

    In float64 the network gives each clip's own gradient, g_n. Rounding of a sum of 8 in any order
    is at most 7 u sum |g_n|, and the rounding inside of each g_n, which may differ by the size of
    the batch, is measured as the distance of float32's g_n from float64's.
    """
    several = loss.startswith("sigmoid")
    recipe = fixed(loss=loss)
    whole, halves = learner_of(recipe), learner_of(recipe)
    one = whole.gradients([batch_of(0, 8, several=several)], 8)
    two = halves.gradients([batch_of(k, 4, several=several) for k in (0, 4)], 8)
    assert one[1] == two[1] and abs(one[0] - two[0]) <= 1e-5
    single, exact = [], []
    for slot in range(8):
        for found, double in ((single, False), (exact, True)):
            learner = learner_of(recipe)
            batch = batch_of(slot, 1, several=several)
            if double:
                learner.network.double()
                batch = batch._replace(
                    pixels=batch.pixels.astype(np.float64),
                    targets=batch.targets.astype(np.float64) if several else batch.targets,
                )
            learner.gradients([batch], 8)
            found.append(gradients_of(learner))
    unit = np.finfo(np.float32).eps / 2
    moved = 0
    for name, first in gradients_of(whole).items():
        second = gradients_of(halves)[name]
        own = np.stack([gradient[name] for gradient in single])
        right = np.stack([gradient[name] for gradient in exact])
        rounding = np.abs(own - right).max(axis=tuple(range(1, own.ndim))).sum()
        bound = 7 * unit * np.abs(own).sum(0) + 4 * rounding
        assert (np.abs(first - second) <= bound).all(), name
        assert (np.abs(first - right.sum(0)) <= bound).all(), name
        moved += int((bound < np.abs(first)).sum())
    assert moved > 1000  # the bound is below the gradients themselves


def test_dropout_is_that_of_the_slot():
    recipe = small_recipe(network={"dropout": 0.5})
    learner = learner_of(recipe)
    masks = []
    learner.network.dropout.register_forward_hook(lambda _, x, y: masks.append((y == 0).clone()))
    batches = [batch_of(first, 2) for first in (0, 2)]
    learner.gradients(batches, 4)
    learner.gradients(batches[1:], 4)  # what a second process computes
    assert torch.equal(masks[1], masks[2]) and not torch.equal(masks[0], masks[1])
    torch.manual_seed(framework_seed(5, 0, 2))
    kept = torch.nn.functional.dropout(torch.ones_like(masks[0], dtype=torch.float32), 0.5)
    assert ((kept == 0) <= masks[1]).all()


def test_running_statistics_are_those_of_the_first_device():
    recipe = small_recipe()
    both, alone = learner_of(recipe), learner_of(recipe)
    before = both.state().weights
    both.gradients([batch_of(0, 2), batch_of(2, 2)], 4)
    alone.gradients([batch_of(0, 2)], 4)
    after, expected = both.state().weights, alone.state().weights
    for name, value in after.items():
        assert np.array_equal(value, expected[name])
        assert ("running" in name) == (not np.array_equal(value, before[name]))


@pytest.mark.parametrize("kind", ["trained", "fixed_statistics", "affine"])
def test_what_is_trained(kind):
    recipe = small_recipe(batch_norm=kind, precise_statistics=0, frozen=("conv1", "res2"))
    learner = learner_of(recipe)
    before = learner.state().weights
    learner.gradients([batch_of(0, 2)], 2)
    learner.update(0.1)
    changed = {n for n, v in learner.state().weights.items() if not np.array_equal(v, before[n])}
    for name in before:
        frozen = name.startswith(("conv1", "res2"))
        layer = name.split(".")[-2]
        norm = layer.startswith("bn") or layer == "shortcut_bn"
        if "running" in name:
            expected = kind == "trained" and not frozen
        else:
            expected = not frozen and not (norm and kind == "affine")
        assert (name in changed) == expected, name


def test_updates_are_those_of_the_formula():
    """v = m v + g + d w, w -= rate (g + d w + m v), with Nesterov; d is 0 for scales and shifts."""
    recipe = small_recipe()
    learner = learner_of(recipe)
    weights = {n: v.astype(np.float64) for n, v in learner.state().weights.items()}
    momentum = {}
    for iteration, rate in enumerate((0.1, 0.01)):
        learner.gradients([batch_of(0, 2, iteration)], 2)
        for name, gradient in gradients_of(learner).items():
            slope = gradient + recipe.decay(name) * weights[name]
            momentum[name] = 0.9 * momentum[name] + slope if iteration else slope
            weights[name] = weights[name] - rate * (slope + 0.9 * momentum[name])
        learner.update(rate)
        state = learner.state()
        assert set(state.momentum) == set(momentum)
        for name, value in momentum.items():
            largest = max(np.abs(value).max(), np.abs(weights[name]).max(), 1e-30)
            # a few roundings of numbers of that size
            assert np.abs(state.momentum[name] - value).max() <= 1e-6 * largest, name
            assert np.abs(state.weights[name] - weights[name]).max() <= 1e-6 * largest, name
            weights[name] = state.weights[name].astype(np.float64)
            momentum[name] = state.momentum[name].astype(np.float64)


@pytest.mark.parametrize("rescaled", [True, False])
def test_the_momentum_of_caffe2_is_rescaled(rescaled):
    """Caffe2's momentum contains the rate. Rescaled when that drops, it gives PyTorch's weights."""
    gradients = np.random.default_rng(0).normal(size=(6, 5))
    weight = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], 1.0, momentum=0.9, dampening=0, nesterov=True)
    caffe2, velocity, last = np.zeros(5), np.zeros(5), None
    for rate, gradient in zip((0.1, 0.1, 0.1, 0.01, 0.01, 0.01), gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
        if rescaled and last is not None:
            velocity = velocity * (rate / last)
        before, last = velocity, rate
        velocity = 0.9 * before + rate * gradient
        caffe2 = caffe2 - (1.9 * velocity - 0.9 * before)
    distance = np.abs(weight.detach().numpy() - caffe2).max()
    if rescaled:  # some ten roundings in each of 6 steps, of numbers below 8
        assert distance <= 60 * 8 * 2.0**-53
    else:
        assert distance > 0.1


def test_gradients_are_clipped():
    recipe = small_recipe(clip_norm=1e-3)
    learner = learner_of(recipe)
    norms = []
    step = learner.optimizer.step
    learner.optimizer.step = lambda *a: (norms.append(gradients_of(learner)), step(*a))
    learner.gradients([batch_of(0, 2)], 2)
    learner.update(0.1)
    total = np.sqrt(sum((g**2).sum() for g in norms[0].values()))
    assert abs(total - 1e-3) < 1e-8


def test_precise_statistics():
    """Mean of means, and mean of squares minus its square, over the batches."""
    learner = learner_of(small_recipe())
    batches = [batch_of(first, 2, iteration) for iteration in (0, 1) for first in (0, 2)]
    seen = {name: [] for name in learner.norms.trained}
    hooks = [
        module.register_forward_pre_hook(lambda _, x, n=name: seen[n].append(x[0].double()))
        for name, module in learner.norms.trained.items()
    ]
    learner.statistics(batches)
    found = learner.state().weights
    assert len(seen) == 54 and all(len(inputs) == 4 for inputs in seen.values())
    for name, inputs in seen.items():
        axes = (0, 2, 3, 4)
        mean = torch.stack([x.mean(axes) for x in inputs]).mean(0)
        square = torch.stack([x.square().mean(axes) for x in inputs]).mean(0)
        size = torch.stack([x.abs().mean(axes) for x in inputs]).mean(0)
        # a sum of n numbers in float32, in any order, and two roundings
        unit = (inputs[0].numel() // inputs[0].shape[1] + 2) * 2.0**-24
        wrong = found[f"{name}.running_mean"] - mean.numpy()
        assert (np.abs(wrong) <= (unit * size).numpy()).all(), name
        wrong = found[f"{name}.running_var"] - (square - mean.square()).numpy()
        assert (np.abs(wrong) <= (4 * unit * square).numpy()).all(), name
    for hook in hooks:
        hook.remove()
    learner.statistics([])  # without a batch, they stay in a single process
    again = learner.state().weights
    assert all(np.array_equal(again[name], value) for name, value in found.items())


def test_scores_use_the_running_statistics():
    recipe = small_recipe()
    learner = learner_of(recipe)
    pixels = batch_of(0, 3).pixels
    learner.gradients([batch_of(0, 2)], 2)
    found = learner.scores(pixels)
    network = Network(recipe.network).eval()
    network.import_weights(learner.state().weights)
    with torch.no_grad():
        right = network.fused().scores(torch.from_numpy(pixels)).numpy()
    assert np.array_equal(found, right)
    several = learner_of(small_recipe(loss="sigmoid_cross_entropy")).scores(pixels)
    assert found.shape == (3, 4) and np.allclose(found.sum(1), 1)
    assert not np.allclose(several.sum(1), 1)


@pytest.mark.parametrize("change", ["gradients", "update", "statistics", "load"])
def test_scores_are_those_of_the_present_weights(change):
    learner = learner_of(small_recipe())
    pixels = batch_of(0, 3).pixels
    before = learner.scores(pixels)
    if change == "load":
        state = learner.state()
        weights = {name: value * np.float32(1.25) for name, value in state.weights.items()}
        learner.load(state._replace(weights=weights))
    elif change == "statistics":
        learner.statistics([batch_of(0, 2)])
    else:
        learner.gradients([batch_of(0, 2)], 2)  # which changes the running statistics too
        if change == "update":
            learner.scores(pixels)
            learner.update(1e-3)
    found = learner.scores(pixels)
    assert np.abs(found - before).max() > 1e-5
    fresh = learner_of(small_recipe())
    fresh.load(learner.state())
    assert np.array_equal(found, fresh.scores(pixels))


def test_a_state_is_all_there_is():
    recipe = small_recipe()
    one, other = learner_of(recipe), TorchLearner(recipe, seed=5)
    one.gradients([batch_of(0, 2)], 2)
    one.update(0.1)
    state = one.state()
    other.load(state)
    for learner in (one, other):
        learner.gradients([batch_of(0, 2, 1)], 2)
        learner.update(0.1)
    for kind in ("weights", "momentum"):
        first, second = (getattr(learner.state(), kind) for learner in (one, other))
        assert set(first) == set(second)
        assert all(first[n].tobytes() == second[n].tobytes() for n in first)
    assert not np.array_equal(state.weights["fc.weight"], one.state().weights["fc.weight"])


@pytest.mark.parametrize(
    "options",
    [{"precision": "bfloat16"}, {"channels_last": True}, {"precision": "float16"}],
    ids=str,
)
def test_other_arithmetic_is_near(options):
    recipe = fixed()
    plain, other = learner_of(recipe), learner_of(recipe, **options)
    losses = [learner.gradients([batch_of(0, 4)], 4)[0] for learner in (plain, other)]
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11}.get(options.get("precision"), 2.0**-24)
    # some fifty layers, each with a rounding of its output
    assert abs(losses[1] - losses[0]) <= 50 * unit * losses[0]
    for _ in range(12):  # float16 skips updates until the scale of the loss is small enough
        other.update(0.1)
        if other.state().weights["fc.bias"].any():
            break
        other.gradients([batch_of(0, 4)], 4)
    assert other.state().weights["fc.weight"].dtype == np.float32
    assert other.state().weights["fc.bias"].any()
    if options.get("precision") == "float16":
        extra = other.state().extra
        third = learner_of(recipe, **options)
        third.load(other.state())
        assert third.state().extra == extra and extra["scale"] > 1


def test_wrong_precision():
    with pytest.raises(ValueError, match=r"precision must be one of .*; received 'double'"):
        TorchLearner(small_recipe(), precision="double")
