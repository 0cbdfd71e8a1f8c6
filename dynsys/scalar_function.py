"""Scalar nonlinearities, and losses that contain them: for NumPy, for SymPy and for the compiler."""

from __future__ import annotations

import textwrap
from abc import ABC
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np

from dynsys.definition import function_source, run_source
from dynsys.errors import InvalidInputError
from dynsys.expression import share, to_source

if TYPE_CHECKING:
    import sympy

Array = np.ndarray


class ScalarFunction(ABC):
    """A scalar nonlinearity s(d) with its first two derivatives, for NumPy, SymPy and the compiler.

    A subclass gives `source`: statements that compute s, s1 = s', s2 = s'' from d, with the functions of
    `dynsys.expression` and `where(condition, yes, no)`; or, without a compiled form, it overrides `fused`.
    """

    source: ClassVar[str] = ""
    kinks: ClassVar[tuple[float, ...]] = ()  # points where a derivative jumps
    piecewise_linear: ClassVar[bool] = False  # whether s'' = 0 wherever it exists

    def fused(self, d: Array) -> tuple[Array, Array, Array]:
        """(s, s', s'') of every element of d."""
        if not self.source:
            raise InvalidInputError(f"{type(self).__name__} must define `source` or override `fused`")
        return _fused(self.kernel_source("fused"))(d)

    @property
    def compiles(self) -> bool:
        """Whether `source` is what `fused` computes, so that the compiler may use it."""
        return bool(self.source) and type(self).fused is ScalarFunction.fused

    def kernel_source(self, name: str) -> str:
        """Source of a function `name(d) -> (s, s1, s2)`."""
        return function_source(f"{name}(d)", [*textwrap.dedent(self.source).strip().splitlines(), "return s, s1, s2"])


@lru_cache(maxsize=64)
def _fused(source: str) -> Any:
    return run_source(source)["fused"]


def opaque_function(name: str = "sigma") -> type[sympy.Function]:
    """A SymPy function of which only derivatives are known: name' = name_1, name'' = name_2."""
    import sympy
    from sympy.core.function import ArgumentIndexError

    def make(order: int) -> Any:
        def fdiff(self: Any, argindex: int = 1) -> Any:
            if order == 2:
                raise ArgumentIndexError(self, argindex)
            return make(order + 1)(self.args[0])

        return type(name if order == 0 else f"{name}_{order}", (sympy.Function,), {"fdiff": fdiff, "nargs": 1})

    return make(0)


@attrs.frozen(eq=False)
class SampleLoss:
    """Gradient and Hessian, summed over samples, of a loss given for one sample as a SymPy expression.

    Attributes
    ----------
    loss : Expr
        Loss of one sample. Its nonlinearity is `opaque_function()`, or any differentiable expression.
    state, columns : sequences of Symbol
        The variables of the derivatives, and the columns of the data.
    """

    loss: sympy.Expr
    state: Sequence[sympy.Symbol]
    columns: Sequence[sympy.Symbol]

    @cached_property
    def source(self) -> str:
        """Source of `sample(_u, _data, sigma) -> (gradient, Hessian)`, element-wise over samples, then summed.

        One fused call of sigma serves the function and both derivatives; only the lower triangle is computed.
        """
        import sympy

        dim = len(self.state)
        gradient = [sympy.diff(self.loss, s) for s in self.state]
        hessian = {(i, j): sympy.diff(gradient[i], self.state[j]) for i in range(dim) for j in range(i + 1)}
        hessian = {ij: entry for ij, entry in hessian.items() if entry != 0}
        expressions = [*gradient, *hessian.values()]
        calls: dict[sympy.Expr, sympy.Symbol] = {}
        fused: dict[sympy.Expr, tuple[sympy.Symbol, ...]] = {}  # argument of sigma -> names of s, s', s''
        for call in sorted(set().union(*(e.atoms(sympy.Function) for e in expressions)), key=str):
            name, _, order = call.func.__name__.partition("_")
            if name == "sigma":
                names = fused.setdefault(call.args[0], sympy.symbols("s_{0} s1_{0} s2_{0}".format(len(fused))))
                calls[call] = names[int(order or 0)]
        expressions = [e.xreplace(calls) for e in expressions]
        targets = [f"_g[{i}]" for i in range(dim)] + [f"_H[{i}, {j}]" for i, j in hessian]
        shared, sources = share(expressions)
        lines = [f"{s} = _u[{i}]" for i, s in enumerate(self.state)]
        lines += [f"{s} = _data[:, {i}]" for i, s in enumerate(self.columns)]
        lines += [f"{', '.join(map(str, names))} = sigma({to_source(argument)})" for argument, names in fused.items()]
        lines += [*shared, f"_g, _H = np.zeros({dim}), np.zeros(({dim}, {dim}))"]
        lines += [f"{t} = np.sum(np.broadcast_to({e}, len(_data)))" for t, e in zip(targets, sources, strict=True)]
        return function_source("sample(_u, _data, sigma)", [*lines, "return _g, _H + np.tril(_H, -1).T"])

    @cached_property
    def function(self) -> Any:
        """The function that `source` defines."""
        return run_source(self.source)["sample"]
