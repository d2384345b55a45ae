"""The page: it stands alone, and has in it what a person wants to know."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from verdicts import MISSHAPEN, PASS, RAISED, WRONG, verdict

from nlcore_conformance.reports.html import draw, write
from nlcore_conformance.reports.terminal import COLUMNS
from nlcore_conformance.run.results import CheckResult, Report
from nlcore_conformance.run.verdict import Verdict

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.images, self.addresses = "", [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        found = dict(attrs)
        self.images += [found["src"]] if tag == "img" else []
        self.addresses += [v for n, v in attrs if n in ("src", "href", "action", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += f" {data}"  # a cell apart from the next


@pytest.fixture
def page(tmp_path):
    missing = Verdict(Report("nothing", "quick", 0), cannot_run="unknown backend")
    write(tmp_path / "out.html", [verdict(), verdict(PASS, entries=[]), missing])
    return Page((tmp_path / "out.html").read_text(encoding="utf-8"))


def test_it_stands_alone_and_is_well_formed(page):
    assert page.open == []
    assert page.addresses and all(
        a.startswith("data:image/svg+xml;base64,") for a in page.addresses
    )


def test_the_verdict_comes_first(page):
    text = " ".join(page.text.split())
    start = text.index("mylib.block:backend does not conform: 2 of 5 checks fail")
    assert start < text.index("nothing could not be run: unknown backend") < text.index("Ratios")


def test_what_is_in_it(page):
    text = " ".join(page.text.split())
    for words in (
        *COLUMNS,
        *COLUMNS.values(),
        "dx[0, 1, 2] = 1.5",
        "first difference in: pooling",
        "<in place> & [bold]more",  # escaped, or the parser would have eaten it
        "not <supported>",
        "known failure until 2027-01-01",
        "Nearest to failing",
        "concatenation: not <supported>",
        "nlcore 0.1.0",
        "profile, seed quick, 7",
    ):
        assert words in text
    assert text.count('nlcore-conformance replay \'{"backend": "mylib.block:backend"') >= 4


def test_every_backend_has_a_picture(page):
    assert len(page.images) == 2
    for address in page.images:
        svg = ET.fromstring(base64.b64decode(address.partition(",")[2]))
        assert svg.tag.endswith("svg")


def test_a_ratio_per_gradient(page):
    assert re.search(r"g\.weight\s+0\.12", page.text)


def test_the_picture():
    axes = Figure().subplots()
    draw(axes, verdict())
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [r.name for r in (PASS, WRONG, RAISED, MISSHAPEN)]
    marks = {
        (line.get_ydata()[0], x): (line.get_marker(), line.get_color())
        for line in axes.lines
        if line.get_marker() in ("o", "X", "|")
        for x in line.get_xdata()
    }
    most = 1e3  # what is infinite stands at the edge
    assert {place: mark for place, (mark, _) in marks.items()} == {
        (0, 0.25): "o",
        (1, 0.5): "|",
        (1, 0.125): "|",
        (1, 12.5): "X",
        (2, most): "X",
        (3, most): "X",
    }
    colours = [marks[place][1] for place in ((0, 0.25), (1, 12.5), (2, most), (3, most))]
    assert len(set(colours)) == 3 and colours[1] == colours[3]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["z 0.25", "dx 12.5", "raised", "z: form"]
    assert [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2][-1] == 1
    least, largest = axes.get_xlim()
    assert axes.get_xscale() == "log" and least < 1 < most < largest


def test_the_same_verdicts_make_the_same_page(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, [verdict()])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_table_of_gradients_has_no_other_check(tmp_path):
    gradients = CheckResult("gradient / gaussian", "NL-9", 1, by_output={"dx": 0.1, "g.bias": 0.2})
    new = CheckResult("initial state", "NL-10.5", 1, by_output={"mean of g.weight": 0.3, "z": 0.0})
    report = Report("mine", "quick", 0, results=[gradients, new])
    file = tmp_path / "report.html"
    write(file, [Verdict(report)])
    text = file.read_text(encoding="utf-8")
    assert "Worst ratio of each gradient" in text and "<td>g.bias</td>" in text
    assert "mean of g.weight" not in text
