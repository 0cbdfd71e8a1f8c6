"""What the exponents of a training run mean: choices that the paper leaves open, controls, invariants."""

from __future__ import annotations

import numpy as np

from dynsys.models.reporting.report import listed, number
from dynsys.models.weight_dynamics.paper.findings import BATCHES, CHOICES, Findings, Share, percent

Array = np.ndarray
Table = list[list[str]]  # the header first

NETS = ("relu", "tanh")
PAPER = {("relu", "l1 > 0"): 0.33, ("tanh", "l1 > 0"): 0.62, ("relu", "l1, l2, l3 > 0"): 0.03}  # shares
PAPER |= {("tanh", "l1, l2, l3 > 0"): 0.0, ("tanh", "c_f > 100"): 0.0}


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
            "tanh c_f > 100 (none)",
            "median l9: ReLU, tanh",
        ]
    ]
    spreads = {key: findings.spread(*key) for key in PAPER}
    for name, label in CHOICES.items():
        cells = [findings.cell(name, net) for net in NETS]
        asked = [("relu", "l1 > 0"), ("tanh", "l1 > 0"), ("relu", "l1, l2, l3 > 0"), ("tanh", "l1, l2, l3 > 0")]
        asked += [("relu", "c_f < 4"), ("tanh", "c_f < 4"), ("relu", "c_f > 100"), ("tanh", "c_f > 100")]
        shares = [_short(findings.share(name, net, condition), (net, condition), spreads) for net, condition in asked]
        lasts = listed([float(np.median(cell.exponents[:, -1])) for cell in cells])
        rows.append([label, str(len(cells[0].loss)), *shares, lasts])
    return rows


def chaos(findings: Findings) -> Table:
    """Whether a positive first exponent means chaos: the same weights without noise, with other noise, later on."""
    rows = [["", *NETS]]

    def add(what: str, cells: list[str]) -> None:
        rows.append([what, *cells])

    add(
        "share of l1 > 0, batches of 32, learning rate 3e-5", [str(findings.share("he", net, "l1 > 0")) for net in NETS]
    )
    add(
        "the same, full batch, learning rate 1e-3: a gradient flow, which cannot be chaotic",
        [str(findings.share("full-batch", net, "l1 > 0")) for net in NETS],
    )
    add(
        "the same, full batch, learning rate 5e-4",
        [str(findings.share("full-batch-half-step", net, "l1 > 0")) for net in NETS],
    )
    for other, what in (("he", "batches of 32"), ("full-batch-half-step", "half the step")):
        pairs = [findings.paired(("full-batch", other), net, "l1 > 0") for net in NETS]
        add(
            f"same initial weights: l1 has the same sign with the full batch and with {what}",
            [str(Share.of(a == b)) for a, b in pairs],
        )
    shares, changing = [], []
    for net in NETS:
        signs = findings.paired(BATCHES, net, "l1 > 0")
        found = 100 * signs.mean(axis=1)
        shares.append(
            f"{number(found.mean())} % +- {number(found.std(ddof=1))} % (deviation over {len(BATCHES)} seeds)"
        )
        changing.append(str(Share.of(signs.any(axis=0) & ~signs.all(axis=0))))
    add("share of l1 > 0 over batch seeds, same initial weights", shares)
    add("runs whose sign of l1 changes with the batch seed", changing)
    cells = [findings.cell("he", net) for net in NETS]
    add(
        "share of l1 > 0 over the last half of training alone",
        [str(Share.of(c.later_exponents[:, 0] > 0)) for c in cells],
    )
    add(
        "median factor by which the first direction grew or shrank over the whole training, exp(|l1| T)",
        [number(float(np.exp(np.median(np.abs(c.exponents[:, 0])) * float(c.data.time[-1])))) for c in cells],
    )
    add("median of l1", [number(float(np.median(c.exponents[:, 0]))) for c in cells])
    return rows


def frames(findings: Findings) -> Table:
    """How far the exponents depend on the first frame: no transient is discarded, as in the paper."""
    rows = [["median over runs of the change of l_q under another first frame, q = 1 to 9 (1/time)", ""]]
    for net in NETS:
        one, other = (cell.exponents for cell in findings.common(("he", "another-frame"), net))
        rows.append([net, listed(np.median(np.abs(one - other), axis=0))])
    return rows


def invariants(findings: Findings) -> Table:
    """Drift of |w_j|^2 + b_j^2 - |v_j|^2 of ReLU nets with the step, and the exponents near zero that they force."""
    names = ("larger-step", "he", "half-step")
    cells = findings.common(names, "relu")
    few = f"{len(cells[0].members)} runs"
    rows = [["learning rate", f"median drift of an invariant over the whole training, {few}", "largest"]]
    for name, cell in zip(names, cells, strict=True):
        study = findings.protocol.studies[name]
        flow = study.network(np.zeros((1, 2)), np.zeros(1), "relu")
        change = np.abs(flow.invariants(cell.data.final.values) - flow.invariants(cell.data.initial.values))
        rows.append([f"{study.learning_rate:g}", number(float(np.median(change))), number(float(change.max()))])
    for net in NETS:
        size = np.sort(np.abs(findings.cell("he", net).exponents), axis=1)[:, :4]
        what = f"{net}: medians of the four smallest exponents in size (ReLU: the flow forces two to zero)"
        rows.append([what, listed(np.median(size, axis=0)), ""])
    return rows


def _short(share: Share, key: tuple[str, str], spreads: dict[tuple[str, str], float]) -> str:
    """A share, and whether it may be the paper's."""
    low, high = share.interval
    fits = "" if key not in PAPER else " ✓" if share.agrees(PAPER[key], spreads[key]) else " ✗"
    return f"{percent(share.value)} % ({percent(low)} to {percent(high)}){fits}"
