"""What is no array of real numbers, no count, or no step is refused at every door, with what came and what to do."""

import datetime
from fractions import Fraction

import numpy as np
import pytest
import sympy

from dynsys import RK4, Euler, FunctionMap, InvalidInputError, SymbolicFlow, SymbolicMap, vary
from dynsys.errors import real_array, whole_number, whole_seed
from dynsys.models.activations import Tanh
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Lorenz63
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow

MASKED = np.ma.array([0.1, 0.2], mask=[False, True])
DATES = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
NOT_REAL = [
    (MASKED, "masked entries: fill them"),
    ([MASKED, [0.1, 0.2]], "masked entries"),
    ([np.ma.masked, 1.0], "masked entries"),
    (np.array([0.1, 0.2j]), "complex numbers: take .real"),
    (np.array([0.1, 0.2], dtype=np.complex64), "complex numbers"),
    ([1.0, 2j], "complex numbers"),
    (DATES, "dates: give numbers in the units of the model's time"),
    (list(DATES), "dates"),
    (np.diff(DATES).repeat(2), "time differences"),
    ([datetime.datetime(2020, 1, 1), 1.0], ""),
    ([DATES[0], 1.0], "no numbers"),
    (["0.1", "0.2"], "text: convert it by float"),
    (np.array([b"1", b"2"]), "text"),
    (np.array([0.1, None]), r"objects: convert it by .astype\(float\)"),
    (np.array([0.1, 0.2], dtype=object), "objects"),
    ([0.1, None], "no numbers"),
    ([[0.1], [0.1, 0.2]], ""),
    ([10**400, 1.0], ""),
    (np.zeros(2, dtype=[("a", float)]), "one of its columns"),
    ({"x": 1.0}, ""),
]


@pytest.mark.parametrize(("value", "reason"), NOT_REAL)
def test_what_is_not_real_is_refused(value, reason):
    with pytest.raises(InvalidInputError, match=f"(?s)^x0 must be an array of real numbers, got .*{reason}"):
        real_array("x0", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([Fraction(1, 4), sympy.Rational(1, 2)], [0.25, 0.5]),
        ([sympy.pi, 1], [np.pi, 1.0]),
        (np.ma.array([1.0, 2.0]), [1.0, 2.0]),
        ([True, False], [1.0, 0.0]),
        (np.float32([0.5]), [0.5]),
        (10**20, 1e20),
        (np.arange(3, dtype=np.uint8), [0.0, 1.0, 2.0]),
    ],
)
def test_real_numbers_of_all_kinds_are_taken(value, expected):
    found = real_array("x0", value)
    assert type(found) is np.ndarray
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def test_an_array_is_copied():
    given = np.zeros(2)
    real_array("x0", given)[0] = 1.0
    assert given[0] == 0.0


RUN = {"intervals": 12, "steps_per_interval": 2, "warmup": 1}


@pytest.mark.parametrize("value", [MASKED, np.array([0.1, 0.2j]), DATES, np.array([0.1, None])], ids=str)
def test_every_door_refuses_them(value):
    tangent = Henon().tangent(backend="numpy")
    for algorithm in ("benettin", "ginelli", "sharafi", "wolfe_samelson", "gali", "trajectory"):
        with pytest.raises(InvalidInputError, match="x0 must be an array of real numbers"):
            getattr(tangent, algorithm)(value, **RUN)
    with pytest.raises(InvalidInputError, match="x0 must be an array of real numbers"):
        Lorenz63().tangent(Euler(0.01), backend="numpy").trajectory([value, value], **RUN)
    with pytest.raises(InvalidInputError, match="matrix must be an array of real numbers"):
        LinearMap([value, value])
    with pytest.raises(InvalidInputError, match=r"X must be an array of real numbers|x must be"):
        ThreeLayerGradientFlow(value, [1.0, 2.0], hidden=1, activation=Tanh())
    with pytest.raises(InvalidInputError, match="y must be an array of real numbers"):
        ThreeLayerGradientFlow([[1.0], [2.0]], value, hidden=1, activation=Tanh())
    with pytest.raises(InvalidInputError, match="values of a must be"):
        vary(tangent, {"a": value})


