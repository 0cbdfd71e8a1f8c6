"""Scalar nonlinearities: for NumPy, for SymPy and for Numba."""

from __future__ import annotations

import textwrap
from abc import ABC
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dynsys.equations.definition import QUIET, function_source, run_source
from dynsys.errors import InvalidInputError

if TYPE_CHECKING:
    import sympy

Array = np.ndarray


class ScalarFunction(ABC):
    """A scalar nonlinearity s(d) with its first two derivatives, for NumPy, SymPy and the compiler.

    A subclass gives `source`: statements that compute s, s1 = s', s2 = s'' from d, with the functions of
    `dynsys.equations.source` and `where(condition, yes, no)`; or, without a compiled form, it overrides `fused`.
    """

    source: ClassVar[str] = ""
    kinks: ClassVar[tuple[float, ...]] = ()  # points where a derivative jumps
    piecewise_linear: ClassVar[bool] = False  # whether s'' = 0 wherever it exists

    def fused(self, d: Array) -> tuple[Array, Array, Array]:
        """(s, s', s'') of every element of d."""
        if not self.source:
            raise InvalidInputError(f"{type(self).__name__} must define source or override fused")
        return _fused(self.kernel_source("fused"))(d)

    @property
    def compiles(self) -> bool:
        """Whether `source` is what `fused` computes, so that the compiler may use it."""
        return bool(self.source) and type(self).fused is ScalarFunction.fused

    @property
    def fallback(self) -> str:
        """What keeps a system with it from being compiled, with the remedy; or empty."""
        if self.compiles:
            return ""
        return (
            f"{type(self).__name__} has no source for the compiler: give it `source` and leave `fused` as it is (see "
            "dynsys.ScalarFunction), or say backend='numpy'"
        )

    def kernel_source(self, name: str) -> str:
        """Source of a function `name(d) -> (s, s1, s2)`."""
        return function_source(f"{name}(d)", [*textwrap.dedent(self.source).strip().splitlines(), "return s, s1, s2"])


@lru_cache(maxsize=64)
def _fused(source: str) -> Any:
    return run_source(QUIET * ("where(" in source) + source)["fused"]


def opaque_function(name: str = "sigma") -> type[sympy.Function]:
    """A SymPy function of which only derivatives are known: name' = name_1, name'' = name_2."""
    import sympy
    from sympy.core.function import ArgumentIndexError

    @cache  # two functions are the same to SymPy if their classes are
    def make(order: int) -> Any:
        def fdiff(self: Any, argindex: int = 1) -> Any:
            if order == 2:
                raise ArgumentIndexError(self, argindex)
            return make(order + 1)(self.args[0])

        return type(name if order == 0 else f"{name}_{order}", (sympy.Function,), {"fdiff": fdiff, "nargs": 1})

    return make(0)
