"""Recurrent networks: exact tangents, identities of their exponents, mean field, inputs, and what is refused."""

import math
import pickle
from itertools import pairwise

import attrs
import numpy as np
import pytest

from dynsys import FallbackWarning, InvalidInputError, SingularTangentError, SymbolicMap, sweep
from dynsys.models.activations import Activation, Linear, ReLU
from dynsys.models.networks import (
    GRU,
    LSTM,
    RNN,
    InputSeries,
    mean_field_exponent,
    mean_field_variance,
)
from dynsys.storage.description import describe
from dynsys.testing import check_system, check_tangent

U = np.random.default_rng(5).normal(size=(40, 2))
NETWORKS = [
    RNN.random(8, gain=1.5, seed=0),
    RNN.random(26, gain=1.2, seed=0, leak=0.5),
    RNN.random(10, gain=1.5, seed=0, inputs=U, scale=0.3, b=np.linspace(-0.1, 0.2, 10)),
    RNN.echo_state(12, radius=0.9, seed=1, inputs=U, scale=0.5, density=0.5, leak=0.3),
    GRU.random(8, gain=3.0, seed=0, inputs=U, b=np.linspace(-1.0, 1.0, 24), c=np.linspace(0.0, 1.0, 8)),
    LSTM.random(7, gain=3.0, seed=0, inputs=U, b=np.linspace(-1.0, 1.0, 28)),
]


def start(network, seed=1):
    return np.random.default_rng(seed).normal(size=network.dimension)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
def test_networks_keep_their_contract(network):
    check_system(network, start(network), t=5)
    check_tangent(network.tangent(backend="numpy"), start(network))
    assert describe(network) == describe(pickle.loads(pickle.dumps(network)))


@pytest.mark.numba
@pytest.mark.parametrize("network", NETWORKS[:4], ids=["autonomous", "long columns", "driven", "echo state"])
def test_plain_networks_are_compiled(network):
    tangent = network.tangent()
    assert tangent.name == "numba"
    check_tangent(tangent, start(network))
    many = np.array([start(network, seed) for seed in range(3)])
    run = {"intervals": 20, "warmup": 5, "k": 3}
    together = tangent.benettin(many, **run)
    by_numpy = network.tangent(backend="numpy").benettin(many, **run)
    np.testing.assert_allclose(together.rates, by_numpy.rates, atol=1e-9)
    np.testing.assert_array_equal(together.rates[1], tangent.benettin(many, **run).rates[1])


@pytest.mark.numba
def test_a_network_is_the_one_of_equations_in_vectors():
    network = RNN.random(30, gain=1.8, seed=3, b=np.linspace(-0.3, 0.3, 30))
    equations = SymbolicMap.of({"h": "tanh(g*(W@h) + b)"}, {"W": network.W, "g": 1.8, "b": network.b})
    run = {"intervals": 30, "warmup": 10, "k": 5}
    ours, theirs = (system.tangent().benettin(start(network), **run) for system in (network, equations))
    np.testing.assert_allclose(ours.rates, theirs.rates, atol=1e-10)


def test_exponents_add_up_to_the_logarithm_of_the_determinant():
    network = RNN.random(40, gain=1.6, seed=2)
    tangent = network.tangent(backend="numpy")
    intervals, warmup = 60, 20
    spectrum = tangent.benettin(start(network), intervals=intervals, warmup=warmup)
    states = tangent.trajectory(start(network), intervals=intervals, warmup=warmup).states  # the h' of these steps
    volume = 40 * math.log(1.6) + np.linalg.slogdet(network.W)[1]
    expected = volume + np.log1p(-(states**2)).sum(axis=-1).mean()
    np.testing.assert_allclose(spectrum.exponents.sum(), expected, rtol=1e-9)


