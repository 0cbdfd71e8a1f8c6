"""The finite-time field against exact singular values, determinants, and differences of the flow map."""

import attrs
import mpmath
import numpy as np
import pytest

from dynsys import RK4, InvalidInputError, SymbolicFlow, SymbolicMap, ftle_field
from dynsys.algorithms.differences import finite_difference
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Logistic, Lorenz63

GYRE = SymbolicFlow.of(
    {"x": "-pi*A*sin(pi*f)*cos(pi*y)".replace("f", "(e*sin(w*t)*x**2 + (1 - 2*e*sin(w*t))*x)"),
     "y": "pi*A*cos(pi*f)*sin(pi*y)*(2*e*sin(w*t)*x + 1 - 2*e*sin(w*t))".replace(
         "f", "(e*sin(w*t)*x**2 + (1 - 2*e*sin(w*t))*x)")},
    {"A": 0.1, "e": 0.25, "w": 0.6283185307179586},
)  # fmt: skip


def singular_values(matrix, power):
    """Logarithms of the largest and smallest singular value of a power of a matrix, in 800 digits."""
    with mpmath.workdps(800):
        found = mpmath.svd_r(mpmath.matrix(matrix.tolist()) ** power, compute_uv=False)
        return float(mpmath.log(max(found))), float(mpmath.log(min(found)))


@pytest.mark.parametrize("steps", [1, 7, 40, 503])
def test_singular_values_of_a_power_of_a_matrix_that_is_not_normal(steps):
    A = np.array([[3.0, 10.0, -4.0], [0.0, 1.1, 25.0], [0.1, 0.0, 0.2]])  # s_1 of its 503rd power is about 1e340
    grid = {2: [0.0], 0: [0.0]}
    field = ftle_field(LinearMap(A).tangent(backend="numpy"), grid, at=np.zeros(3), steps=steps)
    largest, smallest = singular_values(A, steps)
    assert abs(steps * float(field.largest_exponent[0, 0]) - largest) < 1e-10
    assert abs(steps * float(field.smallest_exponent[0, 0]) - smallest) < 1e-7
    assert steps < 500 or largest > np.log(np.finfo(float).max)


def test_intervals_do_not_matter_and_need_not_divide_the_steps():
    A = LinearFlow([[0.3, 8.0], [-0.2, -0.4]]).tangent(RK4(0.1), backend="numpy")
    options = {"grid": {0: [1.0]}, "at": np.ones(2), "steps": 101}
    one, ten, all_at_once = (ftle_field(A, steps_per_interval=n, **options) for n in (1, 10, 500))
    for name in ("largest_exponent", "smallest_exponent"):
        np.testing.assert_allclose(one[name], ten[name], rtol=1e-11)
        np.testing.assert_allclose(one[name], all_at_once[name], rtol=1e-11)
    assert one.time == 101 * 0.1


@pytest.mark.parametrize("t0", [0.0, 2.5])
def test_field_of_the_double_gyre_is_that_of_differences_of_the_flow_map(t0):
    tangent = GYRE.tangent(RK4(0.1), t0=t0, backend="numpy")
    xs, ys, steps = [0.3, 0.9, 1.4], [0.2, 0.7], 25
    field = ftle_field(tangent, {"x": xs, "y": ys}, at=[0.0, 0.0], steps=steps)
    assert field.largest_exponent.dims == ("x", "y")

    def moved(points):
        for n in range(steps):
            points = tangent.time_step.step(n, points)
        return points

    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            M = finite_difference(moved, np.array([x, y]), np.eye(2))
            s = np.linalg.svd(M, compute_uv=False)
            found = field.largest_exponent[i, j], field.smallest_exponent[i, j]
            np.testing.assert_allclose(found, np.log(s) / (steps * 0.1), rtol=0, atol=1e-9)


