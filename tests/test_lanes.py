"""Members side by side: the same numbers as one by one, whatever the block, the threads and the neighbours."""

import ctypes

import attrs
import numpy as np
import pytest
from steps import kernel_of, step_of

from dynsys import (
    RK4,
    Euler,
    GradientFlow,
    InvalidInputError,
    NumbaTangent,
    NumpyTangent,
    RunState,
    SymbolicFlow,
    SymbolicMap,
)
from dynsys.compiled.elementary import ELEMENTARY
from dynsys.compiled.llvm.machine import compiled, function
from dynsys.models.activations import GELU, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.classics import Henon, LinearMap, Logistic, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
from dynsys.passes.status import DIVERGED, RUNNING, SINGULAR

pytestmark = pytest.mark.numba

LANES = 16  # the most members side by side

DRIVEN = SymbolicFlow.of({"x": "y", "y": "-sin(x) - a*y + b*cos(2*t) + 0*x", "c": "1"}, {"a": 0.5, "b": 1.5})
STEPPED = SymbolicMap.of({"x": "1.2*x*cos(t) - y", "y": "0.9*x + 0.1*y**2/(1 + t)"})


def network(activation, sizes=(2, 2, 1), reduction="mean"):
    rng = np.random.default_rng(0)
    return ThreeLayerGradientFlow(
        rng.normal(size=(50, sizes[0])),
        rng.normal(size=(50, sizes[2])),
        sizes[1],
        activation=activation,
        reduction=reduction,
    )


def softmax():
    """Two outputs that the loss does not tell apart by themselves, and a parameter."""
    x, z = np.random.default_rng(0).normal(size=(2, 50))
    return GradientFlow.of(
        "log(exp(p) + exp(q)) - (1 - y)*p - y*q + decay*w^2",
        ["w", "b", "v0", "v1"],
        {"x": x, "y": x > z},
        {"h": "sigma(w*x + b)", "p": "v0*h", "q": "v1*h"},
        sigma=Tanh(),
        parameters={"decay": 0.1},
    )


def forward(tangent, x0, k=None, intervals=3, steps=5, record="growth", seed=0):
    start = RunState.start(x0, tangent.dimension, k, seed)
    return tangent.forward(start, intervals=intervals, steps_per_interval=steps, record=record)


CASES = {
    "Lorenz": (Lorenz63(), RK4(0.01)),
    "Lorenz, Euler": (Lorenz63(), Euler(0.001)),
    "driven": (DRIVEN, RK4(0.05)),
    "Henon": (Henon(), None),
    "map with time": (STEPPED, None),
    "ReLU": (network(ReLU()).minibatches(13, seed=1), Euler(1e-2)),
    "tanh": (network(Tanh()).minibatches(32, seed=1), Euler(1e-2)),
    "own batches": (network(Tanh()).minibatches(13, seed=1, shared=False), Euler(1e-2)),
    "full batch, sum": (network(Tanh(), reduction="sum"), Euler(1e-3)),
    "two outputs": (network(Sigmoid(), (1, 1, 2)).minibatches(6, seed=1), Euler(1e-2)),
    "GELU": (network(GELU()).minibatches(8, seed=1), Euler(1e-2)),
    "softmax": (softmax().minibatches(13, seed=1, shared=False), Euler(1e-2)),
    "linear": (network(Linear()).minibatches(8, seed=1), Euler(1e-2)),
}


BITS = ["Lorenz", "own batches", "softmax"]
SLOW = [
    "two outputs",
    "linear",
    "GELU",
    "softmax",
    "driven",
    "map with time",
]  # a kernel of their own each, which takes ten seconds


def side_by_side(system, stepper):
    """How many members go side by side, by the sources that a pass chooses from."""
    kernel, k = kernel_of(system, stepper), system.dimension
    return max(getattr(one, "side_by_side", 0) for one in (kernel.lanes(k), kernel.step(k)))


def states(system, members):
    return 0.3 * np.random.default_rng(1).normal(size=(members, system.dimension))


