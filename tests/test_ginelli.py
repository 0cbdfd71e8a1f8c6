"""Ginelli's covariant vectors against exact ones, against their defining property, and against each other."""

import attrs
import numpy as np
import pytest
from scipy.linalg import expm

from dynsys import RK4, DiagnosticWarning, DivergenceError, DormandPrince, Euler, InvalidInputError, RunState
from dynsys.algorithms.ginelli import random_triangles
from dynsys.indicators import line_distance
from dynsys.models.classics import Henon, LinearCocycle, LinearFlow, LinearMap, Lorenz63
from dynsys.passes.orthonormal import solve_upper, unpacked

BACKENDS = ["numpy", "numba"]
HENON, LORENZ = Henon().tangent(), Lorenz63().tangent(RK4(dt=0.01))
ON_HENON = [[0.1, 0.1], [0.3, 0.2], [-0.4, 0.1], [0.0, 0.0]]
ON_LORENZ = [-1.2, -2.4, 13.1]


def at(clvs, exact):
    """Distances between the vectors of a map's result and exact ones, given for times 0, 1, 2, ..."""
    return line_distance(clvs.vectors, exact[clvs.times.astype(int)])


def frames(tangent, x0, warmup, intervals, steps=1):
    """States, backward vectors and triangular factors after a warm-up, from the pass itself."""
    start = RunState.start(np.array(x0), tangent.dimension, None, 0)
    start = tangent.forward(start, intervals=warmup, steps_per_interval=steps, record="nothing")
    end = tangent.forward(start, intervals=intervals, steps_per_interval=steps, record="frames")
    return end.xs[0], end.Qs[0], unpacked(end.R[0])


def residuals(tangent, xs, vectors, first, steps=1):
    """Sine of the angle between each vector pushed over an interval and the next one; `first` is the step of xs[0]."""
    found = []
    for i in range(len(xs) - 1):
        x, V = xs[i], vectors[i]
        for n in range(first + i * steps, first + (i + 1) * steps):
            x, V = tangent.step(n, x, V)
        found.append(line_distance(V, vectors[i + 1]))
    return np.array(found)


ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
OBLIQUE = np.eye(4) + np.triu(np.random.default_rng(2).normal(size=(4, 4)), 1)
RATES = np.diag([0.7, 0.1, -0.4, -1.2])
CONSTANT = {
    "symmetric": ROTATION @ RATES @ ROTATION.T,
    "triangular": RATES + np.triu(np.random.default_rng(3).normal(size=(4, 4)), 1),
    "non-normal": ROTATION @ OBLIQUE @ RATES @ np.linalg.inv(ROTATION @ OBLIQUE),
}


def eigenvectors(matrix):
    values, vectors = np.linalg.eig(matrix)
    return vectors[:, np.argsort(-values)]


@pytest.mark.parametrize("matrix", CONSTANT.values(), ids=CONSTANT)
@pytest.mark.parametrize("stepper", [None, Euler(dt=0.1), RK4(dt=0.1)], ids=["map", "Euler", "RK4"])
def test_vectors_of_a_constant_system_are_its_eigenvectors(matrix, stepper):
    tangent = LinearMap(expm(0.1 * matrix)).tangent() if stepper is None else LinearFlow(matrix).tangent(stepper)
    clvs = tangent.ginelli(np.zeros(4), intervals=5, steps_per_interval=10, warmup=80, tail=80)
    assert line_distance(clvs.vectors, eigenvectors(matrix)).max() < 1e-12


@pytest.mark.parametrize(("kind", "same"), [("symmetric", True), ("non-normal", False)])
def test_backward_vectors_would_pass_as_covariant_only_for_a_normal_map(kind, same):
    _, Q, _ = frames(LinearFlow(CONSTANT[kind]).tangent(Euler(dt=0.1)), np.zeros(4), 80, 1, steps=10)
    distance = line_distance(Q[0], eigenvectors(CONSTANT[kind]))
    assert distance[0] < 1e-12
    assert (distance[1:] < 1e-12).all() if same else (distance[1:] > 0.1).all()


