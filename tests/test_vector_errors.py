"""Whether vectors are called reliable that are wrong somewhere inside the window, and the other way round."""

import re
import warnings

import attrs
import numpy as np
import pytest

from dynsys import RK4, CovariantVectors, DiagnosticWarning, DormandPrince, Euler, Flow, SymbolicFlow
from dynsys.algorithms.checks.covariance import joined
from dynsys.algorithms.checks.vector_errors import errors_inside
from dynsys.indicators import line_distance
from dynsys.models.classics import Henon, LinearCocycle, Lorenz63

ON_LORENZ = [-1.2, -2.4, 13.1]
S = np.array([[1.0, 0.6, 0.2], [0.0, 0.8, -0.4], [0.0, 0.0, 0.9]])
S = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0] @ (S / np.linalg.norm(S, axis=0))


def cocycle(rates):
    """A_n = S diag(rates_n) S^-1: the covariant vectors are the columns of S, whatever the rates."""
    return LinearCocycle(S @ (np.exp(rates)[:, :, None] * np.linalg.inv(S)))


def exchanging(pair, late):
    """Rates that two vectors exchange, and more, for 8 intervals of the window, early or late in it.

    The run has 27 + 100 + 27 intervals, and gaps of ln 2 and ln 4. In the exchange, 4 intervals from the end of the
    window, what remains of a wrong start grows by 8 or by 16 in an interval.
    """
    rates = np.log(np.tile([4.0, 2.0, 0.5], (154, 1)))
    there = slice(127 - 12, 127 - 4) if late else slice(27 + 4, 27 + 12)
    i, j = pair
    rates[there, i], rates[there, j] = rates[there, j] - np.log(2.0), rates[there, i] + np.log(2.0)
    return rates


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("pair", "size"), [((0, 1), 2.0**-31 * 8.0**8), ((1, 2), 4.0**-31 * 16.0**8)])
def test_errors_are_seen_where_vectors_exchange_the_order_of_their_growth(pair, size, late):
    tangent = cocycle(exchanging(pair, late)).tangent(backend="numpy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clvs = tangent.ginelli(np.zeros(3), intervals=100, warmup=27, tail=27)
    found, off = clvs.diagnostics, line_distance(clvs.vectors, S)
    assert found.start_agreement.max() < 1e-6  # the ends show nothing
    assert found.frame_agreement.max() < 1e-6
    turned = pair[1] if late else pair[0]
    others = [j for j in range(3) if j != turned]
    assert (off.max(axis=0) <= 3 * found.error + 1e-14).all()
    assert found.error[turned] < 100 * off[:, turned].max() + 1e-4
    assert found.error[others].max() < 1e-4
    if size > 1e-4:
        assert off[:, turned].max() > 3e-4  # wrong, and only there
        assert found.subspaces.tolist() == [-1 if j == turned else j for j in range(3)]
        kept = ", ".join(str(j + 1) for j in others)
        cause = "two starts of the backward pass" if late else "two forward frames"
        text = f"{cause} disagree inside the window.*too short; reliable: vector\\(s\\) {kept}$"
        assert re.match(text, str(caught[0].message))
    else:
        assert found.subspaces.tolist() == [0, 1, 2]
        assert not caught


def test_the_same_exchange_with_longer_ends_is_right_and_says_nothing():
    rates = np.log(np.tile([4.0, 2.0, 0.5], (234, 1)))
    rates[40:194] = exchanging((0, 1), late=True)
    clvs = cocycle(rates).tangent(backend="numpy").ginelli(np.zeros(3), intervals=100, warmup=67, tail=67)
    assert clvs.diagnostics.subspaces.tolist() == [0, 1, 2]
    assert line_distance(clvs.vectors, S).max() < 3 * clvs.diagnostics.error.max() < 1e-4


@pytest.mark.parametrize("stride", [1, 4])
def test_errors_of_factors_turn_vectors_by_what_is_estimated(stride):
    """Rounding, by the second way: tangents that are wrong by 1e-9, at random, give other vectors."""
    rng, size = np.random.default_rng(8), 1e-9
    rates = rng.normal([0.7, 0.0, -0.9], 1.0, size=(400, 3))  # local exponents exchange their order all the time
    right = S @ (np.exp(rates)[:, :, None] * np.linalg.inv(S))
    wrong = rng.normal(size=right.shape)
    wrong *= (
        size
        * np.linalg.norm(right, 2, axis=(1, 2))[:, None, None]
        / np.linalg.norm(wrong, 2, axis=(1, 2))[:, None, None]
    )
    run = {"intervals": 200, "warmup": 100, "tail": 100, "stride": stride}
    one, other = (LinearCocycle(M).tangent(backend="numpy").ginelli(np.zeros(3), **run) for M in (right, right + wrong))
    off = line_distance(one.vectors, other.vectors).max(axis=0)
    growth, none = one.rates[None] * stride, np.zeros((1, 4, 3))
    last = np.array([len(one.times) - 1])
    found = errors_inside(one.vectors[None], growth, last, none[:, :3], none, np.array([size]), stride)
    estimate = found.rounding[0].sum(axis=0)
    assert (off < 5 * estimate).all()
    assert (estimate < 60 * off).all()
    assert found.starts.max() == found.frames.max() == 0.0


def test_smallest_angle_is_found_to_rounding_with_its_pair_and_time():
    rng = np.random.default_rng(2)
    V = rng.normal(size=(2, 50, 4, 3))
    V[0, 17, :, 2] = -V[0, 17, :, 0] + 1e-11 * rng.normal(size=4)
    V[1, 30, :, 1] = V[1, 30, :, 0] + 3e-5 * rng.normal(size=4)
    V[1, 49, :, 1] = V[1, 49, :, 2]  # after the last time of this member
    V /= np.linalg.norm(V, axis=2, keepdims=True)
    none = np.zeros((2, 4, 3))
    found = errors_inside(V, np.zeros((2, 50, 3)), np.array([49, 40]), none[:, :3], none, np.full(2, 1e-16))
    assert found.time.tolist() == [17, 30]
    assert found.pair.tolist() == [[0, 2], [0, 1]]
    assert found.near.tolist() == [1, 1]
    there = [line_distance(V[0, 17, :, :1], V[0, 17, :, 2:])[0], line_distance(V[1, 30, :, :1], V[1, 30, :, 1:2])[0]]
    np.testing.assert_allclose(found.angle, there, rtol=1e-4)
    assert np.isfinite(found.turned).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (5, 3)])
