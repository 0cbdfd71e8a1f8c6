"""Gradient descent of a classifier: its derivatives, its exact neutral directions, and what the paper measures."""

from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import xarray

from dynsys import Euler, InvalidInputError
from dynsys.algorithms.differences import finite_difference
from dynsys.models.activations import Sigmoid, Tanh
from dynsys.models.reporting.report import FAILS, HOLDS
from dynsys.models.training_chaos import (
    Bifurcations,
    Chaotic,
    Edge,
    LearningRates,
    SmallRate,
    TrainingTime,
    digits,
    iris,
)
from dynsys.models.training_chaos.claims import TRANSIENT, chaotic
from dynsys.models.training_chaos.experiment import Experiment, classifier, seeds
from dynsys.models.training_chaos.findings import (
    boundaries,
    comparison,
    expansion_of_losses,
    nmle,
    saturated,
    training_time,
)
from dynsys.models.training_chaos.growth import fit_growth
from dynsys.models.training_chaos.orbits import distances, orbits, perturbed, tangent_distances
from dynsys.models.training_chaos.protocol import Protocol, write
from dynsys.models.training_chaos.series import autocorrelation, local_expansion
from dynsys.testing import check_system, check_tangent

FLOWERS = classifier(*iris(), (10,), Sigmoid())
DEEP = classifier(*digits(40), (6, 5), Tanh())
REGRESSION = classifier(*iris(), (), Sigmoid())
NETWORKS = {"4-10-3": FLOWERS, "64-6-5-10": DEEP, "4-3": REGRESSION}


def weights(flow, members=None, seed=1):
    return flow.initial(scheme="normal", members=members, seed=seed)


@pytest.mark.parametrize("flow", NETWORKS.values(), ids=NETWORKS)
def test_gradient_is_that_of_the_loss_and_the_contract_holds(flow):
    theta = weights(flow)
    check_system(flow, theta)
    slopes = finite_difference(lambda z: flow.loss(z)[..., None], theta, np.eye(flow.dimension))[0]
    np.testing.assert_allclose(flow.gradient(theta), slopes, atol=1e-7)  # what differences can do


def test_loss_is_the_mean_negative_logarithm_of_the_right_probability():
    theta = weights(REGRESSION, seed=3)
    z = REGRESSION.X @ theta[:12].reshape(4, 3) + theta[12:]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    right = p[np.arange(120), REGRESSION.y]
    np.testing.assert_allclose(REGRESSION.loss(theta), -np.log(right).mean(), rtol=1e-13)
    assert REGRESSION.accuracy(theta) == np.mean(p.argmax(axis=1) == REGRESSION.y)
    # far from the origin probabilities underflow, losses do not
    assert REGRESSION.loss(1e4 * theta) == pytest.approx(
        np.mean(1e4 * (z.max(axis=1) - z[np.arange(120), REGRESSION.y]))
    )


def test_hessian_of_logistic_regression_in_closed_form():
    theta = weights(REGRESSION, seed=3)
    inputs = np.column_stack([REGRESSION.X, np.ones(120)])
    z = REGRESSION.X @ theta[:12].reshape(4, 3) + theta[12:]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    blocks = np.einsum("sq,qr->sqr", p, np.eye(3)) - np.einsum("sq,sr->sqr", p, p)
    exact = np.einsum("si,sj,sqr->iqjr", inputs, inputs, blocks).reshape(15, 15) / 120
    np.testing.assert_allclose(REGRESSION.hessian_product(theta, np.eye(15)), exact, atol=1e-14)


@pytest.mark.parametrize("flow", NETWORKS.values(), ids=NETWORKS)
def test_as_many_exponents_vanish_as_the_hessian_has_directions_without_slope_at_every_state(flow):
    theta = weights(flow, seed=2) + 0.1  # biases too
    eigenvalues = np.linalg.eigvalsh(flow.hessian_product(theta, np.eye(flow.dimension)))
    assert np.sum(np.abs(eigenvalues) < 1e-13) == flow.vanishing_exponents


