"""Batches: every slot once, whatever the number of processes."""

import numpy as np
import pytest
from training_set import small_index, small_recipe

from nlcore.video import recipe
from nlcore.video.loading import (
    TrainingClips,
    ValidationClips,
    Workers,
    assigned_slots,
    training_batches,
    validation_batches,
)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return small_index(tmp_path_factory.mktemp("films"))


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize("clips", [64, 61, 9])
def test_processes_share_the_devices(processes, clips):
    paper = recipe("paper")
    parts = [
        part
        for process in range(processes)
        for part in assigned_slots(paper, clips, process, processes)
    ]
    assert parts == assigned_slots(paper, clips)
    assert [slot for part in parts for slot in part] == list(range(clips))
    assert all(len(part) == 8 for part in parts[:-1])


def test_devices_that_cannot_be_shared():
    with pytest.raises(ValueError, match=r"must divide 8, the devices of the recipe .*received 3"):
        assigned_slots(recipe("paper"), 64, 0, 3)
    with pytest.raises(ValueError, match="process must be from 0 to 1; received 2"):
        assigned_slots(recipe("paper"), 64, 2, 2)


def batches_of(index, processes, count):
    found = {}
    clips = TrainingClips(index, small_recipe(), 7)
    for process in range(processes):
        with Workers({"training": clips}, count) as workers:
            stream = training_batches(workers, clips, range(1, 4), process, processes)
            for iteration, batches in stream:
                for batch in batches:
                    assert batch.iteration == iteration
                    found[iteration, batch.first] = batch
    return found


def test_bits_do_not_depend_on_workers_and_processes(index):
    alone = batches_of(index, 1, 0)
    assert list(alone) == [(i, first) for i in (1, 2, 3) for first in (0, 2)]
    for processes, count in ((1, 1), (1, 3), (2, 0), (2, 1)):
        other = batches_of(index, processes, count)
        assert set(other) == set(alone)
        for key, batch in alone.items():
            assert np.array_equal(batch.pixels, other[key].pixels)
            assert np.array_equal(batch.videos, other[key].videos)
            assert np.array_equal(batch.targets, other[key].targets)
    assert alone[1, 0].pixels.shape == (2, 3, 4, 32, 32)


@pytest.mark.parametrize("processes", [1, 2, 7])
def test_each_validation_video_once(index, processes):
    videos = []
    for process in range(processes):
        sources = {"validation": ValidationClips(index, small_recipe(), 7)}
        with Workers(sources) as workers:
            for batch in validation_batches(workers, len(index), 2, process, processes):
                assert len(batch.pixels) == len(batch.videos) <= 2
                videos += batch.videos.tolist()
    assert videos == list(range(5))
