"""Whatever text comes as an equation or a name: a system or a clear error, in seconds; nothing is executed."""

import builtins
import json
import keyword
import math
import os
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dynsys.equations.definition
from dynsys import GradientFlow, InvalidInputError, SymbolicFlow, SymbolicMap
from dynsys.equations.definition import check_names
from dynsys.equations.expression import parse
from dynsys.equations.sample_loss import SampleLoss
from dynsys.equations.source import FUNCTIONS, numpy_functions, to_source
from dynsys.models.activations import Activation
from dynsys.storage.cache import Cache
from fuzz.equations import map_of

SYMBOLS = {name: sympy.Symbol(name, real=True) for name in "xy"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="limits of a process and pipes are those of POSIX")


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory):
    """A folder for everything, also for what is derived from equations: their fuzz fills no cache of the user."""
    folder = tmp_path_factory.mktemp("untrusted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynsys.equations.definition, "kept", lambda: Cache(folder, b"key"))
        yield folder


# ---- text: what took for ever, or all memory, or ended in an error that was not ours

HOSTILE = {
    "x*(((1/3)**999)**999)**999": "too small",  # exact fractions of half a billion digits
    "x*((1/3)**999)**999": "too small",
    "x*((1+1/1000000)**999)**999": "fine",
    "x*((1+1/1000)**999)**-999": "too small",
    "x**((1+1/10**9)**999)**999": "fine",
    "9**(9**(9 + x - x))": "power above",  # constants that only SymPy can see
    "exp(exp(exp(exp(9.9 + x - x))))": "no finite real number",
    "exp(-10**9/(log(x, 3)/log(x)))": "too small",
    "exp(x - 10**9*log(3))": "fine",
    "exp(10**9/7*log(3*x))": "no floating-point number can hold",
    "(((3*x)**1000)**1000)**1000": "no floating-point number can hold",
    "(3*x)**1000": "no floating-point number can hold",
    "x/1e-310": "no floating-point number can hold",
    "x*1e-300*1e-300": "no floating-point number can hold",
    "x/(x - x)": "division by zero",
    "+".join(f"x/{i}**30" for i in range(3, 1200, 2)): "fine",  # a common denominator of 140,000 bits
    "Max(" + ",".join(f"sin({i}*x)" for i in range(99)) + ")": "Max of more than 64",
    "+".join("Max(" + ",".join(f"sin({i + 8 * j}*x)" for i in range(8)) + ")" for j in range(30)): "fine",
    "*".join(f"(x+{i})" for i in range(900)): "more than 2000 terms",
    "*".join(f"sin(x+{i})" for i in range(300)): "too large",
    "erf(tan(asin(" * 30 + "x" + ")))" * 30: "more than 2000 terms",  # tan(asin(a)) holds a twice
    "sin(" * 90 + "x" + ")" * 90: "fine",
    "sinh((asin(x)/y + x)**1000 + 1)": "real only for some values",  # SymPy multiplies the power out
    "Min(log(-x*x)**999, 2)": "real only for some values",
    "sinh(" + "sqrt(1 + " * 40 + "x/y" + ")" * 41: "real only for some values",
    "log(x, " * 90 + "y" + ")" * 90: "nested too deeply",
    "abs(x - abs(y - " * 24 + "y" + "))" * 24: "fine or nested too deeply",  # for 3.11: later Python nests deeper
    "(" * 90 + "x" + "+1)*x" * 90: "more than 100 nested",
    "(x*pi)**999": "no floating-point number can hold",
    "((Piecewise((3*x, x > 0), (y, True))**1000)**1000)**1000": "no floating-point number can hold",
    "((y*Piecewise((x/3, x > 0), (y, True)))**30)**20": "fine",
    "Piecewise((x, x > 0), (pi, True))**999": "no floating-point number can hold",
    "Piecewise(" + ",".join(f"({i % 2}, (x>{i})&(y<{i}))" for i in range(4)) + ",(x, True))": "fine",
    "Piecewise(" + ",".join(f"(1, (x>{i})&(y<{i}))" for i in range(20)) + ",(x, True))": "more than 8 comparisons",
    "Piecewise((x, " * 90 + "x" + " > 0), (1, True))" * 90: "nested",
    "Piecewise((x, (asin(x)/y + x)**1000 > 1), (1, True))": "real only for some values",
    "Piecewise((1, " + "x < " * 3000 + "x), (0, True))": "at most 10000 characters",
}
TWICE = {  # where there are second derivatives
    "sin(" * 90 + "x" + ")" * 90: "too large",
    "*".join(f"sin(x+{i})" for i in range(60)): "too large",
    "x**x**" * 24 + "x": "too large",
    "1/(1+x/(1+y/" * 14 + "y" + "))" * 14: "too large",
    "x/1e-310": "no floating-point number can hold",
}
ANSWERS = """
import json, os, resource, sys
import numpy as np
import sympy
from dynsys import GradientFlow, InvalidInputError, SymbolicFlow
from dynsys.models.activations import Activation
from dynsys.storage.cache import Cache

ways = {
    "flow": lambda text: SymbolicFlow.of({"x": text, "y": "x"}).jacobian(0.0, np.array([0.3, 0.4])),
    "loss": lambda text: GradientFlow.of(text, ["x", "y"], {"c": [1.0, 2.0]}).jacobian(0.0, np.array([0.3, 0.4])),
    "activation": lambda text: Activation.from_expression(text.replace("x", "d").replace("y", "d")).sigma(np.ones(1)),
}
answers = []
ways["loss"]("x*y*c")
for way, text in json.load(sys.stdin):
    read, write = os.pipe()
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (15, 15))
        sys.stderr = open(os.devnull, "w")
        try:
            ways[way](text)
            answer = "fine"
        except InvalidInputError as refusal:
            answer = f"refused: {refusal}"
        except BaseException as problem:
            answer = f"{type(problem).__name__}: {problem}"
        os.write(write, answer[:500].encode())
        os._exit(0)
    os.close(write)
    os.wait()
    answers.append(os.read(read, 1000).decode() or "killed after 15 s")
print(json.dumps(answers))
"""
ASKED = [("flow", text, answer) for text, answer in HOSTILE.items()]
ASKED += [(way, text, answer) for way in ("loss", "activation") for text, answer in TWICE.items()]


@pytest.fixture(scope="module")
def answers(scratch):
    asked = json.dumps([case[:2] for case in ASKED])
    environment = os.environ | {"DYNSYS_CACHE": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", ANSWERS], input=asked, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
@pytest.mark.parametrize("case", range(len(ASKED)), ids=[f"{way} {text[:24]}" for way, text, _ in ASKED])
def test_hostile_equation_becomes_a_system_or_a_clear_error_in_seconds(case, answers):
    expected, answer = ASKED[case][2], answers[case]
    refused = answer.startswith("refused: ")
    assert any(answer == "fine" if each == "fine" else refused and each in answer for each in expected.split(" or "))


def test_outputs_that_double_are_refused_before_they_fill_the_memory():
    outputs = (("a0", "w*x"), *((f"a{i + 1}", f"a{i}*a{i} + a{i}") for i in range(40)))
    with pytest.raises(InvalidInputError, match=r"the output a\d+: .* is too large|the output a\d+: more than"):
        SampleLoss("a40", ("w",), ("x",), outputs).statements()


def test_powers_of_outputs_stay_short():
    """Powers of powers, one output after the other: integers of a billion digits, were they exact."""
    outputs = (("a0", "3*w*x"), *((f"a{i + 1}", f"a{i}**1000") for i in range(3)))
    with pytest.raises(InvalidInputError, match=r"the output a\d contains .* which no floating-point number can hold"):
        SampleLoss("a3", ("w",), ("x",), outputs).statements()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8/3", sympy.Rational(8, 3)),
        ("1/3 + 1/7", sympy.Rational(10, 21)),
        ("2**62", sympy.Integer(2**62)),
        ("sqrt(16/9)", sympy.Rational(4, 3)),
        ("sin(pi/6) - cos(pi)", sympy.Rational(3, 2)),
        ("x**(1/3)", SYMBOLS["x"] ** sympy.Rational(1, 3)),
        ("2**x", 2 ** SYMBOLS["x"]),
    ],
)
def test_ordinary_fractions_stay_exact(text, expected):
    assert parse(text, SYMBOLS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9**99", float(9**99)),
        ("(1/3)**99", float(Fraction(1, 3**99))),
        ("1/7**40 + 1/3**60", float(Fraction(1, 7**40) + Fraction(1, 3**60))),
        ("10**300/3", float(Fraction(10**300, 3))),
        ("9" * 300, float(int("9" * 300))),
        ("sqrt(2)", math.sqrt(2.0)),
        ("exp(1)/pi", math.e / math.pi),
    ],
)
def test_long_constants_become_floats(text, expected):
    assert eval(to_source(parse(text, SYMBOLS)), numpy_functions()) == pytest.approx(expected, rel=3e-16, abs=0)