def test_what_the_softmax_does_not_see_is_conserved():
    theta, network = weights(FLOWERS), FLOWERS.network
    later = orbits(FLOWERS.tangent(Euler(1.0), backend="numpy"), theta[None], steps=50)[0, -1]
    for part in (0, 1):
        before, after = (network.unpack(state)[-1][part].sum(axis=-1) for state in (theta, later))
        np.testing.assert_allclose(after, before, atol=1e-12)
    assert np.abs(later - theta).max() > 1.0


@pytest.mark.numba
@pytest.mark.slow
@pytest.mark.parametrize("flow", NETWORKS.values(), ids=NETWORKS)
def test_the_compiled_step_is_the_same(flow):
    check_tangent(flow.tangent(Euler(0.7), backend="numba"), weights(flow))


def test_states_over_leading_axes_in_blocks(monkeypatch):
    theta = weights(FLOWERS, members=7, seed=5)
    np.testing.assert_array_equal(theta[:3], weights(FLOWERS, members=3, seed=5))
    np.testing.assert_array_equal(theta[0], weights(FLOWERS, seed=5))
    assert (theta[:, ~FLOWERS.network.weights] == 0).all()
    functions = FLOWERS.gradient, FLOWERS.loss, FLOWERS.accuracy
    whole = [function(theta) for function in functions]
    monkeypatch.setattr("dynsys.models.networks.deep_network.BLOCK_NUMBERS", 2 * 120 * 10)
    for ours, function in zip(whole, functions, strict=True):
        np.testing.assert_allclose(function(theta), ours, rtol=1e-13, atol=1e-15)
        np.testing.assert_array_equal(
            function(theta[:6].reshape(2, 3, 83)), function(theta)[:6].reshape(2, 3, *ours.shape[1:])
        )


def test_the_largest_curvature_is_that_of_all_eigenvalues(monkeypatch):
    theta = weights(FLOWERS, seed=4)
    dense = FLOWERS.sharpness(theta)
    monkeypatch.setattr("dynsys.models.networks.deep_network.LARGEST_DENSE", 10)
    assert FLOWERS.sharpness(theta) == pytest.approx(dense, rel=1e-10)
    np.testing.assert_allclose(dense, np.linalg.norm(FLOWERS.hessian_product(theta, np.eye(83)), 2), rtol=1e-10)


@pytest.mark.numba
@pytest.mark.slow
def test_exponents_are_per_step_and_every_learning_rate_is_a_run_of_its_own():
    experiment = LearningRates(members=1, rates=(0.2, 2.0), steps=6, fitted=4, end=2, curvatures=1)
    early, theta = experiment(np.array([0])).early.values[0], experiment.initial(np.array([0]))
    for rate, found in zip(experiment.rates, early, strict=True):
        alone = experiment.flow.tangent(Euler(rate), backend="numpy")
        spectrum = alone.benettin(theta, intervals=4, k=3, warmup=0, seed=seeds(0)[2])
        np.testing.assert_allclose(found, rate * spectrum.exponents[0], rtol=1e-9)
    bifurcations = Bifurcations(members=3, steps=7, end=2)
    losses = bifurcations(np.arange(3))
    for rate, loss in zip(losses.rate.values, losses.loss.values, strict=True):
        x = weights(bifurcations.flow, seed=seeds(0)[1])
        for n in range(7):
            x = x - rate * bifurcations.flow.gradient(x)
            if n >= 5:
                assert bifurcations.flow.loss(x) == pytest.approx(loss[n - 5], rel=1e-9)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda X, y: classifier(X, y[:-1], (2,), Tanh()), "X has 120 samples but y has 119"),
        (lambda X, y: classifier(X, y - 0.5, (2,), Tanh()), "labels must be whole numbers"),
        (lambda X, y: classifier(X, y - 1, (2,), Tanh()), "labels must be whole numbers"),
        (lambda X, y: classifier(X, y, (0,), Tanh()), "width of hidden must be a whole number >= 1, got 0"),
        (lambda X, y: classifier(X, y, (2,), np.tanh), "activation must be an object"),
        (lambda X, y: Edge(members=1).tangent(0.0), "dt must be"),
        (lambda X, y: iris(151), "at most 150, got 151"),
        (lambda X, y: perturbed(FLOWERS, weights(FLOWERS), -1.0, 2, 0), "size"),
        (lambda X, y: fit_growth(np.ones(20)), "no window of 30 steps"),
        (lambda X, y: autocorrelation(np.ones(5), 5), "fewer than the 5 values"),
        (lambda X, y: local_expansion(np.ones(5)), "series must be finite"),
    ],
)
def test_wrong_input_is_refused(make, text):
    with pytest.raises(InvalidInputError, match=text):
        make(*iris())


