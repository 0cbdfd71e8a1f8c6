"""Targets: any text gives a system or an InvalidInputError, and what is taken means what Python's own reading says."""

import warnings

import numpy as np
from scipy import special

from dynsys import FallbackWarning, FunctionMap, GradientFlow, InvalidInputError, SymbolicMap
from dynsys.models.activations import Tanh
from fuzz.reading import Open, constant, evaluate
from fuzz.texts import any_text, mangled, term, vector_text

STATES = ((0.37, -1.25), (1.75, 0.625), (-0.8125, 0.3), (2.5, 3.25), (-1.5, -0.4375))
SLACK = 1e4  # SymPy may write a formula in another way


def agrees(found, right, more=0.0):
    """Whether a floating-point number is what the independent reading allows."""
    allowed = SLACK * right.error + (1e-14 + more) * abs(right.value) + 1e-70 + more
    return np.isfinite(found) and abs(float(found) - right.value) <= allowed


def compared(what, found, right, more=0.0):
    assert agrees(found, right, more), f"{what}: {found!r}, and not {float(right.value)!r} ± {float(right.error):.1e}"


def equations(draw):
    """A text as the equation of a map of two components, at times with a helper."""
    text = any_text(draw, ("x", "y"))
    if draw.randrange(6):
        return map_of(text)
    return map_of(any_text(draw, ("x", "h")), any_text(draw, ("x", "y")))


def map_of(text, helper=None):
    given, helpers = {"x": text, "y": "x - y"}, None if helper is None else {"h": helper}
    try:
        system = SymbolicMap.of(given, helpers=helpers)
    except InvalidInputError:
        return "refused"
    said = "open"
    for state in STATES:
        with np.errstate(all="ignore"):
            value, slopes = system.step(0, np.array(state)), system.jacobian(0, np.array(state))
        assert value.shape == (2,)
        assert slopes.shape == (2, 2)
        try:
            values = dict(zip("xy", state, strict=True))
            right = evaluate(text, values, None if helper is None else {"h": evaluate(helper, values)})
        except Open:
            continue
        said, where = "agrees", f"{text!r}, {helper!r} at {state}"
        compared(where, value[0], right.ball)
        for slope, true in zip(slopes[0], right.slopes, strict=True):
            compared(f"slope of {where}", slope, true)
    return said


def losses(draw):
    """A text as the loss of one sample, at times of an output."""
    loss, output = any_text(draw, ("v", "w", "c")), None
    if not draw.randrange(3):
        loss, output = any_text(draw, ("v", "a", "c")), any_text(draw, ("v", "w", "c"))
    data, outputs = {"c": [0.5, -1.25]}, None if output is None else {"a": output}
    try:
        flow = GradientFlow.of(loss, ["v", "w"], data, outputs, sigma=Tanh())
        flow.jacobian(0.0, np.array(STATES[0]))
    except InvalidInputError:
        return "refused"
    except RuntimeWarning:  # of values that are out of range
        return "open"
    said = "open"
    for state in STATES[:3]:
        with np.errstate(all="ignore"):
            value, velocity = flow.loss(np.array(state)), flow.vector_field(0.0, np.array(state))
            assert flow.jacobian(0.0, np.array(state)).shape == (2, 2)
        try:
            parts = []
            for c in data["c"]:
                values, others = dict(zip("vw", state, strict=True)), {"c": constant(c, 2)}
                if output is not None:
                    others["a"] = evaluate(output, values, others)
                parts.append(evaluate(loss, values, others))
            right = (parts[0] + parts[1]) * constant(0.5, 2)
            right.known  # noqa: B018
        except (Open, NameError):  # sigma(...)
            continue
        said, where = "agrees", f"{loss!r}, {output!r} at {state}"
        compared(where, value, right.ball)
        for slope, true in zip(-velocity, right.slopes, strict=True):
            compared(f"slope of {where}", slope, true)
    return said


def _cases(*cases):
    *others, (found, _) = cases
    for value, condition in reversed(others):
        found = np.where(condition, value, found)
    return found


NUMPY = {
    name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "sqrt", "sign", "floor")
}
NUMPY |= {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "abs": abs, "Abs": np.abs}
NUMPY |= {"erf": special.erf, "exprel": special.exprel, "expit": special.expit, "ceiling": np.ceil, "Piecewise": _cases}
NUMPY |= {"log": lambda a, b=None: np.log(a) if b is None else np.log(a) / np.log(b), "Mod": np.mod, "pi": np.pi}
NUMPY |= {
    "softplus": lambda a: np.logaddexp(a, 0.0),
    "sech": lambda a: 1 / np.cosh(a),
    "Max": np.maximum,
    "Min": np.minimum,
}
NUMPY |= {"Heaviside": lambda a: np.heaviside(a, 0.5)}


def functions(draw):
    """A function of Python, in NumPy: traced or not, its steps are what it returns, and its derivative is one."""
    text = term(draw, ("x", "y"), draw.randrange(1, 4)).replace("^", "**")
    code = compile(text, "<drawn>", "eval")

    def rule(n, x):
        return np.array([eval(code, NUMPY | {"x": x[0], "y": x[1]}), x[0] - x[1]])

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", FallbackWarning)
        system = FunctionMap(rule, 2)
        said = "open"
        for state in STATES[:3]:
            try:
                value, slopes = system.step(0, np.array(state)), system.jvp(0, np.array(state), np.eye(2))
            except (InvalidInputError, ArithmeticError):
                return "refused"
            try:
                right = evaluate(text, dict(zip("xy", state, strict=True)))
            except Open:
                continue
            said, where = system.derivative, f"{text!r} at {state}"
            compared(where, value[0], right.ball)
            if system.derivative == "traced":  # differences have errors of their own, which others test
                for slope, true in zip(slopes[0], right.slopes, strict=True):
                    compared(f"slope of {where}", slope, true)
    return said


W, B = np.array([[0.5, -1.25], [2.0, 0.75]]), np.array([0.3, -0.8])


def vectors(draw):
    """Texts with matrices and vectors."""
    text = vector_text(draw, draw.randrange(1, 4))
    text = text if draw.randrange(4) else mangled(draw, text)
    try:
        system = SymbolicMap.of({"x[2]": text}, {"W": W, "b": B, "g": 0.625})
    except InvalidInputError:
        return "refused"
    for state in STATES[:3]:
        x = np.array(state)
        with np.errstate(all="ignore"):
            value, slopes = system.step(0, x), system.jacobian(0, x)
            names = NUMPY | {"x": x, "W": W, "b": B, "g": 0.625, "sum": np.sum, "mean": np.mean, "t": 0.0}
            try:
                right = eval(text.strip().replace("^", "**"), {"__builtins__": {}} | names)
            except (ArithmeticError, TypeError):
                return "open"
        assert value.shape == (2,)
        assert slopes.shape == (2, 2)
        right = np.broadcast_to(right, (2,)).astype(float)
        known = np.isfinite(right) & (np.abs(right) < 1e80)
        scale = 1e-7 * np.abs(right) + 1e-6
        assert not (known & ~(np.abs(value - right) <= scale)).any(), f"{text!r} at {state}: {value}, and not {right}"
    return "agrees"
