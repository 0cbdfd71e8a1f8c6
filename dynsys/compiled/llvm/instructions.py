"""Instructions of LLVM for numbers, vectors of numbers and what stands in memory: what `translate` writes.

A value is its type and its text. Types are float, int (64 bits), bool, vector (as many numbers side by side as the
module says, or a mask of as many bools) and pointers to numbers or vectors; int becomes float, and float vector, where
another operand is one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import attrs

FLOAT, INT, BOOL, VECTOR, MASK = "float", "int", "bool", "vector", "mask"
POINTERS = {"floats": "double", "ints": "i64", "ints32": "i32", "flags": "i8", "vectors": ""}
"""Kinds of memory, and what stands there (of `vectors`: the vector of the module)."""

INTRINSICS = ("sin", "cos", "exp", "log", "sqrt", "fabs", "floor", "ceil", "pow", "fma", "copysign")
LIBRARY = {
    "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan", "atan2": "atan2", "sinh": "sinh", "cosh": "cosh",
    "tanh": "tanh", "erf": "erf", "log1p": "log1p", "expm1": "expm1", "fmod": "fmod", "hypot": "hypot",
}  # fmt: skip
"""Functions of numbers: those that LLVM knows, and those of the C library by their names there."""

_ARITHMETIC = {"+": ("fadd", "add"), "-": ("fsub", "sub"), "*": ("fmul", "mul")}
_BITS = {"&": "and", "|": "or", "^": "xor", "<<": "shl", ">>": "ashr"}
_FLOAT_ORDER = {"<": "olt", "<=": "ole", ">": "ogt", ">=": "oge", "==": "oeq", "!=": "une"}
_INT_ORDER = {"<": "slt", "<=": "sle", ">": "sgt", ">=": "sge", "==": "eq", "!=": "ne"}


@attrs.frozen
class Value:
    """A value: its type, its text, and whether it is a number that stands in the source."""

    type: str
    text: str
    literal: bool = False


class Misfit(Exception):
    """What the source asks for has no meaning for these types."""


class VectorBranch(Misfit):
    """A branch that depends on a vector: its function goes lane by lane where it is called."""


def number(value: float | bool) -> Value:
    """A number that stands in the source."""
    if isinstance(value, bool):
        return Value(BOOL, "true" if value else "false")
    if isinstance(value, int):
        return Value(INT, str(value), literal=True)
    return Value(FLOAT, f"0x{struct.unpack('>Q', struct.pack('>d', value))[0]:016X}", literal=True)


def wider(a: str, b: str) -> str:
    """The type of a variable that holds both."""
    if a == b:
        return a
    order = (BOOL, MASK, INT, FLOAT, VECTOR)  # a mask is as wide as a vector: with a number it becomes one
    if a not in order or b not in order:
        raise Misfit(f"{a} and {b} have no common type")
    widest = max(a, b, key=order.index)
    return VECTOR if MASK in (a, b) and widest != MASK else widest


class Instructions:
    """The instructions of one function, in order."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = []
        self.declared: set[str] = set()  # functions from outside
        self.count = 0

    def fresh(self, what: str = "v") -> str:
        """A new name."""
        self.count += 1
        return f"%{what}{self.count}"

    def do(self, instruction: str) -> None:
        """An instruction without a value."""
        self.lines.append(f"  {instruction}")

    def give(self, type_: str, instruction: str) -> Value:
        """The value of an instruction."""
        name = self.fresh()
        self.lines.append(f"  {name} = {instruction}")
        return Value(type_, name)

    def llvm(self, type_: str) -> str:
        """A type as LLVM writes it."""
        if type_ in POINTERS:
            return "ptr"
        if type_.startswith("("):
            return "{" + ", ".join(map(self.llvm, type_[1:-1].split(","))) + "}"
        scalar = {FLOAT: "double", INT: "i64", BOOL: "i1", "none": "void"}
        return scalar.get(type_) or f"<{self.width} x {'double' if type_ == VECTOR else 'i1'}>"

    def typed(self, value: Value) -> str:
        """An operand with its type."""
        return f"{self.llvm(value.type)} {value.text}"

    def as_type(self, value: Value, type_: str) -> Value:
        """The same value as another type."""
        if value.type == type_:
            return value
        if (type_ == VECTOR and value.type in (FLOAT, INT, BOOL)) or (type_ == MASK and value.type == BOOL):
            of = self.llvm(type_)
            entry = self.as_type(value, FLOAT if type_ == VECTOR else BOOL)
            one = self.give(type_, f"insertelement {of} poison, {self.typed(entry)}, i64 0")
            zeros = f"<{self.width} x i32> zeroinitializer"
            return self.give(type_, f"shufflevector {of} {one.text}, {of} poison, {zeros}")
        if type_ == FLOAT and value.type == INT:
            if value.literal:
                return number(float(value.text))
            return self.give(FLOAT, f"sitofp i64 {value.text} to double")
        if type_ == FLOAT and value.type == BOOL:
            return self.give(FLOAT, f"uitofp i1 {value.text} to double")
        if type_ == INT and value.type == FLOAT:
            return self.give(INT, f"fptosi double {value.text} to i64")
        if type_ == INT and value.type == BOOL:
            return self.give(INT, f"zext i1 {value.text} to i64")
        if type_ == VECTOR and value.type == MASK:
            return self.give(VECTOR, f"uitofp {self.typed(value)} to {self.llvm(VECTOR)}")
        raise Misfit(f"{value.type} cannot be taken as {type_}")

    def alike(self, *values: Value, at_least: str = BOOL) -> list[Value]:
        """The same values as one type."""
        if len({value.type for value in values}) == 1 and values[0].type in POINTERS:
            return list(values)
        type_ = at_least
        for value in values:
            type_ = wider(type_, value.type)
        return [self.as_type(value, type_) for value in values]

    def arithmetic(self, operator: str, a: Value, b: Value) -> Value:
        """A sum, difference, product, quotient, remainder or power."""
        if operator in _BITS:
            if {a.type, b.type} <= {BOOL, MASK} and operator in "&|^":
                a, b = [self.as_type(one, MASK if MASK in (a.type, b.type) else BOOL) for one in (a, b)]
                return self.give(a.type, f"{_BITS[operator]} {self.typed(a)}, {b.text}")
            if a.type != INT or b.type != INT:
                raise Misfit(f"{operator} of {a.type} and {b.type}")
            return self.give(INT, f"{_BITS[operator]} i64 {a.text}, {b.text}")
        if operator == "**":
            return self.power(a, b)
        a, b = self.alike(a, b, at_least=FLOAT if operator == "/" else INT)
        if operator == "/":
            return self.give(a.type, f"fdiv {self.typed(a)}, {b.text}")
        if operator in ("//", "%"):
            return self.floored(operator, a, b)
        return self.give(a.type, f"{self._flagged(_ARITHMETIC[operator], a.type)} {self.typed(a)}, {b.text}")

    def _flagged(self, names: tuple[str, str], type_: str) -> str:
        return f"{names[1]} nsw" if type_ == INT else names[0]

    def floored(self, operator: str, a: Value, b: Value) -> Value:
        """The quotient rounded down, or its remainder, of the sign of b, as in Python."""
        if a.type != INT:
            rest = self.function("fmod", [a, b])
            zero = self.as_type(number(0.0), rest.type)
            other = self.compare("<", self.arithmetic("*", rest, self.function("copysign", [number(1.0), b])), zero)
            if operator == "%":
                return self.select(other, self.arithmetic("+", rest, b), rest)
            # 1.0 // 0.1 is 9, though 1.0 / 0.1 is 10: what is divided is what the remainder leaves, to a whole number
            near = self.arithmetic("/", self.arithmetic("-", a, rest), b)
            near = self.select(other, self.arithmetic("-", near, number(1.0)), near)
            whole = self.function("floor", [near])
            below = self.compare(">", self.arithmetic("-", near, whole), number(0.5))
            whole = self.select(below, self.arithmetic("+", whole, number(1.0)), whole)
            return self.select(self.compare("==", b, zero), self.arithmetic("/", a, b), whole)
        rest = self.give(INT, f"srem i64 {a.text}, {b.text}")
        other = self.arithmetic(
            "&", self.compare("!=", rest, number(0)), self.compare("<", self.arithmetic("^", rest, b), number(0))
        )
        if operator == "%":
            return self.select(other, self.arithmetic("+", rest, b), rest)
        quotient = self.give(INT, f"sdiv i64 {a.text}, {b.text}")
        return self.select(other, self.arithmetic("-", quotient, number(1)), quotient)

    def power(self, a: Value, b: Value) -> Value:
        """A power; by products where the exponent is a whole number that stands in the source."""
        if not (b.literal and b.type == INT and abs(int(b.text)) <= 1024):
            return self.function("pow", [a, b])
        exponent, result, square = abs(int(b.text)), None, a
        while exponent:
            if exponent & 1:
                result = square if result is None else self.arithmetic("*", result, square)
            exponent >>= 1
            if exponent:
                square = self.arithmetic("*", square, square)
        result = result or self.alike(number(1), a)[0]
        return self.arithmetic("/", number(1.0), result) if int(b.text) < 0 else result

    def negative(self, a: Value) -> Value:
        """Minus a value."""
        if a.literal:
            return number(-int(a.text)) if a.type == INT else Value(FLOAT, self._negated(a.text), literal=True)
        if a.type in (BOOL, INT):
            return self.give(INT, f"sub nsw i64 0, {self.as_type(a, INT).text}")
        a = self.as_type(a, VECTOR) if a.type == MASK else a
        return self.give(a.type, f"fneg {self.typed(a)}")

    @staticmethod
    def _negated(text: str) -> str:
        return f"0x{int(text, 16) ^ 1 << 63:016X}"

    def compare(self, order: str, a: Value, b: Value) -> Value:
        """A comparison; not true of NaN, except for !=."""
        a, b = self.alike(a, b)
        if a.type in (BOOL, MASK) and order in ("==", "!="):
            different = self.arithmetic("^", a, b)
            return different if order == "!=" else self.opposite(different)
        a, b = self.alike(a, b, at_least=INT)
        if a.type == INT:
            return self.give(BOOL, f"icmp {_INT_ORDER[order]} {self.typed(a)}, {b.text}")
        return self.give(MASK if a.type == VECTOR else BOOL, f"fcmp {_FLOAT_ORDER[order]} {self.typed(a)}, {b.text}")

    def truth(self, a: Value) -> Value:
        """Whether a value is not zero."""
        return a if a.type in (BOOL, MASK) else self.compare("!=", a, number(0))

    def opposite(self, a: Value) -> Value:
        """Whether a condition does not hold."""
        a = self.truth(a)
        ones = "true" if a.type == BOOL else "<" + ", ".join(["i1 true"] * self.width) + ">"
        return self.give(a.type, f"xor {self.typed(a)}, {ones}")

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """One of two values, both of which are computed."""
        yes, no = self.alike(yes, no, at_least=VECTOR if condition.type == MASK else BOOL)
        return self.give(yes.type, f"select {self.typed(condition)}, {self.typed(yes)}, {self.typed(no)}")

    def function(self, name: str, values: Sequence[Value]) -> Value:
        """A function of numbers, or entry by entry of vectors."""
        values = self.alike(*values, at_least=FLOAT)
        type_ = values[0].type
        if name in INTRINSICS:
            suffix = "f64" if type_ == FLOAT else f"v{self.width}f64"
            return self.outside(f"llvm.{name}.{suffix}", type_, values)
        if type_ == FLOAT:
            return self.outside(LIBRARY[name], type_, values)
        result = Value(VECTOR, "poison")
        for lane in range(self.width):
            one = self.function(name, [self.lane(value, number(lane)) for value in values])
            result = self.give(VECTOR, f"insertelement {self.typed(result)}, {self.typed(one)}, i64 {lane}")
        return result

    def outside(self, name: str, type_: str, values: Sequence[Value]) -> Value:
        """A call of a function that is defined elsewhere."""
        of = self.llvm(type_)
        memory = "" if name.startswith("llvm.") else " memory(none)"
        self.declared.add(f"declare {of} @{name}({', '.join(self.llvm(v.type) for v in values)}) nounwind{memory}")
        return self.give(type_, f"call {of} @{name}({', '.join(map(self.typed, values))})")

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """The sum a b + c, rounded once; of ints, which are not rounded, likewise."""
        a, b, c = self.alike(a, b, c, at_least=INT)
        if a.type == INT:
            return self.arithmetic("+", self.arithmetic("*", a, b), c)
        return self.function("fma", [a, b, c])

    def two_to(self, shifted: Value) -> Value:
        """2^n for a whole number n that stands in the lowest bits of n + 1.5 * 2^52."""
        of, ints = self.llvm(shifted.type), "i64" if shifted.type == FLOAT else f"<{self.width} x i64>"

        def every(n: int) -> str:
            return str(n) if shifted.type == FLOAT else "<" + ", ".join([f"i64 {n}"] * self.width) + ">"

        bits = self.give("", f"bitcast {of} {shifted.text} to {ints}")
        exponent = self.give("", f"add {ints} {bits.text}, {every(1023)}")
        whole = self.give("", f"shl {ints} {exponent.text}, {every(52)}")
        return self.give(shifted.type, f"bitcast {ints} {whole.text} to {of}")

    def exponent(self, a: Value) -> Value:
        """N of a = m 2^n with 1 <= m < 2, for positive normal numbers."""
        of, ints = self.llvm(a.type), self.llvm(a.type).replace("double", "i64")
        bits = self.give("", f"bitcast {of} {a.text} to {ints}")
        shifted = self.give("", f"lshr {ints} {bits.text}, {self._every(ints, 52)}")
        whole = self.give("", f"sub {ints} {shifted.text}, {self._every(ints, 1023)}")
        return self.give(a.type, f"sitofp {ints} {whole.text} to {of}")

    def significand(self, a: Value) -> Value:
        """M of a = m 2^n with 1 <= m < 2, for positive normal numbers."""
        of, ints = self.llvm(a.type), self.llvm(a.type).replace("double", "i64")
        bits = self.give("", f"bitcast {of} {a.text} to {ints}")
        rest = self.give("", f"and {ints} {bits.text}, {self._every(ints, (1 << 52) - 1)}")
        whole = self.give("", f"or {ints} {rest.text}, {self._every(ints, 1023 << 52)}")
        return self.give(a.type, f"bitcast {ints} {whole.text} to {of}")

    def _every(self, ints: str, value: int) -> str:
        return str(value) if ints == "i64" else "<" + ", ".join([f"i64 {value}"] * self.width) + ">"

    def some(self, mask: Value) -> Value:
        """Whether a condition holds for any number of a vector."""
        if mask.type == BOOL:
            return mask
        whole = self.give(INT, f"bitcast {self.typed(mask)} to i{self.width}")
        return self.give(BOOL, f"icmp ne i{self.width} {whole.text}, 0")

    def lane(self, vector: Value, at: Value) -> Value:
        """One number of a vector."""
        if vector.type == FLOAT:  # a vector of one
            return vector
        return self.give(FLOAT, f"extractelement {self.typed(vector)}, i64 {self.as_type(at, INT).text}")

    def total(self, vector: Value) -> Value:
        """The sum of the numbers of a vector, in a fixed order: halves are added until one is left."""
        text, width = vector.text, self.width
        while width > 1:
            half = width // 2
            of = f"<{width} x double>"
            parts = [
                self.give("", f"shufflevector {of} {text}, {of} poison, <{half} x i32> <{places}>").text
                for places in (
                    ", ".join(f"i32 {i}" for i in range(half)),
                    ", ".join(f"i32 {i}" for i in range(half, width)),
                )
            ]
            text, width = self.give("", f"fadd <{half} x double> {parts[0]}, {parts[1]}").text, half
        return self.give(FLOAT, f"extractelement <1 x double> {text}, i64 0")

    def element(self, pointer: Value) -> str:
        """The type of what stands at a pointer, as LLVM writes it."""
        if pointer.type not in POINTERS:
            raise Misfit(f"{pointer.type} has no entries")
        return POINTERS[pointer.type] or self.llvm(VECTOR)

    def at(self, pointer: Value, place: Value) -> Value:
        """A pointer further on."""
        if place.type not in (INT, BOOL):
            raise Misfit(f"an index must be a whole number, got {place.type}")
        if place.text == "0":
            return pointer
        of = self.element(pointer)
        return self.give(pointer.type, f"getelementptr inbounds {of}, ptr {pointer.text}, {self.typed(place)}")

    def load(self, pointer: Value) -> Value:
        """What stands at a pointer: a number, an int or a vector."""
        of = self.element(pointer)
        type_ = {"double": FLOAT, "i64": INT, "i32": INT, "i8": INT}.get(of, VECTOR)
        found = self.give(type_, f"load {of}, ptr {pointer.text}, align {_alignment(of)}")
        if of in ("i32", "i8"):
            return self.give(INT, f"sext {of} {found.text} to i64")
        return found

    def store(self, value: Value, pointer: Value) -> None:
        """Write a value where a pointer points to."""
        of = self.element(pointer)
        value = self.as_type(value, {"double": FLOAT, "i64": INT, "i32": INT, "i8": INT}.get(of, VECTOR))
        if of in ("i32", "i8"):
            value = self.give(INT, f"trunc i64 {value.text} to {of}")
        self.do(f"store {of} {value.text}, ptr {pointer.text}, align {_alignment(of)}")


def _alignment(of: str) -> int:
    return {"i32": 4, "i8": 1}.get(of, 8)
