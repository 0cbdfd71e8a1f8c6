"""Whatever stands for a number or an array: the result of the plain float64 array, or a refusal that names it."""

import datetime
import subprocess
import sys
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from dynsys import (
    RK4,
    Adam,
    DormandPrince,
    Euler,
    FunctionFlow,
    FunctionMap,
    GradientFlow,
    ImplicitMidpoint,
    InvalidInputError,
    Leapfrog,
    PoincareMap,
    SymbolicFlow,
    ftle_field,
    sweep,
    vary,
)
from dynsys.error_bars import batch_means_error, drift
from dynsys.errors import DynsysError, real, real_array, whole_number
from dynsys.indicators import angle_density, angles, cosines, finite_time_exponents, line_distance, principal_angles
from dynsys.models.activations import Tanh
from dynsys.models.classics import CatMap, Henon, LinearFlow, LinearMap, Lorenz63, StandardMap
from dynsys.models.networks.losses import CrossEntropy
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow
from dynsys.results.dimensions import entropy_bound, kaplan_yorke_dimension
from dynsys.steppers.stepper import Tableau
from dynsys.testing import check_system

HENON = Henon().tangent(backend="numpy")
RUN = {"intervals": 2, "warmup": 0}
FLOW, SPRING = LinearFlow([[0.0, 1.0], [-1.0, 0.0]]), SymbolicFlow.of({"q": "p", "p": "-q"})
LOSS = GradientFlow.of("h*w^2/2", ["w"], {"h": [1.0, 2.0]})


class Unit(np.ndarray):
    """An array with a unit, as of astropy and unyt."""

    unit = "m"


class Rude:
    """What has an error of its own, whatever it is asked."""

    def __array__(self, *args, **options):
        raise RuntimeError("no array")

    def __float__(self):
        raise OSError("no float")

    def __index__(self):
        raise KeyError("no index")

    def __repr__(self):
        raise RuntimeError("no words")


ENDLESS = []
ENDLESS.append(ENDLESS)

numbers = st.floats(0.0625, 0.5, width=16)
pairs = st.tuples(numbers, numbers).map(np.array)

AS_IT_IS = [
    lambda x: x.tolist(),
    lambda x: tuple(x.tolist()),
    lambda x: x.astype(np.float32),
    lambda x: x.astype(np.float16),
    lambda x: x.astype(np.longdouble),
    lambda x: x.astype(">f8"),
    lambda x: np.repeat(x, 3)[::3],
    lambda x: x[::-1].copy()[::-1],
    lambda x: np.ma.array(x),
    lambda x: [Fraction(v) for v in x.tolist()],
    lambda x: [Decimal(v) for v in x.tolist()],
    lambda x: [np.float32(v) for v in x],
    lambda x: memoryview(x),
]

NO_NUMBERS = [
    lambda x: np.ma.array(x, mask=[False, True]),
    lambda x: [np.ma.masked, *x.tolist()[1:]],
    lambda x: [np.ma.array(v, mask=v > 0) for v in x],
    lambda x: x + 0j,
    lambda x: x.astype(np.complex64),
    lambda x: [*x.tolist()[:1], 0j],
    lambda x: [Fraction(1, 2), np.complex128(0.5)],
    lambda x: x.astype("datetime64[s]"),
    lambda x: list(x.astype("datetime64[ns]")),
    lambda x: x.astype("timedelta64[D]"),
    lambda x: [datetime.datetime(2020, 1, 1)] * 2,
    lambda x: [datetime.timedelta(1)] * 2,
    lambda x: x.astype(object),
    lambda x: [0.5, None],
    lambda x: x.astype(str),
    lambda x: x.astype(bytes),
    lambda x: [str(v) for v in x],
    lambda x: x.view([("a", float)]),
    lambda x: [[0.5], [0.5, 0.25]],
    lambda x: x.view(Unit),
    lambda x: {"x": x},
    lambda x: {*x.tolist(), 0.7},
    lambda x: (v for v in x),
    lambda x: None,
    lambda x: "0.5",
    lambda x: len,
    lambda x: [10**400, 1],
    lambda x: [Decimal("sNaN"), 1],
    lambda x: ENDLESS,
    lambda x: Rude(),
    lambda x: [Rude(), 1.0],
]


