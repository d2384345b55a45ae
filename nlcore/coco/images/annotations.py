"""CocoSet: the images and annotations of a file in COCO's format, checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlcore.coco.images.annotation_rules import Finding, annotation_findings, document_findings

#: Findings that an error contains.
NAMED = 3
#: Task -> how the names of annotation files begin.
FILES = {"mask": "instances", "keypoints": "person_keypoints"}


@dataclass(frozen=True)
class CocoImage:
    """An image of a set: its id, file name, and size in pixels."""

    id: int
    file: str
    width: int
    height: int


@dataclass(frozen=True)
class Category:
    """A category: its id and name, and for persons the names of keypoints and joined pairs."""

    id: int
    name: str
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class CocoSet:
    """Images and their annotations.

    Attributes
    ----------
    path : Path
        The file of annotations.
    folder : Path
        Folder of the images.
    task : {"mask", "keypoints"}
    images : tuple of CocoImage
        Ordered by id, as torchvision's `CocoDetection` orders them.
    stored : tuple of bytes
        The annotations of each image as JSON: whole sets are copied into the processes that load
        images, and objects take ten times the memory.
    categories : tuple of Category
    """

    path: Path
    folder: Path
    task: str
    images: tuple[CocoImage, ...]
    stored: tuple[bytes, ...] = field(repr=False)
    categories: tuple[Category, ...]

    def __len__(self) -> int:
        return len(self.images)

    def annotations(self, number: int) -> list[dict[str, Any]]:
        """The annotations of an image, by its place in `images`."""
        return json.loads(self.stored[number])

    def file(self, number: int) -> Path:
        """The file of an image."""
        return self.folder / self.images[number].file

    @property
    def digest(self) -> str:
        """SHA-256 of all that training reads of the set, but the pixels."""
        digest = hashlib.sha256(repr((self.task, self.categories)).encode())
        for image, stored in zip(self.images, self.stored, strict=True):
            digest.update(repr(image).encode() + stored)
        return digest.hexdigest()

    def largest_label(self) -> int:
        """The largest id of a category."""
        return max(category.id for category in self.categories)


def read_document(path: Path) -> Any:
    """The content of an annotation file.

    Raises
    ------
    ValueError
        It is not JSON.
    OSError
        It cannot be read.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON; received text that is not: {error}") from None


def read_coco(path: Path | str, folder: Path | str, task: str = "mask") -> CocoSet:
    """Read a file in COCO's format.

    Parameters
    ----------
    path : path
        Such as instances_train2017.json or person_keypoints_train2017.json.
    folder : path
        Folder of the images.
    task : {"mask", "keypoints"}
        What will be trained or tested.

    Raises
    ------
    ValueError
        Something in the file is wrong. The message names the first findings and their number.
        `nlcore.coco.check_set` lists all of them, and reads the images too.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> image = {"id": 1, "file_name": "1.jpg", "width": 4, "height": 3}
    >>> document = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cup"}]}
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "instances_tiny.json")
    ...     _ = path.write_text(json.dumps(document))
    ...     images = read_coco(path, folder)
    >>> len(images), images.annotations(0), images.largest_label()
    (1, [], 1)
    """
    path = Path(path)
    document = read_document(path)
    if wrong := [*errors(document_findings(document, task))]:
        raise ValueError(f"{path}: {listed(wrong)}")
    if wrong := [*errors(annotation_findings(document, task))]:
        raise ValueError(f"{path}: {listed(wrong)}")
    return coco_set(document, path, Path(folder), task)


def coco_set(document: dict[str, Any], path: Path, folder: Path, task: str) -> CocoSet:
    """The set of a document without errors."""
    grouped: dict[int, list[Any]] = {image["id"]: [] for image in document["images"]}
    for annotation in document["annotations"]:
        grouped[annotation["image_id"]].append(annotation)
    images = [
        CocoImage(image["id"], image["file_name"], image["width"], image["height"])
        for image in sorted(document["images"], key=lambda image: image["id"])
    ]
    categories = [
        Category(
            one["id"],
            one["name"],
            tuple(one.get("keypoints", ())),
            tuple((pair[0], pair[1]) for pair in one.get("skeleton", ())),
        )
        for one in sorted(document["categories"], key=lambda one: one["id"])
    ]
    stored = tuple(
        json.dumps(grouped[image.id], separators=(",", ":")).encode() for image in images
    )
    return CocoSet(path, folder, task, tuple(images), stored, tuple(categories))


def errors(findings: Iterable[Finding]) -> Iterable[Finding]:
    """The findings that prevent a training."""
    return (finding for finding in findings if finding.is_error)


def listed(wrong: Sequence[Finding]) -> str:
    """The first findings as one text."""
    more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return "; ".join(f"{one.where}: {one.what}" for one in wrong[:NAMED]) + more


def coco_files(folder: Path | str, split: str, task: str) -> tuple[Path, Path]:
    """Find the annotation file and the folder of images of a split, in COCO's layout.

    Raises
    ------
    ValueError
        The task is unknown.
    FileNotFoundError
        One of them does not exist.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as coco:
    ...     (Path(coco) / "val2017").mkdir()
    ...     (Path(coco) / "annotations").mkdir()
    ...     (Path(coco) / "annotations" / "instances_val2017.json").touch()
    ...     annotations, images = coco_files(coco, "val2017", "mask")
    >>> annotations.name, images.name
    ('instances_val2017.json', 'val2017')
    """
    if task not in FILES:
        raise ValueError(f"task must be one of {tuple(FILES)}; received {task!r}")
    folder = Path(folder)
    path, images = folder / "annotations" / f"{FILES[task]}_{split}.json", folder / split
    for needed, kind in ((path, "a file of annotations"), (images, "a folder of images")):
        if not needed.exists():
            raise FileNotFoundError(f"{needed} must be {kind}; it does not exist")
    return path, images
