"""An independent reading of equations: Python's own evaluation with numbers that carry slopes and bounds of rounding.

SymPy has no part in it. A number is a value of 40 digits, a bound of the error with which floating-point numbers would
compute it, and the same for its slope by each variable (forward differentiation).
"""

import ast

import attrs
import mpmath

mpmath.mp.dps = 40
EPS = mpmath.mpf(2) ** -53
SHAKY = 1e5  # errors within which a decision counts as open
LARGEST, SMALLEST = mpmath.mpf(10) ** 80, mpmath.mpf(10) ** -80


class Open(Exception):
    """Nothing can be said: a tie, a value out of range, or none."""


@attrs.frozen
class Ball:
    """A number and a bound of its rounding error."""

    value: mpmath.mpf
    error: mpmath.mpf = mpmath.mpf(0)

    @classmethod
    def of(cls, value, error=0):
        if isinstance(value, mpmath.mpc) or not mpmath.isfinite(value) or abs(value) > LARGEST or error > LARGEST:
            raise Open
        if 0 < abs(value) < SMALLEST:
            raise Open
        return cls(value, error + 2 * EPS * abs(value))

    def __add__(self, other):
        return Ball.of(self.value + other.value, self.error + other.error + EPS * (abs(self.value) + abs(other.value)))

    def __sub__(self, other):
        return self + other * MINUS

    def __mul__(self, other):
        a, b = self, other
        return Ball.of(a.value * b.value, abs(a.value) * b.error + abs(b.value) * a.error + a.error * b.error)

    def inverse(self):
        if abs(self.value) <= SHAKY * self.error or not self.value:
            raise Open
        return Ball.of(1 / self.value, self.error / self.value**2)

    def through(self, function, slope):
        """A function of it, of which the slope is known."""
        value = function(self.value)
        near = max(abs(slope(self.value)), abs(slope(self.value + self.error)), abs(slope(self.value - self.error)))
        return Ball.of(value, near * self.error)


ZERO, ONE, MINUS = Ball(mpmath.mpf(0)), Ball(mpmath.mpf(1)), Ball(mpmath.mpf(-1))


def decided(ball):
    """The sign of a number, if rounding leaves no doubt: exact zeros do not, either."""
    if abs(ball.value) <= SHAKY * ball.error or not ball.value:
        raise Open
    return 1 if ball.value > 0 else -1


@attrs.frozen(eq=False)
class Number:
    """A value and its slopes by the variables; `None` where there is no value, as in cases that do not hold."""

    ball: Ball | None
    slopes: tuple = ()

    @classmethod
    def guarded(cls, make):
        try:
            return make()
        except (Open, ArithmeticError, ValueError):
            return cls(None)

    @property
    def known(self):
        if self.ball is None:
            raise Open
        return self.ball

    def chained(self, function, slope, second):
        """f(self), by f, f' and f'' of real numbers."""

        def make():
            outer = self.known.through(slope, second)
            return Number(self.ball.through(function, slope), tuple(outer * s for s in self.slopes))

        return Number.guarded(make)

    def __add__(self, other):
        return Number.guarded(
            lambda: Number(
                self.known + other.known, tuple(a + b for a, b in zip(self.slopes, other.slopes, strict=True))
            )
        )

    def __mul__(self, other):
        def make():
            a, b = self.known, other.known
            return Number(a * b, tuple(a * t + b * s for s, t in zip(self.slopes, other.slopes, strict=True)))

        return Number.guarded(make)

    def __neg__(self):
        return self * constant(-1, len(self.slopes))

    def __pos__(self):
        return self

    def __sub__(self, other):
        return self + -other

    def __truediv__(self, other):
        def make():
            b = other.known.inverse()
            square = b * b * MINUS
            return self * Number(b, tuple(square * t for t in other.slopes))

        return Number.guarded(make)

    def __pow__(self, other):
        def make():
            base, power = self.known, other.known
            n = power.value
            moving = any(s.value or s.error for s in other.slopes)
            if not moving and not power.error and mpmath.isint(n) and abs(n) <= 2000:
                n = int(n)
                return self.chained(
                    lambda a: a**n,
                    lambda a: n * a ** (n - 1) if n else mpmath.mpf(0),
                    lambda a: n * (n - 1) * a ** (n - 2) if n not in (0, 1) else mpmath.mpf(0),
                )
            if decided(base) < 0:
                raise Open
            return exp(other * log(self))

        return Number.guarded(make)

    def __mod__(self, other):
        def make():
            decided(other.known)
            return self - other * floor(self / other)

        return Number.guarded(make)

    def compared(self, other):
        return decided((self - other).known)

    def __lt__(self, other):
        return self.compared(other) < 0

    def __gt__(self, other):
        return self.compared(other) > 0

    __le__, __ge__ = __lt__, __gt__  # ties are open


