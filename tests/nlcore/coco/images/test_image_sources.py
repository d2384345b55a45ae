"""Images are pure functions of set, recipe, seed, iteration and slot."""

import pickle

import numpy as np
import pytest
from small_sets import HEIGHT, WIDTH, Image, document, small_coco_recipe, small_set, write_set

from nlcore.coco import read_coco
from nlcore.coco.images.image_sources import (
    EvaluationImages,
    TrainingImages,
    check_classes,
    image_batch,
)
from nlcore.video.draws import Draw
from nlcore.video.loading import LoadingError, Workers

pytest.importorskip("pycocotools")


def test_every_epoch_reads_every_image(tmp_path):
    images = TrainingImages(small_set(tmp_path), small_coco_recipe(), 5)
    assert images.numbers == [0, 1, 2] and len(images) == 3
    read = [images.image(i, slot) for i in range(6) for slot in range(2)]
    assert [sorted(read[n : n + 3]) for n in range(0, 12, 3)] == [[0, 1, 2]] * 4
    epochs = {"iterations": None, "epochs": 4, "steps": (2,)}
    by_epoch = TrainingImages(images.images, small_coco_recipe(**epochs), 5)
    read = [by_epoch.image(i, slot) for i in range(4) for slot in range(2)]
    assert all(len({read[n], read[n + 1]}) == 2 for n in range(0, 8, 2))  # one is left out


@pytest.mark.parametrize("task", ["mask", "keypoints"])
def test_a_slot_is_always_the_same(tmp_path, task):
    images = TrainingImages(small_set(tmp_path, task), small_coco_recipe(task), 7)
    flipped = 0
    for key in ((0, 0), (0, 1), (3, 0), (5, 1)):
        first = images.load(*key)
        again = pickle.loads(pickle.dumps(images)).load(*key)
        assert first.number == again.number == images.image(*key)
        assert np.array_equal(first.pixels, again.pixels)
        assert all(np.array_equal(first.target[n], again.target[n]) for n in first.target)
        own = np.array(Image.open(images.images.file(first.number)))
        flip = Draw(7, *key).flip("flip")
        assert np.array_equal(first.pixels, own[:, ::-1] if flip else own)
        left, _, right, _ = first.target["boxes"][0]
        x, _, side, _ = images.images.annotations(first.number)[0]["bbox"]
        assert (left, right) == ((WIDTH - x - side, WIDTH - x) if flip else (x, x + side))
        flipped += flip
    assert 0 < flipped < 4
    never = TrainingImages(images.images, small_coco_recipe(task, flip=False), 7)
    assert (
        never.load(0, 0).target["boxes"][0, 0]
        == images.images.annotations(never.image(0, 0))[0]["bbox"][0]
    )


def test_images_of_all_kinds(tmp_path):
    images = small_set(tmp_path)
    grey = np.full((HEIGHT, WIDTH), 90, np.uint8)
    Image.fromarray(grey).save(images.file(0))
    cmyk = Image.fromarray(np.stack([grey] * 4, -1), "CMYK")
    cmyk.save(images.file(1), "TIFF")
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    stored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    stored[:8] = 200
    Image.fromarray(stored).save(images.file(2), exif=exif)
    source = EvaluationImages(images)
    assert (source.load(0).pixels == 90).all()
    assert np.array_equal(source.load(1).pixels, np.array(cmyk.convert("RGB")))
    assert np.array_equal(source.load(2).pixels, stored)
    assert source.load(3).target == {}


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read(tmp_path, workers):
    images = small_set(tmp_path)
    Image.new("RGB", (5, 5)).save(images.file(1))
    images.file(2).unlink()
    for number, reason in ((1, "must have 96 x 64 pixels"), (2, "No such file")):
        with Workers({"test": EvaluationImages(images)}, workers) as loading:
            with pytest.raises(LoadingError, match=f"image {number + 1}: .*{reason}"):
                list(loading.clips("test", [(0,), (number,)]))


def test_sets_that_do_not_fit(tmp_path):
    content = document()
    content["categories"].append({"id": 7, "name": "other"})
    images = read_coco(write_set(tmp_path, content), tmp_path / "train")
    with pytest.raises(ValueError, match=r"must be from 1 to 1 for detector.classes=2 .* has 7"):
        check_classes(images, small_coco_recipe())
    with pytest.raises(ValueError, match="must be read for 'keypoints'; received 'mask'"):
        check_classes(images, small_coco_recipe("keypoints"))
    empty = small_set(tmp_path / "empty", annotations=[])
    with pytest.raises(ValueError, match="must have an image to train on; received 4 images"):
        TrainingImages(empty, small_coco_recipe(), 0)


def test_batches(tmp_path):
    images = TrainingImages(small_set(tmp_path), small_coco_recipe(), 1)
    batch = image_batch(2, 1, [images.load(2, 1)])
    assert (batch.iteration, batch.first, batch.numbers) == (2, 1, [images.image(2, 1)])
    assert batch.targets[0]["boxes"].shape == (1, 4) and batch.pixels[0].shape == (HEIGHT, WIDTH, 3)
