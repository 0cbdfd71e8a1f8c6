"""All flows of a public database, `dysts`: what a step says about the exponents of the flow, and about its vectors.

W. Gilpin, Chaos as an interpretable benchmark for forecasting and data-driven modelling, NeurIPS (2021). The flows are
the package's; only results stand here, in `flows_database.csv`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from benchmarks.flows_table import FILE, Row, Spectrum, report, written
from dynsys import RK4, FunctionFlow, SymbolicFlow
from dynsys.errors import DynsysError
from dynsys.indicators import line_distance

Array = np.ndarray

PER_PERIOD, FINER = 150, 8  # steps in a period of the database, and how many times as many in the run to compare with
INTERVALS, STEPS, WARMUP = 20_000, 10, 4_000
WINDOW, TRANSIENT, LONGER = 2_000, 1_000, 3  # intervals; the run to compare with has so many times the transients
MOST_VECTORS = 6
WRONG = 1e-3
STATES = 20  # at which the equations are held against the function
QUICK = ("Lorenz", "Torus")

KINDS = {  # what is said in a warning, in a word
    r"changes exponent (\d+)": "step",
    r"it moves states": "states",
    r"does not resolve the flow": "volumes",
    r"the rates drift": "drift",
    r"the velocity jumps": "jump",
    r"moves the state by": "thrown",
    r"comes to rest": "rest",
    r"should vanish": "zeros",
    r"is not log\|det\|": "determinant",
    r"the orbit fell": "collapse",
    r"neutral vector": "neutral",
    r"only their common subspace": "subspace",
    r"not covariant": "residual",
    r"starts? .*inside the window": "starts inside",
    r"frames .*inside the window": "frames inside",
    r"two starts": "starts",
    r"two forward frames": "frames",
    r"nearly coincide|radians apart": "tangency",
    r"infinite or NaN": "diverges",
    r"of R vanished|is singular": "singular",
    r"finite-difference": "differences",
}


def names_of_flows() -> tuple[list[str], list[str]]:
    """Names of the flows of the database, and of those with a delay."""
    from dysts import base, flows, systems

    names = sorted(systems.get_attractor_list(exclude=[]))
    delayed = [name for name in names if issubclass(getattr(flows, name), base.DynSysDelay)]
    return [name for name in names if name not in delayed], delayed


def as_function(system: Any) -> FunctionFlow:
    """A flow of the database as a plain function, as a user would write it."""
    return FunctionFlow(lambda t, x: system.rhs(x, t), len(system.ic))


def as_text(flow: FunctionFlow) -> dict[str, str]:
    """The equations of a function, with all digits of all numbers."""
    from sympy.printing.str import StrPrinter

    class AllDigits(StrPrinter):
        def _print_Float(self, number: Any) -> str:
            return repr(float(number))

    equations = flow.equations
    assert equations is not None, flow.untraced
    return dict(zip(equations.state, map(AllDigits().doprint, equations.expressions), strict=True))


def apart(flow: FunctionFlow, text: SymbolicFlow, states: Array) -> float:
    """Largest difference of the velocities and Jacobians, as a share of their largest entries."""
    found = 0.0
    for x in states:
        f, g, J, K = flow.vector_field(0.3, x), text.vector_field(0.3, x), flow.jacobian(0.3, x), text.jacobian(0.3, x)
        for one, other in ((f, g), (J, K)):
            found = max(found, float(np.abs(one - other).max() / max(np.abs(one).max(), 1e-300)))
    return found


def measured(name: str) -> Row:
    """All that is found out about a flow."""
    from dysts import flows

    system = getattr(flows, name)()
    x0 = np.array(system.ic, dtype=float)
    flow, row = as_function(system), Row(name, len(x0))
    if flow.untraced:
        return attrs.evolve(row, traced=flow.untraced)
    dt = system.period / PER_PERIOD

    def spectrum(finer: int) -> tuple[Any, list[str]]:
        run = dict(intervals=INTERVALS * finer, steps_per_interval=STEPS, warmup=WARMUP * finer, stride=finer)
        return heard(lambda: flow.tangent(RK4(dt / finer)).benettin(x0, **run))

    (one, said), (other, more) = spectrum(1), spectrum(FINER)
    row = attrs.evolve(row, coarse=summed(one, said), fine=summed(other, more))
    if one is None:
        return attrs.evolve(row, apart=apart(flow, SymbolicFlow.of(as_text(flow)), x0[None]))
    states = flow.tangent(RK4(dt)).trajectory(x0, intervals=STATES, steps_per_interval=STEPS * 20).states
    row = attrs.evolve(row, apart=apart(flow, SymbolicFlow.of(as_text(flow)), states))
    if other is not None:
        row = attrs.evolve(row, others=compared(one, other, said))
    return vectors(row, flow, dt, one.end) if len(x0) <= MOST_VECTORS else row


def heard(run: Callable[[], Any]) -> tuple[Any, list[str]]:
    """A result, None if there is none, and all that is said on the way."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = run()
        except DynsysError as problem:
            return None, [str(problem)]
    return result, [str(warning.message) for warning in said]


