"""What README and the pages claim of names, paths and numbers is so."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import json
import math
import re
from pathlib import Path

import pytest

import nlcore
from nlcore.video import placement

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
TEXT = {page.name: page.read_text(encoding="utf-8") for page in PAGES}


@pytest.mark.parametrize("name", TEXT)
def test_every_path_is_there(name):
    folders = "nlcore|backends|conformance|benchmarks|examples|docs|tests|\\.github"
    named = set(re.findall(rf"(?:`|python )((?:{folders})/[\w./-]+)", TEXT[name]))
    made = {"docs/_build/html", "docs/mutation.md"}  # by a build or a study
    missing = [path for path in named - made if not (ROOT / path).exists()]
    assert missing == []


def test_every_test_of_the_guide_is_there():
    rows = re.findall(r"\| (`[^|]*test_\w+\.py`) \|$", TEXT["own_model.md"], re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        folder = Path(re.findall(r"`([\w/]+\.py)`", row)[0]).parts[0]
        for path in re.findall(r"`([\w/]+\.py)`", row):
            full = path if path.startswith(folder) else f"{folder}/{path}"
            assert (ROOT / "tests" / full).exists(), path


@pytest.mark.parametrize("name", TEXT)
def test_extras_are_quoted_and_nothing_is_taken_from_an_index(name):
    """nlcore is not on an index: it is installed from a clone, or from a repository."""
    commands = re.findall(r"pip install ([^\n`#]*)", TEXT[name])
    for words in commands:
        bare = re.sub(r'"[^"]*"', "", words)
        assert "[" not in bare, words
        assert not re.search(r"\bnlcore\b(?! @)", words.split("&&")[0]), words


def test_the_words_of_rfc_2119_are_those_that_are_used():
    page = TEXT["spec.md"]
    (listed,) = re.findall(r"The words (.*?)\s+are those of RFC 2119", page, re.DOTALL)
    words = set(re.findall(r"MUST NOT|MUST|SHOULD|MAY", listed))
    used = set(re.findall(r"MUST NOT|MUST|SHOULD|MAY", page.replace(listed, "")))
    assert words == used


def test_places_in_torchvision_are_before_the_last_block_of_res4():
    rows = re.findall(
        r"ResNet-(\d+) \| `\{\"(?:backbone\.body\.)?layer3\.(\d+)\"", TEXT["own_model.md"]
    )
    assert {depth for depth, _ in rows} == {"50", "101"} and len(rows) == 3
    for depth, index in rows:
        assert placement(int(depth), 1) == (f"res4.{index}",)


def test_every_dialect_has_a_row():
    named = re.findall(r"^\| .* \| `(\w+)` \|$", TEXT["which_dialect.md"], re.MULTILINE)
    assert sorted(named) == sorted(nlcore.DIALECTS)


def test_the_api_lists_every_public_name():
    modules = re.findall(r"^## .*: `([\w.]+)`$", TEXT["api.md"], re.MULTILINE)
    assert len(modules) > 20
    for module in modules:
        section = TEXT["api.md"].split(f": `{module}`\n")[1].split("\n## ")[0]
        listed = set(re.findall(r"\w+", section))
        assert not public_names(module) - listed, module


def public_names(module: str) -> set[str]:
    """`__all__` of a module, from its source: nlcore_torch.detection needs torchvision."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return set(ast.literal_eval(value))
    return set()


def test_contributing_installs_what_the_tests_need():
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    for section in ("testenv:tests", "testenv:docs", "testenv:examples"):
        for package in tox[section]["deps"].split():
            assert re.search(rf"[\s`]{package}[\s`.]", TEXT["CONTRIBUTING.md"]), package


def test_quoted_accuracies_are_those_of_the_page_of_results():
    """Accuracies of the paper are written down once, and repeated as they are there."""
    known = set(re.findall(r"\b[3-9]\d\.\d\b", TEXT["paper_results.md"]))
    for name in ("choose_block.md", "long_clips.md", "charades.md"):
        tables = "\n".join(re.findall(r"^\|.*\|$", TEXT[name], re.MULTILINE))
        quoted = set(re.findall(r"\b[3-9]\d\.\d\b", tables))
        assert quoted and quoted <= known, name


