"""An optimiser of one's own is its `update`: stepped, differentiated and compiled as it stands."""

import attrs
import numpy as np
import pytest

from dynsys import FallbackWarning, GradientFlow, InvalidInputError, NumbaTangent, NumpyTangent, Optimiser
from dynsys.testing import check_tangent


@attrs.frozen(eq=False)
class Tamed(Optimiser):
    """Momentum, and a step that never exceeds the reach; written over several lines, with a docstring."""

    keep: float = 0.5
    reach: float = 2.0
    carried = 1

    @property
    def double(self):
        return 2 * self.reach

    def update(self, n: int, parts, slope):
        """A weight, and its velocity.

        self.nothing is read in a docstring.
        """
        theta, v = parts
        v = self.keep * v + self.dt * slope
        size = (1.0 + (v / self.double) ** 2) ** 0.5
        by_v = 1.0 / size**3  # of v / size
        return (theta + v / size, v), (
            (1.0, self.keep * by_v, self.dt * by_v),
            (0.0, self.keep, self.dt),
        )


class Rooted(Tamed):
    """The same by a function of NumPy, which tensors and the compiler may not share."""

    def update(self, n, parts, slope):
        theta, v = parts
        v = self.keep * v + self.dt * slope
        size = np.sqrt(1.0 + (v / self.double) ** 2)
        return (theta + v / size, v), ((1.0, self.keep / size**3, self.dt / size**3), (0.0, self.keep, self.dt))


class Clipped(Tamed):
    """One that calls a method of what it is given, which a number of one weight has not."""

    def update(self, n, parts, slope):
        theta, v = parts
        return (theta + self.dt * slope.clip(-1.0, 1.0), v), ((1.0, 0.0, self.dt), (0.0, 1.0, 0.0))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_an_optimiser_of_ones_own_is_its_update(backend):
    flow = GradientFlow.of("h*a^2/2 + a^4/4", ["a"], {"h": [2.0]})
    tangent = flow.tangent(Tamed(0.1), backend=backend)
    assert Tamed(0.1).numbers == (4.0, 0.5)
    check_tangent(tangent, np.array([1.0, 0.3]))


@pytest.mark.numba
def test_an_update_that_cannot_be_compiled_says_why_and_is_stepped_by_numpy():
    flow = GradientFlow.of("h*a^2/2", ["a"], {"h": [2.0]})
    with pytest.warns(FallbackWarning, match="Rooted has no compiled form: write its `update` with arithmetic"):
        tangent = flow.tangent(Rooted(0.1))
    assert type(tangent) is NumpyTangent
    assert type(flow.tangent(Tamed(0.1))) is NumbaTangent
    check_tangent(tangent, np.array([1.0, 0.3]))
    x = np.array([1.0, 0.3])
    np.testing.assert_allclose(tangent.step(0, x, np.eye(2))[1], flow.tangent(Tamed(0.1)).step(0, x, np.eye(2))[1])
    assert Clipped(0.1).source is None
    nowhere = type(
        "Nowhere", (Tamed,), {"update": eval("lambda self, n, parts, slope: (parts, ((1.0, 0.0, 0.0),) * 2)")}
    )
    assert nowhere(0.1).source is None  # no file holds its text
    assert nowhere(0.1).numbers == ()


class Short(Tamed):
    """A derivative is left out."""

    def update(self, n, parts, slope):
        return parts, ((1.0, 0.0, self.dt), (0.0, self.keep))


class Lost(Tamed):
    """Nothing is said of what is carried."""

    def update(self, n, parts, slope):
        return parts[:1], ((1.0, 0.0, self.dt),)


@pytest.mark.parametrize(("kind", "found"), [(Short, r"2 part.* derivatives \[3, 2\]"), (Lost, r"1 part.* \[3\]")])
def test_an_update_of_the_wrong_shape_is_refused_by_name(kind, found):
    flow = GradientFlow.of("h*a^2/2", ["a"], {"h": [2.0]})
    text = rf"update of {kind.__name__} must give 2 part.*carried = 1, and for each 3 derivatives.*got {found}"
    with pytest.raises(InvalidInputError, match=text):
        flow.tangent(kind(0.1), backend="numpy")


class Branching(Tamed):
    """A branch on the slope, which whole arrays do not have, and one on the number of the step, which they do."""

    def update(self, n, parts, slope):
        theta, v = parts
        rate = self.dt if slope > 0.0 or n > 5 else 2.0 * self.dt
        return (theta + rate * slope, v), ((1.0, 0.0, rate), (0.0, 1.0, 0.0))


class Overwriting(Tamed):
    """It would change the state that its user gave."""

    def update(self, n, parts, slope):
        theta, v = parts
        v *= self.keep
        return (theta + self.dt * slope, v), ((1.0, 0.0, self.dt), (0.0, self.keep, 0.0))


class Warming(Tamed):
    """A branch on the number of the step alone."""

    def update(self, n, parts, slope):
        theta, v = parts
        if n < 2:
            return (theta + 0.5 * self.dt * slope, v), ((1.0, 0.0, 0.5 * self.dt), (0.0, 1.0, 0.0))
        return (theta + self.dt * slope, v), ((1.0, 0.0, self.dt), (0.0, 1.0, 0.0))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_an_update_for_numbers_is_refused_with_the_remedy_and_a_branch_on_the_step_is_compiled(backend):
    flow = GradientFlow.of("h*a^2/2 + a*b + b^4", ["a", "b"], {"h": [2.0]})
    with pytest.raises(InvalidInputError, match=r"Branching must work on whole arrays.*got a branch.*write `a"):
        flow.tangent(Branching(0.1), backend=backend)
    with pytest.raises(InvalidInputError, match="Overwriting must leave what it is given as it is"):
        flow.tangent(Overwriting(0.1), backend=backend)
    rates = flow.tangent(Warming(0.1), backend=backend).benettin([0.0, 0.0], intervals=4, warmup=0, k=2).rates
    H = np.array([[2.0, 1.0], [1.0, 0.0]])
    volumes = [np.log(abs(np.linalg.det(np.eye(2) - rate * H))) / 0.1 for rate in (0.05, 0.05, 0.1, 0.1)]
    np.testing.assert_allclose(rates.sum(axis=1), volumes, rtol=1e-12)


@attrs.frozen(eq=False)
class Summing(Optimiser):
    """AdaGrad: what is carried is a sum, which forgets nothing."""

    carried = 1

    def update(self, n, parts, slope):
        theta, s = parts
        s = s + slope**2
        root = s**0.5
        inverse = 1.0 / (root + 1.0)
        by_s = -0.5 * self.dt * slope * inverse**2 * (root != 0.0) / (root + (root == 0.0))
        by_slope = self.dt * inverse + 2.0 * slope * by_s
        return (theta + self.dt * slope * inverse, s), ((1.0, by_s, by_slope), (0.0, 1.0, 2.0 * slope))


def test_what_forgets_nothing_rests_where_it_is():
    flow = GradientFlow.of("h*a^2/2", ["a"], {"h": [2.0]})
    tangent = flow.tangent(Summing(0.1), backend="numpy")
    check_tangent(tangent, np.array([1.0, 0.3]))
    spectrum = tangent.benettin([1.0], intervals=1000, warmup=600)
    root = spectrum.end.x[0, 1] ** 0.5
    assert root > 1.0
    exact = [0.0, np.log(1.0 - 0.1 * 2.0 / (root + 1.0)) / 0.1]
    np.testing.assert_allclose(spectrum.diagnostics.rest, exact, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.sort(spectrum.exponents)[::-1], exact, rtol=0, atol=1e-9)
