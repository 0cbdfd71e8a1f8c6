"""Other packages on Lorenz 1963 with RK4; each is optional."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import numpy as np

Array = np.ndarray


@attrs.frozen(eq=False)
class Peer:
    """Another package.

    Attributes
    ----------
    name : str
        Package and version.
    how : str
        What it does otherwise than the project.
    share : float
        Share of the project's steps that it is asked for: slow ones run shorter.
    run : callable (x0, steps, dt, every) -> ndarray, shape (3,)
        Exponents from one state.
    together : callable of the same signature, or None
        Exponents, shape (members, 3), from many states at once, where the package offers that.
    """

    name: str
    how: str
    share: float
    run: Callable[..., Array]
    together: Callable[..., Array] | None = None


def velocity(x: Array, t: float) -> Array:
    """The velocity of Lorenz 1963 in NumPy, as the pages of the packages write it."""
    return np.array([10.0 * (x[1] - x[0]), x[0] * (28.0 - x[2]) - x[1], x[0] * x[1] - 8.0 / 3.0 * x[2]])


def jacobian(x: Array, t: float) -> Array:
    """The Jacobian of Lorenz 1963 in NumPy."""
    return np.array([[-10.0, 10.0, 0.0], [28.0 - x[2], -1.0, -x[0]], [x[1], x[0], -8.0 / 3.0]])


def _version(package: str) -> str:
    from importlib.metadata import version

    return f"{package} {version(package)}"


def pynamicalsys() -> Peer:
    """Numba; factorises in every step."""
    from pynamicalsys import ContinuousDynamicalSystem

    def run(x0: Array, steps: int, dt: float, every: int) -> Array:
        system.integrator("rk4", time_step=dt)
        return system.lyapunov(x0, steps * dt, parameters=[10.0, 28.0, 8.0 / 3.0], endpoint=False)

    system = ContinuousDynamicalSystem(model="lorenz system")
    return Peer(_version("pynamicalsys"), "factorises every step", 0.1, run)


def lyapax() -> Peer:
    """JAX; the whole run under jit, many states by vmap."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    from lyapax import lyapunov_spectrum, ode_problem

    def slope(state):
        x, y, z = state
        return jnp.array([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])

    def spectrum(x0, steps, dt, every):
        return lyapunov_spectrum(ode_problem(slope, x0, dt), n_steps=steps, renorm_every=every).exponents

    one = jax.jit(spectrum, static_argnums=(1, 2, 3))
    many = jax.jit(jax.vmap(spectrum, (0, None, None, None)), static_argnums=(1, 2, 3))
    return Peer(
        _version("lyapax"), "under jax.jit", 0.2, lambda *a: np.asarray(one(*a)), lambda *a: np.asarray(many(*a))
    )


def clvlib() -> Peer:
    """NumPy; factorises in every step: with k_step > 1, `lyap_exp_from_ic` of 0.1.5 raises IndexError."""
    from clvlib import lyap_exp_from_ic

    def run(x0: Array, steps: int, dt: float, every: int) -> Array:
        times = dt * np.arange(steps + 1)
        return lyap_exp_from_ic(lambda t, x: velocity(x, t), lambda t, x: jacobian(x, t), x0, times, stepper="rk4")[0]

    return Peer(_version("clvlib"), "NumPy, factorises every step", 0.01, run)


def lyapynov() -> Peer:
    """NumPy; factorises in every step, with the Jacobian frozen over a step."""
    from lyapynov import LCE, ContinuousDS

    def run(x0: Array, steps: int, dt: float, every: int) -> Array:
        return LCE(ContinuousDS(x0, 0.0, velocity, jacobian, dt), 3, 0, steps, False)

    return Peer(_version("lyapynov"), "NumPy, factorises every step, Jacobian frozen over a step", 0.01, run)


def installed() -> Iterator[Peer]:
    """The packages that are there; a line for each one that is not."""
    for make in (pynamicalsys, lyapax, clvlib, lyapynov):
        try:
            yield make()
        except ImportError as problem:
            print(f"Skipped {make.__name__}: {problem}.\n", flush=True)
