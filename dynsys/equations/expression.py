"""Mathematical expressions: from text to SymPy without ever executing the text."""

from __future__ import annotations

import ast
import difflib
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from dynsys.equations.expression_size import check_size, complex_terms, sizes
from dynsys.equations.source import EXACT_BITS, FUNCTIONS, OTHERS, STEPS
from dynsys.equations.vocabulary import FLOATS, function_named, in_known_functions, remainder, with_whole_constant
from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    import sympy

_ARGUMENTS = {"atan2": (2, 2), "log": (1, 2), "Mod": (2, 2), "Max": (1, 99), "Min": (1, 99)}  # fewest, most; else one
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.Mod: operator.mod,
}
_LONGEST, _DEEPEST, _LARGEST_POWER, _CHOICES = 10_000, 100, 1_000, 8
_LARGEST = 2_000  # nodes of a tree: some ten seconds of SymPy
_NAMES = 20  # of all that are known, in an error
_ASKS_IF_REAL = {"sinh", "cosh", "tanh", "Abs", "abs", "sign", "Max", "Min", "atan2", *STEPS}
_MANY = 64  # arguments of Max or Min
_COMPARISONS = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_NEVER_ZERO = (operator.mul, operator.truediv, operator.pow, math.exp)  # unless a factor or the base is 0


def parse(
    text: str, symbols: Mapping[str, sympy.Expr], functions: Mapping[str, Any] | None = None, derivatives: int = 1
) -> sympy.Expr:
    """The SymPy expression that a text denotes; the text is read as mathematics, never evaluated as Python.

    Parameters
    ----------
    text : str
        Numbers, the names in `symbols`, pi, + - * / ** (or ^), brackets, calls of `FUNCTIONS`, Abs, sign, Max and Min,
        and `Piecewise((expression, condition), ..., (expression, True))`: the first whose condition holds. Conditions
        compare by < <= > >=, and are joined by `and`, `or`, or in brackets by & and |. Further: Heaviside(u), which is
        1/2 at u = 0; floor(u), ceiling(u); Mod(u, v), or u % v, which has the sign of v; expit(u) = 1/(1 + exp(-u)),
        softplus(u) = log(1 + exp(u)), sech(u) = 1/cosh(u), and exprel(u) = (exp(u) - 1)/u, which is 1 at u = 0.
    symbols : mapping of str to Symbol, or to the expression that the name stands for
    functions : mapping of str to SymPy function, optional
        Functions of one argument that may be called beside those.
    derivatives : 1 or 2
        How often the expression will be differentiated.

    Raises
    ------
    InvalidInputError
        Naming what is not understood, or what is too large: reading and differentiating take seconds at most.

    Examples
    --------
    >>> import sympy
    >>> parse("2*x^2 - sin(x)", {"x": sympy.Symbol("x")})
    2*x**2 - sin(x)
    """
    if len(text) > _LONGEST:
        raise InvalidInputError(f"an expression must have at most {_LONGEST} characters, got {len(text)}: use helpers")
    source = text.strip().replace("^", "**")
    expression = _Reader(source, symbols, functions or {}).read(syntax_tree(source), 0)[0]
    check_size(expression, f"the expression {text[:100]!r}", derivatives)
    return expression


def syntax_tree(source: str) -> ast.expr:
    """The syntax of a text, or an error that says why there is none."""
    try:
        with warnings.catch_warnings():  # of digits before a keyword, and of escapes in strings
            warnings.simplefilter("ignore")
            return ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        reason = problem.msg if isinstance(problem, SyntaxError) else problem  # without Python's file and line
        reason = "it is nested too deeply" if isinstance(problem, RecursionError | MemoryError) else reason
        raise InvalidInputError(f"the expression {source[:100]!r} cannot be read: {reason}") from None


