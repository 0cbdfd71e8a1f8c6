"""How often two standard errors cover the truth, by kind of motion and length of record. Errors, not times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.measure import table
from dynsys import RK4, Leapfrog, SymbolicFlow
from dynsys.error_bars import batch_means_error
from dynsys.models.classics import Henon, Lorenz63

Array = np.ndarray

LENGTHS = (100, 333, 999, 1000, 3333, 10_000)
GROUPS = 10  # of members, whose records are shorter by 0 to 9 %: else all would end at one phase
ROUNDING = 1e-13
GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


@attrs.frozen(eq=False)
class Motion:
    """Rates of many members, and the truth.

    Attributes
    ----------
    name : str
    rates : callable (members, intervals, seed) -> ndarray, shape (members, intervals, k)
    truth : tuple of k floats, or None
        None: the mean over all members and times, these in multiples of `whole`.
    """

    name: str
    rates: Callable[[int, int, int], Array]
    truth: tuple[float, ...] | None = None
    whole: int = 1


def iterated(step: Callable[[Array], Array], rate: Callable[[Array], Array], burn: int = 1000) -> Callable:
    """The rates of a map of the interval, from random starts."""

    def rates(members: int, intervals: int, seed: int) -> Array:
        x = np.random.default_rng(seed).uniform(0.05, 0.95, members)
        found = np.empty((members, intervals, 1))
        for n in range(-burn, intervals):
            if n >= 0:
                found[:, n, 0] = rate(x)
            x = step(x)
        return found

    return rates


def logistic(r: float) -> Callable:
    """In a periodic window; the last iterates of a transient are within rounding of the orbit."""
    return iterated(lambda x: r * x * (1 - x), lambda x: np.log(np.abs(r - 2 * r * x)), burn=20_000)


def intermittent(a: float, burn: int) -> Callable:
    """Pomeau's and Manneville's map: x (1 + (2 x)^a) below 1/2, 2 x - 1 above."""
    return iterated(
        lambda x: np.where(x < 0.5, x * (1 + (2 * x) ** a), 2 * x - 1).clip(1e-300, 1 - 1e-16),
        lambda x: np.where(x < 0.5, np.log1p((1 + a) * (2 * x) ** a), np.log(2.0)),
        burn,
    )


def circle(strength: float) -> Callable:
    """The sine circle map, quasi-periodic: its exponent is zero."""
    return iterated(
        lambda x: (x + GOLDEN + strength / (2 * np.pi) * np.sin(2 * np.pi * x)) % 1.0,
        lambda x: np.log1p(strength * np.cos(2 * np.pi * x)),
    )


def autoregressive(rho: float, members: int, intervals: int, seed: int) -> Array:
    """A stationary series x' = rho x + noise."""
    noise = np.random.default_rng(seed).normal(size=(members, intervals))
    noise[:, 0] /= np.sqrt(1 - rho**2)
    for n in range(1, intervals):
        noise[:, n] += rho * noise[:, n - 1]
    return noise[..., None]


def sines(fastest: float, slowest: float, members: int, intervals: int, seed: int) -> Array:
    """Two sines, of the amplitudes 1 and 1/2, of random phases and of random periods between the two given ones."""
    rng = np.random.default_rng(seed)
    frequency = 1 / rng.uniform(fastest, slowest, (members, 1, 2))
    phase = 2 * np.pi * (frequency * np.arange(intervals)[:, None] + rng.uniform(size=(members, 1, 2)))
    return np.cos(phase) @ np.array([[1.0], [0.5]])


def run(flow, stepper, start, steps, burn, members, intervals, seed) -> Array:  # type: ignore[no-untyped-def]
    """Rates of a flow from starts that `start(rng, members)` draws."""
    x0 = start(np.random.default_rng(seed), members)
    tangent = flow.tangent(stepper)
    return tangent.benettin(x0, intervals=intervals, steps_per_interval=steps, warmup=burn, seed=seed).rates


