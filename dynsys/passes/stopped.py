"""The error of a run of one state that stopped, with the cause, the remedy and what was finished."""

from __future__ import annotations

from typing import Any

from dynsys.errors import DivergenceError, SingularTangentError
from dynsys.passes.run_state import RunState, Tangent
from dynsys.passes.status import DIVERGED, RUNNING


def raise_if_stopped(tangent: Tangent, end: RunState, partial: Any = None) -> None:
    """Raise if a run of one state stopped, with its finished part attached; members of an ensemble are only marked."""
    if not end.single or end.status[0] == RUNNING:
        return
    step = int(end.stopped[0])
    diverged = end.status[0] == DIVERGED
    reason = "state or tangent vectors became infinite or NaN" if diverged else "a diagonal entry of R vanished"
    shorten = "" if tangent.of_member(0).kind == "map" else "shorten dt, "  # a map has no dt
    remedy = "check x0, " if diverged else "follow fewer vectors (k), " if end.k > 1 else "begin elsewhere, "
    remedy += f"{shorten}or orthonormalise more often (fewer steps_per_interval)"
    look = "trajectory from the same x0 shows where the state leaves all bounds, if it does, as that of x' = x^2"
    if not diverged:
        look = ""
    if end.k == 0:
        reason, remedy = "the state became infinite or NaN", "check x0, or shorten dt"
        look = "The last of partial.states show which component left all bounds, as that of x' = x^2 does"
    if diverged and tangent.failure_hint:
        remedy, look = tangent.failure_hint, ""
    if end.cause:
        reason, look = f"{end.cause}; the run ends", ""
        remedy = "write the equations so that they and their derivatives are finite there, or keep away from that state"
        if not diverged:
            remedy = "begin elsewhere, follow fewer vectors (k), or, if it is a flow, change dt"
    raise (DivergenceError if diverged else SingularTangentError)(
        f"{reason} by t = {tangent.time(step):g} (step {step}): {remedy}; what was finished is in the attribute "
        f"partial{look and f'. {look}'}",
        tangent.time(step),
        partial,
    )
