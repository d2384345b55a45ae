"""Videos in one folder per class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nlcore.video.labels.listing import Entry, Faults, Listing, Source, named_numbers


def class_folders(source: Source) -> Listing:
    """pytorchvideo's folders: class/video.

    Every file in a class's folder, or in folders in it, is a video. Hidden files and folders are
    passed over, as are files beside the classes' folders.
    """
    root, faults = source.path, Faults(source.path)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} must be a folder of one folder per class")
    if source.root is not None:
        raise ValueError(f"root must be the folder of the classes itself; received {source.root}")
    folders = sorted(_visible(root, files=False))
    numbers = named_numbers(source, [(0, folder.name) for folder in folders], faults)
    entries = []
    for folder in folders:
        videos = sorted(_files(folder))
        if not videos:
            faults.add(0, f"the folder of class {folder.name!r} must have videos; received none")
        labels = (numbers.get(folder.name, 0),)
        entries += [Entry(0, video.relative_to(root).as_posix(), labels) for video in videos]
    if not folders:
        faults.add(0, "the folder must have one folder per class; received none")
    faults.check()
    return Listing(tuple(entries), root, tuple(numbers))


def torchvision(source: Source) -> Listing:
    """torchvision's Kinetics: root/split/class/video."""
    if source.split is None:
        raise ValueError(
            f"split must be the name of a folder in {source.path} (--split); received none"
        )
    return class_folders(replace(source, path=source.path / source.split, split=None))


def _visible(folder: Path, files: bool) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path.is_file() if files else path.is_dir())
    ]


def _files(folder: Path) -> list[Path]:
    inside = [path for child in _visible(folder, files=False) for path in _files(child)]
    return _visible(folder, files=True) + inside
