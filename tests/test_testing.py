"""The contract checks: what is right passes, and each way to be wrong is found and named."""

import attrs
import numpy as np
import pytest
from steps import step_of

from dynsys import RK4, ContractError, Euler, Flow, Map, NumpyTangent, PiecewiseFlow, ScalarFunction, SymbolicMap
from dynsys.models.activations import BY_NAME
from dynsys.models.classics import Henon, LinearMap, Lorenz63
from dynsys.testing import check_activation, check_system, check_tangent

X = np.array([0.4, -0.7, 1.1])


class Good(Flow):
    """Rates that mix all components, a Jacobian without symmetry; the broken ones change one thing each."""

    dimension = 3

    def vector_field(self, t, x):
        u, v, w = np.moveaxis(x, -1, 0)
        return np.stack([np.sin(u) * v, u**2 - w + t, v * w], axis=-1)

    def exact(self, x):
        u, v, w = x
        return np.array([[np.cos(u) * v, np.sin(u), 0.0], [2 * u, 0.0, -1.0], [0.0, w, v]])

    def jacobian(self, t, x):
        return self.exact(x)


class ByProducts(Good):
    jacobian = Flow.jacobian

    def jvp(self, t, x, V):
        return self.exact(x) @ V


class ByDifferences(Good):
    jacobian = Flow.jacobian


@attrs.frozen(eq=False)
class Alternating(PiecewiseFlow):
    even: Flow
    odd: Flow
    dimension = 3

    def flow_at(self, n):
        return self.odd if n % 2 else self.even


def at(i, j, factor):
    """A change of one entry of the Jacobian."""
    return lambda J: J * np.where((np.arange(3)[:, None] == i) & (np.arange(3) == j), factor, 1.0)


def with_jacobian(change):
    return type("Changed", (Good,), {"jacobian": lambda self, t, x: change(self.exact(x))})


BROKEN_JACOBIANS = {
    "wrong sign": lambda J: -J,
    "one wrong sign": at(1, 2, -1.0),
    "transposed": np.transpose,
    "missing entry": at(0, 1, 0.0),
    "wrong factor": at(2, 2, 1 + 1e-5),
    "a column too many": lambda J: np.hstack([J, np.zeros((3, 1))]),
    "a row too many": lambda J: np.vstack([J, np.zeros((1, 3))]),
    "vector": np.diag,
}
Transposed = with_jacobian(np.transpose)


class WrongProducts(ByProducts):
    def jvp(self, t, x, V):
        return self.exact(x).T @ V


class JacobianAgainstProducts(ByProducts):
    def jacobian(self, t, x):
        return self.exact(x).T


class NonlinearProducts(ByProducts):
    def jvp(self, t, x, V):
        return self.exact(x) @ np.abs(V)


class TooManyRates(ByDifferences):
    def vector_field(self, t, x):
        return np.concatenate([super().vector_field(t, x), x[..., :1]], axis=-1)


class TooFewRates(ByDifferences):
    def vector_field(self, t, x):
        return super().vector_field(t, x)[..., :2]


class OneStateOnly(Good):
    def vector_field(self, t, x):
        u, v, w = x
        return np.array([np.sin(u) * v, u**2 - w + t, v * w])


class MixesStates(Good):
    def vector_field(self, t, x):
        return super().vector_field(t, x) - 1e-3 * (x.sum() - x.sum(axis=-1, keepdims=True))


class ChangesState(Good):
    def vector_field(self, t, x):
        rates = super().vector_field(t, x)
        x += 1e-9
        return rates


class ChangesStateInJacobian(Good):
    def jacobian(self, t, x):
        J = self.exact(x)
        x += 1.0
        return J


class ChangesVectors(ByProducts):
    def jvp(self, t, x, V):
        product = self.exact(x) @ V
        V *= 2.0
        return product


class RemembersCalls(Good):
    calls = 0

    def vector_field(self, t, x):
        type(self).calls += 1
        return super().vector_field(t, x) + 1e-3 * self.calls


