"""The dialects beside the code that they were read in, where it is installed.

The files are loaded by themselves: their packages import much that nothing here needs.
"""

from __future__ import annotations

import importlib.util
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from given_draw import Given

from nlcore.video.draws import Draw
from nlcore.video.sampling import dialect
from nlcore.video.sampling.timing import SpreadInSeconds, Video

torch = pytest.importorskip("torch")

CLIPS = [(32, 2), (8, 8), (16, 4), (64, 1)]
VIDEOS = [
    (n, fps) for n in (20, 64, 65, 150, 300, 301) for fps in (15.0, 24.0, 30000 / 1001, 30.0, 60.0)
]
SIZES = [(240, 320), (320, 240), (256, 340), (97, 97), (360, 480), (67, 116)]


def load(package, file):
    """A file of an installed package, without the package."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    path = Path(found.submodule_search_locations[0]) / file
    spec = importlib.util.spec_from_file_location(f"{package}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def decoder():
    return load("slowfast", "datasets/decoder.py")


@pytest.fixture(scope="module")
def transform():
    return load("slowfast", "datasets/transform.py")


@pytest.fixture(scope="module")
def clip_sampling():
    return load("pytorchvideo", "data/clip_sampling.py")


@pytest.fixture(scope="module")
def functional():
    return load("pytorchvideo", "transforms/functional.py")


def uniform_by(u):
    """Of `random` or NumPy, where the number in [0, 1) is given."""
    return lambda a, b: a + (b - a) * u


class Randint:
    """NumPy's, where the integers are given."""

    def __init__(self, *given):
        self.asked, self.given = [], iter(given)

    def __call__(self, low, high):
        self.asked.append((low, high))
        return next(self.given)


def numbers(count):
    """A video whose frames are their own numbers."""
    return torch.arange(count)[:, None]


def every_pixel(height, width):
    """A frame (1, 1, H, W) whose pixels are their own numbers."""
    return torch.arange(height * width, dtype=torch.float64).reshape(1, 1, height, width)


@pytest.mark.parametrize("frames, stride", CLIPS)
def test_clips_of_slowfast(frames, stride, decoder, monkeypatch):
    """VC-2.5 VC-2.6"""
    for count, fps in VIDEOS:
        size = max(1.0, stride * frames / 30 * fps)
        for view in range(10):
            start, end = decoder.get_start_end_idx(count, size, view, 10)
            expected = decoder.temporal_sampling(numbers(count), start, end, frames)[:, 0]
            found = dialect("slowfast").test_clip(count, fps, frames, stride, view, 10)
            assert found.tolist() == expected.tolist(), (count, fps, view)
        for n in range(5):
            draw = Draw(0, n, 0)
            monkeypatch.setattr(random, "uniform", uniform_by(draw.uniform("start")))
            start, end = decoder.get_start_end_idx(count, size, -1, 10)
            expected = decoder.temporal_sampling(numbers(count), start, end, frames)[:, 0]
            found = dialect("slowfast").training_clip(count, fps, frames, stride, draw)
            assert found.tolist() == expected.tolist(), (count, fps, n)


def test_clips_that_slowfast_decodes_by_time(decoder):
    """VC-2.6: its readers that seek cut the start to a frame first, which moves frames by one."""
    moved = set()
    for view in range(10):
        start, _ = decoder.get_start_end_idx(300, 64.0, view, 10)
        first = int(np.ceil(start))
        sought = decoder.temporal_sampling(numbers(300)[first:], 0, 63.0, 32)[:, 0].numpy()
        found = dialect("slowfast").test_clip(300, 30, 32, 2, view, 10)
        moved |= set((sought - found).tolist())
    assert moved == {0, 1}


@pytest.mark.parametrize("height, width", SIZES)
def test_sizes_and_crops_of_slowfast(height, width, transform, monkeypatch):
    """VC-3.2 VC-3.7 VC-4.3 VC-4.7 VC-4.9"""
    image = torch.zeros(1, 1, height, width)
    for n in range(20):
        draw = Draw(1, n, 0)
        view = dialect("slowfast").training_view(height, width, (64, 80), 56, draw)
        monkeypatch.setattr(np.random, "uniform", uniform_by(draw.uniform("jitter")))
        resized, _ = transform.random_short_side_scale_jitter(image, 64, 80)
        assert tuple(resized.shape[2:]) == view.size
        randint = Randint(view.top, view.left)
        monkeypatch.setattr(np.random, "randint", randint)
        pixels = every_pixel(*view.size)
        cropped, _ = transform.random_crop(pixels, 56)
        assert torch.equal(
            cropped, pixels[:, :, view.top : view.top + 56, view.left : view.left + 56]
        )
        assert randint.asked == [(0, side - 56) for side in view.size]
        given = Given({"jitter": draw.uniform("jitter")})
        dialect("slowfast").training_view(height, width, (64, 80), 56, given)
        assert [given.asked["top"], given.asked["left"]] == [(a, b - 1) for a, b in randint.asked]
    for crop in (55, 64):
        views = [dialect("slowfast").test_view(height, width, 64, crop, k, 3) for k in range(3)]
        pixels = every_pixel(*views[0].size)
        for k, view in enumerate(views):
            cropped, _ = transform.uniform_crop(pixels, crop, k)
            expected = pixels[..., view.top : view.top + crop, view.left : view.left + crop]
            assert torch.equal(cropped, expected)
        assert dialect("slowfast").test_view(height, width, 64, crop) == views[1]


