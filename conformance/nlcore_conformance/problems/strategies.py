"""Which cases hypothesis draws: rules from the templates, sizes, dtypes and kinds of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from nlcore_conformance.problems.case import DATA, Case
from nlcore_conformance.problems.templates import Template


@dataclass(frozen=True)
class Sizes:
    """How large problems get."""

    channels: int = 20
    wide: int = 512  # of C and D, with few positions
    axis: tuple[int, int, int] = (40, 9, 6)  # by ndim


def cases(
    allowed: list[Template],
    dtypes: tuple[str, ...],
    sizes: Sizes,
    training: bool = False,
    data: tuple[str, ...] = DATA,
    layouts: tuple[str, ...] = ("contiguous",),
) -> st.SearchStrategy[Case]:
    """Cases over the allowed templates and dtypes."""
    choices = _tree(allowed)

    @st.composite
    def draw_case(draw: st.DrawFn) -> Case:
        template: Any = choices
        while isinstance(template, dict):
            template = template[draw(st.sampled_from(list(template)))]
        width = st.integers(1, sizes.channels) | st.sampled_from((64, 128, sizes.wide))
        channels, inner = draw(width), draw(width)
        wide = max(channels, inner) > sizes.channels
        eps = draw(st.sampled_from([1e-5, 1e-5, 1e-3]))
        spec = template.spec(channels, inner, draw(st.integers(1, 3)), draw(st.integers(2, 3)), eps)
        largest = 4 if wide else sizes.axis[spec.ndim - 1]
        positions = [draw(st.integers(p, max(p, largest))) for p in spec.pool]
        if spec.window is not None:
            positions[0] = spec.window * draw(st.integers(1, 3))
        return Case(
            spec=spec,
            # batch statistics of a single value are left out: frameworks may refuse them
            batch=draw(st.integers(2 if training else 1, 3)),
            positions=tuple(positions),
            dtype=draw(st.sampled_from(dtypes)),
            data=draw(st.sampled_from(data)),
            layout=draw(st.sampled_from(layouts)),
            seed=draw(st.integers(0, 2**16)),
            training=training,
        )

    return draw_case()


def _tree(allowed: list[Template]) -> dict[Any, Any]:
    """The templates told apart by one choice a level, so that each choice is drawn evenly."""
    root: dict[Any, Any] = {}
    for template in allowed:
        node = root
        for _, value in (*template.fields, ("pool", template.pool), ("scale", template.scale)):
            node = node.setdefault(value, {})
        node[template.inner] = template
    return root
