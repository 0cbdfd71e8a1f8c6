"""A step written out, straight-line: equations, stages and tangent columns as scalar statements.

The same statements serve one trajectory (`step_tangent`, state and vectors in arrays) and members side by side
(`advance`, in the buffer of `dynsys.compiled.lanes`). Structural zeros of the Jacobian never appear; entries that
depend on neither state nor time are not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from dynsys.compiled.equations import EquationSource, compiled_function, indented, stage_time, stages, weights
from dynsys.compiled.kernel import StepSource
from dynsys.compiled.lanes import LANES, LaneSource
from dynsys.steppers.stepper import Tableau

LARGEST = 700  # statements: compiling takes time that grows faster than their number


def few(equations: EquationSource, tableau: Tableau | None) -> bool:
    """Whether a step is short enough to be written out."""
    entries = len(equations.moving) + len(equations.fixed)
    statements = 2 * entries + 3 * len(equations.rule) + len(equations.shared)
    return not equations.runs and stages(tableau) * statements <= LARGEST


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def unrolled_step(equations: EquationSource, tableau: Tableau | None) -> StepSource:
    """A function `step_tangent` for one trajectory, with the arguments that the driver gives it."""
    constants = {(i, j) for i, j, _ in equations.fixed}

    def entry(i: int, j: int, s: int) -> str:
        return f"_J{i}_{j}_{0 if (i, j) in constants else s}"

    state = _state(equations, tableau, "_u[{}]".format, entry)
    column = _column(equations, tableau, "_V[{}, _k]".format, entry)
    lines = [*equations.unpack(), *_constants(equations), *state]
    lines += ["for _k in _range(_V.shape[1]):", *indented(column)]
    signature = "step_tangent(_n, _t, _dt, _u, _V, _X, _W, _f, _F, _p, _data, _rows, _scratch)"
    return StepSource(compiled_function(signature, lines))


@lru_cache(maxsize=64)
def unrolled_linearise(equations: EquationSource) -> str:
    """The function `linearise` of `Kernel`: the equations and the Jacobian times a frame, for any stepper."""
    filled = _filled(equations)
    lines = [*equations.unpack(), *_constants(equations)]
    lines += [f"{name} = _x[{i}]" for i, name in enumerate(equations.state)]
    lines += equations.shared
    lines += [f"_f[{i}] = {source}" for i, source in enumerate(equations.rule)]
    lines += [f"_J{i}_{j}_0 = {source}" for i, j, source in equations.moving]
    column = [f"_v{j} = _V[{j}, _k]" for j in range(len(filled))]
    column += [
        f"_F[{i}, _k] = {' + '.join(f'_J{i}_{j}_0 * _v{j}' for j in entries) or '0.0'}"
        for i, entries in enumerate(filled)
    ]
    lines += ["for _k in _range(_V.shape[1]):", *indented(column)]
    return compiled_function("linearise(t, _x, _V, _f, _F, _p, _data, _rows, _scratch)", lines)


@lru_cache(maxsize=64)
def unrolled_lanes(equations: EquationSource, tableau: Tableau | None, k: int, varied: bool) -> LaneSource:
    """A step of members side by side: the Jacobians of the stages stand in rows of their own."""
    dim = len(equations.state)
    moving, constants = equations.moving, {(i, j) for i, j, _ in equations.fixed}
    rows = {(i, j, s): s * len(moving) + e for s in range(stages(tableau)) for e, (i, j, _) in enumerate(moving)}

    def entry(i: int, j: int, s: int) -> str:
        constant = (i, j) in constants
        return f"_J{i}_{j}_0" if constant else in_lane("_B", dim + dim * k + rows[i, j, s])

    state = _state(equations, tableau, lambda i: in_lane("_B", i), entry)
    column = _column(equations, tableau, lambda i: in_lane("_C", i), entry)
    if varied:
        own = [f"{name} = {in_lane('_p', i)}" for i, name in enumerate(equations.parameters)]
        shared, state, column = [], [*own, *state], [*own, *_constants(equations), *column]
    else:
        shared = equations.unpack()
    state_source = compiled_function(
        "step_state(_B, _n, _t, _dt, _p, _lanes)", [*shared, "for _l in _range(_lanes):", *indented(state)]
    )
    constant = [] if varied else _constants(equations)
    column_source = compiled_function(
        "step_column(_B, _C, _dt, _p, _lanes)", [*shared, *constant, "for _l in _range(_lanes):", *indented(column)]
    )
    return LaneSource(state_source + column_source + ADVANCE, max(1, len(rows)), varied)


ADVANCE = """
@njit
def advance(B, n, t, dt, done, own, parameters, data, drive, lanes):
    step_state(B, n, t, dt, parameters, lanes)
    for c in range(K):
        step_column(B, B[(DIM + c * DIM) * L : (DIM + (c + 1) * DIM) * L], dt, parameters, lanes)