def test_data_are_shuffled_by_the_seed():
    X, labels = iris(seed=1)
    assert X.shape == (120, 4)
    assert np.bincount(labels).min() > 30
    assert not np.array_equal(X, iris(seed=2)[0])
    images, digit = digits(100)
    assert images.shape == (100, 64)
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert set(digit) == set(range(10))


def test_replicas_differ_in_their_weights_alone():
    theta, moving = weights(FLOWERS), FLOWERS.network.weights
    replicas = perturbed(FLOWERS, theta, 1e-3, 400, seed=0, member=3)
    shifts = replicas - theta
    assert (shifts[:, ~moving] == 0).all()
    assert 0.99e-3 < np.abs(shifts).max() <= 1e-3 * (1 + 1e-12)
    np.testing.assert_allclose(np.abs(shifts).sum(axis=1).mean(), 35e-3, rtol=0.02)  # N eps / 2
    np.testing.assert_allclose(perturbed(FLOWERS, theta, 1e-6, 400, 0, 3) - theta, shifts * 1e-3, atol=1e-14)
    assert not np.array_equal(perturbed(FLOWERS, theta, 1e-3, 400, 0, 4), replicas)


def test_tangent_distances_are_those_of_products_of_jacobians_and_of_small_pairs():
    tangent, theta = FLOWERS.tangent(Euler(1.0), backend="numpy"), weights(FLOWERS)
    both = np.concatenate([theta[None], perturbed(FLOWERS, theta, 1e-7, 2, seed=0)])
    found = tangent_distances(tangent, both, steps=5)
    shifts, x = (both[1:] - theta).T, theta
    for n in range(6):
        np.testing.assert_allclose(found[:, n], np.abs(shifts).sum(axis=0), rtol=1e-10)
        x, shifts = tangent.step(n, x, shifts)
    pairs = distances(orbits(tangent, both, steps=5))
    np.testing.assert_allclose(pairs, found, rtol=1e-4)  # second order in 1e-7, and rounding
    assert np.abs(pairs / found - 1).max() > 1e-9


def test_the_fit_takes_the_window_with_the_straightest_line():
    random, steps = np.random.default_rng(0), np.arange(121)
    series = np.exp(np.cumsum(random.normal(0.1, 0.3, size=(3, 121)), axis=1))
    fit = fit_growth(series)
    for row, rate, r2, first, length in zip(series, fit.rate, fit.r2, fit.first, fit.length, strict=True):
        best = max(
            (np.corrcoef(steps[f : f + n + 1], np.log(row[f : f + n + 1]))[0, 1] ** 2, f, n)
            for f in range(0, 101, 5) for n in range(30, 101, 5) if f + n <= 120
        )  # fmt: skip
        assert (r2, first, length) == (pytest.approx(best[0]), *best[1:])
        part = slice(first, first + length + 1)
        assert rate == pytest.approx(np.polyfit(steps[part], np.log(row[part]), 1)[0])


