"""The rate of every recipe at every iteration, against schedules written by hand."""

import itertools
import math
from types import SimpleNamespace

import pytest

from nlcore.video import recipe

#: Preset -> (training videos, number of iterations, first iteration and rate of each phase).
#: 246,535 videos are 3852 whole batches of 64, and 240,436 are 3756 and a smaller one.
PHASES = {
    "paper": (None, 400_000, {0: 0.01, 150_000: 0.001, 300_000: 0.0001}),
    "paper_128": (None, 400_000, {0: 0.0025, 150_000: 0.00025, 300_000: 0.000025}),
    "charades": (None, 200_000, {0: 0.00125, 75_000: 0.000125, 150_000: 0.0000125}),
    "caffe2": (None, 400_000, {0: 0.01, 150_000: 0.001, 300_000: 0.0001}),
    "caffe2_128": (None, 400_000, {0: 0.0025, 150_000: 0.00025, 300_000: 0.000025}),
    "slowfast": (246_535, 454_536, {0: 0.01, 169_488: 0.001, 338_976: 0.0001}),
    "mmaction2": (240_436, 375_700, {0: 0.01, 150_280: 0.001, 300_560: 0.0001}),
}


@pytest.mark.parametrize("name", PHASES)
def test_steps(name):
    videos, total, phases = PHASES[name]
    found = recipe(name)
    assert found.total_iterations(videos) == total
    starts = [*phases, total]
    for first, end in itertools.pairwise(starts):
        # the rate of a phase is one number: its ends and a grid over it
        for iteration in {first, end - 1, *range(first, end, 1009)}:
            assert found.learning_rate(iteration, videos) == phases[first]


def test_every_iteration_of_the_paper():
    found = recipe("paper", iterations=400, steps=(150, 300))  # the paper's in thousands
    rates = [found.learning_rate(iteration) for iteration in range(400)]
    assert rates == [0.01] * 150 + [0.001] * 150 + [0.0001] * 100


def test_cosine_with_warmup():
    found = recipe("slowfast_scratch")
    videos, per_epoch = 246_535, 3852
    assert found.total_iterations(videos) == 196 * per_epoch
    at_34 = 0.1 * (math.cos(math.pi * 34 / 196) + 1) / 2  # 0.0927
    for epoch, inside in ((0, 0), (0, 1), (17, 0), (33, 3851), (34, 0), (98, 0), (195, 3851)):
        position = epoch + inside / per_epoch
        cosine = 0.1 * (math.cos(math.pi * position / 196) + 1) / 2
        line = 0.01 + (at_34 - 0.01) * position / 34
        expected = line if position < 34 else cosine
        rate = found.learning_rate(epoch * per_epoch + inside, videos)
        assert rate == pytest.approx(expected, rel=1e-13)  # a few roundings of cos near 1 + -1
    assert found.learning_rate(0, videos) == 0.01
    assert found.learning_rate(98 * per_epoch, videos) == 0.05


def test_the_rate_is_constant_during_an_epoch_or_not():
    smooth = recipe("slowfast_scratch")
    coarse = recipe("slowfast_scratch", rate_per="epoch")
    videos, per_epoch = 640, 10
    for epoch in (0, 20, 100):
        first, last = epoch * per_epoch, epoch * per_epoch + 9
        assert coarse.learning_rate(first, videos) == smooth.learning_rate(first, videos)
        assert coarse.learning_rate(last, videos) == coarse.learning_rate(first, videos)
        assert smooth.learning_rate(last, videos) != smooth.learning_rate(first, videos)


@pytest.mark.parametrize("name", ["slowfast", "slowfast_scratch"])
def test_equal_to_slowfast(name):
    policy = pytest.importorskip("slowfast.utils.lr_policy", exc_type=ImportError)
    settings = {
        "slowfast": {
            "LR_POLICY": "steps_with_relative_lrs",
            "BASE_LR": 0.01,
            "STEPS": [0, 44, 88, 118],
            "LRS": [1, 0.1, 0.01, 0.001],
            "MAX_EPOCH": 118,
            "WARMUP_EPOCHS": 0.0,
        },
        "slowfast_scratch": {
            "LR_POLICY": "cosine",
            "BASE_LR": 0.1,
            "MAX_EPOCH": 196,
            "WARMUP_EPOCHS": 34.0,
            "WARMUP_START_LR": 0.01,
        },
    }
    cfg = SimpleNamespace(SOLVER=SimpleNamespace(**settings[name]))
    found, videos, per_epoch = recipe(name), 448, 7
    for iteration in range(found.total_iterations(videos)):
        exact = iteration // per_epoch + float(iteration % per_epoch) / per_epoch
        assert found.learning_rate(iteration, videos) == policy.get_lr_at_epoch(cfg, exact)


def test_equal_to_a_multi_step_scheduler():
    """mmengine's MultiStepLR multiplies the rate by gamma at each milestone, like torch's."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [40, 80], gamma=0.1)
    found = recipe("mmaction2")
    for epoch in range(100):
        assert found.learning_rate(epoch * 2 + 1, 100) == optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