def test_map_of_determinant_b_has_exponents_that_sum_to_its_logarithm_and_what_collapses_is_marked():
    grid = {"y": [0.0], "x": [0.1, 50.0, 0.2]}
    field = ftle_field(Henon().tangent(backend="numpy"), grid, at=[0.0, 0.0], steps=30)
    assert field.status.values.tolist() == [[0, 2, 0]]  # on the way to infinity the columns of M become parallel
    assert np.isnan(field.largest_exponent.values).tolist() == [[False, True, False]]
    total = (field.largest_exponent + field.smallest_exponent).values[0, [0, 2]]
    np.testing.assert_allclose(total, np.log(0.3), rtol=1e-12)
    alone = ftle_field(Henon().tangent(backend="numpy"), grid | {"x": [0.2]}, at=[0.0, 0.0], steps=30)
    assert alone.largest_exponent.values == field.largest_exponent.values[0, 2]


def test_what_diverges_is_marked():
    field = ftle_field(Logistic().tangent(backend="numpy"), {"x": [0.3, 2.0]}, at=[0.0], steps=20)
    assert field.status.values.tolist() == [0, 1]
    assert np.isnan(field.largest_exponent.values).tolist() == [False, True]
    assert field.largest_exponent.values[0] == field.smallest_exponent.values[0]


def test_singular_map_is_marked():
    flat = SymbolicMap.of({"x": "x + y", "y": "0*x"}).tangent(backend="numpy")
    field = ftle_field(flat, {"x": [1.0]}, at=[0.0, 0.0], steps=3)
    assert field.status.values.tolist() == [2]
    assert np.isnan(field.largest_exponent).all()


@pytest.mark.numba
def test_blocks_and_threads_do_not_change_a_bit(monkeypatch):
    tangent = Lorenz63().tangent(RK4(0.01))
    grid, rest = {"x": np.linspace(-9, 9, 7), "z": np.linspace(10, 30, 5)}, {"at": [0.0, 1.0, 0.0], "steps": 95}
    field = ftle_field(tangent, grid, **rest)
    assert float(field.y) == 1.0
    assert field.attrs == {"t0": 0.0, "dt": 0.01, "steps": 95, "time": 95 * 0.01}
    monkeypatch.setattr("dynsys.ensembles.field.BLOCK_NUMBERS", 9 * 4)
    reports = []
    blocks = ftle_field(attrs.evolve(tangent, threads=3), grid, progress=lambda *done: reports.append(done), **rest)
    assert field.identical(blocks)
    assert reports == [(n, 35) for n in (*range(4, 35, 4), 35)]
    by_numpy = ftle_field(Lorenz63().tangent(RK4(0.01), backend="numpy"), {"x": [-9.0], "z": [15.0]}, **rest)
    np.testing.assert_allclose(by_numpy.largest_exponent, field.largest_exponent[:1, 1:2], rtol=1e-9)


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ({}, "components with their values"),
        ({"z": [0.0]}, "unknown component 'z' of the grid: choose among x, y, or 0 to 1"),
        ({2: [0.0]}, "choose among x, y"),
        ({"x": [0.0], 0: [1.0]}, "must differ"),
        ({"x": [0.0], np.int64(0): [1.0]}, "must differ"),
        ({"x": [[0.0]]}, "1-D"),
        ({"x": [np.nan]}, "finite"),
    ],
)
def test_wrong_grids_are_refused(grid, text):
    with pytest.raises(InvalidInputError, match=text):
        ftle_field(Henon().tangent(backend="numpy"), grid, at=[0.0, 0.0], steps=3)


def test_wrong_base_state_is_refused():
    with pytest.raises(InvalidInputError, match=r"shape \(2,\)"):
        ftle_field(Henon().tangent(backend="numpy"), {"x": [0.0]}, at=[0.0], steps=3)


def test_components_that_are_called_like_variables_get_an_underscore():
    saddle = SymbolicFlow.of({"status": "-status", "largest_exponent": "largest_exponent"})
    tangent = saddle.tangent(RK4(0.1), backend="numpy")
    field = ftle_field(tangent, {"status": [0.0, 1.0]}, at=[0.0, 2.0], steps=10)
    assert field.largest_exponent.dims == ("status_",)
    assert field.largest_exponent_ == 2.0
    np.testing.assert_allclose(field.largest_exponent, 1.0, rtol=1e-6)
