"""The result answers for the system: cases in which numbers were wrong and nothing said so, each on both sides.

Kinds have files of their own (differences, jumps, representation, finite, error bars, rest, rounding, doors,
continuing); here are whole runs that several of them make right.
"""

import warnings

import numpy as np
import pytest

from dynsys import (
    RK4,
    DiagnosticWarning,
    FunctionFlow,
    FunctionMap,
    Leapfrog,
    PoincareMap,
    StroboscopicMap,
    SymbolicFlow,
    SymbolicMap,
)

RELAY = {"x": "y", "y": "-x - 0.6*y + sign(y)"}


@pytest.mark.parametrize(
    "rule",
    [
        lambda n, x: (3 * x) % 1.0,
        lambda n, x: 3 * x - np.floor(3 * x),
        lambda n, x: np.where(x < 1 / 3, 3 * x, np.where(x < 2 / 3, 3 * x - 1, 3 * x - 2)),
        lambda n, x: [1.0 - abs(1.0 - (3 * x[0]) % 2.0)],
    ],
)
def test_maps_that_jump_have_the_slope_of_their_branches_and_no_velocity(rule):
    traced = FunctionMap(rule, 1)
    spectrum = traced.tangent(backend="numpy").benettin([0.1234], intervals=1000)
    assert traced.derivative == "traced"
    assert spectrum.exponents[0] == pytest.approx(np.log(3.0), rel=1e-12)
    assert spectrum.diagnostics.crossed == ""


@pytest.mark.parametrize("drive", ["floor(t)", "Mod(t, 2)", "sign(sin(3*t))", "2*Heaviside(cos(t)) - Mod(t, 1)^2"])
def test_jumps_of_a_drive_do_nothing_to_the_tangent_and_raise_no_alarm(drive):
    flow = SymbolicFlow.of({"x": "y", "y": f"-x - 0.2*y + {drive}"})
    spectrum = flow.tangent(RK4(0.05), backend="numpy").benettin([0.3, 0.1], intervals=300, steps_per_interval=4)
    assert flow.jumps == ()
    np.testing.assert_allclose(spectrum.exponents.sum(), -0.2, atol=1e-6)
    assert (np.abs(spectrum.exponents + 0.1) < 2 * spectrum.standard_error).all()


def test_a_relay_that_a_drive_switches_at_the_state_is_told():
    flow = SymbolicFlow.of({"x": "-x + 2*sign(sin(t) - x)"})
    with pytest.warns(DiagnosticWarning, match=r"jumps where sign\(-x \+ sin\(t\)\) does"):
        flow.tangent(RK4(0.02), backend="numpy").benettin([0.3], intervals=200, steps_per_interval=4)


def test_a_relay_between_its_jumps_has_the_multiplier_of_the_closed_form():
    """x'' = -x - 0.6 x' + sign(x') returns to x' = 0 after 2 pi / sqrt(1 - 0.09): -0.3 of that is the exponent."""
    returns = PoincareMap(SymbolicFlow.of(RELAY), RK4(0.05), normal=[0.0, 1.0]).tangent(backend="numpy")
    spectrum = returns.benettin([2.0], intervals=20, warmup=2)
    assert spectrum.exponents[0] == pytest.approx(-0.6 * np.pi / np.sqrt(1 - 0.09), abs=2e-4)


def test_a_stroboscopic_map_of_a_relay_tells_its_jumps():
    looks = StroboscopicMap(SymbolicFlow.of(RELAY), RK4(0.05), 10)
    with pytest.warns(DiagnosticWarning, match=r"jumps where sign\(y\) does"):
        looks.tangent(backend="numpy").benettin([0.5, 0.5], intervals=60)


@pytest.mark.slow  # differences in every stage of every step
@pytest.mark.filterwarnings("ignore:FunctionFlow gives neither:dynsys.FallbackWarning")
def test_a_relay_that_cannot_be_traced_misses_its_neutral_exponent():
    def relay(t, x):
        return [x[1], -x[0] - 0.6 * x[1] + (1.0 if x[1] > 0 else -1.0)]

    with pytest.warns(DiagnosticWarning, match=r"1 exponent\(s\) should vanish and do not: .*the velocity jumps"):
        FunctionFlow(relay, 2).tangent(RK4(0.05)).benettin([0.1, 0.2], intervals=400, steps_per_interval=5)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize("steps", [150, 1200])
