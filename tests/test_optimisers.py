"""Optimisers as steppers: closed forms at a minimum, exact tangents, compiled and not, and one of one's own."""

import warnings

import attrs
import numpy as np
import pytest
from optimiser_roots import exponents, largest_rate
from steps import kernel_of

from dynsys import (
    Adam,
    AdamW,
    Euler,
    Flow,
    FlowStep,
    GradientFlow,
    HeavyBall,
    InvalidInputError,
    Nesterov,
    PoincareMap,
    RMSprop,
    StroboscopicMap,
    sweep,
    vary,
)
from dynsys.models.classics import LinearFlow, Lorenz63
from dynsys.storage.description import describe
from dynsys.testing import check_tangent

CURVATURES = np.array([0.2, 1.0, 3.0])
RATE = 0.1
RULES = {
    "heavy ball": HeavyBall(RATE, 0.5),
    "Nesterov": Nesterov(RATE, 0.5),
    "heavy ball, decay": HeavyBall(RATE, 0.5, weight_decay=0.4),
    "Nesterov, decay": Nesterov(RATE, 0.5, weight_decay=0.2),
    "Adam": Adam(RATE, 0.6, 0.7, 0.9),
    "Adam, decay": Adam(RATE, 0.6, 0.7, 0.9, weight_decay=0.4),
    "AdamW": AdamW(RATE, 0.6, 0.7, 0.9, weight_decay=0.4),
    "RMSprop": RMSprop(RATE, 0.7, 0.9),
    "RMSprop, decay": RMSprop(RATE, 0.7, 0.9, weight_decay=0.4),
}
EVERY = pytest.mark.parametrize("stepper", RULES.values(), ids=RULES)
EVERY_COMPILED = pytest.mark.parametrize(  # all have one kernel but for the text of `update`: the others are slow
    ("stepper", "backend"),
    [
        *(pytest.param(stepper, "numpy", id=f"{name}-numpy") for name, stepper in RULES.items()),
        pytest.param(RULES["Adam"], "numba", id="Adam-numba"),
        *(
            pytest.param(stepper, "numba", id=f"{name}-numba", marks=pytest.mark.slow)
            for name, stepper in RULES.items()
            if name != "Adam"
        ),
    ],
)
WITHOUT_DECAY = [
    HeavyBall(1.0, 0.6),
    Nesterov(1.0, 0.6),
    Adam(1.0, 0.9, 0.5, 0.5),
    AdamW(1.0, 0.9, 0.5, 0.5, weight_decay=0.0),
    RMSprop(1.0, 0.5, 0.5),
]


@attrs.frozen(eq=False)
class Coupled(Flow):
    """A gradient flow that is not linear, also for complex states."""

    dimension = 3
    matrix = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])

    def vector_field(self, t, x):
        return -x @ self.matrix - 0.7 * np.sin(x) + 0.2

    def jacobian(self, t, x):
        return -self.matrix - 0.7 * np.diag(np.cos(x))


def a_state(stepper):
    """In the midst of a training: weights, and positive numbers for each."""
    return np.concatenate([[0.5, -0.8, 0.3], np.linspace(0.1, 0.9, stepper.carried * 3)])


