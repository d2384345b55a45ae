"""Films as files, their index, and an index whose films are decoded once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from nlcore.video.labels import Index, Source, make_index, read_index, read_list
from nlcore.video.reading import Each
from what_blocks_learn.film_tasks import Task
from what_blocks_learn.pictures_used import SPLITS

#: Lossless, so that two films with the same frames give the same frames.
LOSSLESS = {"qp": "0", "preset": "ultrafast"}
RATE = 24
#: Called with the number of films that are done, of how many.
Tell = Callable[[int, int], None]


def make_films(task: Task, folder: Path, seed: int, tell: Tell = lambda done, total: None) -> None:
    """Write the films and the index of both splits, unless they are there."""
    for split in SPLITS:
        index = index_file(folder, task, split)
        if index.exists():
            continue
        videos = folder / task.name / split
        shutil.rmtree(videos, ignore_errors=True)
        for label in task.labels:
            (videos / label).mkdir(parents=True)
        for done, (name, film) in enumerate(task.films(split, seed), start=1):
            encode(videos / film.label / f"{name}.mp4", film.frames)
            tell(done, task.groups[split])
        listing = read_list("pytorchvideo", Source(videos))
        make_index(listing, index, "pytorchvideo", workers=0)


def index_file(folder: Path, task: Task, split: str) -> Path:
    """Where the index of a split is."""
    return folder / task.name / f"{split}.jsonl"


def encode(path: Path, frames: np.ndarray) -> None:
    """Write frames (T, H, W, 3), uint8, as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=LOSSLESS)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


@dataclass(frozen=True)
class DecodedIndex(Index):
    """An index that keeps the frames that were read. Films are few and small."""

    kept: dict[tuple[int, tuple[int, ...]], np.ndarray] = field(default_factory=dict, compare=False)

    def read(
        self,
        number: int,
        indices: Sequence[int],
        threads: int = 1,
        each: Each | None = None,
        axis: int = 0,
    ) -> np.ndarray:
        """See `Index.read`."""
        key = number, tuple(indices)
        if key not in self.kept:
            self.kept[key] = Index.read(self, number, indices, threads)
        frames = self.kept[key]
        if each is None:
            return frames
        return np.stack([each(frame) for frame in frames], axis)


def decoded_index(file: Path) -> DecodedIndex:
    """The index of a file. It checks the films."""
    found = read_index(file)
    return DecodedIndex(found.format, found.names, found.root, found.videos)


def groups_of(index: Index) -> np.ndarray:
    """The number of each film's group: (films,) int64."""
    return np.array([int(Path(video.path).stem.partition("-")[0]) for video in index.videos])
