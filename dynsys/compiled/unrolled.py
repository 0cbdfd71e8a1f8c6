"""A step written out, straight-line: equations, stages and tangent columns as scalar statements.

The same statements serve one trajectory and members side by side, where each name is a vector of as many numbers.
Structural zeros of the Jacobian never appear; entries that depend on neither state nor time are not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from dynsys.compiled.equations import EquationSource, compiled_function, indented, stage_time, stages, weights
from dynsys.compiled.kernel import StepSource
from dynsys.steppers.stepper import Tableau

LANES = 16  # members side by side
LARGEST = 700  # statements: compiling takes time that grows faster than their number


def few(equations: EquationSource, tableau: Tableau | None) -> bool:
    """Whether a step is short enough to be written out."""
    entries = len(equations.moving) + len(equations.fixed)
    statements = 2 * entries + 3 * len(equations.rule) + len(equations.shared)
    return not equations.runs and stages(tableau) * statements <= LARGEST


@lru_cache(maxsize=64)  # every call of a pass asks for the source
def unrolled_step(equations: EquationSource, tableau: Tableau | None) -> StepSource:
    """Steps of one trajectory, or of members side by side."""
    constants = {(i, j) for i, j, _ in equations.fixed}

    def entry(i: int, j: int, s: int) -> str:
        return f"_J{i}_{j}_{0 if (i, j) in constants else s}"

    state = _state(equations, tableau, "_u[{}]".format, entry)
    column = _column(equations, tableau, "_C[{}]".format, entry)
    lines = ["for _n in _range(_first, _first + _steps):", "    _t = _t0 + _n * _dt", *indented(state)]
    column = [f"_C = _V[_k * {len(equations.state)} :]", *column]
    lines += indented(["for _k in _range((_count + _COLUMNS - 1) // _COLUMNS):", *indented(column)])
    return StepSource(
        "\n".join([SIGNATURE, *indented([*equations.unpack(), *_constants(equations), *lines])]) + "\n",
        side_by_side=LANES,
        any_layout=True,
    )


SIGNATURE = """
def advance(_first: int, _steps: int, _t0: float, _dt: float, _u: states, _V: frame, _count: int, _p: numbers,
            _data: floats, _rows: floats, _sizes: ints, _own: ints, _B: floats):"""


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


def _increments(weights: Sequence[float], slope: str) -> str:
    return "".join(f" + (_dt * {weight!r}) * {slope}_{r}" for r, weight in enumerate(weights) if weight)
