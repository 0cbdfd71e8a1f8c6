"""Parts of the syntax of a text: factors, terms, signs, and numbers that may be others."""

from __future__ import annotations

import ast

from dynsys.equations.expression import syntax_tree


def product(node: ast.expr) -> list[tuple[ast.expr, bool]]:
    """The factors of a product or quotient, and which are divided by."""
    found: list[tuple[ast.expr, bool]] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        found.append((node.right, isinstance(node.op, ast.Div)))
        node = node.left
    return [(node, False), *reversed(found)]


def addends(node: ast.AST) -> list[ast.expr]:
    """The terms of a sum."""
    found: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        found.append(node.right)
        node = node.left
    return [*found, node]  # type: ignore[list-item]


def unsigned(node: ast.expr) -> tuple[ast.expr, float]:
    """What stands behind the signs of a node, and the sign."""
    sign = 1.0
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign = -sign if isinstance(node.op, ast.USub) else sign
        node = node.operand
    return node, sign


def free_numbers(abstract: str, count: int) -> tuple[int, ...]:
    """Which of the numbers _n1, ... may differ between terms of one form.

    Not those of a constant that is computed, nor what is divided by, nor in powers: the form depends on their values.
    """
    held: set[str] = set()

    def visit(node: ast.AST) -> bool:
        """Whether a node is constant; marks the numbers that have to stay."""
        if isinstance(node, ast.Name):
            return node.id.startswith("_n") or node.id == "pi"
        if isinstance(node, ast.Constant):
            return True
        parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        if isinstance(node, ast.Call):
            parts = node.args
        constant = all([visit(part) for part in parts])
        bare = isinstance(node, ast.UnaryOp)
        power = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow | ast.Mod | ast.Div)
        several = isinstance(node, ast.Call) and len(node.args) > 1
        for part in parts:
            if (constant and not bare) or ((power or several) and visit(part)):
                held.update(n.id for n in ast.walk(part) if isinstance(n, ast.Name))
        return constant

    visit(syntax_tree(abstract))
    return tuple(i for i in range(count) if f"_n{i + 1}" not in held)
