"""The loss of one sample, from which SymPy derives gradient and Hessian, and the statements that compute them.

The chain rule is applied node by node. Nodes z_n are the arguments of functions (what goes into a hidden unit) and the
outputs, each an expression E_n in state, data and earlier nodes; the loss l is one in the last of them. With

    Lambda = l + sum_n lambda_n E_n,   lambda_n = d Lambda / d z_n,   g_n = grad z_n   (by all ways)

(back-propagation gives the lambda_n) and subscripts for derivatives of Lambda at fixed lambda_n, that is for
theta_i and z_n as independent variables,

    grad l    = l_theta + sum_n l_n g_n
    Hessian l = Lambda_theta theta + sum_n (Lambda_theta n g_n^T + g_n Lambda_n theta^T) + sum_nm Lambda_nm g_n g_m^T.

For a loss of the outputs a_q alone that is sum_qr l_qr g_q g_r^T + sum_q l_q Hessian(a_q), and Hessian(a_q) in the same
way. Everything that stands in several entries gets a name first; an entry is then a short sum of products of two names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from dynsys.compiled.samples import SampleSource, identifiers, needed, renamed
from dynsys.equations.definition import FLOATING, LANGUAGE, check_names, derived_once, numpy_source, run_source
from dynsys.equations.derivative import derivative
from dynsys.equations.expression import check_functions, nesting_refused, read_expression
from dynsys.equations.scalar_function import opaque_function
from dynsys.equations.source import share, to_source
from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    import sympy

Array = np.ndarray


@attrs.frozen(cache_hash=True)
class SampleLoss:
    """The loss of one sample, l(a(theta, x), y), and what SymPy derives from it.

    Attributes
    ----------
    loss : str or Expr
        In the names of outputs, columns, parameters and state.
    state, columns : tuple of str
        The variables of the derivatives, and the columns of the data.
    outputs : tuple of (name, str or Expr), optional
        Outputs a_q in state, columns, parameters and outputs before them. `sigma(...)`, in text or as
        `opaque_function()`, stands for a nonlinearity that is given later; others are functions of SymPy.
    parameters : tuple of str, optional
        Names of numbers that are given later.
    """

    loss: Any
    state: tuple[str, ...]
    columns: tuple[str, ...]
    outputs: tuple[tuple[str, Any], ...] = ()
    parameters: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        check_names([*self.state, *self.columns, *(name for name, _ in self.outputs), *self.parameters], "sigma")
        for name, given in self.expressions:
            if not isinstance(given, str | int | float):
                import sympy

                if not isinstance(given, sympy.Expr):
                    raise InvalidInputError(f"{name} must be text or an expression, got {given!r}")

    @property
    def expressions(self) -> tuple[tuple[str, Any], ...]:
        """What was given: the outputs and the loss, each with words for it."""
        return (*((f"the output {name}", given) for name, given in self.outputs), ("the loss", self.loss))

    def statements(self, piecewise_linear: bool = False) -> SampleSource:
        """What is derived; without the terms in sigma'' for a piecewise linear sigma. Derived once, kept on disk."""
        return _derived(self, piecewise_linear)

    @property
    def source(self) -> str:
        """NumPy source of `loss`, `gradient` and `sample`, functions of (states, data, parameters, sigma).

        States have shape (..., dim), data (samples, columns), sigma(d) gives (s, s', s''). Summed over the samples,
        `loss` has shape (...), `gradient` (..., dim); `sample` gives the gradient and the Hessian, (..., dim, dim).
        """
        return _numpy_source(self.statements())

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The functions that `source` defines."""
        return run_source(self.source)


@lru_cache(maxsize=256)
@nesting_refused()
def _derived(loss: SampleLoss, piecewise_linear: bool) -> SampleSource:
    given = [*attrs.astuple(loss, recurse=False), piecewise_linear]
    modules = [__name__, "dynsys.compiled.samples", *LANGUAGE, "dynsys.equations.scalar_function"]
    return SampleSource(**derived_once("sample", given, modules, lambda: _Derivation(loss, piecewise_linear).record()))


class _Derivation:
    """Names for the nodes and for what their derivatives share, while they are derived."""

    def __init__(self, loss: SampleLoss, piecewise_linear: bool) -> None:
        import sympy

        self.given = loss
        self.named: dict[sympy.Expr, sympy.Symbol] = {}  # expression -> its name
        self.kinds: dict[str, int] = {}  # how many names begin so
        self.nodes: dict[sympy.Symbol, sympy.Expr] = {}
        self.arguments: dict[sympy.Expr, sympy.Symbol] = {}
        self.calls: list[str] = []  # fused calls of sigma
        self.values: dict[sympy.Expr, sympy.Expr] = {}  # sigma and its derivatives at a node -> their names
        self.flat = piecewise_linear
        self.sigma = opaque_function()
        symbol = self.symbol = {n: sympy.Symbol(n, real=True) for n in (*loss.state, *loss.columns, *loss.parameters)}
        self.state = [symbol[name] for name in loss.state]
        within: dict[str, sympy.Expr] = {}  # outputs in terms of state, data and nodes
        for name, given in loss.outputs:
            within[name] = self.reduce(self.read(f"the output {name}", given, symbol | within))
        symbol |= {name: sympy.Symbol(name, real=True) for name in within}
        self.loss = self.read("the loss", loss.loss, symbol)
        self.nodes |= {symbol[name]: e for name, e in within.items() if symbol[name] in self.loss.free_symbols}
        self.loss = self.reduce(self.loss)
        self.factor = self.common_factor()
        self.loss = self.loss / self.factor
        self.multiplier = {z: sympy.Symbol(f"_l{n}", real=True) for n, z in enumerate(self.nodes)}

    def read(self, origin: str, given: Any, symbols: dict[str, sympy.Expr]) -> sympy.Expr:
        """An expression in the symbols of the loss, finite where it can be."""
        import sympy

        from dynsys.equations.finite.rewriting import finite

        expression = read_expression(origin, given, symbols, {"sigma": self.sigma}, derivatives=2)
        # a half is exact as a fraction, too, and then cancels the 2 of a derivative
        expression = expression.replace(lambda e: e.is_Float and 1024 * e == int(1024 * e) < 2**30, sympy.Rational)
        return finite(expression)

    def reduce(self, expression: sympy.Expr, in_case: bool = False) -> sympy.Expr:
        """The same with nodes in place of the arguments of functions, and names for the calls of sigma.

        In a case of a Piecewise, arguments that may have no value where it does not hold are none: 0 * NaN is no slope.
        """
        import sympy

        if not expression.args:
            return expression
        arguments = [self.reduce(argument, in_case or expression.is_Piecewise) for argument in expression.args]
        if isinstance(expression, sympy.Function):
            bare = in_case and not isinstance(expression, self.sigma)
            arguments = [a if bare and not _polynomial(a) else self.node(a) for a in arguments]
        reduced = expression.func(*arguments)
        if isinstance(reduced, self.sigma) and reduced not in self.values:
            names = sympy.symbols("_s{0} _s{0}_1 _s{0}_2".format(len(self.calls)), real=True)
            (argument,) = reduced.args
            slope = reduced.fdiff()
            self.values |= {reduced: names[0], slope: names[1], slope.fdiff(): 0 if self.flat else names[2]}
            self.calls.append(f"{', '.join(map(str, names))} = sigma({to_source(argument)})")
        return reduced

    def node(self, argument: sympy.Expr) -> sympy.Expr:
        """The node that an argument becomes, if it is an expression in which the state stands itself."""
        import sympy

        inner = argument in self.state or not argument.free_symbols.intersection(self.state)
        if inner or not isinstance(argument, sympy.Expr):  # the cases of a Piecewise are none
            return argument
        if argument not in self.arguments:
            self.arguments[argument] = self.new("_d")
            self.nodes[self.arguments[argument]] = argument
        return self.arguments[argument]

    def common_factor(self) -> sympy.Expr:
        """The number that all first derivatives of the loss have in common, as the 2 of a squared error."""
        import sympy

        slopes = [sympy.diff(self.loss, v) for v in (*self.state, *self.nodes)]
        factors = [slope.as_content_primitive()[0] for slope in slopes if slope != 0]
        return sympy.gcd_list(factors) if factors else sympy.Integer(1)

    def new(self, kind: str) -> sympy.Symbol:
        import sympy

        self.kinds[kind] = self.kinds.get(kind, -1) + 1
        return sympy.Symbol(f"{kind}{self.kinds[kind]}", real=True)

    def name(self, expression: sympy.Expr, kind: str) -> sympy.Expr:
        """A name for an expression; numbers and names keep theirs."""
        expression = expression.xreplace(self.values)
        if expression.is_number or expression.is_Symbol or (-expression).is_Symbol:
            return expression
        if expression not in self.named:
            self.named[expression] = self.new(kind)
        return self.named[expression]

    def gradients(self) -> dict[sympy.Symbol, dict[int, sympy.Expr]]:
        """Entries of g_n that do not vanish, for every node."""
        gradients: dict[sympy.Symbol, dict[int, sympy.Expr]] = {}
        for node, expression in self.nodes.items():
            gradient = self.slopes(expression)
            for inner in [z for z in self.nodes if z in expression.free_symbols]:
                weight = self.name(derivative(expression, inner), "_u")
                _add(gradient, {i: weight * g for i, g in gradients[inner].items()})
            gradients[node] = {i: self.name(g, "_g") for i, g in gradient.items()}
        return gradients

    def slopes(self, expression: sympy.Expr) -> dict[int, sympy.Expr]:
        """Derivatives by the components of the state that do not vanish, at fixed nodes."""
        slopes = {i: derivative(expression, s) for i, s in enumerate(self.state) if s in expression.free_symbols}
        return {i: slope for i, slope in slopes.items() if slope != 0}

    def entries(self, g: dict[sympy.Symbol, dict[int, sympy.Expr]]) -> tuple[list[list[sympy.Expr]], Any]:
        """The terms of the gradient, and of the lower triangle of the Hessian by (i, j), from those of the nodes."""
        import sympy

        nodes = list(self.nodes)
        lagrangian = sympy.Add(self.loss, *(self.multiplier[z] * e for z, e in self.nodes.items()))
        first = {v: derivative(lagrangian, v) for v in (*self.state, *nodes)}
        self.multipliers = {self.multiplier[z]: first[z] for z in nodes}

        def second(v: sympy.Symbol, w: sympy.Symbol, kind: str) -> sympy.Expr:
            slope = derivative(first[v], w) if w in first[v].free_symbols else sympy.Integer(0)
            return self.name(sympy.factor_terms(slope), kind)

        gradient = [[self.name(derivative(self.loss, s), "_t")] for s in self.state]
        for z in [z for z in nodes if z in self.loss.free_symbols]:
            slope = derivative(self.loss, z)
            weight = self.multiplier[z] if first[z] == slope else self.name(slope, "_t")
            for i, entry in g[z].items():
                gradient[i].append(weight * entry)
        dims = range(len(self.state))
        hessian = {(i, j): [second(self.state[i], self.state[j], "_t")] for i in dims for j in range(i + 1)}
        for z in nodes:
            mixed = {i: second(s, z, "_h") for i, s in enumerate(self.state)}
            mixed = {i: h for i, h in mixed.items() if h != 0}
            product = dict(mixed)  # Lambda_z theta + sum_w Lambda_zw g_w
            for w in nodes:
                curvature = second(z, w, "_k")
                if curvature != 0:
                    _add(product, {j: curvature * entry for j, entry in g[w].items()})
            for left, right in ((mixed, g[z]), (g[z], {j: self.name(p, "_m") for j, p in product.items()})):
                for i, a in left.items():
                    for j, b in right.items():
                        if j <= i:
                            hessian[i, j].append(a * b)
        return gradient, hessian

    def record(self) -> SampleSource:
        """Everything as source."""
        gradient, hessian = self.entries(self.gradients())
        named = {**self.nodes, **self.multipliers, **{name: e for e, name in self.named.items()}}
        expressions = [e.xreplace(self.values) for e in (*named.values(), self.loss)]
        for expression in expressions:
            check_functions(expression, "a derivative of the loss")
        shared, (*sources, value) = share(expressions)
        alone = {e: str(n) for n, e in zip(named, sources, strict=True) if e.startswith("_c") and e.isidentifier()}
        lines = [*shared, *(f"{n} = {e}" for n, e in zip(named, sources, strict=True) if alone.get(e) != str(n))]
        statements, value = [*self.calls, *(renamed(line, alone) for line in lines)], renamed(value, alone)
        slopes = [_sources(terms) for terms in gradient]
        curvatures = {ij: _sources(terms) for ij, terms in hessian.items()}
        wanted = [value, *(term for terms in (*slopes, *curvatures.values()) for term in terms)]
        return SampleSource(
            self.given.state,
            self.given.columns,
            self.given.parameters,
            tuple(_in_order(statements, wanted)),
            value,
            tuple(slopes),
            tuple((i, j, terms) for (i, j), terms in curvatures.items() if terms),
            float(self.factor),
        )


def _polynomial(expression: sympy.Expr) -> bool:
    """Whether an expression has a value everywhere, at once: no function in it, no root, no denominator."""
    import sympy

    powers = (p.exp.is_Integer and p.exp.is_positive for p in expression.atoms(sympy.Pow))
    return all(powers) and not expression.has(sympy.Function)


def _add(total: dict[int, sympy.Expr], terms: dict[int, sympy.Expr]) -> None:
    for i, term in terms.items():
        total[i] = total.get(i, 0) + term


def _sources(terms: Iterable[sympy.Expr]) -> tuple[str, ...]:
    return tuple(to_source(term) for term in terms if term != 0)


def _in_order(statements: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """The statements on which the wanted expressions depend, each after those that it needs itself."""
    by_name = {name: line for line in statements for name in identifiers(line.partition(" = ")[0])}
    ordered: dict[str, None] = {}

    def emit(source: str) -> None:
        for name in identifiers(source):
            line = by_name.get(name)
            if line is not None and line not in ordered:
                emit(line.partition(" = ")[2])
                ordered[line] = None

    for source in wanted:
        emit(source)
    return list(ordered)


def _of_numpy(line: str) -> str:
    """A statement whose number, if it is one, is NumPy's: those of Python raise errors, and have complex roots."""
    name, _, value = line.partition(" = ")
    try:
        return f"{name} = np.float64({float(value)!r})"
    except ValueError:
        return line


def _numpy_source(sample: SampleSource) -> str:
    state = [f"{name} = _u[..., {i}, None]" for i, name in enumerate(sample.state)]
    columns = [f"{name} = _data[:, {i}]" for i, name in enumerate(sample.columns)]
    parameters = [f"{name} = np.float64(_p[{i}])" for i, name in enumerate(sample.parameters)]
    begin = [FLOATING, *state, *columns, *parameters, "_shape = (*_u.shape[:-1], _data.shape[0])"]

    def total(*terms: str) -> str:
        # whole numbers among floats: as such they would be added up, modulo 2^64
        return f"{sample.factor!r} * np.sum(np.broadcast_to({' + '.join(terms)}, _shape), axis=-1, dtype=_u.dtype)"

    def function(name: str, wanted: Sequence[str], lines: Sequence[str]) -> str:
        statements = map(_of_numpy, needed(sample.statements, wanted))
        return numpy_source(f"{name}(_u, _data, _p, sigma)", [*begin, *statements, *lines])

    flat = [term for terms in sample.gradient for term in terms]
    gradient = ["_g = np.zeros_like(_u)"]
    gradient += [f"_g[..., {i}] = {total(*terms)}" for i, terms in enumerate(sample.gradient) if terms]
    hessian = ["_H = np.zeros((*_u.shape, _u.shape[-1]), _u.dtype)"]
    hessian += [
        f"_H[..., {i}, {j}] = {f'_H[..., {j}, {i}] = ' if i != j else ''}{total(*terms)}"
        for i, j, terms in sample.hessian
    ]
    both = [*flat, *(term for _, _, terms in sample.hessian for term in terms)]
    return (
        function("loss", [sample.loss], [f"return {total(sample.loss)}"])
        + function("gradient", flat, [*gradient, "return _g"])
        + function("sample", both, [*gradient, *hessian, "return _g, _H"])
    )
