"""From a small part of Python to LLVM: what generated kernels, drivers and factorisations are written in.

    def scaled_sum(a: floats, b: vectors, n: int):
        total = 0.0
        for i in range(n):
            total = total + a[i] * b[i]
        return total

Numbers are floats, 64-bit ints and bools; a vector is as many floats side by side as the module says (`width`), and
what is done to it is done to each of them. Memory has no shape: `floats`, `ints`, `ints32`, `flags` (one byte) and
`vectors` are where numbers begin, `b[i]` is the i-th, `b[i:]` what begins there, `like(b, a)` the same as b, but of the
type of a. What is exported has arguments with such types; other functions are translated once for the types of each of
their calls. No two arguments of a function may reach the same memory if one of them is written to.

Statements are assignments, `for` over a `range`, `while`, `if`, `break`, `continue`, `return`. Comparisons of vectors
choose entry by entry (`a if m else b`); a function of numbers alone that branches on a vector goes lane by lane. A
product that is added to something, `a * b + c`, is a fused multiply-add wherever it stands so, and nothing else is: the
same source gives the same bits for numbers and for vectors of any width, however LLVM arranges it. The same text is
Python: run with NumPy arrays, one of (n, width) where there are vectors, it gives the same numbers, which is how tests
look at it.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import attrs

from dynsys.compiled.llvm.expressions import OPERATORS, Expressions
from dynsys.compiled.llvm.instructions import BOOL, FLOAT, INT, MASK, POINTERS, Misfit, Value, VectorBranch, number
from dynsys.errors import InvalidInputError


def translate(source: str, exports: Sequence[str], width: int = 8, vectors: Sequence[str] = ()) -> str:
    """The module of LLVM for some source, in which the functions named are to be found from outside.

    Parameters
    ----------
    source : str
        Functions, and constants `NAME = number` or `NAME = (number, ...)`.
    exports : sequence of str
    width : int
        Numbers of a vector.
    vectors : sequence of str
        Types that mean `vectors` here: the same source may be written for `floats` of one name and for vectors. Others
        that are not known mean `floats`.

    Raises
    ------
    InvalidInputError
        For what is not in the language, with the line.
    """
    return Module(source, width, frozenset(vectors)).written(exports)


def argument_types(source: str, name: str) -> list[str]:
    """The types of the arguments of a function that some source exports."""
    (found,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return [getattr(argument.annotation, "id", FLOAT) for argument in found.args.args]


class Module:
    """The functions and constants of a module, and what they have become."""

    def __init__(self, source: str, width: int, vectors: frozenset[str]) -> None:
        self.lines, self.width, self.vectors = source.splitlines(), width, vectors
        self.functions: dict[str, Any] = {}
        self.constants: dict[str, Value] = {}
        self.tables: list[str] = []
        self.instances: dict[tuple[str, ...], tuple[str, str]] = {}  # name and types: name in LLVM, type of the result
        self.begun: set[tuple[str, ...]] = set()
        self.labels = 0
        self.bodies: list[str] = []
        self.declared: set[str] = set()
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.constants[node.targets[0].id] = self.constant(node.targets[0].id, node)
            elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                raise self.refused(node)

    def constant(self, name: str, node: ast.Assign) -> Value:
        """The value of a constant, or where a table of them stands."""
        try:
            value = ast.literal_eval(node.value)
        except ValueError:
            raise self.refused(node) from None
        if not all(isinstance(one, int | float) for one in (value if isinstance(value, tuple) else (value,))):
            raise self.refused(node, "a constant is a number or a tuple of numbers")
        if not isinstance(value, tuple):
            return number(value)
        whole = all(isinstance(entry, int) for entry in value)
        entries = ", ".join(f"i64 {v}" if whole else f"double {number(float(v)).text}" for v in value)
        of = f"[{len(value)} x {'i64' if whole else 'double'}]"
        self.tables.append(f"@{name} = private unnamed_addr constant {of} [{entries}], align 64")
        return Value("ints" if whole else "floats", f"@{name}")

    def written(self, exports: Sequence[str]) -> str:
        """The text of the module."""
        for name in exports:
            arguments = self.functions[name].args.args
            types = [self.named(argument.annotation) for argument in arguments]
            self.instance(name, types, exported=True)
        attributes = 'attributes #0 = { nounwind "prefer-vector-width"="512" "no-trapping-math"="true" }'
        return "\n".join([*self.tables, *sorted(self.declared), *self.bodies, attributes, ""])

    def named(self, annotation: Any) -> str:
        """The type that an annotation means."""
        name = getattr(annotation, "id", None) or "float"
        if name in self.vectors:
            return "vectors"
        if name == "function":
            return "flags"
        return name if name in POINTERS or name in (FLOAT, INT, BOOL) else "floats"

    def instance(self, name: str, types: Sequence[str], exported: bool = False) -> tuple[str, str]:
        """A function for arguments of some types: its name in LLVM and the type of its result."""
        key = (name, *types)
        if key not in self.instances:
            node = self.functions[name]
            if key in self.begun:
                raise Misfit(f"{name} calls itself")
            if len(types) != len(node.args.args):
                raise Misfit(f"{name} takes {len(node.args.args)} arguments, got {len(types)}")
            self.labels += 1
            label = name if exported else f"{name}.{self.labels}"
            self.begun.add(key)
            try:
                function = self.translated(node, types, exported)
            finally:
                self.begun.remove(key)
            known = function.known
            self.instances[key] = label, known.get("return", "none")
            self.bodies.append(function.text(label, exported))
            self.declared |= function.to.declared
        return self.instances[key]

    def translated(self, node: ast.FunctionDef, types: Sequence[str], exported: bool) -> _Function:
        """A function: the types of its variables and of its result grow until all assignments fit."""
        known: dict[str, str] = {}
        while True:
            function = _Function(self, node, types, known, exported)
            if function.types == known:
                return function
            known = function.types

    def refused(self, node: ast.AST, why: str = "") -> InvalidInputError:
        """The error for a line that is not in the language."""
        line = getattr(node, "lineno", 1)
        return InvalidInputError(
            f"line {line} of the source, `{self.lines[line - 1].strip():.100}`, is not in the part of Python that is "
            f"compiled{': ' + why if why else ''}; it has numbers, memory, calls, assignments, `for`, `while` and `if`"
        )


@attrs.define
class _Loop:
    following: str
    after: str


class _Function(Expressions):
    """One function for some types of arguments; `types` says what its variables have to be."""

    def __init__(
        self, module: Module, node: ast.FunctionDef, types: Sequence[str], known: dict[str, str], exported: bool
    ) -> None:
        super().__init__(module, known)
        self.exported = exported
        self.loops: list[_Loop] = []
        self.arguments = [(f"%a{i}", type_) for i, type_ in enumerate(types)]
        assigned = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for argument, (text, type_) in zip(node.args.args, self.arguments, strict=True):
            self.values[argument.arg] = Value(type_, text)
            if argument.arg in assigned:
                self.assign(argument.arg, self.values.pop(argument.arg))
        self.run(node.body)

    def text(self, label: str, exported: bool) -> str:
        result = self.to.llvm(self.known.get("return", "none"))
        arguments = ", ".join(
            f"ptr noalias {text}" if type_ in POINTERS else f"{self.to.llvm(type_)} {text}"
            for text, type_ in self.arguments
        )
        slots = [f"  {slot} = alloca {self.to.llvm(self.known[name])}" for name, slot in self.slots.items()]
        head = f"define {'' if exported else 'internal '}{result} @{label}({arguments}) #0 {{"
        body = ["entry:", *slots, *self.to.lines, "  br label %return", "return:"]
        if result == "void":
            body += ["  ret void"]
        else:
            body += [f"  %result = load {result}, ptr {self.slots['return']}", f"  ret {result} %result"]
        return "\n".join([head, *body, "}"])

    def run(self, statements: Sequence[ast.stmt]) -> None:
        for statement in statements:
            try:
                self.statement(statement)
            except VectorBranch as misfit:
                if self.exported:
                    raise self.module.refused(statement, str(misfit)) from None
                raise
            except Misfit as misfit:
                raise self.module.refused(statement, str(misfit)) from None

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[target]):
                self.assignment(target, node.value)
            case ast.AugAssign() if type(node.op) in OPERATORS:
                old = self.value(ast.copy_location(_as_load(node.target), node))
                self.put(node.target, self.to.arithmetic(OPERATORS[type(node.op)], old, self.value(node.value)))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr():
                self.value(node.value)
            case ast.For(target=ast.Name(), iter=ast.Call(func=ast.Name(id="range" | "_range")), orelse=[]):
                self.loop(node)
            case ast.While(orelse=[]):
                self.repeat(node)
            case ast.If():
                self.branch(node)
            case ast.Return():
                self.give_back(node.value)
            case ast.Break():
                self.jump(self.loops[-1].after)
            case ast.Continue():
                self.jump(self.loops[-1].following)
            case _:
                raise self.module.refused(node)

    def assignment(self, target: ast.expr, source: ast.expr) -> None:
        if not isinstance(target, ast.Tuple):
            self.put(target, self.value(source))
            return
        if isinstance(source, ast.Tuple):
            values = [self.value(one) for one in source.elts]
        else:
            whole = self.value(source)
            if not whole.type.startswith("("):
                raise Misfit(f"{len(target.elts)} names for one {whole.type}")
            types = whole.type[1:-1].split(",")
            values = [self.to.give(t, f"extractvalue {self.to.typed(whole)}, {i}") for i, t in enumerate(types)]
        if len(values) != len(target.elts):
            raise Misfit(f"{len(target.elts)} names for {len(values)} values")
        for one, value in zip(target.elts, values, strict=True):
            self.put(one, value)

    def put(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name():
                self.assign(target.id, value)
            case ast.Subscript(value=ast.Subscript() as row, slice=lane) if self.is_vector(row):
                place = self.place(row)
                lane_at = self.to.at(Value("floats", place.text), self.value(lane))
                self.to.store(value, lane_at)
            case ast.Subscript(slice=ast.Slice(lower=None, upper=None)):
                raise Misfit("write entries one by one")
            case ast.Subscript():
                self.to.store(value, self.place(target))
            case _:
                raise Misfit("this cannot be assigned to")

    def jump(self, label: str) -> None:
        self.to.do(f"br label %{label}")
        self.begin(self.label("dead"))

    def part(self, label: str, statements: Sequence[ast.stmt], then: str) -> None:
        self.begin(label)
        self.run(statements)
        self.to.do(f"br label %{then}")

    def loop(self, node: ast.For) -> None:
        assert isinstance(node.iter, ast.Call)
        assert isinstance(node.target, ast.Name)
        values = [self.to.as_type(self.value(argument), INT) for argument in node.iter.args]
        first, end = (number(0), values[0]) if len(values) == 1 else values[:2]
        step = values[2] if len(values) == 3 else number(1)
        if not step.literal or step.text == "0":
            raise Misfit("the step of a range must stand in the source")
        counter = f"count{self.label('')}"
        self.types[counter] = INT
        self.slots[counter] = f"%s{len(self.slots)}"
        head, body, following, after = map(self.label, ("head", "body", "next", "after"))
        self.to.do(f"store {self.to.typed(first)}, ptr {self.slots[counter]}")
        self.to.do(f"br label %{head}")
        self.begin(head)
        now = self.to.give(INT, f"load i64, ptr {self.slots[counter]}")
        within = self.to.compare("<" if int(step.text) > 0 else ">", now, end)
        self.to.do(f"br i1 {within.text}, label %{body}, label %{after}")
        self.begin(body)
        self.assign(node.target.id, now)
        self.loops.append(_Loop(following, after))
        self.run(node.body)
        self.loops.pop()
        self.to.do(f"br label %{following}")
        self.begin(following)
        later = self.to.arithmetic("+", now, step)
        self.to.do(f"store i64 {later.text}, ptr {self.slots[counter]}")
        self.to.do(f"br label %{head}")
        self.begin(after)

    def repeat(self, node: ast.While) -> None:
        head, body, after = map(self.label, ("head", "body", "after"))
        self.to.do(f"br label %{head}")
        self.begin(head)
        condition = self.condition(node.test)
        self.to.do(f"br i1 {condition.text}, label %{body}, label %{after}")
        self.loops.append(_Loop(head, after))
        self.part(body, node.body, head)
        self.loops.pop()
        self.begin(after)

    def branch(self, node: ast.If) -> None:
        condition = self.condition(node.test)
        yes, no, after = map(self.label, ("yes", "no", "after"))
        self.to.do(f"br i1 {condition.text}, label %{yes}, label %{no}")
        self.part(yes, node.body, after)
        self.part(no, node.orelse, after)
        self.begin(after)

    def condition(self, node: ast.expr) -> Value:
        condition = self.to.truth(self.value(node))
        if condition.type == MASK:
            raise VectorBranch("a branch cannot depend on a vector: choose by `a if m else b`")
        return condition

    def give_back(self, node: ast.expr | None) -> None:
        if node is not None:
            value = self.value(node)
            known = self.types.get("return", value.type)
            if value.type != known and known.startswith("("):
                raise Misfit(f"another result than {known}")
            self.assign("return", value)
        self.jump("return")


def _as_load(target: ast.expr) -> ast.expr:
    """What an augmented assignment reads."""
    if isinstance(target, ast.Name):
        return ast.Name(target.id, ast.Load())
    assert isinstance(target, ast.Subscript)
    return ast.Subscript(target.value, target.slice, ast.Load())
