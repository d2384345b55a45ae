"""The learner: state, dropout, what is trained, and several devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from training_set import small_recipe

from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.loading import Batch
from nlcore.video.running.learner import LearnerState
from nlcore_keras.video import Network
from nlcore_keras.video.devices import chosen_devices
from nlcore_keras.video.learner import KerasLearner


def batch_of(first, clips=2, iteration=0):
    """Clips of slots from `first` on: each slot has clips of its own."""
    rngs = [np.random.default_rng([iteration, first + k]) for k in range(clips)]
    pixels = np.stack([rng.normal(size=(3, 4, 32, 32)) for rng in rngs]).astype(np.float32)
    targets = np.array([rng.integers(4) for rng in rngs])
    return Batch(iteration, first, np.arange(first, first + clips), pixels, targets)


def learner_of(recipe, **options):
    learner = KerasLearner(recipe, seed=5, **options)
    learner.load(LearnerState(initial_network_weights(recipe.network, 0), {}, {}))
    return learner


def different(one, other):
    return {name for name in one if not np.array_equal(one[name], other[name])}


@pytest.fixture(scope="module")
def learner():
    """A learner that several tests load anew, because it compiles its functions once."""
    return learner_of(small_recipe(network={"dropout": 0.5}))


@pytest.fixture
def start(learner):
    return LearnerState(initial_network_weights(learner.recipe.network, 0), {}, {})


def iterated(learner, state, iterations=(0,), firsts=(0, 2)):
    learner.load(state)
    for iteration in iterations:
        learner.gradients([batch_of(first, 2, iteration) for first in firsts], 2 * len(firsts))
        learner.update(0.1)
    return learner.state()


def test_a_state_is_all_there_is(learner, start):
    whole = iterated(learner, start, (0, 1))
    half = iterated(learner, start, (0,))
    assert set(half.momentum) == {n for n in half.weights if "running" not in n}
    again = iterated(learner, half, (1,))
    for kind in ("weights", "momentum"):
        one, other = getattr(whole, kind), getattr(again, kind)
        assert one.keys() == other.keys() and different(one, other) == set()
    assert different(whole.weights, half.weights) == set(whole.weights)
    assert all(value.dtype == np.float32 for value in whole.weights.values())


def test_dropout_is_that_of_the_slot(learner, start):
    def loss(first, iteration=0):
        learner.load(start)
        batch = batch_of(0)._replace(first=first, iteration=iteration)
        return learner.gradients([batch], 2)[0]

    assert loss(0) == loss(0)
    assert len({loss(0), loss(2), loss(0, 1)}) == 3


def test_running_statistics_are_those_of_the_first_device(learner, start):
    learner.load(start)
    learner.gradients([batch_of(0), batch_of(2)], 4)
    both = learner.state().weights
    learner.load(start)
    learner.gradients([batch_of(0)], 4)
    assert different(both, learner.state().weights) == set()
    assert different(both, start.weights) == {n for n in both if "running" in n}


def test_precise_statistics_are_those_of_the_batches(learner, start):
    learner.load(start)
    learner.statistics([batch_of(0), batch_of(2)])
    found = learner.state().weights
    assert different(found, start.weights) == {n for n in found if "running" in n}
    learner.statistics([])
    assert different(found, learner.state().weights) == set()
    # conv1 comes before any normalization, so its moments need no network
    batches = [batch_of(0).pixels, batch_of(2).pixels]
    network = Network(learner.recipe.network, data_format="channels_last")
    network.import_weights(start.weights)
    until = keras.Model(network.input, network.get_layer("conv1").output)
    outputs = [
        keras.ops.convert_to_numpy(until(np.moveaxis(x, 1, -1))).astype(np.float64) for x in batches
    ]
    axes = (0, 1, 2, 3)
    mean = np.mean([y.mean(axes) for y in outputs], 0)
    square = np.mean([np.square(y).mean(axes) for y in outputs], 0)
    unit = outputs[0].size * 2.0**-24  # a sum in any order, in float32
    assert np.abs(found["bn1.running_mean"] - mean).max() <= unit * np.abs(outputs).mean()
    assert np.abs(found["bn1.running_var"] - square + mean**2).max() <= unit * square.max()


def test_scores_are_the_networks(learner, start):
    learner.load(start)
    network = Network(learner.recipe.network, data_format="channels_last")
    network.import_weights(start.weights)
    for height, width in ((32, 32), (40, 32), (36, 48)):  # whole frames have many sizes
        rng = np.random.default_rng(height)
        pixels = rng.normal(size=(2, 3, 4, height, width)).astype(np.float32)
        right = keras.ops.convert_to_numpy(network.scores(np.moveaxis(pixels, 1, -1)))
        found = learner.scores(pixels)
        assert np.abs(found.sum(1) - 1).max() <= 1e-6
        # compiled and not, each with float32's rounding of 50 layers; not derived further
        assert np.abs(found - right).max() <= 1e-4 * right.max()


@pytest.mark.parametrize("kind", ["fixed_statistics", "affine"])
def test_what_is_trained(kind):
    recipe = small_recipe(batch_norm=kind, precise_statistics=0, frozen=("conv1", "res2"))
    learner = learner_of(recipe)
    before = learner.state()
    after = iterated(learner, before, firsts=(0,))
    changed = different(after.weights, before.weights)
    assert changed == {n for n in before.weights if "running" not in n and recipe.trained(n)}
    assert any(".bn" in name for name in changed) == (kind == "fixed_statistics")
    assert set(after.momentum) == changed
    learner.statistics([batch_of(0)])
    assert different(learner.state().weights, after.weights) == set()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_other_arithmetic_is_near(precision):
    recipe = small_recipe(
        batch_norm="fixed_statistics", precise_statistics=0, network={"dropout": 0.0}
    )
    plain, other = learner_of(recipe), learner_of(recipe, precision=precision)
    losses = [learner.gradients([batch_of(0)], 2)[0] for learner in (plain, other)]
    unit = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    # some fifty layers, each with a rounding of its output
    assert losses[0] != losses[1] and abs(losses[1] - losses[0]) <= 50 * unit * losses[0]
    for _ in range(12):  # float16 skips updates until the scale of the loss is small enough
        other.update(0.1)
        if other.state().weights["fc.bias"].any():
            break
        other.gradients([batch_of(0)], 2)
    state = other.state()
    assert state.weights["fc.bias"].any() and state.weights["fc.weight"].dtype == np.float32
    assert (state.extra == {}) == (precision == "bfloat16")


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"precision must be one of .*; received 'double'"):
        KerasLearner(small_recipe(), precision="double")
    with (
        pytest.raises(ValueError, match=r"device must be one that Keras supports on .*'no'"),
        chosen_devices("no"),
    ):
        pass


DEVICES = """
import json, sys
import numpy as np
from test_learner import batch_of, initial_network_weights, learner_of, small_recipe
from nlcore_keras.video.devices import Devices, chosen_devices

