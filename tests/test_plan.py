"""What a run takes is known before it begins: steps, times, memory; and soon after, how long it will be."""

import itertools
import re
import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from dynsys import RK4, Ensemble, Euler, Flow, InvalidInputError, LongRunWarning, Map, ftle_field, sweep, vary
from dynsys.algorithms import window
from dynsys.errors import DiagnosticWarning, FallbackWarning
from dynsys.models.classics import Henon, LinearFlow, LinearMap, Lorenz63
from dynsys.passes import memory, plan, run_state
from dynsys.passes.run_state import RunState

ALGORITHMS = ("benettin", "ginelli", "sharafi", "wolfe_samelson", "gali", "trajectory")
HENON, X = Henon().tangent(backend="numpy"), [0.1, 0.1]
CIRCLE = LinearMap([[0.0, -1.0], [1.0, 0.0]]).tangent(backend="numpy")


def limited(monkeypatch, size):
    """A machine of so many bytes."""
    for module in (memory, window):
        monkeypatch.setattr(module, "largest_memory", lambda: size)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"intervals": 10**18}, "at most 9007199254740992, got 1000000000000000000"),
        (
            {"intervals": 10**13},
            r"would take .* GiB of memory, and there are .* GiB at most .*(of the last|fewer intervals)|GiB for",
        ),
        ({"intervals": 10**13, "warmup": 0}, r"would take .* GiB of memory|GiB for a file"),
        ({"intervals": 8, "steps_per_interval": 2**51}, r"end by step 2\^53 = 9e\+15.* got .* steps.*: take fewer"),
        ({"intervals": 8, "warmup": 2**53}, r"end by step 2\^53"),
        ({"intervals": 8, "progress": 3}, r"progress must be a function, called as progress\(done, total\), got 3"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(algorithm, counts, message):
    class Untouched(Map):
        dimension = 2

        def step(self, n, x):
            raise AssertionError("it ran")

        def jvp(self, t, x, V):
            raise AssertionError("it ran")

    run = getattr(Untouched().tangent(), algorithm)
    with pytest.raises(InvalidInputError, match=message):
        run(X, **counts)


def test_a_run_that_goes_on_counts_what_came_before():
    end = HENON.trajectory(X, intervals=1).end
    late = RunState.start(X, 2, 0, 0).__class__(
        **{name: getattr(end, name) for name in end.__slots__ if name != "__weakref__"} | {"n": 2**53 - 4}
    )
    assert HENON.trajectory(late, intervals=4).end.n == 2**53
    with pytest.raises(InvalidInputError, match=r"step 2\^53 .* from step 9007199254740988 on"):
        HENON.trajectory(late, intervals=5)


@pytest.mark.parametrize(("t0", "dt"), [(1e14, 0.01), (1e6, 1e-10), (-1e14, 0.01)])
def test_times_that_are_one_number_are_refused(t0, dt):
    tangent = LinearFlow([[-1.0]]).tangent(RK4(dt), t0=t0, backend="numpy")
    with pytest.raises(InvalidInputError, match=r"times t and t \+ dt differ, got \|t\| up to .* begin nearer to 0"):
        tangent.trajectory([1.0], intervals=4)


@pytest.mark.parametrize(("t0", "dt"), [(1e6, 1e-9), (-1e14, 1.0), (0.0, 1e-100)])
def test_times_that_differ_are_taken(t0, dt):
    run = LinearFlow([[-1.0]]).tangent(RK4(dt), t0=t0, backend="numpy").trajectory([1.0], intervals=4)
    assert (np.diff(run.times) > 0).all()


# memory

LONG, SHORT = {"intervals": 4000, "warmup": 0}, {"intervals": 400, "warmup": 0}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_memory_that_cannot_be_is_refused_and_what_fits_runs(algorithm, monkeypatch):
    limited(monkeypatch, 60_000)
    with pytest.raises(InvalidInputError, match=r"would take .* GiB of memory, and there are 5.59e-05 GiB at most"):
        getattr(CIRCLE, algorithm)(X, **LONG)
    limited(monkeypatch, 120_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiagnosticWarning)
        getattr(CIRCLE, algorithm)(X, **SHORT)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.parametrize(
    ("algorithm", "options"),
    [(name, options) for name in ALGORITHMS[:-1] for options in ({}, {"k": 1}, {"stride": 10})]
    + [("ginelli", {"vectors": False}), ("trajectory", {})],
)
def test_no_estimate_is_more_than_what_a_run_holds(algorithm, options, monkeypatch):
    """Else what would fit might be refused; and it is a good part of it, or what does not fit might begin."""
    asked, compiled = [], Henon().tangent(backend="numba")
    monkeypatch.setattr(run_state, "CHUNK_STEPS", 1000)
    monkeypatch.setattr(plan, "ask_for_memory", lambda what, needed, remedy: asked.append(needed))

    def run(intervals):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DiagnosticWarning)
            getattr(compiled, algorithm)(X, intervals=intervals, warmup=20, **options)

    run(100)  # whatever is loaded once
    tracemalloc.start()
    run(3_000 if algorithm == "wolfe_samelson" else 20_000)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.05 * held < asked[-1] < held


