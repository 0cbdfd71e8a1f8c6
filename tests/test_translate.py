"""What is compiled means what the same text means as Python."""

import math

import numpy as np
import pytest

from dynsys.compiled.llvm import machine
from dynsys.compiled.llvm.machine import exported
from dynsys.compiled.llvm.translate import translate
from dynsys.errors import InvalidInputError
from dynsys.storage.cache import Cache

pytest.importorskip("llvmlite")

NAN, INF = math.nan, math.inf


def both_ways(source: str, *arguments: object) -> tuple[np.ndarray, np.ndarray]:
    """What `f(out, ...)` writes to `out`, compiled and as Python."""
    names = {"floats": None}
    exec(source, names)
    compiled, python = np.full(8, -7.0), np.full(8, -7.0)
    exported(source, "f")(compiled, *arguments)
    names["f"](python, *arguments)
    return compiled, python


WHOLE = """
def f(out: floats, a: int, b: int):
    out[0] = a // b
    out[1] = a % b
    out[2] = a / b
    out[3] = -a
    out[4] = abs(a)
    out[5] = a ** 3 - b * a
    out[6] = (a & b) + (a | b) + (a ^ b)
    out[7] = min(a, b) + 2 * max(a, b)
"""


@pytest.mark.parametrize("a", [-7, -6, -1, 0, 1, 6, 7])
@pytest.mark.parametrize("b", [-3, -1, 1, 3])
def test_whole_numbers(a, b):
    compiled, python = both_ways(WHOLE, a, b)
    assert np.array_equal(compiled, python)


DIVIDED = """
def f(out: floats, a: float, b: float):
    out[0] = a // b
    out[1] = a % b
"""


@pytest.mark.parametrize("a", [-7.5, -1.0, 0.0, 1.0, 0.3, 1e17])
@pytest.mark.parametrize("b", [-0.1, 0.1, -2.5, 3.0, INF, -INF])
def test_quotients_of_floats_rounded_down(a, b):
    compiled, python = both_ways(DIVIDED, a, b)
    assert np.array_equal(compiled, python)


COMPARED = """
def f(out: floats, a: float, b: float):
    out[0] = 1.0 if a < b else 0.0
    out[1] = 1.0 if a <= b else 0.0
    out[2] = 1.0 if a == b else 0.0
    out[3] = 1.0 if a != b else 0.0
    out[4] = 1.0 if not a < b else 0.0
    out[5] = 1.0 if a < b < 2.0 else 0.0
    out[6] = min(a, b)
    out[7] = max(a, b)
"""


@pytest.mark.parametrize("a", [NAN, -INF, -1.0, 1.0, INF])
@pytest.mark.parametrize("b", [NAN, -1.0, 1.0, 3.0])
def test_comparisons(a, b):
    compiled, python = both_ways(COMPARED, a, b)
    assert np.array_equal(compiled, python, equal_nan=True)


GUARDED = """
def f(out: floats, table: floats, n: int, d: int):
    i = 0
    while i < n and table[i] < 2.5:
        i = i + 1
    out[0] = i
    out[1] = 7 // d if d != 0 else 5
    out[2] = 7 % d if d != 0 else 5
    out[3] = 1.0 if d != 0 and 7 // d > 1 else 0.0
    out[4] = 1.0 if d == 0 or 7 % d == 1 else 0.0
"""


@pytest.mark.parametrize("n", [0, 2, 4])
@pytest.mark.parametrize("d", [0, 2, -3])
def test_what_is_guarded_is_not_computed(n, d):
    compiled, python = both_ways(GUARDED, np.arange(4.0), n, d)
    assert np.array_equal(compiled, python)


NESTED = """
TABLE = (1.5, -2.0, 4.0)
SHIFT = -0.25

def pair(a, b):
    return a - b, a * b

def twice(a):
    return a + a

def f(out: floats, a: float, n: int):
    for i in range(3):
        out[i] = TABLE[i] * a
    u, v = pair(a, SHIFT)
    out[3] = u
    out[4] = v
    out[5] = twice(a) + twice(n) // 4
    for j in range(n, 0, -2):
        if j == 3:
            continue
        if j < 2:
            break
        out[6] = out[6] - j
    u, v = v, u
    out[7] = u - v
"""


@pytest.mark.parametrize("n", [0, 1, 6, 7])
def test_functions_tables_tuples_and_loops(n):
    compiled, python = both_ways(NESTED, 1.25, n)
    assert np.array_equal(compiled, python)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a @= a", ""),
        ("a = [1.0]", ""),
        ("a = b", "b is not defined"),
        ("a = g(a)", "`g` of 1 arguments"),
        ("a = f(out, a)", "f calls itself"),
        ("x, y = a, a, a", "2 names for 3 values"),
        ("x, y = a", "2 names for one float"),
        ("out[a] = 1.0", "an index must be a whole number"),
        ("a = sin(a, out=a)", ""),
    ],
)
def test_refused_with_the_line(line, why):
    with pytest.raises(InvalidInputError, match="line 3 of the source") as refusal:
        translate(f"\ndef f(out: floats, a: float):\n    {line}\n", ["f"])
    assert why in str(refusal.value)


@pytest.mark.parametrize("constant", ['"text"', '(1.0, "text")', "None", "1j"])
def test_constants_are_numbers(constant):
    with pytest.raises(InvalidInputError, match="line 1 of the source"):
        translate(f"X = {constant}\ndef f(out: floats):\n    out[0] = X\n", ["f"])


def test_code_of_another_translator_is_not_taken_and_that_of_this_one_is(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "kept", lambda: Cache(tmp_path, bytes(32)))
    made, make = [], machine._object_code
    monkeypatch.setattr(machine, "_object_code", lambda text: made.append(text) or make(text))
    for translator, times in (("one", 1), ("one", 1), ("two", 2)):
        monkeypatch.setattr(machine, "_translator", lambda name=translator: name)
        machine._compiled.cache_clear()  # as in another process
        exported("def f(out: floats):\n    out[0] = 1.0\n", "f")(np.zeros(1))
        assert len(made) == times


CONDITIONS_AS_NUMBERS = """
def counted(a):
    inside = (a > 0.0) & (a < 2.0)
    outside = inside == False
    return 2.0 * inside, outside - 3 * inside, inside + inside, -(a > 1.0), (a > 0.0) != inside, (a > 0.0) >= outside


def f(out: floats, a: floats):
    out[0], out[1], out[2], out[3], out[4], out[5] = counted(a[0])


def g(out: floats, a: floats):
    columns = as_vectors(out)
    columns[0], columns[1], columns[2], columns[3], columns[4], columns[5] = counted(as_vectors(a)[0])
"""


def test_conditions_count_as_numbers_one_by_one_and_in_vectors():
    given = np.array([-1.0, 0.0, 0.5, 1.5, 2.0, 3.0, NAN, INF])
    counted = {}
    exec(CONDITIONS_AS_NUMBERS.partition("def f")[0], counted)
    expected = np.array([[float(one) for one in np.int64(counted["counted"](a))] for a in given.tolist()]).T
    alone, together = np.zeros((8, 6)), np.zeros((6, 8))
    for out, a in zip(alone, given, strict=True):
        exported(CONDITIONS_AS_NUMBERS, "f")(out, np.array([a]))
    exported(CONDITIONS_AS_NUMBERS, "g")(together, given)
    assert np.array_equal(alone.T, expected)
    assert np.array_equal(together, expected)