NUMBERS = ["0", "1", "2", "3", "1/3", "0.5", "7/1000", "999", "10**9", "1e-300", "1e300", "pi"]
COMPARED = st.sampled_from(["<", "<=", ">", ">=", "<x<", ">y>="])
TERMS = st.recursive(
    st.sampled_from(["x", "y", *NUMBERS]),
    lambda inner: st.one_of(
        st.builds("({}{}{})".format, inner, st.sampled_from([*"+-*/", "**"]), inner),
        st.builds("({}**{})".format, inner, st.sampled_from(["999", "-999", "(1/3)", "1000"])),
        st.builds("{}({})".format, st.sampled_from([*FUNCTIONS, "abs", "sign"]), inner),
        st.builds("{}({},{})".format, st.sampled_from(["Max", "Min", "atan2", "log"]), inner, inner),
        st.builds("Piecewise(({},({}{}{})|(x<{})),({},True))".format, inner, inner, COMPARED, inner, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(text=TERMS)
@example("2**x*2**(10**9-x)")
@example("(3**(10**9/y))**y")
@example("((3*exp(x))**(10**9*(1+y**2)))**(1/(1+y**2))")
def test_any_equation_becomes_a_system_that_can_be_evaluated_or_a_clear_error(text):
    try:
        system = SymbolicMap.of({"x": text, "y": "x"})
    except InvalidInputError:
        return
    with np.errstate(all="ignore"):
        assert system.step(0, np.array([0.3, -0.4])).shape == (2,)
        assert system.jacobian(0, np.array([0.3, -0.4])).shape == (2, 2)


@settings(max_examples=200)
@given(
    text=TERMS.map(lambda text: text.replace("x", "d").replace("y", "d").replace("edp", "exp").replace("Mad", "Max"))
)
def test_any_activation_can_be_evaluated_or_is_refused(text):
    try:
        activation = Activation.from_expression(text)
    except InvalidInputError:
        return
    with np.errstate(all="ignore"):
        assert activation.d2sigma(np.array([0.3, -0.4])).shape == (2,)


# ---- what fuzzing found: taken, and something else than what was written; or an error of others


@pytest.mark.parametrize(
    "text",
    [
        "Mod(3*x, -2*x)",  # SymPy makes it x, and not -x
        "-3*x % (2*x)",
        "(x*10/sech(2)) % -(x/3)",
        "(y - 3*x) % (-2*x)",
        "x % 0.3 + 7 % y",
        "x + Piecewise((y + pi, (y > 1/3) | (x <= 0.5)), (y**y, True))",  # slopes of what does not hold are no numbers
        "Piecewise(((y + 8/3 + x**x)**-0.5, 100/y <= x), (y, True))",
        "(Piecewise((1e-3, x < 1e-3), (y, True))^7)^(x + x*x*y)",
        "y*Piecewise((Max(sqrt(x), 1), x > 0), (Max(x, y), True))",
        "sign(Min(x, 10)^-2) + x",
        "sign(1/x) + y*Heaviside(1/y)",
        "abs(log(x*x)) + abs(1/y)",
        "Max(x, 0.0) + Piecewise((0.0, x > 1), (x, True))*y**0.0",  # SymPy's 0.0 is not equal to 0
        "0.0",
        "exprel(3.5 + x) - exprel(1000.0 - 999*x^2)",
    ],
)
def test_what_is_taken_is_what_python_reads(text):
    assert map_of(text) == "agrees"


def test_numbers_that_no_float_holds_are_refused_wherever_they_come_up():
    with np.errstate(over="ignore"):
        assert SymbolicMap.of({"x": "exprel(999999.97 + x)"}).step(0, np.array([1.0])) == np.inf
    for text in ("(-x*x)**(1/3)", "log(-0.5, x/3)**3", "(-8)**(1/3)*x"):
        with pytest.raises(InvalidInputError, match=r"no real number|no finite real number"):
            SymbolicMap.of({"x": text})
    assert SymbolicMap.of({"x": "x*Min(x, 1e308) % (1/3)"}).step(0, np.array([0.5])) == 0.25
    for huge in ("exp(exp(100) + x - x)", "sech(10**40)*x"):
        with pytest.raises(InvalidInputError):
            SymbolicMap.of({"x": huge})
    with pytest.raises(InvalidInputError, match="nan, which is no real number"):
        GradientFlow.of("0**(w + 1e16)", ["w"], {"c": [1.0]}).vector_field(0.0, np.ones(1))


@pytest.mark.parametrize("text", ["Piecewise((x, x > 1and x < 2), (0, True))", "x*1or x", "x + '\\d'", "x is 1"])
def test_python_warns_of_no_text(text):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for give in (
            lambda: SymbolicMap.of({"x": text}).step(0, np.ones(1)),
            lambda: SymbolicMap.of({"x[2]": f"W@({text})"}, {"W": np.eye(2)}),
            lambda: GradientFlow.of(text, ["x"], {"c": [1.0]}).loss(np.ones(1)),
        ):
            with suppress(InvalidInputError):
                give()
    assert not said


@posix
@pytest.mark.parametrize("text", ["W@x" + "*x" * 60, "W@(" * 60 + "x" + ")" * 60, "x*(" * 60 + "W@x" + ")" * 60])
def test_nested_products_of_vectors_are_read_in_seconds(text):
    """They were read twice at every level."""
    began = time.thread_time()
    system = SymbolicMap.of({"x[2]": text}, {"W": np.eye(2)})
    np.testing.assert_allclose(system.step(0, np.ones(2)), 1.0)
    assert time.thread_time() - began < 20.0


def test_losses_of_whole_numbers_do_not_overflow():
    flow = GradientFlow.of("2**62 + w", ["w"], {"c": [0.5, -1.25]})
    assert flow.loss(np.zeros(1)) == 2.0**62


@pytest.mark.parametrize(
    ("text", "p", "expected"),
    [("w + 1/p", 0.0, np.inf), ("w + p**1.5", -2.0, np.nan), ("w*p**3", 1e200, np.inf), ("w + 1/p", 4.0, 1.25)],
)
def test_numbers_of_a_loss_are_those_of_numpy(text, p, expected):
    """Parameters, and outputs that are numbers: as Python's own they raised errors, and had complex roots."""
    with np.errstate(all="ignore"):
        found = GradientFlow.of(text, ["w"], {"c": [1.0]}, parameters={"p": p}).loss(np.ones(1))
        np.testing.assert_array_equal(found, expected)
        found = GradientFlow.of(text.replace("p", "a"), ["w"], {"c": [1.0]}, {"a": repr(p)}).loss(np.ones(1))
        np.testing.assert_array_equal(found, expected)


def test_cases_of_a_loss_that_do_not_hold_do_not_count():
    flow = GradientFlow.of("a", ["v", "w"], {"c": [1.0]}, {"a": "Piecewise((erf((w - 3)**(v*v)), w > 3), (w*v, True))"})
    np.testing.assert_array_equal(flow.vector_field(0.0, np.array([1.75, 0.625])), [-0.625, -1.75])
    np.testing.assert_array_equal(flow.jacobian(0.0, np.array([1.75, 0.625])), [[0.0, -1.0], [-1.0, 0.0]])
    found = flow.vector_field(0.0, np.array([1.0, 3.5]))
    assert found[1] == pytest.approx(-2.0 / math.sqrt(math.pi) * math.exp(-0.25))


# ---- names: they stand in source that is run


@settings(max_examples=300)
@given(name=st.one_of(st.text(max_size=12), st.from_regex(r"\A\w+\Z"), st.from_regex(r"\A[^\W\d]\w*[;=\n(] ?\w+\Z")))
@example("x; import os")
@example("x=open('trace','w')")
@example("x\n    import os\n    y")
@example("x\\\n")
@example("None")
@example("__class__")
@example("µ")  # the micro sign, which Python takes for a Greek mu
@example("ｘ")
def test_name_is_one_word_that_python_does_not_change_or_is_refused(name):
    try:
        check_names([name])
    except InvalidInputError:
        return
    assert name.isidentifier()
    assert not keyword.iskeyword(name)
    assert list(compile(f"{name} = 1", "", "exec").co_names) == [name]


@pytest.mark.parametrize("name", ["x; import os", "x\n import os", "lambda", "a b", "", "µ", "𝐱", "t", "exp", "_x"])
@pytest.mark.parametrize(
    "give",
    [
        lambda name: SymbolicFlow.of({name: "1"}),
        lambda name: SymbolicFlow.of({"x": "1"}, {name: 1.0}),
        lambda name: SampleLoss("w", (name,), ("x",)),
        lambda name: SampleLoss("w", ("w",), (name,)),
        lambda name: SampleLoss("w", ("w",), ("x",), ((name, "w"),)),
        lambda name: SampleLoss("w", ("w",), ("x",), (), (name,)),
    ],
    ids=["component", "parameter", "weight", "column", "output", "constant"],
)
def test_bad_names_are_refused_wherever_they_can_be_given(give, name):
    with pytest.raises(InvalidInputError, match=r"cannot name|is 'μ' to Python|is 'x' to Python"):
        give(name)


def test_two_names_that_python_takes_for_one_are_refused():
    """Full-width x is x to Python: both components would have had the value of one."""
    with pytest.raises(InvalidInputError, match="'ｘ' is 'x' to Python"):
        SymbolicFlow.of({"x": "1", "ｘ": "x"})


def test_names_of_python_itself_are_names_like_others():
    names = {n for n in dir(builtins) if n.islower() and not n.startswith("_")} - {"abs", "float"}
    names |= {"numba", "attr", "attr_dict", "NOTHING", "array", "n", "k", "l", "x", "u", "f", "J", "p"}
    system = SymbolicFlow.of({name: f"-rate*{name}" for name in names}, {"rate": 2.0})
    x = np.arange(1.0, len(names) + 1)
    np.testing.assert_array_equal(system.vector_field(0.0, x), -2.0 * x)
    for name in names:
        assert SymbolicFlow.of({"state": f"{name}*state"}, {name: 3.0}).vector_field(0.0, np.array([2.0])) == [6.0]
