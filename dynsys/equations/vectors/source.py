"""Equations in vectors as source: derivatives entry by entry, and functions for NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dynsys.compiled.vectors import Entrywise, Quantity, VectorSource
from dynsys.equations.definition import FLOATING, numpy_source
from dynsys.equations.derivative import derivative
from dynsys.equations.expression import check_functions
from dynsys.equations.source import share, to_source

if TYPE_CHECKING:
    import sympy


def entrywise(origin: str, expression: sympy.Expr, length: int, quantities: Mapping[str, Quantity]) -> Entrywise:
    """An expression in symbols of quantities, one entry of each, with its partial derivatives."""
    from dynsys.equations.finite.rewriting import finite

    expression, partials = finite(expression), {}
    for symbol in sorted(expression.free_symbols, key=str):
        if symbol.name != "t" and quantities[symbol.name].moving:
            partial = derivative(expression, symbol)
            check_functions(partial, f"the derivative of {origin}")
            if partial != 0:
                partials[symbol.name] = partial
    numbers = {name for name, quantity in quantities.items() if quantity.kind == "number"}
    fixed = {by: e for by, e in partials.items() if {s.name for s in e.free_symbols} <= numbers}
    moving = {by: e for by, e in partials.items() if by not in fixed}
    shared, (value, *sources) = share([expression, *moving.values()])
    first, (alone,) = share([expression])
    names = {s.name for e in (expression, *moving.values()) for s in e.free_symbols} - {"t"}
    return Entrywise(
        length,
        tuple(name for name in quantities if name in names),
        (*first, alone),
        tuple(shared),
        value,
        tuple(zip(moving, sources, strict=True)),
        tuple((by, to_source(e)) for by, e in fixed.items()),
    )


def numpy_vectors(source: VectorSource, dim: int, places: Mapping[str, str]) -> str:
    """The functions `rule`, `jvp` and `jacobian` for NumPy; `places` are sources of the parameters.

    In `rule` entries stand along the last axis, in `jvp` along the first.
    """
    of = {quantity.name: quantity for quantity in source.quantities}
    rule, jvp = [FLOATING, "_f = np.empty_like(_u)", "t = np.float64(t)"], [FLOATING, "_V = np.asarray(_V)"]
    jvp += [f"_F = np.empty(({dim}, _V.shape[1]), np.result_type(_u, _V))", "t = np.float64(t)"]
    matrices = {taken.matrix for taken in source.taken if taken.matrix}
    for name, place in places.items():
        if name in matrices:
            rule += [f"{name} = {place}"]
            jvp += [f"{name} = {place}"]
        elif name in of:
            number = of[name].kind == "number"
            rule += [f"{name} = np.float64({place})" if number else f"{name} = {place}"]
            jvp += [f"{name} = np.float64({place})" if number else f"{name} = {place}[:, None]"]
    for quantity in source.quantities:
        if quantity.kind == "state":
            part = f"{quantity.at}:{quantity.at + quantity.length}"
            rule += [f"{quantity.name} = _u[..., {part}]"]
            jvp += [f"{quantity.name} = _u[{part}, None]", f"_d_{quantity.name} = _V[{part}]"]

    def whole(text: str, shape: str, names: Sequence[str], length: int) -> str:
        """All entries, also where the expression does not know how many there are."""
        return text if any(of[name].length == length for name in names) else f"np.broadcast_to({text}, {shape})"

    def tangent(entrywise: Entrywise) -> tuple[str, list[str]]:
        terms = [f"({partial})*_d_{name}" for name, partial in (*entrywise.moving, *entrywise.fixed)]
        return " + ".join(terms), [name for name, _ in (*entrywise.moving, *entrywise.fixed)]

    for taken in source.taken:
        name, length = taken.name, taken.of.length
        matrix = f"{taken.matrix}.T" if taken.transposed else taken.matrix
        turned = taken.matrix if taken.transposed else f"{taken.matrix}.T"
        *first, alone = taken.of.alone
        value = whole(f"({alone})", f"(*_u.shape[:-1], {length})", taken.of.names, length)
        rule += [*first, f"{name} = {value} @ {turned}" if matrix else f"{name} = {value}.sum(-1, keepdims=True)"]
        value = whole(f"({taken.of.value})", f"({length}, 1)", taken.of.names, length)
        jvp += [
            *taken.of.shared,
            f"{name} = {matrix} @ {value}" if matrix else f"{name} = {value}.sum(0, keepdims=True)",
        ]
        text, names = tangent(taken.of)
        if of[name].moving:
            text = whole(f"({text or '0.0'})", f"({length}, _V.shape[1])", names, length)
            jvp += [f"_d_{name} = {matrix} @ {text}" if matrix else f"_d_{name} = {text}.sum(0, keepdims=True)"]
    for at, entrywise in source.rules:
        part = f"{at}:{at + entrywise.length}"
        *first, alone = entrywise.alone
        rule += [*first, f"_f[..., {part}] = {alone}"]
        jvp += [*entrywise.shared, f"_F[{part}] = {tangent(entrywise)[0] or '0.0'}"]
    return (
        numpy_source("rule(t, _u, _p)", [*rule, "return _f"])
        + numpy_source("jvp(t, _u, _V, _p)", [*jvp, "return _F"])
        + numpy_source("jacobian(t, _u, _p)", [f"return jvp(t, _u, np.eye({dim}), _p)"])
    )


def numpy_sides(
    source: VectorSource,
    places: Mapping[str, str],
    parts: Sequence[tuple[sympy.Expr, str]],
    weights: Sequence[Any],
) -> str:
    """The function `sides` for NumPy: the regions of each part, whose entries are added up with weights."""
    values = numpy_vectors(source, 0, places).partition("def rule(t, _u, _p):\n")[2].partition("    _f[...,")[0]
    lines = [line.strip() for line in values.splitlines() if "_f = np.empty_like" not in line]
    lines = ["t = np.asarray(t, float)[..., None]" if line == "t = np.float64(t)" else line for line in lines]
    of = {quantity.name: quantity for quantity in source.quantities}
    lines += [f"_s = np.empty((*_u.shape[:-1], {len(parts)}))"]
    for k, ((part, text), factors) in enumerate(zip(parts, weights, strict=True)):
        length = max([of[s.name].length for s in part.free_symbols if s.name != "t"], default=1)
        shown = [float(factor) for factor in factors[:length]]
        lines += [f"_s[..., {k}] = (({text}) * np.array({shown})).sum(-1)"]
    return numpy_source("sides(t, _u, _p)", [*lines, "return np.clip(_s, -2.0**62, 2.0**62).astype(np.int64)"])
