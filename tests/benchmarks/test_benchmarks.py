"""The benchmarks of videos run, in small."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    from training_set import small_index

    return small_index(tmp_path_factory.mktemp("films"))


@pytest.fixture
def benchmark(monkeypatch):
    """A module of benchmarks/, which is not installed."""
    monkeypatch.syspath_prepend(ROOT)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_steps_of_the_loop_and_by_hand(benchmark, index):
    steps = benchmark("loop_steps")
    name, *_ = steps.SIZES
    seconds = steps.steps(index, name, 2)
    assert [len(seconds[way]) for way in ("loop", "by hand")] == [2, 2]
    assert min(map(min, seconds.values())) > 0


def test_loaders(benchmark, index):
    loading = benchmark("clip_loading")
    clips = loading.training_clips(index)
    with loading.loaders(clips, 0, 2) as calls:
        assert {"nlcore", "bare"} <= set(calls)
        for call in calls.values():
            assert len(call()) == 2


def test_steps_of_two_processes(benchmark):
    found = benchmark("process_steps").process_steps(2, (2, 3, 4, 32, 32), 4)
    assert {name: len(times) for name, times in found.items()} == {
        "one process": 2,
        "processes": 2,
        "sums": 2,
    }
    assert min(map(min, found.values())) > 0
