"""A step written out, straight-line: equations, stages and tangent columns as scalar statements.

The same statements serve one trajectory (`push`, state and vectors in arrays) and members side by side (`advance`, in
the buffer of `dynsys.compiled.lanes`). Structural zeros of the Jacobian never appear; entries that depend on neither
state nor time are not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import attrs

from dynsys.compiled.lanes import LaneSource
from dynsys.steppers import ExplicitRungeKutta, Stepper

LARGEST = 700  # statements: compiling takes time that grows faster than their number


@attrs.frozen
class EquationSource:
    """Equations of motion as source.

    Attributes
    ----------
    state, parameters : sequence of str
        Names of the components, and of the parameters.
    shared : sequence of str
        Statements for subexpressions that the others share.
    rule : sequence of str
        Source of every right-hand side.
    moving, fixed : sequence of (i, j, str)
        Source of the entries d rule_i / d state_j that do not vanish identically: those that depend on state or time,
        and those that depend on parameters alone.
    driven : bool
        Whether the time (the step, for a map) appears.
    """

    state: Sequence[str]
    parameters: Sequence[str]
    shared: Sequence[str]
    rule: Sequence[str]
    moving: Sequence[tuple[int, int, str]]
    fixed: Sequence[tuple[int, int, str]]
    driven: bool

    @property
    def jacobian(self) -> dict[tuple[int, int], str]:
        """All entries that do not vanish identically."""
        return {(i, j): source for i, j, source in (*self.moving, *self.fixed)}

    @property
    def constant(self) -> set[tuple[int, int]]:
        """The entries that depend on parameters alone."""
        return {(i, j) for i, j, _ in self.fixed}

    def unpack(self) -> list[str]:
        """Statements that give the parameters their names."""
        return [f"{name} = _p[{i}]" for i, name in enumerate(self.parameters)]

    def few(self, stepper: Stepper | None) -> bool:
        """Whether a step is short enough to be written out."""
        return (
            stages(stepper) * (2 * (len(self.moving) + len(self.fixed)) + 3 * len(self.rule) + len(self.shared))
            <= LARGEST
        )


def stages(stepper: Stepper | None) -> int:
    """Evaluations of the equations in a step (None: a map)."""
    return len(stepper.b) if isinstance(stepper, ExplicitRungeKutta) else 1


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def push_source(equations: EquationSource, stepper: Stepper | None) -> str:
    """A function `push` for one trajectory, with the arguments that the driver gives it."""
    constants = equations.constant

    def entry(i: int, j: int, s: int) -> str:
        return f"_J{i}_{j}_{0 if (i, j) in constants else s}"

    state = _state(equations, stepper, "_u[{}]", entry)
    column = _column(equations, stepper, "_V[{}, _k]", entry)
    return _function(
        "push(_n, _t, dt, _u, _V, _X, _W, _f, _F, _p, _data, _rows, _scratch)",
        [*equations.unpack(), *_constants(equations), *state, "for _k in _range(_V.shape[1]):", *_inner(column)],
    )


@lru_cache(maxsize=64)
def lane_step(equations: EquationSource, stepper: Stepper | None, k: int) -> LaneSource:
    """The same for members side by side: the Jacobians of the stages stand in rows of their own (k = 0: nowhere)."""
    if k == 0:
        equations = attrs.evolve(equations, moving=(), fixed=())
    dim = len(equations.state)
    moving, constants = equations.moving, equations.constant
    rows = {(i, j, s): s * len(moving) + e for s in range(stages(stepper)) for e, (i, j, _) in enumerate(moving)}

    def entry(i: int, j: int, s: int) -> str:
        constant = (i, j) in constants
        return f"_J{i}_{j}_0" if constant else f"_B[{dim + dim * k + rows[i, j, s]} * L + l]"

    state = _state(equations, stepper, "_B[{} * L + l]", entry)
    column = _column(equations, stepper, "_C[{} * L + l]", entry)
    move = _function(
        "move(_B, _n, _t, dt, _p, _lanes)", [*equations.unpack(), "for l in _range(_lanes):", *_inner(state)]
    )
    push = _function(
        "push_column(_B, _C, dt, _p, _lanes)",
        [*equations.unpack(), *_constants(equations), "for l in _range(_lanes):", *_inner(column)],
    )
    return LaneSource(move + push + ADVANCE, max(1, len(rows)))


ADVANCE = """
@njit
def advance(B, n, t, dt, done, own, parameters, data, drive, lanes):
    move(B, n, t, dt, parameters, lanes)
    for c in range(K):
        push_column(B, B[(DIM + c * DIM) * L : (DIM + (c + 1) * DIM) * L], dt, parameters, lanes)

