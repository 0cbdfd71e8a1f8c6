"""Steppers written out on the slopes and Jacobians of equations: the same steps as those of NumPy."""

from functools import cache

import attrs
import numpy as np
import pytest
from steps import kernel_of

from dynsys import (
    DOP853,
    RK4,
    RK8,
    DivergenceError,
    DormandPrince,
    ExplicitRungeKutta,
    ImplicitMidpoint,
    Leapfrog,
    PoincareMap,
    StroboscopicMap,
    SymbolicFlow,
    parameter,
    vary,
)
from dynsys.compiled.kernel import StepSource
from dynsys.models.classics import Lorenz63

pytestmark = pytest.mark.numba


class BogackiShampine(ExplicitRungeKutta):
    """A method of a user, whose last slope is the first of the next step."""

    order = 3
    a = ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9))
    b = (2 / 9, 1 / 3, 4 / 9, 0.0)


@attrs.frozen(eq=False)
class Ring(SymbolicFlow):
    """Two interleaved fields, whose entries by parameters are expressions."""

    a: float = parameter(0.7)
    equations = {
        f"{field}{i}": rule.format(i, (i + 1) % 9, (i - 1) % 9)
        for i in range(9)
        for field, rule in (
            ("u", "u{0} - u{0}^3/3 - v{0} + exp(-a)*(u{1} - 2*u{0} + u{2}) + 0.1*cos(3*t)"),
            ("v", "0.1*(u{0} + a - 0.8*v{0})"),
        )
    }


def chain():
    """A chain of oscillators with ends, positions before momenta; the last bond is another one."""
    last = 10
    positions = {f"q{i}": f"p{i}" for i in range(last)}
    momenta = {}
    for i in range(last):
        bonds = [f"q{j} - q{i} + 0.5*(q{j} - q{i})^3" for j in (i - 1, i + 1) if 0 <= j < last]
        momenta[f"p{i}"] = " + ".join(bonds) + (" - sin(q9)*cos(t)" if i == last - 1 else "")
    return SymbolicFlow.of(positions | momenta)


FLOWS = {
    "few": lambda: (Lorenz63(), [1.0, 2.0, 20.0]),
    "driven": lambda: (SymbolicFlow.of({"q": "p + p^3", "p": "-q - q^3*cos(t)"}), [0.3, 0.5]),
    "constant entries": lambda: (SymbolicFlow.of({"x": "-0.1*x + y", "y": "-x", "z": "2"}), [0.3, 0.5, 0.1]),
    "fields": lambda: (Ring(), np.linspace(-1.0, 1.0, 18)),
    "chain": lambda: (chain(), np.random.default_rng(0).normal(size=20)),
}
STEPPERS = [DormandPrince(0.2, 1e-8), DOP853(0.4, 1e-10), ImplicitMidpoint(0.02), RK8(0.05), BogackiShampine(0.02)]
OF_HAMILTONIANS = ["driven", "chain"]


@cache
def system(name):
    return FLOWS[name]()