def _imaginary(value):
    """With imaginary parts that do not vanish: those of answers may, as of roots that happen to be real."""
    try:
        return np.array(value) + 1j if np.iscomplexobj(value) else value
    except Exception:
        return value


DOORS = {
    "x0": lambda v: HENON.trajectory(v, **RUN).states,
    "x0 of flows": lambda v: FLOW.tangent(RK4(0.1), backend="numpy").trajectory(v, **RUN).states,
    "x0 with momenta": lambda v: FLOW.tangent(Adam(0.1), backend="numpy").trajectory(v, **RUN).states,
    "x0 of varied": lambda v: vary(HENON, {"a": [1.4]}).trajectory([v], **RUN).states,
    "values of varied": lambda v: vary(HENON, {"a": v}).trajectory([[0.1, 0.1]] * 2, **RUN).states,
    "at": lambda v: ftle_field(HENON, {0: [0.1]}, at=v, steps=2).largest_exponent.values,
    "grid": lambda v: ftle_field(HENON, {0: v}, at=[0.1, 0.1], steps=2).largest_exponent.values,
    "matrix": lambda v: LinearMap([v, v]).matrix,
    "array parameter": lambda v: SymbolicFlow.of({"x": "-x + b"}, {"b": v}).vector_field(0.0, np.zeros(2)),
    "X": lambda v: ThreeLayerGradientFlow(v, [1.0, 2.0], hidden=1, activation=Tanh()).X,
    "y": lambda v: ThreeLayerGradientFlow([[1.0], [2.0]], v, hidden=1, activation=Tanh()).y,
    "column": lambda v: GradientFlow.of("h*w^2/2", ["w"], {"h": v}).data,
    "normal": lambda v: PoincareMap(FLOW, RK4(0.1), normal=v).normal,
    "answer": lambda v: FunctionMap(lambda n, x: _imaginary(v), 2, lambda n, x: np.eye(2)).step(0, np.ones(2)),
    "x of functions": lambda v: FunctionFlow(lambda t, x: x / 2, 2).vector_field(0.0, v),
    "x of maps in NumPy": lambda v: np.array([StandardMap().step(0, v), CatMap().step(0, v)]),
    "x of RK4": lambda v: DormandPrince(0.1).step(FLOW, 0, 0.0, v),
    "x of implicit steps": lambda v: ImplicitMidpoint(0.1).step(FLOW, 0, 0.0, v),
    "x of Leapfrog": lambda v: Leapfrog(0.1).step(SPRING, 0, 0.0, v),
    "rates": lambda v: np.array([batch_means_error([v] * 40), *drift([v] * 40)]),
    "rates of windows": lambda v: finite_time_exponents([v, v]),
    "vectors": lambda v: np.array([angles([v, v]), cosines([v, v])]),
    "U": lambda v: line_distance([v, v], [v, v]),
    "spans": lambda v: principal_angles([v, v], [v, v]),
    "series": lambda v: angle_density(v)[1],
    "spectrum": lambda v: kaplan_yorke_dimension(v, 4) if np.ndim(real("v", v)) == 0 else entropy_bound([v, v], 4),
    "state to be checked": lambda v: check_system(Henon(), v),
}


