"""Names and other texts from tables and users on their way out: one function for each kind of output.

A name is checked where it comes in (`plain_name`): characters that cannot be seen, or that change what is seen around
them, are refused. All others are kept as they are, and escaped where they might be taken for markup.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata
from typing import Any

from dynsys.errors import InvalidInputError

UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, marks of direction and of no width, surrogates, line separators
FILLERS = {  # letters that show nothing, and marks that choose between looks of the letter before them
    *"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0",
    *map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))),
}
CONTROLS = (  # Unicode gives them no name but these aliases
    "NULL", "START OF HEADING", "START OF TEXT", "END OF TEXT", "END OF TRANSMISSION", "ENQUIRY", "ACKNOWLEDGE",
    "BELL", "BACKSPACE", "TAB", "LINE FEED", "LINE TABULATION", "FORM FEED", "CARRIAGE RETURN", "SHIFT OUT",
    "SHIFT IN", "DATA LINK ESCAPE", "DEVICE CONTROL ONE", "DEVICE CONTROL TWO", "DEVICE CONTROL THREE",
    "DEVICE CONTROL FOUR", "NEGATIVE ACKNOWLEDGE", "SYNCHRONOUS IDLE", "END OF TRANSMISSION BLOCK", "CANCEL",
    "END OF MEDIUM", "SUBSTITUTE", "ESCAPE", "INFORMATION SEPARATOR FOUR", "INFORMATION SEPARATOR THREE",
    "INFORMATION SEPARATOR TWO", "INFORMATION SEPARATOR ONE",
)  # fmt: skip
FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # a text that begins so is computed, or executed, by a spreadsheet


def plain_name(what: str, name: str) -> str:
    r"""The name, if all of it can be seen; `what` it names is said in the error.

    Raises
    ------
    InvalidInputError
        Naming the first control character, mark of direction or of no width, surrogate, or invisible letter.

    Examples
    --------
    >>> plain_name("column", "height (m), 50 % <größe>")
    'height (m), 50 % <größe>'
    >>> plain_name("column", "a\x1b[1m")
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: the name of a column must be without invisible characters, got 'a\x1b[1m' with U+001B ESCAPE: rename it
    """  # noqa: E501
    for character in name:
        if unicodedata.category(character) in UNSEEN or character in FILLERS:
            raise InvalidInputError(
                f"the name of a {what} must be without invisible characters, got {name[:60]!a} with "
                f"{called(character)}: rename it"
            )
    return name


def called(character: str) -> str:
    r"""Code point and name of a character.

    >>> called("\x00"), called("\u202e")
    ('U+0000 NULL', 'U+202E RIGHT-TO-LEFT OVERRIDE')
    """
    code = ord(character)
    alias = CONTROLS[code] if code < len(CONTROLS) else "DELETE" if code == 0x7F else "CONTROL CHARACTER"
    alias = "SURROGATE, half of a character" if unicodedata.category(character) == "Cs" else alias
    return f"U+{code:04X} {unicodedata.name(character, alias)}"


def terminal(text: object) -> str:
    r"""A text for the terminal, in which escapes stand for what it might obey; lines stay lines.

    >>> print(terminal("red\x1b[31m"))
    red\x1b[31m
    """
    return "".join(
        c if c.isprintable() or c == "\n" or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in str(text)
    )


def markdown(text: object) -> str:
    r"""A text in one line of Markdown, also in the cell of a table, in which nothing is markup or HTML.

    >>> print(markdown("a|b <script> x_1 _y_ `z` *"))
    a&#124;b &lt;script&gt; x_1 \_y\_ &#96;z&#96; \*
    """
    line = " ".join(terminal(text).split()).replace("\\", "\\\\").replace("&", "&amp;")
    line = re.sub(r"([*\[\]$~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", line)
    for character, entity in (("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        line = line.replace(character, entity)
    return re.sub(r"^([#+-]|\d+[.)])", lambda found: f"{found[0][:-1]}\\{found[0][-1]}", line)


def markdown_code(text: object) -> str:
    """A text as code in a line of Markdown.

    >>> print(markdown_code("a `b"))
    `` a `b ``
    """
    line = " ".join(terminal(text).split("\n"))
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    return f"{'`' * (longest + 1)} {line} {'`' * (longest + 1)}" if longest else f"`{line}`"


def html(text: object) -> str:
    """A text for HTML, also within quotes of an attribute.

    >>> html("<b> & 'c'")
    '&lt;b&gt; &amp; &#x27;c&#x27;'
    """
    return _html.escape(terminal(text))


def csv_cell(value: Any) -> Any:
    """A cell of a CSV table, and no formula of a spreadsheet: an apostrophe stands before a text that might be one.

    >>> csv_cell("=1+1"), csv_cell("-1.5"), csv_cell(-1.5), csv_cell("a=b")
    ("'=1+1", '-1.5', -1.5, 'a=b')
    """
    if not isinstance(value, str) or not value.lstrip(" ").startswith(tuple(FORMULA)):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def label(text: object) -> str:
    r"""A text for a figure, in which a dollar is a dollar.

    >>> print(label("price in $, cost in $"))
    price in \$, cost in \$
    """
    return str(text).replace("$", r"\$")


def file_name(text: object) -> str:
    """Letters, digits, blanks and - . _ of a text, for the name of a file in the folder that is meant.

    >>> file_name("../a/b:c"), file_name("activation_member")
    ('_.._a_b_c', 'activation_member')
    """
    name = re.sub(r"[^\w .-]", "_", terminal(text))[:100].rstrip(" .")
    return name if re.match(r"\w", name) else f"_{name}"