GOOD_SYSTEMS = [Good(), ByProducts(), ByDifferences(), Alternating(Good(), ByProducts()), Lorenz63(), Henon()]
BROKEN_SYSTEMS = {
    WrongProducts: "jvp of WrongProducts against differences of the rule",
    JacobianAgainstProducts: "jacobian of JacobianAgainstProducts",
    NonlinearProducts: "jvp of NonlinearProducts",
    TooManyRates: "shape",
    TooFewRates: "shape",
    OneStateOnly: "leading axes",
    MixesStates: "leading axes",
    ChangesState: "before and after|leading axes",
    ChangesStateInJacobian: "jacobian of ChangesStateInJacobian|before and after",
    ChangesVectors: "of ChangesVectors|before and after",
    RemembersCalls: "called twice|leading axes",
}


def name(thing):
    return getattr(thing, "__name__", type(thing).__name__)


@pytest.mark.parametrize("system", GOOD_SYSTEMS, ids=name)
def test_good_system_passes_and_the_state_stays_as_it_was(system):
    x = X[: system.dimension].copy()
    check_system(system, x, t=0.3)
    np.testing.assert_array_equal(x, X[: system.dimension])


@pytest.mark.parametrize("change", BROKEN_JACOBIANS.values(), ids=BROKEN_JACOBIANS)
def test_wrong_jacobian_is_found_and_named(change):
    with pytest.raises(ContractError, match=r"(jvp|jacobian) of Changed"):
        check_system(with_jacobian(change)(), X, t=0.3)


@pytest.mark.parametrize(("broken", "named"), BROKEN_SYSTEMS.items(), ids=map(name, BROKEN_SYSTEMS))
def test_broken_system_is_found_and_the_promise_named(broken, named):
    with pytest.raises(ContractError, match=named):
        check_system(broken(), X, t=0.3)


def test_every_flow_of_a_driven_one_is_checked():
    with pytest.raises(ContractError, match="Changed"):
        check_system(Alternating(Good(), Transposed()), X)


@attrs.frozen(eq=False)
class OtherKernel(LinearMap):
    """Equations for the compiler that are not those for NumPy."""

    factor: float = 1.0

    def kernel(self):
        return attrs.evolve(LinearMap.kernel(self), parameters=self.factor * self.matrix.ravel())


class FrozenJacobian(NumpyTangent):
    """The tangent of Euler on a state that moves by RK4: first order, whatever the stepper."""

    def step(self, n, x, V):
        moved, _ = super().step(n, x, V)
        return moved, V + self.dt * self.time_step.flow.jvp(self.time(n), x, V)


class ChangesFrame(NumpyTangent):
    def step(self, n, x, V):
        pushed = super().step(n, x, V)
        V += 1.0
        return pushed


class LateByAStep(NumpyTangent):
    """A pass that counts its steps from one."""

    def forward(self, start, **options):
        return super().forward(attrs.evolve(start, n=start.n + 1), **options)


class StepDependent(Map):
    dimension = 2

    def step(self, n, x):
        return x * (1 + n) + 0.1 * np.sin(x[..., ::-1])

    def jacobian(self, t, x):
        return np.eye(2) * (1 + t) + 0.1 * np.diag(np.cos(x[::-1]))[::-1].T


GOOD_TANGENTS = [
    Good().tangent(RK4(dt=0.1)),
    Alternating(Good(), ByProducts()).tangent(Euler(dt=0.1)),
    NumpyTangent(step_of(ByDifferences(), RK4(dt=0.1))),
    NumpyTangent(StepDependent()),
    Lorenz63().tangent(RK4(dt=0.01), t0=2.0),
    OtherKernel(np.diag([2.0, 0.5, 1.0]), 1.0).tangent(),
]
BROKEN_TANGENTS = {
    "kernel that disagrees": (lambda: OtherKernel(np.diag([2.0, 0.5]), 1 + 1e-9).tangent(), "against the NumPy pass"),
    "Jacobian frozen over the step": (lambda: FrozenJacobian(step_of(Good(), RK4(dt=0.1))), "differences of the step"),
    "transposed Jacobian": (lambda: Transposed().tangent(RK4(dt=0.1)), "differences of the step"),
    "frame changed": (lambda: ChangesFrame(step_of(Good(), RK4(dt=0.1))), "before and after"),
    "another step": (lambda: LateByAStep(StepDependent()), "against the NumPy pass"),
    "nonlinear in V": (lambda: NonlinearProducts().tangent(Euler(dt=0.1)), "differences of the step|linear in V"),
}


@pytest.mark.parametrize("tangent", GOOD_TANGENTS, ids=lambda tangent: tangent.time_step.label)
def test_good_tangent_passes(tangent):
    check_tangent(tangent, X[: tangent.dimension])