recipe = small_recipe(batch=8, network={"dropout": 0.5})
batches = [batch_of(first) for first in (0, 2, 4, 6)]
random = np.random.default_rng(0)
found = []
with chosen_devices("cpu") as devices:
    for own, noise in ((devices, 0.0), (Devices(), 0.0), (Devices(), 2.0**-50)):
        learner = learner_of(recipe, devices=own, precision="float64")
        state = learner.state()
        for value in state.weights.values():
            value *= 1 + noise * random.choice([-1, 1], value.shape)
        learner.load(state)
        loss, right = learner.gradients(batches, 8)
        where = {len(g.sharding.device_set) for g in learner._gradients.values()}
        learner.update(0.1)
        learner.statistics(batches)
        state = learner.state()
        scores = learner.scores(batch_of(0, 4).pixels), learner.scores(batch_of(0, 3).pixels)
        arrays = {"loss": np.array(loss), "scores": scores[0], "others": scores[1]}
        for kind in ("weights", "momentum"):
            arrays |= {f"{kind} {name}": a for name, a in getattr(state, kind).items()}
        found.append((arrays, right, where, own.count))
(two, right, where, count), (one, right1, where1, _), (noisy, _, _, _) = found
assert count == 2 and where == {2} and where1 == {1}
assert right == right1
unit = 2.0**-53
print(json.dumps({
    name: [
        float(np.abs(two[name] - one[name]).max()),
        float(np.abs(noisy[name] - one[name]).max() + unit * np.abs(one[name]).max()),
        float(np.abs(one[name]).max()),
    ]
    for name in one
}))
try:
    with chosen_devices("cpu") as devices:
        learner_of(small_recipe(batch=6), devices=devices)
except ValueError as error:
    assert "the number of devices must divide 3, the devices of the recipe" in str(error)
"""


@pytest.mark.slow
def test_two_devices_compute_what_one_does():
    """On JAX, with keras.distribution.DataParallel over two devices of the CPU."""
    pytest.importorskip("jax")
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    paths = [str(Path(__file__).parent), *sys.path]
    run = subprocess.run(
        [sys.executable, "-c", DEVICES],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_ENABLE_X64": "1",
            "XLA_FLAGS": flags,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    for name, (apart, by_noise, _) in found.items():
        # A weight's rounding moves results by `by_noise`. Each of some fifty layers has a few such.
        assert apart <= 2.0**6 * by_noise, name
    # so a wrong gradient would be seen
    assert sorted(noise / size for _, noise, size in found.values())[len(found) // 2] < 1e-9
