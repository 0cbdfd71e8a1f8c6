"""Ctrl-C: what is finished comes back, and it is the beginning of the undisturbed run to the bit."""

import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from dynsys import RK4, InterruptedWarning
from dynsys.algorithms import trajectory
from dynsys.models.classics import Henon, Lorenz63
from dynsys.passes import run_state

LINES = 10_000  # more than a run below executes


def run(tangent, algorithm, x0, intervals, **options):
    """The record and the end of a run."""
    if algorithm == "benettin":
        spectrum = tangent.benettin(x0, intervals=intervals, steps_per_interval=2, warmup=0, stride=3, **options)
        return spectrum.times, spectrum.rates, spectrum.end
    run = tangent.trajectory(x0, intervals=intervals, steps_per_interval=2, **options)
    return run.times, run.states, run.end


def assert_is_the_beginning_and_can_go_on(tangent, algorithm, found, whole, intervals):
    times, record, end = found
    count = len(times)
    stride = 3 if algorithm == "benettin" else 1
    assert 0 < count * stride <= intervals
    assert end.n == 2 * stride * count
    np.testing.assert_array_equal(times, whole[0][:count])
    np.testing.assert_array_equal(record, whole[1][..., :count, :])
    if count * stride < intervals:
        times, record, end = run(tangent, algorithm, end, intervals - count * stride)
        np.testing.assert_array_equal(times, whole[0][count:])
        np.testing.assert_array_equal(record, whole[1][..., count:, :])
    for field in ("n", "x", "Q", "status", "stopped"):
        np.testing.assert_array_equal(getattr(end, field), getattr(whole[2], field))


@pytest.mark.parametrize("algorithm", ["benettin", "trajectory"])
@pytest.mark.parametrize("members", [None, 2])
def test_an_interrupt_between_any_two_lines_leaves_a_whole_result(
    algorithm, members, monkeypatch, interrupted_at_every_line
):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 8 * (members or 1))  # four intervals a call: some strides need two
    tangent, intervals = Henon().tangent(backend="numpy"), 18
    x0 = np.array([0.1, 0.1]) + np.zeros((2,) if members is None else (members, 1))
    whole = run(tangent, algorithm, x0, intervals)
    counts, files = set(), (run_state.__file__, trajectory.__file__)
    for found, caught in interrupted_at_every_line(lambda: run(tangent, algorithm, x0, intervals), files, LINES):
        messages = [str(w.message) for w in caught if w.category is InterruptedWarning]
        done = len(found[0]) * (3 if algorithm == "benettin" else 1)
        if messages:
            assert len(messages) == 1
            assert messages[0].startswith(f"interrupted after {done} of 18 intervals")
            assert f"with intervals={18 - done}" in messages[0]
        assert_is_the_beginning_and_can_go_on(tangent, algorithm, found, whole, intervals)
        counts.add(done)
    assert len(counts) >= 4


def raise_interrupt(done, of):
    raise KeyboardInterrupt


def test_the_warning_names_the_users_line_and_the_result_is_complete(monkeypatch):
    monkeypatch.setattr(run_state, "FIRST_STEPS", 1)  # one interval in the first call
    with pytest.warns(InterruptedWarning, match="pass its end as x0") as caught:
        spectrum = Henon().tangent().benettin([0.1, 0.1], intervals=50, progress=raise_interrupt)
    assert caught[0].filename == __file__
    assert spectrum.rates.shape == (1, 2)
    np.testing.assert_array_equal(spectrum.exponents, spectrum.rates[0])
    assert np.isnan(spectrum.standard_error).all()
    with pytest.warns(InterruptedWarning) as caught:
        states = Henon().tangent().trajectory([0.1, 0.1], intervals=50, progress=raise_interrupt)
    assert caught[0].filename == __file__
    assert states.states.shape == (1, 2)


def test_before_the_first_record_the_interrupt_goes_on(monkeypatch):
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 1)
    with pytest.raises(KeyboardInterrupt):
        Henon().tangent().benettin([0.1, 0.1], intervals=50, stride=50, warmup=0, progress=raise_interrupt)


