"""Docstrings are written to be read in `help()`; here they become reStructuredText.

What is indented by four spaces, before the sections, is an equation or code, kept as it is; bars and stars of formulas
are no markup. Backticks, lists, and the sections of NumPy's style mean the same in both. Of the words that say what a
parameter is, only classes become links: "shape (members, dim)" has nothing to do with methods of that name.
"""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

# What is in backticks comes first, and stays; then bars, stars of arguments, and initials of authors, no list items.
MARKUP = re.compile(r"(`[^`]*`)|(\||(?<!\w)\*(?=\w+[^\w*])|(?:^|(?<=^ {4}))[A-Z](?=\. ))")

COLON = "\0"


def _escaped(line: str) -> str:
    return line if line.lstrip().startswith(">>>") else MARKUP.sub(lambda m: m[1] or "\\" + m[2], line)


def restructured(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place, before Napoleon sees them."""
    done: list[str] = []
    sections = literal = examples = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        sections = sections or bool(re.fullmatch(r"-{3,}", following))
        examples = line == "Examples" or (examples and not re.fullmatch(r"-{3,}", following))
        indented = line.startswith("    ")
        if not sections and indented and not literal and done and not done[-1]:
            done += [".. code-block:: text", ""]
            literal = True
        elif line and not indented:
            literal = False
        done.append(line if literal or examples else _escaped(line))
    if what == "property" and done:
        done[0] = done[0].replace(":", COLON)  # or Napoleon takes the words before it for a type
    lines[:] = done


def with_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Put the colons back that Napoleon must not see."""
    lines[:] = [line.replace(COLON, ":") for line in lines]


def without_words(app: Sphinx, page: nodes.document) -> None:
    """Leave links of types to names that begin with a capital."""
    for link in list(page.findall(addnodes.pending_xref)):
        if link["reftype"] == "class" and not link["reftarget"][:1].isupper() and "." not in link["reftarget"]:
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Come before and after Napoleon, whose priority is the usual 500."""
    app.connect("autodoc-process-docstring", restructured, priority=400)
    app.connect("autodoc-process-docstring", with_colons, priority=600)
    app.connect("doctree-read", without_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
