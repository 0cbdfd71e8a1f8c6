"""Statistics behind the report, against closed forms and known laws."""

import numpy as np
import pytest
from scipy.stats import norm

from dynsys.models.reporting.report import FAILS, HOLDS, UNDER, Claim, chosen, judged
from dynsys.models.weight_dynamics.paper.findings import (
    Share,
    exponential_tail,
    logarithmic,
    mutual_information,
    peaks,
    percent,
)
from dynsys.models.weight_dynamics.paper.protocol import DATA_SEED, EARLY, LATE, Protocol
from dynsys.models.weight_dynamics.study import PAPER_TIME

RNG = np.random.default_rng(1)


def test_wilson_interval_is_the_solution_of_its_equation():
    share = Share(14, 4000)
    z = norm.ppf(0.975)
    for p in share.interval:
        assert (share.value - p) ** 2 == pytest.approx(z**2 * p * (1 - p) / share.total, rel=1e-9)
    assert Share.of(np.array([True, False, True])) == Share(2, 3)
    assert Share(0, 0).interval == (0.0, 1.0)


def test_a_share_agrees_with_the_papers_as_often_as_two_samples_of_one_do():
    rng = np.random.default_rng(0)
    paper = np.round(rng.binomial(4000, 0.33, size=1000) / 4000, 2)
    ours = rng.binomial(4000, 0.33, size=1000)
    agrees = np.mean([Share(int(count), 4000).agrees(p) for count, p in zip(ours, paper, strict=True)])
    assert 0.95 < agrees < 0.995  # rounding is allowed for on top
    assert not Share(840, 4000).agrees(0.33)
    assert Share(840, 4000).agrees(0.33, spread=0.06)
    assert not Share(0, 4000).agrees(0.03)
    assert Share(0, 63).agrees(0.03)


def test_shares_differ_by_chance_as_often_as_they_may():
    rng = np.random.default_rng(0)
    pairs = rng.binomial([4000, 250], 0.2, size=(2000, 2))
    differ = [Share(int(a), 4000).differs(Share(int(b), 250)) for a, b in pairs]
    assert 0.03 < np.mean(differ) < 0.07
    many = [Share(int(a), 4000).differs(Share(int(b), 250), comparisons=28) for a, b in pairs]
    assert np.mean(many) < 0.008
    assert Share(800, 4000).differs(Share(100, 250), comparisons=28)


def test_shares_are_printed_with_their_counts():
    assert str(Share(1, 4)) == "25 % (4.6 to 70 %; 1 of 4)"
    assert percent(1.0) == "100"
    assert percent(0.9997) == "99.97"


@pytest.mark.parametrize("modes", [1, 2, 3])
def test_peaks_counts_the_modes_of_a_mixture(modes):
    values = np.concatenate([RNG.normal(8 * m, 1, size=2000) for m in range(modes)])
    found = peaks(values)
    assert len(found) == modes
    np.testing.assert_allclose(found, 8 * np.arange(modes), atol=1.0)


def test_peaks_at_the_ends_and_of_spikes_count():
    found = peaks(np.concatenate([np.zeros(500), RNG.uniform(0, 10, 500), np.full(300, 10.0)]))
    np.testing.assert_allclose(found, [0, 10], atol=0.2)
    assert len(peaks(RNG.uniform(size=4000))) == 1


def test_mutual_information_of_a_function_is_its_entropy_and_of_strangers_nothing():
    x = RNG.permutation((np.arange(4096) + 0.5) / 4096)
    level = np.floor(16 * x)  # 4 bits, and bins of equal width in log y
    bits, score = mutual_information(x, np.exp(level))
    assert bits == pytest.approx(4.0, abs=0.1)
    assert score > 100
    bits, score = mutual_information(x, np.exp(RNG.uniform(size=4096)))
    assert abs(bits) < 0.02
    assert abs(score) < 4


def test_an_exponential_law_has_a_straight_tail_and_a_normal_one_has_not():
    assert exponential_tail(RNG.exponential(size=20_000), 1) > 0.995
    assert exponential_tail(-RNG.exponential(size=20_000), -1) > 0.995
    assert exponential_tail(RNG.uniform(size=20_000), 1) < 0.9
    assert exponential_tail(np.ones(100), 1) == 0.0


def test_logarithmic_keeps_signs_and_order():
    x = np.array([-1e3, -1.0, 0.0, 1.0, 1e3])
    assert (np.diff(logarithmic(x)) > 0).all()
    np.testing.assert_allclose(logarithmic(-x), -logarithmic(x))


def test_verdicts():
    assert (judged(True), judged(False)) == (HOLDS, FAILS)
    assert (chosen(True, ["a"]), chosen(False, []), chosen(False, ["a", "b"])) == (HOLDS, FAILS, f"{UNDER}: a; b")
    with pytest.raises(ValueError, match="claim 3 has the verdict 'maybe'"):
        Claim(3, "", "", "", "", "maybe")


def test_the_protocol_is_that_of_the_paper():
    studies = Protocol().studies
    for name in ("he", "wide"):
        study = studies[name]
        assert (study.members, study.activations, study.batch, study.interval) == (4000, ("relu", "tanh"), 32, 20)
        assert (study.learning_rate, study.intervals, study.weights) == (3e-5, 36_667, name)
        assert study.predictions == EARLY + LATE
    assert [round(n * 20 * 3e-5, 9) for n in EARLY] == [0.015, 0.03, 0.06, 0.09]
    many = studies["many"]
    assert (many.members, many.activations, many.tangent_intervals) == (40_000, ("relu",), LATE[-1])
    assert {study.seeds["data"] for name, study in studies.items() if not name.startswith("data-")} == {DATA_SEED}
    for study in studies.values():
        assert PAPER_TIME - 1e-9 <= study.intervals * study.interval * study.learning_rate < PAPER_TIME + 0.1