@pytest.mark.parametrize("record", ["growth", "frames"])
@pytest.mark.parametrize(
    ("system", "stepper"),
    [pytest.param(*case, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, case in CASES.items()],
)
def test_side_by_side_one_by_one_and_numpy_agree(system, stepper, record):
    tangent = NumbaTangent(step_of(system, stepper))
    x0 = states(system, 3)
    assert side_by_side(system, stepper)
    together, plain = (forward(kind, x0, record=record) for kind in (tangent, NumpyTangent(step_of(system, stepper))))
    for name in ("x", "Q", "growth", "R", "xs", "Qs"):
        np.testing.assert_allclose(getattr(together, name), getattr(plain, name), rtol=1e-12, atol=1e-12)
    start = RunState.start(x0, system.dimension, None, 0)
    one = {name: getattr(start, name)[:1] for name in ("x", "Q", "status", "stopped", "members")}
    single = tangent.forward(attrs.evolve(start, **one, single=True), intervals=3, steps_per_interval=5, record=record)
    np.testing.assert_allclose(single.x[0], plain.x[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(single.Q[0], plain.Q[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("system", "stepper"), [pytest.param(*CASES[c], marks=[pytest.mark.slow] * (c in SLOW)) for c in BITS], ids=BITS
)
def test_bits_do_not_depend_on_block_threads_or_neighbours(system, stepper):
    x0 = states(system, 2 * LANES + 3)
    everything = forward(NumbaTangent(step_of(system, stepper), threads=1), x0)
    assert len(np.unique(everything.growth[:, 0, 0])) == len(x0)
    for members in (1, 2, LANES - 1, LANES, LANES + 1):
        for threads in (1, 2, 3):
            some = forward(NumbaTangent(step_of(system, stepper), threads=threads), x0[:members])
            for name in ("x", "Q", "growth"):
                np.testing.assert_array_equal(getattr(some, name), getattr(everything, name)[:members])


@pytest.mark.parametrize("k", [1, 2])
def test_fewer_vectors_are_the_leading_ones(k):
    x0 = states(Lorenz63(), 5)
    tangent = NumbaTangent(step_of(Lorenz63(), RK4(0.01)))
    np.testing.assert_allclose(forward(tangent, x0, k).growth, forward(tangent, x0).growth[..., :k], rtol=0, atol=1e-13)


def test_members_that_stop_are_marked_and_leave_the_others_alone():
    good = states(Henon(), 20) / 5
    tangent = NumbaTangent(Henon())
    expected = forward(tangent, good, k=1, intervals=12)
    mixed = np.array(good)
    mixed[[3, 17]] = [[1e6, 0.0], [50.0, 0.0]]
    found = forward(tangent, mixed, k=1, intervals=12)
    assert list(np.flatnonzero(found.status == DIVERGED)) == [3, 17]
    assert set(found.stopped[[3, 17]] % 5) == {0}  # at the end of an interval
    assert np.isnan(found.x[[3, 17]]).all()
    assert np.isnan(found.growth[[3, 17], -1]).all()
    others = np.setdiff1d(np.arange(20), [3, 17])
    np.testing.assert_array_equal(found.growth[others], expected.growth[others])
    later = tangent.forward(found, intervals=2, steps_per_interval=5, record="growth")  # and they stay out
    assert np.isnan(later.growth[[3, 17]]).all()
    np.testing.assert_array_equal(
        later.growth[others],
        tangent.forward(expected, intervals=2, steps_per_interval=5, record="growth").growth[others],
    )


def test_a_singular_member_is_marked():
    x0 = np.array([[0.3], [0.5], [0.7]])  # the slope r (1 - 2 x) of the logistic map vanishes at 1/2
    found = forward(NumbaTangent(Logistic()), x0, intervals=1, steps=1)
    assert list(found.status) == [RUNNING, SINGULAR, RUNNING]
    np.testing.assert_allclose(found.growth[[0, 2], 0, 0], np.log(4 * 0.4), rtol=1e-14)


def test_ensembles_of_systems_without_lanes_run_one_by_one():
    matrix = LinearMap([[2.0, 1.0], [0.0, 0.5]])
    assert not side_by_side(matrix, None)
    np.testing.assert_allclose(forward(NumbaTangent(step_of(matrix, None)), np.ones((3, 2))).x[0], forward(
        NumpyTangent(step_of(matrix, None)), np.ones((3, 2))).x[0], rtol=1e-14)  # fmt: skip


ONE_BY_ONE = """
def run(a: states, b: states, n: int):
    for i in range(n):
        b[i] = {}(a[i])
"""


def applied(source, a, width=1):
    """A function `run` of some source on numbers, or on vectors."""
    address = compiled(source, ("run",), width, () if width == 1 else ("states",))["run"]
    b = np.zeros_like(a)
    function(address, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64])(a.ctypes.data, b.ctypes.data, a.size // width)
    return b


RANGES = {"tanh": (-25.0, 25.0), "exp": (-745.0, 709.7), "log": (0.0, 1e300)}
SPECIAL = [0.0, -0.0, 1e308, -1e308, np.inf, -np.inf, np.nan, 709.79, -745.2, 5e-324, 1.0, 2.3e-308]


@pytest.mark.parametrize(("name", "units"), [("tanh", 4), ("exp", 2), ("log", 2)])
def test_elementary_functions_are_accurate_and_the_same_for_vectors(name, units):
    rng = np.random.default_rng(0)
    small = 10.0 ** rng.uniform(-320, 0, 5_000)
    points = np.concatenate([rng.uniform(*RANGES[name], 20_000), rng.normal(size=20_000), small, -small, SPECIAL])
    points = np.concatenate([points, np.ones(-len(points) % 8)])
    found = applied(ELEMENTARY + ONE_BY_ONE.format(name), points)
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(points)
        error = np.abs(found - exact) / np.spacing(np.abs(exact))
    plain = np.isfinite(exact)
    assert np.max(error[plain]) <= units
    np.testing.assert_array_equal(found[~plain], exact[~plain])
    np.testing.assert_array_equal(applied(ELEMENTARY + ONE_BY_ONE.format(name), points, 8), found)


BRANCHES = """
def by_branch(d):
    if d > 0.0:
        return d, 1.0
    return 0.1 * d, 0.1


def run(a: states, b: states, n: int):
    for i in range(n):
        s, s1 = by_branch(a[i])
        b[i] = s + s1
"""


def test_a_function_that_branches_on_a_vector_goes_lane_by_lane():
    points = np.random.default_rng(0).normal(size=32)
    expected = np.where(points > 0, points + 1.0, 0.1 * points + 0.1)
    for width in (1, 8):
        np.testing.assert_allclose(applied(BRANCHES, points, width), expected, rtol=1e-15)


def test_what_cannot_go_lane_by_lane_is_refused():
    source = "def run(a: states, b: states, n: int):\n    if a[0] > 0.0:\n        b[0] = a[0]\n"
    with pytest.raises(InvalidInputError, match="a branch cannot depend on a vector"):
        applied(source, np.ones(8), 8)
    np.testing.assert_array_equal(applied(source, np.ones(1)), [1.0])