"""


def _state(
    equations: EquationSource,
    tableau: Tableau | None,
    place: Callable[[int], str],
    entry: Callable[[int, int, int], str],
) -> list[str]:
    """The stages of a step of the state, which leave their Jacobians in `entry`, and the step itself."""
    lines = []
    for s in range(stages(tableau)):
        lines += [f"t = {stage_time(tableau, s)}"] if equations.driven else []
        lines += [
            f"{name} = {place(i)}{_increments(weights(tableau, s), f'_f{i}')}" for i, name in enumerate(equations.state)
        ]
        lines += equations.shared
        lines += [f"_f{i}_{s} = {source}" for i, source in enumerate(equations.rule)]
        lines += [f"{entry(i, j, s)} = {source}" for i, j, source in equations.moving]
    for i in range(len(equations.state)):
        step = f"{place(i)}{_increments(weights(tableau, None), f'_f{i}')}" if tableau else f"_f{i}_0"
        lines += [f"{place(i)} = {step}"]
    return lines


def _column(
    equations: EquationSource,
    tableau: Tableau | None,
    place: Callable[[int], str],
    entry: Callable[[int, int, int], str],
) -> list[str]:
    """One tangent column through the stages of a step."""
    filled = _filled(equations)
    dim = len(filled)
    lines = [f"_v{i} = {place(i)}" for i in range(dim)]
    for s in range(stages(tableau)):
        for i in range(dim):
            lines += [f"_y{i} = _v{i}{_increments(weights(tableau, s), f'_F{i}') if filled[i] else ''}"]
        for i in range(dim):
            if filled[i]:
                lines += [f"_F{i}_{s} = " + " + ".join(f"{entry(i, j, s)} * _y{j}" for j in filled[i])]
    for i in range(dim):
        if tableau is None:
            lines += [f"{place(i)} = {f'_F{i}_0' if filled[i] else '0.0'}"]
        elif filled[i]:
            lines += [f"{place(i)} = _v{i}{_increments(weights(tableau, None), f'_F{i}')}"]
    return lines


def _filled(equations: EquationSource) -> list[list[int]]:
    """The columns of every row of the Jacobian that do not vanish identically."""
    entries = (*equations.moving, *equations.fixed)
    return [sorted(j for a, j, _ in entries if a == i) for i in range(len(equations.state))]


def _constants(equations: EquationSource) -> list[str]:
    return [f"_J{i}_{j}_0 = {source}" for i, j, source in equations.fixed]


def in_lane(buffer: str, row: int) -> str:
    """A number of lane _l in a buffer. All names begin with an underscore, as no name of a user does."""
    return f"{buffer}[{row * LANES} + _l]"


def _increments(weights: Sequence[float], slope: str) -> str:
    return "".join(f" + (_dt * {weight!r}) * {slope}_{r}" for r, weight in enumerate(weights) if weight)