def constant(value, variables, error=0):
    """A number that does not move."""
    return Number.guarded(lambda: Number(Ball(mpmath.mpf(value), mpmath.mpf(error)), (ZERO,) * variables))


def variable(value, place, variables):
    """A variable with an exact value."""
    return Number(Ball(mpmath.mpf(value)), tuple(ONE if i == place else ZERO for i in range(variables)))


def smooth(function, slope, second):
    return lambda u: u.chained(function, slope, second)


def lossy(function, slope, second):
    """One whose slope is computed as 1 - f^2, with an error beside 1."""

    def of(u):
        found = smooth(function, slope, second)(u)
        inner = [abs(s.value) for s in u.slopes]
        return Number(
            found.ball, tuple(Ball(s.value, s.error + 4 * EPS * a) for s, a in zip(found.slopes, inner, strict=False))
        )

    return of


m = mpmath


def _within(u, bound):
    if abs(u.known.value) + SHAKY * u.ball.error >= bound:
        raise Open
    return u


def _inside(function):
    return lambda u: Number.guarded(lambda: function(_within(u, 1)))


def _positive(function):
    def of(u):
        def make():
            if decided(u.known) < 0:
                raise Open
            return function(u)

        return Number.guarded(make)

    return of


exp = smooth(m.exp, m.exp, m.exp)
log = _positive(smooth(m.log, lambda a: 1 / a, lambda a: -1 / a**2))
sqrt = _positive(smooth(m.sqrt, lambda a: 1 / (2 * m.sqrt(a)), lambda a: -1 / (4 * a * m.sqrt(a))))


def sign(u):
    return Number.guarded(lambda: constant(decided(u.known), len(u.slopes)))


def absolute(u):
    return u * sign(u)


def floor(u):
    def make():
        nearest = m.nint(u.known.value)
        if abs(u.known.value - nearest) <= SHAKY * u.known.error + 1e-25:
            raise Open
        return constant(m.floor(u.known.value), len(u.slopes))

    return Number.guarded(make)


def ceiling(u):
    return -floor(-u)


def chosen(better):
    """Max or Min."""

    def of(*arguments):
        def make():
            best = arguments[0]
            for other in arguments[1:]:
                if better(best.compared(other)):
                    best = other
            return best

        return Number.guarded(make)

    return of


def atan2(a, b):
    def make():
        square = a * a + b * b
        decided(square.known)
        if decided(b.known) < 0:
            decided(a.known)  # where it jumps
        angle = m.atan2(a.known.value, b.known.value)
        error = (abs(a.ball.value) * b.ball.error + abs(b.ball.value) * a.ball.error) / square.ball.value
        zero = constant(0, len(a.slopes))
        moved = [
            (b * Number(s, zero.slopes) - a * Number(t, zero.slopes)) / square
            for s, t in zip(a.slopes, b.slopes, strict=True)
        ]
        return Number(Ball.of(angle, error), tuple(each.known for each in moved))

    return Number.guarded(make)


def piecewise(*cases):
    for value, condition in cases:
        if condition:
            return value
    raise Open


def heaviside(u):
    return Number.guarded(lambda: constant((1 + decided(u.known)) / 2, len(u.slopes)))


def logarithm(u, base=None):
    return log(u) if base is None else log(u) / log(base)


