"""Text is read as mathematics: right, quickly, and never executed, whatever the text."""

import ast
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynsys import InvalidInputError
from dynsys.equations.expression import parse, read_expression
from dynsys.equations.source import FUNCTIONS, OTHERS, STEPS, numpy_functions, to_source

SYMBOLS = {name: sympy.Symbol(name, real=True) for name in ("x", "y", "rate")}
OPERATORS = [*"+-*/^(),.=<>[]{}:;@%&|~!#'\"\\ \n", "**", "//", "==", ":=", " if ", " else ", " for ", " in ", "not "]
PYTHON = ["__import__", "__class__", "eval", "open", "import", "lambda", "await", "yield", "None", "True", "...", "1j"]
NUMBERS = ["0", "1", "2", "9", "0.5", "1e3", "999", "1e400"]
TOKENS = st.sampled_from(
    [
        *SYMBOLS,
        *FUNCTIONS,
        *OTHERS,
        *STEPS,
        "pi",
        "abs",
        "Max",
        "Min",
        "sign",
        "Piecewise((",
        "True))",
        *NUMBERS,
        *OPERATORS,
        *PYTHON,
    ]
)

HOSTILE = [
    "9**9**9",
    "x + ((9**999)**999)**999",
    "x*(9**999)**999",
    "2**(2**(2**(2**2)))",
    "exp(exp(exp(9.9)))",
    "exp(exp(exp(exp(9.9))))",
    "sin(exp(exp(exp(9.9))))",
    "cosh(exp(exp(1e300)))",
    "x*" + "9" * 5000,
    "(" * 5000 + "x" + ")" * 5000,
    "(" * 150 + "x+1" + ")" * 150,
    "sin(" * 150 + "x" + ")" * 150,
    "-" * 9000 + "x",
    "x" + ".a" * 900,
    "x" + "[0]" * 900,
    "not " * 2000 + "x",
    "lambda:" * 900 + "x",
    "x**" * 2000 + "x",
    "[" * 90 + "x" + "]" * 90,
    "x" * 20_000,
]
# Every text is answered in a process of its own, with limits: a hang in big-number arithmetic cannot be interrupted.
ANSWERS = """
import json, os, resource, sys, sympy
from dynsys import InvalidInputError
from dynsys.equations.expression import parse, read_expression
from dynsys.equations.source import to_source

x, answers = sympy.Symbol("x", real=True), []
to_source(parse("sin(x)", {"x": x}))
for text in json.load(sys.stdin):
    read, write = os.pipe()
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (3, 3))
        try:
            to_source(parse(text, {"x": x}))
            answer = "an expression with a source"
        except InvalidInputError:
            answer = "a refusal"
        except BaseException as problem:
            answer = f"{type(problem).__name__}: {problem}"[:200]
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    os.wait()
    answers.append(os.read(read, 1000).decode() or "killed after 3 s")
print(json.dumps(answers))
"""


def value(source, **variables):
    """The number that generated source computes."""
    return eval(source, numpy_functions() | variables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2*x^2 - x**2", lambda x, y: x**2),
        ("-x**2", lambda x, y: -(x**2)),
        ("2**-x", lambda x, y: 2**-x),
        ("2^3^2", lambda x, y: 512.0),
        ("x/y/2 - 1/3", lambda x, y: x / y / 2 - 1 / 3),
        ("7 - 2 - 1", lambda x, y: 4.0),
        ("+x - -y", lambda x, y: x + y),
        ("1_000*x + 0x10 + 1e-3", lambda x, y: 1000 * x + 16.001),
        ("  x\t+ y ", lambda x, y: x + y),
        ("pi*exp(1)", lambda x, y: math.pi * math.e),
        ("log(x, 10) + abs(-y)", lambda x, y: math.log10(x) + y),
        ("Max(x, y, 0) - Min(x, -y)", lambda x, y: y + y),
        ("sign(y - x) * Abs(x - y)", lambda x, y: y - x),
        ("atan2(x, -y)", lambda x, y: math.atan2(x, -y)),
        ("x**(1/3) + sqrt(2)", lambda x, y: x ** (1 / 3) + math.sqrt(2)),
        ("x**1000 + 9**99*0", lambda x, y: x**1000),
        ("Mod(x, 2) + x % 0.5 - Mod(-x, y)", lambda x, y: x % 2 + x % 0.5 - (-x) % y),
        ("3*x % 1 + Mod(y, -x)", lambda x, y: 3 * x % 1 + y % -x),
        ("7 % 3 - 7 % -3 + Mod(-7, 3)*x", lambda x, y: 7 % 3 - 7 % -3 + -7 % 3 * x),
        ("floor(-y) + ceiling(-y)*x + floor(2.5) - ceiling(-2.5)", lambda x, y: -2.0 - x + 2.0 + 2.0),
        ("Heaviside(x - y) + 2*Heaviside(y) + Heaviside(x - x)", lambda x, y: 2.5),
        ("expit(x) + expit(-800 + x)", lambda x, y: 1 / (1 + math.exp(-x))),
        ("softplus(-x) + softplus(900 + y)", lambda x, y: math.log(1 + math.exp(-x)) + 900 + y),
        ("exprel(x) + exprel(y - y) + exprel(1)", lambda x, y: math.expm1(x) / x + 1 + math.expm1(1)),
        ("sech(y)*sech(x)^2 + sech(800*y)", lambda x, y: 1 / math.cosh(y) / math.cosh(x) ** 2),
    ],
)
def test_text_means_what_mathematics_means_by_it(text, expected):
    x, y = 0.7, 1.9
    result = value(to_source(parse(text, SYMBOLS)), x=x, y=y)
    assert result == pytest.approx(expected(x, y), rel=4e-16, abs=0)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "atan2"])