def test_the_fit_of_growth_that_saturates_and_of_what_does_not_grow():
    t = np.arange(201.0)
    saturating = 1.0 / (1.0 / (1e-8 * np.exp(0.3 * t)) + 1.0)
    fit = fit_growth(np.array([saturating, 1e-8 * np.exp(0.01 * t), np.full(201, np.nan)]))
    assert fit.rate[0] == pytest.approx(0.3, abs=1e-3)
    assert fit.accepted.tolist() == [True, False, False]
    again = fit_growth(
        np.exp(2.0 * np.log(saturating))[None], windows=attrs.evolve(fit, first=fit.first[:1], length=fit.length[:1])
    )
    assert again.rate[0] == pytest.approx(0.6, abs=2e-3)
    assert (again.first[0], again.length[0]) == (fit.first[0], fit.length[0])


def test_autocorrelation_is_that_of_its_definition():
    z = np.random.default_rng(1).normal(size=(2, 50))
    c = z - z.mean(axis=1, keepdims=True)
    full = [np.correlate(row, row, "full")[50:53] / (row @ row) for row in c]
    np.testing.assert_allclose(autocorrelation(z, 3), full, rtol=1e-12)
    assert np.isnan(autocorrelation(np.ones(9), 2)).all()


def test_local_expansion_of_a_shift_whose_values_part_twice_as_far_every_step():
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, size=40_060)
    series = np.array([bits[n : n + 50] @ 0.5 ** np.arange(1, 51) for n in range(40_000)])  # x' = 2 x mod 1
    found = local_expansion(series, points=300, longest=8, radius=2e-4)
    assert np.median(found.rate) == pytest.approx(np.log(2), abs=0.05)
    assert found.significant.mean() > 0.9
    assert (found.neighbours > 0).all()


@pytest.mark.numba
@pytest.mark.slow
def test_the_exponent_of_the_paper_its_decline_and_its_cause():
    edge = Edge(members=60, sizes=(1e-12, 1e-8, 1e-4, 1e-3, 1e-1)).ensemble().run(block=30)
    found = {each.size: each for each in nmle(edge)}
    for size, rate, deviation, share in (
        (1e-8, 0.285, 0.10, 0.89),
        (1e-4, 0.175, 0.06, 0.62),
        (1e-3, 0.12, 0.04, 0.38),
    ):
        ours = found[size]
        assert abs(ours.rate.mean - rate) < 4 * np.hypot(ours.rate.error, deviation / 20) + 0.01
        assert ours.rate.deviation == pytest.approx(deviation, rel=0.5)
        assert abs(ours.accepted / 60 - share) < 4 * np.sqrt(share * (1 - share) / 60)
    assert found[1e-1].accepted == 0
    model = {each.size: each for each in saturated(edge)}
    for size in (1e-12, 1e-8, 1e-4):
        assert model[size].rate.mean == pytest.approx(found[size].rate.mean, rel=0.15)
    ways = comparison(edge)
    assert np.median(ways.disagreement) < 1e-4
    assert ways.tangent.mean == pytest.approx(ways.pairs.mean, rel=0.1)
    assert ways.tangent.mean > ways.whole.mean > ways.everyone.mean > 0


def test_boundaries_are_means_over_networks_between_the_rates_of_the_grid():
    import xarray

    grid = np.geomspace(0.1, 10, 21)
    begins = np.array([1.0, 2.0])[:, None]
    axes = ("member", "rate")
    sharp = np.where(grid >= begins, 2.0 / grid, 0.0)
    runs = xarray.Dataset(
        {
            "sharpness": ((*axes, "curvature"), sharp[..., None]),
            "accuracy": ((*axes, "step"), np.where(grid > 5, 0.3, 1.0)[None, :, None] * np.ones((2, 1, 1))),
            "early": ((*axes, "k"), np.where(grid > 3, 0.2, 0.0)[None, :, None] * np.ones((2, 1, 1))),
            "late": ((*axes, "k"), np.zeros((2, 21, 1))),
        },
        {"rate": grid},
    )
    reached, grows, lost, chaos, for_good = boundaries(runs)
    half = (grid[1] / grid[0]) ** 0.5
    firsts = [grid[grid >= begin][0] for begin in (1.0, 2.0)]
    assert reached.rate == pytest.approx(np.sqrt(firsts[0] * firsts[1]) / half)
    assert reached.factor > grows.factor == pytest.approx(np.exp(2 * np.log(half) / np.sqrt(12)))
    assert 3 / half**2 < grows.rate < 3 * half
    assert 5 / half**2 < lost.rate < 5 * half
    assert (chaos.networks, chaos.runs) == (for_good.networks, 2) == (0, 2)
    runs["late"] = runs.late.where(runs.rate < 4, 0.3).where(runs.rate != grid[3], 0.3)
    *_, chaos, for_good = boundaries(runs)
    assert chaos.rate == pytest.approx(grid[3] / half)
    assert 4 / half**2 < for_good.rate < 4 * half


