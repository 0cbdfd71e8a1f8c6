"""A run goes on with what it was begun with: to the bit with the same, by name refused with anything else."""

import copy
import json
import math
import pickle
import subprocess
import sys
from fractions import Fraction

import attrs
import continued_systems
import numpy as np
import pytest
import xarray
from continued_systems import (
    CASES,
    FORCED,
    PARAMETERS,
    Noisy,
    Plain,
    begun,
    descent,
    helper,
    lorenz,
    mapped,
    network,
    one_by_one,
    scaled,
    stepped,
    tangent_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import (
    RK4,
    Adam,
    DormandPrince,
    Ensemble,
    Flow,
    FunctionFlow,
    FunctionMap,
    InvalidInputError,
    LyapunovSpectrum,
    StroboscopicMap,
    SymbolicFlow,
    Trajectory,
    vary,
)
from dynsys.models.activations import GELU, Tanh
from dynsys.models.classics import Henon, Logistic, Lorenz63
from dynsys.systems.identity.sameness import differing
from dynsys.systems.identity.told import told

pytestmark = pytest.mark.filterwarnings("ignore::dynsys.FallbackWarning", "ignore::dynsys.DiagnosticWarning")


def start_of(tangent):
    x0 = np.linspace(0.2, 0.4, tangent.dimension)
    return x0 if tangent.members is None else np.tile(x0, (tangent.members, 1))


def reloaded(run, tmp_path):
    path = tmp_path / "run.npz"
    path.unlink(missing_ok=True)
    return type(run).load(run.save(path))


@pytest.mark.parametrize("name", CASES)
def test_the_same_goes_on_and_another_is_refused_by_name(name, tmp_path):
    first, same, others = CASES[name]
    tangent = first()
    run = tangent.trajectory(start_of(tangent), intervals=4)
    ends = [run.end, reloaded(run, tmp_path).end, pickle.loads(pickle.dumps(run.end))]
    for end in ends:
        for other in (first, *same):
            members = other().members
            if members in (None, len(end.x)):
                other().trajectory(end, intervals=2)
        for other, named in others:
            other_one = other()
            with pytest.raises(InvalidInputError, match=f"{named}.*x0=end.x"):
                other_one.trajectory(end, intervals=2)
            start = end.x if other_one.members else end.x[0]
            other_one.trajectory(start, intervals=2)  # as the message says
        other_one.trajectory(attrs.evolve(end, system=""), intervals=1)  # nothing is known, nothing held against it


def test_every_algorithm_refuses_another_system():
    end = mapped(Henon()).benettin([0.1, 0.1], intervals=50).end
    for name in ("benettin", "ginelli", "sharafi", "wolfe_samelson", "gali", "trajectory"):
        with pytest.raises(InvalidInputError, match=r"had b = 0\.3, and this has b = 0.2"):
            getattr(mapped(Henon(b=0.2)), name)(end, intervals=12)
        getattr(mapped(Henon()), name)(end, intervals=12)


def test_a_run_with_another_drive_goes_on_in_its_time_as_the_message_says():
    """x' = -x + cos(w t): a sweep of w that began each run at t0 = 0 would lose the phase of the drive."""
    slow, fast = (SymbolicFlow.of({"x": "-x + cos(w*t)"}, {"w": w}) for w in (1.0, 1.1))
    end = slow.tangent(RK4(0.1), backend="numpy").trajectory([1.0], intervals=7).end
    with pytest.raises(
        InvalidInputError, match=r"x0=end\.x\[0\], with tangent\(\.\.\., t0=end\.time\) if the equations"
    ):
        fast.tangent(RK4(0.1), backend="numpy").trajectory(end, intervals=2)
    advised = fast.tangent(RK4(0.1), t0=end.time, backend="numpy").trajectory(end.x[0], intervals=2)
    anyhow = fast.tangent(RK4(0.1), backend="numpy").trajectory(attrs.evolve(end, system=""), intervals=2)
    np.testing.assert_allclose(advised.states, anyhow.states, rtol=1e-12)
    np.testing.assert_allclose(advised.times, anyhow.times, rtol=1e-12)
    of_a_map = mapped(Logistic(r=3.7)).trajectory([0.3], intervals=2).end  # which t0 does not change
    with pytest.raises(InvalidInputError, match=r"where it ended \(x0=end\.x\[0\]\)$"):
        mapped(Logistic(r=3.9)).trajectory(of_a_map, intervals=2)


def test_frames_can_be_carried_on_on_purpose():
    """A parameter is switched in the midst of a run, and growth goes on along the same frames."""
    end = mapped(Henon()).benettin([0.1, 0.1], intervals=50).end
    on = mapped(Henon(b=0.2)).benettin(attrs.evolve(end, system=""), intervals=40)
    by_hand = mapped(Henon(b=0.2)).forward(end, intervals=40, steps_per_interval=1, record="growth")
    np.testing.assert_array_equal(on.rates, by_hand.growth[0])
    with pytest.raises(InvalidInputError, match=r"b = 0\.2, and this has b = 0.3"):
        mapped(Henon()).benettin(on.end, intervals=3)


def test_what_a_function_writes_into_is_not_held_against_it():
    calls, seen, buffer, count = [0], [], np.zeros(20), 0

    def fill(x, room, said={}):  # noqa: B006
        said["last"], alias = x[0], room
        alias[0] = 0.5 * x[0]

    def rule(n, x):
        nonlocal count
        count += 1
        calls[0] += 1
        seen.append(n)
        fill(x, buffer)
        return [buffer[0]]

    end = mapped(FunctionMap(rule, 1)).trajectory([0.5], intervals=3).end
    assert count > 3
    assert buffer[0] != 0.0
    mapped(FunctionMap(rule, 1)).trajectory(end, intervals=3)


def test_what_cannot_be_seen_into_is_not_held_against_it():
    def rule(n, x, generator):
        return 0.5 * x

    first, second = (FunctionMap(rule, 1, lambda n, x, g: [[0.5]], args=(np.random.default_rng(s),)) for s in (0, 1))
    end = mapped(first).trajectory([0.5], intervals=3).end
    mapped(second).trajectory(end, intervals=3)


def other_helper(u):
    return 0.2 * np.sin(u)


def test_constants_and_functions_of_the_module_are_seen(monkeypatch):
    end = mapped(FunctionMap(scaled, 1)).trajectory([0.5], intervals=3).end
    mapped(FunctionMap(scaled, 1)).trajectory(end, intervals=3)
    monkeypatch.setattr(continued_systems, "SCALE", 3.0)
    with pytest.raises(InvalidInputError, match=r"function\.SCALE = 2, and this has function\.SCALE = 3"):
        mapped(FunctionMap(scaled, 1)).trajectory(end, intervals=3)
    monkeypatch.undo()
    monkeypatch.setattr(continued_systems, "helper", other_helper)
    with pytest.raises(InvalidInputError, match=r"function\.helper helper, and this has function\.helper other_helper"):
        mapped(FunctionMap(scaled, 1)).trajectory(end, intervals=3)
    monkeypatch.undo()
    end = stepped(FunctionFlow(one_by_one, 1)).trajectory([0.5], intervals=3).end
    monkeypatch.setitem(PARAMETERS, "rate", 0.6)  # who changed that, the user or the run?
    stepped(FunctionFlow(one_by_one, 1)).trajectory(end, intervals=3)


def defined(text):
    """What a program defines that is typed in."""
    found = {"__name__": "typed_in", "np": np, "Flow": Flow, "attrs": attrs}
    exec(text, found)
    return found


OWN = '''
class Pendulum(Flow):
    """Damped."""
    damping = 0.1
    dimension = 2
    def vector_field(self, t, x):
        """Velocity."""
        return np.stack([x[..., 1], -np.sin(x[..., 0]) - self.damping * x[..., 1]], axis=-1)
'''


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("Velocity.", "The velocity dx/dt.", ""),
        ("(self, t, x):", "(self, t, x):  # a comment", ""),
        ("typed", "typed", ""),
        ("damping = 0.1", "damping = 0.2", "damping = 0.1, and this has damping = 0.2"),
        ("np.sin", "np.cos", "the system Pendulum, and this has another system Pendulum"),
    ],
)
def test_a_class_that_is_typed_in_is_its_code(old, new, named):
    first, second = defined(OWN)["Pendulum"], defined(OWN.replace(old, new))["Pendulum"]
    end = stepped(first()).trajectory([0.1, 0.2], intervals=3).end
    if not named:
        stepped(second()).trajectory(end, intervals=3)
        return
    with pytest.raises(InvalidInputError, match=named):
        stepped(second()).trajectory(end, intervals=3)


