"""Generated kernels: kept on disk, compiled once, not imported unless used, and not needed."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from steps import kernel_of

from dynsys import RK4, Euler, InvalidInputError, NumbaTangent, NumpyTangent, RunState, SymbolicMap
from dynsys.compiled.blas import one_blas_thread
from dynsys.compiled.build import build
from dynsys.compiled.llvm import machine
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Logistic, Lorenz63
from dynsys.passes.status import DIVERGED, RUNNING
from dynsys.testing import check_tangent

pytestmark = pytest.mark.numba

# A long run of Lorenz 63 by the NumPy path and one by the kernel would decorrelate: 2 time units do not.
LORENZ = """
import json, warnings
from dynsys.compiled.llvm import machine
MADE = []
made = machine._object_code
machine._object_code = lambda text: MADE.append("advance" if "@advance(" in text else "forward") or made(text)
from dynsys import RK4
from dynsys.models.classics import Lorenz63
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tangent = Lorenz63().tangent(RK4(dt=0.01))
    spectrum = tangent.benettin([1.0, 2.0, 20.0], intervals=20, steps_per_interval=10, warmup=0)
kernel = None
if type(tangent).__name__ == "NumbaTangent":
    kernel = MADE
print(json.dumps({
    "compiled": kernel,
    "exponents": spectrum.exponents.tolist(),
    "warnings": [f"{w.category.__name__}: {w.message}" for w in caught],
}))
"""
WITHOUT_NUMBA = "import sys\nsys.modules['numba'] = None\n"  # what `import numba` sees where it is not installed


def run(code, **environment):
    """What a new process prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exponents():
    """The numbers that every way to run the same system must give."""
    tangent = Lorenz63().tangent(RK4(dt=0.01), backend="numpy")
    return tangent.benettin([1.0, 2.0, 20.0], intervals=20, steps_per_interval=10, warmup=0).exponents


def snapshot(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_kernel_is_kept_on_disk_and_not_compiled_again_by_another_process(tmp_path, exponents):
    first = run(LORENZ, DYNSYS_CACHE=str(tmp_path))
    before = snapshot(tmp_path)
    assert {os.path.splitext(name)[1] for name in before} == {".kept"}
    second = run(LORENZ, DYNSYS_CACHE=str(tmp_path))
    assert snapshot(tmp_path) == before  # no file added, none written again
    assert (sorted(first["compiled"]), second["compiled"]) == (["advance", "forward"], [])  # a step, and the driver
    assert first["warnings"] == second["warnings"] == []
    assert first["exponents"] == second["exponents"]
    np.testing.assert_allclose(first["exponents"], exponents, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_cache_that_cannot_be_written_is_reported_and_the_kernel_works(tmp_path, exponents):
    file = tmp_path / "file"
    file.write_text("")  # no folder can be made under a file, not even by root
    result = run(LORENZ, DYNSYS_CACHE=str(file / "cache"), TMPDIR=str(tmp_path))
    (warning,) = result["warnings"]
    assert warning.startswith("FallbackWarning")
    assert str(file / "cache") in warning
    assert "DYNSYS_CACHE" in warning
    assert sorted(result["compiled"]) == ["advance", "forward"]
    np.testing.assert_allclose(result["exponents"], exponents, rtol=0, atol=1e-9)


def test_without_numba_the_same_numbers_come_from_numpy(exponents):
    result = run(WITHOUT_NUMBA + LORENZ)
    assert (result["compiled"], result["exponents"]) == (None, exponents.tolist())


def test_without_llvmlite_numpy_steps_and_one_warning_says_so(exponents):
    result = run(WITHOUT_NUMBA.replace("numba", "llvmlite") + LORENZ)
    assert (result["compiled"], result["exponents"]) == (None, exponents.tolist())
    (warning,) = result["warnings"]
    assert warning.startswith("FallbackWarning")
    assert "install llvmlite" in warning


def test_compiled_backend_without_numba_is_refused_with_the_remedy():
    code = """
    import json
    from dynsys import InvalidInputError
    from dynsys.models.classics import Henon
    try:
        Henon().tangent(backend="numba")
    except InvalidInputError as refusal:
        print(json.dumps(str(refusal)))
    """
    assert "install numba" in run(WITHOUT_NUMBA + textwrap.dedent(code))


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import dynsys", {"numba", "scipy", "sympy", "matplotlib", "xarray"}),
        ("import dynsys.testing", {"numba", "scipy", "sympy", "matplotlib", "xarray"}),
        ("import dynsys.models.classics, dynsys.models.activations",
         {"numba", "scipy", "sympy", "matplotlib", "xarray"}),
        ("from dynsys.models.classics import LinearFlow; from dynsys import Euler; "
         "LinearFlow([[1.0]]).tangent(Euler(0.1), backend='numpy').benettin([1.0], intervals=2)", {"numba", "sympy"}),
    ],
    ids=["dynsys", "testing", "models", "a run by NumPy"],
)  # fmt: skip
def test_heavy_libraries_are_loaded_only_where_used(code, absent):
    loaded = run(f"{code}\nimport json, sys\nprint(json.dumps(sorted(name.split('.')[0] for name in sys.modules)))")
    assert absent.isdisjoint(loaded)


