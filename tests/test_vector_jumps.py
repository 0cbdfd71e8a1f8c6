"""Jumps of equations in vectors: seen where there are some, in every entry, and not where there are none."""

import numpy as np
import pytest

from dynsys import SymbolicFlow

W = np.random.default_rng(0).normal(size=(4, 4))
CASES = {
    "a product": ({"x": "-x + W@sign(x)"}, ["sign(x)"]),
    "of a product": ({"x": "-x + sign(W@x)"}, ["sign(W@x)"]),
    "of a mean": ({"x": "-x + W@x + sign(mean(x) - x)"}, ["sign((mean(x)) - x)"]),
    "in a number": ({"x": "-x + W@x", "s": "-s + sum(x*Heaviside(x))+ sum(Heaviside(x))"}, ["Heaviside(x)"]),
    "in time, too": ({"x": "-x + W@x*sign(sin(t) - x)"}, ["sign(-x + sin(t))"]),
    "none: all states pass it at the same time": ({"x": "-x + W@x*sign(sin(t))"}, []),
    "none: it vanishes there": ({"x": "-x + tanh(W@x)*sign(W@x)"}, []),
    "none: cases that agree": ({"x": "-x + W@Piecewise((x, x > 0.3), (0.3, True))"}, []),
    "none: a kink": ({"x": "-x + W@Max(x, 0) + abs(x)"}, []),
}


@pytest.mark.parametrize("case", CASES)
def test_jumps_are_seen(case):
    equations, expected = CASES[case]
    flow = SymbolicFlow.of(equations, {"W": W})
    assert list(flow.jumps) == expected
    x = np.random.default_rng(1).normal(size=(3, flow.dimension))
    assert flow.sides(0.3, x).shape == (3, len(expected))
    times = np.array([0.3, 2.0, 4.0])  # of many states at once, each at a time of its own
    each = [flow.sides(t, z) for t, z in zip(times, x, strict=True)]
    np.testing.assert_array_equal(flow.sides(times, x), np.reshape(each, (3, len(expected))))


def test_every_entry_changes_sides():
    flow = SymbolicFlow.of({"x": "-x + W@sign(x)"}, {"W": W})
    x = np.array([0.5, -0.2, 0.1, 2.0])
    for i in range(4):
        other = x.copy()
        other[i] *= -1
        assert flow.sides(0.0, other) != flow.sides(0.0, x)
        other[i] *= -3
        assert flow.sides(0.0, other) == flow.sides(0.0, x)
