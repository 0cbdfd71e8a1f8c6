"""What the exponents of a training run mean: choices that the paper leaves open, controls, invariants."""

from __future__ import annotations

from functools import reduce

import numpy as np

from models.weight_dynamics.paper.claims import listed, number
from models.weight_dynamics.paper.claims_exponents import NEAR_ZERO
from models.weight_dynamics.paper.findings import CHOICES, Findings, Share, percent
from models.weight_dynamics.paper.protocol import BATCH_SEEDS

Array = np.ndarray
Table = list[list[str]]  # the header first

NETS = ("relu", "tanh")


def choices(findings: Findings) -> Table:
    """What every choice gives for the shares and medians that the paper prints."""
    rows = [
        [
            "choice",
            "runs of each",
            "ReLU l1 > 0 (33 %)",
            "tanh l1 > 0 (62 %)",
            "ReLU l1, l2, l3 > 0 (3 %)",
            "tanh l1, l2, l3 > 0 (none)",
            "ReLU c_f < 4",
            "tanh c_f < 4",
            "ReLU c_f > 100",
            "median l9: ReLU, tanh",
        ]
    ]
    for name, label in CHOICES.items():
        cells = [findings.cell(name, net) for net in NETS]
        asked = [("relu", "l1 > 0"), ("tanh", "l1 > 0"), ("relu", "l1, l2, l3 > 0"), ("tanh", "l1, l2, l3 > 0")]
        asked += [("relu", "c_f < 4"), ("tanh", "c_f < 4"), ("relu", "c_f > 100")]
        shares = [_short(findings.share(name, net, condition)) for net, condition in asked]
        lasts = listed([float(np.median(cell.exponents[:, -1])) for cell in cells])
        rows.append([label, str(len(cells[0].loss)), *shares, lasts])
    return rows


def chaos(findings: Findings) -> Table:
    """Whether a positive first exponent means chaos: the same weights without noise, with other noise, later on."""
    rows = [["", *NETS]]

    def add(what: str, cells: list[str]) -> None:
        rows.append([what, *cells])

    add("share of l1 > 0, batches of 32", [str(findings.share("he", net, "l1 > 0")) for net in NETS])
    add(
        "the same, full batch: a gradient flow, which cannot be chaotic",
        [str(findings.share("full-batch", net, "l1 > 0")) for net in NETS],
    )
    add(
        "the same, full batch, half the step",
        [str(findings.share("full-batch-half-step", net, "l1 > 0")) for net in NETS],
    )
    pairs = [_signs(findings, ["he", "full-batch"], net) for net in NETS]
    add(
        "same initial weights: sign of l1 the same with and without noise",
        [str(Share.of(pair[0] == pair[1])) for pair in pairs],
    )
    seeds = ["he", *(f"batches-{seed}" for seed in range(1, BATCH_SEEDS + 1))]
    shares, changing = [], []
    for net in NETS:
        signs = _signs(findings, seeds, net)
        found = 100 * signs.mean(axis=1)
        shares.append(f"{number(found.mean())} % +- {number(found.std(ddof=1))} % (deviation over {len(seeds)} seeds)")
        changing.append(str(Share.of(signs.any(axis=0) & ~signs.all(axis=0))))
    add("share of l1 > 0 over batch seeds, same initial weights", shares)
    add("runs whose sign of l1 changes with the batch seed", changing)
    cells = [findings.cell("he", net) for net in NETS]
    add(
        "share of l1 > 0 over the last half of training alone",
        [str(Share.of(c.later_exponents[:, 0] > 0)) for c in cells],
    )
    add(
        "median factor by which the first direction grew or shrank in the whole training, exp(|l1| T)",
        [number(float(np.exp(np.median(np.abs(c.exponents[:, 0])) * float(c.data.time[-1])))) for c in cells],
    )
    add("median of l1", [number(float(np.median(c.exponents[:, 0]))) for c in cells])
    return rows


def frames(findings: Findings) -> Table:
    """How far the exponents depend on the first frame: no transient is discarded, as in the paper."""
    rows = [["median over runs of the change of l_q with another first frame, q = 1 to 9 (1/time)", ""]]
    for net in NETS:
        other = findings.cell("another-frame", net).exponents
        rows.append([net, listed(np.median(np.abs(findings.cell("he", net).exponents[: len(other)] - other), axis=0))])
    return rows


def invariants(findings: Findings) -> Table:
    """Drift of |w_j|^2 + b_j^2 - |v_j|^2 of ReLU nets with the step, and the exponents near zero that they force."""
    rows = [["learning rate", "median drift of an invariant in the whole training", "largest"]]
    for name in ("larger-step", "he", "half-step"):
        study, data = findings.protocol.studies[name], findings.cell(name, "relu").data
        flow = study.network(np.zeros((1, 2)), np.zeros(1), "relu")
        change = np.abs(flow.invariants(data.final.values) - flow.invariants(data.initial.values))
        rows.append([f"{study.learning_rate:g}", number(float(np.median(change))), number(float(change.max()))])
    near = np.abs(findings.cell("he", "relu").exponents) < NEAR_ZERO
    rows.append(
        [f"runs with at least two exponents within {NEAR_ZERO:g} of zero", str(Share.of(near.sum(axis=1) >= 2)), ""]
    )
    return rows


def _signs(findings: Findings, studies: list[str], net: str) -> Array:
    """Whether l1 > 0, (studies, n), for the members that finished in all of them: they begin with the same weights."""
    cells = [findings.cell(name, net) for name in studies]
    common = reduce(np.intersect1d, [cell.members for cell in cells])
    return np.stack([cell.exponents[np.isin(cell.members, common), 0] > 0 for cell in cells])


def _short(share: Share) -> str:
    low, high = share.interval
    return f"{percent(share.value)} % ({percent(low)} to {percent(high)})"
