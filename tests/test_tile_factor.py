"""The factorisation of frames in tiles: as compiled, as Python, in a pass; against LAPACK and exact identities."""

import ctypes
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dynsys import RK4, Euler, RunState, SymbolicFlow
from dynsys.compiled.llvm.machine import compiled
from dynsys.compiled.tile_factor import FACTORISE, work_length
from dynsys.models.classics import Lorenz96
from dynsys.passes.orthonormal import SINGULAR_RATIO, is_singular, orthonormalise, unpacked
from dynsys.passes.status import RUNNING, SINGULAR

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = st.integers(1, 40).flatmap(lambda dim: st.tuples(st.just(dim), st.integers(1, dim)))
TINY = 5e-324  # the least number there is


def as_compiled():
    entry = "def entry(V: frame, R: floats, T: floats, dim: int, k: int, collapsed: floats):\n"
    entry += "    collapsed[0] = factorise(V, R, T, dim, k)\n"
    source = f"SINGULAR_RATIO = {float(SINGULAR_RATIO)!r}\n{FACTORISE}\n{entry}"
    address = compiled(source, ("entry",), 8, ("frame",))["entry"]
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    function = ctypes.CFUNCTYPE(None, pointer, pointer, pointer, count, count, pointer)(address)

    def run(V, R, T, dim, k):
        collapsed = np.zeros(1)
        function(V.ctypes.data, R.ctypes.data, T.ctypes.data, dim, k, collapsed.ctypes.data)
        return collapsed[0]

    return run


def as_python():
    names = {
        "SINGULAR_RATIO": SINGULAR_RATIO,
        "as_floats": lambda a: a.reshape(-1),
        "as_vectors": lambda a: np.asarray(a).reshape(-1, 8),
        "splat": lambda a: np.full(8, a),
        "some": np.any,
        "sqrt": np.sqrt,
        "inf": np.inf,
        "bits": lambda a: int(np.float64(a).view(np.int64)),
        "from_bits": lambda a: np.int64(a).view(np.float64),
    }
    exec(FACTORISE, names)

    def run(*arguments):
        with np.errstate(all="ignore"):  # as in compiled code: seen afterwards
            return names["factorise"](*arguments)

    return run


