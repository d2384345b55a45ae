"""nlcore-video index and split: a list becomes an index file, and an index is divided into two."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nlcore.video.cli.terminal import or_exit, progress
from nlcore.video.labels import divided, read_index
from nlcore.video.labels.formats import FORMATS, read_list
from nlcore.video.labels.index_file import write_index
from nlcore.video.labels.listing import Source
from nlcore.video.labels.making import IMAGE_FPS, Summary, beside, make_index

#: Names of skipped videos that are printed, of all that are in the file.
SHOWN = 10

FormatName = StrEnum("FormatName", {name: name for name in FORMATS})  # type: ignore[misc]


def index(
    format: Annotated[FormatName, typer.Argument(help="Format of the list.", metavar="FORMAT")],
    source: Annotated[
        Path, typer.Argument(help="The list, or the folder of the classes.", metavar="LIST")
    ],
    output: Annotated[
        Path, typer.Argument(help="The index file to write, NAME.jsonl.", metavar="INDEX")
    ],
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of the videos. Default: the list's folder.", metavar="DIR"),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            help="Separator of path and label. Default: that of the format, a space.",
            metavar="TEXT",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="File of the names of the labels, one on each line, from label 0 on.",
            metavar="FILE",
        ),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of labels, if you do not pass names.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split to read, if the list or folder contains several.")
    ] = None,
    image_fps: Annotated[
        float, typer.Option(help="Frames per second of videos that are folders of images.")
    ] = IMAGE_FPS,
    workers: Annotated[
        int | None, typer.Option(help="Processes that decode. Default: one for each processor.")
    ] = None,
) -> None:
    """Decode every video of a list once and write an index of them.

    FORMAT is slowfast, slowfast-charades, mmaction2, pytorchvideo, torchvision, kinetics or
    charades. INDEX.skipped.jsonl names the videos that cannot be decoded, and the exit status is
    then 1. After an interruption, the same command goes on where it was.
    """
    console = Console(stderr=True)
    with or_exit():
        import av  # noqa: F401  # before any work

        given = Source(source, root, separator, _names(names), classes, split)
        with console.status(f"reading {source}"):
            listing = read_list(format.value, given)
        with progress(console, "decoding") as tell:
            summary = make_index(listing, output, format.value, workers, image_fps, tell)
    _print(summary, output)
    raise typer.Exit(int(bool(summary.skipped)))


def split(
    index: Annotated[Path, typer.Argument(help="The index to divide.", metavar="INDEX")],
    training: Annotated[
        Path,
        typer.Argument(help="Index to write, of the videos to train with.", metavar="TRAINING"),
    ],
    validation: Annotated[
        Path, typer.Argument(help="Index to write, of the other videos.", metavar="VALIDATION")
    ],
    fraction: Annotated[
        float, typer.Option(help="Fraction of each label's videos that goes to VALIDATION.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
) -> None:
    """Divide an index at random into one to train with and one to validate with.

    Nothing is decoded. Videos that are cut from one recording may get into both. For such videos,
    make two lists instead.
    """
    with or_exit():
        for path in (training, validation):
            if path.exists():
                raise FileExistsError(f"{path} exists; delete it, or name another file")
        if training.absolute() == validation.absolute():
            raise ValueError(f"TRAINING and VALIDATION must differ; received {training} twice")
        parts = divided(read_index(index, check=False), fraction, seed)
        for path, part in zip((training, validation), parts, strict=True):
            write_index(path, part)
            print(f"{path}: {len(part)} videos")


def _names(file: Path | None) -> tuple[str, ...] | None:
    return None if file is None else tuple(line for _, line in Source(file).lines())


def _print(summary: Summary, output: Path) -> None:
    """What was made, and what was not."""
    made = summary.index
    frames = sum(video.frames for video in made.videos)
    print(f"{output}: {len(made)} videos, {frames} frames, {len(made.names)} labels")
    print(f"decoded {summary.decoded}, known from earlier runs {summary.known}")
    for what, group in (("skipped videos", summary.skipped), ("dropped actions", summary.dropped)):
        if group:
            print(f"{what}: {len(group)}, all of them in {beside(output, 'skipped')}:")
            for each in group[:SHOWN]:
                line = f"line {each.line}, " if each.line else ""
                text = f"  {line}{each.path}: {each.reason}"
                print(text.encode("utf-8", "backslashreplace").decode())  # names may be any bytes
            if len(group) > SHOWN:
                print(f"  and {len(group) - SHOWN} more")