def test_any_number_of_times_vectors_and_dimensions_will_do(shape):
    dim, k = shape
    rng = np.random.default_rng(1)
    for m in (1, 2, 700):
        V = rng.normal(size=(1, m, dim, k))
        V /= np.linalg.norm(V, axis=2, keepdims=True)
        none = np.zeros((1, k + 1, k))
        found = errors_inside(V, np.zeros((1, m, k)), np.array([m - 1]), none[:, :k], none, np.array([1e-16]))
        assert found.turned.shape == (1, k + 1, k)
        assert found.turned.max() < 1e-6
        assert np.isnan(found.angle).all() == (k == 1)
    lost = errors_inside(V, np.zeros((1, m, k)), np.array([-1]), none[:, :k], none, np.array([1e-16]))
    assert np.isnan(lost.turned).all()
    assert lost.time.tolist() == [-1]


def turned(*pairs, k=4):
    found = np.zeros((1, k + 1, k))
    for i, j in pairs:
        found[0, i, j] = 1.0
    return found


@pytest.mark.parametrize(
    ("labels", "pairs", "dim", "expected"),
    [
        ([0, 1, 2, 3], [], 4, [0, 1, 2, 3]),
        ([0, 1, 2, 3], [(0, 1)], 4, [0, -1, 2, 3]),  # one vector is turned: the other is right
        ([0, 1, 2, 3], [(0, 1), (1, 0)], 4, [0, 0, 2, 3]),
        ([0, 1, 2, 3], [(0, 2), (3, 2)], 4, [0, 1, -1, 3]),
        ([0, 1, 1, 3], [(0, 1)], 4, [0, 0, 0, 3]),
        ([0, 1, 1, 3], [(1, 2)], 4, [0, 1, 1, 3]),  # within a run that is known
        ([0, 1, 1, 3], [(1, 3)], 4, [0, 1, 1, 1]),
        ([0, 1, 2, 3], [(0, 1), (1, 0), (2, 3), (1, 2)], 4, [-1, -1, -1, -1]),
        ([0, 1, 2, 3], [(4, 3)], 9, [0, 1, 2, -1]),  # by a direction that is not followed
        ([0, 1, 2, -1], [(2, 3)], 9, [0, 1, 2, -1]),
    ],
)
def test_labels_after_vectors_are_turned(labels, pairs, dim, expected):
    assert joined(np.array([labels]), turned(*pairs), dim, 1e-4)[0].tolist() == expected