"""


def _state(
    equations: EquationSource, stepper: Stepper | None, place: str, entry: Callable[[int, int, int], str]
) -> list[str]:
    """The stages of a step of the state, which leave their Jacobians in `entry`, and the step itself."""
    lines = []
    for s in range(stages(stepper)):
        time = f"t = _t + {_node(stepper, s)!r} * dt" if stepper is not None else "t = float(_n)"
        lines += [time] if equations.driven else []
        lines += [
            f"{name} = {place.format(i)}{_increments(_weights(stepper, s), f'_f{i}')}"
            for i, name in enumerate(equations.state)
        ]
        lines += equations.shared
        lines += [f"_f{i}_{s} = {source}" for i, source in enumerate(equations.rule)]
        lines += [f"{entry(i, j, s)} = {source}" for i, j, source in equations.moving]
    for i in range(len(equations.state)):
        step = f"{place.format(i)}{_increments(_weights(stepper, None), f'_f{i}')}" if stepper else f"_f{i}_0"
        lines += [f"{place.format(i)} = {step}"]
    return lines


def _column(
    equations: EquationSource, stepper: Stepper | None, place: str, entry: Callable[[int, int, int], str]
) -> list[str]:
    """One tangent column through the stages of a step."""
    dim = len(equations.state)
    filled = [sorted(j for a, j in equations.jacobian if a == i) for i in range(dim)]
    lines = [f"_v{i} = {place.format(i)}" for i in range(dim)]
    for s in range(stages(stepper)):
        for i in range(dim):
            lines += [f"_y{i} = _v{i}{_increments(_weights(stepper, s), f'_F{i}') if filled[i] else ''}"]
        for i in range(dim):
            if filled[i]:
                lines += [f"_F{i}_{s} = " + " + ".join(f"{entry(i, j, s)} * _y{j}" for j in filled[i])]
    for i in range(dim):
        if stepper is None:
            lines += [f"{place.format(i)} = {f'_F{i}_0' if filled[i] else '0.0'}"]
        elif filled[i]:
            lines += [f"{place.format(i)} = _v{i}{_increments(_weights(stepper, None), f'_F{i}')}"]
    return lines


def _constants(equations: EquationSource) -> list[str]:
    return [f"_J{i}_{j}_0 = {source}" for i, j, source in equations.fixed]


def _weights(stepper: Stepper | None, s: int | None) -> Sequence[float]:
    """Weights of the slopes in stage s, or (None) in the step."""
    if not isinstance(stepper, ExplicitRungeKutta):
        return ()
    return stepper.b if s is None else stepper.a[s]


def _node(stepper: Stepper | None, s: int) -> float:
    return float(stepper.c[s]) if isinstance(stepper, ExplicitRungeKutta) else 0.0


def _increments(weights: Sequence[float], slope: str) -> str:
    return "".join(f" + (dt * {weight!r}) * {slope}_{r}" for r, weight in enumerate(weights) if weight)


def _inner(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _function(signature: str, lines: Sequence[str]) -> str:
    return f"\n\n@njit\ndef {signature}:\n" + "\n".join(_inner(lines)) + "\n"
