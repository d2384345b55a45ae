"""JUnit XML: it parses, its counts are those of its cases, and every outcome has its element."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from verdicts import MISSHAPEN, NOT_RUN, PASS, RAISED, WRONG, known, verdict

from nlcore_conformance.reports.junit import write
from nlcore_conformance.run.results import Report
from nlcore_conformance.run.verdict import Verdict


@pytest.fixture
def root(tmp_path):
    missing = Verdict(Report("nothing", "quick", 0), cannot_run="unknown backend")
    fixed = verdict(PASS, entries=[known(PASS.name)])
    again = replace(NOT_RUN, name="gradient / dot_product")
    every = verdict(PASS, WRONG, RAISED, MISSHAPEN, NOT_RUN, again)
    write(tmp_path / "out.xml", [every, fixed, missing])
    return ET.parse(tmp_path / "out.xml").getroot()


def test_counts(root):
    assert root.tag == "testsuites"
    assert [suite.get("name") for suite in root] == ["mylib.block:backend"] * 2 + ["nothing"]
    counts = [[e.get(n) for n in ("tests", "failures", "errors", "skipped")] for e in (root, *root)]
    assert counts == [
        ["8", "2", "1", "3"],
        ["6", "2", "0", "3"],
        ["1", "0", "0", "0"],
        ["1", "0", "1", "0"],
    ]
    assert [float(suite.get("time")) for suite in (root, *root)] == [5.25, 3.75, 1.5, 0.0]


def test_outcomes(root):
    cases = {case.get("name"): case for case in root[0].iter("testcase")}
    assert {c.get("classname") for c in cases.values()} == {
        "nlcore_conformance.mylib_block:backend"
    }
    assert len(cases["forward / gaussian"]) == 0
    assert float(cases["forward / gaussian"].get("time")) == 1.5
    wrong = cases["gradient / gaussian"].find("failure")
    assert wrong.get("message") == "error / bound = 12.5"
    assert "received: dx[0, 1, 2] = 1.5" in wrong.text
    assert "first difference in: pooling" in wrong.text
    assert "nlcore-conformance replay '{" in wrong.text
    assert cases["gradient / batch statistics"].find("skipped").get("message") == "no block_vjp"
    known_ = cases["gradient / concatenation"].find("skipped").get("message")
    assert known_.startswith("known failure until 2027-01-01")
    assert root[2].find("testcase/error").get("message") == "unknown backend"
    assert "no longer fails" in root[1].find("testcase/system-out").text


def test_properties(root):
    values = {p.get("name"): p.get("value") for p in root[0].iter("property")}
    assert values == {"profile": "quick", "seed": "7", "nlcore": "0.1.0"}


def test_what_xml_has_no_character_for_is_left_out(tmp_path):
    write(tmp_path / "out.xml", [verdict(entries=[])])
    messages = [e.get("message") for e in ET.parse(tmp_path / "out.xml").iter("failure")]
    assert "raised RuntimeError: <in place> & [bold]more" in messages


def test_a_message_keeps_its_lines(tmp_path):
    result = replace(RAISED, failure=replace(RAISED.failure, error="raised Error: one\ntwo"))
    write(tmp_path / "out.xml", [verdict(result, entries=[])])
    (failure,) = ET.parse(tmp_path / "out.xml").iter("failure")
    assert failure.get("message") == "raised Error: one\ntwo"