def test_members_have_checks_of_their_own():
    starts = [[0.1, 0.1], [0.3, 0.2], [-0.4, 0.1]]
    together = Henon().tangent(backend="numpy").ginelli(starts, intervals=30, warmup=60, tail=60)
    alone = Henon().tangent(backend="numpy").ginelli(starts[1], intervals=30, warmup=60, tail=60)
    assert together.diagnostics.error.shape == (3, 2)
    np.testing.assert_allclose(together.diagnostics.smallest_angle[1], alone.diagnostics.smallest_angle, rtol=1e-6)
    assert together.diagnostics.closest_time[1] == alone.diagnostics.closest_time
    angles = alone.angles[:, 0, 1]
    np.testing.assert_allclose(alone.diagnostics.smallest_angle, angles.min(), rtol=1e-12)
    assert alone.diagnostics.closest_time == alone.times[angles.argmin()]
    assert alone.diagnostics.near_tangencies == 0
    assert "smallest angle" in str(together)
    assert "of member" in str(together)


def neutral(stepper, backend="auto", **options):
    run = {"intervals": 200, "steps_per_interval": 5, "warmup": 400, "tail": 600} | options
    return Lorenz63().tangent(stepper, backend=backend).ginelli(ON_LORENZ, **run)


def test_the_neutral_vector_is_held_against_the_flow():
    found = neutral(RK4(0.01)).diagnostics
    assert found.neutral_vector == 1
    assert 1e-10 < found.neutral_angle < 1e-4


def test_a_neutral_vector_of_the_step_is_said_to_be_that():
    with pytest.warns(DiagnosticWarning, match=r"neutral vector up to .* degrees off the velocity.*shorten dt"):
        clvs = neutral(Euler(0.005), "numpy", steps_per_interval=10)
    assert clvs.diagnostics.subspaces.tolist() == [0, 1, 2]  # it is right, as a vector of the step
    assert re.search(r"neutral vector \(2\) at most [0-9.]+ degrees off the flow \(by the step\)", str(clvs))
    assert clvs.diagnostics.neutral_angle > np.radians(0.5)


@pytest.mark.parametrize("k", [1, 2])
def test_of_fewer_vectors_it_is_not_known_whether_the_last_is_the_neutral_one(k):
    found = neutral(RK4(0.01), k=k).diagnostics
    assert np.isnan(found.neutral_angle)
    assert found.neutral_vector == -1


def test_there_is_no_neutral_vector_without_a_flow_that_moves_and_recurs():
    maps = Henon().tangent(backend="numpy").ginelli([0.1, 0.1], intervals=30, warmup=60, tail=60)
    tangent, run = Lorenz63(rho=0.5).tangent(RK4(0.01), backend="numpy"), {"intervals": 60, "steps_per_interval": 20}
    rest = tangent.ginelli(np.zeros(3), warmup=100, tail=100, **run)
    decay = tangent.ginelli(np.ones(3), warmup=50, tail=100, **run)
    for clvs in (maps, rest, decay):
        assert np.isnan(clvs.diagnostics.neutral_angle)
        assert clvs.diagnostics.neutral_vector == -1
        assert "neutral" not in str(clvs)


@attrs.frozen(eq=False)
class Relay(Flow):
    """An oscillator that a relay drives: x'' = -x - 0.6 x' + drive sign(x')."""

    drive: float = 1.0
    dimension = 2

    def vector_field(self, t, x):
        position, speed = x[..., 0], x[..., 1]
        return np.stack([speed, -position - 0.6 * speed + self.drive * np.sign(speed)], axis=-1)

    def jacobian(self, t, x):
        return np.array([[0.0, 1.0], [-1.0, -0.6]])

    @property
    def jumps(self):
        return ("sign(y)",)

    def sides(self, t, x):
        return np.sign(x[..., 1:]).astype(int)


