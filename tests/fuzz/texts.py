"""Texts of equations, drawn at random: mostly mathematics, some of it mangled."""

ONE = ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "erf", "Abs", "abs")
ONE += ("sign", "Heaviside", "floor", "ceiling", "exprel", "expit", "softplus", "sech")
TWO = ("atan2", "Max", "Min", "Mod", "log")
NUMBERS = (
    "0",
    "0.0",
    "1",
    "2",
    "3",
    "7",
    "10",
    "1/3",
    "0.5",
    ".25",
    "2.",
    "1e-3",
    "1e5",
    "1_0",
    "0x1F",
    "8/3",
    "pi",
    "28",
    "100",
)
POWERS = ("2", "3", "4", "-1", "-2", "0.5", "(1/3)", "1.5", "7", "0", "(2/3)", "-0.5", "20")
HARSH = ("1e300", "1e-300", "1e308", "1e-320", "9" * 40, "10**9", "2**62", "1e400", "0b11", "1j", "1e16", "999")
SCRAPS = (
    "import os",
    "__import__('os')",
    "x.__class__",
    "lambda: x",
    "x if y else 0",
    "[x]",
    "{x}",
    "x[0]",
    "'x'",
    "f'{x}'",
    "x:=1",
    "*x",
    "**x",
    "x=1",
    "exec('1')",
    "open('f')",
    "getattr(x,'y')",
    "#",
    "\\",
    "\n",
    "\t",
    "\r",
    "\x00",
    "\x0c",
    "\ufeff",
    "ｘ",
    "µ",
    "𝐱",
    "²",
    "−",
    "×",
    "∞",
    "'\\d'",
    "1or x",
    "0xfor x",
    "x is 1",
    "1if x else 2",
    "...",
    "True",
    "None",
    "not x",
    "~x",
    "x@y",
    "x//y",
    "x<<y",
    "x<y",
    "x==y",
    "x!=y",
    "(x,)",
    "sigma(x)",
    "t",
    "E",
    "I",
    "oo",
    "nan",
    "inf",
    "zoo",
    "S",
    "Symbol('q')",
    "x;y",
    "()",
    "((",
    "))",
    ",",
    "^",
    "**",
    "()()",
    "x()",
    "exp",
    "sum(x)",
    "mean(x)",
    "np.exp(x)",
    "_x",
    "_c0",
    "_u",
    "_p",
    "lambda",
    "\ud800",
    "\u202e",
    "Piecewise((x,True),)",
    "Piecewise()",
    "Max()",
    "Max(x)",
    "log(x,y,1)",
    "sin()",
    "sin(x,y)",
    "sin(u=x)",
    "sin(*x)",
    "1.e",
    "1__0",
    "007",
    "1L",
    "0o17",
    "e",
)


def term(draw, names, depth=3, harsh=False):
    """Mathematics, drawn by a `random.Random`."""
    kind = draw.randrange(12) if depth else draw.randrange(3)

    def part(less=1):
        return term(draw, names, depth - less if depth >= less else 0, harsh)

    if kind <= 1:
        return draw.choice(names)
    if kind == 2:
        return draw.choice(NUMBERS + HARSH * harsh)
    if kind <= 5:
        return f"{part()}{draw.choice((' + ', '-', '*', ' * ', '/', '+'))}{part()}"
    if kind <= 7:
        return f"({part()}{draw.choice('+-*/')}{part()})"
    if kind == 8:
        return f"({part()}){draw.choice(('^', '**'))}{draw.choice(POWERS) if draw.randrange(4) else f'({part()})'}"
    if kind == 9:
        return f"{draw.choice(('-', '+', '-'))}{part()}" if draw.randrange(3) else f"({part()} % {part()})"
    if kind == 10:
        return f"{draw.choice(ONE)}({part()})"
    if draw.randrange(2):
        return f"{draw.choice(TWO)}({part()}, {part()})"
    cases = [f"({part()}, {condition(draw, names, depth - 1, harsh)})" for _ in range(draw.randrange(1, 3))]
    return f"Piecewise({', '.join(cases)}, ({part()}, True))"


def condition(draw, names, depth, harsh=False):
    compared = "{}{}{}".format(
        term(draw, names, min(depth, 1), harsh), draw.choice((" < ", "<=", ">", ">=")), term(draw, names, 0, harsh)
    )
    if draw.randrange(3) or not depth:
        return compared
    other = condition(draw, names, depth - 1, harsh)
    return f"({compared}) {draw.choice('&|')} ({other})" if draw.randrange(2) else f"{compared} and {other}"


def mangled(draw, text):
    """The text with some damage."""
    for _ in range(draw.randrange(1, 4)):
        place, end = sorted(draw.randrange(len(text) + 1) for _ in range(2))
        kind = draw.randrange(5)
        if kind == 0:
            text = text[:place] + draw.choice(SCRAPS) + text[place:]
        elif kind == 1:
            text = text[:place] + draw.choice(SCRAPS) + text[min(end, place + 4) :]
        elif kind == 2:
            text = text[:place] + text[min(end, place + 3) :]
        elif kind == 3:
            text = text[:place] + text[place:end] * draw.choice((2, 3, 60)) + text[end:]
        else:
            text = text[:place] + chr(draw.choice((draw.randrange(128), draw.randrange(0x3000)))) + text[place:]
    return text


def any_text(draw, names):
    """Mathematics, harsh mathematics, or something like it."""
    text = term(draw, names, draw.randrange(1, 5), harsh=not draw.randrange(4))
    return text if draw.randrange(3) else mangled(draw, text)


def vector_text(draw, depth):
    """An expression in vectors x, b (2), a matrix W (2, 2) and a number g; smooth, so that any rounding stays small."""
    if not depth:
        return draw.choice(("x", "b", "x", "W@x", "W.T@x", "W@b", "g*x"))

    def part():
        return vector_text(draw, depth - 1)

    kind = draw.randrange(9)
    if kind <= 2:
        return f"{part()} {draw.choice('+-*')} {part()}"
    if kind == 3:
        return f"{draw.choice(('W', 'W.T', '2*W', 'W@W', 'W@W.T', '-W'))}@({part()})"
    if kind == 4:
        return f"{draw.choice(('sin', 'cos', 'tanh', 'atan', 'erf', 'expit', 'sech'))}({part()})"
    if kind == 5:
        return f"{draw.choice(('sum', 'mean'))}({part()})*{draw.choice(('x', 'b'))}"
    if kind == 6:
        return f"(({part()})@({part()}))*({draw.choice(('x', 'b', 'W@x'))})"
    if kind == 7:
        return f"({part()}){draw.choice(('^2', '**2', '/g', '*g', '/(1 + x^2)'))}"
    return f"{draw.choice('-+')}({part()})"
