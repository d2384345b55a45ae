"""Links of the files that Sphinx does not read lead somewhere."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/node/README.md")


def slugs(path: Path) -> set[str]:
    """The anchors of a page: those of its headings as GitHub names them, and explicit ones."""
    text = path.read_text(encoding="utf-8")
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M), re.M)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", head)).lower() for head in heads]
    return {head.replace(" ", "-") for head in plain} | set(re.findall(r"^\((\S+)\)=$", text, re.M))


@pytest.mark.parametrize("name", FILES)
def test_links(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        assert not anchor or anchor in slugs(path), target


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {
        name
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", index, re.DOTALL | re.MULTILINE)
        for name in block.split()
        if not name.startswith(":")
    }
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {page for page in pages if not any(fnmatch(page, name) for name in listed)} == set()
