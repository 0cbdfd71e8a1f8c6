"""What functions read decides whether a run goes on with them, if it lasts; what they may write into does not."""

import decimal
import functools
import types
from array import array
from collections import deque

import numpy as np
import pytest

from dynsys import FunctionMap, InvalidInputError


class Settings:
    rate = 0.5
    calls = 0

    @staticmethod
    def scaled(x):
        return Settings.rate * x


parameters = types.ModuleType("parameters")
parameters.rate = 0.5
parameters.scaled = lambda x: 0.5 * x
held = deque([0.5])
buffer, rows, seen = np.zeros(2), np.zeros((2, 1)), set()


def begun(rule):
    return FunctionMap(rule, 1, lambda n, x: [[0.5]]).tangent(backend="numpy").trajectory([0.5], intervals=3).end


def go_on(rule, end):
    FunctionMap(rule, 1, lambda n, x: [[0.5]]).tangent(backend="numpy").trajectory(end, intervals=2)


def of_module(n, x):
    return parameters.rate * x


def of_its_function(n, x):
    return parameters.scaled(x)


def of_class(n, x):
    return Settings.rate * x


def of_its_method(n, x):
    return Settings.scaled(x)


def half(x):
    return 0.5 * x


def third(x):
    return x / 3.0


@pytest.mark.parametrize(
    ("rule", "owner", "name", "value", "said"),
    [
        (of_module, parameters, "rate", 0.25, r"parameters\.rate = 0\.5, and this has function\.parameters\.rate = 0"),
        (of_its_function, parameters, "scaled", third, r"parameters\.scaled <lambda>"),
        (of_class, Settings, "rate", 0.25, r"Settings\.rate = 0\.5, and this has function\.Settings\.rate = 0\.25"),
        (of_its_method, Settings, "rate", 0.25, r"Settings\.rate = 0\.5"),
    ],
)
def test_modules_and_classes_of_ones_own_are_read_where_the_function_reads_them(
    rule, owner, name, value, said, monkeypatch
):
    monkeypatch.setattr(Settings, "calls", 3)  # which these do not read
    end = begun(rule)
    monkeypatch.setattr(Settings, "calls", 4)
    go_on(rule, end)
    monkeypatch.setattr(owner, name, value)
    with pytest.raises(InvalidInputError, match=said):
        go_on(rule, end)


def reader(value):
    return lambda n, x: 0.5 * x if value is None else 0.5 * x + 0.0 * n


@pytest.mark.parametrize(
    "make",
    [
        lambda v: range(v),
        lambda v: (v, "linear", (v,)),
        lambda v: frozenset({v}),
        lambda v: decimal.Decimal(v),
        lambda v: bytes([v]),
        lambda v: np.polynomial.Polynomial([v]),
        lambda v: functools.cache([half, third][v]),
        lambda v: functools.partial(half, x=v),
    ],
)
def test_what_lasts_around_a_function_is_compared(make):
    end = begun(reader(make(0)))
    go_on(reader(make(0)), end)
    with pytest.raises(InvalidInputError, match="value"):
        go_on(reader(make(1)), end)


@pytest.mark.parametrize(
    "make",
    [
        lambda v: np.array([v]),
        lambda v: [v],
        lambda v: {"rate": v},
        lambda v: types.SimpleNamespace(rate=v),
        lambda v: deque([v]),
        lambda v: array("d", [v]),
        lambda v: ([v],),
    ],
)
def test_what_may_change_around_a_function_is_not(make):
    go_on(reader(make(1)), begun(reader(make(0))))


def test_labels_of_a_table_are_a_part_of_it():
    pandas = pytest.importorskip("pandas")

    def tangent(table):
        rule = FunctionMap(lambda n, x, table: 0.5 * x, 1, lambda n, x, table: [[0.5]], args=(table,))
        return rule.tangent(backend="numpy")

    tables = [pandas.DataFrame({"site": ["a"], name: [2.0]}) for name in ("rate", "loss")]
    tables.append(pandas.DataFrame({"site": ["a"], "rate": [3.0]}))
    end = tangent(tables[0]).trajectory([0.5], intervals=3).end
    tangent(tables[0].copy()).trajectory(end, intervals=2)
    for other in tables[1:]:
        with pytest.raises(InvalidInputError, match="table"):
            tangent(other).trajectory(end, intervals=2)


def fill(where, x):
    where[0] = 0.5 * x[0]


def fill_through(x, where):
    fill(where, x)


def by_place(n, x):
    np.multiply(x, 0.5, buffer[:1])
    return [buffer[0]]


def by_a_function(n, x):
    fill(buffer, x)
    return [buffer[0]]


def by_two_functions(n, x):
    fill_through(x, buffer)
    return [buffer[0]]


def by_another_name(n, x):
    row = buffer.reshape(-1)[:1]
    row[:] = 0.5 * x
    return [buffer[0]]


def by_each(n, x):
    for row in rows:
        row[:] = 0.5 * x
    return [rows[0, 0]]


def by_what_is_at_hand(n, x):
    held.append(0.5)
    held.popleft()
    seen.discard(n)
    seen.add(n)
    return [held[0] * x[0]]


def counted(n, x):
    Settings.calls += 1
    return 0.5 * x


@pytest.mark.parametrize(
    "rule", [by_place, by_a_function, by_two_functions, by_another_name, by_each, by_what_is_at_hand, counted]
)
def test_what_is_written_into_in_any_way_is_not_held_against_it(rule):
    end = begun(rule)
    buffer[:], rows[:] = 7.0, 7.0
    go_on(rule, end)
