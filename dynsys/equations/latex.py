"""Definitions as LaTeX, as a notebook shows them."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from dynsys.equations.definition import Definition
from dynsys.equations.vectors.definition import VectorDefinition
from dynsys.equations.vectors.reader import Taken
from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    import sympy

LARGEST = 12  # lines of an array that one can still read


def equations_latex(definition: Definition, left: str) -> str:
    r"""The equations, aligned; of more than `LARGEST` the first ones and the last.

    `left` makes a left-hand side of a component, as r"\dot{{{}}}" does.
    """
    names = _names(definition)
    lines = [
        rf"{left.format(names[_symbol(name)])} &= {_latex(expression, names)}"
        for name, expression in zip(definition.state, definition.expressions, strict=True)
    ]
    if len(lines) > LARGEST:
        lines = [*lines[: LARGEST - 2], r"&\;\;\vdots", lines[-1]]
    return r"\begin{aligned} " + r" \\ ".join(lines) + r" \end{aligned}"


def jacobian_latex(definition: Definition) -> str:
    """The Jacobian as a matrix.

    Raises
    ------
    InvalidInputError
        If it has more than `LARGEST` columns.
    """
    dim, names = len(definition.state), _names(definition)
    if dim > LARGEST:
        raise InvalidInputError(
            f"a Jacobian of {dim} x {dim} entries is too large to be read as a formula, {LARGEST} x {LARGEST} at most: "
            "take a smaller system of the same kind, print(system.source), or look at the numbers of system.jacobian"
        )
    entries = [[definition.jacobian.get((i, j), 0) for j in range(dim)] for i in range(dim)]
    rows = [" & ".join(_latex(entry, names) for entry in row) for row in entries]
    return r"\begin{pmatrix} " + r" \\ ".join(rows) + r" \end{pmatrix}"


def vectors_latex(definition: VectorDefinition, left: str) -> str:
    r"""The equations as LaTeX, aligned; vectors and matrices as they stand in the text, products by entries as such.

    `left` makes a left-hand side of a variable, as r"\dot{{{}}}" does.
    """
    import sympy

    expressions, names = definition.expressions, {}
    for name, _ in (*definition.parameters, *definition.given):
        names[sympy.Symbol(name, real=True)] = sympy.latex(sympy.Symbol(name))
    for entry in definition.read.order:
        if isinstance(entry, Taken):
            inner = sympy.latex(expressions[entry.name], symbol_names=names, mul_symbol=r"\,")
            matrix = sympy.latex(sympy.Symbol(entry.matrix)) + r"^{\mathsf{T}}" * entry.transposed
            text = rf"{matrix}\left({inner}\right)" if entry.matrix else rf"\sum\left({inner}\right)"
            names[sympy.Symbol(entry.name, real=True)] = text
    lines = []
    for name, _ in definition.given:
        right = sympy.latex(expressions[name], symbol_names=names, mul_symbol=r"\,")
        lines.append(rf"{left.format(names[sympy.Symbol(name, real=True)])} &= {right}")
    return r"\begin{aligned} " + r" \\ ".join(lines) + r" \end{aligned}"


def _symbol(name: str) -> sympy.Symbol:
    import sympy

    return sympy.Symbol(name, real=True)


def _names(definition: Definition) -> dict[sympy.Symbol, str]:
    r"""Symbols as SymPy writes them, with words upright: x_{0}, \sigma, x_{\mathrm{rest}}, \mathrm{current}.

    Where that would make two look alike, as x1 and x_1, those with an underscore show it: \mathrm{x\_1}.
    """
    symbols = [*map(_symbol, (*definition.state, *definition.parameters, "t"))]
    written = {s: re.sub(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}", r"\\mathrm{\g<0>}", _latex(s, {})) for s in symbols}
    looks = Counter(text.replace(" ", "") for text in written.values())
    for symbol, text in written.items():
        if "_" in symbol.name and looks[text.replace(" ", "")] > 1:
            written[symbol] = r"\mathrm{" + symbol.name.replace("_", r"\_") + "}"
    return written


def _latex(expression: sympy.Expr, names: dict[sympy.Symbol, str]) -> str:
    import sympy

    text: str = sympy.latex(expression, symbol_names=names, mul_symbol=r"\,")
    return text
