"""nlcore-coco check: all that is wrong or special in a set, before a long run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nlcore.coco.cli.coco_options import Folder, or_exit
from nlcore.coco.images.annotation_rules import KINDS
from nlcore.coco.images.annotations import FILES
from nlcore.coco.images.set_check import SetReport, check_set
from nlcore.video.cli.terminal import progress

#: Findings of a kind that are printed, of all that are in the file.
SHOWN = 3


def check(
    folder: Folder,
    split: Annotated[
        str | None,
        typer.Option(help="Split to check, such as train2017. Default: all.", metavar="NAME"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write all findings to this file, as one JSON object on each line.", metavar="FILE"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Threads that decode images.", min=1)] = 4,
) -> None:
    """Read the annotation files of a folder in COCO's layout, and every image.

    It counts each kind of finding, and tells what training and evaluation do with it. The exit
    status is 1 if there is an error that prevents training.
    """
    with or_exit():
        files = _annotation_files(folder, split)
        reports = {}
        for path, images, task in files:
            with progress(Console(stderr=True), path.stem) as tell:
                reports[path] = check_set(path, images, task, workers, tell)
        if output is not None:
            _write(output, reports)
    for path, report in reports.items():
        _print(path, report)
    raise typer.Exit(int(any(report.errors for report in reports.values())))


def _annotation_files(folder: Path, split: str | None) -> list[tuple[Path, Path, str]]:
    """Annotation file, folder of images and task of each split."""
    found = []
    for task, start in FILES.items():
        for path in sorted((folder / "annotations").glob(f"{start}_*.json")):
            name = path.stem.removeprefix(f"{start}_")
            if split in (None, name):
                found.append((path, folder / name, task))
    if not found:
        wanted = f"{folder}/annotations must have files such as instances_{split or 'train2017'}"
        raise ValueError(f"{wanted}.json or person_keypoints_{split or 'train2017'}.json")
    return found


def _print(path: Path, report: SetReport) -> None:
    print(
        f"{path}: {report.images} images, {report.annotations} annotations; "
        f"{report.trained} images are trained on"
    )
    table = Table(box=None, pad_edge=False)
    for column in ("finding", "number", "what is done", "such as"):
        table.add_column(column, header_style="dim", overflow="fold")
    for kind, count in sorted(report.counts.items(), key=lambda one: KINDS[one[0]] is not None):
        first = [f"{f.where}: {f.what}" for f in report.findings if f.kind == kind][:SHOWN]
        done = KINDS[kind] or "[bold]an error[/bold]"
        table.add_row(kind, str(count), done, "\n".join(first).replace("[", r"\["))
    if report.findings:
        Console().print(table)


def _write(output: Path, reports: dict[Path, SetReport]) -> None:
    lines = [
        json.dumps({"file": str(path), **finding._asdict(), "error": finding.is_error})
        for path, report in reports.items()
        for finding in report.findings
    ]
    output.write_text("".join(f"{line}\n" for line in lines), "utf-8")
