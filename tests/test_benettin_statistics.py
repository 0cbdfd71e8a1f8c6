"""Benettin's algorithm: known exponents within their standard error, the error itself, and the diagnostics."""

import contextlib

import attrs
import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from dynsys import RK4, DiagnosticWarning, Map, SymbolicMap
from dynsys.algorithms.checks.exponents import drift_of_halves
from dynsys.error_bars import batch_means_error
from dynsys.models.classics import Henon, LinearMap, Logistic, Lorenz63

pytestmark = pytest.mark.numba  # some take minutes without it

HENON = (0.419217, -1.623190)  # Sprott 2003; their sum is ln 0.3
LORENZ = (0.9056, 0.0, -14.5723)
BATCHES = 32
MEMBERS = 400


@attrs.frozen(eq=False)
class Ramp(Map):
    """x' = exp(-slope n) x: rates that fall for ever, the plainest transient."""

    slope: float
    dimension = 1

    def step(self, n, x):
        return np.exp(-self.slope * n) * x

    def jvp(self, n, x, V):
        return np.exp(-self.slope * n) * V


@attrs.frozen(eq=False)
class WrongKernel(LinearMap):
    """A map whose compiled equations have another matrix than its Jacobian."""

    def kernel(self):
        return LinearMap(1.01 * self.matrix).kernel()


@attrs.frozen(eq=False)
class Switch(Map):
    """Rates of a noisy -1/2 that were 1 up to step `until`: a chaotic transient that ends on a periodic orbit."""

    until: int
    dimension = 1

    def rate(self, n):
        return (1.0 if n < self.until else -0.5) + 0.3 * np.sin(1.3 * n**2)

    def step(self, n, x):
        return np.exp(self.rate(n)) * x

    def jvp(self, n, x, V):
        return np.exp(self.rate(n)) * V


def correlated(rho):
    """A map whose leading rates are growth + z, with z' = rho z + noise of variance 1/8, uncorrelated: AR(1) exactly.

    The noise is the logistic map at r = 4 (its autocovariances vanish); the line y = 0 is invariant, and y grows
    along it. The exponent is `growth`; the variance of a mean over n steps tends to 1/8 / (1 - rho)^2 / n.
    """
    equations = {"x": "4*x*(1 - x)", "z": "rho*z + x - 1/2", "y": "y*exp(growth + z)"}
    return SymbolicMap.of(equations, {"rho": rho, "growth": 1.5})


def run_of_many(name):
    """Exponents and standard errors of many members, and the true values: (members, k), (members, k), (k,)."""
    uniform, intervals = np.random.default_rng(0).uniform(size=MEMBERS), 200 * BATCHES
    options = {"intervals": intervals, "warmup": 300}
    if name == "Henon":
        x0 = np.stack([0.2 * uniform - 0.1, 0.0 * uniform], axis=1)
        return Henon().tangent().benettin(x0, **options), HENON
    x0 = np.stack([0.01 + 0.98 * uniform, 0.0 * uniform, 0.0 * uniform], axis=1)
    return correlated(float(name)).tangent().benettin(x0, k=1, **options), (1.5,)


@pytest.fixture(scope="module", params=["Henon", "0.5", "-0.5"])
def many(request):
    return (request.param, *run_of_many(request.param))


def assert_within_four_errors(spectrum, expected, largest_error):
    """Two-sided agreement; `largest_error` bounds the standard error, so that the agreement says something."""
    assert np.all(spectrum.standard_error < largest_error), spectrum.standard_error
    assert np.all(np.abs(spectrum.exponents - expected) < 4 * spectrum.standard_error), spectrum.exponents


def test_exponents_of_henon():
    spectrum = Henon().tangent().benettin([0.1, 0.1], intervals=1_000_000)
    assert_within_four_errors(spectrum, HENON, 6e-4)
    assert spectrum.exponents.sum() == pytest.approx(np.log(0.3), rel=1e-10)


def test_exponent_of_the_logistic_map_is_ln_2():
    spectrum = Logistic().tangent().benettin([0.3], intervals=1_000_000)
    assert_within_four_errors(spectrum, np.log(2.0), 2e-5)


