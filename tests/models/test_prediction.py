"""Prediction: areas in closed form, what may be chosen where, and intervals that cover."""

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import auc, roc_auc_score

from dynsys import InvalidInputError
from dynsys.models.weight_dynamics.paper import area as areas
from dynsys.models.weight_dynamics.paper.area import Area, rank_area
from dynsys.models.weight_dynamics.paper.prediction import Contingency, halves, naive_bayes, selection, support_vectors

NOTHING = str(Area())  # NaN differs from itself


def gaussians(distance, positives, negatives, seed=0, features=1):
    """Two classes at this distance along each feature, the numbers of members of both halves, and halves."""
    outcome = np.repeat([True, False], [2 * positives, 2 * negatives])
    values = np.random.default_rng(seed).normal(size=(len(outcome), features)) + distance * outcome[:, None]
    return values if features > 1 else values[:, 0], outcome, np.arange(len(outcome)) % 2 == 0


def spread(area, positives, negatives):
    """A bound on the standard error of an area: placements lie between 0 and 1."""
    return np.sqrt(area * (1 - area) * (1 / positives + 1 / negatives))


def pairs(values, outcome):
    difference = values[outcome][:, None] - values[~outcome]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.0])
def test_two_gaussians_have_the_area_of_their_distance(distance):
    score = naive_bayes(*gaussians(distance, 2000, 4000))
    area = norm.cdf(distance / np.sqrt(2))
    error = spread(area, 2000, 4000)
    assert abs(score.rank.test - area) < 3 * error
    assert abs(score.rank.training - area) < 3 * error
    assert abs(score.auc.test - area) < 3 * error + 0.003  # what 20 bins do not resolve
    assert score.rank.low < score.rank.test < score.rank.high
    assert score.auc.low < score.auc.test < score.auc.high


def test_independent_features_add_up_for_naive_bayes():
    score = naive_bayes(*gaussians(0.5, 2000, 2000, features=9))
    area = norm.cdf(0.5 * 3 / np.sqrt(2))
    assert abs(score.auc.test - area) < 3 * spread(area, 2000, 2000) + 0.005
    assert str(score.rank) == NOTHING
    assert score.direction == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_perfect_separation_has_area_one_even_of_a_rare_outcome(sign):
    values, outcome, training = gaussians(20.0, 10, 4000)
    score = naive_bayes(sign * values, outcome, training)
    assert score.auc.training == 1.0
    assert score.auc.test > 0.998  # a member of the test half beyond all of its class may lie in a bin of the other
    assert score.auc.high > 0.999
    assert (score.rank.training, score.rank.test, score.rank.high) == (1.0, 1.0, 1.0)
    assert score.direction == sign
    assert score.table.tp >= 9
    assert score.table.tn >= 3995
    assert 0.7 < score.rank.low < 0.95  # ten positives do not show that there is no bad one
    assert 0.7 < score.auc.low < 0.95


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=8, max_size=40), st.integers(0, 99))
@settings(max_examples=30)
def test_rank_area_is_the_share_of_ordered_pairs_also_with_ties(members, seed):
    values, outcome = map(np.array, zip(*members, strict=True))
    training = halves(outcome, seed)
    score = naive_bayes(values, outcome, training, bins=4, seed=seed)
    if min(outcome.sum(), (~outcome).sum()) < 4:
        assert str(score.rank) == str(score.auc) == NOTHING
        return
    for half, area in ((training, score.rank.training), (~training, score.rank.test)):
        assert area == pytest.approx(pairs(score.direction * values[half], outcome[half]), abs=1e-14)
        assert area == pytest.approx(roc_auc_score(outcome[half], score.direction * values[half]), abs=1e-14)
    assert score.rank.training >= 0.5
    assert auc(*score.roc.T) == pytest.approx(score.auc.test, abs=1e-14)
    for area in (score.rank, score.auc):
        assert 0 <= area.low <= area.test <= area.high <= 1
    table = score.table
    assert (table.tp + table.fn, table.fp + table.tn) == (score.test_positives, score.test_negatives)
    assert score.test_positives == (outcome & ~training).sum()
    assert score.training_positives + score.training_negatives == training.sum()


@pytest.mark.parametrize("scaled", [lambda x: 1e-12 * x, np.exp, lambda x: x**3], ids=["tiny", "exp", "cube"])
def test_monotone_functions_of_an_indicator_change_nothing(scaled):
    values, outcome, training = gaussians(1.0, 60, 300)
    one, other = (naive_bayes(x, outcome, training) for x in (values, scaled(values)))
    assert str(one) == str(other)
    np.testing.assert_array_equal(one.roc, other.roc)
    falling = naive_bayes(-scaled(values), outcome, training)
    assert falling.rank == one.rank
    assert falling.direction == -one.direction == -1


def test_threshold_of_a_binary_indicator_separates_its_values():
    outcome = np.tile(np.repeat([True, False], [10, 90]), 2)
    training = np.repeat([True, False], 100)
    values = np.zeros(200)
    values[[*range(8), *range(10, 20), *range(100, 107), *range(110, 130)]] = 1.0
    score = naive_bayes(values, outcome, training)
    assert score.table == Contingency(tp=7, fp=20, fn=3, tn=70)
    np.testing.assert_allclose(score.roc, [[0, 0], [20 / 90, 0.7], [1, 1]])
    assert score.auc.test == pytest.approx((0.7 + 70 / 90) / 2)  # area of one corner