def room(length):
    """Numbers that begin at a whole cache line; what was there before is not zero."""
    whole = np.full(length + 8, np.nan)
    return whole[-whole.ctypes.data % 64 // 8 :][:length]


def on_frames(inplace):
    """The factorisation as a function V -> (Q, R, collapsed)."""

    def run(V):
        dim, k = V.shape
        tiles = -(-k // 8)
        frame, R, T = room(8 * tiles * dim).reshape(-1, 8), room(k * (k + 1) // 2), room(work_length(k))
        columns = np.zeros((dim, 8 * tiles))
        columns[:, :k] = V
        frame[:] = columns.reshape(dim, tiles, 8).swapaxes(0, 1).reshape(-1, 8)
        collapsed = inplace(frame, R, T, dim, k)
        assert collapsed in (0.0, 1.0)
        Q = frame.reshape(tiles, dim, 8).swapaxes(0, 1).reshape(dim, 8 * tiles)
        if not collapsed:
            np.testing.assert_array_equal(Q[:, k:], 0.0)
        return Q[:, :k], unpacked(R), bool(collapsed)

    return run


@pytest.fixture(scope="module", params=[as_python, pytest.param(as_compiled, marks=pytest.mark.numba)])
def factorise(request):
    """Both ways to run the text."""
    return on_frames(request.param())


@pytest.fixture(scope="module")
def compiled_one():
    """The quick way."""
    return on_frames(as_compiled())


def lengths(V):
    """Powers of 2 of the order of the columns' greatest entries: dividing by them rounds nothing."""
    return np.ldexp(1.0, np.frexp(np.abs(V).max(axis=0))[1] - 1)


def assert_factors(V, Q, R, tolerance=3e-15):
    """Q^T Q = 1 and V = QR, column by column, to rounding; R_ii > 0."""
    k = V.shape[1]
    of = lengths(V)
    V, R = V / of, R / of
    np.testing.assert_allclose(Q.T @ Q, np.eye(k), rtol=0, atol=tolerance)
    errors = np.linalg.norm(Q @ R - V, axis=0) / np.linalg.norm(V, axis=0)
    np.testing.assert_array_less(errors, 3e-15)
    np.testing.assert_array_equal(np.tril(R, -1), 0.0)
    assert (np.diagonal(R) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (8, 8), (12, 9), (17, 17), (20, 3), (26, 25)])
@pytest.mark.parametrize("loss", [0.0, 1e-3, 1e-9])
def test_factors_of_either_way_to_run_the_text(factorise, shape, loss):
    """A column that is nearly the sum of those before it, first in its tile and last, has all projected again."""
    V = np.random.default_rng(0).normal(size=shape)
    for c in (7, 8, 16, 24):
        if loss and c < shape[1]:
            V[:, c] = V[:, :c].sum(axis=1) / math.sqrt(c) + loss * V[:, c]
    Q, R, collapsed = factorise(V)
    assert not collapsed
    assert_factors(V, Q, R)
    tolerance = 1e-15 * max(shape) * np.linalg.cond(V)
    for ours, lapack in zip((Q, R), orthonormalise(V), strict=True):
        np.testing.assert_allclose(ours, lapack, rtol=0, atol=tolerance)


@pytest.mark.numba
@settings(deadline=None, max_examples=80)
@given(shape=SHAPES, seed=SEEDS)
@example(shape=(1, 1), seed=0)
@example(shape=(8, 8), seed=0)
@example(shape=(40, 16), seed=0)
@example(shape=(40, 17), seed=0)
@example(shape=(40, 40), seed=0)
def test_factors_are_those_of_lapack(compiled_one, shape, seed):
    V = np.random.default_rng(seed).normal(size=shape)
    Q, R, collapsed = compiled_one(V)
    assert not collapsed
    assert_factors(V, Q, R)
    tolerance = 1e-15 * max(shape) * np.linalg.cond(V)  # to which they are determined
    for ours, lapack in zip((Q, R), orthonormalise(V), strict=True):
        np.testing.assert_allclose(ours, lapack, rtol=0, atol=tolerance)


@pytest.mark.numba
@settings(deadline=None, max_examples=80)
@given(shape=SHAPES, seed=SEEDS, widest=st.sampled_from([10, 90, 105, 300]))
def test_a_columns_unit_changes_its_column_of_R_alone(compiled_one, shape, seed, widest):
    rng = np.random.default_rng(seed)
    V = rng.normal(size=shape)
    units = np.ldexp(1.0, rng.integers(-3.3 * widest, 3.3 * widest, size=shape[1]))
    Q, _, collapsed = compiled_one(V)
    Q_of_units, R_of_units, collapsed_of_units = compiled_one(V * units)
    assert collapsed == collapsed_of_units
    assert_factors(V * units, Q_of_units, R_of_units)
    np.testing.assert_allclose(Q_of_units, Q, rtol=0, atol=1e-15 * max(shape) * np.linalg.cond(V))


@pytest.mark.numba
@settings(deadline=None, max_examples=80)
@given(shape=SHAPES, seed=SEEDS, condition=st.floats(0.0, 12.0))
def test_nearly_dependent_columns_are_orthonormal_all_the_same(compiled_one, shape, seed, condition):
    rng = np.random.default_rng(seed)
    k = shape[1]
    U, W = np.linalg.qr(rng.normal(size=shape))[0], np.linalg.qr(rng.normal(size=(k, k)))[0]
    V = U @ np.diag(np.geomspace(1.0, 10.0**-condition, k)) @ W
    Q, R, collapsed = compiled_one(V)
    assert collapsed == is_singular(V, orthonormalise(V)[1])
    if not collapsed:
        assert_factors(V, Q, R)


@pytest.mark.numba
@settings(deadline=None, max_examples=120)
@given(
    shape=SHAPES.filter(lambda shape: shape[1] > 1),
    seed=SEEDS,
    share=st.sampled_from([0.0, 1e-10, 1e-8, 1e-6, 1e-3, 0.1]),
    unit=st.sampled_from([1e-300, 1.0, 1e300]),
)
def test_a_frame_collapses_exactly_where_lapacks_does(compiled_one, shape, seed, share, unit):
    """Column c is a combination of those before it and `share` of what it was."""
    rng = np.random.default_rng(seed)
    V = rng.normal(size=shape)
    c = rng.integers(1, shape[1])
    V[:, c] = unit * (V[:, :c] @ rng.normal(size=c) / math.sqrt(c) + share * V[:, c])
    Q, R, collapsed = compiled_one(V)
    assert collapsed == is_singular(V, orthonormalise(V)[1])
    assert collapsed or share > 0.0
    if not collapsed:
        assert_factors(V, Q, R)


@pytest.mark.parametrize("column", [0, 1, 7, 8, 15, 16, 19])
def test_a_column_of_zeros_collapses_and_the_least_number_does_not(factorise, column):
    V = np.random.default_rng(column).normal(size=(20, 20))
    V[:, column] = 0.0
    assert factorise(V)[2]
    V[column, column] = TINY
    Q, _, collapsed = factorise(V)
    assert not collapsed
    np.testing.assert_allclose(Q.T @ Q, np.eye(20), rtol=0, atol=3e-15)


@pytest.mark.parametrize("greatest", [TINY, 1e-310, 1e-300, 1e-160, 1e-100, 1e100, 1e160, 1e300])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (9, 3), (30, 20)])
def test_columns_of_any_length_are_orthonormal(factorise, shape, greatest):
    V = np.random.default_rng(0).integers(-9, 10, size=shape) * greatest
    Q, R, collapsed = factorise(V)
    expected = orthonormalise(V / greatest)
    assert not collapsed
    np.testing.assert_allclose(Q, expected[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(R, expected[1] * greatest, rtol=1e-12, atol=max(1e-13 * greatest, TINY))


@pytest.mark.parametrize("dim", range(1, 11))
def test_hilbert_matrices(factorise, dim):
    V = 1.0 / (np.arange(dim)[:, None] + np.arange(dim) + 1.0)
    Q, R, collapsed = factorise(V)
    assert not collapsed
    assert_factors(V, Q, R)
    # |det| = prod R_ii; of a Hilbert matrix it is known
    factorials = [math.prod(math.factorial(i) for i in range(n)) for n in (dim, 2 * dim)]
    determinant = factorials[0] ** 4 / factorials[1]
    np.testing.assert_allclose(math.prod(np.diagonal(R)), determinant, rtol=1e-15 * np.linalg.cond(V))


@pytest.mark.numba
@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, seed=SEEDS)
def test_leading_columns_do_not_depend_on_those_behind(compiled_one, shape, seed):
    V = np.random.default_rng(seed).normal(size=shape)
    j = np.random.default_rng(seed).integers(1, shape[1] + 1)
    (Q, R, _), (Q_leading, R_leading, _) = compiled_one(V), compiled_one(V[:, :j])
    tolerance = 1e-15 * max(shape) * np.linalg.cond(V[:, :j])
    np.testing.assert_allclose(Q[:, :j], Q_leading, rtol=0, atol=tolerance)
    np.testing.assert_allclose(R[:j, :j], R_leading, rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (20, 20)])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_ends(factorise, shape, number):
    V = np.random.default_rng(0).normal(size=shape)
    V[-1, -1] = number
    factorise(V)


