"""The cases that hypothesis draws: rules from templates, sizes, dtypes and kinds of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from nlcore_conformance.problems.case import Case
from nlcore_conformance.problems.question import Question
from nlcore_conformance.problems.templates import Allowed, Choice


@dataclass(frozen=True)
class Sizes:
    """The largest sizes that are drawn."""

    channels: int = 20  # of C and D
    wide: int = 512  # of C and D where there are few positions
    axis: tuple[int, int, int] = (40, 9, 6)  # of an axis of 1, 2 and 3


def cases(
    question: Question, allowed: Allowed, dtypes: tuple[str, ...], sizes: Sizes
) -> st.SearchStrategy[Case]:
    """A strategy for the cases of a check, with specs of the allowed templates in these dtypes."""
    tree = _tree(allowed)

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        template: Any = tree
        while isinstance(template, dict):
            template = template[draw(st.sampled_from(list(template)))]
        choices = allowed[template]
        eps, value = draw(_usual_first(choices.eps)), draw(_usual_first(choices.values))
        choice = Choice(
            draw(st.sampled_from(choices.scales)), draw(st.sampled_from(choices.inners)), value, eps
        )
        width = st.integers(1, sizes.channels) | st.sampled_from((64, 128, sizes.wide))
        channels, inner, value = draw(width), draw(width), draw(st.integers(1, sizes.channels))
        window, pool = draw(st.integers(1, 3)), draw(st.integers(2, 3))
        spec = template.spec(choice, channels, inner, value, window, pool)
        wide = max(channels, spec.inner_channels) > sizes.channels
        largest = 4 if wide else sizes.axis[spec.ndim - 1]
        positions = [draw(st.integers(p, max(p, largest))) for p in spec.pool]
        if spec.window is not None:
            positions[0] = spec.window * draw(st.integers(1, 3))
        return Case(
            spec=spec,
            # batch statistics of a single value are left out: frameworks may refuse them
            batch=draw(st.integers(2 if question.training else 1, 3)),
            positions=tuple(positions),
            dtype=draw(st.sampled_from(dtypes)),
            data=draw(st.sampled_from(question.data)),
            layout=draw(st.sampled_from(question.layouts)),
            seed=draw(st.integers(0, 2**16)),
            training=question.training,
        )

    return draw_case()


def _usual_first(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    """The first value, drawn as often as all others together."""
    first, *others = values
    return st.sampled_from([first] * max(len(others), 1) + others)


def _tree(allowed: Allowed) -> dict[Any, Any]:
    """The templates as a tree with one choice a level, so that each choice is drawn evenly."""
    root: dict[Any, Any] = {}
    for template in allowed:
        node = root
        for _, value in template.fields:
            node = node.setdefault(value, {})
        node[template.pool] = template
    return root