def test_strides_and_few_vectors_are_remedies(monkeypatch):
    limited(monkeypatch, 60_000)
    assert CIRCLE.benettin(X, **LONG, stride=100).rates.shape == (40, 2)
    with pytest.raises(InvalidInputError, match=r"sum over strides \(stride\), record fewer intervals"):
        CIRCLE.benettin(X, **LONG)


def test_vectors_beyond_the_memory_are_kept_in_files_whatever_the_limit(monkeypatch):
    saddle = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(backend="numpy")
    expected = saddle.ginelli([0.0, 0.0], intervals=400, warmup=80, tail=80)
    limited(monkeypatch, 70_000)
    with pytest.warns(FallbackWarning, match=r"more than the .* GiB of memory that are left beside: vectors and"):
        found = saddle.ginelli([0.0, 0.0], intervals=400, warmup=80, tail=80, memory_limit=np.inf)
    np.testing.assert_array_equal(found.vectors, expected.vectors)


def test_no_memory_is_less_than_none():
    """What is held beside the vectors may alone be more than the machine has."""
    with pytest.raises(InvalidInputError, match="more than the 0 GiB of memory that are left beside"):
        HENON.ginelli(X, intervals=10**13, warmup=0, tail=10, memory_limit=np.inf)


@pytest.mark.parametrize("limit", ["1e9", -1, np.nan, True, None])
def test_a_limit_is_a_number_of_bytes(limit):
    with pytest.raises(InvalidInputError, match="memory_limit must be"):
        HENON.ginelli(X, intervals=4, memory_limit=limit)


def test_frames_are_asked_for_before_they_are_drawn(monkeypatch):
    wide = LinearMap(np.eye(300)).tangent(backend="numpy")
    limited(monkeypatch, 300_000)
    with pytest.raises(
        InvalidInputError, match=r"a frame of k = 300 vectors would take .*: follow fewer vectors \(k\)"
    ):
        wide.benettin(np.ones(300), intervals=2)
    assert wide.trajectory(np.ones(300), intervals=2).states.shape == (2, 300)


def test_vectors_of_a_training_are_asked_for(monkeypatch):
    torch = pytest.importorskip("torch")
    from dynsys.torch import TrainingMonitor

    model = torch.nn.Linear(100, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monkeypatch.setattr(memory, "largest_memory", lambda: 100_000)
    with pytest.raises(InvalidInputError, match=r"k = 100 vectors and their products would take .* fewer"):
        TrainingMonitor(model, optimizer, k=100)
    TrainingMonitor(model, optimizer, k=10).close()


def test_sweeps_parameters_and_fields_are_planned(monkeypatch):
    values = np.linspace(1.0, 1.4, 1000)
    for call in (
        lambda: sweep(HENON.benettin, {"a": values, "b": values}, X, intervals=2),
        lambda: ftle_field(HENON, {0: values, 1: values}, at=X, steps=2),
        lambda: vary(HENON, {"a": values}),
    ):
        limited(monkeypatch, 500_000)
        with pytest.raises(InvalidInputError, match=r"would take .* GiB of memory"):
            call()
    assert ftle_field(HENON, {0: values[:20], 1: values[:20]}, at=X, steps=2).sizes == {"x": 20, "y": 20}
    assert vary(HENON, {"a": values[:20]}).members == 20


def test_an_ensemble_without_a_path_has_to_fit(monkeypatch, tmp_path):
    x0 = np.full((64, 2), 0.1)
    study = Ensemble.of(CIRCLE.trajectory, x0, intervals=100)
    limited(monkeypatch, 60_000)
    with pytest.raises(InvalidInputError, match=r"dataset of all members would take .*: give a path, where"):
        study.run(block=4, workers=1)
    assert study.run(tmp_path / "study.zarr", block=4, workers=1).x.shape == (64, 100, 2)
    with pytest.raises(InvalidInputError, match=r"what 16 workers record would take .*: take shorter blocks \(block\)"):
        study.run(tmp_path / "other.zarr", block=4, workers=16)


def test_the_memory_of_this_machine_is_known():
    assert 2**28 < memory.largest_memory() < 2**50


def test_how_much_there_is_is_not_read_anew_by_every_short_run(monkeypatch):
    read, now = [], 1000.0
    monkeypatch.setattr(memory, "of_machine", lambda: (read.append(1), (1e9, 0.0))[1])
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: now))
    for _ in range(5):
        HENON.benettin(X, intervals=4)
    assert len(read) == 1
    now += 10.0  # a batch system may have raised a limit
    memory.largest_memory()
    assert len(read) == 2
    monkeypatch.undo()
    memory._around.cache_clear()