def test_cells_with_kinks_say_that_their_step_is_too_coarse_where_it_is(steps):
    """Right is 0.094 +- 0.004, 0; a step of 1/150 of the period gives 0.165, -0.064 +- 0.003."""
    h = {v: f"((abs({v} + 1) - abs({v} - 1))/2)" for v in "xyz"}
    cells = SymbolicFlow.of(
        {
            "x": f"-x + 1.24*{h['x']} - 3.21*{h['y']} - 3.21*{h['z']}",
            "y": f"-y - 3.21*{h['x']} + 1.1*{h['y']} - 4.4*{h['z']}",
            "z": f"-z - 3.21*{h['x']} + 4.4*{h['y']} + {h['z']}",
        }
    )
    tangent = cells.tangent(RK4(3.2 / steps))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        spectrum = tangent.benettin([-0.27, -0.37, -0.07], intervals=100_000, steps_per_interval=10)
    if steps == 1200:
        assert abs(spectrum.exponents[0] - 0.094) < 3 * (spectrum.standard_error[0] + 0.004)
        assert not said
    else:
        assert abs(spectrum.exponents[0] - 0.094) > 10 * spectrum.standard_error[0]
        assert "should vanish is 0.06" in str(said[0].message)
        assert "the step is too coarse" in str(said[0].message)


@pytest.mark.slow
@pytest.mark.parametrize("e", [0.3, 0.6, 0.8])
def test_ellipses_of_kepler_raise_no_alarm(e):
    """All exponents vanish, by any symplectic step; near the sun a step of 0.01 moves growth by O(1), not rates."""
    flow = SymbolicFlow.of({"x": "u", "y": "v", "u": "-x/(x^2 + y^2)^1.5", "v": "-y/(x^2 + y^2)^1.5"})
    start = [1.0 - e, 0.0, 0.0, np.sqrt((1.0 + e) / (1.0 - e))]
    spectrum = flow.tangent(Leapfrog(0.01), backend="numpy").benettin(start, intervals=500, steps_per_interval=20)
    assert (np.abs(spectrum.exponents) < 4 * spectrum.standard_error).all()


def test_orbits_that_lose_their_digits_are_told_so():
    """Slopes 2 and 4 on branches of half and quarters: right is 1.5 ln 2; a floating-point orbit ends on 0."""
    steep = SymbolicMap.of({"x": "Piecewise((2*x, x < 1/2), (4*x - 2, x < 3/4), (4*x - 3, True))"})
    with pytest.warns(DiagnosticWarning, match=r"fell on the fixed point x = \(0\), which is unstable"):
        spectrum = steep.tangent(backend="numpy").benettin([0.1234], intervals=300, warmup=100)
    assert spectrum.exponents[0] == pytest.approx(np.log(2.0))
    noisy = FunctionMap(lambda n, x: np.where(x < 0.5, 2 * x, 4 * x % 1.0) % 1.0 * (1 - 1e-12) + 5e-13, 1)
    spectrum = noisy.tangent(backend="numpy").benettin([0.1234], intervals=4000)
    assert abs(spectrum.exponents[0] - 1.5 * np.log(2.0)) < 3 * spectrum.standard_error[0] < 0.1


@pytest.mark.parametrize("error", [0.0, 3e-9])
def test_a_tangent_as_accurate_as_good_differences_is_no_false_one(error):
    def henon(n, x):
        return [1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]]

    def jvp(n, x, V):
        return np.array([(1 + error) * -2.8 * x[0] * V[0] + V[1], (1 - error) * 0.3 * V[0]])

    spectrum = FunctionMap(henon, 2, jvp=jvp).tangent(backend="numpy").benettin([0.1, 0.1], intervals=500)
    assert spectrum.diagnostics.derivative_defect < 1e-6
