"""Functions beside those of SymPy: what stands in the place of a form that overflows, or divides 0 by 0.

`dynsys.equations.finite.rewriting` and `dynsys.equations.derivative` write them; users may write some. The kinds of
`Lowered` are no functions of source: `lowered` puts elementary functions of exp(-|u|) in their place, which never
overflow, and Taylor polynomials near removable singularities (`dynsys.equations.finite.quotients`).
"""

from __future__ import annotations

from typing import Any

import sympy


class Selection(sympy.Function):
    """What is written into source as it stands."""

    is_real = True


class Switch(Selection):
    """Switch(a, b, yes, no): `yes` where a >= b, `no` elsewhere, also where a or b is NaN."""

    nargs = (4,)

    @classmethod
    def eval(cls, a: Any, b: Any, yes: Any, no: Any) -> Any:
        """Its value, where that is known."""
        if yes == no:
            return yes
        if a.is_Number and b.is_Number:
            return yes if a >= b else no
        return None

    def _latex(self, printer: Any, exp: Any = None) -> str:
        a, b, yes, no = map(printer.doprint, self.args)
        cases = rf"\begin{{cases}} {yes} & \text{{for}}\: {a} \geq {b} \\ {no} & \text{{otherwise}} \end{{cases}}"
        return cases if exp is None else rf"\left({cases}\right)^{{{exp}}}"


class Guard(Selection):
    """Guard(test, value): the value, or 0 where the test is 0."""

    nargs = (2,)

    @classmethod
    def eval(cls, test: Any, value: Any) -> Any:
        """Its value, where that is known."""
        if test.is_Number or value == 0:
            return sympy.Integer(0) if test == 0 else value
        return None

    def _latex(self, printer: Any, exp: Any = None) -> str:
        return _latex_of(self.args[1], printer, exp)


class Vanishing(Selection):
    """Vanishing(b, value, q): a value of the order b^q log(b), and so 0 where b is 0, if q > 0."""

    nargs = (3,)

    def slope(self, value: Any) -> Any:
        """The derivative, from that of the value: of one order less, and perhaps infinite."""
        base, _, order = self.args
        return Vanishing(base, value, order - 1) if order > 1 else value

    def _latex(self, printer: Any, exp: Any = None) -> str:
        return _latex_of(self.args[1], printer, exp)


class Size(Selection):
    """The absolute value, into which SymPy does not look."""

    nargs = (1,)


class Log1p(Selection):
    """log(1 + u)."""

    nargs = (1,)


class Peak(Selection):
    """The largest of several numbers, by which a fraction is reduced; a constant to derivatives, as it cancels."""

    def fdiff(self, argindex: int = 1) -> Any:
        """0: what does not depend on a number has the derivative that it has where this number is fixed."""
        return sympy.Integer(0)


class Portion(Selection):
    """Portion(b, s) = b/s for a number s by which a fraction is reduced; a constant to derivatives, as it cancels."""

    nargs = (2,)

    def fdiff(self, argindex: int = 1) -> Any:
        """1/s by the first argument."""
        return 1 / self.args[1] if argindex == 1 else sympy.Integer(0)


FEW = 3  # arguments of Max and Min: of more SymPy compares too many pairs


class Largest(Selection):
    """The largest of many: Max, which SymPy does not try to simplify pair by pair."""

    short = sympy.Max
    name = r"\max"

    @classmethod
    def eval(cls, *arguments: Any) -> Any:
        """Its value, where that is known."""
        return cls.short(*arguments) if all(argument.is_Number for argument in arguments) else None

    @classmethod
    def of(cls, arguments: Any) -> Any:
        """That of some expressions, and of the arguments of those that are of its kind; in the order of Max."""
        flat: dict[Any, None] = {}
        for argument in arguments:
            flat |= dict.fromkeys(argument.args if isinstance(argument, cls | cls.short) else [argument])
        return cls.short(*flat) if len(flat) <= FEW else cls(*sorted(flat, key=sympy.default_sort_key))

    def first(self, parts: Any) -> Any:
        """Of several numbers that which belongs to the first argument that is the largest."""
        *others, (_, chosen) = zip(self.args, parts, strict=True)
        for argument, part in reversed(others):
            chosen = Switch(*self.ordered(argument), part, chosen)
        return chosen

    def ordered(self, argument: Any) -> tuple[Any, Any]:
        """Two numbers, of which the first is as large as the second where the argument is the one."""
        return argument, self

    def _sympystr(self, printer: Any) -> str:
        return f"{self.short.__name__}({', '.join(map(printer.doprint, self.args))})"

    def _latex(self, printer: Any, exp: Any = None) -> str:
        text = rf"{self.name}\left({', '.join(map(printer.doprint, self.args))}\right)"
        return text if exp is None else f"{text}^{{{exp}}}"


class Least(Largest):
    """The same for Min."""

    short = sympy.Min
    name = r"\min"

    def ordered(self, argument: Any) -> tuple[Any, Any]:
        """Two numbers, of which the first is as large as the second where the argument is the one."""
        return self, argument


class Lowered(sympy.Function):
    """What is no function of source."""

    is_real = True

    def lower(self) -> Any:
        """The same in functions of source."""
        raise NotImplementedError


class expit(Lowered):
    """1/(1 + exp(-u))."""

    nargs = (1,)
    is_positive = True

    def fdiff(self, argindex: int = 1) -> Any:
        """expit(u) expit(-u), small as it may be."""
        return self * expit(-self.args[0])

    def lower(self) -> Any:
        """By exp(-|u|), which expit(-u) shares."""
        u = self.args[0]
        return Switch(u, 0, 1, _decay(u)) / (1 + _decay(u))


class softplus(Lowered):
    """log(1 + exp(u))."""

    nargs = (1,)
    is_positive = True

    def fdiff(self, argindex: int = 1) -> Any:
        """expit(u)."""
        return expit(self.args[0])

    def lower(self) -> Any:
        """max(u, 0) + log(1 + exp(-|u|))."""
        u = self.args[0]
        return Switch(u, 0, u, 0) + Log1p(_decay(u))


class sech(Lowered):
    """1/cosh(u)."""

    nargs = (1,)
    is_positive = True

    def fdiff(self, argindex: int = 1) -> Any:
        """-sech(u) tanh(u)."""
        return -self * sympy.tanh(self.args[0])

    def lower(self) -> Any:
        """2 exp(-|u|) / (1 + exp(-2 |u|))."""
        decay = _decay(self.args[0])
        return 2 * decay / (1 + decay**2)


def _latex_of(value: Any, printer: Any, exp: Any) -> str:
    text: str = printer.doprint(value)
    return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _decay(u: Any) -> Any:
    """exp(-|u|), one expression for u and -u."""
    return sympy.exp(-Size(-u if u.could_extract_minus_sign() else u))


def lowered(expression: Any) -> Any:
    """An expression without functions that source does not know."""
    while expression.has(Lowered):
        expression = expression.replace(lambda part: isinstance(part, Lowered), lambda part: part.lower())
    return expression
