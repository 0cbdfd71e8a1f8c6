"""Kaplan-Yorke dimension and entropy: closed forms, known attractors within their errors, truncated spectra."""

import attrs
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dynsys import RK4, DiagnosticWarning, InvalidInputError, SymbolicFlow
from dynsys.models.classics import Henon, LinearMap, Lorenz63
from dynsys.results.dimensions import entropy_bound, kaplan_yorke_dimension, kaplan_yorke_gradient

RUN = {"intervals": 3000, "warmup": 100}
CLOSED_FORMS = [  # exponents, dimension, sum of the positive ones; binary fractions: exact
    ([-1.0, -2.0], 0.0, 0.0),  # a fixed point
    ([0.0, -2.0], 1.0, 0.0),  # a limit cycle
    ([0.0, 0.0, -2.0], 2.0, 0.0),  # a torus
    ([0.5, -2.0], 1.25, 0.5),
    ([-2.0, 0.5], 1.25, 0.5),  # out of order
    ([0.5, 0.0, -2.0], 2.25, 0.5),
    ([3.0, 1.0, 0.0, -2.0, -4.0, -9.0], 4.5, 4.0),
    ([1.0, -1.0], 2.0, 1.0),  # conserves volume
    ([1.0, -1.0, -1.0], 2.0, 1.0),
    ([2.0, 1.0], 2.0, 3.0),  # expands it
]
SPECTRA = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=1, max_size=7)


@pytest.fixture(scope="module")
def henon():
    return (
        Henon().tangent(backend="numpy").benettin([[0.1, 0.1], [0.3, 0.2], [5.0, 5.0]], **RUN)
    )  # the last one escapes


@pytest.mark.parametrize(("exponents", "D", "h"), CLOSED_FORMS)
def test_closed_forms_are_exact_for_one_spectrum_and_for_many(exponents, D, h):
    k = len(exponents)
    assert (kaplan_yorke_dimension(exponents, k), entropy_bound(exponents, k)) == (D, h)
    many = np.array([[exponents, np.full(k, -1.0)], [np.full(k, np.nan), exponents[::-1]]])
    np.testing.assert_array_equal(kaplan_yorke_dimension(many, k), [[D, 0.0], [np.nan, D]])
    np.testing.assert_array_equal(entropy_bound(many, k), [[h, 0.0], [np.nan, h]])
    assert np.isnan(kaplan_yorke_gradient(many, k)[1, 0]).all()


def test_one_unknown_exponent_leaves_no_dimension_and_no_entropy():
    for function in (kaplan_yorke_dimension, entropy_bound):
        assert np.isnan(function([0.5, np.nan, -2.0], 3))
    assert np.isnan(kaplan_yorke_gradient([0.5, np.nan, -2.0], 3)).all()


@given(SPECTRA, st.randoms(use_true_random=False))
def test_neither_order_nor_unit_of_time_matters_and_the_input_is_not_changed(exponents, random):
    k, shuffled = len(exponents), np.array(random.sample(exponents, len(exponents)))
    before = shuffled.copy()
    D, gradient = kaplan_yorke_dimension(exponents, k), kaplan_yorke_gradient(exponents, k)
    assert kaplan_yorke_dimension(shuffled, k) == D
    np.testing.assert_array_equal(shuffled, before)
    np.testing.assert_array_equal(np.sort(kaplan_yorke_gradient(shuffled, k)), np.sort(gradient))
    assert kaplan_yorke_dimension(4.0 * shuffled, k) == D
    assert entropy_bound(4.0 * shuffled, k) == pytest.approx(4 * entropy_bound(exponents, k), rel=1e-14)
    assert 0.0 <= D <= k


@given(SPECTRA)
def test_the_dimension_balances_expansion_and_contraction(exponents):
    """The sums, interpolated linearly between whole numbers, vanish at D: an independent way to it."""
    k = len(exponents)
    sums = np.concatenate([[0.0], np.cumsum(sorted(exponents, reverse=True))])
    D = kaplan_yorke_dimension(exponents, k)
    assert np.interp(D, np.arange(k + 1), sums) == pytest.approx(max(0.0, sums[-1]), abs=1e-12)
    if k > D:
        assert np.interp(min(k, D + 1e-6), np.arange(k + 1), sums) < 0.0


