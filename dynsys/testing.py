"""Contract checks for any system, tangent or nonlinearity: call them in the tests of your own ones.

Each check raises `ContractError` with what was found, and returns nothing when all is well.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dynsys.algorithms.differences import EPS, FEW, RUNGS, differences, finite_difference
from dynsys.backends import NumpyTangent
from dynsys.equations.scalar_function import ScalarFunction
from dynsys.errors import ContractError, real_array, whole_number, whole_seed
from dynsys.passes.run_state import RunState
from dynsys.passes.status import RUNNING, STATUSES
from dynsys.systems.system import DifferentiableSystem, PiecewiseFlow
from dynsys.systems.tangent import TangentSystem

Array = np.ndarray

EXACT = 1e-11  # two exact ways to the same number, relative
DIFFERENCES = 1e-7  # a derivative against differences, relative, beside their own error
ROUNDING = 1e-11
DOUBT = 1e-3  # errors of differences excuse no more, as a share of the largest entry of a row
ROUNDINGS, ROUNDINGS_OF_DIFFERENCES = 100.0, 1e3  # in units of the precision of a system, where that is lower


def _exact(precision: float) -> float:
    """How far two exact ways may be apart, relative, where answers are rounded so."""
    return max(EXACT, ROUNDINGS * precision)


def _by_differences(precision: float) -> float:
    """The same of a derivative against differences."""
    return max(DIFFERENCES, ROUNDINGS_OF_DIFFERENCES * precision)


def _of_vectors(growth: Array, precision: float) -> Array:
    """What rounding may make of each vector of a pass (k,): a share of the fastest one stays where that is removed.

    Vector j is what remains of length R_jj of one as long as the largest R_ii, so 100 eps max_i R_ii / R_jj.
    """
    behind = np.max(growth, axis=-1, keepdims=True) - growth
    return ROUNDINGS * precision * np.exp(np.max(behind, axis=tuple(range(growth.ndim - 1))))


def _agree(a: Array, b: Array, tolerance: float | Array, what: str) -> None:
    if np.shape(a) != np.shape(b):
        raise ContractError(f"{what}: shapes {np.shape(a)} and {np.shape(b)} differ")
    scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
    defects = np.abs(np.asarray(a) - b) / scale
    allowed = np.broadcast_to(tolerance, defects.shape)
    wrong = ~(defects <= allowed)
    if wrong.any():
        where = np.unravel_index(np.argmax(np.where(wrong, defects, 0.0)), defects.shape)
        raise ContractError(
            f"{what}: largest difference {defects[where]:.2e} of the largest entry (allowed {allowed[where]:.0e}), at "
            f"index {tuple(int(i) for i in where)}"
        )


def _is_derivative(
    found: Array, slopes: Array, errors: Array, tolerance: float, what: str, precision: float = 0.0
) -> None:
    """Hold a derivative against differences, entry by entry, within ten of their errors."""
    if np.shape(found) != slopes.shape:
        raise ContractError(f"{what}: shapes {np.shape(found)} and {slopes.shape} differ")
    rows = np.max(np.abs(slopes), axis=1, keepdims=True, initial=0.0)
    excused = np.minimum(10.0 * errors, np.maximum(DOUBT * rows, DIFFERENCES * max(1.0, np.max(rows, initial=0.0))))
    allowed = tolerance * np.abs(slopes) + excused + (1e-3 * DIFFERENCES + tolerance - DIFFERENCES) * rows
    allowed += max(ROUNDING, ROUNDINGS * precision) * np.max(rows, initial=0.0)  # within a rule, of terms that cancel
    apart = np.abs(np.asarray(found) - slopes)
    if not (apart <= allowed).all():
        i, j = np.argwhere(~(apart <= allowed))[0]
        raise ContractError(
            f"{what}: at index {(int(i), int(j))} it is {np.asarray(found)[i, j]:.9g}, and by differences "
            f"{slopes[i, j]:.9g} +- {errors[i, j]:.1e} (if that is large, choose a state where the rule is smooth)"
        )


def check_system(system: DifferentiableSystem | PiecewiseFlow, x: Array, *, t: float = 0.0, seed: int = 0) -> None:
    """Check the contract of a system near the state x, shape (dim,).

    The rule keeps shapes and works over leading axes; it is pure (same answer twice, arguments unchanged);
    `jacobian` and `jvp` agree with each other and, entry by entry, with differences of the rule that know their errors
    (`dynsys.algorithms.differences`); `jvp` is linear. Choose a state where the rule is smooth. A rule of a lower
    `precision` than double may differ by its rounding.

    Raises
    ------
    ContractError
        Naming the broken promise.
    """
    if isinstance(system, PiecewiseFlow):
        for n in (0, 1, 7):
            if system.flow_at(n).dimension != system.dimension:
                raise ContractError(
                    f"flow_at({n}) must have dimension {system.dimension}, got {system.flow_at(n).dimension}"
                )
            check_system(system.flow_at(n), x, t=t, seed=seed)
        return
    x = real_array("x", x)
    dim = system.dimension
    if x.shape != (dim,):
        raise ContractError(f"x must have shape ({dim},), that of a state, got {x.shape}")
    rng, precision = np.random.default_rng(whole_seed(seed)), system.precision
    exact, tolerance = _exact(precision), _by_differences(precision)
    many = x + 1e-2 * rng.normal(size=(2, 3, dim))
    before = many.copy()
    try:
        values = np.asarray(system.rule(t, many))
    except Exception as problem:
        raise ContractError(f"the rule fails over leading axes, for states {many.shape}: {problem!r}") from problem
    if values.shape != many.shape:
        raise ContractError(f"the rule turns states {many.shape} into {values.shape}: shapes must be kept")
    _agree(
        values,
        np.array([[system.rule(t, z) for z in row] for row in many]),
        exact,
        "the rule over leading axes",
    )
    _agree(system.rule(t, many), values, 0.0, "the rule called twice")
    _agree(many, before, 0.0, "the states handed to the rule, before and after")

    V = rng.normal(size=(dim, min(dim, 3)))
    if dim <= FEW:
        V = np.hstack([np.eye(dim), V])  # every entry by itself: a small one does not hide behind a large one
    slopes = differences(lambda z: system.rule(t, z), x, V, precision=precision)
    name, x_before, V_before = type(system).__name__, x.copy(), V.copy()
    jacobian = np.asarray(system.jacobian(t, x))
    if jacobian.shape != (dim, dim):
        raise ContractError(f"jacobian of {name} must have shape {(dim, dim)}, got {jacobian.shape}")
    product = system.jvp(t, x, V)
    _agree(x, x_before, 0.0, f"the state handed to jacobian and jvp of {name}, before and after")
    _agree(V, V_before, 0.0, f"the vectors handed to jvp of {name}, before and after")
    _is_derivative(product, *slopes, tolerance, f"jvp of {name} against differences of the rule", precision)
    _is_derivative(jacobian @ V, *slopes, tolerance, f"jacobian of {name} against differences of the rule", precision)
    if system.derivative != "finite differences":
        _agree(jacobian @ V, product, exact, f"jacobian of {name} against its jvp")
        _agree(system.jvp(t, x, -2.0 * V), -2.0 * product, exact, f"jvp of {name}, linear in V")
    if not 0 <= system.vanishing_exponents <= dim:
        raise ContractError(f"vanishing_exponents must lie between 0 and {dim}, got {system.vanishing_exponents}")


def check_tangent(tangent: TangentSystem, x: Array, *, seed: int = 0, steps: int = 3) -> None:
    """Check that a tangent is the derivative of its own step, and that its pass is its steps.

    `step` against differences of itself that know their errors, one-sided where states end; linear in V; arguments
    unchanged; a pass over two intervals equals the same pass by NumPy (so a compiled kernel is held against the
    equations); k vectors are the first of all.
    Steps that adapt to the vectors they are given (`TangentSystem.tolerance`) may differ by as much, and what is
    computed in single precision by its rounding; of a pass in single precision only the first vector is compared.

    Raises
    ------
    ContractError
        Naming the broken promise.
    """
    x = real_array("x", tangent.complete(real_array("x", x)))
    rng, steps = np.random.default_rng(whole_seed(seed)), whole_number("steps", steps, 1)
    dim = tangent.dimension
    if x.shape != (dim,):
        raise ContractError(f"x must have shape ({dim},), that of a state, got {x.shape}")
    V = rng.normal(size=(dim, dim))
    x_before, V_before = x.copy(), V.copy()
    pushed_x, pushed_V = tangent.step(2, x, V)
    precision = tangent.of_member(0).precision
    exact, passes = _exact(precision), _by_differences(tangent.rounding) if tangent.rounding > EPS else EXACT
    same = max(exact, passes) + 1e3 * steps * tangent.tolerance
    _agree(x, x_before, 0.0, "the state handed to step, before and after")
    _agree(V, V_before, 0.0, "the vectors handed to step, before and after")

    def step(points: Array) -> Array:
        shape = points.shape
        moved = [tangent.step(2, z, V[:, :1])[0] for z in points.reshape(-1, dim)]
        return np.array(moved).reshape(shape)

    M, loose = tangent.step(2, x, np.eye(dim))[1], 1e4 * tangent.tolerance
    what = "the tangent step against differences of the step"
    # far from the state, where long differences look, steps that adapt may take minutes
    rungs = (RUNGS, 0 if tangent.tolerance else RUNGS)
    slopes = differences(step, x, np.eye(dim), rungs, precision)
    _is_derivative(M, *slopes, _by_differences(precision) + loose, what, precision)
    _agree(pushed_V, M @ V, 100.0 * exact + loose, "the tangent step, linear in V")
    _agree(tangent.step(2, x, -2.0 * V)[1], -2.0 * pushed_V, exact, "the tangent step, linear in V")
    _agree(tangent.step(2, x, V[:, :1])[0], pushed_x, same, "the state, whatever the vectors")

    def run(kind: TangentSystem, k: int) -> RunState:
        start = RunState.start(x, dim, k, seed)
        return kind.forward(start, intervals=2, steps_per_interval=steps, record="growth")

    ours, reference = run(tangent, dim), run(NumpyTangent(tangent.time_step, tangent.shift), dim)
    status, wanted = (STATUSES[int(end.status[0])] for end in (ours, reference))
    if status != wanted:
        raise ContractError(f"the pass is {status}, the NumPy pass {wanted}")
    if ours.status[0] != RUNNING:
        raise ContractError(
            f"the pass is {status} within {2 * steps} steps from this state, and there is nothing to compare: choose "
            "another state, or fewer steps"
        )
    seen = slice(None) if passes == EXACT else slice(1)  # rounding of what grows hides what does not
    hidden = _of_vectors(reference.growth, precision)
    of_vectors = np.maximum(passes, hidden)[seen]
    for field, found, expected, allowed in (
        ("x", ours.x, reference.x, passes),
        ("Q", ours.Q[..., seen], reference.Q[..., seen], of_vectors),
        ("growth", ours.growth[..., seen], reference.growth[..., seen], of_vectors),
    ):
        _agree(found, expected, allowed, f"{field} of a pass against the NumPy pass")
    k = max(1, dim - 1)
    leading = run(tangent, k)
    _agree(leading.growth, ours.growth[..., :k], np.maximum(same, hidden[:k]), "growth of the leading k vectors")


def check_activation(activation: ScalarFunction, *, points: Any = None) -> None:
    """Check sigma' and sigma'' against fourth-order differences of sigma and sigma', away from kinks.

    Raises
    ------
    ContractError
        Naming the wrong derivative.

    Examples
    --------
    >>> from dynsys.models.activations import Tanh
    >>> check_activation(Tanh())
    """
    d = np.linspace(-6.0, 6.0, 97) + 0.003 if points is None else real_array("points", points)
    for kink in activation.kinks:
        d = d[np.abs(d - kink) > 1e-2]
    before, name = d.copy(), type(activation).__name__
    values = activation.fused(d)
    _agree(d, before, 0.0, f"the argument of {name}, before and after")
    for value, which in zip(values, ("sigma", "sigma'", "sigma''"), strict=True):
        if np.shape(value) != d.shape:
            raise ContractError(f"{which} of {name} must have the shape {d.shape} of d, got {np.shape(value)}")
    for order, which in ((1, "sigma'"), (2, "sigma''")):
        below = partial(_order, activation, order - 1)
        slopes = [finite_difference(below, np.array([p]), np.ones((1, 1)))[0, 0] for p in d]
        _agree(values[order], np.array(slopes), DIFFERENCES, f"{which} of {name}")


def _order(activation: ScalarFunction, order: int, d: Array) -> Array:
    """sigma, or one of its derivatives."""
    return np.asarray(activation.fused(d)[order])