def test_limits_of_control_groups(tmp_path):
    process, limits = tmp_path / "cgroup", tmp_path / "limits"
    assert memory.of_control_group(0.0, process, limits) == np.inf
    (limits / "user" / "job").mkdir(parents=True)
    process.write_text("0::/user/job\n")
    assert memory.of_control_group(0.0, process, limits) == np.inf
    (limits / "user" / "job" / "memory.max").write_text("max\n")
    (limits / "user" / "memory.max").write_text("4096\n")
    assert memory.of_control_group(100.0, process, limits) == 4196.0
    (limits / "user" / "memory.swap.max").write_text("0\n")
    assert memory.of_control_group(100.0, process, limits) == 4096.0
    (limits / "memory.max").write_text("1024\n")  # a container sees its own group as the root
    assert memory.of_control_group(0.0, process, limits) == 1024.0


def test_limits_of_control_groups_of_version_one(tmp_path):
    process, limits = tmp_path / "cgroup", tmp_path / "limits"
    (limits / "memory" / "job").mkdir(parents=True)
    process.write_text("11:cpu,cpuacct:/\n9:memory:/job\nnonsense\n")
    (limits / "memory" / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    (limits / "memory" / "job" / "memory.limit_in_bytes").write_text("8192\n")
    assert memory.of_control_group(8.0, process, limits) == 8200.0


def test_other_systems_say_how_much_memory_they_have(tmp_path):
    table = tmp_path / "meminfo"
    size, swap = memory.of_machine(table)
    assert swap == 0.0
    assert 2**28 < size < 2**50
    table.write_text("MemTotal:  100 kB\nSwapTotal:  3 kB\n")
    assert memory.of_machine(table) == (102400.0, 3072.0)


def test_the_limit_of_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**20 if kind == resource.RLIMIT_AS else -1, -1))
    assert memory.largest_memory() == 2**20
    with pytest.raises(InvalidInputError, match=r"there are 0.000977 GiB at most"):
        CIRCLE.trajectory(X, intervals=100_000)


# time


class Slow(Flow):
    """A flow that says how many hours of an invented clock a velocity takes."""

    dimension = 1

    def vector_field(self, t, x):
        return -x

    def jacobian(self, t, x):
        return np.array([[-1.0]])


@pytest.fixture
def clock(monkeypatch):
    """A clock that every call of `forward` moves on by what its steps cost, the first by a compiler as well."""
    now, cost = [0.0], SimpleNamespace(of_step=1.0, of_compiler=3600.0)
    tangent = Slow().tangent(Euler(0.001), backend="numpy")
    forward, first = type(tangent).forward, itertools.count()

    def timed(self, start, *, intervals, steps_per_interval, record):
        now[0] += intervals * steps_per_interval * cost.of_step + (cost.of_compiler if next(first) == 0 else 0.0)
        ended = forward(self, start, intervals=1, steps_per_interval=1, record="nothing")
        return ended.recording(start.n + intervals * steps_per_interval, intervals, record)

    monkeypatch.setattr(type(tangent), "forward", timed)
    monkeypatch.setattr(plan.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run_state, "FIRST_STEPS", 1)
    return tangent, cost


class Enough(Exception):
    """What ends a run that was not to be."""


def stop_after(calls):
    count = itertools.count(1)

    def progress(done, total):
        if next(count) >= calls:
            raise Enough

    return progress


def test_a_run_of_days_is_announced_once(clock):
    tangent, cost = clock
    cost.of_step = 100.0
    with pytest.raises(Enough), pytest.warns(LongRunWarning) as caught:
        tangent.trajectory([1.0], intervals=10_000, progress=stop_after(6))
    (warning,) = caught
    assert re.search(
        r"steps at 0.01 steps per second will take 11\.\d days, until 20\d\d-\d\d-\d\d: Ctrl-C keeps what is finished",
        str(warning.message),
    )
    assert warning.filename == __file__


