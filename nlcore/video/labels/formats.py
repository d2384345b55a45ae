"""The list formats by name."""

from __future__ import annotations

from collections.abc import Callable

from nlcore.video.labels import charades, folders, kinetics, text_lists
from nlcore.video.labels.listing import Listing, Source


def _pytorchvideo(source: Source) -> Listing:
    """A file of lines, or a folder of one folder per class."""
    read = folders.class_folders if source.path.is_dir() else text_lists.pytorchvideo
    return read(source)


#: Name of a format -> the function that reads it.
FORMATS: dict[str, Callable[[Source], Listing]] = {
    "slowfast": text_lists.slowfast,
    "slowfast-charades": charades.slowfast_charades,
    "mmaction2": text_lists.mmaction2,
    "pytorchvideo": _pytorchvideo,
    "torchvision": folders.torchvision,
    "kinetics": kinetics.kinetics,
    "charades": charades.charades,
}


def read_list(name: str, source: Source) -> Listing:
    """Read a list of videos in a format. No video is opened.

    Raises
    ------
    ListError
        Lines are refused. The error names all of them.
    ValueError
        The format is not known, or the source lacks what it needs.
    OSError
        The list does not exist or cannot be read.
    """
    if name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}; received {name!r}")
    return FORMATS[name](source)