@pytest.mark.parametrize("dim", [3, 8])
def test_vectors_of_a_cocycle_are_its_moving_eigenvectors(dim):
    cocycle, exact = LinearCocycle.random(dim, 540)
    clvs = cocycle.tangent().ginelli(np.zeros(dim), intervals=20, warmup=250, tail=260)
    np.testing.assert_array_equal(clvs.times, np.arange(251, 271))
    assert at(clvs, exact).max() < 1e-12  # at all times, ends included, and for all vectors


@pytest.mark.parametrize(("a", "b"), [(0.5, 1.0), (-0.8, 3.0)])
def test_unstable_direction_of_a_skew_product_is_the_sum_over_its_past(a, b):
    # theta -> 2 theta mod 2 pi, y -> a y + b cos(theta). Theta comes from random binary digits: in floating point the
    # doubling map is at rest after 53 steps.
    digits = np.random.default_rng(5).integers(0, 2, size=360)
    theta = 2 * np.pi * np.array([digits[n : n + 60] @ 0.5 ** np.arange(1, 61) for n in range(300)])
    jacobians = np.zeros((300, 2, 2))
    jacobians[:, 0, 0], jacobians[:, 1, 0], jacobians[:, 1, 1] = 2.0, -b * np.sin(theta), a
    clvs = LinearCocycle(jacobians).tangent().ginelli(np.zeros(2), intervals=60, warmup=120, tail=100)
    slopes = np.array(
        [-b / 2 * (a / 2) ** np.arange(100) @ np.sin(theta[int(n) - 100 : int(n)][::-1]) for n in clvs.times]
    )
    unstable = np.stack([np.ones(60), slopes], axis=-1) / np.hypot(1.0, slopes)[:, None]
    assert np.ptp(slopes) > 0.5  # the direction does move
    assert line_distance(clvs.vectors[:, :, :1], unstable[:, :, None]).max() < 1e-13
    assert line_distance(clvs.vectors[:, :, 1:], np.array([[0.0], [1.0]])).max() < 1e-13
    np.testing.assert_allclose(clvs.rates[:, 1], np.log(abs(a)), rtol=1e-12)


def neutral_angles(dt, intervals, warmup):
    """Angles in degrees between the second vector of Lorenz 63 and the flow, every 0.05 units of time."""
    passes = {"intervals": intervals, "steps_per_interval": round(0.05 / dt), "warmup": warmup, "tail": 600}
    clvs = Lorenz63().tangent(RK4(dt=dt)).ginelli(ON_LORENZ, **passes)
    flow = Lorenz63().vector_field(0.0, clvs.states)
    flow /= np.linalg.norm(flow, axis=1, keepdims=True)
    return np.degrees(np.arcsin(line_distance(clvs.vectors[:, :, 1:2], flow[:, :, None])[:, 0]))


def test_neutral_vector_is_the_flow():
    angles = neutral_angles(0.01, intervals=2000, warmup=400)
    assert 1e-5 < np.median(angles) < 1e-4  # not zero: the step is RK4's, not the flow's
    assert angles.max() < 1e-3


@pytest.mark.filterwarnings("ignore:two forward frames:dynsys.DiagnosticWarning")  # of the first vector, not used here
def test_angle_of_neutral_vector_and_flow_is_of_fourth_order():
    # for 5 units of time both steps follow the same trajectory, to 2e-3, and the angles can be compared one by one
    ratio = neutral_angles(0.01, intervals=60, warmup=40) / neutral_angles(0.005, intervals=60, warmup=40)
    assert np.percentile(ratio, [25, 50, 75]) == pytest.approx(2**4, rel=0.1)


@pytest.mark.parametrize(("system", "steps"), [("Henon", 1), ("Henon", 3), ("Lorenz", 5)])
def test_pushed_vectors_are_the_next_ones_and_the_wrong_triangular_factor_would_show(system, steps):
    tangent, x0 = (HENON, ON_HENON[0]) if system == "Henon" else (LORENZ, ON_LORENZ)
    warmup, window, tail = 300, 50, 600
    clvs = tangent.ginelli(x0, intervals=window, steps_per_interval=steps, warmup=warmup, tail=tail)
    first = (warmup + 1) * steps
    assert residuals(tangent, clvs.states, clvs.vectors, first, steps).max() < 1e-10
    assert 0.0 < clvs.diagnostics.covariance_residual < 1e-10

    def by_hand(late):
        """The same vectors; R[i] leads from i - 1 to i, and R[i - late] is what a slip of the index would take."""
        xs, Q, R = frames(tangent, x0, warmup, window + tail, steps)
        vectors, C = Q[:window].copy(), np.eye(tangent.dimension)
        for i in reversed(range(1, window + tail)):
            if i < window:
                vectors[i] = Q[i] @ C
            C = solve_upper(R[i - late], C)
            C /= np.linalg.norm(C, axis=0)
        return residuals(tangent, xs[1:window], vectors[1:], first + steps, steps)

    assert by_hand(late=0).max() < 1e-10
    assert (np.median(by_hand(late=1)[:, 1:], axis=0) > 1e-2).all()


