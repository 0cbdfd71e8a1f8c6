"""Equations of motion as source: what the generators of kernels, and of NumPy functions, write out."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from dynsys.steppers.stepper import Tableau


@attrs.frozen(cache_hash=True)
class Run:
    """Equations that are one text: those of the components first, first + step, ..., `count` of them.

    Attributes
    ----------
    first, count, step : int
    neighbours : sequence of (str, int)
        A name in the texts, and its place: in the equation of component i it stands for component i + place.
    shared : sequence of str
        Statements for subexpressions that the others share.
    rule : str
        Source of the right-hand side.
    moving, fixed : sequence of (int, str)
        Place and source of the derivatives by the neighbours that do not vanish identically: those that depend on
        state or time, and those that depend on parameters alone.
    """

    first: int
    count: int
    step: int
    neighbours: Sequence[tuple[str, int]]
    shared: Sequence[str]
    rule: str
    moving: Sequence[tuple[int, str]]
    fixed: Sequence[tuple[int, str]]

    @property
    def rows(self) -> range:
        """The components."""
        return range(self.first, self.first + self.count * self.step, self.step)


@attrs.frozen(cache_hash=True)  # sources are looked up by it in every call of a pass
class EquationSource:
    """Equations of motion as source.

    Attributes
    ----------
    state, parameters : sequence of str
        Names of the components, and of the parameters.
    driven : bool
        Whether the time (the step, for a map) appears.
    runs : sequence of Run
        Equations that are one text for many components, as those of a lattice are.
    rows : sequence of int
        The other components; what follows is of their equations.
    shared : sequence of str
        Statements for subexpressions that the others share.
    rule : sequence of str
        Source of every right-hand side.
    moving, fixed : sequence of (i, j, str)
        Source of the entries d rule_i / d state_j that do not vanish identically: those that depend on state or time,
        and those that depend on parameters alone.
    """

    state: Sequence[str]
    parameters: Sequence[str]
    driven: bool
    runs: Sequence[Run]
    rows: Sequence[int]
    shared: Sequence[str]
    rule: Sequence[str]
    moving: Sequence[tuple[int, int, str]]
    fixed: Sequence[tuple[int, int, str]]

    @property
    def alone(self) -> EquationSource:
        """The same without the Jacobian: what moves the state alone."""
        runs = [attrs.evolve(run, moving=(), fixed=()) for run in self.runs]
        return attrs.evolve(self, runs=tuple(runs), moving=(), fixed=())

    def unpack(self) -> list[str]:
        """Statements that give the parameters their names."""
        return [f"{name} = _p[{i}]" for i, name in enumerate(self.parameters)]


def stages(tableau: Tableau | None) -> int:
    """Evaluations of the equations in a step (None: of a map)."""
    return 1 if tableau is None else len(tableau.b)


def weights(tableau: Tableau | None, s: int | None) -> Sequence[float]:
    """Weights of the slopes in stage s, or (None) in the step."""
    if tableau is None:
        return ()
    return tableau.b if s is None else tableau.a[s]


def stage_time(tableau: Tableau | None, s: int) -> str:
    """Source of the time of stage s: _t + c _dt, or the step _n of a map."""
    return "float(_n)" if tableau is None else f"_t + {float(tableau.c[s])!r} * _dt"


def indented(lines: Sequence[str]) -> list[str]:
    """Statements of an inner block."""
    return [f"    {line}" for line in lines]


def compiled_function(signature: str, lines: Sequence[str]) -> str:
    """Source of a function for the compiler."""
    return f"\n\n@njit\ndef {signature}:\n" + "\n".join(indented(lines)) + "\n"


def aligned(length: int) -> int:
    """A length rounded up to whole vector registers of eight numbers."""
    return -(-length // 8) * 8
