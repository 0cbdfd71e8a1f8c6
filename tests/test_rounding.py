"""Columns that become parallel to rounding within an interval: said, with what to do; and no false alarm."""

import warnings

import numpy as np
import pytest

from dynsys import RK4, DiagnosticWarning, vary
from dynsys.algorithms.checks.rounding import lost_digits
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Lorenz63
from dynsys.passes.orthonormal import packed

# RK4 itself is wrong by a quarter of a per cent at these rates, and says so
pytestmark = pytest.mark.filterwarnings("ignore:.*too coarse:dynsys.DiagnosticWarning")

P = np.array([[1.0, 1.0], [0.3, 1.2]])
ANOTHER = np.array([[1.0, 1.0], [0.9, 1.0]])
COLLAPSE = r"columns became parallel to rounding within an interval.* moved exponents by \S+: "
MORE_OFTEN = COLLAPSE + r"orthonormalise more often \(fewer steps_per_interval\)"
DT = 0.02


def rates(*exponents, basis=P):
    return LinearFlow(basis @ np.diag(exponents) @ np.linalg.inv(basis))


def of_step(exponent):
    """The exponent of an RK4 step."""
    z = exponent * DT
    return np.log(1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24) / DT


def exact(run, G):
    return abs(run.exponents[..., 1] - of_step(-G)).max()


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.numba)])
@pytest.mark.parametrize(
    ("G", "basis"),
    [(20, P), pytest.param(25, P, marks=pytest.mark.slow), (30, P), (32, P), (28, ANOTHER), (24, ANOTHER)],
)
def test_a_frame_that_collapses_within_an_interval_says_so(G, basis, backend):
    tangent = rates(0.0, -G, basis=basis).tangent(RK4(DT), backend=backend)
    run = {"intervals": 40, "warmup": 60}
    with pytest.warns(DiagnosticWarning, match=MORE_OFTEN) as caught:
        found = tangent.benettin([1.0, 1.0], steps_per_interval=50, **run)
    said = float(str(caught[0].message).split("exponents by ")[1].split(":")[0])
    assert 1e-9 * G < exact(found, G) < said < 1e3 * exact(found, G)  # how much, within reason
    often = tangent.benettin([1.0, 1.0], steps_per_interval=5, **run)  # the remedy helps, and says nothing
    assert exact(often, G) < 1e-8


@pytest.mark.parametrize("G", [5, 12, 15])
def test_a_gap_that_leaves_enough_digits_is_no_alarm(G):
    found = rates(0.0, -G).tangent(RK4(DT), backend="numpy").benettin([1.0, 1.0], intervals=40, steps_per_interval=50)
    assert exact(found, G) < 1e-8 * G


@pytest.mark.parametrize("Q", [np.eye(2), np.array([[0.6, -0.8], [0.8, 0.6]])])
def test_orthogonal_directions_do_not_collapse(Q):
    tangent = rates(0.0, -30.0, basis=Q).tangent(RK4(DT), backend="numpy")
    assert exact(tangent.benettin([1.0, 1.0], intervals=40, steps_per_interval=50), 30) < 1e-9


