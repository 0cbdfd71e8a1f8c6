"""What a trace may do, and how it ends: without the function being traced, or with a demand for values."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dynsys.equations.tracing.rules import is_condition

if TYPE_CHECKING:
    import sympy


class NotTraceable(BaseException):
    """A function cannot be traced, and why. No `Exception`, which the function itself might catch."""


class NeedsValue(BaseException):
    """A function needs the values of some parameters, by name."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names


class Tracer:
    """The parameters of a trace, those of them that are whole numbers, and its end in time."""

    def __init__(self, parameters: set[str], whole: set[str], seconds: float) -> None:
        self.parameters, self.whole = parameters, whole
        self.seconds = seconds
        self.end = time.thread_time() + seconds

    def check_time(self) -> None:
        """Refuse to go on for too long."""
        if time.thread_time() > self.end:
            raise NotTraceable(f"its equations are too large: writing them down takes more than {self.seconds:g} s")

    def check_exponent(self, value: sympy.Expr) -> None:
        """Ask for the values of whole numbers in an exponent: x^2 has simpler derivatives than x^p."""
        names = {symbol.name for symbol in value.free_symbols}
        if names <= self.parameters and names & self.whole:
            raise NeedsValue(names)

    def concrete(self, value: sympy.Expr, what: str) -> Any:
        """The value of an expression, if it has one."""
        names = {symbol.name for symbol in value.free_symbols}
        if not names:
            return bool(value) if is_condition(value) else float(value)
        if names <= self.parameters:
            raise NeedsValue(names)
        raise NotTraceable(f"{what} depends on the state or the time")
