"""Films of photographs with a hand-held camera, of the size of Kinetics' videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

#: Photographs of scikit-image that are at least as large as a frame.
PHOTOGRAPHS = ("astronaut", "coffee", "hubble_deep_field", "rocket")
HEIGHT, WIDTH, RATE, SECONDS = 256, 340, 30, 10
#: Frames from a keyframe to the next at most: a second, and what x264 does by itself.
GROUPS = (30, 250)


def make_films(folder: Path, group: int) -> list[Path]:
    """One film of each photograph: H.264, 340 x 256, 30 frames a second, 10 s."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, name in enumerate(PHOTOGRAPHS):
        paths.append(folder / f"{name}.mp4")
        _encode(paths[-1], group, _frames(name, np.random.default_rng(number)))
    return paths


def _encode(path: Path, group: int, frames: Iterator[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": str(group)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            container.mux(stream.encode(frame.reformat(WIDTH, HEIGHT, "yuv420p")))
        container.mux(stream.encode())


def _frames(name: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """A window of the photograph that moves and changes its size, with the noise of a sensor."""
    from skimage import data

    photograph = getattr(data, name)()[..., :3]
    rows, columns = photograph.shape[:2]
    largest = min(rows / HEIGHT, columns / WIDTH)
    speeds, phases = rng.uniform(0.5, 2.0, 3), rng.uniform(0, 2 * np.pi, 3)
    for time in np.arange(RATE * SECONDS) / RATE:
        zoom, down, right = 0.5 + 0.5 * np.sin(speeds * time + phases)  # each from 0 to 1
        scale = 0.8 + (largest - 0.8) * zoom
        height, width = int(scale * HEIGHT), int(scale * WIDTH)
        top, left = int(down * (rows - height)), int(right * (columns - width))
        seen = photograph[top : top + height, left : left + width]
        noise = rng.normal(0, 3, seen.shape)
        yield np.clip(seen + noise, 0, 255).astype(np.uint8)