def test_a_warm_up_counts(clock):
    tangent, cost = clock
    cost.of_step = 3000.0
    with pytest.warns(LongRunWarning, match=r"will take 1\d.\d days"):
        tangent.trajectory([1.0], intervals=10, warmup=400)


@pytest.mark.parametrize("cost_of_step", [0.01, 80.0])
def test_hours_and_compilers_are_not_announced(clock, cost_of_step):
    """1,000 steps of 80 s are 22 hours; an hour of compiling is not the cost of the first steps."""
    tangent, cost = clock
    cost.of_step = cost_of_step
    tangent.trajectory([1.0], intervals=900, warmup=100)


def test_a_guess_from_little_time_has_to_be_of_many_days(clock):
    pace = plan.Pace(intervals=1000, steps_per_interval=1, members=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pace.announce(2 * plan.DAY / 1000, 1000, known_for=0.1)
    with pytest.warns(LongRunWarning, match="1e\\+03 steps at .* will take 200 days"):
        pace.announce(200 * plan.DAY / 1000, 1000, known_for=0.1)


@pytest.mark.parametrize("counts", [{"steps_per_interval": 10**14}, {"steps_per_interval": 1, "warmup": 10**15}])
def test_absurd_lengths_are_announced_before_the_run(counts):
    """Of one interval nothing would be heard for years, not even Ctrl-C in compiled code."""
    moved = []

    class Stopped(Map):
        dimension = 1

        def step(self, n, x):
            moved.append(n)
            return 0.5 * x

        def jacobian(self, t, x):
            return np.array([[0.5]])

    tangent = Stopped().tangent(backend="numpy")
    with pytest.raises(LongRunWarning, match=r"1e\+15 steps at .* will take .* years"):
        tangent.trajectory([1.0], intervals=10, **counts)
    assert len(moved) < 100_000


def test_long_intervals_of_a_short_run_change_no_bit():
    tangent = LinearMap([[1.0, 1e-9], [0.0, 1.0]]).tangent(backend="numpy")
    once = tangent.trajectory([1.0, 1.0], intervals=1, steps_per_interval=plan.LONG_INTERVAL // 100)
    try:
        before, plan.LONG_INTERVAL = plan.LONG_INTERVAL, 1000
        again = tangent.trajectory([1.0, 1.0], intervals=1, steps_per_interval=before // 100)
    finally:
        plan.LONG_INTERVAL = before
    np.testing.assert_array_equal(once.states, again.states)


def test_words_of_time():
    assert plan.until(1e15) == ""
    assert re.fullmatch(r", until \d{4}-\d\d-\d\d", plan.until(1e6))


def test_progress_of_other_doors_is_a_function():
    with pytest.raises(InvalidInputError, match=r"progress\(Progress\), got 3"):
        Ensemble.of(HENON.benettin, [X], intervals=2).run(progress=3)
    with pytest.raises(InvalidInputError, match=r"progress\(done, total\), got 'x'"):
        ftle_field(HENON, {0: [0.1]}, at=X, steps=2, progress="x")
    with pytest.raises(InvalidInputError, match=r"progress\(Progress\), got 3"):
        sweep(HENON.benettin, {"a": [1.4]}, X, intervals=2, progress=3)


def test_a_study_of_days_is_announced_once(monkeypatch, tmp_path):
    from dynsys.ensembles import run

    monkeypatch.setattr(run, "DAY", 1e-9)
    tangent = Lorenz63().tangent(RK4(0.01), backend="numpy")
    study = Ensemble.of(tangent.trajectory, np.full((12, 3), 1.0), intervals=2)
    with pytest.warns(LongRunWarning, match=r"8 members will take .* at the pace of the first 4.*Ctrl-C") as caught:
        study.run(tmp_path / "study.zarr", block=2, workers=1)
    assert len(caught) == 1


def test_the_copy_of_many_states_is_asked_for_before_it_is_made(monkeypatch):
    def states(members):
        return np.broadcast_to(X, (members, 2))  # which take no memory

    limited(monkeypatch, 1e6)
    HENON.trajectory(states(20_000), intervals=1)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match=r"a copy of x0, .* would take .*: begin with fewer members"):
            HENON.trajectory(states(1_000_000), intervals=1)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