def test_growth_of_the_logistic_map_is_known_at_every_time():
    """The conjugacy to the tent map: n (lambda(n) - ln 2) = 1/2 log [x_n (1 - x_n) / x_0 (1 - x_0)]."""
    tangent, n = Logistic().tangent(), 2000
    x0 = tangent.benettin([0.3], intervals=1, warmup=10).end
    spectrum = tangent.benettin(x0, intervals=n)
    first, last = (np.log(x * (1 - x)) for x in (x0.x[0, 0], spectrum.end.x[0, 0]))
    remainder = (last - first) / 2
    assert n * (spectrum.exponents[0] - np.log(2.0)) == pytest.approx(remainder, abs=1e-7)  # 1 - x rounds near 1
    assert abs(remainder) > 1e-2


def test_exponents_of_lorenz_63():
    spectrum = Lorenz63().tangent(RK4(0.01)).benettin([1.0, 1.0, 20.0], intervals=200_000, steps_per_interval=10)
    assert_within_four_errors(spectrum, LORENZ, 1.5e-3)
    assert spectrum.exponents.sum() == pytest.approx(-41 / 3, abs=2e-4)  # the error of RK4 at this dt is 1e-4
    assert spectrum.diagnostics.vanishing[0] < 4


def test_the_truth_lies_within_two_errors_as_often_as_student_says(many):
    """Of 400 members a binomial number is covered, p = 94.6 %: 360 to 393 but for one case in 5000."""
    _, spectrum, truth = many
    p = 1 - 2 * student.sf(2, BATCHES - 1)
    fewest, most = binom.interval(1 - 2e-4, MEMBERS, p)
    covered = np.count_nonzero(np.abs(spectrum.exponents - truth) < 2 * spectrum.standard_error, axis=0)
    assert np.all((fewest <= covered) & (covered <= most)), covered


def test_the_standard_error_is_the_spread_over_initial_conditions(many):
    _, spectrum, truth = many
    spread = np.sqrt(np.mean((spectrum.exponents - truth) ** 2, axis=0))
    claimed = np.sqrt(np.mean(spectrum.standard_error**2, axis=0))
    np.testing.assert_allclose(claimed / spread, 1.0, rtol=0, atol=4 / np.sqrt(2 * MEMBERS) + 0.01)


@pytest.mark.parametrize("many", ["0.5", "-0.5"], indirect=True)
def test_the_standard_error_of_autoregressive_rates_has_its_closed_form(many):
    name, spectrum, _ = many
    rho, n = float(name), spectrum.rates.shape[1]
    variance = np.mean(spectrum.standard_error**2) * n
    expected = 1 / 8 / (1 - rho) ** 2
    spread, bias = np.sqrt(2 / (BATCHES - 1) / MEMBERS), 2 * abs(rho) / (1 - rho**2) / (n / BATCHES)
    assert abs(variance / expected - 1) < 4 * spread + bias


