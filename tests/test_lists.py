"""States and vectors may be given as lists and tuples, wherever one asks a system for a velocity or a derivative."""

import numpy as np
import pytest

from dynsys import FunctionFlow, FunctionMap, GradientFlow, Map, SymbolicFlow, SymbolicMap
from dynsys.models.classics import CatMap, Henon, KuramotoSivashinsky, LinearFlow, Lorenz63, Lorenz96, StandardMap

DATA = np.linspace(0.1, 1.0, 8)
SYSTEMS = [
    SymbolicFlow.of({"x": "y", "y": "-sin(x) + t"}),
    SymbolicMap.of({"x": "r*x*(1 - x)", "y": "x"}, {"r": 3.7}),
    Lorenz63(),
    Lorenz96(),
    Henon(),
    StandardMap(),
    CatMap(),
    KuramotoSivashinsky(),
    LinearFlow([[1.0, 2.0], [3.0, 4.0]]),
    FunctionFlow(lambda t, x: [x[1], -np.sin(x[0])], 2),
    FunctionFlow(lambda t, x: [x[1], -x[0] if x[0] > 0.0 else 1.0], 2),  # which cannot be traced
    FunctionMap(lambda n, x: [x[1], 0.3 * x[0]], 2, lambda n, x: [[0.0, 1.0], [0.3, 0.0]]),
    GradientFlow.of("(y - w*x)^2", ["w"], {"x": DATA, "y": DATA**2}),
]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: type(system).__name__)
@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_are_taken_as_arrays(system, kind):
    x = 0.1 + 0.05 * np.arange(system.dimension)
    V = np.linspace(-1.0, 1.0, 2 * len(x)).reshape(len(x), 2)
    rule = system.step if isinstance(system, Map) else system.vector_field
    given, vectors = kind(x.tolist()), kind(map(kind, V.tolist()))
    np.testing.assert_array_equal(rule(0, given), rule(0, x))
    np.testing.assert_array_equal(system.jacobian(0, given), system.jacobian(0, x))
    np.testing.assert_array_equal(system.jvp(0, given, vectors), system.jvp(0, x, V))


def test_whole_numbers_are_states_too():
    assert (
        Lorenz63().vector_field(0.0, [1, 2, 3]).tolist() == Lorenz63().vector_field(0.0, np.array([1.0, 2, 3])).tolist()
    )