def test_parameters_steps_and_sizes_do_not_compile_again():
    before = None
    for rho, dt, k, x0 in ((28.0, 0.01, 3, [1.0, 2.0, 20.0]), (20.0, 0.005, 3, [1.0, 2.0, 20.0])):
        Lorenz63(rho=rho).tangent(RK4(dt=dt)).benettin(x0, intervals=3, steps_per_interval=2, k=k)
        before = before or machine._compiled.cache_info().misses
    assert machine._compiled.cache_info().misses == before
    one, other = (kernel_of(Lorenz63(rho=rho), RK4(dt=dt)) for rho, dt in ((28.0, 0.01), (20.0, 0.5)))
    assert one.step(3) == other.step(2)
    one, other = (kernel_of(LinearMap(matrix), None).step(2) for matrix in ([[2.0]], np.eye(3)))
    assert build(one, 1) is build(other, 3)


def test_another_stepper_or_equation_is_another_kernel():
    kernels = [
        kernel_of(Lorenz63(), RK4(dt=0.01)),
        kernel_of(Lorenz63(), Euler(dt=0.01)),
        kernel_of(Henon(), None),
        kernel_of(LinearMap(np.eye(2)), None),
    ]
    assert len({kernel.step(2).source for kernel in kernels}) == 4


@pytest.mark.parametrize(
    ("tangent", "x"),
    [
        (Lorenz63().tangent(RK4(dt=0.01)), [1.0, 2.0, 20.0]),
        (LinearFlow(np.diag([1.0, -2.0])).tangent(Euler(dt=0.1), t0=3.0), [1.0, 1.0]),
        (Henon().tangent(), [0.1, 0.1]),
        (Logistic().tangent(), [0.3]),
    ],
    ids=["Lorenz, RK4", "linear, Euler", "Henon", "Logistic"],
)
def test_pass_of_a_kernel_is_the_pass_by_numpy(tangent, x):
    assert isinstance(tangent, NumbaTangent)
    check_tangent(tangent, np.array(x), steps=5)


@pytest.mark.parametrize("record", ["nothing", "growth", "R", "frames"])
def test_kernel_records_what_numpy_records(record):
    compiled = Henon().tangent()
    start = RunState.start(np.array([[0.1, 0.1], [0.3, 0.2]]), 2, None, 0)
    ours, reference = (
        kind.forward(start, intervals=7, steps_per_interval=3, record=record)
        for kind in (compiled, NumpyTangent(compiled.time_step))
    )
    recorded = {"nothing": set(), "growth": {"growth"}, "R": {"R"}, "frames": {"R", "xs", "Qs"}}[record]
    for name in ("growth", "R", "xs", "Qs"):
        one, two = getattr(ours, name), getattr(reference, name)
        assert one.shape[:2] == two.shape[:2] == (2, 7 * (name in recorded))
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-11)
    assert ours.n == reference.n == 21


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_bits_do_not_depend_on_the_number_of_threads_or_of_chunks(threads):
    tangent = NumbaTangent(Henon(), threads=threads)
    start = RunState.start(np.random.default_rng(0).uniform(-0.1, 0.1, size=(7, 2)), 2, None, 0)
    whole = NumbaTangent(Henon(), threads=1).forward(start, intervals=30, steps_per_interval=2, record="growth")
    first = tangent.forward(start, intervals=11, steps_per_interval=2, record="growth")
    second = tangent.forward(first, intervals=19, steps_per_interval=2, record="growth")
    np.testing.assert_array_equal(np.concatenate([first.growth, second.growth], axis=1), whole.growth)
    np.testing.assert_array_equal(second.x, whole.x)
    np.testing.assert_array_equal(second.Q, whole.Q)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("rate", [-5.0, 5.0])
def test_growth_whose_square_is_out_of_range_is_measured(backend, rate):
    # within an interval vectors grow by e^(+-500): their squares leave the range of numbers, they do not
    tangent = LinearMap([[np.exp(rate)]]).tangent(backend=backend)
    spectrum = tangent.benettin([0.0], intervals=4, steps_per_interval=100, warmup=0)
    np.testing.assert_allclose(spectrum.rates, rate, rtol=1e-13)


def test_backend_that_does_not_exist_is_refused():
    with pytest.raises(InvalidInputError, match=r"backend must be .* got 'gpu'"):
        Henon().tangent(backend="gpu")