@given(SPECTRA, st.data())
def test_the_gradient_is_the_derivative_is_never_negative_and_scales_out(exponents, data):
    k, exponents, eps = len(exponents), np.array(exponents), 1e-7
    sums, gaps = np.cumsum(-np.sort(-exponents)), np.diff(np.sort(exponents))
    assume(np.abs(sums).min() > 1e-3 and (k == 1 or gaps.min() > 1e-3))  # away from kinks
    i = data.draw(st.integers(0, k - 1))
    step = eps * (np.arange(k) == i)
    difference = kaplan_yorke_dimension(exponents + step, k) - kaplan_yorke_dimension(exponents - step, k)
    gradient = kaplan_yorke_gradient(exponents, k)
    assert difference / (2 * eps) == pytest.approx(gradient[i], rel=1e-5, abs=1e-6)
    assert (gradient >= 0.0).all()  # D is monotone
    assert gradient @ exponents == pytest.approx(0.0, abs=1e-9)  # Euler: D does not change with the unit of time


@pytest.mark.parametrize("j", [2, 3, 4])
def test_the_dimension_is_continuous_where_a_sum_vanishes(j):
    exponents = np.array([2.0, -0.5, -1.0, -4.0])[:j]
    exponents[-1] = -exponents[:-1].sum()  # S_j = 0, with lambda_j < 0
    assert kaplan_yorke_dimension(exponents, j) == j
    for eps in (1e-3, 1e-9):
        below = kaplan_yorke_dimension([*exponents[:-1], exponents[-1] - eps, -8.0], j + 1)
        above = kaplan_yorke_dimension([*exponents[:-1], exponents[-1] + eps, -8.0], j + 1)
        assert j - 2 * eps < below < j < above < j + eps


@pytest.mark.parametrize(
    ("exponents", "D", "h"),
    [([0.5, 0.0], None, 0.5), ([0.5, 0.25], None, None), ([0.5, -1.0], 1.5, 0.5), ([], None, None)],
)
def test_a_truncated_spectrum_is_refused_where_what_is_cut_off_counts(exponents, D, h):
    for function, value, reason in (
        (kaplan_yorke_dimension, D, "the sums have not turned negative"),
        (entropy_bound, h, "its smallest exponent is still positive"),
    ):
        k = len(exponents)
        if value is None:
            with pytest.raises(InvalidInputError) as caught:
                function([exponents, k * [-1.0]] if k else exponents, 5)
            for part in (reason, f"first {k} of 5", f"{np.array(exponents)}", "follow more vectors", "(1 of "):
                assert part in str(caught.value)
            assert function([*exponents, *(5 - k) * [-9.0]], 5) >= 0.0
        else:
            assert function(exponents, 5) == value


def test_wrong_shapes_and_dimensions_are_refused():
    for function in (kaplan_yorke_dimension, kaplan_yorke_gradient, entropy_bound):
        for exponents, dimension in ((np.zeros(3), 2), (1.0, 1), (["a"], 1), ([1.0], 0), ([1.0], 1.0)):
            with pytest.raises(InvalidInputError, match=r"exponents must|dimension must"):
                function(exponents, dimension)


def test_errors_know_that_exponents_are_correlated(henon):
    """lambda_1 + lambda_2 = ln b at every step: so dD = d(1 + lambda_1/|lambda_2|) = |ln b|/lambda_2^2 dlambda_1."""
    D, error = henon.kaplan_yorke_dimension()
    h, its_error = henon.entropy_bound()
    first, second = henon.exponents.T
    np.testing.assert_allclose(D, 1 + first / np.abs(second), rtol=1e-15)
    np.testing.assert_allclose(error, -np.log(0.3) / second**2 * henon.standard_error[:, 0], rtol=1e-9)
    np.testing.assert_array_equal(h, first)
    np.testing.assert_allclose(its_error, henon.standard_error[:, 0], rtol=1e-12)
    assert np.isnan([D[2], error[2], h[2], its_error[2]]).all()  # the member that escaped
    assert np.isfinite([D[:2], error[:2], h[:2], its_error[:2]]).all()


