"""Systems with which runs are begun, with those by which they can be continued, and those by which they cannot."""

import functools

import attrs
import numpy as np
from scipy.interpolate import CubicSpline

from dynsys import (
    RK4,
    Adam,
    AdamW,
    DormandPrince,
    Euler,
    Flow,
    FunctionFlow,
    FunctionMap,
    GradientFlow,
    HeavyBall,
    Map,
    Nesterov,
    NumpyTangent,
    PiecewiseFlow,
    PoincareMap,
    StroboscopicMap,
    SymbolicFlow,
    SymbolicMap,
    vary,
)
from dynsys.models.activations import GELU, Activation, ReLU, Tanh
from dynsys.models.classics import CatMap, Henon, LinearFlow, LinearMap, Logistic, Lorenz63, Lorenz96, Roessler
from dynsys.models.networks import DeepNetworkFlow
from dynsys.models.networks.recurrent import RNN
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.systems.time_step import TimeStep

X, Y = regression_task(samples=20)
SCALE = 2.0
PARAMETERS = {"rate": 0.5}


TANH, ZEROS, ONES = Tanh(), np.zeros(20), np.ones(20)
ZEROS.flags.writeable = ONES.flags.writeable = False  # others may be written into, and are not told


def network(activation=TANH, x=X, y=Y, **options):
    return ThreeLayerGradientFlow(x, y, hidden=2, activation=activation, **options)


def deep(**changes):
    return DeepNetworkFlow(X, Y, **{"hidden": (3,), "activation": Tanh()} | changes)


def gradient(loss="(w*x - y)^2/2 + decay*w^2", decay=0.1, x=(1.0, 2.0, 3.0), reduction="mean"):
    data = {"x": np.array(x), "y": np.array([1.0, 2.0, 2.0])}
    return GradientFlow.of(loss, ["w"], data, parameters={"decay": decay}, reduction=reduction)


@attrs.frozen(eq=False)
class Drive(PiecewiseFlow):
    """A table of forces, one for each step."""

    table: np.ndarray
    dimension = 1

    def flow_at(self, n):
        return LinearFlow([[float(self.table[n % len(self.table)])]])


@attrs.frozen(eq=False)
class Decay(Flow):
    """Decay at a rate."""

    rate: float = 0.5
    dimension = 1

    def vector_field(self, t, x):
        return -self.rate * x

    def jacobian(self, t, x):
        return np.array([[-self.rate]])


class Plain(TimeStep):
    """Not of attrs; counts how often it is called, and keeps what it has computed."""

    dimension = 1

    def __init__(self, r):
        self.r, self.calls, self.seen = r, 0, []

    def step(self, n, x):
        self.calls += 1
        self.seen.append(n)
        return self.r * x * (1.0 - x)

    def step_tangent(self, n, x, V):
        return self.step(n, x), self.r * (1.0 - 2.0 * x) * V


@attrs.frozen(eq=False)
class Noisy(TimeStep):
    """A step with noise, on a clock of its own."""

    seed: int = 0
    dt: float = 0.1
    t0: float = 0.0
    dimension = 1

    def time(self, n):
        return self.t0 + n * self.dt

    def starting_at(self, t0):
        return attrs.evolve(self, t0=t0)

    def step(self, n, x):
        return (1.0 - self.dt) * x + np.sqrt(self.dt) * np.random.default_rng((self.seed, n)).normal()

    def step_tangent(self, n, x, V):
        return self.step(n, x), (1.0 - self.dt) * V


def lorenz(t, x, sigma=10.0, rho=28.0, beta=8 / 3):
    return [sigma * (x[1] - x[0]), x[0] * (rho - x[2]) - x[1], x[0] * x[1] - beta * x[2]]


def scaled(n, x):
    return [SCALE * helper(x[0])]


def helper(u):
    return 0.3 * np.sin(u)


def closed(rate, table=ZEROS):
    return lambda t, x: [-rate * x[0] + table[0]]


