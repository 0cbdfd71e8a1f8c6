"""Descriptions: equal for what computes the same, different for what may not, and JSON to the last bit."""

import enum
import importlib.util
import json
import random
import subprocess
import sys
from functools import partial

import attrs
import numpy as np
import pytest
import sympy
import xarray
from hypothesis import given
from hypothesis import strategies as st

from dynsys import RK4, InvalidInputError, SymbolicFlow
from dynsys.models.activations import Activation, Tanh
from dynsys.models.classics import Lorenz63
from dynsys.storage.description import describe, differences


def different(first, second):
    """Where two descriptions differ, as they would be read from a file."""
    return list(differences(json.loads(json.dumps(describe(first))), describe(second)))


@pytest.fixture
def written(tmp_path):
    """A module from its text."""
    number = iter(range(100))

    def load(text):
        path = tmp_path / f"written{next(number)}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("written", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(values)
def test_json_is_the_identity(value):
    found = describe(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert different(value, value) == []


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.float64(0.1), 0.1), (np.int8(3), 3), (np.bool_(True), True), (np.str_("a"), "a"), (Colour.RED, 1),
     (Name("a"), "a"), ((1, (2,)), [1, [2]]), (np.float32(0.1), float(np.float32(0.1))), (float("inf"), "inf")],
)  # fmt: skip
def test_numbers_and_text_are_plain(value, plain):
    found = describe(value)
    assert found == plain
    assert type(found) is type(plain)
    assert different(value, plain) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, 2), (1, 1.0), (1, True), (0.0, -0.0), ("a", "b"), ([1], [1, 1]), ({"a": 1}, {"b": 1}), (None, 0),
     (np.arange(3), np.arange(3.0)), (np.zeros(3), -np.zeros(3)), (np.zeros((2, 3)), np.zeros((3, 2))), (1j, 2j)],
)  # fmt: skip
def test_other_values_are_different(first, second):
    assert different(first, second)
    assert different(second, first)
    assert different(first, first) == []


def test_arrays_are_their_numbers():
    a = np.arange(12.0).reshape(3, 4)
    for same in (a.astype(">f8"), np.asfortranarray(a), a.repeat(2, axis=1)[:, ::2], a[::-1][::-1]):
        assert different(a, same) == []
    for other in (a.T, a.astype("f4"), a + 1e-15, a.ravel()):
        assert different(a, other)
    assert different(np.array(["a", "ü"]), np.array(["a", "ü"], dtype=">U1")) == []


