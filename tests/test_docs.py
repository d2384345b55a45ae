"""Every example in docs/ and README.md runs, and every clause is enforced and shown."""

from __future__ import annotations

import doctest
import pickle
import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import typer

from nlcore.coco.cli.coco_commands import app as coco_app
from nlcore.video.cli.commands import app as video_app
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.cli import app
from nlcore_conformance.run.runner import run
from nlcore_torch.video.attend import app as attend_app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])  # its examples: test_readme.py

FENCE = re.compile(r"^( *)```(\S*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
#: Fences that hold no example of this project: commands, other languages, files.
TEXT = ("", "console", "json", "toml", "yaml", "text", "{toctree}", "{eval-rst}")


def fences(page: Path) -> list[tuple[str, str, int]]:
    """Language, text and first line of each fenced block."""
    text = page.read_text(encoding="utf-8")
    return [(m[2], dedent(m[3]), text.count("\n", 0, m.start(3))) for m in FENCE.finditer(text)]


def pages_with_python() -> list[Path]:
    pages = (page for page in PAGES if page.parent == DOCS)
    return [page for page in pages if any(kind == "python" for kind, _, _ in fences(page))]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder of the examples, with the files that they read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write_checkpoints(folder: Path) -> None:
    """The files that the pages read, in their projects' own form, with new weights."""
    import numpy as np
    import torch

    from nlcore import dialect
    from nlcore.checkpoints import block_naming, published
    from nlcore.checkpoints.imagenet import NAMES
    from nlcore.video import NetworkSpec, network_weight_shapes
    from nlcore_torch import NonLocalBlock
    from nlcore_torch.convert import export_block, export_network
    from nlcore_torch.video import Network

    block = NonLocalBlock.from_spec(dialect("mmcv", 64))
    torch.save(export_block(block.spec, block.state_dict(), "mmcv"), folder / "mmcv_block.pth")
    for name, file in (
        ("I3D_NLN_8x8_R50", "I3D_NLN_8x8_R50.pkl"),
        ("i3d_nonlocal_32x2", "i3d_nonlocal_32x2_IN_pretrain_400k.pkl"),
    ):
        network = Network(published(name).spec)
        state = export_network(network.spec, network.state_dict(), "caffe2")
        blobs = {name: value.numpy() for name, value in state.items()}
        with (folder / file).open("wb") as out:
            pickle.dump({"blobs": blobs}, out, protocol=2)

    naming = block_naming(theta="query", phi="key", g="value", out="project", bn="norm")
    block = NonLocalBlock.from_spec(dialect("paper", 64, "dot_product"))
    torch.save(export_block(block.spec, block.state_dict(), naming), folder / "my_block.pth")
    shapes = network_weight_shapes(NetworkSpec(classes=1000)).items()
    flat = {NAMES["torchvision"](n): np.ones(s[:2] + s[3:], np.float32) for n, s in shapes}
    torch.save({n: torch.from_numpy(v) for n, v in flat.items()}, folder / "resnet50.pth")


def write_index(folder: Path) -> None:
    """The index that docs/datasets.md and docs/training.md read, of one film."""
    import av
    import numpy as np

    from nlcore.video.labels import Source, make_index, read_list

    (folder / "videos" / "yoga").mkdir(parents=True)
    with av.open(str(folder / "videos" / "yoga" / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height = 64, 48
        for n in range(64):
            grey = np.full((48, 64, 3), 3 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        container.mux(stream.encode())
    listing = read_list("pytorchvideo", Source(folder / "videos"))
    make_index(listing, folder / "train.jsonl", "pytorchvideo", workers=0)


@pytest.mark.parametrize("page", pages_with_python(), ids=lambda page: page.stem)
def test_examples(page, files):
    if page.stem in ("convert", "fine_tune", "networks"):
        write_checkpoints(files)
    if page.stem in ("datasets", "training"):
        write_index(files)
    names: dict[str, object] = {"__name__": "example"}
    failed = []
    for kind, text, line in fences(page):
        if kind != "python":
            continue
        if ">>>" in text:
            test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), line)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            runner.run(test, out=failed.append, clear_globs=False)
            names.update(test.globs)
        else:
            # as many empty lines before it as the page has: tracebacks name its lines
            exec(compile("\n" * line + text, str(page), "exec"), names)
    assert not failed, "".join(failed)


def test_every_fence_is_of_a_known_kind():
    known = {"python", *TEXT}
    found = {(page.name, kind) for page in PAGES for kind, _, _ in fences(page)}
    assert not {f for f in found if f[1] not in known and not f[1].startswith("{")}


@pytest.mark.parametrize(
    ("script", "app", "least"),
    [("nlcore-conformance", app, 11), ("nlcore-video", video_app, 3), ("nlcore-coco", coco_app, 8)],
)
def test_commands_are_there(script, app, least):
    commands = typer.main.get_command(app).commands
    lines = "\n".join(text for page in PAGES for kind, text, _ in fences(page) if kind in TEXT)
    found = re.findall(rf"^ *{script} (\S+)(.*)$", lines, re.MULTILINE)
    assert len(found) >= least
    for name, rest in found:
        assert name in commands, name
        command = commands[name]
        if name == "attend":  # its options are those of another application
            command = typer.main.get_command(attend_app)
        if hasattr(command, "commands"):
            command = command.commands[rest.split()[0]]
        options = {option for p in command.params for option in p.opts}
        assert set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest)) <= options, rest


def test_every_picture_has_a_text():
    for page in PAGES:
        for text, target in re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text("utf-8"), re.DOTALL):
            assert len(text) > 20, f"{page.name}: {target} needs an alternative text"


def test_every_clause_is_enforced():
    """The build of the table needs Sphinx; this does not."""
    sys.path.insert(0, str(DOCS))
    import traceability

    rows = traceability.traced()
    assert len(rows) > 50
    assert traceability.holes(rows) == []
    rows[0].checks, rows[0].tests = [], []
    assert traceability.holes(rows) == [f"{rows[0].clause} has no check and no test"]


def test_every_clause_of_a_guide_has_a_test(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import traceability

    tables = re.findall(
        r"^```\{clause-tests\} (\S+) (\S+)$",
        "\n".join(page.read_text("utf-8") for page in PAGES),
        re.MULTILINE,
    )
    assert ("clips", "tests/nlcore/video") in tables
    for page, folder in tables:
        assert len(traceability.tests_of(page, folder)) == len(traceability.clauses(page)) > 10
    with pytest.raises(ValueError, match="a test of every clause of clips"):
        traceability.tests_of("clips", "tests/studies")
    (tmp_path / "test_a.py").write_text('def test_b():\n    """VC-99.1: no such clause"""\n')
    with pytest.raises(ValueError, match=r"test_b names VC-99\.1, not in clips"):
        traceability.tests_of("clips", str(tmp_path))


def test_the_backend_of_the_tutorial_conforms():
    path = ROOT / "examples" / "plain_backend.py"
    names: dict[str, object] = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    report = run(as_backend(names["block"], "plain_backend"), profile="quick")
    assert [result.name for result in report.results if result.failure] == []
    # every field of the specification; it has no gradients
    assert report.not_covered.keys() <= {"dtype", "positions in gradients"}