def test_every_function_is_the_one_of_its_name(name):
    result = value(to_source(parse(f"{name}(x)", SYMBOLS)), x=np.array([0.3, 0.6]))
    np.testing.assert_allclose(result, [getattr(math, name)(0.3), getattr(math, name)(0.6)], rtol=2e-15)


@settings(deadline=None, max_examples=100)
@given(number=st.floats(allow_nan=False, allow_infinity=False, min_value=0.0))
@example(8 / 3)
@example(5e-324)
def test_numbers_keep_all_their_digits(number):
    assert value(to_source(parse(f"x + {number!r}", SYMBOLS)), x=0.0) == number


def test_mod_and_floor_have_the_signs_of_python():
    a, b = (grid.ravel() for grid in np.meshgrid(np.linspace(-7.3, 7.3, 41), [-3.0, -0.7, 0.7, 3.0]))
    source = {text: to_source(parse(text, SYMBOLS)) for text in ("Mod(x, y)", "x % y", "floor(x/y)", "ceiling(x)")}
    found = {text: value(code, x=a, y=b) for text, code in source.items()}
    np.testing.assert_allclose(found["Mod(x, y)"], [p % q for p, q in zip(a, b, strict=True)], rtol=1e-14)
    np.testing.assert_array_equal(found["x % y"], found["Mod(x, y)"])
    np.testing.assert_array_equal(found["floor(x/y)"], [math.floor(p / q) for p, q in zip(a, b, strict=True)])
    np.testing.assert_array_equal(found["ceiling(x)"], [math.ceil(p) for p in a])


def test_functions_of_sympy_are_those_of_text():
    x = SYMBOLS["x"]
    unknown = [sympy.Function(name) for name in ("expit", "exprel", "softplus", "sech")]
    pairs = [(f"{f.__name__}(x)", f(x)) for f in unknown]
    pairs += [("x - floor(x)", sympy.frac(x)), ("1/tanh(x)", sympy.coth(x)), ("Mod(x, 3)", sympy.Mod(x, 3))]
    pairs += [("sech(x)", sympy.sech(x)), ("sin(x)/x", sympy.sinc(x))]
    five = sympy.Min(x, SYMBOLS["y"], 3 * x, SYMBOLS["rate"], sympy.Integer(2), evaluate=False)
    for text, written in [*pairs, ("Min(x, y, 3*x, rate, 2)", five)]:
        assert read_expression("it", written, SYMBOLS) == parse(text, SYMBOLS)


def assert_expression_or_refusal(text):
    try:
        expression = parse(text, SYMBOLS)
    except InvalidInputError:
        return
    assert isinstance(expression, sympy.Expr)
    assert {s.name for s in expression.free_symbols} <= set(SYMBOLS)
    ast.parse(to_source(expression), mode="eval")  # what was accepted has a source


@settings(deadline=None, max_examples=300)
@given(text=st.text(max_size=60))
@example("\x00")
@example("\ud800")
@example("x\\\n+1")
@example("ｘ")  # a full-width letter, which Python reads as x
@example("# nothing")
def test_any_text_gives_an_expression_or_a_refusal(text):
    assert_expression_or_refusal(text)


