"""The loops that the project is measured against compute the same thing, and the measurements run."""

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from benchmarks import sharafi, steppers, taylor
from benchmarks.flows import lorenz96
from benchmarks.handwritten import (
    lorenz63_slope,
    lorenz96_slope,
    lorenz96_velocity,
    relu,
    rk4_loop,
    tanh,
    three_layer_loops,
)
from benchmarks.measure import Contestant, family_time, race, table
from benchmarks.medium import EVERY, Case, cases
from benchmarks.memory import run as recorded_run
from benchmarks.memory import vectors_formula
from benchmarks.vectors import neutral_angles, residuals
from benchmarks.wide import velocity
from dynsys import RK4, Euler, FlowStep, Map, NumbaTangent, NumpyTangent, RunState
from dynsys.models.activations import ReLU, Tanh
from dynsys.models.classics import Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task


@pytest.mark.slow
def test_lorenz63_loop_agrees():
    tangent = NumbaTangent(FlowStep(Lorenz63(), RK4(0.01)), threads=1)
    start = RunState.start(np.array([1.0, 1.0, 20.0]), 3, 3, seed=0)
    end = tangent.forward(start, intervals=20, steps_per_interval=10, record="growth")
    x, growth = rk4_loop(lorenz63_slope, 3, 3)(start.x[0], start.Q[0], 20, 10, 0.01)
    np.testing.assert_allclose(x, end.x[0], rtol=1e-9)
    np.testing.assert_allclose(growth, end.growth[0], atol=1e-9)