def quiet(call, *args, **options):
    """A result, and what warnings it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return call(*args, **options), [str(warning.message) for warning in caught]


# --- closed forms -----------------------------------------------------------------------------------------------------


@EVERY
def test_a_step_at_a_minimum_has_the_eigenvalues_of_its_characteristic_polynomial(stepper):
    step = FlowStep(LinearFlow(-np.diag(CURVATURES)), stepper)
    found = step.linear_rates(0, step.complete(np.zeros(3)))
    np.testing.assert_allclose(found, exponents(stepper, CURVATURES), rtol=0, atol=1e-12 / RATE)


@EVERY
def test_exponents_at_a_minimum_are_the_logarithms_of_the_moduli_of_the_roots(stepper):
    """To rounding where roots are real, and O(1 / time) where they are complex."""
    curvatures = [0.05, 4.0]
    bowl = GradientFlow.of("(h*a^2 + g*b^2)/2", ["a", "b"], {"h": curvatures[:1], "g": curvatures[1:]})
    size = 2 * (1 + stepper.carried)
    spectrum = bowl.tangent(stepper, backend="numpy").benettin([1e-9, -1e-9], intervals=3000, warmup=1000, k=size)
    exact = exponents(stepper, curvatures)
    pairs = np.isclose(exact[:-1], exact[1:], rtol=1e-9) & (not isinstance(stepper, RMSprop))
    alone = ~(np.append(pairs, False) | np.append(False, pairs))
    assert alone.any()
    found = np.sort(spectrum.exponents)[::-1]
    np.testing.assert_allclose(found[alone], exact[alone], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2.0 / (3000 * RATE))


@EVERY
def test_a_run_that_rests_says_so_and_gives_the_exponents_of_the_minimum(stepper):
    """Also from step 0 on, where Adam's step depends on n, and while means of squares still fade."""
    bowl = LinearFlow(-np.diag(CURVATURES))
    for warmup in (0, 200):
        run = bowl.tangent(stepper, backend="numpy").benettin
        spectrum, warned = quiet(run, [1.0, -1.0, 1.0], intervals=2500, warmup=warmup)
        np.testing.assert_allclose(spectrum.diagnostics.rest, exponents(stepper, CURVATURES), rtol=0, atol=1e-11)
        assert all("comes to rest" in text for text in warned)  # the way to it may well grow otherwise
        assert not (warned and warmup)


def test_a_small_eps_never_rests_and_that_is_no_fault():
    """Its minimum is unstable: weights move about at the scale of dt."""
    bowl = LinearFlow(-np.diag(CURVATURES))
    for stepper in (Adam(1e-2, 0.8, 0.9), AdamW(1e-2, 0.8, 0.9), RMSprop(1e-2, 0.9)):
        assert exponents(stepper, CURVATURES)[0] > 1.0
        run = bowl.tangent(stepper, backend="numpy").benettin
        spectrum, warned = quiet(run, [1.0, -1.0, 1.0], intervals=400, warmup=400, k=3)
        assert np.isnan(spectrum.diagnostics.rest).all()
        assert warned == []
        assert 1e-5 < np.abs(spectrum.end.x[0, :3]).max() < 0.1


@pytest.mark.parametrize("stepper", WITHOUT_DECAY, ids=lambda stepper: type(stepper).__name__)
def test_a_minimum_is_stable_up_to_the_learning_rate_of_the_table(stepper):
    for share, stable in ((0.999, True), (1.001, False)):
        at = attrs.evolve(stepper, dt=share * largest_rate(stepper))
        step = FlowStep(LinearFlow([[-1.0]]), at)
        assert (exponents(at, [1.0])[0] < 0.0) == stable
        assert (step.linear_rates(0, step.complete(np.zeros(1)))[0] < 0.0) == stable
        x = step.complete(np.array([1e-6]))
        for n in range(1_000, 9_000):  # corrections of Adam's means are over, in which any rate is too large
            x = step.step(n, x)
        assert (abs(x[0]) < 1e-7) == stable


def test_what_weights_decay_to_beside_the_gradient_rests_too():
    """At the fixed point of AdamW the gradient does not vanish: m = g, v = g^2."""
    flow = GradientFlow.of("(w - 2)^2/2 + w^4/4", ["w"], {"u": [0.0]})
    stepper = AdamW(0.1, 0.5, 0.6, eps=0.8, weight_decay=0.3)
    tangent = flow.tangent(stepper, backend="numpy")
    spectrum, _ = quiet(tangent.benettin, [0.5], intervals=600)
    w, m, v = spectrum.end.x[0]
    g = w - 2 + w**3
    np.testing.assert_allclose([m, v], [g, g * g], rtol=1e-12)
    size, h = abs(g) + 0.8, 1 + 3 * w**2  # theta' = (1 - dt l) theta - dt m' / (sqrt(v') + eps)
    assert abs(0.3 * w + g / size) < 1e-12
    by_m, by_v = -0.1 / size, 0.1 * g / (2 * abs(g) * size**2)
    M = np.array([[0.97 + h * (0.5 * by_m + 0.8 * g * by_v), 0.5 * by_m, 0.6 * by_v], [0.5 * h, 0.5, 0], [0, 0, 0.6]])
    M[2, 0] = 0.8 * g * h
    exact = np.sort(np.log(np.abs(np.linalg.eigvals(M))))[::-1] / 0.1
    np.testing.assert_allclose(spectrum.diagnostics.rest, exact, rtol=0, atol=1e-9)