def test_expansion_of_the_losses_of_a_logistic_map_and_of_none():
    import xarray

    x = [0.3]
    for _ in range(1999):
        x.append(4 * x[-1] * (1 - x[-1]))
    losses = np.array([[x, np.ones(2000)]])
    found = expansion_of_losses(xarray.Dataset({"end_loss": (("member", "rate", "end"), losses)}))
    assert found.shape == (1, 2)
    assert 0.2 < found[0, 0] < 0.7  # ln 2, less what has saturated
    assert np.isnan(found[0, 1])


SMALL_ONES: dict[str, Experiment] = {
    "small-rate": SmallRate(members=2, sizes=(1e-12, 1e-8, 1e-4), steps=600, late=400, later=100),
    "edge": Edge(members=12, sizes=(1e-12, 1e-8, 1e-4, 1e-1)),
    "rates": LearningRates(members=2, rates=(0.01, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0), steps=400, end=100, curvatures=2),
    "bifurcations": Bifurcations(members=6, steps=60, end=20),
    "chaotic": Chaotic(members=3, steps=4500),
    "sequel": TrainingTime(members=1, rates=(0.1, 1.0, 5.0), steps=40),
}


@pytest.mark.numba
@pytest.mark.slow
def test_blocks_do_not_change_a_bit_and_the_report_is_written(tmp_path):
    runs = {name: each.ensemble().run(block=each.members) for name, each in SMALL_ONES.items()}
    assert SMALL_ONES["edge"].ensemble().run(block=5, workers=2).identical(runs["edge"])
    times = training_time(runs["sequel"])
    assert times.shape == (1, 3)
    protocol = SimpleNamespace(experiments=SMALL_ONES, seed=0)
    report = write(protocol, runs, tmp_path, "Made by hand.").read_text()
    assert "Of 31 claims" in report
    assert "| 1 | code | parameters" in report
    assert report.count(f"**{HOLDS}") >= 8
    drawn = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert len(drawn) == 14
    for name in drawn:
        assert name.removesuffix(".csv").removesuffix(".png") in report


def test_the_protocol_has_at_least_one_network_of_each():
    counts = {name: each.members for name, each in Protocol(share=0.01).experiments.items()}
    assert counts == {"small-rate": 1, "edge": 5, "rates": 1, "bifurcations": 4, "chaotic": 1, "sequel": 1}


def test_a_loss_that_only_passes_ln_3_has_no_plateau_there():
    steps, members = TRANSIENT + 2000, 2
    random = np.random.default_rng(0)
    passing = random.uniform(0.9, 1.3, size=(members, steps))  # a tenth of the time within 0.02 of ln 3
    for staying, verdict in ((0, FAILS), (40, HOLDS)):
        loss = passing.copy()
        loss[0, TRANSIENT + 100 : TRANSIENT + 100 + staying] = np.log(3.0)
        runs = SimpleNamespace(
            accuracy=xarray.DataArray(np.full(members, 0.3)),
            loss=xarray.DataArray(loss),
            norm=xarray.DataArray(np.ones((members, steps))),
            exponent=xarray.DataArray(np.ones((members, 1)), dims=["member", "k"]),
        )
        claim = next(each for each in chaotic(runs) if each.number == 24)
        assert claim.verdict == verdict
