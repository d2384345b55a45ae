"""The benchmarks of videos and networks run, in small."""

import importlib
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

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


def twice(call):
    """The second result: a step's loss, after the step before it has changed the weights."""
    call()
    return call()


def test_other_names_are_errors(benchmark):
    calls = benchmark("network_calls")
    task = calls.NetworkTask("C2D", "inference", (1, 3, 8, 64, 64))
    with pytest.raises(ValueError, match=r"name must be one of .*; received 'fast'"):
        calls.call_of(task, "fast")


def test_a_compiled_network_is_the_fused_one(benchmark, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or f)
    calls = benchmark("network_calls")
    task = calls.NetworkTask("C2D", "inference", (1, 3, 8, 64, 64))
    found, expected = (calls.call_of(task, name)() for name in ("compiled", "fused"))
    assert len(compiled) == 1 and torch.equal(found, expected)


@contextmanager
def torch_default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("direction", ["inference", "training"])
def test_networks_of_a_task_compute_the_same(benchmark, direction):
    calls = benchmark("network_calls")
    clips = (2, 3, 8, 64, 64) if direction == "training" else (1, 3, 8, 64, 64)
    task = calls.NetworkTask("NL I3D", direction, clips)
    names = [name for name in task.names() if name != "products"]
    if len(names) == 1:
        pytest.skip("no other project's networks are installed")
    with torch_default_dtype(torch.float64):  # large logits magnify float32's roundings
        expected, *found = (twice(calls.call_of(task, name)) for name in names)
    assert expected.dtype == torch.float64
    for name, result in zip(names[1:], found, strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12, msg=name)


def test_a_column_for_compiled_networks(benchmark):
    section = benchmark("networks_page").section
    result = {"architecture": "C2D", "direction": "inference", "clips": [1, 3, 8, 64, 64]}
    times = {"nlcore": [3.0], "fused": [2.0], "compiled": [1.8]}
    run = {"engine": "PyTorch", "device": "CPU"}
    text = section(run | {"networks": [result | {"seconds": times, "memory": {}}]})
    assert "| C2D | 1×8×64×64 | 2 s | 1.50 | 0.90 |" in text
    del times["compiled"]
    text = section(run | {"networks": [result | {"seconds": times, "memory": {}}]})
    assert "| C2D | 1×8×64×64 | 2 s | 1.50 |" in text and "compiled / fused" not in text
