"""Other packages on Lorenz 1963 with RK4; each is optional. Their defects are named where we work around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import attrs
import numpy as np

from benchmarks.measure import family_time

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
    run : callable (x0, steps, dt, every) -> ndarray, shape (3,), or None
        Exponents from one state. What a package does not offer, or is not asked for, is None.
    together : callable of the same signature, or None
        Exponents, shape (members, 3), from many states at once.
    vectors : callable (x0, warmup, window, tail, dt) -> (ndarray, ndarray), shapes (window, 3), (window, 3, 3), or None
        States, and all covariant vectors as columns, after each of the `window` steps that follow the warm-up;
        re-orthonormalised in every step.
    clock : callable () -> float, or None
        What it is timed by, if not by the CPU time of this process.
    """

    name: str
    how: str
    share: float
    run: Callable[..., Array] | None = None
    together: Callable[..., Array] | None = None
    vectors: Callable[..., tuple[Array, Array]] | None = None
    clock: Callable[[], float] | None = None


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
    """Numba; re-orthonormalises in every step.

    `CLV` of 1.7.0 ends only if it does so, too: with a warm-up or tail and qr_time_step > time_step its step shrinks to
    nothing. After a warm-up its clock begins anew, so that its first interval is empty, a window that is shorter than
    the warm-up cuts that off, and the first time returned is wrong. We ask for an interval more, and drop it.
    """
    from pynamicalsys import ContinuousDynamicalSystem

    def run(x0: Array, steps: int, dt: float, every: int) -> Array:
        system.integrator("rk4", time_step=dt)
        return system.lyapunov(x0, steps * dt, parameters=parameters, endpoint=False)

    def vectors(x0: Array, warmup: int, window: int, tail: int, dt: float) -> tuple[Array, Array]:
        system.integrator("rk4", time_step=dt)
        times = dt * (np.array([window + 1, warmup, tail]) + 0.5)  # of which it takes the whole steps
        V, path = system.CLV(x0, times[0], parameters, warmup_time=times[1], tail_time=times[2])
        return path[2:, 1:], V[2:]

    system, parameters = ContinuousDynamicalSystem(model="lorenz system"), [10.0, 28.0, 8.0 / 3.0]
    return Peer(_version("pynamicalsys"), "re-orthonormalises every step", 0.1, run, vectors=vectors)


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
    """NumPy; re-orthonormalises in every step: with k_step > 1, `lyap_exp_from_ic` of 0.1.5 raises IndexError.

    It has no warm-up and no tail: vectors are those of the whole run, cut to the window. Its backward pass goes from
    step i + 1 to i with the R that leads to i.
    """
    from clvlib import lyap_analysis_from_ic, lyap_exp_from_ic

    def run(x0: Array, steps: int, dt: float, every: int) -> Array:
        return lyap_exp_from_ic(f, J, x0, dt * np.arange(steps + 1), stepper="rk4")[0]

    def vectors(x0: Array, warmup: int, window: int, tail: int, dt: float) -> tuple[Array, Array]:
        times = dt * np.arange(warmup + window + tail + 1)
        *_, V, _, path = lyap_analysis_from_ic(f, J, x0, times, stepper="rk4")
        asked = slice(warmup + 1, warmup + window + 1)
        return path[asked], V[asked]

    def f(t: float, x: Array) -> Array:
        return velocity(x, t)

    def J(t: float, x: Array) -> Array:
        return jacobian(x, t)

    return Peer(_version("clvlib"), "NumPy, re-orthonormalises every step", 0.01, run, vectors=vectors)


def lyapynov() -> Peer:
    """NumPy; re-orthonormalises in every step, with the Jacobian frozen over a step."""
    from lyapynov import CLV, LCE, ContinuousDS

    def run(x0: Array, steps: int, dt: float, every: int) -> Array:
        return LCE(ContinuousDS(x0, 0.0, velocity, jacobian, dt), 3, 0, steps, False)

    def vectors(x0: Array, warmup: int, window: int, tail: int, dt: float) -> tuple[Array, Array]:
        V, path = CLV(ContinuousDS(x0, 0.0, velocity, jacobian, dt), 3, 0, warmup, window, tail, True)
        return path[1:], np.array(V[1:])

    return Peer(
        _version("lyapynov"),
        "NumPy, re-orthonormalises every step, Jacobian frozen over a step",
        0.01,
        run,
        vectors=vectors,
    )


def qgs() -> Peer:
    """Numba, in a worker of its own; goes from one factorisation to the next in steps of at most `mdt`.

    Not asked for exponents: `LyapunovsEstimator` of 1.0.0 takes the state there in a single step.
    """
    from numba import njit
    from qgs.toolbox.lyapunov import CovariantLyapunovsEstimator

    f, J = njit(velocity), njit(jacobian)
    estimator = CovariantLyapunovsEstimator(num_threads=1)
    estimator.set_func(njit(lambda t, x: f(x, t)), njit(lambda t, x: J(x, t)))  # forks, while JAX has no threads yet

    def vectors(x0: Array, warmup: int, window: int, tail: int, dt: float) -> tuple[Array, Array]:
        ends = dt * np.cumsum([warmup, window, tail])
        estimator.compute_clvs(0.0, *ends, dt, mdt=2 * dt, ic=x0)  # mdt = dt now and then takes a step of 1e-16 more
        _, path, _, V = estimator.get_clvs()
        return path.T[1 : window + 1], np.moveaxis(V, -1, 0)[1 : window + 1]

    return Peer(
        _version("qgs"),
        "re-orthonormalises every step",
        1.0,
        vectors=vectors,
        clock=family_time,
    )


@cache
def installed() -> tuple[Peer, ...]:
    """The packages that are there, made once; a line for each one that is not."""
    peers = []
    for make in (pynamicalsys, lyapax, clvlib, lyapynov, qgs):
        try:
            peers.append(make())
        except ImportError as problem:
            print(f"Skipped {make.__name__}: {problem}.\n", flush=True)
    return tuple(peers)
