"""Clips are pure functions of index, recipe, seed and place."""

from dataclasses import replace

import numpy as np
import pytest
from training_set import small_index, small_recipe

from nlcore.video.draws import WORDS, Draw, element, order
from nlcore.video.labels import labels_of
from nlcore.video.loading import EvaluationClips, TrainingClips, ValidationClips
from nlcore.video.loading.clip_sources import spanned
from nlcore.video.sampling import dialect


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return small_index(tmp_path_factory.mktemp("films"))


@pytest.mark.parametrize("sampling", ["paper", "slowfast", "pytorchvideo"])
def test_a_training_clip_is_that_of_its_draw(index, sampling):
    recipe, rules = small_recipe(sampling=sampling), dialect(sampling)
    clips = TrainingClips(index, recipe, seed=7)
    for iteration, slot in ((0, 0), (3, 2)):
        clip, draw = clips.load(iteration, slot), Draw(7, iteration, slot)
        number = element(7, iteration, slot, 4, len(index))
        video = index.videos[number]
        frames = rules.training_clip(video.frames, video.fps, 4, 2, draw)
        view = rules.training_view(48, 64, (36, 48), 32, draw)
        assert clip.video == number and clip.frames.tolist() == frames.tolist()
        assert np.array_equal(clip.pixels, rules.pixels(index.read(number, frames), view))
        assert clip.pixels.flags.c_contiguous and clip.target == video.labels[0]


def test_clips_do_not_depend_on_those_before(index):
    clips = TrainingClips(index, small_recipe(), seed=7)
    late = clips.load(5, 1)
    clips.load(0, 0)
    again = TrainingClips(index, small_recipe(), seed=7).load(5, 1)
    assert np.array_equal(late.pixels, again.pixels)
    other = TrainingClips(index, small_recipe(), seed=8).load(5, 1)
    assert late.video != other.video or not np.array_equal(late.pixels, other.pixels)


def test_without_flips_only_the_flip_differs(index):
    plain, mirrored = small_recipe(flip=False), small_recipe()
    flips = 0
    for slot in range(4):
        a = TrainingClips(index, plain, 7).load(0, slot).pixels
        b = TrainingClips(index, mirrored, 7).load(0, slot).pixels
        flip = Draw(7, 0, slot).flip("flip")
        assert np.array_equal(a[..., ::-1] if flip else a, b)
        flips += flip
    assert 0 < flips < 4


def test_epochs_with_the_last_batch_dropped_or_kept(index):
    schedule = {"iterations": None, "epochs": 3, "batch": 2, "steps": (1,)}
    dropped = TrainingClips(index, small_recipe(**schedule), 7)
    kept = TrainingClips(index, small_recipe(**schedule, last_batch="kept"), 7)
    assert [dropped.count(i) for i in range(4)] == [2, 2, 2, 2]
    assert [kept.count(i) for i in range(4)] == [2, 2, 1, 2]
    for clips, length in ((dropped, 2), (kept, 3)):
        for epoch in range(2):
            places = [
                (i, slot)
                for i in range(epoch * length, (epoch + 1) * length)
                for slot in range(clips.count(i))
            ]
            read = [clips.video(*place) for place in places]
            assert read == order(7, epoch, 5).tolist()[: len(read)]
    with pytest.raises(ValueError, match="slot must be from 0 to 0; received 1"):
        kept.video(2, 1)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [([3, 5, 7], {3, 4, 5, 6, 7}), ([7, 9, 1], {7, 8, 9, 1}), ([4, 4, 4], {4}), ([2], {2})],
)
def test_spanned(frames, expected):
    assert spanned(frames) == expected


def test_labels_of_training_and_of_validation(index):
    video = replace(index.videos[0], labels=(), intervals=((1, 0, 0), (2, 5, 5), (3, 19, 19)))
    one = replace(index, videos=(video,))
    recipe = small_recipe(loss="sigmoid_cross_entropy", frames=2, stride=3, batch=2)
    clip = TrainingClips(one, recipe, 7).load(0, 0)
    first, last = clip.frames.tolist()
    assert last == first + 3
    expected = labels_of(video, range(first, last + 1))
    assert clip.target.nonzero()[0].tolist() == list(expected)
    clip = ValidationClips(one, recipe, 7).load(0)
    assert clip.target.tolist() == [0, 1, 1, 1] and clip.target.dtype == np.float32


def test_validation_clips_are_random_but_fixed(index):
    recipe = small_recipe()
    clip = ValidationClips(index, recipe, 7).load(2)
    rules, draw = dialect("paper"), Draw(7, WORDS - 1, 2)
    frames = rules.training_clip(22, 24.0, 4, 2, draw)
    view = rules.training_view(48, 64, (36, 48), 32, draw)
    assert np.array_equal(clip.pixels, rules.pixels(index.read(2, frames), view))


def test_evaluation_clips_are_the_test_views(index):
    recipe = small_recipe(test_crops=3, test_crop=36, test_short_side=40)
    clip = EvaluationClips(index, recipe).load(1, 4)  # clip 1, crop 1
    rules = dialect("paper")
    frames = rules.test_clip(21, 24.0, 4, 2, 1, 2)
    view = rules.test_view(48, 64, 40, 36, 1, 3)
    assert np.array_equal(clip.pixels, rules.pixels(index.read(1, frames), view))
    whole = EvaluationClips(index, small_recipe()).load(1, 0)
    assert whole.pixels.shape == (3, 4, 40, 53)


def test_crops_of_a_clip_are_read_at_once(index, monkeypatch):
    clips = EvaluationClips(index, small_recipe(test_crops=3, test_crop=36, test_short_side=40))
    alone = [clips.load(1, view) for view in (4, 5)]
    read, reads = type(index).read, []
    monkeypatch.setattr(
        type(index), "read", lambda *given, **k: (reads.append(given), read(*given, **k))[1]
    )
    together = clips.load(1, 4, 6)
    assert len(reads) == 1
    assert np.array_equal(together.pixels, [clip.pixels for clip in alone])
    assert not np.array_equal(*together.pixels)
    assert np.array_equal(together.frames, alone[0].frames)


def test_keys_in_words(index):
    root = index.root
    recipe = small_recipe()
    number = element(7, 3, 1, 4, 5)
    words = TrainingClips(index, recipe, 7).named(3, 1)
    assert words == f"iteration 3, slot 1: {root / index.videos[number].path}"
    words = EvaluationClips(index, recipe).named(0, 1)
    assert words == f"video 0, clip 1, crop 0: {root / '0-astronaut.mp4'}"
    words = EvaluationClips(index, small_recipe(test_crops=3, test_crop=36)).named(0, 3, 5)
    assert words == f"video 0, clip 1, crop 0 to 1: {root / '0-astronaut.mp4'}"
    words = ValidationClips(index, recipe, 7).named(0)
    assert words == f"validation, video 0: {root / '0-astronaut.mp4'}"