def on_the_ellipse(rng: np.random.Generator, members: int) -> Array:
    """Kepler's ellipse with the excentricity 0.6, at random times; E is the excentric anomaly."""
    e, E = 0.6, rng.uniform(0, 2 * np.pi, members)
    p = np.sqrt(1 - e**2)
    fast = 1 / (1 - e * np.cos(E))
    return np.stack([np.cos(E) - e, p * np.sin(E), -np.sin(E) * fast, p * np.cos(E) * fast], axis=1)


def of_the_step(eigenvalue: complex, dt: float = 0.01) -> float:
    """The exponent that a Runge-Kutta step of fourth order has where the flow has an eigenvalue."""
    z = eigenvalue * dt
    return float(np.log(np.abs(1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24)) / dt)


def motions() -> list[Motion]:
    """All kinds of motion that are looked at."""
    pull = "(x**2 + y**2)**1.5"
    kepler = SymbolicFlow.of({"x": "u", "y": "v", "u": f"-x/{pull}", "v": f"-y/{pull}"})
    quartic = SymbolicFlow.of({"x": "v", "v": "-x**3"})
    node = SymbolicFlow.of({"x": "-x + 0.3*y + 0.1*x*y", "y": "-2*y - 0.2*x**2"})
    focus = SymbolicFlow.of({"x": "-0.1*x + y", "y": "-2*x - 0.1*y"})
    near = lambda rng, members: rng.normal((1.0, 1.0, 20.0), 1.0, (members, 3))  # noqa: E731
    normal = lambda rng, members: rng.normal(size=(members, 2))  # noqa: E731
    small = lambda rng, members: 0.1 * rng.uniform(-1, 1, (members, 2))  # noqa: E731
    ring = lambda rng, members: np.stack(  # noqa: E731
        [rng.uniform(1, 2, members), rng.uniform(0, 1, members)], axis=1
    )

    def henon(members: int, intervals: int, seed: int) -> Array:
        x0 = small(np.random.default_rng(seed), members)
        return Henon().tangent().benettin(x0, intervals=intervals, warmup=500, k=1).rates

    def ends(members: int, intervals: int, seed: int) -> Array:
        return np.diff(np.random.default_rng(seed).normal(size=(members, intervals + 1)), axis=1)[..., None]

    return [
        Motion("Lorenz 1963, intervals of 0.1", partial(run, Lorenz63(), RK4(0.01), near, 10, 500)),
        Motion("Hénon, first", henon),
        *(Motion(f"noise, correlated by {rho}", partial(autoregressive, rho), (0.0,)) for rho in (-0.5, 0.5, 0.9)),
        Motion("total derivative of noise", ends, (0.0,)),
        Motion("intermittent, a = 0.5", intermittent(0.5, 3_000)),
        Motion("intermittent, a = 0.8", intermittent(0.8, 100_000)),
        Motion("logistic, period 3 (r = 3.84)", logistic(3.84), whole=60),
        Motion("logistic, period 5 (r = 3.74)", logistic(3.74), whole=60),
        Motion("logistic, period 4 (r = 3.5)", logistic(3.5), whole=60),
        Motion("two sines, periods 2 to 20", partial(sines, 2, 20), (0.0,)),
        Motion("two sines, periods 20 to 50", partial(sines, 20, 50), (0.0,)),
        Motion("circle map, K = 0.5", circle(0.5), (0.0,)),
        Motion("circle map, K = 0.95", circle(0.95), (0.0,)),
        Motion("stable node", partial(run, node, RK4(0.01), normal, 5, 0), (of_the_step(-1.0), of_the_step(-2.0))),
        Motion("stable focus", partial(run, focus, RK4(0.01), normal, 13, 0), (of_the_step(-0.1 + 2**0.5 * 1j),) * 2),
        Motion("Kepler, e = 0.6", partial(run, kepler, Leapfrog(0.01), on_the_ellipse, 20, 0), (0.0,) * 4),
        Motion("quartic oscillator", partial(run, quartic, Leapfrog(0.01), ring, 20, 0), (0.0, 0.0)),
    ]