@settings(deadline=None, max_examples=300)
@given(tokens=st.lists(TOKENS, max_size=14))
def test_any_mathematical_tokens_give_an_expression_or_a_refusal(tokens):
    assert_expression_or_refusal("".join(tokens))


TERMS = st.recursive(
    st.sampled_from([*SYMBOLS, "0", "1", "2", "-1", "9", "0.5", "1e3", "999", "pi"]),
    lambda inner: st.one_of(
        st.builds("({}{}{})".format, inner, st.sampled_from([*"+-*/", "**"]), inner),
        st.builds("{}({})".format, st.sampled_from([*FUNCTIONS, *OTHERS, *STEPS, "abs", "sign"]), inner),
        st.builds("{}({},{})".format, st.sampled_from(["Max", "Min", "atan2", "Mod"]), inner, inner),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(text=TERMS)
def test_well_formed_text_gives_an_expression_with_a_source_or_a_refusal(text):
    assert_expression_or_refusal(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x.__class__", "'x.__class__' is not mathematics"),
        ("().__class__.__bases__[0]", "not mathematics"),
        ("__import__('os').system('true')", "not mathematics"),
        ("__import__('os')", "unknown function '__import__'"),
        ("eval('x')", "unknown function 'eval'"),
        ("Symbol('x')", "unknown function 'Symbol'"),
        ("gamma(x)", "unknown function 'gamma'"),
        ("lambda: x", "not mathematics"),
        ("[x for x in (1, 2)]", "not mathematics"),
        ("sin(y for y in [1])", "not mathematics"),
        ("sin(*[x])", "not mathematics"),
        ("sin(x, evaluate=0)", "not mathematics"),
        ("sin(x)(y)", "not mathematics"),
        ("(x := 3)", "not mathematics"),
        ("x if x else y", "not mathematics"),
        ("x < y", "not mathematics"),
        ("x and y", "not mathematics"),
        ("x // y", "not mathematics"),
        ("x % 0", "division by zero"),
        ("Mod(x, 1 - 1)", "division by zero"),
        ("Mod(x)", "must have 2 arguments, got 1"),
        ("x, y", "not mathematics"),
        ("'x'", "not mathematics"),
        ("f'{x}'", "not mathematics"),
        ("True", "not mathematics"),
        ("1j*x", "not mathematics"),
        ("sin", "unknown name 'sin'"),
        ("rat*x", "unknown name 'rat'.*known names: rate, x, y"),
        ("x = 3", "cannot be read"),
        ("x; y", "cannot be read"),
        ("x +", "cannot be read"),
        ("", "cannot be read"),
        ("2x", "cannot be read"),
        ("sin()", "must have 1 argument, got 0"),
        ("sin(x, y)", "must have 1 argument, got 2"),
        ("sqrt(x, 3)", "must have 1 argument, got 2"),
        ("Max()", "Max"),
        ("1/0", "division by zero"),
        ("x - 1/(1 - 1)", "division by zero"),
        ("log(0)", "log"),
        ("x - 1e400", "1e400"),
        ("sqrt(-1)*x", r"sqrt\(-1\)"),
        ("log(-1)", r"log\(-1\)"),
        ("asin(2.0)", r"asin\(2.0\)"),
    ],
)
def test_what_is_no_real_expression_is_refused_by_name(text, reason):
    with pytest.raises(InvalidInputError, match=reason):
        parse(text, SYMBOLS)


def test_nothing_in_the_text_is_executed(tmp_path):
    target = tmp_path / "written"
    for text in (
        f"open({str(target)!r}, 'w')",
        f"[open({str(target)!r}, 'w') for _ in [1]]",
        f"x.open({str(target)!r})",
    ):
        with pytest.raises(InvalidInputError):
            parse(text, SYMBOLS)
    assert not target.exists()


def test_sum_of_many_terms_is_no_deep_nesting():
    text = " + ".join(f"{i}*x" for i in range(300))
    assert parse(text, SYMBOLS) == 44850 * SYMBOLS["x"]


@pytest.fixture(scope="module")
def answers():
    done = subprocess.run([sys.executable, "-c", ANSWERS], input=json.dumps(HOSTILE), capture_output=True, text=True)
    return dict(zip(HOSTILE, json.loads(done.stdout), strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are those of POSIX")
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:24])
def test_hostile_text_is_answered_quickly(text, answers):
    assert answers[text] in ("an expression with a source", "a refusal")