@attrs.frozen
class _Reader:
    """Reads a syntax tree as mathematics.

    Constant parts are computed as floats before SymPy sees them: none is too large, too small, complex or undefined.
    What SymPy keeps of one is a fraction, if it is short, or a multiple of pi, or the float.
    """

    source: str
    symbols: Mapping[str, sympy.Expr]
    functions: Mapping[str, Any]
    known: dict[sympy.Expr, tuple[int, int, int]] = attrs.field(factory=dict)  # sizes of what was read

    def refuse(self, what: str) -> InvalidInputError:
        return InvalidInputError(f"{what} in the expression {self.source[:100]!r}")

    def unknown(self, what: str, name: str, known: Iterable[str]) -> InvalidInputError:
        remedy = "; every parameter needs a value" if what == "name" else ""
        return self.refuse(f"unknown {what} {name!r} ({nearest(name, known)}{remedy})")

    def text(self, node: ast.expr) -> str:
        return repr((ast.get_source_segment(self.source, node) or "")[:50])

    def read(self, node: ast.expr, depth: int) -> tuple[Any, float | None]:
        """The SymPy expression of a node, and its value if it is a constant."""
        import sympy

        if depth > _DEEPEST:
            raise self.refuse(f"more than {_DEEPEST} nested terms (name some of them by helpers)")
        match node:
            case ast.Constant(value=int() | float() as written) if not isinstance(written, bool):
                size = self.constant(node, float, written)
                exact = sympy.Integer(written) if isinstance(written, int) else sympy.Float(written)
                return self.settled(node, exact, size)
            case ast.Name(id=name) if name in self.symbols:
                value = self.symbols[name]
                return (value, None) if value.is_Symbol else self.settled(node, value, None)
            case ast.Name(id="pi"):
                return sympy.pi, math.pi
            case ast.Name(id=name):
                raise self.unknown("name", name, [*self.symbols, *self.functions])
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                value, number = self.read(operand, depth + 1)
                sign = -1 if isinstance(op, ast.USub) else 1
                return sign * value, None if number is None else sign * number
            case ast.BinOp(op=op) if type(op) in _OPERATORS:
                return self.chain(node, depth)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in self.functions:
                return self.settled(node, self.functions[name](self.read(argument, depth + 1)[0]), None)
            case ast.Call(func=ast.Name(id="Piecewise"), args=[*cases], keywords=[]):
                return self.settled(node, self.piecewise(node, cases, depth), None)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                if name not in FLOATS:
                    raise self.unknown("function", name, [*FLOATS, "Piecewise", *self.functions])
                return self.call(node, name, [self.read(argument, depth + 1) for argument in arguments])
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                raise self.refuse(f"{self.text(node)} is not mathematics (comparisons in brackets can be joined so)")
            case ast.BinOp(op=ast.MatMult()):
                raise self.refuse(
                    f"{self.text(node)} is not mathematics (of numbers; @ is the product with a matrix, which is to be "
                    "an array among the parameters)"
                )
            case ast.Compare() | ast.BoolOp():
                raise self.refuse(f"{self.text(node)} is not mathematics (outside the condition of a Piecewise)")
        raise self.refuse(f"{self.text(node)} is not mathematics")

    def piecewise(self, node: ast.Call, cases: list[ast.expr], depth: int) -> Any:
        """Cases (expression, condition), of which the last holds always."""
        import sympy

        read = []
        for case in cases:
            match case:
                case ast.Tuple(elts=[value, condition]):
                    read.append((self.read(value, depth + 1)[0], self.condition(condition, depth + 1)))
                case _:
                    raise self.refuse(f"{self.text(case)} is no case (expression, condition) of a Piecewise")
        if not read or read[-1][1] != True:  # noqa: E712
            raise self.refuse(f"{self.text(node)} must end with a case (expression, True)")
        # where neighbouring cases are equal, or their derivatives are, SymPy multiplies their conditions out
        if sum(len(condition.atoms(sympy.core.relational.Relational)) for _, condition in read) > _CHOICES:
            raise self.refuse(f"a Piecewise with more than {_CHOICES} comparisons: {self.text(node)}")
        return sympy.Piecewise(*read)

    def condition(self, node: ast.expr, depth: int) -> Any:
        """Comparisons, also chains of them, and what joins them."""
        import sympy

        if depth > _DEEPEST:
            raise self.refuse(f"more than {_DEEPEST} nested terms (name some of them by helpers)")
        match node:
            case ast.Constant(value=True):
                return sympy.true
            case ast.BoolOp(op=op, values=parts):
                join = sympy.And if isinstance(op, ast.And) else sympy.Or
                return join(*[self.condition(part, depth + 1) for part in parts])
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr() as op, left=left, right=right):
                join = sympy.And if isinstance(op, ast.BitAnd) else sympy.Or
                return join(self.condition(left, depth + 1), self.condition(right, depth + 1))
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
                sides = [self.read(side, depth + 1)[0] for side in (left, *others)]
                if any(side.has(sympy.Piecewise) for side in sides):
                    raise self.refuse(f"a Piecewise in a condition of another: {self.text(node)}")
                if max(map(complex_terms, sides)) > _LARGEST:
                    raise self.refuse(
                        f"a comparison that is too large, and real only for some values: {self.text(node)}"
                    )
                try:
                    compared = [_COMPARISONS[type(op)](*two) for op, *two in zip(ops, sides, sides[1:], strict=False)]
                except TypeError:
                    raise self.refuse(f"a comparison of numbers that are not real: {self.text(node)}") from None
                return sympy.And(*compared)
        raise self.refuse(f"{self.text(node)} is no condition such as x < 1 or (0 <= x) & (x < y)")

    def chain(self, node: ast.BinOp, depth: int) -> tuple[Any, float | None]:
        """Read a + b - c ...: deep as the tree is on its left side, it is read in a loop."""
        left: ast.expr = node
        steps: list[tuple[ast.BinOp, int]] = []
        while isinstance(left, ast.BinOp) and type(left.op) in _OPERATORS:
            # ((x + 1)*x + 1)*x ... nests as deep as with brackets on the right
            depth += bool(steps) and _rank(left.op) != _rank(steps[-1][0].op)
            steps.append((left, depth))
            left = left.left
        value, number = self.read(left, depth + 1)
        for step, level in reversed(steps):
            apply = _OPERATORS[type(step.op)]
            other, constant = self.read(step.right, level + 1)
            if isinstance(step.op, ast.Pow):
                if constant is not None and abs(constant) > _LARGEST_POWER:
                    raise self.refuse(f"a power above {_LARGEST_POWER}")
                value = _shortened(value, 16 * EXACT_BITS / max(1.0, abs(constant or 0.0)))
            if isinstance(step.op, ast.Div | ast.Mod) and constant == 0:
                raise self.refuse("a division by zero")
            both = number is not None and constant is not None
            number = self.constant(step, apply, number, constant) if both else None
            made = remainder(value, other) if isinstance(step.op, ast.Mod) else apply(value, other)
            value, number = self.settled(step, made, number)
        return value, number

    def call(self, node: ast.Call, name: str, arguments: list[tuple[Any, float | None]]) -> tuple[Any, float | None]:
        import sympy

        fewest, most = _ARGUMENTS.get(name, (1, 1))
        if not fewest <= len(arguments) <= most:
            wanted = (
                "1 argument" if most == 1 else f"{fewest} to {most} arguments" if fewest < most else f"{most} arguments"
            )
            raise self.refuse(f"{self.text(node)} must have {wanted}, got {len(arguments)},")
        constants = [number for _, number in arguments if number is not None]
        all_constant = len(constants) == len(arguments)
        number = self.constant(node, FLOATS[name], *constants) if all_constant else None
        if name == "Mod" and arguments[1][1] == 0:
            raise self.refuse("a division by zero")
        function, values = function_named(name), [value for value, _ in arguments]
        if name in _ASKS_IF_REAL and max(map(complex_terms, values)) > _LARGEST:
            raise self.refuse(f"an argument that is too large, and real only for some values, in {self.text(node)}")
        if name == "exp" and values[0].has(sympy.log):  # exp(n*log(3*x)) is 3**n * x**n
            large = [r for r in values[0].atoms(sympy.Rational) if abs(r) > _LARGEST_POWER]
            values = [values[0].xreplace({r: r.evalf() for r in large})]
        if name == "exp":
            values = [with_whole_constant(values[0])]
        value = function(*values)
        if name in ("Max", "Min") and len(value.args) > _MANY:
            raise self.refuse(f"{name} of more than {_MANY}: {self.text(node)}")
        return self.settled(node, value, number)

    def settled(self, node: ast.expr, value: Any, number: float | None) -> tuple[Any, float | None]:
        """What SymPy has made of a node, with short numbers, and its value if it is a constant."""
        import sympy

        if sizes(value, self.known)[0] > _LARGEST:
            raise self.refuse(f"more than {_LARGEST} terms, written out, in {self.text(node)}")
        if number is None and value.is_number and not value.has(*self.functions.values()):
            number = self.constant(node, float, value)  # x - x, say
        value = _shortened(value, EXACT_BITS)
        if number is None:
            return value, None
        if value.is_Number:
            return value, float(value)
        return (value if (value / sympy.pi).is_Rational else sympy.Float(number)), number

    def constant(self, node: ast.expr, function: Callable[..., Any], *numbers: Any) -> float:
        """A finite real number, or a refusal that names the part of the text."""
        if function is max or function is min:
            return float(function(numbers))
        try:
            number = function(*numbers)
        except (ArithmeticError, TypeError, ValueError):
            number = math.nan
        if isinstance(number, complex) or not math.isfinite(number):
            raise self.refuse(f"{self.text(node)} is no finite real number")
        if number == 0.0 and function in _NEVER_ZERO and numbers[0] != 0.0 != numbers[-1]:
            raise self.refuse(f"{self.text(node)} is too small for a floating-point number")
        return float(number)


