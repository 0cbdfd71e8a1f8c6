"""Expressions of the part of Python that is compiled: their values, as instructions of LLVM."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dynsys.compiled.llvm.instructions import (
    BOOL,
    FLOAT,
    INT,
    INTRINSICS,
    LIBRARY,
    MASK,
    POINTERS,
    VECTOR,
    Instructions,
    Misfit,
    Value,
    VectorBranch,
    number,
    wider,
)

CONSTANTS = {"pi": math.pi, "inf": math.inf, "nan": math.nan, "e": math.e}
OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
}  # fmt: skip
_ORDER = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_NUMPY = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2"}
_NAMES = {"fabs": "fabs", "ceiling": "ceil"} | _NUMPY | {name: name for name in (*INTRINSICS, *LIBRARY)}


class Names(Protocol):
    """What a module tells of its functions and constants."""

    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def functions(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def constants(self) -> Mapping[str, Value]: ...  # noqa: D102
    def instance(self, name: str, types: Sequence[str]) -> tuple[str, str]: ...  # noqa: D102
    def refused(self, node: ast.AST, why: str = "") -> Exception: ...  # noqa: D102


class Expressions:
    """The values of expressions in a function, with its variables.

    `known` are the types of variables that were found before, `types` those that are needed: where both agree, a
    function is done.
    """

    def __init__(self, module: Names, known: dict[str, str]) -> None:
        self.module, self.to = module, Instructions(module.width)
        self.known, self.types = known, dict(known)
        self.slots: dict[str, str] = {}
        self.values: dict[str, Value] = {}
        self.blocks = 0

    def is_vector(self, node: ast.expr) -> bool:
        """Whether an expression is an entry of memory that holds vectors."""
        return isinstance(node, ast.Subscript) and self.pointer(node.value).type == "vectors"

    def assign(self, name: str, value: Value) -> None:
        """Write a variable, whose type grows to hold the value."""
        type_ = wider(self.types.get(name, value.type), value.type)
        self.types[name] = type_
        if name not in self.slots:
            self.slots[name] = f"%s{len(self.slots)}"
        value = self.to.as_type(value, type_)
        self.to.do(f"store {self.to.typed(value)}, ptr {self.slots[name]}")

    def label(self, what: str) -> str:
        """A new name of a block."""
        self.blocks += 1
        return f"{what}{self.blocks}"

    def begin(self, label: str) -> None:
        """Begin a block."""
        self.to.lines.append(f"{label}:")

    def value(self, node: ast.expr) -> Value:
        """The value of an expression."""
        match node:
            case ast.Constant(value=bool() | int() | float()):
                return number(node.value)  # type: ignore[arg-type]
            case ast.Name():
                return self.variable(node.id)
            case ast.Attribute(value=ast.Name(id="math" | "np")) if node.attr in CONSTANTS:
                return number(CONSTANTS[node.attr])
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return self.sum(node)
            case ast.BinOp() if type(node.op) in OPERATORS:
                return self.to.arithmetic(OPERATORS[type(node.op)], self.value(node.left), self.value(node.right))
            case ast.UnaryOp(op=ast.USub()):
                return self.to.negative(self.value(node.operand))
            case ast.UnaryOp(op=ast.UAdd()):
                return self.value(node.operand)
            case ast.UnaryOp(op=ast.Not() | ast.Invert()):
                return self.to.opposite(self.value(node.operand))
            case ast.Compare():
                return self.comparison(node)
            case ast.BoolOp():
                return self.both(node)
            case ast.IfExp():
                return self.choice(node)
            case ast.Subscript(slice=ast.Slice()):
                return self.pointer(node)
            case ast.Subscript(value=ast.Subscript() as row) if self.is_vector(row):
                lane_at = self.to.at(Value("floats", self.place(row).text), self.value(node.slice))
                return self.to.load(lane_at)
            case ast.Subscript():
                of = self.value(node.value)
                if of.type in (VECTOR, FLOAT):
                    return self.to.lane(of, self.value(node.slice))
                return self.to.load(self.to.at(of, self.value(node.slice)))
            case ast.Tuple():
                return self.together([self.value(one) for one in node.elts])
            case ast.Call():
                return self.call(node)
            case _:
                raise self.module.refused(node)

    def sum(self, node: ast.BinOp) -> Value:
        """A sum or difference: with a product as one of its terms a fused multiply-add."""
        minus = isinstance(node.op, ast.Sub)
        if factors := self.factors(node.right):
            a, b = factors
            return self.to.multiply_add(self.to.negative(a) if minus else a, b, self.value(node.left))
        if factors := self.factors(node.left):
            c = self.value(node.right)
            return self.to.multiply_add(*factors, self.to.negative(c) if minus else c)
        return self.to.arithmetic("-" if minus else "+", self.value(node.left), self.value(node.right))

    def factors(self, node: ast.expr) -> tuple[Value, Value] | None:
        """The two factors of an expression that is a product."""
        match node:
            case ast.BinOp(op=ast.Mult()):
                return self.value(node.left), self.value(node.right)
            case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=int(2 | 3))):
                a = self.value(node.left)
                return (a if node.right.value == 2 else self.to.arithmetic("*", a, a)), a  # type: ignore[attr-defined]
        return None

    def variable(self, name: str) -> Value:
        """What a name means: an argument, a variable, a constant."""
        if name in self.values:
            return self.values[name]
        if name in self.slots:
            type_ = self.known.get(name, self.types[name])
            return self.to.give(type_, f"load {self.to.llvm(type_)}, ptr {self.slots[name]}")
        if name in self.module.constants:
            return self.module.constants[name]
        if name in CONSTANTS:
            return number(CONSTANTS[name])
        raise Misfit(f"{name} is not defined")

    def pointer(self, node: ast.expr) -> Value:
        """Where memory begins: a name, or what stands behind an index of one."""
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            lower = node.slice.lower
            of = self.pointer(node.value)
            return of if lower is None else self.to.at(of, self.value(lower))
        return self.value(node)

    def place(self, node: ast.Subscript) -> Value:
        """Where an entry stands."""
        return self.to.at(self.pointer(node.value), self.value(node.slice))

    def together(self, values: Sequence[Value]) -> Value:
        """Several values as one."""
        type_ = f"({','.join(value.type for value in map(self.as_float, values))})"
        whole = Value(type_, "poison")
        for i, value in enumerate(map(self.as_float, values)):
            whole = self.to.give(type_, f"insertvalue {self.to.typed(whole)}, {self.to.typed(value)}, {i}")
        return whole

    def as_float(self, value: Value) -> Value:
        """A number that stands in the source, as a float."""
        return self.to.as_type(value, FLOAT) if value.literal else value

    def comparison(self, node: ast.Compare) -> Value:
        """A comparison, or several in a chain."""
        values = [self.value(one) for one in (node.left, *node.comparators)]
        result = None
        for op, a, b in zip(node.ops, values, values[1:], strict=False):
            if type(op) not in _ORDER:
                raise self.module.refused(node)
            one = self.to.compare(_ORDER[type(op)], a, b)
            result = one if result is None else self.to.arithmetic("&", result, one)
        assert result is not None
        return result

    def both(self, node: ast.BoolOp) -> Value:
        """`and` and `or`; what may fail is computed only where it is asked for."""
        result = self.to.truth(self.value(node.values[0]))
        for other in node.values[1:]:
            if result.type == MASK or not _may_fail(other):
                operator = "&" if isinstance(node.op, ast.And) else "|"
                result = self.to.arithmetic(operator, result, self.to.truth(self.value(other)))
                continue
            slot = self.label("both")
            self.assign(slot, result)
            further, after = map(self.label, ("further", "after"))
            first, second = (further, after) if isinstance(node.op, ast.And) else (after, further)
            self.to.do(f"br i1 {result.text}, label %{first}, label %{second}")
            self.begin(further)
            self.assign(slot, self.to.truth(self.value(other)))
            self.to.do(f"br label %{after}")
            self.begin(after)
            result = self.variable(slot)
        return result

    def choice(self, node: ast.IfExp) -> Value:
        """`a if condition else b`."""
        condition = self.to.truth(self.value(node.test))
        if condition.type == MASK or not (_may_fail(node.body) or _may_fail(node.orelse)):
            return self.to.select(condition, self.value(node.body), self.value(node.orelse))
        slot = self.label("choice")
        yes, no, after = map(self.label, ("yes", "no", "after"))
        self.to.do(f"br i1 {condition.text}, label %{yes}, label %{no}")
        for label, part in ((yes, node.body), (no, node.orelse)):
            self.begin(label)
            self.assign(slot, self.value(part))
            self.to.do(f"br label %{after}")
        self.begin(after)
        return self.variable(slot)

    def call(self, node: ast.Call) -> Value:
        """A call of a function of the module, or of one that is known."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if node.keywords:
            raise self.module.refused(node)
        values = [self.value(argument) for argument in node.args]
        if name in self.module.functions:
            try:
                label, result = self.module.instance(name, [value.type for value in values])
            except VectorBranch:
                return self.lane_by_lane(name, values)
            called = f"call {self.to.llvm(result)} @{label}({', '.join(map(self.to.typed, values))})"
            if result == "none":
                self.to.do(called)
                return Value("none", "")
            return self.to.give(result, called)
        match name, values:
            case (("two_to" | "exponent" | "significand"), [a]):
                return getattr(self.to, name)(a)
            case "float", [a]:
                return self.to.as_type(a, VECTOR if a.type in (VECTOR, MASK) else FLOAT)
            case "int", [a]:
                return self.to.as_type(a, INT)
            case "abs", [a]:
                if a.type == INT:
                    return self.to.select(self.to.compare("<", a, number(0)), self.to.negative(a), a)
                return self.to.function("fabs", [a])
            case (("min" | "max"), [a, *others]) if others:
                for b in others:
                    a = self.to.select(self.to.compare("<" if name == "min" else ">", b, a), b, a)
                return a
            case "where", [condition, yes, no]:
                return self.to.select(self.to.truth(condition), yes, no)
            case "some", [a]:
                return self.to.some(self.to.truth(a))
            case "total", [a]:
                return self.to.total(a)
            case "splat", [a]:
                return self.to.as_type(a, VECTOR)
            case "bits", [a]:
                of, to = (self.to.llvm(a.type), "i64")
                return self.to.give(INT, f"bitcast {of} {a.text} to {to}")
            case "from_bits", [a]:
                return self.to.give(FLOAT, f"bitcast i64 {a.text} to double")
            case "as_vectors", [a] if a.type in POINTERS:
                return Value("vectors", a.text)
            case "as_floats", [a] if a.type in POINTERS:
                return Value("floats", a.text)
            case "as_ints32", [a] if a.type in POINTERS:
                return Value("ints32", a.text)
            case "like", [a, b] if a.type in POINTERS and b.type in POINTERS:
                return Value(b.type, a.text)
            case "given", [a] if a.type in POINTERS:
                return self.to.give(BOOL, f"icmp ne ptr {a.text}, null")
            case "call", [address, *others]:
                self.to.do(f"call void {address.text}({', '.join(map(self.to.typed, others))})")
                return Value("none", "")
            case _, _ if name in _NAMES and values:
                return self.to.function(_NAMES[name], values)
        raise Misfit(f"`{name}` of {len(values)} arguments is no function that is known")

    def lane_by_lane(self, name: str, values: Sequence[Value]) -> Value:
        """A function with branches of its own for every number of some vectors."""
        if any(value.type not in (VECTOR, FLOAT, INT, BOOL) for value in values):
            raise VectorBranch(f"{name} branches on a vector, and is given memory, which lanes cannot share")
        types = [FLOAT if value.type == VECTOR else value.type for value in values]
        label, result = self.module.instance(name, types)
        parts = result[1:-1].split(",") if result.startswith("(") else [result]
        found = [Value(VECTOR, "poison") for _ in parts]
        for lane in range(self.to.width):
            given = [self.to.lane(v, number(lane)) if v.type == VECTOR else v for v in values]
            called = f"call {self.to.llvm(result)} @{label}({', '.join(map(self.to.typed, given))})"
            whole = self.to.give(result, called)
            for i, part in enumerate(parts):
                one = self.to.give(part, f"extractvalue {self.to.typed(whole)}, {i}") if len(parts) > 1 else whole
                one = self.to.as_type(one, FLOAT)
                found[i] = self.to.give(
                    VECTOR, f"insertelement {self.to.typed(found[i])}, {self.to.typed(one)}, i64 {lane}"
                )
        return self.together(found) if result.startswith("(") else found[0]


def _may_fail(node: ast.expr) -> bool:
    """Whether an expression may read where nothing is, divide ints by 0, which ends the process, or take long.

    It is computed only where it is asked for.
    """
    kinds = ast.Subscript | ast.Call | ast.FloorDiv | ast.Mod
    return any(isinstance(part, kinds) for part in ast.walk(node))
