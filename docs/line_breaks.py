"""Where a narrow page may break a line: not in an option, and between the words of a name."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

#: An option or a command of this project.
WHOLE = re.compile(r"(?<![\w-])(?:--[a-z][\w-]*|nlcore-[a-z]+)")
#: Between two words of a name, in the title of a page and in other headings.
TITLE, OTHER = (re.compile(rf"(?<=\w)[{marks}](?=\w)") for marks in ("._", "."))


def with_breaks(app, pagename, templatename, context, doctree) -> None:
    """Change the text of the page, and no tag."""
    pieces = re.split(r"(<[^>]*>)", context.get("body", ""))
    between = None
    for n, piece in enumerate(pieces):
        if n % 2:
            if re.match(r"<h\d", piece):
                between = TITLE if piece.startswith("<h1") else OTHER
            elif re.match(r"</h\d", piece):
                between = None
            continue
        piece = WHOLE.sub(r'<span class="whole">\g<0></span>', piece)
        pieces[n] = between.sub(r"\g<0><wbr>", piece) if between else piece
    context["body"] = "".join(pieces)


def add_to(app: Sphinx) -> None:
    """Connect it."""
    app.connect("html-page-context", with_breaks)