def _rank(operation: ast.operator) -> int:
    """Operations of one rank make one sum or one product, however many there are."""
    return 2 if isinstance(operation, ast.Pow) else int(isinstance(operation, ast.Mult | ast.Div | ast.Mod))


def _shortened(value: Any, bits: float) -> Any:
    """An expression whose coefficient is a float if a fraction had more bits; so are those of the cases of a factor."""
    import sympy

    if value.is_Piecewise:  # the power of one is one of powers
        return sympy.Piecewise(*[(_shortened(case, bits), condition) for case, condition in value.args])
    coefficient, rest = value.as_coeff_Mul()
    if rest.is_Mul and any(factor.is_Piecewise for factor in rest.args):
        value = coefficient * (rest := sympy.Mul(*[_shortened(factor, bits) for factor in rest.args]))
    if coefficient.is_Rational and max(abs(coefficient.p), coefficient.q).bit_length() > bits:
        return coefficient.evalf() * rest
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names, for an error about an unknown one: first that which may have been meant."""
    names = sorted(known)
    meant = [f"did you mean {close!r}? " for close in difflib.get_close_matches(name, names, 1)]
    rest = f", and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    time = "; the time, or step, is t" if "t" in names else ""
    return f"{''.join(meant)}known names: {', '.join(names[:_NAMES]) or 'none'}{rest}{time}"


def read_expression(
    origin: str,
    given: Any,
    symbols: Mapping[str, sympy.Expr],
    functions: Mapping[str, Any] | None = None,
    derivatives: int = 1,
) -> sympy.Expr:
    """An expression in known symbols from text, or from a SymPy expression with symbols of these names.

    A symbol may stand for an expression. `origin` are words for what is read; the others are arguments of `parse`.

    Raises
    ------
    InvalidInputError
        Naming the origin and what is not understood.
    """
    import sympy

    functions = functions or {}
    if isinstance(given, str):
        try:
            expression = parse(given, symbols, functions, derivatives)
        except InvalidInputError as problem:
            raise InvalidInputError(f"{origin}: {problem}") from None
    else:
        expression = sympy.sympify(given, strict=True)
        if not isinstance(expression, sympy.Expr) or expression.is_Matrix:
            raise InvalidInputError(f"{origin} must be text or an expression, got {given}")
        expression = in_known_functions(expression)
        for name in sorted(str(getattr(symbol, "name", symbol)) for symbol in expression.free_symbols):
            if name not in symbols:
                raise InvalidInputError(
                    f"{origin} uses an unknown name {name!r} ({nearest(name, symbols)}; every parameter needs a value)"
                )
        expression = expression.subs({symbol: symbols[symbol.name] for symbol in expression.free_symbols})
        if expression.has(sympy.Piecewise):
            expression = expression.replace(sympy.Piecewise, lambda *cases: _with_last(origin, cases))
        for part in [part for part in expression.atoms(sympy.Function) if part.func.__name__ in functions]:
            expression = expression.replace(part.func, functions[part.func.__name__])
    check_functions(expression, origin, *functions)
    return expression


def _with_last(origin: str, cases: Sequence[Any]) -> sympy.Expr:
    """A Piecewise whose last case holds wherever no other does, refused if there may be points where none does."""
    import sympy

    *others, (last, condition) = cases
    if condition != True and sympy.Or(*[held for _, held in cases]).simplify() != True:  # noqa: E712
        raise InvalidInputError(
            f"{origin} contains {sympy.Piecewise(*cases)}, which has no value where none of its conditions holds: "
            "end it with a case (expression, True)"
        )
    return sympy.Piecewise(*others, (last, True))


@contextmanager
def nesting_refused() -> Iterator[None]:
    """An error of dynsys where SymPy or Python gives up on what is nested too deeply."""
    try:
        yield
    except (RecursionError, SyntaxError, MemoryError):
        raise InvalidInputError("the expressions are nested too deeply: write them flatter") from None


def check_functions(expression: sympy.Expr, origin: str, *known: str) -> None:
    """Refuse an expression, or a derivative of one, that has no source; `known` functions have some."""
    import sympy

    from dynsys.equations.finite.special import Lowered, Selection

    allowed = {*FUNCTIONS, *STEPS, *known, "Abs", "sign", "Max", "Min", "Piecewise", "And", "Or", "Not"}
    own = (Lowered, Selection)
    usual = (sympy.Add, sympy.Mul, sympy.Pow, sympy.Tuple, sympy.Atom)
    for part in sympy.preorder_traversal(expression):
        function = isinstance(part, sympy.core.function.Application)
        known_kind = type(part).__name__ in allowed or isinstance(part, own) if function else isinstance(part, usual)
        known_kind |= part.is_Relational or part in (sympy.true, sympy.false)
        if not known_kind or part in (sympy.I, sympy.oo, -sympy.oo, sympy.zoo, sympy.nan):
            first = "" if function else "carry out derivatives, integrals and sums first (.doit()), and "
            raise InvalidInputError(
                f"{origin} contains {part}, which cannot be differentiated or computed: {first}write it with "
                f"{', '.join((*FUNCTIONS, *OTHERS, *STEPS))}, Abs, sign, Max, Min or Piecewise"
            )
        if part.is_Pow and part.is_number and not part.is_extended_real:
            raise InvalidInputError(f"{origin} contains {part}, which is no real number")
        if (part.is_Number or (part.is_Pow and part.is_number)) and not _is_float(part):
            raise InvalidInputError(f"{origin} contains {part.evalf(3)!s}, which no floating-point number can hold")


def _is_float(number: sympy.Number) -> bool:
    """Whether a number is neither too large nor too small for a float."""
    try:
        return bool(number.is_zero) or 0.0 < abs(float(number)) < math.inf  # Float(0.0) == 0 is False to SymPy
    except OverflowError:
        return False