@pytest.mark.parametrize("name", ["ginelli", "wolfe_samelson", "sharafi", "gali"])
def test_every_algorithm_on_frames_says_so(name):
    tangent, run = rates(0.0, -30.0).tangent(RK4(DT), backend="numpy"), {"intervals": 15, "steps_per_interval": 50}
    with pytest.warns(DiagnosticWarning, match=MORE_OFTEN):
        getattr(tangent, name)([1.0, 1.0], **run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(rates(0.0, -10.0).tangent(RK4(DT), backend="numpy"), name)([1.0, 1.0], **run)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("stride", [1, 5])
def test_it_is_seen_with_fewer_vectors_than_dimensions_and_in_sums(k, stride):
    basis = np.random.default_rng(0).normal(size=(3, 3))
    tangent = rates(0.0, -30.0, -31.0, basis=basis).tangent(RK4(DT), backend="numpy")
    with pytest.warns(DiagnosticWarning, match=MORE_OFTEN):
        tangent.benettin(np.ones(3), intervals=40, steps_per_interval=50, k=k, stride=stride)
    tangent.benettin(np.ones(3), intervals=40, steps_per_interval=50, k=1, stride=stride)  # the first loses nothing


def test_two_moderate_gaps_add_up():
    basis = np.random.default_rng(0).normal(size=(3, 3))
    tangent = rates(0.0, -14.0, -28.0, basis=basis).tangent(RK4(DT), backend="numpy")
    with pytest.warns(DiagnosticWarning, match=MORE_OFTEN):
        found = tangent.benettin(np.ones(3), intervals=40, steps_per_interval=50)
    assert abs(found.exponents[1] - of_step(-14)) < 1e-6 < abs(found.exponents[2] - of_step(-28))


def test_members_are_counted():
    tangent = LinearMap(P @ np.diag([1.0, 1e-3]) @ np.linalg.inv(P)).tangent(backend="numpy")
    with pytest.warns(DiagnosticWarning, match=r"fewer steps_per_interval\) \(3 of 3 members\)"):
        tangent.benettin(np.ones((3, 2)), intervals=40, steps_per_interval=4)
    tangent.benettin(np.ones((3, 2)), intervals=40, steps_per_interval=2)


def test_a_map_that_contracts_within_one_step_is_told_another_remedy():
    tangent = LinearMap(P @ np.diag([1.0, 1e-13]) @ np.linalg.inv(P)).tangent(backend="numpy")
    with pytest.warns(DiagnosticWarning, match=COLLAPSE + r"follow fewer vectors \(k\), or shorten dt"):
        found = tangent.benettin([1.0, 1.0], intervals=100)
    assert 1e-6 < abs(found.exponents[1] - np.log(1e-13)) < 0.1


@pytest.mark.parametrize("b", [1e-5, 1e-9])
def test_errors_that_differ_from_interval_to_interval_are_in_the_error_bar(b):
    """The determinant of Henon's map is -b: the sum is known, and right far within the bar."""
    found = Henon(a=1.6, b=b).tangent(backend="numpy").benettin([0.1, 0.1], intervals=3000)
    assert abs(found.exponents.sum() - np.log(b)) < 1e-4 * found.standard_error[0]


def test_rotations_and_shears_are_no_alarm():
    for A in ([[0.0, 1.0], [-1.0, 0.0]], [[0.0, 1e3], [-1e-3, 0.0]], [[0.0, 1.0], [0.0, 0.0]], np.zeros((2, 2))):
        LinearFlow(A).tangent(RK4(0.01), backend="numpy").benettin([1.0, 1.0], intervals=64, steps_per_interval=7)


def test_varied_members_are_judged_singly():
    flow = vary(Henon().tangent(backend="numpy"), {"b": [0.3, 0.2]})
    flow.benettin([[0.1, 0.1]] * 2, intervals=100)


def test_lost_digits_are_the_sine_of_the_angle():
    R = np.array([[2.0, 3.0, 1e200], [0.0, 4.0, 1e200], [0.0, 0.0, 1e190]])
    np.testing.assert_allclose(lost_digits(packed(R)), [1.0, 1.25, np.sqrt(2) * 1e10], rtol=1e-12)


@pytest.mark.parametrize("dt", [1e-15, 1e-20, 1e-100])
def test_a_step_that_is_lost_in_rounding_says_so(dt):
    tangent = Lorenz63().tangent(RK4(dt), backend="numpy")
    with pytest.warns(DiagnosticWarning, match="is lost in rounding: .* lengthen dt"):
        found = tangent.benettin([1.0, 2.0, 20.0], intervals=40)
    assert abs(found.exponents).max() < 1e3 * np.finfo(float).eps / dt


def test_a_short_step_that_still_moves_something_is_right():
    """The exponents of so short a time are the growth rates of the frame that one Jacobian gives."""
    tangent = LinearFlow(np.diag([0.5, -2.0])).tangent(RK4(1e-9), backend="numpy")
    found = tangent.benettin([1.0, 1.0], intervals=40, warmup=0)
    assert found.exponents.sum() == pytest.approx(-1.5, abs=1e-6)
    LinearFlow(np.diag([5e6, -2e7])).tangent(RK4(1e-9), backend="numpy").benettin([0.0, 0.0], intervals=40)
