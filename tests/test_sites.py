"""Many equations: those that are one text become a loop over sites, and the numbers are those of the plain formulas."""

import numpy as np
import pytest
from steps import step_of

from dynsys import RK4, Euler, NumbaTangent, NumpyTangent, RunState, SymbolicFlow, SymbolicMap
from dynsys.compiled.tiles import tile_step
from dynsys.equations.networks.definition import NetworkDefinition
from dynsys.testing import check_system, check_tangent

pytestmark = pytest.mark.numba


def lorenz96(n, forcing=8):
    return {f"x{i}": f"(x{(i + 1) % n} - x{(i - 2) % n})*x{(i - 1) % n} - x{i} + {forcing}" for i in range(n)}


def fitzhugh_nagumo(n):
    """Two fields, interleaved: v0, w0, v1, w1, ..."""
    equations = {}
    for i in range(n):
        before, after = f"v{(i - 1) % n}", f"v{(i + 1) % n}"
        equations[f"v{i}"] = f"v{i} - v{i}**3/3 - w{i} + D*({after} + {before} - 2*v{i}) + 0.1*cos(t)"
        equations[f"w{i}"] = f"e*(v{i} + a - b*w{i})"
    return equations


def coupled_maps(n):
    equations = {}
    for i in range(n):
        left, right = f"x{(i - 1) % n}", f"x{(i + 1) % n}"
        equations[f"x{i}"] = f"(1 - e)*(1 - a*x{i}**2) + e/2*(2 - a*{left}**2 - a*{right}**2)"
    return equations


def random_couplings(n, seed=0):
    """Equations that have nothing in common."""
    rng = np.random.default_rng(seed)
    return {
        f"x{i}": f"-x{i}"
        + "".join(f" + {rng.uniform(0.1, 1.0)}*sin(x{j} - x{i})" for j in sorted(rng.choice(n, 3, replace=False)))
        for i in range(n)
    }


def with_defect(n, site):
    return lorenz96(n) | {f"x{site}": f"-x{site}*x{site - 1}**2"}


LATTICES = {
    "ring": (SymbolicFlow.of(lorenz96(21)), RK4(0.02)),
    "ring, Euler": (SymbolicFlow.of(lorenz96(40)), Euler(0.002)),
    "defect": (SymbolicFlow.of(with_defect(30, 13)), RK4(0.01)),
    "two fields": (SymbolicFlow.of(fitzhugh_nagumo(11), {"D": 0.3, "e": 0.08, "a": 0.7, "b": 0.8}), RK4(0.05)),
    "maps": (SymbolicMap.of(coupled_maps(18), {"a": 1.7, "e": 0.3}), None),
    "without runs": (SymbolicFlow.of(random_couplings(45)), RK4(0.02)),
    "constants": (SymbolicFlow.of({f"x{i}": "2" if i % 2 else f"-{i}" for i in range(120)}), RK4(0.02)),
    "decoupled": (SymbolicFlow.of({f"x{i}": f"-q*x{i}" for i in range(16)}, {"q": 1.5}), Euler(0.1)),
}


SHOWN = ("ring", "maps")  # in the default run; each of the others has a kernel of its own as well


def tangent_of(name):
    return NumbaTangent(step_of(*LATTICES[name]))


def state_of(name):
    return 0.5 * np.random.default_rng(1).normal(size=LATTICES[name][0].dimension)


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("ring", [range(2, 20)]),
        ("defect", [range(2, 13), range(14, 29)]),
        ("two fields", [range(2, 20, 2), range(1, 23, 2)]),
        ("maps", [range(1, 17)]),
        ("without runs", []),
        ("decoupled", [range(16)]),
    ],
)
def test_equations_that_are_one_text_are_found(name, runs):
    definition = LATTICES[name][0].definition
    assert (definition.numbers if isinstance(definition, NetworkDefinition) else definition).runs == runs


def test_few_equations_stay_written_out():
    assert SymbolicFlow.of(lorenz96(15)).definition.runs == []
    assert "_after1" not in SymbolicFlow.of(lorenz96(15)).source


def test_source_does_not_grow_with_the_ring():
    small, large = (
        tile_step(SymbolicFlow.of(lorenz96(n)).definition.equations, RK4(0.02).tableau).source.splitlines()
        for n in (20, 120)
    )
    assert len(small) == len(large)


@pytest.mark.parametrize("name", ["defect", pytest.param("without runs", marks=pytest.mark.slow)])
def test_state_alone_moves_as_by_numpy(name):
    system, stepper = LATTICES[name]
    assert system.dimension >= 24  # long columns, which LAPACK refuses where there are none
    ours, reference = (
        system.tangent(stepper, backend=backend).trajectory(state_of(name), intervals=4, steps_per_interval=3).states
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(ours, reference, rtol=1e-12, atol=1e-12)


def test_ring_is_the_formula():
    x = np.random.default_rng(0).normal(size=(5, 40))
    ring = SymbolicFlow.of(lorenz96(40))
    after, before, second = np.roll(x, -1, axis=-1), np.roll(x, 1, axis=-1), np.roll(x, 2, axis=-1)
    np.testing.assert_allclose(ring.vector_field(0.0, x), (after - second) * before - x + 8, rtol=0, atol=1e-14)
    J, i = np.zeros((40, 40)), np.arange(40)
    J[i, i] = -1
    J[i, (i - 1) % 40] = (after - second)[0]
    J[i, (i + 1) % 40], J[i, (i - 2) % 40] = before[0], -before[0]
    np.testing.assert_array_equal(ring.jacobian(0.0, x[0]), J)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SHOWN)) for name in LATTICES]
)
def test_contracts(name):
    check_system(LATTICES[name][0], state_of(name), t=0.3)
    if name != "constants":
        check_tangent(tangent_of(name), state_of(name))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in SHOWN)) for name in LATTICES]
)
@pytest.mark.parametrize("k", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_kernel_records_what_numpy_records(name, k):
    system, stepper = LATTICES[name]
    start = RunState.start(np.array([state_of(name), -state_of(name)]), system.dimension, k, seed=0)
    ours, reference = (
        kind.forward(start, intervals=4, steps_per_interval=3, record="frames")
        for kind in (NumbaTangent(step_of(system, stepper)), NumpyTangent(step_of(system, stepper)))
    )
    for field in ("x", "Q", "R", "xs", "Qs"):
        np.testing.assert_allclose(getattr(ours, field), getattr(reference, field), rtol=1e-12, atol=1e-12)


def test_decoupled_sites_have_the_exact_exponent():
    spectrum = tangent_of("decoupled").benettin(state_of("decoupled"), intervals=4, steps_per_interval=5, warmup=0)
    np.testing.assert_allclose(spectrum.rates, np.log(1 - 0.15) / 0.1, rtol=1e-12)


@pytest.mark.slow
def test_written_out_and_by_sites_are_the_same_numbers():
    small = SymbolicFlow.of(lorenz96(9))  # short enough for either form
    tangent = NumbaTangent(step_of(small, RK4(0.02)))
    x = 8 + np.random.default_rng(0).normal(size=9)
    straight = tangent.benettin(x, intervals=3, steps_per_interval=5, warmup=0)

    class BySites(type(small)):
        def kernel(self):
            import attrs

            step = tile_step(self.definition.equations, RK4(0.02).tableau)
            return attrs.evolve(super().kernel(), step=lambda tableau, k: step)

    loops = NumbaTangent(step_of(BySites(), RK4(0.02))).benettin(x, intervals=3, steps_per_interval=5, warmup=0)
    np.testing.assert_allclose(loops.rates, straight.rates, rtol=0, atol=1e-11)