def exprel(u):
    """(exp(u) - 1)/u, without its cancellation."""
    return u.chained(
        lambda a: m.expm1(a) / a,
        lambda a: (a * m.exp(a) - m.expm1(a)) / a**2,
        lambda a: (a**2 * m.exp(a) - 2 * a * m.exp(a) + 2 * m.expm1(a)) / a**3,
    )


def _sech(a):
    return 1 / m.cosh(a)


def _expit(a):
    return 1 / (1 + m.exp(-a))


FUNCTIONS = {
    "sin": smooth(m.sin, m.cos, lambda a: -m.sin(a)),
    "cos": smooth(m.cos, lambda a: -m.sin(a), lambda a: -m.cos(a)),
    "tan": smooth(m.tan, lambda a: m.sec(a) ** 2, lambda a: 2 * m.sec(a) ** 2 * m.tan(a)),
    "asin": _inside(smooth(m.asin, lambda a: 1 / m.sqrt(1 - a * a), lambda a: a / (1 - a * a) ** 1.5)),
    "acos": _inside(smooth(m.acos, lambda a: -1 / m.sqrt(1 - a * a), lambda a: -a / (1 - a * a) ** 1.5)),
    "atan": smooth(m.atan, lambda a: 1 / (1 + a * a), lambda a: -2 * a / (1 + a * a) ** 2),
    "atan2": atan2,
    "sinh": smooth(m.sinh, m.cosh, m.sinh),
    "cosh": smooth(m.cosh, m.sinh, m.cosh),
    "tanh": lossy(m.tanh, lambda a: _sech(a) ** 2, lambda a: -2 * m.tanh(a) * _sech(a) ** 2),
    "exp": exp,
    "log": logarithm,
    "sqrt": sqrt,
    "erf": smooth(m.erf, lambda a: 2 / m.sqrt(m.pi) * m.exp(-a * a), lambda a: -4 * a / m.sqrt(m.pi) * m.exp(-a * a)),
    "Abs": absolute,
    "abs": absolute,
    "sign": sign,
    "Max": chosen(lambda order: order < 0),
    "Min": chosen(lambda order: order > 0),
    "Heaviside": heaviside,
    "floor": floor,
    "ceiling": ceiling,
    "Mod": lambda a, b: a % b,
    "Piecewise": piecewise,
    "exprel": exprel,
    "expit": smooth(
        _expit, lambda a: _expit(a) * _expit(-a), lambda a: _expit(a) * _expit(-a) * (_expit(-a) - _expit(a))
    ),
    "softplus": smooth(lambda a: m.log1p(m.exp(a)), _expit, lambda a: _expit(a) * _expit(-a)),
    "sech": smooth(_sech, lambda a: -_sech(a) * m.tanh(a), lambda a: _sech(a) * (m.tanh(a) ** 2 - _sech(a) ** 2)),
}


def written(value, count):
    """A number as it is written: long ones become floats."""
    return constant(value, count, 0 if abs(value) < 2**53 else EPS * abs(value))


class _Numbered(ast.NodeTransformer):
    """Puts `number(...)` around every number that is written."""

    def visit_Constant(self, node):
        if isinstance(node.value, bool):
            return node
        return ast.Call(ast.Name("_number", ast.Load()), [node], [])


def evaluate(text, values, others=None):
    """The number that a text denotes at these exact values of its variables.

    `others` are numbers by name: constants, or what an earlier text denotes.

    Raises
    ------
    Open
        Where nothing can be said.
    """
    count = len(values)
    names = {name: variable(value, i, count) for i, (name, value) in enumerate(values.items())} | FUNCTIONS
    names |= {"t": constant(0, count), "pi": constant(m.pi, count, EPS * 4)} | (others or {})
    names["_number"] = lambda value: written(value, count)
    tree = _Numbered().visit(ast.parse(text.strip().replace("^", "**"), mode="eval"))
    code = compile(ast.fix_missing_locations(tree), "<a text that dynsys took>", "eval")
    try:
        found = eval(code, {"__builtins__": {}} | names)
    except (OverflowError, ZeroDivisionError, RecursionError):
        raise Open from None
    found.known  # noqa: B018
    return found
