"""Who loads the same clips: nlcore's loader, bare PyAV, and torchcodec where it can be imported.

Bare PyAV seeks to the keyframe before a clip, decodes up to its last frame, and lets FFmpeg scale
the wanted frames to the size at which the loader crops them. It neither crops nor normalizes, and
sends nothing to another process. That is the limit of a loader.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nlcore.video import recipe
from nlcore.video.draws import Draw
from nlcore.video.labels import Index, Source, make_index, read_index, read_list
from nlcore.video.loading import TrainingClips, Workers
from nlcore.video.reading import read_frames
from nlcore.video.sampling import dialect

Call = Callable[[], object]
#: A file, the numbers of its wanted frames, and the height and width to which they are scaled.
Wanted = tuple[str, list[int], tuple[int, int]]


def films_index(films: list[Path]) -> Index:
    """An index of films in one folder, each with a label of its own."""
    folder = films[0].parent
    (folder / "list.txt").write_text("".join(f"{p.name} {n}\n" for n, p in enumerate(films)))
    listing = read_list("slowfast", Source(folder / "list.txt", classes=len(films)))
    make_index(listing, folder / "index.jsonl", "slowfast", workers=0)
    return read_index(folder / "index.jsonl")


def training_clips(index: Index) -> TrainingClips:
    """Those of the paper: 32 of 64 frames, short side 256 to 320, 224 x 224 pixels."""
    return TrainingClips(index, recipe("paper", network={"classes": len(index)}), seed=0)


def wanted(clips: TrainingClips, slot: int) -> Wanted:
    """What a slot of iteration 0 reads, as `TrainingClips.load` draws it."""
    of, draw = clips.recipe, Draw(clips.seed, 0, slot)
    rules, number = dialect(of.sampling), clips.video(0, slot)
    video = clips.index.videos[number]
    frames = rules.training_clip(video.frames, video.fps, of.frames, of.stride, draw)
    view = rules.training_view(video.height, video.width, of.jitter, of.crop, draw)
    return str(clips.index.root / video.path), frames.tolist(), view.size


def decode_and_scale(clip: Wanted) -> None:
    """Bare PyAV."""
    import av
    from av.video.reformatter import VideoReformatter

    path, frames, (height, width) = clip
    places, reformatter = set(frames), VideoReformatter()
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        ticks = 1 / (stream.time_base * stream.average_rate)  # of the stream, in a frame
        container.seek(int(min(frames) * ticks), stream=stream)
        for frame in container.decode(stream):
            number = round(frame.pts / ticks)
            if number in places:
                reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
            if number >= max(frames):
                return


def decode_from_start(clip: Wanted) -> None:
    """nlcore's reader without the number of frames, so that it cannot seek."""
    path, frames, _ = clip
    read_frames(path, frames)


def decode_after_seek(clip: Wanted, count: int) -> None:
    """nlcore's reader with the number of frames, so that it seeks."""
    path, frames, _ = clip
    read_frames(path, frames, count)


def torchcodec(clip: Wanted) -> None:
    """torchcodec, which scales with FFmpeg too."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    path, frames, size = clip
    decoder = VideoDecoder(path, num_ffmpeg_threads=1, transforms=[Resize(size)])
    decoder.get_frames_at(frames)


def have_torchcodec() -> bool:
    """Whether it can be imported, which needs an FFmpeg that it finds."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@contextmanager
def loaders(clips: TrainingClips, workers: int, count: int) -> Iterator[dict[str, Call]]:
    """Calls that load the first `count` clips with a number of processes, by name."""
    keys = [(0, slot) for slot in range(count)]
    tasks = [wanted(clips, slot) for slot in range(count)]
    peers: dict[str, Callable[[Wanted], None]] = {"bare": decode_and_scale}
    if have_torchcodec():
        peers["torchcodec"] = torchcodec
    with ExitStack() as stack:
        ours = stack.enter_context(Workers({"training": clips}, workers))
        run: Callable[..., Any] = map
        if workers:
            context = multiprocessing.get_context("spawn")
            run = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context)).map
        calls: dict[str, Call] = {"nlcore": lambda: [0 for _ in ours.clips("training", keys)]}
        for name, peer in peers.items():
            calls[name] = lambda peer=peer: list(run(peer, tasks))
        yield calls
