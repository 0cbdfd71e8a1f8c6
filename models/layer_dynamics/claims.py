"""The paper's claims on layers beside what we find. Only the abstract was available: what is ours says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dynsys.models.layer_dynamics.study import DEPTHS, STEPS, Numbers
from dynsys.models.reporting.report import HOLDS, Claim, judged, listed, number

Array = np.ndarray


def slope(drift: Array) -> float:
    """Power of the step size with which a drift, (steps, networks), falls: median over networks."""
    return float(np.median(np.polyfit(np.log(STEPS), np.log(drift), 1)[0]))


def conservation(drifts: Mapping[str, Numbers]) -> Iterator[Claim]:
    """Claims 1 to 5."""
    last = {kind: {name: float(np.median(d[-1])) for name, d in found.items()} for kind, found in drifts.items()}

    def of_kind(kind: str) -> str:
        found, now = drifts[kind], last[kind]
        return (
            f"moved by time 2, step {STEPS[-1]:g}: all entries {number(now['all'])} (falls as step^"
            f"{number(slope(found['all']))}), diagonal {number(now['diagonal'])} "
            f"(step^{number(slope(found['diagonal']))})"
        )

    def falls(kind: str, name: str) -> bool:
        return abs(slope(drifts[kind][name]) - 1.0) < 0.15

    yield Claim(1, "derived", "linear: all of W_{l+1}^T W_{l+1} - W_l W_l^T is conserved", "under gradient flow",
                of_kind("linear"), judged(falls("linear", "all")))  # fmt: skip
    yield Claim(2, "Du et al. 2018", "ReLU without biases: its diagonal, and nothing off it", "under gradient flow",
                of_kind("ReLU"), judged(falls("ReLU", "diagonal") and slope(drifts["ReLU"]["all"]) < 0.1))  # fmt: skip
    bare = drifts["ReLU, biases"]["without_biases"]
    yield Claim(3, "derived", "ReLU with biases: the diagonal, if b_l b_l^T is counted", "under gradient flow",
                f"{of_kind('ReLU, biases')}; without b: {number(last['ReLU, biases']['without_biases'])} (step^"
                f"{number(slope(bare))})",
                judged(falls("ReLU, biases", "diagonal") and slope(bare) < 0.1))  # fmt: skip
    yield Claim(4, "Du et al. 2018", "leaky ReLU: as ReLU", "under gradient flow", of_kind("leaky ReLU"),
                judged(falls("leaky ReLU", "diagonal") and slope(drifts["leaky ReLU"]["all"]) < 0.1))  # fmt: skip
    yield Claim(5, "derived", "tanh: neither", "not conserved", of_kind("tanh"),
                judged(slope(drifts["tanh"]["diagonal"]) < 0.1))  # fmt: skip


def growth(courses: Mapping[str, Numbers]) -> Iterator[Claim]:
    """Claims 6 to 8."""

    def grown(kind: str) -> Array:
        return courses[kind]["squares"][-1] - courses[kind]["squares"][0]

    def apart(kind: str) -> float:
        return float(np.ptp(grown(kind)) / np.abs(grown(kind)).max())

    linear, relu = listed(grown("linear")), listed(grown("ReLU"))
    others = f"ReLU: {relu}; leaky ReLU: {listed(grown('leaky ReLU'))}"
    yield Claim(6, "abstract", "layers of linear nets grow at 'approximately the same rate'; ours: squared norms of "
                "linear, ReLU and leaky ReLU nets grow equally", "approximately", f"linear: {linear}; {others}",
                judged(max(apart(kind) for kind in ("linear", "ReLU", "leaky ReLU")) < 1e-3))  # fmt: skip
    yield Claim(7, "abstract", "'nonlinearity breaks down the growth symmetry'", "does",
                f"tanh: {listed(grown('tanh'))}; ReLU keeps it (claim 6), and loses all that is off the diagonal "
                f"(claim 2). Biases break it in any network, counted with their layer: {listed(grown('ReLU, biases'))}",
                judged(apart("tanh") > 0.05))  # fmt: skip
    spectral = courses["linear"]["spectral"]
    relative = np.ptp(spectral[-1]) / spectral[-1].mean()
    yield Claim(8, "ours", "other strengths: largest singular values of the layers of a linear net, early and late",
                "not defined", f"differ by {np.ptp(spectral[0]) / spectral[0].mean():.0%} at first, {relative:.1%} at "
                "the end: they become equal, since differences of squares stay constant while both "
                "grow", HOLDS)  # fmt: skip


def phases(courses: Mapping[str, Numbers], modes: Mapping[int, Numbers]) -> Iterator[Claim]:
    """Claims 9 and 10."""
    rate = courses["linear"]["rate"][:, 0]
    peak = int(np.argmax(rate))
    yield Claim(9, "abstract", "'distinct phases of learning with markedly different layer growth'", "named",
                f"linear, from small weights: rate of growth {number(rate[0])} at first, {number(rate[peak])} at time "
                f"{number(courses['linear']['time'][peak])}, {number(rate[-1])} at the end",
                judged(0 < peak < len(rate) - 1 and rate[peak] > 3 * max(rate[0], rate[-1])))  # fmt: skip
    errors = {depth: modes[depth]["error"] for depth in DEPTHS}
    orders = [float(np.log2(errors[depth][-2] / errors[depth][-1])) for depth in DEPTHS]
    exact = [float(np.abs(modes[depth]["strength"] - modes[depth]["exact"]).max()) for depth in DEPTHS]
    yield Claim(10, "Saxe et al. 2014", "balanced modes: closed form (2 layers), their own equation (3 and 4)",
                "exact in the flow",
                f"largest error of RK4 (0.01): {listed(exact)}; order of gradient descent: {listed(orders)}",
                judged(max(exact) < 1e-4 and all(abs(order - 1) < 0.15 for order in orders)))  # fmt: skip


def linearisation(found: Numbers) -> Iterator[Claim]:
    """Claim 11."""
    middle = {name: np.median(values, axis=1) for name, values in found.items() if name != "time"}
    yield Claim(11, "abstract", "a ReLU net and its linearisation on the region of fixed gates", "linearised",
                f"by time 2 {middle['crossed'][-1]:.1%} of the gates have changed, the states are "
                f"{middle['distance'][-1]:.1%} of the initial norm apart; entries off the diagonal have moved by "
                f"{number(middle['off_diagonal'][-1])} and {number(middle['off_diagonal_linearised'][-1])}: it is the "
                "gates, different from sample to sample, that break the symmetry, not their crossings",
                judged(middle["off_diagonal_linearised"][-1] > 0.5 * middle["off_diagonal"][-1]))  # fmt: skip


def minima(found: Mapping[str, Numbers]) -> Iterator[Claim]:
    """Claims 12 to 14."""
    counts = {kind: each["counts"].tolist() for kind, each in found.items()}
    enough = all(null >= kept for null, kept in counts.values())
    small = int(np.sum(np.abs(found["linear"]["exponents"]) < 0.01))  # the next one is -0.03
    yield Claim(12, "ours", "exponents that vanish at a minimum: parameters minus the rank of the Hessian, at least as "
                "many as conserved quantities", "not computed",
                "; ".join(f"{kind}: {null}, conserved {kept}" for kind, (null, kept) in counts.items())
                + f". Exponents of the linear network below 0.01 in size: {small}",
                judged(small == counts["linear"][0] and enough))  # fmt: skip
    worst = {kind: float(np.abs(each["exponents"] - each["exact"]).max()) for kind, each in found.items()}
    time = min(float(each["time"]) for each in found.values())
    yield Claim(13, "ours", "exponents at a minimum are ln|1 - dt h| / dt of the eigenvalues h of the Hessian",
                "not computed", f"largest difference by Benettin's algorithm over a time of {number(time)} and more: "
                + "; ".join(f"{kind} {number(each)}" for kind, each in worst.items())
                + " (a frame that is not aligned costs some units / time)",
                judged(max(worst.values()) < 1 / time))  # fmt: skip
    angles = {kind: (int(each["split"]), float(each["angle"])) for kind, each in found.items()}
    yield Claim(14, "ours", "covariant vectors at a minimum: those below a gap of the spectrum span what as many "
                "eigenvectors of the Hessian span (single ones of equal exponents are not determined)", "not computed",
                "sine of the largest angle: "
                + "; ".join(f"{kind}, below the first {split}: {angle:.1g}" for kind, (split, angle) in angles.items()),
                judged(max(angle for _, angle in angles.values()) < 0.01))  # fmt: skip