def test_the_numbers_of_the_tutorial_are_those_of_its_runs():
    runs = json.loads((DOCS / "pictures" / "tutorial.json").read_text(encoding="utf-8"))
    text = " ".join(TEXT["tutorial.md"].split())
    for run in runs.values():
        right = round(run["top1"] * run["videos"])
        assert f"recognized {right} of {run['videos']} films ({run['top1']:.1%})" in text


def test_the_recipe_of_the_tutorial_is_that_of_its_script():
    (shown,) = re.findall(r"^```json\n(.*?)^```$", TEXT["tutorial.md"], re.DOTALL | re.MULTILINE)
    script = (ROOT / "examples" / "recognition" / "recognition.py").read_text(encoding="utf-8")
    source = script.split("    recipe = ")[1].split("\n    (out /")[0].replace("\n    ", "\n")
    names = {"MOVES": range(6), "iterations": 450}
    assert json.loads(shown) == eval(source, names)


def test_who_overflows_in_float16():
    """NL-4.5 names the projects whose forward direction fails in float16 only."""
    failing = set()
    for section in TEXT["verdicts.md"].split("\n## ")[1:]:
        cells = re.findall(r"^\| forward / [^|]*\|[^|]*\|([^|]*)\|([^|]*)\|", section, re.MULTILINE)
        assert cells and all("FAIL" not in wide for wide, _ in cells), section[:30]
        if any("FAIL" in half for _, half in cells):
            failing.add(section.split()[0])
    (named,) = re.findall(r"In float16, (.*?) overflows? where NL-4\.5", TEXT["spec.md"], re.DOTALL)
    assert failing == set(re.findall(r"\w+", named)) - {"and"}


def test_the_films_of_the_tutorial_are_those_of_its_script():
    script = (ROOT / "examples" / "recognition" / "recognition.py").read_text(encoding="utf-8")
    photographs = {
        name: len(ast.literal_eval(re.sub(r"\*\(([^()]*)\)", r"\1", value)))
        for name, value in re.findall(
            r"^(TRAINING|TEST) = (\(.*?^\)|\(.*?\)$)", script, re.M | re.S
        )
    }
    each = dict(re.findall(r"(TRAINING|TEST), each=(\d+)", script))
    films = {name: 6 * count * int(each[name]) for name, count in photographs.items()}
    text = " ".join(TEXT["tutorial.md"].split())
    assert photographs == {"TRAINING": 10, "TEST": 5}
    assert "over ten photographs, in six ways" in text and "from five other photographs" in text
    assert f"writes {films['TRAINING']} films for training" in text
    assert f"makes {films['TEST']} films for the test" in text


def test_the_probabilities_of_the_bounds():
    text = TEXT["bounds.md"]
    factor = 2 * math.exp(-(6**2) / 2)
    assert f"{factor:.3g}" == "3.05e-08" and text.count(r"3.05\cdot 10^{-8}") == 3
    t = math.log(1e9)
    below = [2 * math.sqrt(t / n) for n in (1024, 512 * 512)]
    above = [width + 2 * t / n for width, n in zip(below, (1024, 512 * 512), strict=True)]
    assert [f"{width:.0%}" for width in below + above] == ["28%", "2%", "32%", "2%"]
    assert "about 30% for 1024 entries" in text and "2% for 512 × 512" in text
    assert "3·10⁻⁹" in text and "once in 3·10⁸ times" in TEXT["new_backend.md"]


def test_the_sizes_of_128_frames():
    network = dict(
        re.findall(r"^\| (res\d) .* \| ([\d × ]+) \|$", TEXT["networks.md"], re.MULTILINE)
    )
    frames, height, width = map(int, network["res3"].split(" × "))  # of 32
    assert f"{4 * frames} × {height} × {width} = {4 * frames * height * width:,} positions" in (
        " ".join(TEXT["long_clips.md"].split())
    )