def test_the_error_is_that_of_any_order_of_the_exponents(henon):
    names = ("exponents", "standard_error", "rates")
    turned = attrs.evolve(henon, **{name: getattr(henon, name)[..., ::-1] for name in names})
    np.testing.assert_allclose(turned.kaplan_yorke_dimension(), henon.kaplan_yorke_dimension(), rtol=1e-12)
    np.testing.assert_allclose(turned.entropy_bound(), henon.entropy_bound(), rtol=1e-12)


def test_one_run_gives_numbers(henon):
    single = Henon().tangent(backend="numpy").benettin([0.1, 0.1], **RUN)
    for one, many in (
        (single.kaplan_yorke_dimension(), henon.kaplan_yorke_dimension()),
        (single.entropy_bound(), henon.entropy_bound()),
    ):
        for value, values in zip(one, many, strict=True):
            assert isinstance(value, float)
            assert values.shape == (3,)


@pytest.mark.numba
@pytest.mark.parametrize(
    ("tangent", "x0", "intervals", "steps", "D", "h"),
    [
        (Henon().tangent, [0.1, 0.1], 200_000, 1, 1.258267, 0.419217),
        (lambda: Lorenz63().tangent(RK4(dt=0.005)), [1.0, 1.0, 20.0], 20_000, 20, 2.06215, 0.9056),
    ],
    ids=["Henon", "Lorenz"],
)
def test_known_attractors_have_their_dimension_and_entropy(tangent, x0, intervals, steps, D, h):
    """J. C. Sprott, Chaos and Time-Series Analysis (2003): values of six and five digits."""
    spectrum = tangent().benettin(x0, intervals=intervals, steps_per_interval=steps, warmup=500)
    found, error = spectrum.kaplan_yorke_dimension()
    assert abs(found - D) < 4 * error + 5e-6
    assert error < 1e-3
    found, error = spectrum.entropy_bound()
    assert abs(found - h) < 4 * error + 5e-5
    assert error < 5e-3


def test_a_limit_cycle_whose_vanishing_exponent_is_below_zero_is_no_fixed_point():
    """Van der Pol: the largest exponent is O(1/T), of either sign; below zero it gives D = 0 with a warning."""
    cycle = SymbolicFlow.of({"x": "y", "y": "(1 - x**2)*y - x"}).tangent(RK4(dt=0.05), backend="numpy")
    below, above = (cycle.benettin([2.0, 0.0], intervals=n, warmup=300) for n in (333, 500))
    assert below.exponents[0] < 0.0 < above.exponents[0]
    with pytest.warns(DiagnosticWarning, match="on a limit cycle it vanishes, and the dimension is 1"):
        assert below.kaplan_yorke_dimension()[0] == 0.0
    D, error = above.kaplan_yorke_dimension()
    assert 1.0 <= D < 1.0 + error
    assert cycle.benettin([2.0, 0.0], intervals=3000, warmup=300).kaplan_yorke_dimension()[0] == 1.0
    fixed = LinearMap([[0.5, 0.0], [0.0, 0.25]]).tangent(backend="numpy").benettin([1.0, 1.0], intervals=64)
    assert fixed.kaplan_yorke_dimension() == (0.0, 0.0)  # with no warning


def test_a_run_that_follows_too_few_vectors_says_so():
    spectrum = Lorenz63().tangent(RK4(dt=0.01), backend="numpy").benettin([1.0, 1.0, 20.0], intervals=200, k=1)
    with pytest.raises(InvalidInputError, match=r"first 1 of 3 exponents.*follow more vectors"):
        spectrum.kaplan_yorke_dimension()
    with pytest.raises(InvalidInputError, match=r"first 1 of 3 exponents.*follow more vectors"):
        spectrum.entropy_bound()