def test_compiled_backend_of_a_system_without_kernel_is_refused():
    class Plain(LinearMap):
        def kernel(self):
            return None

    with pytest.raises(InvalidInputError, match="numba cannot take the step of Plain: it gives no kernel"):
        Plain([[2.0]]).tangent(backend="numba")
    assert isinstance(Plain([[2.0]]).tangent(), NumpyTangent)


def test_matrix_products_inside_a_pass_run_on_one_thread():
    from threadpoolctl import threadpool_info

    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    before = threads()
    with one_blas_thread():
        assert threads() == {1}
    assert threads() == before


def test_the_first_pass_to_end_leaves_blas_on_one_thread_for_the_others():
    """Matrix products of two passes that run side by side, in blocks of an ensemble, have the same bits as alone."""
    from threadpoolctl import threadpool_info

    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    before, first, second = threads(), one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == {1}
    second.__exit__(None, None, None)
    assert threads() == before


# How sums round shows after thousands of steps of chaotic motion. Numba keeps the functions of the user on disk, too.
BITS = """
import hashlib, json, sys, warnings
import numpy as np
import rules
from dynsys import RK4, DormandPrince, Euler, FunctionFlow, GradientFlow, ImplicitMidpoint, RunState, SymbolicFlow
from dynsys.models.activations import Tanh
from dynsys.models.classics import Lorenz96

q = SymbolicFlow.of({"x": "-z", "y": "x - y", "z": "3.1*x + y**2 + 0.5*z"})
torus = SymbolicFlow.of({"x": "2*x*y + x*z + y", "y": "-2*x**2 + y*z + 1", "z": "-x**2 + x - y**2"})
user = FunctionFlow(rules.rule, 3, jvp=rules.jvp)
data = np.random.default_rng(0).normal(size=(2, 20))
net = GradientFlow.of("(y - v*h)^2", ["w", "b", "v"], {"x": data[0], "y": data[1]}, {"h": "sigma(w*x+b)"}, sigma=Tanh())
q0 = [2.978102, -0.065260683, -2.8031286]
runs = {
    "SprottQ": (q, RK4(0.0323), q0),
    "SprottQ, lanes": (q, RK4(0.0323), np.array([q0] * 5) + np.arange(5)[:, None] / 1e4),
    "SprottQ, adaptive": (q, DormandPrince(0.0323), q0),
    "SprottQ, implicit": (q, ImplicitMidpoint(0.0323), q0),
    "torus": (torus, RK4(0.0907), [0.6883476, -0.18017646, 0.58539724]),
    "Lorenz 96": (Lorenz96(sites=36), RK4(0.01), np.arange(36) % 7 / 3.0),
    "functions": (user, RK4(0.0323), q0),
    "network": (net, Euler(0.1), [0.3, -0.2, 0.5]),
}
bits = {}
for name, (flow, stepper, x0) in runs.items():
    end = RunState.start(np.array(x0), flow.dimension, None, 0)
    end = flow.tangent(stepper).forward(end, intervals=500, steps_per_interval=10, record="R")
    bits[name] = hashlib.sha256(end.x.tobytes() + end.Q.tobytes() + end.R.tobytes()).hexdigest()
clvs = q.tangent(RK4(0.0323)).ginelli(q0, intervals=300, steps_per_interval=10)
bits["vectors"] = hashlib.sha256(clvs.vectors.tobytes()).hexdigest()
print(json.dumps(bits))
"""
RULES = """
import numba

@numba.njit(cache=True)
def square(a):
    return a * a

@numba.njit(cache=True)
def rule(t, x):
    return (-x[2], x[0] - x[1], 3.1 * x[0] + square(x[1]) + 0.5 * x[2])

@numba.njit(cache=True)
def jvp(t, x, V):
    F = V.copy()
    F[0], F[1], F[2] = -V[2], V[0] - V[1], 3.1 * V[0] + 2.0 * x[1] * V[1] + 0.5 * V[2]
    return F
"""


@pytest.mark.slow
def test_a_kernel_that_was_just_compiled_and_one_found_on_disk_give_the_same_bits(tmp_path):
    (tmp_path / "rules.py").write_text(RULES)
    places = {"DYNSYS_CACHE": str(tmp_path / "kernels"), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    compiled, found = run(BITS, **places), run(BITS, **places)
    assert compiled == found


def test_the_sign_of_nan_is_nan():
    tangent = SymbolicMap.of({"x": "sign(log(y - 2))", "y": "y"}).tangent()  # a NaN that were 0 would go unseen
    assert isinstance(tangent, NumbaTangent)
    start = RunState.start(np.array([[0.5, 1.0], [0.5, 4.0]]), 2, 0, 0)
    end = tangent.forward(start, intervals=1, steps_per_interval=1, record="nothing")
    assert list(end.status) == [DIVERGED, RUNNING]
