"""Every view of every video is scored once, whatever the number of processes."""

import threading

import numpy as np
import pytest
from films import pictures, write_film
from training_set import ToyLearner, small_index, small_recipe

from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.labels import Source, make_index, read_list
from nlcore.video.loading import EvaluationClips
from nlcore.video.running.learner import LearnerState
from nlcore.video.running.view_scoring import EvaluationSettings, run_evaluation
from nlcore.video.views import read_scores


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return small_index(tmp_path_factory.mktemp("films"))


def learner_of(recipe, **place):
    learner = ToyLearner(recipe, **place)
    learner.load(LearnerState(initial_network_weights(recipe.network, 1), {}, {}))
    learner.sizes = []
    scores = learner.scores
    learner.scores = lambda pixels: (learner.sizes.append(len(pixels)), scores(pixels))[1]
    return learner


@pytest.mark.parametrize("batch", [1, 3])
def test_scores_are_those_of_the_views(index, tmp_path, batch):
    recipe = small_recipe(test_crops=3, test_crop=36)
    learner, told = learner_of(recipe), []
    settings = EvaluationSettings(recipe, index, tmp_path, batch=batch)
    found = run_evaluation(settings, learner, {"a": 1}, lambda *done: told.append(done))
    clips = EvaluationClips(index, recipe)
    for video in range(5):
        for view in range(6):
            right = learner.scores(clips.load(video, view).pixels[None])[0]
            assert np.array_equal(found.scores[video, view], right.astype(np.float32))
    assert found.computed.all() and told[-1] == (30, 30)
    assert learner.sizes[:2] == [batch, batch]
    read, facts = read_scores([tmp_path / "scores.npz"])
    assert np.array_equal(read.scores, found.scores) and facts == [{"a": 1}]


def test_views_of_different_sizes_are_not_in_one_batch(tmp_path):
    write_film(tmp_path / "wide.mp4", pictures(20, 48, 80))
    write_film(tmp_path / "narrow.mp4", pictures(20, 48, 64))
    (tmp_path / "list.csv").write_text("wide.mp4 0\nnarrow.mp4 1\n")
    listing = read_list("slowfast", Source(tmp_path / "list.csv"))
    index = make_index(listing, tmp_path / "index.jsonl", "slowfast", workers=0).index
    learner = learner_of(small_recipe())
    run_evaluation(EvaluationSettings(small_recipe(), index, tmp_path, batch=3), learner)
    assert learner.sizes == [2, 2]


def test_processes_share_the_views(index, tmp_path):
    recipe = small_recipe()
    alone = run_evaluation(EvaluationSettings(recipe, index, tmp_path / "1"), learner_of(recipe))
    barrier, found = threading.Barrier(3), {}

    def one(process):
        learner = learner_of(recipe, process=process, processes=3)
        learner.summed = lambda values: (barrier.wait(60), values)[1]
        settings = EvaluationSettings(recipe, index, tmp_path / "3")
        found[process] = run_evaluation(settings, learner)

    threads = [threading.Thread(target=one, args=(process,)) for process in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[1] is None and found[2] is None
    assert np.array_equal(found[0].scores, alone.scores) and found[0].computed.all()
    assert [path.name for path in (tmp_path / "3").iterdir()] == ["scores.npz"]
