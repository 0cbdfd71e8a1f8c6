"""Runs that come to rest: whether a finer step would have come there, too, is said; and nothing where it would."""

import warnings

import numpy as np
import pytest

from dynsys import RK4, DiagnosticWarning, DormandPrince, Euler, FunctionFlow, ImplicitMidpoint, SymbolicFlow
from dynsys.models.classics import LinearFlow, Lorenz63

THROWN = "the step is too coarse: between t = .* it moves the state by .* to where it then comes to rest; shorten dt"

# a limit cycle while z is small, and z decays at the rate 100; where |z| > 1 it stays as it is, and the cycle dies out
TRAPPED = SymbolicFlow.of(
    {
        "x": "-y + x*(1 - 2*z^2 - x^2 - y^2)",
        "y": "x + y*(1 - 2*z^2 - x^2 - y^2)",
        "z": "-100*z*Max(0, 1 - z^2)",
    }
)
X0 = [0.1, 0.2, 0.3]
RUN = dict(intervals=100, steps_per_interval=10)


def test_a_step_that_throws_the_state_to_where_it_rests_is_told():
    with pytest.warns(DiagnosticWarning, match=THROWN):
        thrown = TRAPPED.tangent(Euler(0.05), backend="numpy").benettin(X0, **RUN)
    assert thrown.regime == "at rest"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fine = TRAPPED.tangent(Euler(0.01), backend="numpy").benettin(X0, k=1, **RUN)
    assert fine.regime != "at rest"
    assert not any("rest" in str(one.message) for one in said)


def test_members_that_are_thrown_are_counted():
    starts = np.array([X0, [0.1, 0.2, 1.5], [0.3, 0.1, -1.2]])  # the others begin where the cycle dies out
    with pytest.warns(DiagnosticWarning, match=THROWN + r" \(1 of 3 members\)"):
        TRAPPED.tangent(Euler(0.05), backend="numpy").benettin(starts, **RUN)


def unforced(t, x):
    return [x[1], -np.sin(x[0]) - 0.5 * x[1]]


@pytest.mark.parametrize(
    ("flow", "stepper", "x0"),
    [
        (FunctionFlow(unforced, 2), RK4(0.2), [1.0, 0.5]),
        (FunctionFlow(unforced, 2), RK4(0.3), [3.0, 2.0]),  # over the top once
        (FunctionFlow(unforced, 2), ImplicitMidpoint(0.2), [1.0, 0.5]),
        (FunctionFlow(unforced, 2), DormandPrince(0.2, rtol=1e-6), [1.0, 0.5]),
        (LinearFlow([[-1.0, 8.0], [0.0, -20.0]]), RK4(0.05), [1.0, 1.0]),
        (Lorenz63(rho=0.5), RK4(0.05), [1.0, 1.0, 1.0]),
    ],
)
def test_a_run_that_comes_to_rest_is_not_told_so(flow, stepper, x0):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = flow.tangent(stepper, backend="numpy").benettin(x0, k=1, **RUN)
    assert found.regime == "at rest"
    assert not any("moves the state" in str(one.message) for one in said)