FUNCTION = '''
SCALE = 2.0
UNUSED = 3.0

def compute(members, power=2):
    """Squares."""
    # of the members
    return SCALE * members ** power
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [("Squares", "Cubes", True), ("# of", "# all of", True), ("members ** power", "(members**power)", True),
     ('    """Squares."""\n', "", True), ("UNUSED = 3.0", "UNUSED = 4.0", True),
     ("members ** power", "members ** power + 1", False), ("power=2", "power=3", False),
     ("SCALE = 2.0", "SCALE = 3.0", False), ("compute", "other", False)],
)  # fmt: skip
def test_a_function_is_its_code_and_the_constants_it_uses(old, new, same, written):
    first, second = written(FUNCTION), written(FUNCTION.replace(old, new))
    name = "other" if new == "other" else "compute"
    assert (different(first.compute, getattr(second, name)) == []) == same


def make(scale):
    def inner(members):
        return scale * members

    return inner


def make_default(scale):
    def inner(members, *, factor=scale):
        return factor * members

    return inner


def make_recursive():
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    return factorial


class Study:
    def __init__(self, scale):
        self.scale = scale

    def compute(self, members):
        return self.scale * members


@attrs.frozen
class Record:
    code: float
    function: str = "f"


def test_partials_closures_methods_and_records_are_what_they_hold():
    for kind in (make, Study, Record, lambda scale: Study(scale).compute, lambda scale: partial(make, scale=scale)):
        assert different(kind(1.0), kind(1.0)) == []
        assert different(kind(1.0), kind(2.0))
    assert different(partial(make, 1), partial(make, 2))
    assert different(make_default(1), make_default(2))
    assert different(make_recursive(), make_recursive()) == []
    assert different(Study(np.arange(3)).compute, Study(np.arange(3) + 1).compute)


def test_no_name_of_a_user_hides_the_code(written):
    """Fields, keywords and variables that are called as the parts of a description are."""
    text = """
from functools import partial
import attrs

@attrs.frozen
class A:
    code: int = 1
    function: int = 2
    def value(self):
        return 0

def f(code, function, arguments):
    return 0

bound = partial(f, code=1, function=2, arguments=3)

def make(code=1, function=2, defaults=3):
    def inner():
        return code, function, defaults, 0
    return inner

def twice(a=1):
    def inner(b=0):
        return a, b
    return partial(inner, a=5) if a == 1 else partial(inner, a=5)
"""
    first, second = written(text), written(text.replace("0", "9"))
    for name in ("A", "bound", "make"):
        mine, other = getattr(first, name), getattr(second, name)
        if name != "bound":
            mine, other = mine(), other()
        assert different(mine, other), name
    assert different(first.twice(1), first.twice(2))


def test_lambdas_are_told_apart(written):
    module = written("f, g = lambda x: x + 1, lambda x: x + 2\nh = lambda x: x + 1  # alone\nk = lambda x: x + 1\n")
    assert different(module.f, module.g)
    assert different(module.h, module.k) == []
    for number in (1, 2):
        assert describe(eval(f"lambda x: x + {number}"))  # no source
    assert different(eval("lambda x: x + 1"), eval("lambda x: x + 2"))
    assert different(eval("lambda x: x + 1"), eval("lambda x: x + 1")) == []


def test_no_process_describes_it_in_another_way():
    """Sets of text have another order in every process."""
    program = """
from dynsys.storage.description import describe
f = eval("lambda x: x in {'a', 'b', 'c', 'd', 'e'}")
print(describe(f))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in "123"
    }  # fmt: skip
    assert len(found) == 1


def test_systems_are_their_equations_and_parameters():
    x, y, gamma = sympy.symbols("x y gamma")

    def pendulum(value=0.1, factor=1):
        return SymbolicFlow.of({x: y, y: -factor * sympy.sin(x) - gamma * y}, {gamma: value})

    assert different(pendulum(), pendulum()) == []
    assert different(pendulum(), pendulum(0.2))[0].endswith("gamma: 0.1 there, 0.2 here")
    assert different(pendulum(), pendulum(factor=2))
    assert different(Lorenz63(), attrs.evolve(Lorenz63(), rho=29)) == ["rho: 28.0 there, 29.0 here"]
    for first, second in [(RK4(0.1), RK4(0.2)), (Lorenz63(), pendulum())]:
        assert different(Lorenz63().tangent(first) if isinstance(first, RK4) else first, second)
    softplus, other = (Activation.from_expression(text) for text in ("log(1 + exp(d))", "log(2 + exp(d))"))
    assert different(softplus, Activation.from_expression("log(1 + exp(d))")) == []
    assert different(softplus, other)
    assert different(softplus, Tanh())
    assert different(Tanh(), Tanh()) == []


class Slots:
    __slots__ = ("a",)


CYCLE = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [np.random.default_rng(0), random.Random(0), np.random.RandomState(0), {1, 2}, object(), iter([]), Slots(),
     np.array([None]), np.ma.masked_array([1]), np.zeros(2, [("a", float)]), b"bytes", CYCLE, {1: 0, "1": 0},
     np.random.default_rng(0).normal],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_cannot_be_seen_is_refused(value):
    with pytest.raises(InvalidInputError, match="a definition cannot hold"):
        describe({"part": value})


def test_differences_name_the_place():
    assert list(differences({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "d": 2})) == [
        "a.b: 1 there, 3 here",
        "c: only there",
        "d: only here",
    ]


def test_labelled_data_stand_for_their_numbers_and_labels():
    data = xarray.Dataset({"x": ("time", [1.0, 2.0])}, coords={"time": [0, 1]})
    assert describe(data) == describe(data.copy(deep=True))
    others = (data + 1.0, data.rename(x="y"), data.assign_coords(time=[0, 2]), data.x, data.assign_attrs(dt=1))
    for other in others:
        assert describe(other) != describe(data)
    json.dumps(describe(data))
