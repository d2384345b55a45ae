"""The stamp of evidence: with which specification, bounds and checks it was made.

Pages of measured results carry the stamp. The build fails where a page's stamp is not the present
one, because other bounds or checks may give other results.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import nlcore
from nlcore import SPEC_VERSION

#: The folders whose code decides whether an answer is right.
JUDGING = (
    Path(nlcore.__file__).parent / "reference",
    Path(__file__).parent / "bounds",
    Path(__file__).parent / "checks",
)


def stamp() -> str:
    """The specification's version, and a hash of the code of the reference, bounds and checks.

    Comments and docstrings do not count.

    Examples
    --------
    >>> stamp().startswith(f"specification {SPEC_VERSION}, reference, bounds and checks ")
    True
    """
    digest = hashlib.sha256()
    for folder in JUDGING:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()}\n".encode())
            digest.update(_code(path.read_text(encoding="utf-8")).encode())
    return f"specification {SPEC_VERSION}, reference, bounds and checks {digest.hexdigest()[:12]}"


def _code(source: str) -> str:
    """The source without docstrings, comment lines and empty lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=int(last)):
                lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