def agree(tangent, numpys, x, k, **options):
    options = {"intervals": 3, "steps_per_interval": 2, "warmup": 0, "k": k} | options
    ours, theirs = tangent.benettin(x, **options), numpys.benettin(x, **options)
    np.testing.assert_allclose(ours.rates, theirs.rates, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.end.x, theirs.end.x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("stepper", [*STEPPERS, Leapfrog(0.05)], ids=lambda stepper: type(stepper).__name__)
def test_written_steps_are_those_of_numpy(stepper, name):
    """With one vector, with as many as fill no tile of eight, and with more; and of the state alone."""
    if isinstance(stepper, Leapfrog) and name not in OF_HAMILTONIANS:
        pytest.skip("positions and momenta are needed")
    flow, x = system(name)
    for k in sorted({k for k in (1, 3, 5, 9) if k <= len(x)}):
        assert isinstance(kernel_of(flow, stepper).step(k), StepSource)
        agree(*(flow.tangent(stepper, backend=backend) for backend in ("numba", "numpy")), x, k)
    np.testing.assert_allclose(
        *(flow.tangent(stepper, backend=backend).trajectory(x, intervals=3).states for backend in ("numba", "numpy")),
        rtol=1e-10, atol=1e-10,
    )  # fmt: skip


def others_do_not_matter(tangent, x, k):
    """Results of a member are the same to the bit beside others, beside still others, and alone."""
    members = np.asarray(x) + 1e-2 * np.arange(20)[:, None]
    options = {"intervals": 2, "steps_per_interval": 3, "warmup": 0, "k": k}
    elsewhere = members + 0.1
    elsewhere[[0, 7]] = members[[0, 7]]
    together, beside_others = tangent.benettin(members, **options), tangent.benettin(elsewhere, **options)
    for m in (0, 7):
        np.testing.assert_array_equal(together.rates[m], beside_others.rates[m])
        np.testing.assert_array_equal(together.end.x[m], beside_others.end.x[m])
    np.testing.assert_array_equal(together.rates[0], tangent.benettin(members[0], **options).rates)
    assert not np.array_equal(together.rates[1], beside_others.rates[1])


def test_stages_that_nothing_reads_are_not_computed():
    class Wasteful(ExplicitRungeKutta):
        """RK4 with a stage in its midst, and one at its end, of which no use is made; another reads the former."""

        order = 4
        a = (
            (),
            (0.3,),
            (0.5, 0.0),
            (0.0, 0.1, 0.2),
            (0.0, 0.0, 0.5, 0.0),
            (0.0, 0.0, 0.0, 0.0, 1.0),
            (1.0,) + (0.0,) * 5,
        )
        b = (1 / 6, 0.0, 1 / 3, 0.0, 1 / 3, 1 / 6, 0.0)

    assert Wasteful(0.1).tableau.reduced == RK4(0.1).tableau
    assert [kind(0.1).tableau.reduced for kind in (RK4, RK8)] == [kind(0.1).tableau for kind in (RK4, RK8)]
    assert len(BogackiShampine(0.1).tableau.reduced.b) == 3
    flow, x = system("driven")
    agree(*(flow.tangent(Wasteful(0.02), backend=backend) for backend in ("numba", "numpy")), x, 2)


@pytest.mark.parametrize("stepper", [DormandPrince(0.2, 1e-8), Leapfrog(0.05), ImplicitMidpoint(0.05)], ids=repr)
@pytest.mark.parametrize("k", [2, 5])
def test_a_member_is_stepped_as_it_is_alone(stepper, k):
    """Whether members go side by side or one after the other."""
    flow, x = system("chain")
    others_do_not_matter(flow.tangent(stepper, backend="numba"), x, k)


@pytest.mark.parametrize("stepper", [DOP853(0.4, 1e-9), ImplicitMidpoint(0.05)], ids=repr)
def test_members_with_parameters_of_their_own_keep_the_numbers_of_the_stepper(stepper):
    ours, numpys = (
        vary(Lorenz63().tangent(stepper, backend=backend), {"rho": [20.0, 28.0, 35.0]})
        for backend in ("numba", "numpy")
    )
    agree(ours, numpys, np.array([1.0, 2.0, 20.0]) + np.zeros((3, 1)), 3)


@pytest.mark.parametrize("kind", [DormandPrince, DOP853])
def test_written_substeps_give_up_where_those_of_numpy_do(kind, monkeypatch):
    monkeypatch.setattr("dynsys.steppers.embedded.MOST", 300)
    square = SymbolicFlow.of({"x": "x^2", "y": "-y"})  # x(t) = 1 / (1 - t)
    before = square.tangent(kind(0.99), backend="numba").trajectory([1.0, 1.0], intervals=1, warmup=0)
    assert before.states[0, 0] == pytest.approx(100.0, rel=1e-6)
    for flow, dt in ((square, 1.01), (SymbolicFlow.of({"x": "sign(0.3 - x)", "y": "-y"}), 1.0)):
        with pytest.raises(DivergenceError, match="more than 300 substeps"):
            flow.tangent(kind(dt), backend="numba").benettin([1.0, 1.0] if dt > 1.0 else [0.0, 1.0], intervals=2)


@pytest.mark.parametrize("kind", [DormandPrince, DOP853])
def test_a_vector_in_the_kernel_of_the_jacobian_asks_for_no_substeps(kind):
    """Nor do vectors of zeros that fill a tile: lengths, and with them states, are those of NumPy to rounding."""
    flow = SymbolicFlow.of({f"x{i}": f"-x{i}^3" if i else "1" for i in range(6)})
    agree(*(flow.tangent(kind(0.5, 1e-6), backend=b) for b in ("numba", "numpy")), np.linspace(0.5, 1.0, 6), 5)


@pytest.mark.parametrize("stepper", [DormandPrince(0.1, 1e-9), ImplicitMidpoint(0.02), RK8(0.1)], ids=repr)
def test_a_stroboscopic_map_gives_its_stepper_its_numbers(stepper):
    flow, x = system("driven")
    strobe = StroboscopicMap(flow, stepper, steps=4, t0=0.3)
    agree(strobe.tangent(backend="numba"), strobe.tangent(backend="numpy"), x, 2)


def test_members_of_a_stroboscopic_map_go_side_by_side():
    flow, x = system("driven")
    strobe = StroboscopicMap(flow, RK8(0.1), steps=4, t0=0.3)
    assert strobe.step_kernel().step(2).side_by_side
    others_do_not_matter(strobe.tangent(backend="numba"), x, 2)
    agree(strobe.tangent(backend="numba"), strobe.tangent(backend="numpy"), x + np.zeros((20, 1)), 2)


@pytest.mark.parametrize(
    "stepper",
    [*STEPPERS[2:], DOP853(0.4, 1e-6), pytest.param(DormandPrince(0.2, 1e-8), marks=pytest.mark.slow)],
    ids=lambda stepper: type(stepper).__name__,
)
def test_written_returns_are_those_of_numpy(stepper):
    returns = PoincareMap(Lorenz63(), stepper, [0.3, -0.2, 1.0], 27.0, direction=-1)
    u = returns.first_crossing([1.0, 1.0, 20.0])
    tangents = [returns.tangent(backend=backend) for backend in ("numba", "numpy")]
    agree(*tangents, u, 1, intervals=2, steps_per_interval=1)
    states = [tangent.trajectory(u, intervals=2).states for tangent in tangents]
    np.testing.assert_allclose(*states, rtol=1e-9)


@pytest.mark.parametrize("k", [3, *(pytest.param(k, marks=pytest.mark.slow) for k in (4, 7, 9)), 8])
def test_written_returns_of_many_vectors_have_room_for_one_more(k):
    """The derivative by the length of the last step is a column beside the vectors, maybe of another tile."""
    rule = "(x{1} - x{2})*x{3} - x{0} + 8"
    ring = SymbolicFlow.of({f"x{i}": rule.format(i, (i + 1) % 10, (i - 2) % 10, (i - 1) % 10) for i in range(10)})
    returns = PoincareMap(ring, RK8(0.05), [1.0] + [0.0] * 9, 2.0)
    u = returns.first_crossing(np.random.default_rng(0).normal(size=10))
    agree(*(returns.tangent(backend=b) for b in ("numba", "numpy")), u, k, intervals=2, steps_per_interval=1)


def test_a_written_flow_that_does_not_come_back_is_given_up():
    spiral = SymbolicFlow.of({"x": "-0.1*x - y", "y": "x - 0.1*y", "z": "-z"})
    returns = PoincareMap(spiral, RK8(0.1), normal=[0.0, 1.0, 0.0], offset=0.5, limit=500)
    with pytest.raises(DivergenceError, match="within limit = 500 steps"):
        returns.tangent(backend="numba").benettin([1.0, 0.1], intervals=50, warmup=0)