@pytest.mark.numba
def test_the_gain_is_a_parameter_that_sweeps_in_one_pass():
    network = RNN.random(20, gain=1.0, seed=0)
    x0, run = start(network), {"intervals": 50, "warmup": 50, "k": 2, "seed": 0}
    runs, same = (
        sweep(network.tangent(backend=backend).benettin, {"gain": [0.5, 3.0]}, x0, **run)
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(runs.exponent_mean, same.exponent_mean, atol=1e-5)
    assert network.with_parameters({"gain": 3.0}).gain == 3.0
    # at rest the exponents are ln |eigenvalues of g W|
    largest = np.log(0.5 * np.abs(np.linalg.eigvals(network.W)).max())
    assert runs.exponent_mean[0, 0] == pytest.approx(largest, abs=0.03)
    assert runs.exponent_mean[1, 0] > -0.2


def test_draws_do_not_depend_on_the_gain_and_have_their_moments():
    first, second = RNN.random(200, gain=1.0, seed=4, inputs=U), RNN.random(200, gain=3.0, seed=4)
    np.testing.assert_array_equal(first.W, second.W)
    assert not np.array_equal(first.W, RNN.random(200, gain=1.0, seed=5).W)
    assert first.W.var() * 200 == pytest.approx(1.0, abs=4 * np.sqrt(2) / 200)
    assert first.U.shape == (200, 2)
    echo = RNN.echo_state(100, radius=0.8, seed=0)
    assert np.abs(np.linalg.eigvals(echo.gain * echo.W)).max() == pytest.approx(0.8, rel=1e-12)
    assert (echo.W != 0.0).mean() == pytest.approx(0.1, abs=4 * 0.3 / 100)
    gated = GRU.random(100, gain=2.0, seed=0)
    assert gated.W.shape == (300, 100)
    assert gated.W.var() * 100 == pytest.approx(4.0, rel=0.05)


def test_an_echo_state_forgets_and_a_chaotic_network_does_not():
    u = np.random.default_rng(0).normal(size=(400, 1))
    for gain, forgets in ((0.8, True), (3.0, False)):
        network = RNN.random(60, gain=gain, seed=0, inputs=u, scale=0.3)
        tangent = network.tangent(backend="numpy")
        one, other = (tangent.trajectory(start(network, seed), intervals=400, warmup=0).states[-1] for seed in (1, 2))
        largest = tangent.benettin(start(network), intervals=300, warmup=100, k=1).exponents[0]
        assert (largest < 0) == (np.abs(one - other).max() < 1e-6) == forgets


@pytest.mark.filterwarnings("ignore:two starts of the backward pass disagree:dynsys.DiagnosticWarning")
def test_inputs_end_where_they_end():
    run = {"intervals": 30, "warmup": 10, "k": 2}
    network = RNN.random(10, gain=1.5, seed=0, inputs=U, scale=0.3)  # 40 steps
    for backend in ("numpy", "auto"):
        network.tangent(backend=backend).benettin(np.zeros(10), **run)  # checks look at no step beyond
        network.tangent(backend=backend).ginelli(np.zeros(10), intervals=20, warmup=10, tail=10)
        network.tangent(backend=backend).sharafi(np.zeros(10), intervals=30, warmup=10, window=3)
        with pytest.raises(
            InvalidInputError, match=r"inputs are given for 40 steps, .* that of step 40 .*periodic=True"
        ):
            network.tangent(backend=backend).benettin(np.zeros(10), intervals=31, warmup=10)
        round_about = attrs.evolve(network, inputs=InputSeries(U, periodic=True)).tangent(backend=backend)
        longer = attrs.evolve(network, inputs=np.vstack([U, U])).tangent(backend=backend)
        np.testing.assert_array_equal(
            round_about.benettin(np.zeros(10), intervals=60, warmup=10, k=2).rates,
            longer.benettin(np.zeros(10), intervals=60, warmup=10, k=2).rates,
        )


def test_there_is_no_step_before_the_first():
    network = RNN.random(10, gain=1.5, seed=0, inputs=U)
    with pytest.raises(InvalidInputError, match="that of step -1 "):  # not the last one
        network.step(-1, np.zeros(10))
    round_about = InputSeries(U, periodic=True)
    np.testing.assert_array_equal(round_about.at(-1), U[-1])


def test_a_large_gain_stretches_nothing_in_flat_places_and_fewer_vectors_are_followed():
    network = RNN.random(60, gain=30.0, seed=0)
    for backend in ("numpy", "auto"):
        tangent = network.tangent(backend=backend)
        with pytest.raises(SingularTangentError, match=r"follow fewer vectors \(k\)"):
            tangent.benettin(start(network), intervals=100, warmup=20)
        assert np.isfinite(tangent.benettin(start(network), intervals=100, warmup=20, k=10).exponents).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RNN(np.ones((2, 3))), r"W of RNN must have shape \(1 units, units\), got \(2, 3\)"),
        (lambda: GRU(np.ones((4, 2))), r"W of GRU must have shape \(3 units, units\), got \(4, 2\)"),
        (lambda: RNN(np.ones(3)), r"W must be a matrix of weights, got an array of shape \(3,\)"),
        (lambda: RNN([[np.nan]]), "W must be finite"),
        (lambda: RNN(np.eye(2), b=[1.0]), r"b must have shape \(2,\), got \(1,\)"),
        (lambda: RNN(np.eye(2), b=[1.0, np.inf]), "b must be finite, got inf"),
        (lambda: RNN(np.eye(2), np.ones((3, 1))), r"U must have shape \(2, inputs\), got \(3, 1\)"),
        (lambda: GRU(np.ones((3, 1)), c=[1.0, 2.0]), r"c must have shape \(1,\), got \(2,\)"),
        (lambda: RNN(np.eye(2), inputs=U), r"inputs of size 2 need input weights U of shape \(2, 2\), got \(2, 0\)"),
        (lambda: RNN(np.eye(2), gain=0.0), "gain must be a positive finite number"),
        (lambda: RNN(np.eye(2), leak=1.5), "leak must be above 0 and at most 1, got 1.5"),
        (lambda: RNN(np.eye(2), activation=np.tanh), r"activation must be an Activation such as Tanh\(\)"),
        (lambda: RNN.random(0, 1.0, 0), "units must be a whole number >= 1"),
        (lambda: RNN.random(2, 1.0, -1), "seed must be a whole number"),
        (lambda: RNN.echo_state(3, 0.9, 0, density=0.01), "no loop is left among 3 units of density 0.01"),
        (lambda: RNN.echo_state(3, 0.9, 0, density=2.0), "density must be above 0 and at most 1"),
        (lambda: InputSeries([1.0, np.nan]), "with entries that are not finite"),
        (lambda: InputSeries(np.ones((2, 2, 2))), r"shape \(steps,\) or \(steps, size\), got shape \(2, 2, 2\)"),
        (lambda: RNN.of(np.eye(2)), "takes a torch.nn.RNN or torch.nn.RNNCell, got ndarray, which is no module"),
        (lambda: mean_field_variance(0.0), "gain must be a positive"),
        (lambda: mean_field_exponent(1.0, drive=-1.0), "drive must be a variance >= 0"),
    ],
)
def test_what_is_given_is_checked(make, words):
    with pytest.raises(InvalidInputError, match=words):
        make()