def test_everything_is_chosen_on_the_training_half():
    values, outcome, training = gaussians(20.0, 10, 100)
    turned = naive_bayes(np.where(training, values, -values), outcome, training)
    assert (turned.direction, turned.rank.training, turned.rank.test) == (1, 1.0, 0.0)
    assert turned.auc.test < 0.5
    assert turned.table.tp == 0
    assert (turned.rank.low, turned.rank.high > 0) == (0.0, True)


def test_halves_hold_half_of_each_class_at_random():
    outcome = np.arange(400) < 20
    one, again, other = (halves(outcome, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    for training in (one, other):
        assert (training[outcome].sum(), training[~outcome].sum()) == (10, 190)
    often = np.mean([halves(outcome, seed) for seed in range(400)], axis=0)
    assert np.abs(often - 0.5).max() < 4.5 * 0.5 / np.sqrt(400)


def test_same_seeds_give_the_same_bits():
    data = gaussians(1.0, 30, 200, features=2)
    for classifier in (naive_bayes, support_vectors):
        assert str(classifier(*data, seed=3)) == str(classifier(*data, seed=3))
    one, other = (naive_bayes(*data, seed=seed).auc for seed in (3, 4))
    assert attrs.astuple(one)[:2] == attrs.astuple(other)[:2]
    assert one.low != other.low


def test_rank_area_of_one_class_or_of_what_is_not_known_is_nan():
    assert np.isnan(rank_area(np.arange(3.0), np.ones(3, dtype=bool)))
    assert np.isnan(rank_area(np.arange(3.0), np.zeros(3, dtype=bool)))
    assert np.isnan(rank_area(np.array([0.0, np.nan, 1.0]), np.array([True, False, True])))


def rounded_area(distance):
    """Area of two Gaussians of which only the nearest half-integers are seen."""
    edges = np.arange(-12, 17) / 2 + 0.25
    positive, negative = (np.diff(norm.cdf(edges - shift)) for shift in (distance, 0.0))
    return np.sum(positive * (np.cumsum(negative) - negative / 2))


@pytest.mark.parametrize(
    ("distance", "positives", "rounded"),
    [(1.0, 25, True), (1.0, 25, False), (3.0, 15, True), (3.0, 15, False)],
)
def test_interval_covers_the_area_as_often_as_it_says(distance, positives, rounded, monkeypatch):
    monkeypatch.setattr(areas, "RESAMPLES", 400)  # faster
    repeats, negatives = 150, 200
    area = rounded_area(distance) if rounded else norm.cdf(distance / np.sqrt(2))
    found = []
    for seed in range(repeats):
        values, outcome, training = gaussians(distance, positives, negatives, seed)
        found.append(naive_bayes(np.round(2 * values) if rounded else values, outcome, training, seed=seed).rank)
    test, low, high = np.array([attrs.astuple(one)[1:] for one in found]).T
    missed = np.mean(area < low), np.mean(area > high)
    assert 0.005 <= sum(missed) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)
    assert max(missed) < 0.025 + 3.5 * np.sqrt(0.025 * 0.975 / repeats)
    ratio = np.mean(high - low) / (2 * 1.96 * test.std())
    assert 0.85 < ratio < (1.15 if distance == 1.0 else 1.9)  # an area of 0.983 is estimated too unsurely for less


@pytest.mark.parametrize("groups", [areas.GROUPS, 10**6])
def test_interval_has_the_width_of_the_asymptotic_theory(groups, monkeypatch):
    """E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Biometrics 44, 837 (1988)."""
    monkeypatch.setattr(areas, "GROUPS", groups)  # and grouping the values does not matter
    values, outcome, training = gaussians(1.0, 500, 1000)
    score = naive_bayes(values, outcome, training)
    positive, negative = values[outcome & ~training], values[~outcome & ~training]
    above = positive[:, None] > negative
    error = np.sqrt(above.mean(axis=1).var() / 500 + above.mean(axis=0).var() / 1000)
    assert (score.rank.high - score.rank.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.1)
    assert (score.rank.high + score.rank.low) / 2 == pytest.approx(score.rank.test, abs=0.25 * error)  # 1000 resamples


def test_the_best_of_many_useless_indicators_is_useless(monkeypatch):
    monkeypatch.setattr(areas, "RESAMPLES", 10)  # intervals are not looked at
    positives, negatives, repeats = 25, 200, 8
    _, outcome, training = gaussians(0.0, positives, negatives)
    noise = np.random.default_rng(0).normal(size=(repeats, len(outcome), 15))
    best = [selection(indicators, outcome, training) for indicators in noise]
    error = np.sqrt((1 / positives + 1 / negatives) / 12 / repeats)
    assert np.mean([one.score.auc.training for one in best]) > 0.7
    assert abs(np.mean([one.score.auc.test for one in best]) - 0.5) < 3 * error
    assert abs(np.mean([one.score.rank.test for one in best]) - 0.5) < 3 * error


def test_selection_takes_the_best_and_scores_each_alone():
    values, outcome, training = gaussians(1.0, 30, 200)
    noise = np.random.default_rng(1).normal(size=len(values))
    several = selection(np.stack([noise, np.full_like(noise, np.nan), values], axis=1), outcome, training)
    assert several.best == 2
    assert str(several.score) == str(naive_bayes(values, outcome, training))
    assert several.scores[1].test_negatives == 0
    assert np.isnan(several.scores[1].auc.training)
    assert np.isnan(selection(np.full((len(values), 2), np.nan), outcome, training).score.auc.test)


def test_members_that_diverged_are_left_out_and_counted():
    values, outcome, training = gaussians(1.0, 30, 200, features=2)
    lost = np.random.default_rng(1).random(len(values)) < 0.2
    for classifier in (naive_bayes, support_vectors):
        with_nan = classifier(np.where(lost[:, None], [np.nan, 1.0], values), outcome, training)
        assert str(with_nan) == str(classifier(values[~lost], outcome[~lost], training[~lost]))
        assert with_nan.test_positives == (outcome & ~training & ~lost).sum()


@pytest.mark.parametrize("few", [0, 1, 3])
def test_too_few_of_a_kind_give_counts_and_nothing_else(few):
    outcome = np.arange(100) < few
    for which in (outcome, ~outcome):
        training = halves(which)
        for classifier in (naive_bayes, support_vectors):
            score = classifier(np.arange(100.0), which, training)
            assert str(score.auc) == str(score.rank) == NOTHING
            assert score.table == Contingency()
            assert score.roc.shape == (0, 2)
            assert score.training_positives + score.test_positives == which.sum()


def test_infinite_values_have_a_rank():
    outcome = np.arange(40) % 4 == 0
    score = naive_bayes(np.where(outcome, np.inf, -np.inf), outcome, halves(outcome))
    assert (score.rank.test, score.auc.test) == (1.0, 1.0)


def test_a_constant_indicator_predicts_nothing():
    outcome = np.arange(40) % 4 == 0
    score = naive_bayes(np.ones(40), outcome, halves(outcome))
    assert score.rank == score.auc == Area(0.5, 0.5, 0.5, 0.5)


def test_support_vectors_see_what_features_show_only_together():
    values, _, training = gaussians(0.0, 400, 400, features=2)
    outcome = values[:, 0] * values[:, 1] > 0
    score = support_vectors(values * [1.0, 1e6], outcome, training)
    assert score.auc.test > 0.98
    assert abs(naive_bayes(values, outcome, training).auc.test - 0.5) < 0.1
    assert score.table.tp + score.table.tn > 0.9 * (~training).sum()


def test_support_vectors_find_a_rare_outcome():
    score = support_vectors(*gaussians(0.8, 50, 5000, features=9))
    assert score.training_negatives == 5000
    assert 0.85 < score.auc.test < norm.cdf(0.8 * 3 / np.sqrt(2)) + 0.02  # the best possible is a little more than 0.95


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"indicator": np.zeros((10, 2, 2))}, r"\(n, p\).*\(10, 2, 2\)"),
        ({"indicator": np.zeros(0)}, r"\(0,\)"),
        ({"indicator": ["a"] * 10}, "real numbers"),
        ({"outcome": np.zeros(10)}, "outcome must be bool.*float64"),
        ({"outcome": np.zeros(9, dtype=bool)}, r"outcome.*\(10,\).*\(9,\)"),
        ({"training": np.arange(10)}, "training must be bool.*int64"),
        ({"bins": 1}, "bins"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_input_says_what_came_and_what_was_expected(changes, word):
    mark = np.arange(10) % 2 == 0
    with pytest.raises(InvalidInputError, match=word):
        naive_bayes(**{"indicator": np.zeros(10), "outcome": mark, "training": mark} | changes)
    if "bins" not in changes:
        given = {"indicator": np.zeros(10), "outcome": mark, "training": mark} | changes
        with pytest.raises(InvalidInputError, match=word):
            support_vectors(given.pop("indicator"), **given)


def test_bad_input_of_halves_and_selections():
    with pytest.raises(InvalidInputError, match="bool"):
        halves(np.zeros(4))
    with pytest.raises(InvalidInputError, match="seed"):
        halves(np.zeros(4, dtype=bool), -1)
    with pytest.raises(InvalidInputError, match=r"\(n, m\).*\(10,\)"):
        selection(np.zeros(10), np.zeros(10, dtype=bool), np.zeros(10, dtype=bool))


def test_areas_are_compared_with_their_errors():
    wide, narrow, high = (Area(1.0, *numbers) for numbers in ((0.8, 0.7, 0.9), (0.82, 0.81, 0.83), (0.95, 0.94, 0.96)))
    assert narrow.error == pytest.approx(0.02 / 3.92)
    assert (high.exceeds(narrow), narrow.exceeds(high)) == (True, False)
    assert wide.exceeds(narrow) is narrow.exceeds(wide) is Area().exceeds(high) is None