def tapered_batch_means(rates: Array) -> Array:
    """D/n + B/n^2: D from tapered, overlapping batches of n/16, B from plain ones of n/32 (dynsys 0.1)."""
    *lead, n, k = rates.shape
    batches = min(16, n // 8)
    centred = rates - rates.mean(axis=-2, keepdims=True)
    length = n // batches
    taper = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    means = sliding_window_view(centred, length, axis=-2)[..., :: length // 2, :, :] @ (taper / taper.sum())
    D = np.mean(means**2, axis=-2) / (np.sum(taper**2) / np.sum(taper) ** 2 - 1 / n)
    length = n // (2 * batches)
    plain = centred[..., n - 2 * batches * length :, :].reshape(*lead, 2 * batches, length, k).mean(axis=-2)
    B = np.maximum(0.0, (plain.var(axis=-2, ddof=1) * length - D) * length)
    return np.sqrt(D / n + B / n**2)


def with_the_bridge(rates: Array) -> Array:
    """Tapered batch means, and half the range of the bridge L(t) - lambda t for the ends."""
    bridge = np.cumsum(rates - rates.mean(axis=-2, keepdims=True), axis=-2)
    return np.hypot(tapered_batch_means(rates), np.ptp(bridge, axis=-2) / 2 / rates.shape[-2])


def initial_sequence(rates: Array) -> Array:
    """Geyer's initial monotone sequence: autocovariances in pairs, while their sums are positive and fall."""
    n = rates.shape[-2]
    spectrum = np.abs(np.fft.rfft(rates - rates.mean(axis=-2, keepdims=True), 2 * n, axis=-2)) ** 2
    lagged = np.fft.irfft(spectrum, axis=-2)[..., : n - n % 2, :] / n
    pairs = lagged[..., ::2, :] + lagged[..., 1::2, :]
    positive = np.logical_and.accumulate(pairs > 0, axis=-2)
    pairs = np.where(positive, np.minimum.accumulate(pairs, axis=-2), 0.0)
    return np.sqrt(np.maximum(2 * pairs.sum(axis=-2) - lagged[..., 0, :], 0.0) / n)


ESTIMATORS = (batch_means_error, tapered_batch_means, with_the_bridge, initial_sequence)


def coverage(rates: Array, truth: Array, n: int) -> Array:
    """Share covered by two errors, and rms error claimed over the true one, (estimators, 2); the first exponent.

    Records of n intervals begin at n/10, the default warm-up.
    """
    errors, claims = [], [[] for _ in ESTIMATORS]
    for group in range(GROUPS):
        record = rates[group::GROUPS, n // 10 : n // 10 + n - group * (n // 100 + 1), :1]
        errors.append(record.mean(axis=1)[:, 0] - truth[0])
        for estimate, claimed in zip(ESTIMATORS, claims, strict=True):
            claimed.append(estimate(record)[:, 0])
    off = np.concatenate(errors)
    rms = np.sqrt(np.mean(off**2))
    found = []
    for claimed in claims:
        error = np.concatenate(claimed)
        found.append((np.mean(np.abs(off) <= 2 * error + ROUNDING), np.sqrt(np.mean(error**2)) / rms))
    return np.array(found)


def coverages(rounds: int, quick: bool) -> None:
    """Coverage in %, and in brackets the claimed rms error over the true one, for each motion and length."""
    members, lengths = (20, LENGTHS[:2]) if quick else (400, LENGTHS)
    rows, worst = [], []
    for motion in motions():
        rates = motion.rates(members, max(lengths) * 11 // 10, 0)
        whole = rates[:, : max(lengths) // motion.whole * motion.whole]
        truth = np.array(motion.truth or whole.mean(axis=(0, 1)))
        found = np.array([coverage(rates, truth, n) for n in lengths])  # (lengths, estimators, 2)
        rows.append([motion.name, *(f"{100 * share:.0f} ({ratio:.1f})" for share, ratio in found[:, 0])])
        worst.append(
            [motion.name, *(f"{100 * found[:, e, 0].min():.0f} ({found[:, e, 1].max():.0f})" for e in range(4))]
        )
    print(
        f"Two standard errors cover the truth in so many % of {members} records of n rates (claimed over true error):\n"
    )
    table(["motion", *(f"n = {n}" for n in lengths)], rows)
    print("\nThe least coverage of all lengths, and the largest ratio, of this estimate and of three others:\n")
    table(["motion", *(estimate.__name__.replace("_", " ") for estimate in ESTIMATORS)], worst)
