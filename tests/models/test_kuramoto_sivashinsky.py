"""The Kuramoto-Sivashinsky flow: exact identities of the equation, and the kernel against the transforms."""

import numpy as np
import pytest

from dynsys import RK4, InvalidInputError
from dynsys.testing import check_system, check_tangent
from models.classics import KuramotoSivashinsky

FLOWS = [KuramotoSivashinsky(), KuramotoSivashinsky(length=30.0, modes=5), KuramotoSivashinsky(modes=1)]


def states(flow, *shape):
    return 0.3 * np.random.default_rng(0).normal(size=(*shape, flow.dimension))


@pytest.mark.parametrize("flow", FLOWS, ids=repr)
def test_contract(flow):
    check_system(flow, states(flow))


@pytest.mark.numba
@pytest.mark.parametrize("flow", [FLOWS[0], pytest.param(FLOWS[1], marks=pytest.mark.slow)], ids=repr)
def test_the_kernel_sums_over_modes_what_numpy_transforms(flow):
    check_tangent(flow.tangent(RK4(0.01), backend="compiled"), states(flow))


@pytest.mark.parametrize("flow", FLOWS, ids=repr)
def test_the_velocity_is_that_of_the_partial_differential_equation(flow):
    """On a fine grid, by derivatives of the field itself, projected to the modes that are kept."""
    x, points = states(flow), 128
    q = 2 * np.pi / flow.length * np.arange(points // 2 + 1)

    def derivative(u, order):
        return np.fft.irfft((1j * q) ** order * np.fft.rfft(u), n=points)

    u = flow.field(x, points)
    velocity = np.fft.rfft(-u * derivative(u, 1) - derivative(u, 2) - derivative(u, 4), norm="forward")
    np.testing.assert_allclose(
        flow.amplitudes(flow.vector_field(0.0, x)),
        velocity[1 : flow.modes + 1],
        rtol=0,
        atol=1e-12 * abs(velocity).max(),
    )


@pytest.mark.parametrize("flow", FLOWS, ids=repr)
def test_the_trace_is_constant_and_the_quadratic_term_does_no_work(flow):
    for x in states(flow, 5):
        trace = np.trace(flow.jacobian(0.0, x))
        assert trace == pytest.approx(2 * flow.growth_rates.sum(), rel=1e-13)
        power = x @ flow.vector_field(0.0, x)
        supplied = np.sum(flow.growth_rates * abs(flow.amplitudes(x)) ** 2)
        assert power == pytest.approx(supplied, rel=1e-12)


@pytest.mark.parametrize("flow", FLOWS, ids=repr)
def test_translations_and_reflection_commute_with_the_flow(flow):
    """u(x - s), and -u(-x)."""
    x = states(flow)

    def translated(x, by):
        u = flow.amplitudes(x) * np.exp(-1j * flow.wave_numbers * by)
        return np.concatenate([u.real, u.imag])

    def reflected(x):
        u = -np.conj(flow.amplitudes(x))
        return np.concatenate([u.real, u.imag])

    for moved in (lambda x: translated(x, 1.7), reflected):
        there = flow.vector_field(0.0, moved(x))
        np.testing.assert_allclose(there, moved(flow.vector_field(0.0, x)), rtol=0, atol=1e-12 * abs(there).max())
    # so the direction of a translation, -i q_m u_m, moves with the flow: J shift(x) = shift(f(x))
    shift = np.block(
        [
            [np.zeros((flow.modes,) * 2), np.diag(flow.wave_numbers)],
            [-np.diag(flow.wave_numbers), np.zeros((flow.modes,) * 2)],
        ]
    )
    along = flow.jacobian(0.0, x) @ shift @ x
    np.testing.assert_allclose(along, shift @ flow.vector_field(0.0, x), rtol=0, atol=1e-12 * abs(along).max())


def test_the_field_is_the_sum_of_its_waves():
    flow, x, points = KuramotoSivashinsky(modes=3), states(KuramotoSivashinsky(modes=3)), 50
    at = flow.length * np.arange(points) / points
    waves = flow.amplitudes(x)[:, None] * np.exp(1j * np.outer(flow.wave_numbers, at))
    np.testing.assert_allclose(flow.field(x, points), 2 * waves.real.sum(axis=0), rtol=0, atol=1e-14)


def test_bad_sizes_are_refused():
    with pytest.raises(InvalidInputError, match="length"):
        KuramotoSivashinsky(length=0.0)
    with pytest.raises(InvalidInputError, match="modes"):
        KuramotoSivashinsky(modes=0)