def test_other_activations():
    rng = np.random.default_rng(0)
    W = 0.5 * rng.normal(size=(6, 6))
    np.testing.assert_allclose(RNN(W, activation=Linear()).jacobian(0, np.zeros(6)), W)
    positive = RNN(W, b=np.ones(6), activation=ReLU())
    np.testing.assert_allclose(positive.step(0, np.zeros(6)), np.ones(6))

    class Sine(Activation):
        def fused(self, d):
            return np.sin(d), np.cos(d), -np.sin(d)

    sine = RNN(W, activation=Sine())
    check_system(sine, np.full(6, 0.2))
    with pytest.warns(FallbackWarning, match="Sine has no source for the compiler"):
        assert sine.tangent().name == "numpy"


@pytest.mark.parametrize(("gain", "drive"), [(1.05, 0.0), (1.5, 0.0), (10.0, 0.0), (50.0, 0.0), (2.0, 1.0), (0.5, 0.3)])
def test_mean_field_solves_its_equations(gain, drive):
    from scipy.integrate import quad

    variance = mean_field_variance(gain, drive)
    root = math.sqrt(variance)

    def mean(function):  # another quadrature: in x = root z, where the integrand is as wide as tanh
        density = lambda x: math.exp(-0.5 * (x / root) ** 2) / (root * math.sqrt(2 * math.pi))  # noqa: E731
        ends = [0.0, *(end for end in (1.0, 5.0, 20.0) if end < 9 * root), 9 * root]
        return 2 * sum(quad(lambda x: function(x) * density(x), a, b, epsabs=1e-13)[0] for a, b in pairwise(ends))

    assert gain**2 * mean(lambda x: math.tanh(x) ** 2) + drive == pytest.approx(variance, rel=1e-9)
    rate = 0.5 * math.log(gain**2 * mean(lambda x: math.cosh(min(x, 300.0)) ** -4))
    assert mean_field_exponent(gain, drive) == pytest.approx(rate, abs=1e-9)