# --- tangents ---------------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("n", [0, 1, 30])
def test_the_tangent_is_the_derivative_of_the_step_to_rounding(stepper, n):
    """By complex steps."""
    step, x = FlowStep(Coupled(), stepper), a_state(stepper)
    V = np.random.default_rng(0).normal(size=(x.size, 4))
    moved, pushed = step.step_tangent(n, x, V)
    np.testing.assert_allclose(moved, step.step(n, x), rtol=0, atol=0)
    exact = np.stack([step.step(n, x + 1e-30j * v).imag / 1e-30 for v in V.T], axis=1)
    np.testing.assert_allclose(pushed, exact, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ["heavy ball", "heavy ball, decay", "Adam", "Adam, decay", "AdamW"])
def test_volume_shrinks_by_what_is_kept_whatever_the_loss(name):
    """The slope moves weights by what is carried alone: det = (mu)^dim, (beta1 beta2 (1 - dt decay))^dim."""
    stepper = RULES[name]
    kept = 0.5 if name.startswith("heavy ball") else 0.6 * 0.7 * (1 - RATE * 0.4 * (name == "AdamW"))
    step, x = FlowStep(Coupled(), stepper), a_state(stepper)
    for n in (0, 5):
        M = step.step_tangent(n, x, np.eye(x.size))[1]
        np.testing.assert_allclose(np.linalg.det(M), kept**3, rtol=1e-12)
    without = RULES["RMSprop"].step_tangent(Coupled(), 0, 0.0, x[:6], np.eye(6))[1]  # its slope acts by itself, too
    assert abs(np.linalg.det(without) - 0.7**3) > 0.01


@EVERY
def test_members_step_side_by_side(stepper):
    step = FlowStep(Coupled(), stepper)
    x = a_state(stepper) + np.linspace(0.0, 0.1, 6).reshape(3, 2, 1)
    one_by_one = [[step.step(2, state) for state in row] for row in x]
    np.testing.assert_allclose(step.step(2, x), one_by_one, rtol=1e-14)


