"""The real pictures that films are made of: handwritten digits, and patches of photographs."""

from __future__ import annotations

from functools import cache

import numpy as np

#: Side of a frame, and of a digit in it, in pixels.
SIDE, DIGIT = 40, 14
DIGITS = 10
SPLITS = ("training", "validation")
#: Photographs of scikit-image. Those of validation are in no training film.
PHOTOGRAPHS = {
    "training": ("astronaut", "brick", "camera", "chelsea", "coins", "grass", "moon", "rocket"),
    "validation": ("clock", "coffee", "gravel", "hubble_deep_field", "text"),
}
#: Fraction of a class's images, its first ones, that are in training films only.
TRAINED = 0.65
#: Shorter side of a photograph, of which a patch is the background, and the factor by which it is
#: darkened. Bright backgrounds differ more from film to film than what is asked for: small networks
#: then learn nothing in minutes.
SHORT_SIDE, DARK = 120, 0.06
COLOURS = {
    "white": (255.0, 255.0, 255.0),
    "red": (255.0, 60.0, 40.0),
    "blue": (60.0, 110.0, 255.0),
    "green": (50.0, 220.0, 70.0),
    "yellow": (240.0, 220.0, 40.0),
}


@cache
def digits(split: str) -> tuple[np.ndarray, ...]:
    """Of each class, the images of a split: (images, DIGIT, DIGIT), float from 0 to 1."""
    from skimage.transform import resize
    from sklearn.datasets import load_digits

    found = load_digits()
    classes = []
    for label in range(DIGITS):
        images = found.images[found.target == label] / 16.0  # (images, 8, 8)
        first = round(TRAINED * len(images))
        own = images[:first] if split == SPLITS[0] else images[first:]
        classes.append(np.stack([resize(image, (DIGIT, DIGIT)) for image in own]))
    return tuple(classes)


@cache
def photographs(split: str) -> tuple[np.ndarray, ...]:
    """The photographs of a split: (H, W, 3) each, float from 0 to 255, darkened."""
    from skimage import data
    from skimage.transform import resize

    found = []
    for name in PHOTOGRAPHS[split]:
        picture = getattr(data, name)()
        picture = np.stack([picture] * 3, -1) if picture.ndim == 2 else picture[..., :3]
        scale = SHORT_SIDE / min(picture.shape[:2])
        size = tuple(round(scale * n) for n in picture.shape[:2])
        found.append(DARK * 255 * resize(picture, size, anti_aliasing=True))
    return tuple(found)


def background(split: str, rng: np.random.Generator) -> np.ndarray:
    """A patch of a photograph, (SIDE, SIDE, 3) float."""
    among = photographs(split)
    picture = among[rng.integers(len(among))]
    top, left = (int(rng.integers(n - SIDE + 1)) for n in picture.shape[:2])
    return picture[top : top + SIDE, left : left + SIDE]


def with_shape(
    frame: np.ndarray, shape: np.ndarray, place: tuple[int, int], colour: str = "white"
) -> np.ndarray:
    """A frame with a shape (DIGIT, DIGIT) in a colour, whose top left corner is at a place."""
    top, left = place
    seen = frame.copy()
    part = seen[top : top + DIGIT, left : left + DIGIT]
    part += shape[..., None] * (np.array(COLOURS[colour]) - part)
    return seen
