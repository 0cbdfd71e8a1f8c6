"""Members side by side: the same numbers as one by one, whatever the block, the threads and the neighbours."""

import subprocess
import sys
import textwrap

import attrs
import numpy as np
import pytest
from steps import kernel_of, step_of

from dynsys import RK4, Euler, GradientFlow, NumbaTangent, NumpyTangent, RunState, SymbolicFlow, SymbolicMap
from dynsys.compiled.build import build_lanes
from dynsys.compiled.lanes import LANES
from dynsys.models.activations import GELU, Linear, ReLU, Sigmoid, Tanh
from dynsys.models.classics import Henon, LinearMap, Logistic, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
from dynsys.passes.status import DIVERGED, RUNNING, SINGULAR

pytestmark = pytest.mark.numba

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
    assert build_lanes(kernel_of(system, stepper), system.dimension, system.dimension) is not None
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
    assert build_lanes(kernel_of(matrix, None), 2, 2) is None
    np.testing.assert_allclose(forward(NumbaTangent(step_of(matrix, None)), np.ones((3, 2))).x[0], forward(
        NumpyTangent(step_of(matrix, None)), np.ones((3, 2))).x[0], rtol=1e-14)  # fmt: skip


def lane_functions(system, stepper):
    compiled = build_lanes(kernel_of(system, stepper), system.dimension, system.dimension)
    return sys.modules[compiled.forward.__module__]


def test_tanh_is_accurate_to_a_few_units_in_the_last_place():
    tanh = lane_functions(network(Tanh()), Euler(1e-2)).tanh
    rng = np.random.default_rng(0)
    points = np.concatenate(
        [rng.uniform(-25, 25, 20_000), rng.normal(size=20_000), 10.0 ** rng.uniform(-300, 0, 5_000), [0.0, 1e308]]
    )
    for sign in (1.0, -1.0):
        found, exact = np.array([tanh(sign * d) for d in points]), np.tanh(sign * points)
        assert np.max(np.abs(found - exact) / np.spacing(np.abs(exact))) <= 4
    assert np.isnan(tanh(np.nan))
    assert (tanh(np.inf), tanh(-np.inf)) == (1.0, -1.0)


@pytest.mark.slow
@pytest.mark.skipif("x86" not in __import__("platform").machine(), reason="counts x86 instructions")
def test_hot_functions_are_vectorised(tmp_path):
    """Packed fused multiply-adds in the assembly of a fresh compilation (a cached one has none to show)."""
    code = """
    import re, sys
    import numpy as np
    from dynsys import Euler
    from dynsys.compiled.build import build_lanes
    from dynsys.models.activations import Tanh
    from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
    flow = ThreeLayerGradientFlow(np.ones((4, 2)), np.ones(4), activation=Tanh())
    tangent = flow.tangent(Euler(1e-3))
    tangent.benettin(np.ones((2, 9)) * 0.1, intervals=1, warmup=0)
    module = sys.modules[build_lanes(tangent.time_step.step_kernel(), 9, 9).forward.__module__]
    for name in ("samples_4", "step_column"):
        text = "".join(getattr(module, name).inspect_asm().values())
        print(len(re.findall(r"vfn?m(?:add|sub)\\w+pd", text)), len(re.findall(r"vfn?m(?:add|sub)\\w+sd", text)))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        env={**__import__("os").environ, "DYNSYS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    for packed, _scalar in (map(int, line.split()) for line in done.stdout.splitlines()):
        assert packed > 60
