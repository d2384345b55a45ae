"""An identification counts, prints and reports progress."""

from __future__ import annotations

import numpy as np
from dialect_backends import PLAIN, fixed, strict
from rich.console import Console

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import as_backend
from nlcore_conformance.identify import identify, show
from nlcore_conformance.mutants import mutants


def test_what_is_refused_is_counted_and_what_is_left_is_listed():
    class Few(Plain):
        def supports(self, spec, dtype):
            return (spec.ndim == 3 and spec.bias is True) or "three axes, with bias"

    found = identify(Few(("float32",)))
    assert found.follows
    assert found.dialects == ("caffe2", "mmcv", "alexhex7", "tea1528")
    answered = sum(answer.z is not None for answer in found.answers)
    assert found.unanswered == {"three axes, with bias": len(found.answers) - answered}
    rows = {pairwise: (axes, given) for pairwise, axes, given, _ in found.rows}
    of = [a for a in found.answers if a.asked.pairwise == "gaussian"]
    assert rows["gaussian"] == ("3", f"{sum(a.z is not None for a in of)} of {len(of)}")


def shown(found) -> str:
    console = Console(width=140)
    with console.capture() as captured:
        show(found, console)
    return captured.get()


def test_it_is_shown_as_a_sentence_and_tables():
    first, *rest = shown(identify(fixed("timm"))).splitlines()
    assert first == (
        "timm computes dialect timm, embedded_gaussian, whatever other rules the spec asks for"
    )
    rows = {
        cells[1].strip(): cells[2].strip() for line in rest if len(cells := line.split("│")) > 3
    }
    assert rows["scale"] == "C^-1/2"
    assert rows["subsampling"] == "no"
    assert rows["timm"] == "yes"
    assert rows["mmcv"] == "no: it has scale D^-1/2 and no batch normalization"
    assert any("specs not answered: raised KeyError: 'theta.bias'" in line for line in rest)


def test_a_reason_is_shown_as_it_is():
    def block(spec, weights, x, training=False):
        if spec.batch_norm or spec.pairwise != "dot_product":
            raise NotImplementedError("[/bold] neither [2] " + 50 * "more ")
        return PLAIN.block(spec, weights, x, training)

    text = shown(identify(as_backend(block, "mylib")))
    assert "specs not answered: [/bold] neither [2] more" in text
    (row,) = (line for line in text.splitlines() if line.startswith("│ batch normalization"))
    assert "no (only this was answered)" in row and "[/bold] neither [2]" in row


def test_nothing_is_shown_of_what_answers_nothing():
    text = shown(identify(strict(lambda spec: False)))
    assert text.startswith("strict answers none of the specs that it is asked\n")
    assert "│" not in text


def test_progress_hears_of_every_spec():
    heard: list[tuple[str, int, int]] = []
    found = identify(PLAIN, lambda name, done, total: heard.append((name, done, total)))
    assert [done for _, done, _ in heard] == list(range(1, len(heard) + 1))
    assert all(done <= total for _, done, total in heard)
    assert heard[-1][1:] == (len(heard), len(heard))
    assert len(heard) >= len(found.answers)


def narrow(kind):
    """A backend of few specs, so that few are asked for."""

    class Narrow(kind):
        def supports(self, spec, dtype):
            same = spec.pairwise == "embedded_gaussian" and spec.normalization == "sum"
            return (same and spec.ndim == 2 and not spec.subsample) or "images, without pooling"

        def block(self, spec, weights, x, training=False):  # with other roundings
            exact = {name: weight.astype(np.float64) for name, weight in weights.items()}
            return super().block(spec, exact, x.astype(np.float64), training).astype(x.dtype)

    return Narrow(("float32",))


def test_a_known_mistake_is_named():
    (mutant,) = (m for m in mutants() if m.name == "softmax over queries")
    found = identify(narrow(mutant.make))
    assert not found.identified
    (said,) = found.mistakes
    assert found.explained
    assert said.startswith("what 'softmax over queries' computes (NL-4.1), in ")
    assert said.endswith("answers that no rules explain: The softmax is taken over i.")
    assert f"It computes {said}" in " ".join(shown(found).split())


def test_an_unknown_mistake_is_left_to_the_suite():
    class Roots(Plain):
        def logits(self, call, theta, phi):
            return np.sqrt(np.abs(super().logits(call, theta, phi)))

    found = identify(narrow(Roots))
    assert not found.identified and found.mistakes == [] and not found.explained
    assert "`nlcore-conformance run` also tries two known mistakes" in " ".join(
        shown(found).split()
    )


def test_a_small_error_is_no_mistake_by_chance():
    class Near(Plain):
        def block(self, spec, weights, x, training=False):
            z = super().block(spec, weights, x, training)
            return z * (1 + np.float32(2e-5))

    found = identify(narrow(Near))
    ratios = [answer.ratio for answer in found.answers if answer.z is not None]
    assert 1 < max(ratios) and found.mistakes == []
