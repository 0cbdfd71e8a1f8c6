"""Equations read as sums of terms, and terms that differ only by which names and numbers stand in them told together.

    1.1*sin(x3 - x0) + 0.7*sin(x5 - x0)          are two terms of one form, c sin(there - here), in the equation of x0.

Text is read by its syntax and never by SymPy, which sees one term of every form: reading takes time in proportion to
the length of the text. Products with a sum are multiplied out where that separates components; a sum inside a function
is read as an equation of its own, and what it gives as one more component. What is not understood here, or refused, or
looks as if it might be, is left to whoever reads equations one by one, and says what is wrong with them.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dynsys.compiled.networks.network import HERE
from dynsys.equations.expression import parse, read_expression, syntax_tree
from dynsys.equations.networks.forms import NAME, TOKEN, Form, OtherForm, Slots, shape
from dynsys.equations.networks.syntax import addends, free_numbers, product, unsigned
from dynsys.errors import InvalidInputError

FORMS = 24  # of terms, at most
PLAIN = 2  # components of a sum inside a function that is no equation of its own


class Reader:
    """Reads equations one after the other; the terms come together in `forms`."""

    def __init__(self, state: Sequence[str], parameters: Sequence[str]) -> None:
        self.dimension, self.names = len(state), list(state)  # and those of sums
        self.components = {name: i for i, name in enumerate(state)}
        self.parameters = {name: i for i, name in enumerate(parameters)}
        self.forms: dict[Any, Form] = {}
        self.sums: dict[Any, str] = {}  # texts or expressions of sums inside functions, and their names
        self.short: dict[str, str] = {}  # helpers that are put into texts
        self.constants: dict[str, float] = {}  # of texts without names
        self.free: dict[str, tuple[int, ...]] = {}  # numbers that are no part of a form, of texts with names for them

    def read(self, row: int, given: Any) -> None:
        """The equation of a component.

        Raises
        ------
        OtherForm
            For what is not understood, or is of too many forms.
        """
        try:
            if isinstance(given, str):
                self._read_text(row, self._one_line(given))
            elif isinstance(given, int | float):
                self._add_text(row, float(given), "1", ())
            elif getattr(given, "is_Add", None) is not None and getattr(given, "is_commutative", None):
                if any(symbol.name.startswith("_") or symbol.name in self.short for symbol in given.free_symbols):
                    raise OtherForm
                self._read_expression(row, given)
            else:
                raise OtherForm
        except (InvalidInputError, ArithmeticError, RecursionError, ValueError):
            raise OtherForm from None

    def name(self, name: str, given: Any) -> None:
        """A helper: text that stands for its name, or, if it is of many components, an equation of its own."""
        try:
            text = self._one_line(given) if isinstance(given, str) else repr(given)
            if not isinstance(given, str | int | float):
                raise OtherForm
            if len(self._inside_text(text)) > PLAIN:
                self.sums[HERE, name] = name
                self.components[name] = len(self.names)
                self.names.append(name)
                self._read_text(self.components[name], text)
            else:
                read_expression("the helper", text, _real([*self.names, *self.parameters, "t"]))
                self.short[name] = f"({text})"
        except (InvalidInputError, ArithmeticError, RecursionError, ValueError):
            raise OtherForm from None

    def _one_line(self, given: str) -> str:
        """A text as the walk through its syntax needs it, with short helpers put in."""
        source = given.strip().replace("^", "**")
        if not source.isascii() or "#" in source or "\\" in source or re.search(r"\b_", source):
            raise OtherForm  # places are told in bytes; names with underscores in front are ours
        if "\n" in source:
            syntax_tree(source)
            source = re.sub(r"\s+", " ", source)
        return TOKEN.sub(lambda found: self.short.get(found[0], found[0]), source) if self.short else source

    def _inside_text(self, text: str) -> set[str]:
        return {word for word in TOKEN.findall(text) if word in self.components}

    def _form(self, key: Any) -> Form | None:
        form = self.forms.get(key)
        if form is None and len(self.forms) >= FORMS:
            raise OtherForm
        return form

    def _kinds(self, row: int, slots: Slots) -> tuple[bool, ...]:
        """Which components of a term, its own first, are sums: terms of one form have the same."""
        return tuple(i >= self.dimension for i in (row, *slots.components))

    def _sum(self, row: int, given: Any) -> str:
        """The name of a sum inside a function, which is read as an equation of its own."""
        if row >= self.dimension:
            raise OtherForm
        if given not in self.sums:
            name = self.sums[given] = f"_sum{len(self.sums)}"
            self.components[name] = len(self.names)
            self.names.append(name)
            (self._read_text if isinstance(given, str) else self._read_expression)(self.components[name], given)
        return self.sums[given]

    # text

    def _read_text(self, row: int, source: str) -> None:
        for coefficient, factors in self._terms(row, source):
            self._add_text(
                row,
                coefficient,
                "*".join(text for text, divided in factors if not divided) or "1",
                tuple(text for text, divided in factors if divided),
            )

    def _terms(self, row: int, source: str) -> Iterator[tuple[float, tuple[tuple[str, bool], ...]]]:
        """Coefficients and factors, each (text, whether it is divided by); products with sums multiplied out."""
        own = self.names[row]

        def text(node: ast.expr) -> str:
            return source[node.col_offset : node.end_col_offset]

        stack: list[tuple[ast.expr, float, tuple[tuple[str, bool], ...]]] = [(syntax_tree(source), 1.0, ())]
        while stack:
            node, coefficient, factors = stack.pop()
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
                stack.append((node.right, -coefficient if isinstance(node.op, ast.Sub) else coefficient, factors))
                stack.append((node.left, coefficient, factors))
                continue
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
                sign = -coefficient if isinstance(node.op, ast.USub) else coefficient
                stack.append((node.operand, sign, factors))
                continue
            sums = []
            for part, divided in product(node):
                part, sign = unsigned(part)
                coefficient *= sign
                if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add | ast.Sub) and not divided:
                    sums.append(part)
                    continue
                written = text(part)
                if isinstance(part, ast.Constant) or self._constant(written):
                    value = self._value(written)
                    coefficient = _finite(
                        coefficient / value if divided else coefficient * value, coefficient and value
                    )
                else:
                    factors += ((f"({self._plain(row, source, part)})", divided),)
            outside = set().union(*[self._inside_text(factor) for factor, _ in factors]) - {own}
            mixed = [one for one in sums if len(self._inside_text(text(one))) > 1 and not outside]
            chosen = mixed[0] if len(mixed) == 1 else None
            factors += tuple((f"({self._plain(row, source, one)})", False) for one in sums if one is not chosen)
            if chosen is None:
                yield coefficient, factors
            else:
                stack.append((chosen, coefficient, factors))

    def _plain(self, row: int, source: str, node: ast.expr) -> str:
        """The text of a factor, with names in the place of its long sums."""

        def wide(part: ast.AST) -> bool:
            text = source[part.col_offset : part.end_col_offset]  # type: ignore[attr-defined]
            return len(self._inside_text(text)) > PLAIN

        found: list[tuple[int, int, str]] = []
        stack: list[ast.AST] = [node]
        while stack:
            part = stack.pop()
            if not isinstance(part, ast.expr) or not wide(part):
                continue
            sum_ = isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add | ast.Sub)
            if sum_ and not any(map(wide, addends(part))):
                start, end = part.col_offset, part.end_col_offset or 0
                found.append((start, end, self._sum(row, source[start:end])))
            else:
                stack.extend(ast.iter_child_nodes(part))
        at, pieces = node.col_offset, []
        for start, end, name in sorted(found):
            pieces += [source[at:start], name]
            at = end
        return "".join([*pieces, source[at : node.end_col_offset]])

    def _constant(self, text: str) -> bool:
        """Whether a text has neither components, nor parameters, nor the time in it."""
        return not any(w in self.components or w in self.parameters or w == "t" for w in TOKEN.findall(text))

    def _value(self, text: str) -> float:
        if text not in self.constants:
            self.constants[text] = float(parse(text, {}))
        return self.constants[text]

    def _add_text(self, row: int, coefficient: float, numerator: str, denominators: tuple[str, ...]) -> None:
        slots = Slots(self.components, self.parameters, row)
        abstract = TOKEN.sub(slots.token, "/".join([numerator, *denominators]))
        kept = self.free.get(abstract)
        if kept is None:
            kept = self.free[abstract] = free_numbers(abstract, len(slots.numbers))
        literal = {i: written for i, written in enumerate(slots.literals) if i not in kept}
        key = abstract, tuple(literal.values()), self._kinds(row, slots)
        form = self._form(key)
        if form is None:
            words = {f"_n{i + 1}": written for i, written in literal.items()}
            text = NAME.sub(lambda found: words.get(found[0], found[0]), abstract)
            names = ["t", *slots.components.values(), *slots.parameters.values(), *(f"_n{i + 1}" for i in kept)]
            own = row in slots.components
            form = Form(
                read_expression("the equations", text, _real(names)), own, key[2], tuple(f"_n{i + 1}" for i in kept)
            )
            self.forms[key] = form
        where = slots.where(kept)
        if not all(map(math.isfinite, (coefficient, *where.numbers))):
            raise OtherForm
        form.add(where, coefficient)

    # expressions of SymPy

    def _read_expression(self, row: int, given: Any) -> None:
        import sympy

        stack: list[tuple[Any, Any]] = [(given, sympy.Integer(1))]
        while stack:
            node, factor = stack.pop()
            if node.is_Add:
                stack.extend((argument, factor) for argument in reversed(node.args))
                continue
            sums = [part for part in sympy.Mul.make_args(node) if part.is_Add]
            rest = sympy.Mul(factor, *[part for part in sympy.Mul.make_args(node) if not part.is_Add])
            outside = self._inside(rest) - {row}
            mixed = [one for one in sums if len(self._inside(one)) > 1 and not outside]
            if len(mixed) == 1:
                stack.append((mixed[0], sympy.Mul(rest, *[one for one in sums if one is not mixed[0]])))
            else:
                self._add_expression(row, self._named_sums(row, sympy.Mul(rest, *sums)))

    def _named_sums(self, row: int, expression: Any) -> Any:
        """An expression with names in the place of its long sums."""
        import sympy

        if len(self._inside(expression)) <= PLAIN:
            return expression
        if expression.is_Add and not any(len(self._inside(part)) > PLAIN for part in expression.args):
            return sympy.Symbol(self._sum(row, expression), real=True)
        return expression.func(*[self._named_sums(row, argument) for argument in expression.args])

    def _inside(self, expression: Any) -> set[int]:
        return {self.components[s.name] for s in expression.free_symbols if s.name in self.components}

    def _add_expression(self, row: int, term: Any) -> None:
        coefficient, rest = term.as_coeff_Mul()
        slots = Slots(self.components, self.parameters, row)
        key = "expression", shape(rest, slots), self._kinds(row, slots)
        form = self._form(key)
        if form is None:
            import sympy

            parameters = list(self.parameters)
            stand = {self.names[i]: name for i, name in slots.components.items()}
            stand |= {parameters[i]: name for i, name in slots.parameters.items()}
            known = {name: sympy.Symbol(stand.get(name, name), real=True) for name in [*stand, "t"]}
            expression = read_expression("the equations", rest, known)
            form = self.forms[key] = Form(expression, row in slots.components, key[2])
        form.add(slots.where(()), _finite(float(coefficient), 1.0))


def _real(names: Sequence[str]) -> Mapping[str, Any]:
    import sympy

    return {name: sympy.Symbol(name, real=True) for name in names}


def _finite(value: float, sign: float) -> float:
    """A coefficient, neither infinite nor lost."""
    if not math.isfinite(value) or (value == 0.0 and sign != 0.0):
        raise OtherForm
    return value