@pytest.mark.parametrize("t0", [0.0, -3.7])
@pytest.mark.parametrize(("warmup", "tail", "intervals", "steps"), [(0, 0, 1, 1), (0, 9, 4, 3), (13, 5, 20, 7)])
@pytest.mark.filterwarnings("ignore::dynsys.DiagnosticWarning")  # too short to converge: only times count
def test_times_are_the_ends_of_the_intervals_of_the_window(t0, warmup, tail, intervals, steps):
    tangent = LinearFlow(CONSTANT["symmetric"]).tangent(Euler(dt=0.1), t0=t0)
    clvs = tangent.ginelli(np.ones(4), intervals=intervals, steps_per_interval=steps, warmup=warmup, tail=tail)
    ends = (warmup + np.arange(1, intervals + 1)) * steps
    np.testing.assert_array_equal(clvs.times, t0 + ends * 0.1)
    np.testing.assert_array_equal(clvs.available, t0 + (ends + tail * steps) * 0.1)
    assert len(clvs.states) == len(clvs.vectors) == len(clvs.rates) == intervals
    # the states belong to the times: dx/dt = A x by Euler is x_n = (1 + dt A)^n x_0
    propagator = np.linalg.matrix_power(np.eye(4) + 0.1 * CONSTANT["symmetric"], int(ends[-1]))
    np.testing.assert_allclose(clvs.states[-1], propagator @ np.ones(4), rtol=1e-11)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_fewer_vectors_are_the_leading_ones(k):
    def vectors(k):
        return LinearCocycle.random(4, 260)[0].tangent().ginelli(np.zeros(4), intervals=60, warmup=100, tail=100, k=k)

    leading, full = vectors(k), vectors(None)
    assert leading.vectors.shape == (60, 4, k)
    np.testing.assert_allclose(leading.exponents, full.exponents[:k], rtol=0, atol=1e-14)
    assert line_distance(leading.vectors, full.vectors[..., :k]).max() < 1e-13


def test_vectors_do_not_depend_on_the_seed():
    one, two = (HENON.ginelli(ON_HENON[0], intervals=100, warmup=60, tail=60, seed=s) for s in (0, 1))
    np.testing.assert_array_equal(one.states, two.states)
    assert line_distance(one.vectors, two.vectors).max() < 1e-12


