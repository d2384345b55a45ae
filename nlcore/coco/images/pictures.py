"""Images as they are read for detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

#: Tag of the orientation in EXIF.
ORIENTATION = 0x0112
#: Orientations with which a viewer swaps width and height.
TURNED = (5, 6, 7, 8)


def read_picture(path: Path, width: int, height: int) -> np.ndarray:
    """The pixels (height, width, 3) uint8 of an image, in RGB.

    Pillow converts grey, CMYK and images with a palette or transparency, as torchvision's
    `CocoDetection` lets it. The orientation in EXIF is ignored, because annotations are of the
    stored pixels.

    Raises
    ------
    OSError
        The file does not exist or is damaged.
    ValueError
        The image has another size.
    """
    from PIL import Image

    with Image.open(path) as picture:
        check_size(picture.size, picture.getexif().get(ORIENTATION, 1), width, height)
        return np.array(picture.convert("RGB"))


def check_size(size: tuple[int, int], orientation: int, width: int, height: int) -> None:
    """Raise a ValueError unless an image has the size that the annotations state."""
    if size == (width, height):
        return
    reason = ""
    if orientation in TURNED and size == (height, width):
        reason = (
            f": its EXIF orientation {orientation} turns it, and the annotations must be of the "
            "stored pixels"
        )
    raise ValueError(
        f"the image must have {width} x {height} pixels, as its annotations state; received "
        f"{size[0]} x {size[1]}{reason}"
    )