@pytest.mark.parametrize("algorithm", ["benettin", "trajectory"])
def test_in_the_warm_up_the_interrupt_goes_on(algorithm, monkeypatch):
    tangent = Henon().tangent(backend="numpy")
    calls = []

    def forward(self, start, **options):
        calls.append(options["record"])
        raise KeyboardInterrupt

    monkeypatch.setattr(type(tangent), "forward", forward)
    with pytest.raises(KeyboardInterrupt):
        getattr(tangent, algorithm)([0.1, 0.1], intervals=5, warmup=5)
    assert calls == ["nothing"]


PROGRAM = """
import signal, sys, time, warnings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background commands inherit that it is ignored
import numpy as np
from dynsys import FlowStep, NumbaTangent, InterruptedWarning, NumpyTangent, RK4
from dynsys.models.classics import Lorenz63

kind, threads, members, algorithm = sys.argv[1:]
members = int(members)
step = FlowStep(Lorenz63(), RK4(0.01))
tangent = NumpyTangent(step) if kind == "numpy" else NumbaTangent(step, threads=int(threads))
x0 = np.array([1.0, 1.0, 20.0]) + (np.arange(members)[:, None] if members else 0.0)
options = {"steps_per_interval": 2 if kind == "numpy" else 100, "warmup": 5}
stride, intervals = (10 if algorithm == "benettin" else 1), 2_000_000 // (members or 1)
if algorithm == "benettin":
    options["stride"] = stride
elif kind == "numba":
    options["steps_per_interval"] = 5000
record = "rates" if algorithm == "benettin" else "states"
go = getattr(tangent, algorithm)
go(x0, intervals=stride, **options)  # compiled

def say(done, of):
    print(done, flush=True)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    part = go(x0, intervals=intervals * stride, progress=say, **options)  # half a minute or more
print("\\nreturned", flush=True)  # a line of its own: the interrupt may fall between a number and its newline
assert [w.category for w in caught] == [InterruptedWarning], [str(w.message) for w in caught]
done = len(part.times) * stride
whole = go(x0, intervals=done + 5 * stride, **options)
options["warmup"] = 0
rest = go(part.end, intervals=5 * stride, **options)
for field, axis in ((record, -2), ("times", -1)):
    joined = np.concatenate([getattr(part, field), getattr(rest, field)], axis=axis)
    np.testing.assert_array_equal(joined, getattr(whole, field))
for field in ("n", "x", "Q", "status"):
    np.testing.assert_array_equal(getattr(rest.end, field), getattr(whole.end, field))
print("equal", done, flush=True)
"""


@pytest.mark.parametrize("algorithm", ["benettin", pytest.param("trajectory", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "threads", "members"),
    [("numpy", 1, 0), *(pytest.param("numba", *run, marks=pytest.mark.slow) for run in ((1, 0), (1, 40), (2, 40)))],
)
def test_a_real_sigint_returns_the_beginning_bit_for_bit(kind, threads, members, algorithm):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), kind, str(threads), str(members), algorithm]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        for _ in range(2):  # some chunks are finished, or one is on its way
            assert process.stdout.readline().strip().isdigit()
        time.sleep(0.3)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert "returned\n" in iter(process.stdout.readline, "")
        waited = time.monotonic() - sent
        output, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0, errors
    assert "equal" in output
    assert waited < 10, waited  # a second or so on an idle machine


@pytest.mark.slow
def test_a_second_of_numpy_is_not_lost():
    """A call of a slow system takes about CHUNK_SECONDS: what Ctrl-C can lose."""
    tangent, calls = Lorenz63().tangent(RK4(0.01), backend="numpy"), []

    def note(done, of):
        calls.append(time.monotonic())
        if len(calls) == 6:
            raise KeyboardInterrupt

    with pytest.warns(InterruptedWarning):
        tangent.trajectory([1.0, 1.0, 20.0], intervals=10**6, progress=note)
    assert np.median(np.diff(calls)) < 6 * run_state.CHUNK_SECONDS