@EVERY_COMPILED
def test_a_tangent_keeps_its_contract_compiled_or_not(stepper, backend):
    """Beside NumPy: `check_tangent` holds the kernel against it."""
    x, z = np.random.default_rng(2).normal(size=(2, 10))
    flow = GradientFlow.of("log(1 + exp(a)) - y*a", ["w", "b"], {"x": x, "y": x > z}, {"a": "w*x + b"})
    state = np.concatenate([[0.5, -0.3], np.linspace(0.1, 0.4, 2 * stepper.carried)])
    for system in (flow, flow.minibatches(4, seed=1)):
        tangent = system.tangent(stepper, backend=backend)
        check_tangent(tangent, state, steps=4)
    theta = np.random.default_rng(3).normal(size=(5, 2))  # from no memory at all
    runs = [
        system.tangent(stepper, backend=kind).benettin(theta, intervals=40, warmup=0) for kind in (backend, "numpy")
    ]
    np.testing.assert_allclose(runs[0].rates, runs[1].rates, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(runs[0].end.x, runs[1].end.x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("stepper", [RULES["Adam"], RULES["RMSprop"]], ids=["Adam", "RMSprop"])
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_a_weight_that_never_had_a_gradient_has_a_finite_tangent(stepper, backend):
    """A dead unit: the root of v = 0 has derivative 0 by definition, and the exponents are those of h = 0."""
    flow = GradientFlow.of("h*a^2/2 + 0*b", ["a", "b"], {"h": [1.0]})
    tangent = flow.tangent(stepper, backend=backend)
    x = tangent.complete([1e-9, 0.5])
    M = tangent.step(0, x, np.eye(x.size))[1]
    dead = np.arange(1, x.size, 2)
    assert np.isfinite(M).all()
    np.testing.assert_array_equal(M[1, dead[-1]], 0.0)  # of the weight by the mean square
    spectrum = tangent.benettin([1e-9, 0.5], intervals=2000, warmup=500)
    np.testing.assert_allclose(np.sort(spectrum.exponents)[::-1], exponents(stepper, [1.0, 0.0]), rtol=0, atol=1e-2)
    assert abs(spectrum.exponents[0]) < 1e-12
    assert spectrum.end.x[0, 1] == 0.5


def test_without_momentum_the_weights_move_by_gradient_descent():
    flow = LinearFlow(-np.diag(CURVATURES))
    for kind in (HeavyBall, Nesterov):
        x = FlowStep(flow, kind(RATE, momentum=0.0)).step(0, np.ones((2, 6)))
        np.testing.assert_array_equal(x[:, :3], FlowStep(flow, Euler(RATE)).step(0, np.ones((2, 3))))


@pytest.mark.parametrize("kind", [HeavyBall, Nesterov])
def test_the_step_is_that_of_pytorch(kind):
    """b' = mu b + g, and theta' = theta - lr b' or, with nesterov=True, theta - lr (g + mu b'); v = -lr b."""
    mu, rate, theta, b = 0.9, 0.05, np.array([1.0, -2.0]), np.zeros(2)
    flow = LinearFlow(-np.array([[2.0, 0.3], [0.3, 1.0]]))
    step = FlowStep(flow, kind(rate, mu))
    x = step.complete(theta)
    for n in range(10):
        g = -flow.vector_field(0.0, theta)
        b = mu * b + g
        theta = theta - rate * (b if kind is HeavyBall else g + mu * b)
        x = step.step(n, x)
        np.testing.assert_allclose(x, np.concatenate([theta, -rate * b]), rtol=1e-13)


# --- in use -----------------------------------------------------------------------------------------------------------


def test_initial_weights_are_enough_for_all_that_runs():
    flow = LinearFlow(-np.diag(CURVATURES))
    tangent = flow.tangent(HeavyBall(0.05), backend="numpy")
    assert tangent.dimension == 2 * flow.dimension == HeavyBall(0.05).state_dimension(flow) + flow.dimension
    theta = np.random.default_rng(0).normal(size=(3, flow.dimension))
    short, long = (tangent.benettin(x, intervals=5, warmup=0).rates for x in (theta, np.hstack([theta, 0 * theta])))
    np.testing.assert_array_equal(short, long)
    text = r"x0 must have shape \(3,\).* or 6 in the place of 3 with the 3 numbers that HeavyBall carries.*got \(4,\)"
    with pytest.raises(InvalidInputError, match=text):
        tangent.benettin(np.ones(4), intervals=5)
    runs = sweep(tangent.benettin, {"momentum": [0.5, 0.9]}, theta[0], intervals=5, warmup=0)  # of the stepper
    np.testing.assert_allclose(runs.rate.sum("exponent")[:, -1], 3 * np.log([0.5, 0.9]) / 0.05, rtol=1e-10)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_numbers_of_an_optimiser_are_swept_side_by_side(backend):
    bowl = GradientFlow.of("h*a^2/2", ["a"], {"h": [2.0]})
    tangent = bowl.tangent(Adam(0.05, beta2=0.8), backend=backend)
    grid = {"eps": [0.6, 1.5], "beta1": [0.2, 0.4, 0.5]}
    runs = sweep(tangent.benettin, grid, [1.0], intervals=800, warmup=400)
    assert runs.exponent_mean.dims == ("eps", "beta1", "exponent")
    for i, eps in enumerate(grid["eps"]):
        for j, beta1 in enumerate(grid["beta1"]):
            exact = exponents(Adam(0.05, beta1, 0.8, eps), [2.0])
            np.testing.assert_allclose(np.sort(runs.exponent_mean[i, j])[::-1], exact, rtol=1e-6)


def test_first_vectors_lie_among_the_weights_in_whatever_a_step_is_put():
    flow = GradientFlow.of("(y - a*b*x)^2", ["a", "b"], {"x": [1.0, 2.0], "y": [0.5, 1.5]})
    x0, run = np.array([[0.3, 0.4], [0.3, 0.4]]), {"intervals": 6, "warmup": 0, "k": 2}
    alone = flow.tangent(Adam(0.01), backend="numpy")
    expected = alone.benettin(x0, **run).rates
    assert alone.time_step.carried == 4
    assert not alone.random_frames(6, 2, 0, np.arange(1))[:, 2:].any()
    varied = vary(flow.tangent(Adam(0.01, beta1=0.5), backend="numpy"), {"beta1": [0.9, 0.9]})
    np.testing.assert_array_equal(varied.benettin(x0, **run).rates, expected)
    thrice = StroboscopicMap(flow, Adam(0.01), 3).tangent(backend="numpy")
    longer = alone.benettin(x0, steps_per_interval=3, **run)
    np.testing.assert_allclose(thrice.benettin(x0, **run).rates, 0.03 * longer.rates, rtol=1e-10)


@pytest.mark.numba
@EVERY
def test_numbers_stand_beside_the_code_so_that_no_value_compiles_anew(stepper):
    names = [field.name for field in attrs.fields(type(stepper)) if field.name not in ("dt", "weight_decay")]
    other = attrs.evolve(stepper, dt=0.03, **dict.fromkeys(names, 0.3))
    flow = LinearFlow(-np.eye(2))
    kernel, another = kernel_of(flow, stepper), kernel_of(flow, other)
    assert kernel.step(2) == another.step(2)
    assert not np.array_equal(kernel.parameters, another.parameters)


@pytest.mark.parametrize("number", [-0.1, 1.0, np.nan, [0.9], "much"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(HeavyBall, "momentum"), (Nesterov, "momentum"), (Adam, "beta1"), (AdamW, "beta2"), (RMSprop, "alpha")],
)
def test_what_a_mean_keeps_is_a_share(kind, name, number):
    with pytest.raises(InvalidInputError, match=name):
        kind(0.1, **{name: number})


@pytest.mark.parametrize("kind", [Adam, AdamW, RMSprop])
def test_offset_and_decay_outside_their_ranges_are_refused(kind):
    for eps in (0.0, -1.0, np.inf, "small"):
        with pytest.raises(InvalidInputError, match="eps must be"):
            kind(0.1, eps=eps)
    for decay in (-0.1, np.nan, [1.0]):
        for some in (kind, HeavyBall, Nesterov):
            with pytest.raises(InvalidInputError, match="weight_decay must be"):
                some(0.1, weight_decay=decay)
    assert kind(0.1, eps=1, weight_decay=0).eps == 1.0


def test_stores_that_knew_no_decay_of_momentum_go_on():
    for kind in (HeavyBall, Nesterov):
        before = {"class": f"dynsys.{kind.__name__}", "order": 1, "dt": 0.1, "momentum": 0.8}
        assert describe(kind(0.1, 0.8)) == before
        assert describe(kind(0.1, 0.8, weight_decay=0.1)) == before | {"weight_decay": 0.1}


def test_a_stepper_with_a_state_of_its_own_crosses_no_plane():
    with pytest.raises(InvalidInputError, match="HeavyBall carries a state of its own"):
        PoincareMap(Lorenz63(), HeavyBall(0.01), normal=[0.0, 0.0, 1.0])
