"""Every measured number in the prose of README and the pages is computed, or traced to a file.

Seen are numbers with a unit, a point or a comma, and "44 of 60", but not those in tables. A number
needs no entry in numbers.toml if a code block of its page shows it, or if it is one of the paper's
accuracies, which paper_results.md quotes. Spec, clips and dialects define their numbers, and the
pages in MADE are made from results.
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path

import pytest

import nlcore.video

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEFINED = {"spec.md", "clips.md", "dialects.md"}
MADE = {"changelog.md", "mutation.md", "mutants.md", "false_alarms.md", "verdicts.md", "speed.md"}
PAGES = {
    page.name: page.read_text(encoding="utf-8")
    for page in sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
    if page.name not in DEFINED | MADE
}
SOURCES = tomllib.loads((HERE / "numbers.toml").read_text(encoding="utf-8"))
ACCURACIES = set(re.findall(r"\b[3-9]\d\.\d\b", PAGES["paper_results.md"]))

BLOCKS = re.compile(r"(?s:^ *```.*?^ *```$)|^\n(?:    .*\n)+", re.MULTILINE)
#: Made by programs, quoted from elsewhere, or not a number of the text.
NOT_PROSE = re.compile(
    r"(?s:<!-- table.*?<!-- end.*?-->|\$\$.*?\$\$)|^\|.*$|\$[^$\n]*\$|`[^`\n]*`|\]\([^)]*\)"
    r"|arXiv\s\S+|doi\s\S+|(?:NL|VC)-\S+|Sec\. \S+|(?:Python|PyTorch|version) [\d., or]+",
    re.MULTILINE,
)
UNIT = r"(?:%|times|[GMK]i?B|ms|s|seconds?|minutes?|hours?|days?|points?|percent|[bm]illion)\b"
NUMBER = re.compile(
    rf"(?<![\w.,^·-])(?:\d[\d,.]*\d?(?:%|\s{UNIT})|\d+\.\d+|\d[\d,]*\sof\s\d[\d,]*|\d+(?:,\d{{3}})+)(?!\w)"
)


def numbers(text: str) -> list[str]:
    prose = NOT_PROSE.sub(" ", BLOCKS.sub(" ", text))
    return [" ".join(found.split()) for found in NUMBER.findall(prose)]


def rounds_to(value: float, number: str) -> bool:
    """Whether a value is the number, rounded to its decimals.

    The value is in the number's unit, or a fraction of 1 for percents, or in thousands, millions or
    billions for numbers of bytes and for millions and billions.
    """
    (digits,) = re.findall(r"^[\d,.]*\d", number)
    decimals = len(digits.partition(".")[2])
    large = number.endswith(("illion", "B"))
    powers = (0, 2) if number.endswith(("%", "percent")) else (0, -3, -6, -9) if large else (0,)
    return any(f"{value * 10**k:.{decimals}f}" == digits.replace(",", "") for k in powers)


def shown(text: str, number: str) -> bool:
    """Whether a code block of the page shows the number. One digit needs its unit there."""
    blocks = " ".join(BLOCKS.findall(text))
    if " of " in number:
        return False
    if len(re.sub(r"[^\d]", "", number).strip("0")) < 2:
        return re.search(rf"(?<![\d.]){re.escape(number)}(?!\w)", blocks) is not None
    values = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\d.]*\d)", blocks.replace(",", ""))
    return any(rounds_to(float(value), number) for value in values)


def test_what_proves_a_number():
    code = "Text.\n\n```python\n>>> f()\n7358464, 0.73, 16384, 10, 44, 12.5\n```\n"
    for number in ("7.4 million", "73%", "12.5 times", "16 KB"):
        assert shown(code, number), number
    for number in ("7.4 times", "16 times", "10 s", "44 of 60", "7%", "2.5 times", "58 ms"):
        assert not shown(code, number), number


def test_numbers_are_found():
    assert numbers("It is 1.8 times as fast, 12% of `3.5 MB`, and\n44 of 60 films.") == [
        "1.8 times",
        "12%",
        "44 of 60",
    ]
    assert numbers("| 1.8 |\n\nPython 3.11 or 3.12, NL-3.4, arXiv 1711.07971\n\n```\n7%\n```") == []


@pytest.mark.parametrize("page", PAGES)
def test_every_number_is_traced(page):
    sources = SOURCES.get(page, {})
    missing = [
        number
        for number in numbers(PAGES[page])
        if number not in sources and number not in ACCURACIES and not shown(PAGES[page], number)
    ]
    assert not missing, f"{page}: add sources of {missing} to tests/docs/numbers.toml"
    left_over = sources.keys() - set(numbers(PAGES[page]))
    assert not left_over, f"{page}: no longer in the text: {left_over}"


@pytest.mark.parametrize(
    ("page", "number"), [(page, number) for page in SOURCES for number in SOURCES[page]]
)
def test_every_source_has_its_number(page, number):
    ((kind, source),) = SOURCES[page][number].items()
    if kind == "computed":
        assert set(re.findall(r"\b\d\d\.\d\b", source)) <= ACCURACIES  # of the page of results
        assert rounds_to(eval(source, vars(nlcore.video) | {"math": math}), number)
    elif kind == "test":
        tests = (HERE / "test_claims.py").read_text(encoding="utf-8")
        (found,) = re.findall(rf"^def {source}\(.*?(?=^def |\Z)", tests, re.DOTALL | re.MULTILINE)
        assert f'"{page}"' in found
    elif kind == "file":
        path, words = source
        assert words in (ROOT / path).read_text(encoding="utf-8")
    elif kind == "picture":
        assert (ROOT / "docs" / source).exists() and source in PAGES[page]
    else:
        assert kind in ("paper", "chosen") and source
