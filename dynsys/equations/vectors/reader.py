"""One way through the texts of equations in vectors: products and sums are taken out, lengths held against one another.

Neither SymPy nor NumPy is asked: what stands in place of a product or a sum is a name.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from dynsys.equations.expression import nearest
from dynsys.errors import InvalidInputError

Length = int | None  # of a vector; None: of a number
Shape = tuple[int, ...]


@attrs.frozen
class Taken:
    """A product or a sum that was taken out of a text.

    Attributes
    ----------
    name : str
        What stands in its place.
    matrix, transposed : str, bool
        The matrix of a product; empty for a sum over all entries.
    of, of_length : str, int
        Text of what is multiplied or added up, in which others may stand by name, and its number of entries.
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


def written(node: ast.expr) -> str:
    """Text of a node."""
    return ast.unparse(ast.fix_missing_locations(node))


def entries(length: Length) -> str:
    """What an error says of a length."""
    return "is a number" if length is None else f"has {length} entries"


class Reading:
    """One way through all texts; what was taken out of them comes together in `order`."""

    def __init__(
        self, parameters: Mapping[str, Shape], lengths: Mapping[str, Length], unknown: Collection[str] = ()
    ) -> None:
        self.matrices = {name: shape for name, shape in parameters.items() if len(shape) == 2}
        vectors: dict[str, Length] = {
            name: shape[0] if shape else None for name, shape in parameters.items() if len(shape) < 2
        }
        self.lengths: dict[str, Length] = {"t": None, "pi": None} | vectors | dict(lengths)
        self.unknown = set(unknown)  # variables that count as numbers until more is known of them
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
            node, self.lengths[name] = self._one(*text)
            self.order.append((name, written(node)))
        return {name: self._one(*text) for name, text in equations.items()}

    def _one(self, origin: str, source: str, tree: ast.expr) -> tuple[ast.expr, Length]:
        self.origin, self.source = origin, source
        try:
            node, kind = self._read(tree)
        except InvalidInputError:
            if not self.unknown:
                raise
            self.failed = True  # which may be for what is not known yet
            return tree, None
        if isinstance(kind, _Matrix):
            if self.unknown:
                self.failed = True
                return tree, None
            raise self._refuse(f"{self._text(tree)} is a matrix {kind.shape}: write {self._text(tree, bare=True)}@x")
        return node, kind

    def _refuse(self, what: str) -> InvalidInputError:
        return InvalidInputError(f"{self.origin}: {what}, in {self.source[:100]!r}")

    def _text(self, node: ast.AST, bare: bool = False) -> str:
        source = (ast.get_source_segment(self.source, node) or "")[:50]
        return source if bare else repr(source)

    def _read(self, node: ast.expr) -> Read:
        match node:
            case ast.Name(id=name):
                return self._name(name, node)
            case ast.Attribute(value=ast.Name(id=name), attr="T") if name in self.matrices:
                return node, self._name(name, node)[1].transposed  # type: ignore[union-attr]
            case ast.BinOp(op=ast.MatMult()):
                return self._product(node)
            case ast.BinOp(op=ast.Mult() | ast.Div()):
                return self._scaled(node)
            case ast.UnaryOp(op=op, operand=operand):
                new, kind = self._read(operand)
                if isinstance(kind, _Matrix):
                    return node, kind.times(ast.Constant(-1)) if isinstance(op, ast.USub) else kind
                return ast.UnaryOp(op, new), kind
            case ast.Call(func=ast.Name(id="sum" | "mean" as word), args=[argument], keywords=[]):
                return self._reduced(node, word, argument)
            case ast.Subscript():
                what = "entries are not named; give a vector of zeros and a one as a parameter e, and write e@x"
                raise self._refuse(f"{self._text(node)}: {what}")
            case ast.Call(func=ast.Name()):
                return self._rebuilt(node, "func")
        return self._rebuilt(node)

    def _name(self, name: str, node: ast.expr) -> Read:
        if name in self.matrices:
            return node, _Matrix(((name, False),), self.matrices[name])
        if name in self.later:
            raise self._refuse(f"it uses {name}, which comes after it: change their order")
        if name not in self.lengths:
            known = [*self.lengths, *self.matrices]
            raise self._refuse(f"unknown name {name!r} ({nearest(name, known)}; every parameter needs a value)")
        return node, self.lengths[name]

    def _rebuilt(self, node: Any, *kept: str, known: Mapping[ast.expr, Read] = MappingProxyType({})) -> Read:
        """A node whose parts are read, or `known` from before; all have one length, or are numbers."""
        length: Length = None
        longest = None

        def part(value: Any) -> Any:
            nonlocal length, longest
            if not isinstance(value, ast.expr):
                return value
            new, kind = known.get(value) or self._read(value)
            if isinstance(kind, _Matrix):
                name = self._text(value, bare=True)
                raise self._refuse(
                    f"{self._text(node)}: {name} is a matrix {kind.shape}, which is applied to vectors by @ alone: "
                    f"write {name}@x, A@x + B@x for a sum, and compute functions of its entries beforehand"
                )
            if kind is not None:
                if length not in (None, kind):
                    raise self._refuse(
                        f"{self._text(node)}: {self._text(longest, bare=True)} {entries(length)}, "  # type: ignore[arg-type]
                        f"{self._text(value, bare=True)} {entries(kind)}"
                    )
                length, longest = kind, value
            return new

        fields = {
            name: [part(v) for v in value] if isinstance(value, list) else value if name in kept else part(value)
            for name, value in ast.iter_fields(node)
        }
        return type(node)(**fields), length

    def _scaled(self, node: ast.BinOp) -> Read:
        """A product or quotient by entries; a matrix may be one factor if the other is a number."""
        (left, kind), (right, other) = self._read(node.left), self._read(node.right)
        divided = isinstance(node.op, ast.Div)
        for matrix, side in ((kind, node.right), (other, node.left)):
            if isinstance(matrix, _Matrix):
                self._ask(side, matrix.shape[1], self.perhaps)
        if isinstance(kind, _Matrix) and other is None:
            return node, kind.times(right, divided)
        if isinstance(other, _Matrix) and kind is None and not divided:
            return node, other.times(left)
        for matrix, side in ((kind, node.left), (other, node.right)):
            if isinstance(matrix, _Matrix):
                what, name = self._text(node), self._text(side, bare=True)
                raise self._refuse(
                    f"{what}: {name} is a matrix {matrix.shape}, use @: {name}@x is its product with a vector x, and "
                    f"y*({name}@x) has a factor y for every row"
                )
        return self._rebuilt(node, known={node.left: (left, kind), node.right: (right, other)})

    def _product(self, node: ast.BinOp) -> Read:
        (left, kind), (right, other) = self._read(node.left), self._read(node.right)
        if isinstance(kind, _Matrix) and isinstance(other, _Matrix):
            self._fits(node, kind.shape, kind.shape[1], other.shape[0], other.shape)
            both = _Matrix(kind.factors + other.factors, (kind.shape[0], other.shape[1]), kind.number)
            return node, both if other.number is None else both.times(other.number)
        if isinstance(kind, _Matrix):
            return self._applied(node, kind, right, other, node.right)  # type: ignore[arg-type]
        if isinstance(other, _Matrix):
            return self._applied(node, other.transposed, left, kind, node.left)
        if kind is None or other is None:
            for length, side in ((kind, node.right), (other, node.left)):
                if length is not None:
                    self._ask(side, length, self.wanted)
            raise self._refuse(f"{self._text(node)}: a number is multiplied by *, not by @")
        self._fits(node, (kind,), kind, other, (other,))
        return self._take(node, "", False, ast.BinOp(left, ast.Mult(), right), kind, None)

    def _applied(self, node: ast.BinOp, matrix: _Matrix, of: ast.expr, length: Length, side: ast.expr) -> Read:
        """A matrix applied to a vector, factor by factor."""
        wanted = matrix.shape[1]
        if length is None:
            if not self._ask(side, wanted, self.wanted):
                what = self._text(side, bare=True)
                raise self._refuse(
                    f"{self._text(node)}: {what} is a number, the matrix {matrix.shape} needs a vector of {wanted} "
                    "entries; where the length of a variable x does not follow from its equation, say it: 'x[5]' in "
                    "the place of 'x'"
                )
        else:
            self._fits(node, matrix.shape, wanted, length, (length,))
        for name, transposed in reversed(matrix.factors):
            rows, columns = self.matrices[name][::-1] if transposed else self.matrices[name]
            of = self._take(node, name, transposed, of, columns, rows)[0]
        result: ast.expr = of if matrix.number is None else ast.BinOp(matrix.number, ast.Mult(), of)
        return result, matrix.shape[0]

    def _ask(self, node: ast.expr, length: int, answers: dict[str, Length]) -> bool:
        """Whether variables that are not known stand in a text; if it is one, what its length has to be is noted."""
        inside = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & self.unknown
        if len(inside) == 1:
            answers.setdefault(inside.pop(), length)
            return True
        return bool(inside)

    def _fits(self, node: ast.BinOp, left: Shape, columns: int, rows: int, right: Shape) -> None:
        if columns != rows:
            raise self._refuse(
                f"{self._text(node)}: the shapes {left} and {right} of {self._text(node.left, bare=True)} and "
                f"{self._text(node.right, bare=True)} do not fit"
            )

    def _reduced(self, node: ast.Call, word: str, argument: ast.expr) -> Read:
        new, kind = self._read(argument)
        if isinstance(kind, _Matrix):
            raise self._refuse(f"{self._text(node)}: {word} is of a vector, got a matrix {kind.shape}")
        if kind is None:
            if self.unknown:
                return new, None
            raise self._refuse(f"{self._text(node)}: {word} is of a vector, got a number")
        of = ast.BinOp(new, ast.Div(), ast.Constant(kind)) if word == "mean" else new
        return self._take(node, "", False, of, kind, None)

    def _take(
        self, node: ast.expr, matrix: str, transposed: bool, of: ast.expr, of_length: int, length: Length
    ) -> tuple[ast.expr, Length]:
        """A name in the place of a product or a sum; that of an equal one, if there is one."""
        text = written(of)
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
            Taken(name, matrix, transposed, text, of_length, length, self._text(node, bare=True), self.origin)
        )
        return ast.Name(name), length