def test_what_rounding_leaves_of_the_slowest_vectors_is_no_fault():
    """Singular values over four decades, three steps an interval: 1e-8 of the last vector is rounding of the first."""
    U, V = (np.linalg.qr(np.random.default_rng(seed).normal(size=(14, 14)))[0] for seed in (0, 1))
    A = U @ np.diag(10.0 ** np.linspace(0, -4, 14)) @ V
    x = np.linspace(1.0, 2.0, 14)

    class Linear(Map):
        dimension = 14

        def step(self, n, x):
            return x @ A.T

        def jvp(self, n, x, V):
            return A @ V

    class Grows(NumpyTangent):
        """Fewer vectors grow faster."""

        def forward(self, start, **options):
            end = super().forward(start, **options)
            return attrs.evolve(end, growth=end.growth + 1e-5 * (end.Q.shape[-1] < 14))

    check_tangent(Linear().tangent(), x)
    with pytest.raises(ContractError, match="growth of the leading k vectors"):
        check_tangent(Grows(Linear().tangent().time_step), x)


@pytest.mark.numba
@pytest.mark.parametrize(("tangent", "named"), BROKEN_TANGENTS.values(), ids=BROKEN_TANGENTS)
def test_broken_tangent_is_found_and_the_promise_named(tangent, named):
    tangent = tangent()
    with pytest.raises(ContractError, match=named):
        check_tangent(tangent, X[: tangent.dimension])


def cubic(**changed):
    lines = {"s": "d**3", "s1": "3*d**2", "s2": "6*d"} | changed
    return type("Changed", (ScalarFunction,), {"source": "\n".join(f"{n} = {e}" for n, e in lines.items())})()


class MutatesArgument(type(cubic())):
    def fused(self, d):
        values = super().fused(d)
        d *= 0.5
        return values


@pytest.mark.parametrize("activation", [*(c() for c in BY_NAME.values()), cubic()], ids=name)
def test_good_activation_passes(activation):
    check_activation(activation)


@pytest.mark.parametrize(
    ("activation", "named"),
    [
        (cubic(s1="-3*d**2"), "sigma' of"),
        (cubic(s1="3*d**2 + 1e-3"), "sigma' of"),
        (cubic(s2="-6*d"), "sigma'' of"),
        (cubic(s="d**2"), "sigma' of"),
        (cubic(s2="6.0"), "sigma'' of Changed must have the shape"),
        (MutatesArgument(), "argument of MutatesArgument, before and after"),
        (cubic(s="where(d > 0.0, d, 0.0)", s1="where(d > 0.0, 1.0, 0.0)", s2="d"), "sigma'' of"),
    ],
)
def test_broken_activation_is_found_and_the_promise_named(activation, named):
    with pytest.raises(ContractError, match=named):
        check_activation(activation)


def test_kink_is_left_out_only_where_it_is_declared():
    ramp = cubic(s="where(d > 1.0, d - 1.0, 0.0)", s1="where(d > 1.0, 1.0, 0.0)", s2="0.0*d")
    around = np.linspace(0.9, 1.1, 201)
    check_activation(type("Declared", (type(ramp),), {"kinks": (1.0,)})(), points=around)
    with pytest.raises(ContractError, match="sigma' of Changed"):
        check_activation(ramp, points=around)


@pytest.mark.parametrize("declared", [-1, 3])
def test_as_many_vanishing_exponents_as_there_are_dimensions_at_most(declared):
    class Shear(Map):
        dimension = 2
        vanishing_exponents = declared

        def step(self, n, x):
            return np.stack([x[..., 0] + x[..., 1], x[..., 1]], axis=-1)

    with pytest.raises(ContractError, match=f"vanishing_exponents must lie between 0 and 2, got {declared}"):
        check_system(Shear(), np.array([1.0, 2.0]))


def test_a_pass_that_stops_is_named():
    explosive = SymbolicMap.of({"x": "1e200*x**2"}).tangent(backend="numpy")
    with pytest.raises(ContractError, match=r"the pass is diverged within 6 steps .* fewer steps"):
        check_tangent(explosive, np.array([1.0]))
    constant = SymbolicMap.of({"x": "0*x + 1"}).tangent(backend="numpy")
    with pytest.raises(ContractError, match="the pass is singular within 6 steps"):
        check_tangent(constant, np.array([1.0]))