@pytest.mark.numba
def test_long_columns(compiled_one):
    V = np.random.default_rng(0).normal(size=(3000, 50))
    Q, R, collapsed = compiled_one(V)
    assert not collapsed
    assert_factors(V, Q, R, tolerance=1e-14)  # a sum of 3000 products


@pytest.mark.numba
@pytest.mark.parametrize("k", [4, 8, 9, 17, 40])
def test_a_pass_gives_the_factors_of_lapack(k):
    start = RunState.start(np.random.default_rng(0).normal(size=40), 40, k, seed=0)
    flow = Lorenz96(sites=40)
    ours, reference = (
        flow.tangent(RK4(0.01), backend=backend).forward(start, intervals=5, steps_per_interval=10, record="frames")
        for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(ours.R, reference.R, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ours.Qs, reference.Qs, rtol=0, atol=1e-13)


@pytest.mark.numba
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_direction_that_an_euler_step_ends_collapses(backend):
    rates = [-10.0 if i == 9 else -0.1 * i for i in range(12)]  # 1 + 0.1 * -10 = 0
    flow = SymbolicFlow.of({f"x{i}": f"{rate}*x{i}" for i, rate in enumerate(rates)})
    for k, status in ((12, SINGULAR), (8, RUNNING)):
        start = RunState.start(np.ones((2, 12)), 12, k, seed=0)
        end = flow.tangent(Euler(0.1), backend=backend).forward(
            start, intervals=2, steps_per_interval=1, record="nothing"
        )
        np.testing.assert_array_equal(end.status, status)
