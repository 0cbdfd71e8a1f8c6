"""Equations in vectors, as text: matrix products and sums are taken out, what remains is computed entry by entry.

Here lengths are found and held against one another. Every product M@(...) and every sum(...) becomes a name of its own,
with the text that it is of; neither SymPy nor NumPy is asked.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from dynsys.equations.expression import nearest
from dynsys.errors import InvalidInputError

Length = int | None  # of a vector; None: of a number
Shape = tuple[int, ...]
LONGEST = 10_000  # characters
WORDS = ("sum", "mean")  # functions of a vector that give a number


@attrs.frozen
class Taken:
    """A product or a sum that was taken out of a text.

    Attributes
    ----------
    name : str
        What stands in its place.
    matrix : str
        The matrix of a product, empty for a sum over all entries.
    transposed : bool
    of : str
        Text of what the matrix is applied to, or what is added up, in which others may stand by name.
    of_length : int
        Number of entries of that.
    length : int or None
        Number of entries of the result, None for a number.
    text, origin : str
        What the user wrote, and where.
    """

    name: str
    matrix: str
    transposed: bool
    of: str
    of_length: int
    length: Length
    text: str
    origin: str


@attrs.frozen
class VectorEquations:
    """What was read.

    Attributes
    ----------
    lengths : mapping, name -> int or None
        Number of entries of every variable of the state, helper and parameter that is no matrix.
    order : sequence of Taken, or of (str, str)
        What was taken out, and name and text of helpers; each may use those before it.
    texts : mapping, name -> str
        The right-hand sides, with names in the place of what was taken out.
    """

    lengths: Mapping[str, Length]
    order: Sequence[Taken | tuple[str, str]]
    texts: Mapping[str, str]


@attrs.frozen
class _Matrix:
    """A number times a product of matrices, each (name, transposed); both may be one."""

    factors: tuple[tuple[str, bool], ...]
    shape: Shape
    number: ast.expr | None = None

    def times(self, number: ast.expr, divided: bool = False) -> _Matrix:
        if self.number is None and not divided:
            return attrs.evolve(self, number=number)
        of: ast.expr = ast.Constant(1) if self.number is None else self.number
        return attrs.evolve(self, number=ast.BinOp(of, ast.Div() if divided else ast.Mult(), number))

    @property
    def transposed(self) -> _Matrix:
        turned = tuple((name, not transposed) for name, transposed in reversed(self.factors))
        return attrs.evolve(self, factors=turned, shape=self.shape[::-1])


Read = tuple[ast.expr, int | _Matrix | None]  # what a node is with names in the place of products, and its length
Text = tuple[str, str, ast.expr]  # origin, source and syntax tree


def read_vectors(
    equations: Mapping[str, Any],
    given: Mapping[str, Length],
    parameters: Mapping[str, Shape],
    helpers: Mapping[str, Any],
) -> VectorEquations:
    """Read equations in vectors.

    Parameters
    ----------
    equations, helpers : mapping, name -> text or number
    given : mapping, name -> int
        Lengths of variables that are said; the others follow from the right-hand sides, then from products.
    parameters : mapping, name -> shape

    Raises
    ------
    InvalidInputError
        Naming what is not understood, and shapes that do not fit.
    """
    trees = {name: _tree(f"the equation of {name}", text) for name, text in equations.items()}
    short = {name: _tree(f"the helper {name}", text) for name, text in helpers.items()}
    lengths: dict[str, Length] = {name: given.get(name) for name in equations}
    unknown = {name for name in equations if name not in given}
    while unknown:
        reading = _Reading(parameters, lengths, unknown)
        found = {name: length for name, (_, length) in reading.all(short, trees).items() if name in unknown}
        new = {name: length for name, length in found.items() if length is not None} or reading.wanted
        new = new or (reading.perhaps if reading.failed else {})
        if not new:
            break
        lengths |= new
        unknown -= set(new)
    reading = _Reading(parameters, lengths)
    read = reading.all(short, trees)
    for name in equations:
        length, wanted = read[name][1], lengths[name]
        if length not in (None, wanted):
            raise InvalidInputError(
                f"the equation of {name}: {name} {_entries(wanted)}, its right-hand side {_entries(length)}"
            )
    texts = {name: _written(read[name][0]) for name in equations}
    return VectorEquations(reading.lengths, tuple(reading.order), texts)


def _tree(origin: str, text: Any) -> Text:
    if not isinstance(text, str | int | float):
        raise InvalidInputError(f"{origin} must be text where equations are in vectors, got {text!r:.100}")
    source = str(text).strip().replace("^", "**")
    if len(source) > LONGEST:
        raise InvalidInputError(f"{origin}: at most {LONGEST} characters, got {len(source)}: use helpers")
    try:
        return origin, source, ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError) as problem:
        reason = problem.msg if isinstance(problem, SyntaxError) else problem
        raise InvalidInputError(f"{origin}: the expression {source[:100]!r} cannot be read: {reason}") from None


def _written(node: ast.expr) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def _entries(length: Length) -> str:
    return "is a number" if length is None else f"has {length} entries"


class _Reading:
    """One way through all texts; what was taken out of them comes together in `order`."""

    def __init__(
        self,
        parameters: Mapping[str, Shape],
        lengths: Mapping[str, Length],
        unknown: set[str] = frozenset(),  # type: ignore[assignment]
    ) -> None:
        self.matrices = {name: shape for name, shape in parameters.items() if len(shape) == 2}
        vectors: dict[str, Length] = {
            name: shape[0] if shape else None for name, shape in parameters.items() if len(shape) < 2
        }
        self.lengths: dict[str, Length] = {"t": None, "pi": None} | vectors | dict(lengths)
        self.unknown = unknown  # variables that count as numbers until more is known of them
        self.wanted: dict[str, Length] = {}  # what products ask of such
        self.perhaps: dict[str, Length] = {}  # what would explain a W*x that makes no sense otherwise
        self.failed = False
        self.later: set[str] = set()  # helpers that are not read yet
        self.order: list[Taken | tuple[str, str]] = []
        self.origin = self.source = ""

    def all(self, helpers: Mapping[str, Text], equations: Mapping[str, Text]) -> dict[str, tuple[ast.expr, Length]]:
        """Every right-hand side, after the helpers, and its length."""
        self.later = set(helpers)
        for name, text in helpers.items():
            self.later.discard(name)
            node, self.lengths[name] = self.one(*text)
            self.order.append((name, _written(node)))
        return {name: self.one(*text) for name, text in equations.items()}

    def one(self, origin: str, source: str, tree: ast.expr) -> tuple[ast.expr, Length]:
        self.origin, self.source = origin, source
        try:
            node, kind = self.read(tree)
        except InvalidInputError:
            if not self.unknown:
                raise
            self.failed = True  # which may be for what is not known yet
            return tree, None
        if isinstance(kind, _Matrix):
            if self.unknown:
                self.failed = True
                return tree, None
            raise self.refuse(f"{self.text(tree)} is a matrix {kind.shape}: write {self.text(tree, bare=True)}@x")
        return node, kind

    def refuse(self, what: str) -> InvalidInputError:
        return InvalidInputError(f"{self.origin}: {what}, in {self.source[:100]!r}")

    def text(self, node: ast.AST, bare: bool = False) -> str:
        written = (ast.get_source_segment(self.source, node) or "")[:50]
        return written if bare else repr(written)

    def read(self, node: ast.expr) -> Read:
        match node:
            case ast.Name(id=name):
                return self.name(name, node)
            case ast.Attribute(value=ast.Name(id=name), attr="T") if name in self.matrices:
                return node, self.name(name, node)[1].transposed  # type: ignore[union-attr]
            case ast.BinOp(op=ast.MatMult()):
                return self.product(node)
            case ast.BinOp(op=ast.Mult() | ast.Div()):
                return self.scaled(node)
            case ast.UnaryOp(op=op, operand=operand):
                new, kind = self.read(operand)
                if isinstance(kind, _Matrix):
                    return node, kind.times(ast.Constant(-1)) if isinstance(op, ast.USub) else kind
                return ast.UnaryOp(op, new), kind
            case ast.Call(func=ast.Name(id="sum" | "mean" as word), args=[argument], keywords=[]):
                return self.reduced(node, word, argument)
            case ast.Subscript():
                raise self.refuse(
                    f"{self.text(node)}: entries are not named; give a vector of zeros and a one as a parameter e, and "
                    "write e@x"
                )
            case ast.Call(func=ast.Name()):
                return self.rebuilt(node, "func")
        return self.rebuilt(node)

    def name(self, name: str, node: ast.expr) -> Read:
        if name in self.matrices:
            return node, _Matrix(((name, False),), self.matrices[name])
        if name in self.later:
            raise self.refuse(f"it uses {name}, which comes after it: change their order")
        if name not in self.lengths:
            known = [*self.lengths, *self.matrices]
            raise self.refuse(f"unknown name {name!r} ({nearest(name, known)}; every parameter needs a value)")
        return node, self.lengths[name]

    def rebuilt(self, node: Any, *kept: str) -> Read:
        """A node whose parts are read; all have one length, or are numbers."""
        length: Length = None
        longest = None

        def part(value: Any) -> Any:
            nonlocal length, longest
            if not isinstance(value, ast.expr):
                return value
            new, kind = self.read(value)
            if isinstance(kind, _Matrix):
                name = self.text(value, bare=True)
                raise self.refuse(
                    f"{self.text(node)}: {name} is a matrix {kind.shape}, which is applied to vectors by @ alone: "
                    f"write {name}@x, A@x + B@x for a sum, and compute functions of its entries beforehand"
                )
            if kind is not None:
                if length not in (None, kind):
                    raise self.refuse(
                        f"{self.text(node)}: {self.text(longest, bare=True)} {_entries(length)}, "  # type: ignore[arg-type]
                        f"{self.text(value, bare=True)} {_entries(kind)}"
                    )
                length, longest = kind, value
            return new

        fields = {
            name: [part(v) for v in value] if isinstance(value, list) else value if name in kept else part(value)
            for name, value in ast.iter_fields(node)
        }
        return type(node)(**fields), length

    def scaled(self, node: ast.BinOp) -> Read:
        """A product or quotient by entries; a matrix may be one factor if the other is a number."""
        (left, kind), (right, other) = self.read(node.left), self.read(node.right)
        divided = isinstance(node.op, ast.Div)
        for matrix, side in ((kind, node.right), (other, node.left)):
            if isinstance(matrix, _Matrix):
                self.ask(side, matrix.shape[1], self.perhaps)
        if isinstance(kind, _Matrix) and other is None:
            return node, kind.times(right, divided)
        if isinstance(other, _Matrix) and kind is None and not divided:
            return node, other.times(left)
        for matrix, side in ((kind, node.left), (other, node.right)):
            if isinstance(matrix, _Matrix):
                what, name = self.text(node), self.text(side, bare=True)
                raise self.refuse(
                    f"{what}: {name} is a matrix {matrix.shape}, use @: {name}@x is its product with a vector x, and "
                    f"y*({name}@x) has a factor y for every row"
                )
        return self.rebuilt(node)

    def product(self, node: ast.BinOp) -> Read:
        (left, kind), (right, other) = self.read(node.left), self.read(node.right)
        if isinstance(kind, _Matrix) and isinstance(other, _Matrix):
            self.fits(node, kind.shape, kind.shape[1], other.shape[0], other.shape)
            both = _Matrix(kind.factors + other.factors, (kind.shape[0], other.shape[1]), kind.number)
            return node, both if other.number is None else both.times(other.number)
        if isinstance(kind, _Matrix):
            return self.applied(node, kind, right, other, node.right)  # type: ignore[arg-type]
        if isinstance(other, _Matrix):
            return self.applied(node, other.transposed, left, kind, node.left)
        if kind is None or other is None:
            for length, side in ((kind, node.right), (other, node.left)):
                if length is not None:
                    self.ask(side, length, self.wanted)
            raise self.refuse(f"{self.text(node)}: a number is multiplied by *, not by @")
        self.fits(node, (kind,), kind, other, (other,))
        return self.take(node, "", False, ast.BinOp(left, ast.Mult(), right), kind, None)

    def applied(self, node: ast.BinOp, matrix: _Matrix, of: ast.expr, length: Length, written: ast.expr) -> Read:
        """A matrix applied to a vector, factor by factor."""
        wanted = matrix.shape[1]
        if length is None:
            if not self.ask(written, wanted, self.wanted):
                what = self.text(written, bare=True)
                raise self.refuse(
                    f"{self.text(node)}: {what} is a number, the matrix {matrix.shape} needs a vector of {wanted} "
                    "entries; where the length of a variable x does not follow from its equation, say it: 'x[5]' in "
                    "the place of 'x'"
                )
        else:
            self.fits(node, matrix.shape, wanted, length, (length,))
        for name, transposed in reversed(matrix.factors):
            rows, columns = self.matrices[name][::-1] if transposed else self.matrices[name]
            of = self.take(node, name, transposed, of, columns, rows)[0]
        result: ast.expr = of if matrix.number is None else ast.BinOp(matrix.number, ast.Mult(), of)
        return result, matrix.shape[0]

    def ask(self, node: ast.expr, length: int, answers: dict[str, Length]) -> bool:
        """Whether variables that are not known stand in a text; if it is one, what its length has to be is noted."""
        inside = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & self.unknown
        if len(inside) == 1:
            answers.setdefault(inside.pop(), length)
            return True
        return bool(inside)

    def fits(self, node: ast.BinOp, left: Shape, columns: int, rows: int, right: Shape) -> None:
        if columns != rows:
            raise self.refuse(
                f"{self.text(node)}: the shapes {left} and {right} of {self.text(node.left, bare=True)} and "
                f"{self.text(node.right, bare=True)} do not fit"
            )

    def reduced(self, node: ast.Call, word: str, argument: ast.expr) -> Read:
        new, kind = self.read(argument)
        if isinstance(kind, _Matrix):
            raise self.refuse(f"{self.text(node)}: {word} is of a vector, got a matrix {kind.shape}")
        if kind is None:
            if self.unknown:
                return new, None
            raise self.refuse(f"{self.text(node)}: {word} is of a vector, got a number")
        total = self.take(node, "", False, new, kind, None)
        return (ast.BinOp(total[0], ast.Div(), ast.Constant(kind)), None) if word == "mean" else total

    def take(
        self, node: ast.expr, matrix: str, transposed: bool, of: ast.expr, of_length: int, length: Length
    ) -> tuple[ast.expr, Length]:
        """A name in the place of a product or a sum; that of an equal one, if there is one."""
        text = _written(of)
        for known in self.order:
            if isinstance(known, Taken) and (known.matrix, known.transposed, known.of, known.of_length) == (
                matrix,
                transposed,
                text,
                of_length,
            ):
                return ast.Name(known.name), known.length
        name = f"_{'product' if matrix else 'sum'}{len(self.order)}"
        self.order.append(
            Taken(name, matrix, transposed, text, of_length, length, self.text(node, bare=True), self.origin)
        )
        return ast.Name(name), length