def outcome(door, value):
    """What a door gives, with every warning of others as an error; or its refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return DOORS[door](value)
        except DynsysError as refusal:
            return refusal


@pytest.mark.parametrize("door", DOORS)
@settings(max_examples=20, deadline=None)
@given(x=pairs, as_it_is=st.sampled_from(AS_IT_IS))
def test_kinds_of_real_numbers_give_what_floats_give(door, x, as_it_is):
    expected, found = outcome(door, x), outcome(door, as_it_is(x))
    if isinstance(expected, DynsysError):  # of a value that is out of range, whatever its kind
        assert type(found) is type(expected)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("door", DOORS)
@settings(max_examples=2, deadline=None)
@given(x=pairs)
def test_what_is_not_real_is_refused_by_name(door, x):
    for no_numbers in NO_NUMBERS:
        refusal = outcome(door, no_numbers(x))
        assert isinstance(refusal, InvalidInputError), refusal
        assert " must " in str(refusal)


def test_sweeps_take_values_and_states_of_every_kind():
    expected = sweep(HENON.trajectory, {"a": [1.0, 1.5]}, [0.5, 0.25], **RUN).x.values
    for values, x0 in (
        (np.float16([1.0, 1.5]), (Fraction(1, 2), 0.25)),
        ([1, Decimal("1.5")], np.float32([0.5, 0.25])),
    ):
        np.testing.assert_array_equal(sweep(HENON.trajectory, {"a": values}, x0, **RUN).x.values, expected)
    for no_numbers in NO_NUMBERS:
        with pytest.raises(InvalidInputError, match="the values of a must be a 1-D array of finite numbers"):
            sweep(HENON.trajectory, {"a": no_numbers(np.array([1.0, 1.5]))}, [0.5, 0.25], **RUN)
        with pytest.raises(InvalidInputError, match="x0 must be an array of real numbers"):
            sweep(HENON.trajectory, {"a": [1.0]}, no_numbers(np.array([1.0, 1.5])), **RUN)


@given(x=pairs, as_it_is=st.sampled_from(AS_IT_IS))
def test_no_input_is_changed(x, as_it_is):
    given_array = as_it_is(x)
    before = np.array(given_array, dtype=float)
    real_array("x", given_array)[:] = 7.0
    np.testing.assert_array_equal(np.array(given_array, dtype=float), before)


@pytest.mark.parametrize("function", [Lorenz63().vector_field, SPRING.vector_field])
def test_equations_may_be_evaluated_at_complex_states(function):
    """Nothing is dropped there, and derivatives by complex steps need it."""
    x = [1.0, 2.0, 3.0][: 3 if function.__self__.dimension == 3 else 2]
    assert function(0.0, np.array(x) + 1j).dtype == complex
    np.testing.assert_array_equal(function(0.0, [v + 1j for v in x]), function(0.0, np.array(x) + 1j))


kinds = of_numpy.scalar_dtypes() | of_numpy.byte_string_dtypes() | of_numpy.unicode_string_dtypes()


@settings(max_examples=200, deadline=None)
@given(data=st.data(), kind=kinds)
def test_arrays_of_every_dtype_are_taken_exactly_or_refused(data, kind):
    array = data.draw(of_numpy.arrays(kind, of_numpy.array_shapes(max_dims=2, max_side=3)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind.kind in "biuf":
            found = real_array("x", array)
        else:
            with pytest.raises(InvalidInputError, match=r"^x must be an array of real numbers, got "):
                real_array("x", array)
            return
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, array.astype(np.float64))


WHOLE = {
    "intervals": lambda v: HENON.trajectory([0.1, 0.1], intervals=v),
    "steps_per_interval": lambda v: HENON.benettin([0.1, 0.1], intervals=2, steps_per_interval=v),
    "warmup": lambda v: HENON.gali([0.1, 0.1], intervals=2, warmup=v),
    "window": lambda v: HENON.sharafi([0.1, 0.1], intervals=4, window=v),
    "seed": lambda v: HENON.benettin([0.1, 0.1], intervals=2, seed=v),
    "dimension": lambda v: FunctionMap(lambda n, x: x, v),
    "size": lambda v: LOSS.minibatches(v),
    "hidden": lambda v: ThreeLayerGradientFlow([[1.0], [2.0]], [1.0, 2.0], hidden=v, activation=Tanh()),
    "steps": lambda v: ftle_field(HENON, {0: [0.1]}, at=[0.1, 0.1], steps=v),
    "bins": lambda v: angle_density([0.1] * 40, bins=v),
    "seed of checks": lambda v: check_system(Henon(), [0.1, 0.1], seed=v),
}
NOT_WHOLE = [
    1.0, True, np.True_, "1", b"1", 1j, None, [1], np.array([1]), np.array(1), Fraction(1), Decimal(1), np.float64(1.0),
    np.timedelta64(1, "s"), np.timedelta64(1, "ns"), np.datetime64("2020"), np.ma.masked, float("nan"), float("inf"),
    Rude(), -(10**5000), len, {},
]  # fmt: skip


@pytest.mark.parametrize("door", WHOLE)
def test_counts_are_whole_numbers(door):
    for value in NOT_WHOLE:
        if value is None and door == "window":
            continue
        with pytest.raises(InvalidInputError, match="must be a whole number"):
            WHOLE[door](value)
    for value in (2, np.int8(2), np.uint64(2)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            WHOLE[door](value)


@settings(max_examples=200)
@given(st.integers() | st.integers(0, 2**53))
def test_counts_are_kept_exactly_or_refused(count):
    try:
        assert whole_number("n", count, 0) == count
        assert 0 <= count <= 2**53
    except InvalidInputError:
        assert not 0 <= count <= 2**53


NUMBERS = {
    "dt": lambda v: RK4(v).dt,
    "t0": lambda v: Henon().tangent(t0=v).shift,
    "t0 of flows": lambda v: FLOW.tangent(Euler(0.1), t0=v).time_step.t0,
    "parameter": lambda v: Lorenz63(rho=v).rho,
    "parameter of losses": lambda v: GradientFlow.of("a*h*w^2/2", ["w"], {"h": [1.0]}, parameters={"a": v}).parameters[
        0
    ],
    "beta1": lambda v: Adam(0.1, beta1=v).beta1,
    "eps": lambda v: Adam(0.1, eps=v).eps,
    "rtol": lambda v: DormandPrince(0.1, rtol=v).rtol,
    "offset": lambda v: PoincareMap(FLOW, RK4(0.1), normal=[1, 0], offset=v).offset,
}
NO_NUMBER = [
    True, np.True_, np.array(True), "0.5", b"0.5", 0.5j, np.complex128(0.5), None, [0.5], np.array([0.5]), np.ma.masked,
    np.array(0.5, dtype=object), np.timedelta64(1, "ns"), np.datetime64("2020"), float("nan"), float("inf"), 10**400,
    Decimal("sNaN"), Rude(), len, {}, np.void(b"1"),
]  # fmt: skip


@pytest.mark.parametrize("door", NUMBERS)
def test_numbers_are_real_and_finite(door):
    for value in NO_NUMBER:
        with pytest.raises(InvalidInputError, match="must"):
            NUMBERS[door](value)
    for value in (0.5, np.float32(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5"), np.longdouble(0.5)):
        assert NUMBERS[door](value) == 0.5


def test_labels_of_classes_are_whole_numbers():
    assert CrossEntropy([0, 1, 1]).y.tolist() == [0, 1, 1]
    for value in ([0.0, 1.0], np.ma.array([0, 1], mask=[0, 1]), ["0", "1"], [[0], [0, 1]], [True, False], None, Rude()):
        with pytest.raises(InvalidInputError, match="labels must be whole numbers"):
            CrossEntropy(value)


@pytest.mark.parametrize("row", [["0.5", "0.5"], [0.5, 0.5j], 0.5, None, [np.nan, 1.0], [True, None]])
def test_tableaux_are_numbers(row):
    with pytest.raises(InvalidInputError, match=r"a row of a tableau|add up|a of a tableau"):
        Tableau([[], [0.5]], row, [0.0, 0.5])
    with pytest.raises(InvalidInputError, match=r"a row of a tableau|a of a tableau|an explicit tableau"):
        Tableau(row, [0.5, 0.5], [0.0, 0.5])


def test_masks_are_looked_for_only_where_there_can_be_any():
    run = "from dynsys.models.classics import Henon; Henon().tangent(backend='numpy').benettin([0.1, 0.1], intervals=9)"
    code = f"import sys, numpy; before = {{*sys.modules}}; {run}; assert 'numpy.ma' not in {{*sys.modules}} - before"
    subprocess.run([sys.executable, "-c", code], check=True)  # it takes longer than such a run