def along(spline):
    return lambda t, x: [float(spline(t)) - x[0]]


def one_by_one(t, x):
    return [-PARAMETERS["rate"] * x[0]]


def stepped(system, **further):
    return system.tangent(RK4(0.01), backend="numpy", **further) if not isinstance(system, Map) else mapped(system)


def mapped(system):
    return system.tangent(backend="numpy")


def descent(system, stepper=None):
    return system.tangent(stepper or Euler(0.01), backend="numpy")


def driven_bowl():
    return gradient().minibatches(2, seed=1)


def tangent_of(step):
    return NumpyTangent(step)


def begun(tangent):
    x0 = np.linspace(0.2, 0.4, tangent.dimension)
    return tangent.trajectory(x0, intervals=4).end


SPIRAL = LinearFlow([[0.1, -1.0], [1.0, 0.1]])
FORCED = SymbolicFlow.of({"x": "-a*x + cos(t)"}, {"a": 1.0})
CASES = {  # a tangent, one that is the same in other objects, and those that are not, with what is named
    "a parameter": (
        lambda: stepped(Lorenz63(rho=28.0)),
        [lambda: stepped(Lorenz63(rho=np.float64(28))), lambda: stepped(Lorenz63(rho=28)),
         lambda: stepped(Lorenz63()), lambda: stepped(SymbolicFlow.of(
            {"x": "sigma*(y - x)", "y": "x*(rho - z) - y", "z": "x*y - beta*z"},
            {"sigma": 10, "rho": 28, "beta": 8 / 3}))],
        [(lambda: stepped(Lorenz63(rho=30.0)), "had rho = 28, and this has rho = 30"),
         (lambda: stepped(Lorenz63(rho=28.000001)), "had rho = 28, and this has rho = 28.000001"),
         (lambda: stepped(Lorenz63(rho=30.0, sigma=11.0)), "had sigma = 10 and rho = 28, and this has sigma = 11 and"),
         (lambda: stepped(Roessler()), "had the system Lorenz63, and this has the system Roessler"),
         (lambda: stepped(FunctionFlow(lorenz, 3)), "had the system Lorenz63, .* the system FunctionFlow"),
         (lambda: stepped(LinearFlow(np.eye(3))), "the system LinearFlow")],
    ),
    "a map": (
        lambda: mapped(Henon()),
        [lambda: mapped(attrs.evolve(Henon(a=1.2), a=1.4))],
        [(lambda: mapped(Henon(b=0.2)), "b = 0.3, and this has b = 0.2"),
         (lambda: mapped(CatMap()), "the system Henon, and this has the system CatMap"),
         (lambda: mapped(LinearMap(np.eye(2))), "the system LinearMap")],
    ),
    "equations": (
        lambda: stepped(FORCED),
        [lambda: stepped(SymbolicFlow.of({"x": "-a * x+cos(t)"}, {"a": np.int64(1)})),
         lambda: stepped(FORCED, t0=0.0)],
        [(lambda: stepped(SymbolicFlow.of({"x": "-a*x + sin(t)"}, {"a": 1.0})), r"equations.x = -a\*x\+cos\(t\)"),
         (lambda: stepped(SymbolicFlow.of({"y": "-a*y + cos(t)"}, {"a": 1.0})), "components"),
         (lambda: stepped(SymbolicFlow.of({"x": "-g"}, {"a": 1.0}, {"g": "a*x"})), "equations")],
    ),
    "the order of equations": (
        lambda: stepped(SymbolicFlow.of({"x": "-x", "y": "x - y"})),
        [],
        [(lambda: stepped(SymbolicFlow.of({"y": "x - y", "x": "-x"})), r"components = \['x', 'y'\]")],
    ),
    "a flow or a map": (
        lambda: mapped(SymbolicMap.of({"x": "x/2"})),
        [],
        [(lambda: SymbolicFlow.of({"x": "x/2"}).tangent(RK4(1.0), backend="numpy"), "kind = map, .* kind = flow")],
    ),
    "a lattice": (
        lambda: stepped(Lorenz96(sites=6)),
        [],
        [(lambda: stepped(Lorenz96(sites=6, forcing=7.0)), "forcing = 8, .* forcing = 7")],
    ),
    "a coupling matrix": (
        lambda: stepped(SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": np.eye(5)})),
        [lambda: stepped(SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": np.eye(5).tolist()}))],
        [(lambda: stepped(SymbolicFlow.of({"x": "-x + W@tanh(x)"}, {"W": 2 * np.eye(5)})), "W of shape .* another W")],
    ),
    "a network": (
        lambda: descent(network()),
        [lambda: descent(network(x=X.tolist())), lambda: descent(network(), RK4(0.02))],
        [(lambda: descent(network(ReLU())), "activation Tanh, and this has activation ReLU"),
         (lambda: descent(network(Activation.from_expression("d/(1 + abs(d))"))), "activation Tanh"),
         (lambda: descent(network(x=X + 1e-12)), r"had X of shape \[20, 2\], and this has another X"),
         (lambda: descent(network(y=2 * Y)), "another y"),
         (lambda: descent(network(reduction="sum")), "reduction = mean, .* reduction = sum"),
         (lambda: descent(network().minibatches(7)), "the system ThreeLayerGradientFlow, .* the system Minibatches")],
    ),
    "an activation of one's own": (
        lambda: descent(network(Activation.from_expression("d/(1 + abs(d))"))),
        [lambda: descent(network(Activation.from_expression("d/(1 + abs(d))")))],
        [(lambda: descent(network(Activation.from_expression("d/(2 + abs(d))"))), "activation")],
    ),
    "a deep network": (
        lambda: descent(deep()),
        [],
        [(lambda: descent(deep(activation=GELU())), "activation Tanh, .* activation GELU")],
    ),
    "minibatches": (
        lambda: descent(network().minibatches(7, seed=1)),
        [lambda: descent(attrs.evolve(network().minibatches(7, seed=4), seed=1))],
        [(lambda: descent(network().minibatches(7, seed=2)), "seed = 1, and this has seed = 2"),
         (lambda: descent(network().minibatches(5, seed=1)), "size = 7, .* size = 5"),
         (lambda: descent(network().minibatches(7, seed=1, shared=False)), "shared = True, .* shared = False"),
         (lambda: descent(network(y=2 * Y).minibatches(7, seed=1)), "another flow.y"),
         (lambda: descent(network(ReLU()).minibatches(7, seed=1)), "flow.activation Tanh, .* flow.activation ReLU"),
         (lambda: descent(network()), "the system Minibatches, .* the system ThreeLayer")],
    ),
    "a loss": (
        lambda: descent(gradient()),
        [lambda: descent(gradient("(w*x-y)**2/2 + decay * w^2"))],
        [(lambda: descent(gradient(decay=0.2)), "parameters.decay = 0.1, .* parameters.decay = 0.2"),
         (lambda: descent(gradient("(w*x - y)^4/2 + decay*w^2")), "loss"),
         (lambda: descent(gradient(x=(1.0, 2.0, 4.0))), r"data.x\[2\] = 3, .* data.x\[2\] = 4"),
         (lambda: descent(gradient(reduction="sum")), "reduction")],
    ),
    "an optimiser": (
        lambda: descent(driven_bowl(), HeavyBall(0.01, momentum=0.9)),
        [lambda: descent(driven_bowl(), HeavyBall(0.02, momentum=0.9))],
        [(lambda: descent(driven_bowl(), HeavyBall(0.01, momentum=0.8)), "optimiser.momentum = 0.9, .* 0.8"),
         (lambda: descent(driven_bowl(), HeavyBall(0.01, weight_decay=0.1)), "optimiser.weight_decay = 0, .* 0.1"),
         (lambda: descent(driven_bowl(), Nesterov(0.01)), "optimiser HeavyBall, and this has optimiser Nesterov")],
    ),
    "Adam": (
        lambda: descent(driven_bowl(), Adam(0.01)),
        [lambda: descent(driven_bowl(), Adam(0.005))],
        [(lambda: descent(driven_bowl(), Adam(0.01, beta2=0.99)), "beta2 = 0.999, .*beta2 = 0.99"),
         (lambda: descent(driven_bowl(), AdamW(0.01)), "optimiser Adam, .* optimiser AdamW")],
    ),
    "a drive": (
        lambda: descent(Drive(np.linspace(-1.0, 0.0, 30))),
        [lambda: descent(Drive(np.linspace(-1.0, 0.0, 30).copy()))],
        [(lambda: descent(Drive(np.linspace(-1.0, 0.1, 30))), r"had table of shape \[30\], and this has another")],
    ),
    "inputs of a recurrent network": (
        lambda: mapped(RNN(np.eye(2), inputs=np.ones((30, 2)), U=np.eye(2))),
        [],
        [(lambda: mapped(RNN(np.eye(2), inputs=2 * np.ones((30, 2)), U=np.eye(2))), "inputs")],
    ),
    "a class of one's own": (
        lambda: stepped(Decay()),
        [lambda: stepped(Decay(0.5), t0=0.0)],
        [(lambda: stepped(Decay(0.4)), "rate = 0.5, and this has rate = 0.4")],
    ),
    "a class without attrs": (
        lambda: tangent_of(Plain(3.7)),
        [lambda: tangent_of(Plain(3.7))],
        [(lambda: tangent_of(Plain(3.8)), "r = 3.7, and this has r = 3.8")],
    ),
    "a plane": (
        lambda: mapped(PoincareMap(SPIRAL, RK4(0.01), normal=[0.0, 1.0])),
        [lambda: mapped(PoincareMap(SPIRAL, DormandPrince(0.02), normal=[0.0, 1.0], limit=10_000))],
        [(lambda: mapped(PoincareMap(SPIRAL, RK4(0.01), normal=[1.0, 0.0])), r"= \[0, 1\], .* normal = \[1, 0\]"),
         (lambda: mapped(PoincareMap(SPIRAL, RK4(0.01), normal=[0.0, 1.0], offset=0.1)), "offset = 0, .* 0.1"),
         (lambda: mapped(PoincareMap(SPIRAL, RK4(0.01), normal=[0.0, 1.0], direction=-1)), "direction = 1, .* -1"),
         (lambda: mapped(PoincareMap(LinearFlow([[0.2, -1.0], [1.0, 0.1]]), RK4(0.01), normal=[0.0, 1.0])),
          r"flow.matrix\[0\]\[0\] = 0.1, .* 0.2"),
         (lambda: mapped(Logistic()), "the system PoincareMap, .* the system Logistic")],
    ),
    "a stroboscopic map": (
        lambda: mapped(StroboscopicMap(FORCED, RK4(0.1), steps=10)),
        [lambda: mapped(StroboscopicMap(FORCED, RK4(0.05), steps=20)),
         lambda: mapped(StroboscopicMap(FORCED, RK4(0.1), steps=5)), lambda: stepped(FORCED)],
        [(lambda: mapped(StroboscopicMap(attrs.evolve(FORCED, a=2.0), RK4(0.1), steps=10)), "a = 1, .* a = 2")],
    ),
    "a function": (
        lambda: stepped(FunctionFlow(lorenz, 3)),
        [lambda: stepped(FunctionFlow(lorenz, 3, args=(10, 28, 8 / 3))),
         lambda: stepped(FunctionFlow(functools.partial(lorenz, rho=28.0), 3)),
         lambda: stepped(FunctionFlow(lorenz, 3, lambda t, x, s, r, b: np.eye(3))),
         lambda: stepped(FunctionFlow(lorenz, 3, vanishing_exponents=1))],
        [(lambda: stepped(FunctionFlow(lorenz, 3, args=(10.0, 30.0))), "rho = 28, .* function.rho = 30"),
         (lambda: stepped(FunctionFlow(lambda t, x, sigma=10.0, rho=28.0, beta=8 / 3: list(-x), 3)),
          "function lorenz, and this has function <lambda>"),
         (lambda: stepped(FunctionFlow(functools.partial(lorenz, rho=29.0), 3)), "rho = 29")],
    ),
    "a closure": (
        lambda: stepped(FunctionFlow(closed(0.5), 1)),
        [lambda: stepped(FunctionFlow(closed(0.5), 1)), lambda: stepped(FunctionFlow(closed(0.5, ZEROS.copy()), 1))],
        [(lambda: stepped(FunctionFlow(closed(0.6), 1)), "rate = 0.5, .*rate = 0.6"),
         (lambda: stepped(FunctionFlow(closed(0.5, ONES), 1)), "another function.table")],
    ),
    "a spline": (
        lambda: stepped(FunctionFlow(along(CubicSpline(range(20), np.sin(range(20)))), 1)),
        [lambda: stepped(FunctionFlow(along(CubicSpline(range(20), np.sin(range(20)))), 1))],
        [(lambda: stepped(FunctionFlow(along(CubicSpline(range(20), range(20))), 1)), "another function.spline")],
    ),
    "lambdas": (
        lambda: mapped(FunctionMap(lambda n, x: 0.5 * x, 1)),
        [lambda: mapped(FunctionMap(
            lambda n, x: 0.5 * x,  # elsewhere
            1))],
        [(lambda: mapped(FunctionMap(lambda n, x: 0.25 * x, 1)), "another function <lambda>")],
    ),
    "members": (
        lambda: vary(mapped(Logistic()), {"r": [3.7, 3.7]}),
        [lambda: mapped(Logistic(r=3.7)), lambda: vary(mapped(Logistic(r=3.1)), {"r": (3.7, 3.7)})],
        [(lambda: vary(mapped(Logistic()), {"r": [3.7, 3.8]}),
          "had r = 3.7 for all members, and this has its own r for each of 2 members"),
         (lambda: mapped(Logistic(r=3.8)), "r = 3.7, and this has r = 3.8")],
    ),
    "members of a function": (
        lambda: vary(mapped(FunctionMap(lambda n, x, r: r * x, 1, args=(0.1,))), {"r": [0.5, 0.25]}),
        [lambda: vary(mapped(FunctionMap(lambda n, x, r: r * x, 1, args=(0.2,))), {"r": [0.5, 0.25]})],
        [(lambda: vary(mapped(FunctionMap(lambda n, x, r: r * x, 1, args=(0.1,))), {"r": [0.5, 0.3]}),
          r"its own r for each of 2 members \(r = 0.25 for member 1\), and this .*\(r = 0.3 for member 1\)"),
         (lambda: mapped(FunctionMap(lambda n, x, r: r * x, 1, args=(0.1,))), "r = 0.1 for all members")],
    ),
    "many members": (
        lambda: vary(mapped(Logistic()), {"r": np.linspace(3.0, 4.0, 40)}),
        [lambda: vary(mapped(Logistic()), {"r": np.linspace(3.0, 4.0, 40).tolist()})],
        [(lambda: vary(mapped(Logistic()), {"r": np.linspace(3.0, 3.9, 40)}), "its own r for each of 40 members")],
    ),
    "a step of one's own": (
        lambda: tangent_of(Noisy()),
        [lambda: tangent_of(Noisy(dt=0.2)), lambda: tangent_of(Noisy(t0=3.0))],
        [(lambda: tangent_of(Noisy(seed=1)), "seed = 0, and this has seed = 1")],
    ),
}  # fmt: skip
