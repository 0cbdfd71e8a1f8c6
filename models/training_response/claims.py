"""The papers' claims on training responses beside what we find. Only abstracts were at hand: what is ours says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dynsys.models.reporting.report import HOLDS, Claim, judged, listed, number
from dynsys.models.training_response.law import Law, fit_law
from dynsys.models.training_response.study import RATES, Numbers

Array = np.ndarray
Courses = Mapping[tuple[str, str], Numbers]  # by activation and method


def with_error(values: Array) -> str:
    """Mean over networks and its standard error, and how many networks have no such number."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return f"of {len(known)} networks alone"
    left = f" ({len(values) - len(known)} without)" if len(known) < len(values) else ""
    return f"{number(float(known.mean()))} ± {known.std(ddof=1) / np.sqrt(len(known)):.1g}{left}"


def of_each(values: Mapping[tuple[str, str], Array]) -> str:
    """Means and standard errors of every activation and method."""
    return "; ".join(f"{', '.join(key)} {with_error(each)}" for key, each in values.items())


def laws(courses: Courses) -> dict[tuple[str, str], Law]:
    """The law of the amplitude of every activation and method."""
    return {key: fit_law(each["time"], each["amplitude"]) for key, each in courses.items()}


def definition(steps: Mapping[str, Array], widths: Numbers) -> Iterator[Claim]:
    """Claims 1 and 2."""
    slopes = {
        kind: float(np.polyfit(np.log(RATES), np.log(np.median(each, axis=1)), 1)[0]) for kind, each in steps.items()
    }
    smooth = [kind for kind in slopes if kind != "ReLU"]
    yield Claim(
        1,
        "ours",
        "R(x'|x) = -eta Theta(x', x) (f(x) - y), with an error of second order in eta",
        "R: change of f(x') by a step on x",
        "power of eta in the largest error: "
        + "; ".join(f"{kind} {number(each)}" for kind, each in slopes.items())
        + " (of ReLU, samples cross kinks in the larger steps)",
        judged(all(abs(slopes[kind] - 2) < 0.15 for kind in smooth)),
    )
    drift = widths["drift"]
    fits = [np.polyfit(np.log(widths["width"]), np.log(each), 1)[0] for each in drift.T]
    yield Claim(
        2,
        "ours",
        "with the scaling of the tangent kernel, its drift in training falls like width^(-1/2) or faster",
        "constant for infinite width",
        f"power {with_error(np.array(fits))}; from {drift[0].mean():.1%} (width {widths['width'][0]}) to "
        f"{drift[-1].mean():.2%} ({widths['width'][-1]})",
        judged(np.mean(fits) < -0.45),
    )


def ageing(courses: Courses) -> Iterator[Claim]:
    """Claims 3 to 5."""
    found = laws(courses)

    def told(key: tuple[str, str]) -> str:
        law = found[key]
        power = f" (gamma {number(law.gamma)} ± {law.gamma_error:.1g}, t0 {number(law.t0)})"
        return f"{', '.join(key)}: {law.preferred}{power if law.preferred == 'power law' else ''}"

    ageing = [", ".join(key) for key, law in found.items() if law.ages]
    constant = [", ".join(key) for key, law in found.items() if abs(law.change) < 0.02]
    yield Claim(
        3,
        "abstract 2405.04074",
        "the response 'can be constant or shows power law-like aging in some ideal situations'",
        "no exponent is given",
        f"alpha(t) = mean Theta(x, x). Ages (a power law by BIC, gamma above 3 errors, alpha down by a tenth): "
        f"{'; '.join(ageing) or 'none'}. Constant to 2 % at the end: {'; '.join(constant) or 'none'}. Preferred "
        "(gamma < 0: it grows): " + "; ".join(map(told, found)),
        judged(bool(ageing) and bool(constant)),
    )
    steepest = max(float(np.nanmax(each["stability"])) for each in courses.values())
    moved = {key: each["shape"][:, -1] for key, each in courses.items()}
    yield Claim(
        4,
        "abstract 2204.07291",
        "Theta_t(x', x) = alpha(t) K(x', x) with one shape K",
        "'multiplied by a simple response kernel'",
        "relative change of the shape in training: "
        + of_each(moved)
        + f". Largest rate x Theta(x, x) in training, which makes steps overshoot from 2 on: {steepest:.2g}",
        judged(np.median([each.mean() for each in moved.values()]) < 0.25),
    )
    shares = {key: each["log_share"] for key, each in courses.items()}
    yield Claim(
        5,
        "abstract 2405.04074",
        "the response 'consists of some different factors based on training stages, activation functions, or training "
        "methods'",
        "not separated",
        "share of the errors (stage) in the variance of ln|f - y| + ln alpha along training, the rest being the "
        "kernel's: " + of_each(shares),
        HOLDS,
    )


def reduction(courses: Courses) -> Iterator[Claim]:
    """Claims 6 and 7."""
    activations = list(dict.fromkeys(activation for activation, _ in courses))
    full, single = "full batch", "single samples"
    change = {
        (activation, method): courses[activation, method]["participation"][:, -1]
        - courses[activation, full]["participation"][:, -1]
        for activation, method in courses
        if method != full
    }
    reduced = [_below_zero(change[activation, single]) for activation in activations]
    yield Claim(
        6,
        "abstract 2405.04074",
        "'feature space reduction as an effect of stochastic training dynamics'",
        "does",
        "participation ratio of hidden features at the end, less that of full batches on the same networks: "
        + of_each(change),
        judged(all(reduced))
        if all(reduced) or not any(reduced)
        else f"holds under choice: {', '.join(a for a, r in zip(activations, reduced, strict=True) if r)}",
    )
    flips = {key: each["flip"] for key, each in courses.items()}
    fragile = [_below_zero(flips[activation, single] - flips[activation, full]) for activation in activations]
    yield Claim(
        7,
        "abstract 2405.04074",
        "it 'can result in network fragility': smaller input changes flip the output",
        "can",
        "median smallest flip (judged: smaller with single samples than with full batches, paired, by two errors): "
        + of_each(flips),
        judged(any(fragile)),
    )


def _below_zero(values: Array) -> bool:
    """Whether the mean is negative by more than two standard errors."""
    known = values[np.isfinite(values)]
    return len(known) > 1 and bool(known.mean() < -2.0 * known.std(ddof=1) / np.sqrt(len(known)))


def link(found: Numbers) -> Iterator[Claim]:
    """Claims 8 and 9."""
    off = [float(np.abs(each / found["tangent"] - 1).max()) for each in found["difference"]]
    order = float(np.polyfit(np.log(found["sizes"]), np.log(off), 1)[0])
    yield Claim(
        8,
        "ours",
        "a response at time s is carried to later times by the tangent of training: against training with and without "
        "the step",
        "not computed",
        f"largest relative difference for steps of {listed(found['sizes'])}: {listed(off)} (power {number(order)})",
        judged(abs(order - 1) < 0.25),
    )
    flat = int(np.sum(np.abs(found["exponents"]) < 0.01))
    yield Claim(
        9,
        "ours",
        "its share along covariant vectors",
        "not computed",
        f"of {len(found['exponents'])} exponents {flat} are below 0.01 in size; the step has the length "
        f"{number(float(found['neutral']))} along their span and {number(float(found['contracting']))} along the "
        "others, relative to its own",
        HOLDS,
    )
