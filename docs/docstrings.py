"""How docstrings become the pages of docs/api."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

#: Several attributes of one type, such as "height, width : int".
NAMES = re.compile(r"(\w+(?:, \w+)+)( :.*)?")


def escape_formulas(app, what, name, obj, options, lines: list[str]) -> None:
    """Keep the * and | of docstrings' formulas from being read as markup."""
    for n, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[n] = re.sub(r"[*|]", r"\\\g<0>", line)


def separate_attributes(app, what, name, obj, options, lines: list[str]) -> None:
    """Describe each of several attributes by itself, as napoleon does for parameters."""
    if "Attributes" not in lines:
        return
    begin = lines.index("Attributes") + 2
    underlines = (n for n in range(begin, len(lines)) if re.fullmatch("-+", lines[n]))
    end = next(underlines, len(lines) + 1) - 1
    fields: list[list[str]] = []  # each with the lines of its text
    for line in lines[begin:end]:
        if line and not line.startswith(" "):
            fields.append([line])
        elif fields:
            fields[-1].append(line)
    separate = []
    for first, *text in fields:
        several = NAMES.fullmatch(first)
        entries = [first]
        if several:
            entries = [each + (several[2] or "") for each in several[1].split(", ")]
        for entry in entries:
            separate += [entry, *text]
    lines[begin:end] = separate


def whole_sentence(app, what, name, obj, options, lines: list[str]) -> None:
    """Undo that napoleon takes what is before a property's colon for its type."""
    kind = next((n for n, line in enumerate(lines) if line.startswith(":type: ")), None)
    if what == "property" and kind is not None:
        lines[0] = f"{lines.pop(kind).removeprefix(':type: ')}: {lines[0]}"


def left_out(app, what, name, obj, skip, options) -> bool | None:
    """Leave out the fields of named tuples, which are attributes already, and torch's methods."""
    alias = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias or name == "extra_repr" else None


def own_signature(app, what, name, obj: Any, options, arguments, returns):
    """The arguments of a Keras layer, whose metaclass hides them. A protocol has none."""
    if what != "class" or arguments != "(*args, **kwargs)":
        return None
    if getattr(obj, "_is_protocol", False):
        return "", returns
    own = signature(obj.__init__, bound_method=True)
    return stringify_signature(own, show_annotation=False, show_return_annotation=False), returns


def add_to(app: Sphinx) -> None:
    """Connect them. The first two come before napoleon, and the third after it."""
    app.connect("autodoc-process-docstring", escape_formulas, priority=400)
    app.connect("autodoc-process-docstring", separate_attributes, priority=400)
    app.connect("autodoc-process-docstring", whole_sentence, priority=600)
    app.connect("autodoc-skip-member", left_out)
    app.connect("autodoc-process-signature", own_signature)