def kinds(said: Sequence[str]) -> str:
    """Warnings, in a word each."""
    parts = [part for text in said for part in re.split(r"; (?=the (?!run ends)|vector|two |neutral|where )", text)]
    found: dict[str, None] = {}
    for text in parts:
        kind = next(((name, match) for how, name in KINDS.items() if (match := re.search(how, text))), None)
        word = text[:40] if kind is None else " ".join([kind[0], *kind[1].groups()])
        found[word] = None
    return ", ".join(found)


def summed(spectrum: Any, said: Sequence[str]) -> Spectrum:
    """The first exponent of a run, and what it says of itself."""
    if spectrum is None:
        return Spectrum(warnings=kinds(said), regime="diverging")
    step = spectrum.diagnostics.step_error[0]
    return Spectrum(spectrum.exponents[0], spectrum.standard_error[0], step, str(spectrum.regime), kinds(said))


def compared(one: Any, other: Any, said: Sequence[str]) -> str:
    """By how much the exponents that warnings name differ from those of the finer step, and the error of that."""
    named = sorted({int(j) - 1 for text in said for j in re.findall(r"changes exponent (\d+)", text)})
    change = one.exponents - other.exponents
    error = np.hypot(one.standard_error, other.standard_error)
    return "; ".join(f"{j + 1}: {change[j]:+.2g} ± {error[j]:.1g}" for j in named)


def vectors(row: Row, flow: FunctionFlow, dt: float, start: Any) -> Row:
    """Vectors called reliable, against those of a run on the same states with longer transients."""
    tangent, run = flow.tangent(RK4(dt)), dict(intervals=WINDOW, steps_per_interval=STEPS)
    ahead = (LONGER - 1) * TRANSIENT
    reference, _ = heard(
        lambda: tangent.ginelli(start.with_frames(None, 1), **run, warmup=LONGER * TRANSIENT, tail=LONGER * TRANSIENT)
    )
    begin, _ = heard(
        lambda: tangent.benettin(
            start.with_frames(None, 2), intervals=ahead, steps_per_interval=STEPS, warmup=0
        ).end.with_frames(None, 3)
    )
    clvs, said = (
        (None, []) if begin is None else heard(lambda: tangent.ginelli(begin, **run, warmup=TRANSIENT, tail=TRANSIENT))
    )
    if clvs is None or reference is None:
        return attrs.evolve(row, vectors=kinds(said))
    assert np.array_equal(clvs.states, reference.states)
    labels = clvs.diagnostics.subspaces
    single = np.array([label >= 0 and np.count_nonzero(labels == label) == 1 for label in labels])
    off = line_distance(clvs.vectors, reference.vectors).max(axis=0)
    wrong = single & (off > WRONG)
    worst = float(off[single].max(initial=0.0))
    return attrs.evolve(row, called=int(single.sum()), wrong=int(wrong.sum()), worst=worst, vectors=kinds(said))


def flows_database(rounds: int, quick: bool) -> None:
    """The table of all flows; without `quick` the results are kept, too."""
    try:
        names, delayed = names_of_flows()
    except ImportError as problem:
        print(f"Skipped the flows of the database: {problem}\n")
        return
    rows = [measured(name) for name in (QUICK if quick else names)]
    rows += [Row(name, skipped="delay") for name in delayed]
    if not quick:
        FILE.write_text(written(rows))
    print(report(rows))