def test_growth_along_a_vector_is_that_of_the_frame_but_for_its_angle_to_it():
    # R C_{n-1} = C_n D_n, so the growth of vector j is R_jj C_jj(n-1) / C_jj(n): sums telescope to the ends
    window = 400
    clvs = LORENZ.ginelli(ON_LORENZ, intervals=window, steps_per_interval=5, warmup=400, tail=600)
    _, Q, R = frames(LORENZ, ON_LORENZ, 400, window, 5)
    C = np.abs(np.sum(Q * clvs.vectors, axis=1))
    telescoped = np.log(np.diagonal(R, axis1=1, axis2=2))[1:].sum(axis=0) - np.log(C[-1] / C[0])
    np.testing.assert_allclose(clvs.rates[1:].sum(axis=0) * 0.05, telescoped, rtol=0, atol=1e-9)
    # so their means differ from the exponents by O(1/T), with the constant of the angles
    np.testing.assert_allclose(clvs.diagnostics.growth_defect, clvs.rates.mean(axis=0) - clvs.exponents, atol=1e-13)
    assert (np.abs(clvs.diagnostics.growth_defect[1:]) * window * 0.05 < 2 * np.abs(np.log(C)).max(axis=0)[1:]).all()
    assert abs(clvs.diagnostics.growth_defect[0]) < 1e-12  # the first is the first backward vector: C_11 = 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_members_of_an_ensemble_are_runs_of_their_own(backend):
    options = {"intervals": 30, "warmup": 80, "tail": 80}
    tangent = Henon().tangent(backend=backend)
    together = tangent.ginelli(ON_HENON, **options)
    assert together.vectors.shape == (4, 30, 2, 2)
    for m, x0 in enumerate(ON_HENON):
        alone = tangent.ginelli([x0], **options)  # an ensemble of one: single states round in another order
        np.testing.assert_array_equal(together.states[m], alone.states[0])
        assert line_distance(together.vectors[m], alone.vectors[0]).max() < 1e-12
        if m == 0:  # the same key of random numbers: the same bits
            np.testing.assert_array_equal(together.vectors[m], alone.vectors[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("escape", [20, 90, 150], ids=["warm-up", "window", "tail"])
def test_member_that_diverges_is_nan_and_the_others_do_not_change_by_a_bit(backend, escape):
    passes = {"warmup": 80, "intervals": 30, "tail": 80}
    tangent = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(backend=backend)
    x0 = np.array([[1.0, 1.0], [2.0, 0.0], [1.0, -2.0]])
    healthy = tangent.ginelli(x0, **passes)
    x0[1, 0] = 2.0 ** (1024 - escape)  # doubled in every step: infinite after `escape` steps
    spoilt = tangent.ginelli(x0, **passes)
    assert spoilt.end.status.tolist() == [0, 1, 0]
    assert spoilt.end.stopped.tolist() == [-1, escape, -1]
    for name in ("vectors", "rates"):
        assert np.isnan(getattr(spoilt, name)[1]).all()
    for name in ("vectors", "rates", "states", "exponents"):
        np.testing.assert_array_equal(getattr(spoilt, name)[[0, 2]], getattr(healthy, name)[[0, 2]])


@pytest.mark.parametrize(("escape", "whole"), [(20, 0), (90, 0), (150, 0), (175, 14), (185, 24), (191, 30)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_has_a_whole_tail_before_a_run_diverges_is_kept(backend, escape, whole):
    tangent, passes = LinearMap([[2.0, 1.0], [0.0, 0.5]]).tangent(backend=backend, t0=100.0), (80, 30, 80)
    warmup, intervals, tail = passes
    options = {"warmup": warmup, "intervals": intervals, "tail": tail}
    x0 = np.array([2.0 ** (1024 - escape), 0.0])  # doubled in every step: infinite after `escape` steps
    if escape > sum(passes):  # it diverges after the end
        assert len(tangent.ginelli(x0, **options).times) == whole
        return
    with pytest.raises(DivergenceError, match=f"step {escape}") as caught:
        tangent.ginelli(x0, **options)
    assert caught.value.time == 100.0 + escape
    partial = caught.value.partial
    assert (0 if partial is None else len(partial.times)) == whole
    healthy = tangent.ginelli([[1.0, 0.0], [1.0, 2.0]], **options)
    if whole:
        np.testing.assert_array_equal(partial.times, healthy.times[:whole])
        assert line_distance(partial.vectors, healthy.vectors[0, :whole]).max() < 1e-14
        assert partial.diagnostics.start_agreement.max() < 1e-14
    member = tangent.ginelli([x0, [1.0, 2.0]], **options)  # the same as a member of an ensemble, which goes on
    assert line_distance(member.vectors[0, :whole], healthy.vectors[0, :whole]).max(initial=0.0) < 1e-14
    assert np.isnan(member.vectors[0, whole:]).all()
    assert np.isnan(member.rates[0, whole:]).all()
    np.testing.assert_array_equal(member.vectors[1], healthy.vectors[1])


def test_run_goes_on_from_the_end_of_another_without_a_second_warm_up():
    early = HENON.benettin(ON_HENON[0], intervals=100, warmup=0).end
    continued = HENON.ginelli(early, intervals=20, warmup=0, tail=60)  # must not complain of a short warm-up
    whole = HENON.ginelli(ON_HENON[0], intervals=20, warmup=100, tail=60)
    for name in ("times", "states", "vectors", "exponents"):
        np.testing.assert_array_equal(getattr(continued, name), getattr(whole, name))


def test_short_tail_is_reported_with_the_tail_that_the_gaps_ask_for():
    cocycle, exact = LinearCocycle.random(3, 300)
    with pytest.warns(DiagnosticWarning, match=r"tail of 5 intervals is too short .* about 5[0-9]\)"):
        short = cocycle.tangent().ginelli(np.zeros(3), intervals=50, warmup=100, tail=5)
    assert at(short, exact)[-1, 1] > 1e-3
    # gaps ln(3/2) and ln 2: a wrong start has shrunk by 1e-10 after ln(1e10) / ln(3/2) = 56.8 intervals
    assert short.diagnostics.smallest_gap == pytest.approx(np.log(1.5), rel=0.01)
    enough = cocycle.tangent().ginelli(np.zeros(3), intervals=50, warmup=100, tail=int(short.diagnostics.tail_needed))
    assert at(enough, exact).max() < 1e-8


@pytest.mark.parametrize(("last", "warmup", "message"), [(0.5, 3, "the warm-up is too short"), (1.0, 80, "coincide")])
def test_short_warm_up_and_equal_exponents_are_reported(last, warmup, message):
    with pytest.warns(DiagnosticWarning, match=message):
        LinearMap(np.diag([2.0, 1.0, last])).tangent().ginelli(np.zeros(3), intervals=5, warmup=warmup, tail=80)


def test_backward_passes_start_from_triangles_keyed_by_seed_member_and_column():
    def triangles(k, members, seed=4):
        return random_triangles(
            attrs.evolve(RunState.start(np.ones((3, 5)), 5, k, 0), members=np.array(members)), seed, 0
        )

    full = triangles(5, [0, 1, 2])
    np.testing.assert_allclose(np.linalg.norm(full, axis=1), 1.0, rtol=1e-15)
    np.testing.assert_array_equal(np.tril(full, -1), 0.0)
    np.testing.assert_array_equal(triangles(3, [0, 1, 2]), full[:, :3, :3])
    np.testing.assert_array_equal(triangles(5, [2, 0, 7])[:2], full[[2, 0]])
    assert len(np.unique(np.concatenate([full, triangles(5, [0, 1, 2], seed=5)])[:, 0, 1])) == 6


@pytest.mark.parametrize("value", [-1, 2.5, True])
@pytest.mark.parametrize("name", ["intervals", "steps_per_interval", "warmup", "tail"])
def test_counts_that_are_no_counts_are_refused(name, value):
    with pytest.raises(InvalidInputError, match=f"{name} must be a whole number >= [01], got {value}"):
        Henon().tangent(backend="numpy").ginelli(ON_HENON[0], **{"intervals": 5, name: value})


def test_frames_are_compared_at_one_state_where_steps_adapt_to_the_vectors():
    tangent = Lorenz63().tangent(DormandPrince(dt=0.5, rtol=1e-7), backend="numpy")
    lengths = {"intervals": 10, "warmup": 50, "tail": 40}
    clvs = tangent.ginelli(ON_LORENZ, **lengths)  # two runs of 25 units of time with different vectors part
    assert clvs.diagnostics.frame_agreement.max() < 1e-8
    assert clvs.diagnostics.subspaces.tolist() == [0, 1, 2]
    with pytest.warns(DiagnosticWarning, match="two forward frames disagree"):
        clvs = tangent.ginelli(ON_LORENZ, **lengths | {"warmup": 1})
    assert clvs.diagnostics.frame_agreement.max() > 1e-4


def test_rounding_is_allowed_to_grow_as_it_does_in_the_intervals_that_are_checked():
    S = np.array([[1.0, 0.5], [0.3, 1.0]])
    matrices = [S @ np.diag([1.5, np.exp(25.0 - 51.0 * (n % 2))]) @ np.linalg.inv(S) for n in range(180)]
    clvs = LinearCocycle(matrices).tangent(backend="numpy").ginelli(np.zeros(2), intervals=30, warmup=75, tail=75)
    assert line_distance(clvs.vectors, S / np.linalg.norm(S, axis=0)).max() < 1e-4
    assert clvs.diagnostics.covariance_residual > 2e-6  # e^26 times rounding, though the exponents differ by 0.9 only