def test_mean_field_at_its_ends():
    assert (mean_field_variance(1.0), mean_field_variance(0.3)) == (0.0, 0.0)
    assert mean_field_exponent(0.3) == math.log(0.3)
    # just above the transition: Delta = g - 1 and lambda = (g - 1)^2 to leading order, times 1/2 of it
    small = 1e-3
    assert mean_field_variance(1 + small) == pytest.approx(small, rel=0.01)
    assert 0.0 < mean_field_exponent(1 + small) < 2 * small**2
    # far above: sech^4 is a spike of area 4/3
    g = 60.0
    flat = 0.5 * math.log(g**2 * 4 / (3 * math.sqrt(2 * math.pi * mean_field_variance(g))))
    assert mean_field_exponent(g) == pytest.approx(flat, abs=1e-3)


def several(units, gain, draws=10):
    """Largest exponents and dimensions per unit of several draws, (draws, 2)."""
    found = []
    for seed in range(draws):
        network = RNN.random(units, gain, seed)
        spectrum = network.tangent().benettin(start(network), intervals=600, warmup=300, k=units // 2)
        found.append([spectrum.exponents[0], spectrum.kaplan_yorke_dimension()[0] / units])
    return np.array(found)


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the rates drift:dynsys.DiagnosticWarning")  # a draw on the verge of chaos
@pytest.mark.filterwarnings("ignore:the largest exponent is zero:dynsys.DiagnosticWarning")
@pytest.mark.parametrize(
    ("gain", "largest", "dimension"), [(1.5, 0.051, 0.132), (2.0, 0.148, 0.251), (10.0, 0.813, 0.159)]
)
def test_random_networks_of_200_units_have_known_exponents(gain, largest, dimension):
    found = several(200, gain)
    spread = found.std(axis=0, ddof=1)
    assert (np.abs(found.mean(axis=0) - [largest, dimension]) < 3 * spread).all()  # those are of one draw, too
    assert spread[0] < 0.03


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.parametrize("gain", [2.0, 10.0])
def test_chaos_is_extensive_and_its_exponent_tends_to_mean_field_as_one_over_size(gain):
    small, large = several(100, gain, draws=20), several(200, gain, draws=20)
    errors = [found.std(axis=0, ddof=1) / np.sqrt(20) for found in (small, large)]
    theory = mean_field_exponent(gain)
    deviations = [theory - found[:, 0].mean() for found in (small, large)]
    assert deviations[0] > 3 * errors[0][0]  # smaller networks are less chaotic
    assert deviations[0] > deviations[1] > 0
    extrapolated = 2 * large[:, 0].mean() - small[:, 0].mean()
    bar = np.sqrt((4 * large[:, 0].var(ddof=1) + small[:, 0].var(ddof=1)) / 20)
    assert abs(extrapolated - theory) < 3 * bar < 0.05
    # D / N is the same but for what vanishes as 1/N
    assert abs(large[:, 1].mean() - small[:, 1].mean()) < 3 * np.hypot(*errors)[1] + 0.1 * large[:, 1].mean()
    assert 0.1 < large[:, 1].mean() < 0.3


@pytest.mark.numba
@pytest.mark.slow
def test_noise_suppresses_chaos_as_mean_field_says():
    # white noise at every unit of its own: as many inputs as units
    units, gain = 150, 2.0
    for drive in (0.5, 4.0):
        noise = math.sqrt(drive) * np.random.default_rng(0).normal(size=(900, units))
        W = RNN.random(units, gain, 0).W
        network = RNN(W, np.eye(units), inputs=noise, gain=gain)
        spectrum = network.tangent().benettin(start(network), intervals=700, warmup=200, k=1)
        theory = mean_field_exponent(gain, drive)
        assert abs(spectrum.exponents[0] - theory) < 4 * spectrum.standard_error[0] + 0.03
        assert (spectrum.exponents[0] > 0) == (theory > 0) == (drive < 1)