PROGRAM = """
import sys
from dynsys import RK4, FunctionFlow, Trajectory

def rule(t, x, rate=0.5):
    return [-rate * x[0]]

tangent = FunctionFlow(rule, 1).tangent(RK4(0.1), backend="numpy")
if sys.argv[2] == "begin":
    tangent.trajectory([1.0], intervals=4).save(sys.argv[1])
else:
    print(tangent.trajectory(Trajectory.load(sys.argv[1]).end, intervals=4).states[-1, 0])
"""


@pytest.mark.slow
def test_another_process_goes_on(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    for program, mode in (
        ([str(tmp_path / "program.py")], "begin"),
        (["-c", PROGRAM], "go on"),
        ([str(tmp_path / "program.py")], "go on"),
    ):
        done = subprocess.run(
            [sys.executable, *program, str(tmp_path / "run.npz"), mode], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(np.exp(-0.4), rel=1e-6)


def test_another_version_of_python_compares_names_not_code():
    system = json.loads(told(FunctionFlow(lorenz, 3).identity))
    older = json.loads(json.dumps(system))
    older["function"] |= {"its code": "of other bytes", "its python": "3.10"}
    assert differing(json.dumps(older), json.dumps(system)) == ("", "")
    older["function"]["its name"] = "another"
    assert differing(json.dumps(older), json.dumps(system)) == ("function another", "function lorenz")


def test_files_of_earlier_versions_go_on(tmp_path):
    tangent = mapped(Henon())
    run = tangent.benettin([0.1, 0.1], intervals=40)
    old = attrs.evolve(run, end=attrs.evolve(run.end, system=""))
    loaded = LyapunovSpectrum.load(old.save(tmp_path / "old.npz"))
    assert mapped(Henon(b=0.2)).benettin(loaded.end, intervals=10).end.system == mapped(Henon(b=0.2)).identity
    fields = json.loads(tangent.identity)
    fields["later"] = 3  # of a version that has a field more, or less
    assert differing(json.dumps(fields), tangent.identity) == ("", "")
    assert differing(tangent.identity, json.dumps(fields)) == ("", "")


@pytest.mark.parametrize(
    "text", ["Henon", "[" * 100_000, "[]", "3", '{"its class": 3, "its members": [1]}', '{"its class": [], "a": {}}']
)
def test_what_is_no_description_is_refused(text):
    end = attrs.evolve(begun(mapped(Henon())), system=text)
    with pytest.raises(InvalidInputError) as caught:
        mapped(Henon()).trajectory(end, intervals=2)
    assert len(str(caught.value)) < 600


def test_names_from_a_file_command_no_terminal():
    end = attrs.evolve(begun(mapped(Henon())), system=json.dumps({"\x1b[2J": 1, "b": "\x1b[31m" * 1000}))
    with pytest.raises(InvalidInputError) as caught:
        mapped(Henon()).trajectory(end, intervals=2)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


def test_what_is_told_is_short():
    wide = SymbolicFlow.of({f"x{i}": f"-a{i}*x{i}" for i in range(400)}, {f"a{i}": 1.0 / (i + 1) for i in range(400)})
    other = attrs.evolve(wide, a399=7.0)
    texts = [told(system.identity) for system in (wide, other, FunctionFlow(lambda t, x, a: a @ x, 400,
             lambda t, x, a: a, args=(np.ones((400, 400)),)))]  # fmt: skip
    assert max(map(len, texts)) < 25_000
    assert differing(texts[0], texts[1])[0]
    assert not differing(texts[0], told(attrs.evolve(other, a399=1 / 400).identity))[0]


SPLITS = {
    "flow": lambda: (stepped(Lorenz63(), t0=1.5), [1.0, 2.0, 20.0]),
    "driven flow": lambda: (stepped(FORCED), [0.3]),
    "map": lambda: (mapped(Henon()), [[0.1, 0.1], [0.2, 0.1]]),
    "minibatches": lambda: (descent(network().minibatches(7, seed=3)), network().initial(members=2, seed=1)),
    "Adam": lambda: (descent(network().minibatches(7, seed=3), Adam(0.01)), network().initial(seed=1)),
    "adaptive": lambda: (descent(Lorenz63(), DormandPrince(0.05)), [1.0, 2.0, 20.0]),
    "varied": lambda: (vary(mapped(Logistic()), {"r": [3.7, 3.9]}), [[0.3], [0.4]]),
    "stroboscopic": lambda: (mapped(StroboscopicMap(FORCED, RK4(0.1), steps=5)), [0.3]),
    "own step": lambda: (tangent_of(Noisy(t0=2.0)), [0.3]),
}  # fmt: skip


@pytest.mark.parametrize("name", SPLITS)
@settings(max_examples=8, deadline=None)
@given(parts=st.lists(st.integers(1, 6), min_size=2, max_size=4), steps=st.integers(1, 3))
def test_a_run_in_parts_is_the_run_in_one_piece(name, parts, steps, tmp_path_factory):
    tangent, x0 = SPLITS[name]()
    whole = tangent.benettin(x0, intervals=sum(parts), steps_per_interval=steps, warmup=0)
    path, end, rates, times = tmp_path_factory.mktemp("parts"), x0, [], []
    for part in parts:
        tangent, _ = SPLITS[name]()  # objects of another process
        found = reloaded(tangent.benettin(end, intervals=part, steps_per_interval=steps, warmup=0), path)
        end = found.end
        rates.append(found.rates)
        times.append(found.times)
    np.testing.assert_array_equal(np.concatenate(rates, axis=-2), whole.rates)
    np.testing.assert_array_equal(np.concatenate(times), whole.times)
    for field in ("n", "x", "Q", "t0", "dt", "system"):
        np.testing.assert_array_equal(getattr(end, field), getattr(whole.end, field))


@settings(max_examples=15, deadline=None)
@given(
    first=st.sampled_from([0.01, 0.02, 0.0125, 0.004]),
    later=st.lists(st.sampled_from([0.01, 0.02, 0.03, 0.005, 0.0137]), min_size=1, max_size=3),
    lengths=st.lists(st.integers(1, 60), min_size=4, max_size=4),
)
def test_another_dt_keeps_time_and_phase(first, later, lengths, tmp_path_factory):
    """x' = -x + cos t."""
    driven, path = SymbolicFlow.of({"x": "-x + cos(t)"}), tmp_path_factory.mktemp("dt")
    end = reloaded(driven.tangent(RK4(first), backend="numpy").trajectory([1.0], intervals=lengths[0]), path).end
    for dt, length in zip(later, lengths[1:], strict=False):
        run = reloaded(driven.tangent(RK4(dt), backend="numpy").trajectory(end, intervals=length), path)
        np.testing.assert_allclose(run.times, end.time + dt * np.arange(1, length + 1), rtol=1e-12)
        exact = (np.cos(run.times) + np.sin(run.times) + np.exp(-run.times)) / 2
        np.testing.assert_allclose(run.states[:, 0], exact, atol=1e-7)
        end = run.end


@pytest.mark.numba
def test_backends_go_on_with_each_other():
    flow = Lorenz63()
    for first, second in (("numba", "numpy"), ("numpy", "numba")):
        end = flow.tangent(RK4(0.01), backend=first).benettin([1.0, 2.0, 20.0], intervals=40).end
        flow.tangent(RK4(0.01), backend=second).benettin(end, intervals=40)
        with pytest.raises(InvalidInputError, match="rho = 28, and this has rho = 30"):
            Lorenz63(rho=30.0).tangent(RK4(0.01), backend=second).benettin(end, intervals=10)


def test_trajectories_keep_what_they_were_of(tmp_path):
    run = stepped(Lorenz63()).trajectory([1.0, 2.0, 20.0], intervals=3)
    assert isinstance(reloaded(run, tmp_path), Trajectory)
    assert reloaded(run, tmp_path).end.system == run.end.system == stepped(Lorenz63()).identity


@pytest.mark.parametrize(
    ("value", "same", "other", "named"),
    [
        ((1, 2), [1.0, 2.0], (1, 3), r"a\[1\] = 2, .*a\[1\] = 3"),
        (np.arange(40), np.arange(40.0), np.arange(1, 41), "another function.a"),
        (list(range(40)), np.arange(40), list(range(1, 41)), "another function.a"),
        (Fraction(1, 2), 0.5, Fraction(1, 4), "function.a = 0.5, .*function.a = 0.25"),
        ({"k": 1, "l": 0}, {"l": 0.0, "k": 1.0}, {"k": 2, "l": 0}, "function.a.k = 1"),
        ({1, 2, 3}, {3, 2, 1}, {1, 2, 4}, r"function.a\[2\] = 3"),
        (np.sin, np.sin, np.cos, "function.a sin, .* function.a cos"),
        (math.sin, math.sin, math.cos, "function.a sin, .* function.a cos"),
        (helper, helper, scaled, "function.a helper, .* function.a scaled"),
        (b"ab", b"ab", b"ac", "another function.a"),
        ("linear", "linear", "cubic", "function.a = linear, .*function.a = cubic"),
        (Tanh(), Tanh(), GELU(), "function.a Tanh, .* function.a GELU"),
        (xarray.DataArray(np.arange(30)), xarray.DataArray(np.arange(30)), xarray.DataArray(np.ones(30)), "another"),
        (None, None, 3, "function.a = 3"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_whatever_is_an_argument_is_compared(value, same, other, named):
    def rule(n, x, a):
        return 0.5 * x

    def tangent(a):
        return mapped(FunctionMap(rule, 1, lambda n, x, a: [[0.5]], args=(a,)))

    end = tangent(value).trajectory([0.5], intervals=3).end
    tangent(same).trajectory(end, intervals=2)
    tangent(copy.deepcopy(value)).trajectory(end, intervals=2)
    if value is not None:
        with pytest.raises(InvalidInputError, match=named):
            tangent(other).trajectory(end, intervals=2)


def test_functions_that_call_one_another_are_told_once():
    """Told along every way from the last to the first, these would be 2^30."""
    names = {"__name__": "many"}
    for i in range(30):
        exec(f"def f{i}(n, x): return [{' '.join(f'f{j}(n, x),' for j in range(i))} f29]", names)
    text = told(FunctionMap(names["f29"], 1, lambda n, x: [[0.5]]).identity)
    assert len(text) < 25_000


@pytest.mark.parametrize("kind", ["flow", "function", "varied"])
def test_tangents_are_pickled_with_what_they_were_told(kind):
    tangent = {
        "flow": lambda: stepped(Lorenz63()),
        "function": lambda: stepped(FunctionFlow(lorenz, 3)),
        "varied": lambda: vary(mapped(Logistic()), {"r": [3.7, 3.8]}),
    }[kind]()
    before = tangent.identity
    assert pickle.loads(pickle.dumps(tangent)).identity == before == attrs.evolve(tangent).identity
    assert tangent.identity is before


def test_a_store_does_not_see_what_a_tangent_was_told():
    tangent = tangent_of(Plain(3.7))
    before = Ensemble.of(tangent.benettin, [[0.3]], intervals=3).definition
    tangent.benettin([0.3], intervals=40)
    fresh = Ensemble.of(tangent_of(Plain(3.7)).benettin, [[0.3]], intervals=3).definition
    assert before == fresh
