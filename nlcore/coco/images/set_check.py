"""What training and evaluation will do with each image and annotation of a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nlcore.coco.images.annotation_rules import Finding, annotation_findings, document_findings
from nlcore.coco.images.annotations import coco_set, read_document
from nlcore.coco.images.image_targets import trained_on
from nlcore.coco.images.pictures import ORIENTATION, check_size

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class SetReport:
    """The findings of `check_set`.

    Attributes
    ----------
    images, annotations, trained : int
        Number of images, of annotations, and of images that are trained on. 0 where the file is so
        wrong that they cannot be counted.
    findings : tuple of Finding
    """

    images: int
    annotations: int
    trained: int
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Counter[str]:
        """Number of findings of each kind."""
        return Counter(finding.kind for finding in self.findings)

    @property
    def errors(self) -> list[Finding]:
        """The findings that prevent a training."""
        return [finding for finding in self.findings if finding.is_error]


def check_set(
    path: Path | str,
    folder: Path | str,
    task: str = "mask",
    workers: int = 2,
    tell: Tell = lambda done, total: None,
) -> SetReport:
    """Read a file of annotations and every image, and report every finding.

    Parameters
    ----------
    path, folder
        The file of annotations, and the folder of the images.
    task : {"mask", "keypoints"}
        What will be trained. It decides which findings are errors.
    workers : int
        Threads that decode images.
    tell : function
        Called with how many images are read, of how many.

    Raises
    ------
    ValueError
        The file is not JSON.
    OSError
        It cannot be read.

    Examples
    --------
    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> image = {"id": 1, "file_name": "1.jpg", "width": 4, "height": 3}
    >>> document = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cup"}]}
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "instances_tiny.json")
    ...     _ = path.write_text(json.dumps(document))
    ...     report = check_set(path, folder)
    >>> [finding.kind for finding in report.errors]
    ['missing file']
    """
    path, folder = Path(path), Path(folder)
    document = read_document(path)
    found = list(document_findings(document, task))
    if any(finding.is_error for finding in found):
        return SetReport(0, 0, 0, tuple(found))
    found += annotation_findings(document, task)
    trained = 0
    if not any(finding.is_error for finding in found):
        images = coco_set(document, path, folder, task)
        for number, image in enumerate(images.images):
            annotations = images.annotations(number)
            kind = trained_on(annotations, task)
            trained += kind is None
            if kind is None and all(one["iscrowd"] for one in annotations):
                kind = "image with crowds only"
            if kind is not None:
                found.append(Finding(kind, f"image {image.id}", image.file))
    with ThreadPoolExecutor(workers) as pool:
        total = len(document["images"])
        read = pool.map(partial(_image_findings, folder), document["images"])
        for done, findings in enumerate(read, 1):
            found += findings
            tell(done, total)
    return SetReport(total, len(document["annotations"]), trained, tuple(found))


def _image_findings(folder: Path, image: dict[str, Any]) -> list[Finding]:
    return list(_findings_of_file(folder / image["file_name"], image))


def _findings_of_file(path: Path, image: dict[str, Any]) -> Iterator[Finding]:
    """Decode an image."""
    from PIL import Image

    where = f"image {image['id']}"
    if not path.exists():
        yield Finding("missing file", where, f"{path} must exist; it does not")
        return
    try:
        with Image.open(path) as picture:
            orientation = picture.getexif().get(ORIENTATION, 1)
            mode, size = picture.mode, picture.size
            picture.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all of them
        yield Finding("unreadable file", where, f"{path} must be an image; {error}")
        return
    try:
        check_size(size, orientation, image["width"], image["height"])
    except ValueError as error:
        yield Finding("other size", where, f"{path}: {error}")
        return
    if mode != "RGB":
        yield Finding("not RGB", where, f"{path} has mode {mode}")
    if orientation != 1:
        yield Finding("EXIF rotation", where, f"{path} has orientation {orientation}")