@pytest.mark.parametrize("warmup", [0, 1])
def test_a_transient_is_told_by_its_drift_and_warned_of_unless_it_was_asked_for(warmup):
    """The rates fall evenly: the halves differ by n/2 steps, and each has the error of such a ramp."""
    warns = pytest.warns(DiagnosticWarning, match="drift between the halves of the record: lengthen the warm-up")
    with warns if warmup else contextlib.nullcontext():  # without a warm-up a transient is wanted
        spectrum = Ramp(1e-4).tangent().benettin([1.0], intervals=2048, warmup=warmup)
    np.testing.assert_allclose(spectrum.rates[:, 0], -1e-4 * np.arange(warmup, warmup + 2048), rtol=0, atol=1e-15)
    error = batch_means_error(1e-4 * np.arange(1024.0)[:, None])[0]
    assert spectrum.diagnostics.drift[0] == pytest.approx(-1e-4 * 1024 / (np.sqrt(2) * error), rel=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_transient_that_ends_within_the_record_is_told(share):
    n, warmup = 1000, 100
    with pytest.warns(DiagnosticWarning, match="drift between the halves of the record: lengthen the warm-up"):
        Switch(warmup + int(share * n)).tangent().benettin([0.0], intervals=n, warmup=warmup)
    spectrum = Switch(warmup).tangent().benettin([0.0], intervals=n, warmup=warmup)  # warnings are errors: none
    assert abs(spectrum.exponents[0] + 0.5) < 2 * spectrum.standard_error[0] < 0.1


@pytest.mark.parametrize("n", [300, 1000, 3000, 10_000])
def test_a_shear_has_exponents_that_are_zero_within_their_errors_and_says_no_more(n):
    """Growth is ln t, exactly. The drift is real, and no warm-up makes an end of it: the error bar counts it."""
    spectrum = LinearMap([[1.0, 1.0], [0.0, 1.0]]).tangent().benettin([1.0, 0.0], intervals=n)
    assert spectrum.exponents[0] == pytest.approx(np.log(11) / n, rel=0.05)
    assert np.all(np.abs(spectrum.exponents) < 2 * spectrum.standard_error)
    assert np.all(np.abs(spectrum.exponents) > 0.5 * spectrum.standard_error)


@pytest.mark.parametrize("strength", [0.3, 0.8])
@pytest.mark.parametrize("n", [333, 1000, 1597])  # 1597 is nearly a whole number of periods
def test_quasi_periodic_motion_neither_drifts_nor_misses_zero(strength, n):
    turn = {"x": "x + Omega + K/(2*pi)*sin(2*pi*x)"}
    circle = SymbolicMap.of(turn, {"Omega": (np.sqrt(5) - 1) / 2, "K": strength})
    spectrum = circle.tangent(backend="numpy").benettin([[0.1], [0.4], [0.77]], intervals=n)
    assert np.all(np.abs(spectrum.exponents) < 2 * spectrum.standard_error)
    assert np.all(spectrum.standard_error < 3.0 / n)


def test_stationary_rates_drift_as_student_says(many):
    """Had the drift another scale, it would warn of half the runs or of none."""
    _, spectrum, _ = many
    drift = spectrum.diagnostics.drift[:, 0]
    expected = np.sqrt((2 * BATCHES - 2) / (2 * BATCHES - 4))  # two halves of 32 batches each
    assert np.std(drift) == pytest.approx(expected, rel=4 / np.sqrt(2 * MEMBERS) + 0.02)
    assert abs(np.mean(drift)) < 4 * expected / np.sqrt(MEMBERS)


@pytest.mark.parametrize("members", [None, 3])
def test_a_kernel_that_disagrees_with_the_jacobian_is_found_by_the_determinant(members):
    matrix = np.array([[2.0, 1.0], [0.0, 0.25]])
    x0 = np.zeros((2,) if members is None else (members, 2))
    count = "check_tangent$" if members is None else r"check_tangent \(3 of 3 members\)$"
    with pytest.warns(DiagnosticWarning, match=f"not log.det.*{count}") as caught:
        spectrum = WrongKernel(matrix).tangent().benettin(x0, intervals=20)
    assert caught[0].filename == __file__  # the warning points at the line of the user
    expected = 2 * np.log(1.01) / (1 + np.log(2.0))
    defect = spectrum.diagnostics.determinant_defect
    assert defect.shape == x0.shape[:-1]
    np.testing.assert_allclose(defect, expected, rtol=1e-10)
    by_numpy = WrongKernel(matrix).tangent(backend="numpy").benettin(x0, intervals=20)
    assert np.all(by_numpy.diagnostics.determinant_defect < 1e-14)


def test_the_determinant_is_checked_only_if_all_vectors_are_followed():
    tangent = Lorenz63().tangent(RK4(0.01))
    full, leading = (tangent.benettin([1.0, 1.0, 20.0], intervals=20, k=k).diagnostics for k in (3, 2))
    assert full.determinant_defect < 1e-13
    assert np.isnan(leading.determinant_defect)


@pytest.mark.parametrize("members", [None, 2])
def test_a_run_at_rest_has_no_vanishing_exponent_and_says_so(members):
    tangent = Lorenz63(rho=0.5).tangent(RK4(0.01))  # the origin is stable
    x0 = np.zeros((3,) if members is None else (members, 3))
    spectrum = tangent.benettin(x0, intervals=200, steps_per_interval=50)
    multipliers = np.linalg.eigvals(tangent.step(0, np.zeros(3), np.eye(3))[1])
    tangent_eigenvalues = np.linalg.eigvals(Lorenz63(rho=0.5).jacobian(0.0, np.zeros(3)))
    expected = np.broadcast_to(-np.sort(-np.log(multipliers) / 0.01), x0.shape)
    np.testing.assert_allclose(spectrum.exponents, expected, rtol=0, atol=1e-10)
    assert spectrum.diagnostics.vanishing.shape == (*x0.shape[:-1], 1)
    regimes = [spectrum.regime] if members is None else spectrum.regime
    assert set(regimes) == {"at rest"}
    np.testing.assert_allclose(
        spectrum.diagnostics.rest, np.broadcast_to(-np.sort(-tangent_eigenvalues), x0.shape), rtol=1e-12
    )


def test_errors_of_lorenz_63_are_the_scatter_of_many_runs():
    """The neutral rate is a total derivative: plain batch means would claim almost six times its scatter."""
    members, x0 = 64, np.array([1.0, 1.0, 20.0]) + np.random.default_rng(0).normal(size=(64, 3))
    spectra = Lorenz63().tangent(RK4(dt=0.01)).benettin(x0, intervals=20_000, steps_per_interval=10, warmup=300)
    claimed = np.sqrt(np.mean(spectra.standard_error**2, axis=0))
    scatter = spectra.exponents.std(axis=0, ddof=1)
    doubt = 4 / np.sqrt(2 * (members - 1))  # four standard errors of the scatter itself
    np.testing.assert_array_less(scatter * (1 - doubt), claimed)
    np.testing.assert_array_less(claimed, scatter * (1 + doubt) * [1.1, 1.5, 1.1])


def test_a_drift_of_a_very_long_record_is_found_in_means_of_its_rates():
    """The check looks at some ten thousand of them: a drift is slow."""
    n = 100_003
    noise = np.random.default_rng(8).normal(size=(2, n, 2))
    rates = noise + np.array([0.0, 1.0])[:, None, None] * np.linspace(0.0, 1.0, n)[:, None]
    moved, drifts = drift_of_halves(rates, rates.mean(axis=1), batch_means_error(rates))
    assert drifts.tolist() == [False, True]
    halves = rates[0, n // 2 :].mean(axis=0) - rates[0, : n // 2].mean(axis=0)
    np.testing.assert_allclose(moved[0], halves / (2 / np.sqrt(n)), rtol=0.5, atol=0.1)


@pytest.mark.parametrize(("a", "x"), [(0.5, 1e-8), (0.8, 1e-6), (0.8, 1e-10)])
def test_a_run_that_stays_laminar_throughout_is_told_by_its_drift(a, x):
    """x' = x (1 + (2 x)^a): the error bar cannot know what comes after, but the rates grow all the time."""
    rates = np.empty((1, 1100, 1))
    for n in range(1100):
        rates[0, n] = np.log1p((1 + a) * (2 * x) ** a)
        x *= 1 + (2 * x) ** a
    assert x < 0.5
    record = rates[:, 100:]
    error = batch_means_error(record)
    assert np.ptp(record) / 4 < error[0, 0] < 4 * np.ptp(record)  # of the size of the trend, however small that is
    assert drift_of_halves(record, record.mean(axis=1), error)[1]


@pytest.mark.parametrize(("growth", "told"), [(0.03, False), (3.0, True), (-0.03, False)])
def test_growth_that_dies_away_is_told_unless_it_is_next_to_nothing(growth, told):
    """Rates like 1/t^2, as a third vector has where two others move apart like t."""
    t = np.arange(1000.0, 6000.0)
    rates = growth * 1200 / t[None, :, None] ** 2
    exponents, error = rates.mean(axis=1), batch_means_error(rates)
    assert exponents[0, 0] * 5000 == pytest.approx(growth, rel=0.01)
    assert drift_of_halves(rates, exponents, error)[1].item()
    assert drift_of_halves(rates, exponents, error, time=5000.0)[1].item() is told
    assert drift_of_halves(rates[:, ::-1], exponents, error, time=5000.0)[1].item()  # one that begins is