@pytest.mark.slow
def test_lorenz96_loop_agrees():
    flow, x0 = lorenz96(5), 8.0 + 0.1 * np.arange(5)
    start = RunState.start(x0, 5, 2, seed=0)
    end = NumpyTangent(FlowStep(flow, RK4(0.02))).forward(start, intervals=20, steps_per_interval=10, record="growth")
    growth = rk4_loop(lorenz96_slope, 5, 2)(start.x[0], start.Q[0], 20, 10, 0.02)[1]
    np.testing.assert_allclose(growth, end.growth[0], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("case", list(cases(quick=True)), ids=lambda case: case.name)
def test_loops_of_medium_systems_agree(case):
    tangent = case.system.tangent(*[RK4(0.01)] * (not isinstance(case.system, Map)), backend="numpy")
    start = RunState.start(np.atleast_2d(case.x0)[0], case.system.dimension, case.k, seed=0)
    # 20 steps: maps double a difference in each
    end = tangent.forward(start, intervals=2, steps_per_interval=EVERY, record="growth")
    x, growth = case.looped(start.x[0], start.Q[0], 2)
    np.testing.assert_allclose(x, end.x[0], rtol=1e-9)
    np.testing.assert_allclose(growth, end.growth[0], atol=1e-9)


def test_multiply_adds_of_vectors():
    # Lorenz 1996 has four entries in each row of the Jacobian: 4 x 4 + 7 for each entry of the frame, 5 x 2, and
    # Gram-Schmidt's 5 x 2 x 3 once in ten steps
    five = Case("", lorenz96(5), np.zeros(5), 2, lambda: None)
    assert five.multiply_adds == pytest.approx(10 * (16 + 7) + 30 / EVERY)


def test_taylor_series_of_lorenz63_and_its_tangent():
    x, M = taylor.lorenz63([1.0, 2.0, 20.0], 0.25)
    assert np.log(np.linalg.det(M)) == pytest.approx(-(10 + 1 + 8 / 3) * 0.25, abs=1e-12)  # the trace, exactly
    path, V = np.array([1.0, 2.0, 20.0]), np.eye(3)
    for n in range(1024):
        path, V = RK4(1 / 4096).step_tangent(Lorenz63(), n, 0.0, path, V)
    np.testing.assert_allclose(x, path, rtol=1e-11)
    np.testing.assert_allclose(M, V, rtol=1e-11, atol=1e-11)


def test_figure_of_work_and_precision(tmp_path):
    rows = [(curve, f"{curve}(1)", 1e-9, 10.0 ** -(i + 3), 10.0 + i) for i, curve in enumerate(steppers.CURVES)]
    steppers.draw([*rows, *rows], tmp_path)
    assert (tmp_path / "steppers.png").stat().st_size > 10_000
    assert len((tmp_path / "steppers.csv").read_text().splitlines()) == 1 + 2 * len(rows)


def test_lorenz96_velocities_agree():
    x = 8.0 + np.random.default_rng(0).normal(size=11)
    exact, f = lorenz96(11).vector_field(0.0, x), np.empty(11)
    lorenz96_velocity(x.copy(), f, 3)
    np.testing.assert_allclose(f, exact, rtol=1e-13)
    np.testing.assert_allclose(velocity(x), exact, rtol=1e-13)


@pytest.mark.parametrize(
    ("activation", "loop"),
    [pytest.param(ReLU(), relu, id="relu"), pytest.param(Tanh(), tanh, id="tanh")],
)
@pytest.mark.slow
def test_network_loops_agree(activation, loop):
    X, y = regression_task(samples=100)
    flow = ThreeLayerGradientFlow(X, y, hidden=2, activation=activation)
    sgd = flow.minibatches(32, seed=3)
    start = RunState.start(flow.initial(members=3, biases="random", seed=1), 9, None, seed=2)
    tangent = NumpyTangent(FlowStep(sgd, Euler(1e-3)))
    end = tangent.forward(start, intervals=10, steps_per_interval=20, record="growth")
    given, drawing = three_layer_loops(loop, 2)
    for m in range(3):
        w, growth = given(start.x[m], start.Q[m], X, y, sgd.rows(0, 200), 1e-3, 20)
        np.testing.assert_allclose(w, end.x[m], rtol=1e-9)
        np.testing.assert_allclose(growth, end.growth[m], atol=1e-9)
    # other batches: the same descent up to their noise, so only the scale of the growth is compared
    other = drawing(start.x[0], start.Q[0], X, y, 32, 200, 1e-3, 20, 0)[1]
    assert np.abs(other.sum(axis=0) - end.growth[0].sum(axis=0)).max() < 0.2 * np.abs(end.growth[0].sum(axis=0)).max()


@pytest.mark.slow
def test_drawing_takes_every_sample_once_an_epoch():
    # batches of all samples are full-batch descent, in whatever order
    X, y = regression_task(samples=64)
    flow = ThreeLayerGradientFlow(X, y, hidden=2, activation=Tanh())
    start = RunState.start(flow.initial(seed=1), 9, None, seed=2)
    end = NumpyTangent(FlowStep(flow, Euler(1e-3))).forward(start, intervals=2, steps_per_interval=20, record="growth")
    growth = three_layer_loops(tanh, 2)[1](start.x[0], start.Q[0], X, y, 64, 40, 1e-3, 20, 7)[1]
    np.testing.assert_allclose(growth, end.growth[0], atol=1e-9)


def test_rounds_are_interleaved():
    calls = []
    race([Contestant("a", lambda: calls.append("a"), 1), Contestant("b", lambda: calls.append("b"), 1)], 2)
    assert "".join(calls) == "abab" + "ab"  # a first call of each, then two rounds


def test_time_of_workers_is_counted():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(sum, range(10)).result()  # it has begun
        before = family_time()
        pool.submit(sum, range(10**7)).result()
        assert family_time() - before > 0.01
        before = family_time()
        pool.submit(time.sleep, 0.2).result()
        assert not Path("/proc/self/stat").exists() or family_time() - before < 0.1


def test_recorded_run_finishes():
    found = recorded_run(members=2, steps=390)
    assert (found["steps"], found["finished"]) == (400, 2)  # whole intervals
    assert 0.05 < found["peak"] < 4.0


def test_vectors_formula():
    # 2 intervals of a frame 3 x 2 and a triangle of 3 numbers, a tail of 5 triangles, 8 bytes each
    assert vectors_formula(window=2, tail=5, dim=3, k=2) == 8 * (2 * (6 + 3) + 5 * 3)


def test_errors_of_vectors_are_seen():
    tangent = Lorenz63().tangent(RK4(0.01))
    clvs = tangent.ginelli([1.0, 1.0, 20.0], intervals=300, warmup=2500, tail=2500)
    states, V = clvs.states, clvs.vectors
    assert neutral_angles(states, V).max() < 1e-3
    assert residuals(tangent, states, V).max() < 1e-12
    across = np.cross(V[:, :, 0], V[:, :, 1])[..., None]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    turned = np.cos(np.radians(2.0)) * V + np.sin(np.radians(2.0)) * across
    np.testing.assert_allclose(neutral_angles(states, turned), 2.0, atol=1e-3)
    assert np.median(residuals(tangent, states[1:], V[:-1])) > 1e-3  # vectors that stand a step too late
    with pytest.raises(AssertionError, match="do not meet"):
        residuals(tangent, states[::2], V[::2])


@pytest.mark.parametrize(
    ("section", "row", "times"),
    [
        ("machine", "Machine: ", 1),
        ("lorenz63", "| dynsys |", 2),
        pytest.param("medium", "| Kuramoto, 4, 4 |", 1, marks=pytest.mark.slow),
        pytest.param("sizes", "| 17 |", 1, marks=pytest.mark.slow),
        pytest.param("factorisation", "| 40, 10 |", 2, marks=pytest.mark.numba),
        pytest.param("startup", "| Lorenz 1963, as text |", 1, marks=pytest.mark.slow),
        pytest.param("steppers", "| `RK4(dt=0.001)` |", 1, marks=pytest.mark.slow),
        pytest.param("descent", "| state, compiled |", 2, marks=pytest.mark.slow),
        pytest.param("lorenz96-wide", "| step with 3 vectors, ", 2, marks=pytest.mark.slow),
        pytest.param("vectors", "| dynsys |", 2, marks=pytest.mark.slow),
        pytest.param("vectors-memory", "| 200 |", 1, marks=pytest.mark.slow),
        pytest.param("ensembles", "| the same bits |", 4, marks=pytest.mark.slow),
        pytest.param("coverage", "| Kepler, e = 0.6 |", 2, marks=pytest.mark.slow),
        pytest.param("training", "| MLP 784-100-10, batch 8 |", 4, marks=[pytest.mark.slow, pytest.mark.torch]),
    ],
)
def test_command_runs(section, row, times):
    if section == "training":
        pytest.importorskip("torch")
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", section],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(row) == times
    if section == "vectors":
        for peer in ("pynamicalsys", "clvlib", "lyapynov", "qgs"):
            assert f"| {peer} " in done.stdout or f"Skipped {peer}: " in done.stdout
    if section == "training":
        for peer in ("curvlinops", "pyhessian", "deep-lyapunov"):
            assert f"| {peer} " in done.stdout.lower() or f"Skipped {peer}: " in done.stdout


def test_sections_of_the_page_are_written_anew(tmp_path, capsys):
    from benchmarks.page import printed, with_section

    with printed() as text:
        sys.stdout.write("## Title\n\nFigure: there.png\n\n")
        table(["a"], [[1]])
    assert "| 1 |" in capsys.readouterr().out
    page = "before\n<!-- machine -->\nold\n<!-- /machine -->\nafter\n"
    once = with_section(page, "machine", "".join(text))
    written = "## Title\n\n| a |\n| --- |\n| 1 |"
    assert once == f"before\n<!-- machine -->\n\n{written}\n\n<!-- /machine -->\nafter\n"
    assert with_section(once, "machine", "".join(text)) == once
    with pytest.raises(ValueError, match="once each"):
        with_section(page, "medium", "")


def test_the_page_has_every_section():
    from benchmarks.__main__ import SECTIONS
    from benchmarks.page import with_section

    page = (Path(__file__).parents[1] / "docs" / "benchmarks.md").read_text("utf-8")
    for name in (*SECTIONS, "training"):
        assert len(with_section(page, name, "")) < len(page)


@pytest.mark.torch
def test_training_is_timed_on_the_networks_that_are_named():
    pytest.importorskip("torch")
    from benchmarks.training import multiply_adds
    from benchmarks.training_models import cases

    found = cases(2, 1)
    assert [case.weights for case in found.values()] == [79_510, 99_550, 210_368, 990_150]
    # forward, gradients of the weights, and in the second layer of the hidden units; and twice that in the latter
    assert multiply_adds(found["MLP"]) == (2 * 78_400 + 6 * 1_000) / (2 * 78_400 + 3 * 1_000)


@pytest.mark.torch
def test_a_pair_of_trainings_agrees_with_the_monitor():
    torch = pytest.importorskip("torch")
    from benchmarks.training_models import images
    from benchmarks.training_peers import by_monitor, by_pair, network

    X, y = images(256)
    with torch.random.fork_rng():
        tangent = by_monitor(network().double(), X.double(), y, epochs=5)
        pair = by_pair(X.double(), y, epochs=5)
    assert abs(tangent - pair) < 1e-5 < abs(tangent)


def test_errors_of_sharafis_estimates_are_measured_and_drawn(tmp_path, monkeypatch, capsys):
    few = [scene for scene in sharafi.scenes(quick=True) if scene.name in ("Lorenz 1963", "random cocycle")]
    monkeypatch.setattr(sharafi, "scenes", lambda quick: few)
    sharafi.sharafi(1, quick=True, folder=tmp_path)
    assert capsys.readouterr().out.count("| 10 |") >= 4  # a table for each reliable vector but the first
    assert (tmp_path / "sharafi.png").stat().st_size > 10_000
    angles, determined, gap = sharafi.errors(few[1])
    assert determined.all()
    np.testing.assert_allclose(gap[0, 1:], np.log([4 / 3, 3 / 2, 2 / 1]), rtol=0.2)
    lagged, periodic = (np.median(angles[name], axis=(1, 2)) for name in (next(iter(angles)), "periodic window"))
    assert (lagged[1, 1:] < 0.2 * lagged[0, 1:]).all()  # windows of 1 and 10
    assert (periodic[1, 1:] > 1.0).all()