@pytest.mark.parametrize("value", [1j, np.complex128(1.0), DATES[0], None, "1.0", np.ma.masked])
def test_parameters_and_steps_are_real_numbers(value):
    with pytest.raises(InvalidInputError, match="must be a finite number"):
        SymbolicMap.of({"x": "r*x"}, {"r": value})
    with pytest.raises(InvalidInputError, match="dt must be"):
        RK4(value)


ROUND = np.ma.array(np.eye(2), mask=np.eye(2))


@pytest.mark.parametrize(
    "use",
    [
        lambda: Henon().jacobian(0, MASKED),
        lambda: Henon().step(0, MASKED),
        lambda: Henon().jvp(0, np.ones(2), ROUND),
        lambda: LinearMap(np.eye(2)).jvp(0, np.ones(2), ROUND),
        lambda: SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": np.eye(2)}).jvp(0.0, np.ones(2), ROUND),
        lambda: SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": ROUND}),
        lambda: FunctionMap(lambda n, x: x / 2, 2).jvp(0, np.ones(2), ROUND),
        lambda: FunctionMap(lambda n, x, a: a @ x, 2, args=(ROUND,)),
        lambda: FunctionMap(lambda n, x, a: a * x, 1, args=(np.ma.masked,)),
        lambda: FunctionMap(lambda n, x: np.ma.array(x, mask=[True, False]), 2).step(0, np.ones(2)),
        lambda: FunctionMap(lambda n, x: x, 2, lambda n, x: ROUND).jacobian(0, np.ones(2)),
        lambda: FunctionMap(lambda n, x: x, 2, jvp=lambda n, x, V: ROUND).jvp(0, np.ones(2), np.eye(2)),
    ],
)
def test_masked_states_vectors_arguments_and_answers_are_refused(use):
    with pytest.raises(InvalidInputError, match="masked"):
        use()


def test_masks_that_hide_nothing_are_taken():
    x, V = np.ma.array([0.1, 0.2]), np.ma.array(np.eye(2))
    np.testing.assert_array_equal(Henon().jvp(0, x, V), Henon().jacobian(0, np.array([0.1, 0.2])))
    assert FunctionMap(lambda n, x: np.ma.array(x / 2), 2).step(0, x).tolist() == [0.05, 0.1]


def test_parameters_may_be_exact():
    flow = SymbolicFlow.of({"x": "a*x"}, {"a": sympy.pi})
    assert flow.vector_field(0.0, np.ones(1))[0] == np.pi


@pytest.mark.parametrize("dt", [1e-300, 5e-324, 1e-160, 0.0, -0.1, np.nan])
def test_absurd_steps_are_refused(dt):
    with pytest.raises(InvalidInputError, match="dt must be"):
        RK4(dt)


def test_a_clock_that_does_not_move_is_refused():
    with pytest.raises(InvalidInputError, match=r"t0 \+ dt are one number for dt = 0.01: begin nearer to 0"):
        Lorenz63().tangent(RK4(0.01), t0=1e20)
    assert Lorenz63().tangent(RK4(0.01), t0=1e6, backend="numpy").time(1) == 1e6 + 0.01


@pytest.mark.parametrize("count", [2**53 + 1, 2**63, 10**30])
def test_counts_beyond_what_times_tell_apart_are_refused(count):
    tangent = LinearFlow([[-1.0]]).tangent(RK4(0.1), backend="numpy")
    for name in ("intervals", "steps_per_interval", "warmup"):
        with pytest.raises(
            InvalidInputError, match=f"{name} must be a whole number >= .* at most {2**53}, got {count}"
        ):
            tangent.benettin([1.0], **{**RUN, name: count})
    assert whole_number("intervals", 2**53, 1) == 2**53
    assert whole_seed(2**100) == 2**100
    with pytest.raises(InvalidInputError, match="seed must be a whole number >= 0 and at most"):
        whole_seed(2**128)
