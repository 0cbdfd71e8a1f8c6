"""Targets: any text gives a system or an InvalidInputError, and what is taken means what Python's own reading says."""

import numpy as np
from fuzz.reading import Open, evaluate
from fuzz.texts import any_text

from dynsys import InvalidInputError, SymbolicMap

STATES = ((0.37, -1.25), (1.75, 0.625), (-0.8125, 0.3), (2.5, 3.25), (-1.5, -0.4375))
SLACK = 1e4  # SymPy may write a formula in another way


def agrees(found, right):
    """Whether a floating-point number is what the independent reading allows."""
    allowed = SLACK * right.error + 1e-14 * abs(right.value) + 1e-70
    return np.isfinite(found) and abs(float(found) - right.value) <= allowed


def equations(draw):
    """Texts as equations and helpers of a map of two components."""
    text = any_text(draw, ("x", "y"))
    helper = any_text(draw, ("x", "y")) if not draw.randrange(6) else None
    check(text, helper)


def check(text, helper=None):
    given = {"x": text, "y": "x - y"}
    try:
        system = SymbolicMap.of(given, helpers={"h": helper} if helper is not None else None)
    except InvalidInputError:
        return "refused"
    said = "open"
    for state in STATES:
        with np.errstate(all="ignore"):
            value = system.step(0, np.array(state))
            slopes = system.jacobian(0, np.array(state))
        assert value.shape == (2,) and slopes.shape == (2, 2)  # noqa: PT018
        try:
            right = evaluate(text, dict(zip("xy", state, strict=True)))
        except Open:
            continue
        said = "agrees"
        assert agrees(value[0], right.ball), (
            f"{text!r} at {state}: {value[0]!r}, and not {float(right.ball.value)!r} ± {float(right.ball.error):.1e}"
        )
        for slope, true in zip(slopes[0], right.slopes, strict=True):
            assert agrees(slope, true), (
                f"slope of {text!r} at {state}: {slope!r}, and not {float(true.value)!r} ± {float(true.error):.1e}"
            )
    return said
