"""An identification counts, prints and reports progress."""

from __future__ import annotations

from dialect_backends import fixed
from rich.console import Console

from nlcore_conformance.backend.reference import Reference
from nlcore_conformance.identify import identify, show


def test_what_is_refused_is_counted_and_what_is_left_is_listed():
    class Few(Reference):
        dtypes = ("float32",)

        def supports(self, spec, dtype):
            return (spec.ndim == 3 and spec.bias) or "three axes, with bias"

    found = identify(Few())
    assert found.follows
    assert found.dialects == ("caffe2", "mmcv", "alexhex7", "tea1528")
    asked = sum(len(f.answers) for f in found.findings)
    answered = sum(f.answered for f in found.findings)
    assert found.unanswered == {"three axes, with bias": asked - answered}


def test_it_is_shown_as_a_sentence_and_a_table():
    console = Console(width=120)
    with console.capture() as captured:
        show(identify(fixed("timm")), console)
    first, *rest = captured.get().splitlines()
    assert first.startswith("timm computes dialect timm")
    assert any("embedded_gaussian" in line and " of 8 " in line and "timm" in line for line in rest)
    assert any("specs not answered" in line for line in rest)


def test_progress_hears_of_every_spec():
    heard: list[tuple[str, int, int]] = []
    identify(fixed("timm"), lambda name, done, total: heard.append((name, done, total)))
    assert [done for _, done, _ in heard] == list(range(1, len(heard) + 1))
    assert {total for *_, total in heard} == {len(heard)}