def test_pixels_of_slowfast(transform, rng):
    """VC-5.3 VC-5.4"""
    frames = rng.integers(0, 256, (2, 240, 320, 3), dtype=np.uint8)
    normalized = (
        torch.from_numpy(frames).float() / 255.0 - torch.tensor([0.45] * 3)
    ) / torch.tensor([0.225] * 3)
    table = dialect("slowfast").values.table()
    assert np.array_equal(normalized.numpy(), table[np.arange(3), frames])
    images, _ = transform.random_short_side_scale_jitter(normalized.permute(3, 0, 1, 2), 256, 256)
    cropped, _ = transform.uniform_crop(images, 256, 2)
    flipped = cropped.flip(-1).numpy()
    view = dialect("slowfast").test_view(240, 320, 256, 256, 2, 3)
    found = dialect("slowfast").pixels(frames, view)[..., ::-1]
    most, u = abs(normalized).max().item(), 2.0**-24
    # as in test_resampling.py
    assert abs(found - flipped).max() <= 8 * u * most + 2 * u * (240 + 320) * 2 * most


@pytest.mark.parametrize("frames, stride", CLIPS)
def test_clips_of_pytorchvideo(frames, stride, clip_sampling, functional, monkeypatch):
    """VC-2.8 VC-2.9: in testing, version 0.1.5 divides by V, not by V - 1."""
    for count, fps in VIDEOS:
        rate = Fraction(fps).limit_denominator(1001)
        duration = frames * stride / 30

        def shown(start, end, count=count, rate=rate):
            """The frames at start <= i / fps < end."""
            times = [i / rate for i in range(count)]
            return torch.tensor([i for i, time in enumerate(times) if start <= time < end])

        for n in range(3):
            draw = Draw(0, n, 0)
            monkeypatch.setattr(random, "uniform", uniform_by(draw.uniform("start")))
            sampler = clip_sampling.RandomClipSampler(duration)
            info = sampler(0.0, count / rate, {})
            clip = shown(info.clip_start_sec, info.clip_end_sec)
            expected = functional.uniform_temporal_subsample(clip, frames, 0)
            found = dialect("pytorchvideo").training_clip(count, rate, frames, stride, draw)
            assert found.tolist() == expected.tolist(), (count, fps, n)
        sampler = clip_sampling.ConstantClipsPerVideoSampler(duration, 9)
        for view in range(9):
            info = sampler(0.0, count / rate, {})
            clip = shown(info.clip_start_sec, info.clip_end_sec)
            expected = functional.uniform_temporal_subsample(clip, frames, 0)
            found = dialect("pytorchvideo").test_clip(count, rate, frames, stride, view, 10)
            assert found.tolist() == expected.tolist(), (count, fps, view)


def test_starts_of_the_trainer_of_pytorchvideo(clip_sampling):
    """VC-2.8"""
    sampler = clip_sampling.ConstantClipsPerVideoSampler(2.13, 9)
    timing, video = SpreadInSeconds(Fraction(2.13)), Video(300, 30, 8, 8)
    for view in range(9):
        start = sampler(0.0, Fraction(10), {}).clip_start_sec
        assert timing.test_start(video, view, 10) == start * 30


@pytest.mark.parametrize("height, width", SIZES)
def test_sizes_and_crops_of_pytorchvideo(height, width, functional):
    """VC-3.7 VC-4.7"""
    video = torch.zeros(3, 1, height, width)
    for short in (64, min(height, width)):
        views = [
            dialect("pytorchvideo").test_view(height, width, short, 56, k, 3) for k in range(3)
        ]
        assert tuple(functional.short_side_scale(video, short).shape[2:]) == views[0].size
        pixels = every_pixel(*views[0].size)
        for k, view in enumerate(views):
            expected = pixels[..., view.top : view.top + 56, view.left : view.left + 56]
            assert torch.equal(functional.uniform_crop(pixels, 56, k), expected)


def test_sizes_of_mmcv():
    """VC-3.8"""
    mmcv = pytest.importorskip("mmcv", exc_type=ImportError)
    for height in range(64, 1201, 7):
        for width in (171, 240, 256, 340, 1280):
            expected = mmcv.rescale_size((width, height), (float("inf"), 256))
            assert dialect("mmaction2").test_view(height, width, 256).size == expected[::-1]