def test_a_run_that_passes_a_jump_of_the_velocity_says_so():
    tangent, run = Relay().tangent(RK4(0.05), backend="numpy"), {"steps_per_interval": 4, "warmup": 20, "tail": 20}
    with pytest.warns(DiagnosticWarning, match=r"the velocity jumps where sign\(y\) does, and the run passes there"):
        tangent.ginelli([1.0, 0.5], intervals=40, **run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tangent.ginelli([-3.0, 4.0], intervals=2, **run | {"warmup": 1, "tail": 1})  # too short to get there
    assert not any("jumps" in str(w.message) for w in caught)


@pytest.mark.slow
@pytest.mark.numba
def test_a_kink_of_the_velocity_asks_for_shorter_steps_than_the_order_promises():
    flow = SymbolicFlow.of({"x": "y - 30*Max(0, 9 - z)", "y": "20 - x - 0.8*y - z", "z": "y - 0.08*z"})  # Colpitts
    angles = []
    for steps in (10, 640):
        run = {"intervals": 1000, "steps_per_interval": steps, "warmup": 1000, "tail": 1000}
        with pytest.warns(DiagnosticWarning, match="neutral vector up to"):
            found = flow.tangent(RK4(0.28 / steps)).ginelli([8.9, 0.65, 8.8], **run).diagnostics
        assert found.subspaces.tolist() == [0, 1, 2]
        assert found.neutral_vector == 1
        angles.append(found.neutral_angle)
    assert np.radians(1.0) < angles[0] < np.radians(60.0)
    assert angles[1] < angles[0]


def test_a_tolerance_that_is_too_large_is_not_called_reliable():
    tangent = Lorenz63().tangent(DormandPrince(dt=0.5, rtol=1e-5), backend="numpy")
    with pytest.warns(DiagnosticWarning, match="what the tolerance leaves open grows: lower rtol"):
        clvs = tangent.ginelli(ON_LORENZ, intervals=10, warmup=50, tail=40)
    assert clvs.diagnostics.covariance_residual > 1e-4
    assert (clvs.diagnostics.error > 1e-4).all()
    assert (clvs.diagnostics.subspaces == -1).any()


def test_checks_survive_a_disk_and_files_that_lack_them(tmp_path):
    clvs = Henon().tangent(backend="numpy").ginelli([0.1, 0.1], intervals=30, warmup=60, tail=60)
    loaded = CovariantVectors.load(clvs.save(tmp_path / "vectors.npz")).diagnostics
    for name in ("error", "smallest_angle", "closest_pair", "closest_time", "near_tangencies", "neutral_vector"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(clvs.diagnostics, name))


@pytest.mark.parametrize("start", ["identity", "random"])
def test_errors_of_estimates_from_a_short_window_are_those_of_their_start(start):
    system, exact = LinearCocycle.random(3, 400)
    for window in (5, 15, 30):
        clvs = system.tangent(backend="numpy").sharafi(
            np.zeros(3), intervals=50, warmup=200, window=window, start=start
        )
        off = line_distance(clvs.vectors, exact[clvs.times.astype(int)]).max(axis=0)
        assert (off <= clvs.diagnostics.error + 1e-12).all()
        assert (clvs.diagnostics.error < np.minimum(1.0, 1e3 * off) + 1e-12).all()


@pytest.mark.slow
@pytest.mark.numba
def test_what_is_called_reliable_agrees_with_a_run_of_three_times_the_ends():
    """A flow whose second vector two starts agree on at the last time, and which is wrong within."""
    flow = SymbolicFlow.of({"x": "y", "y": "z", "z": "0.8*x - 1.1*y - 0.45*z - x^3"})  # Arneodo, Coullet and Tresser
    tangent = flow.tangent(RK4(6.0 / 150))
    checked = 0
    for ends in (100, 300):
        start = tangent.benettin([0.1, 0.2, 0.3], intervals=3000 - ends, steps_per_interval=10, warmup=0).end
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DiagnosticWarning)
            options = {"intervals": 2000, "steps_per_interval": 10}
            short = tangent.ginelli(start.with_frames(0, 0), warmup=ends, tail=ends, **options)
            long = tangent.ginelli([0.1, 0.2, 0.3], warmup=3000, tail=3000, **options)
        np.testing.assert_array_equal(short.states, long.states)
        off = line_distance(short.vectors, long.vectors).max(axis=0)
        labels = short.diagnostics.subspaces
        single = np.array([labels[j] == j and np.count_nonzero(labels == j) == 1 for j in range(3)])
        assert (off[single] < 1e-3).all()
        checked += single.sum()
    assert checked >= 2
