"""|cos theta_ij| of an ensemble of training runs at chosen times, as the documentation takes them."""

import numpy as np
import pytest

from dynsys import Euler
from dynsys.models.activations import Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task

FLOW = ThreeLayerGradientFlow(*regression_task(samples=40), hidden=2, activation=Tanh())
SGD = FLOW.minibatches(8, seed=1)


def at_chosen_times(tangent, x0, variant):
    """Known after 12, 20 and 45 intervals: one stride from each time to the next, continued from the `end`."""
    end, cosines, times = x0, [], []
    for intervals in (12, 8, 25):
        early = tangent.sharafi(
            end, intervals=intervals, stride=intervals, steps_per_interval=3, warmup=0, window=8, variant=variant
        )
        end = early.end
        cosines.append(early.cosines[..., 0, :, :])
        times.append((early.times[0], early.available[0]))
    return np.array(cosines), np.array(times)


@pytest.mark.parametrize("variant", ["lagged", "periodic window"])
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_cosines_at_chosen_times_are_those_of_one_long_run(backend, variant):
    tangent = SGD.tangent(Euler(dt=1e-3), backend=backend)
    x0 = FLOW.initial(members=3, seed=2)
    found, times = at_chosen_times(tangent, x0, variant)
    whole = tangent.sharafi(x0, intervals=45, steps_per_interval=3, warmup=0, window=8, variant=variant)
    chosen = [np.flatnonzero(whole.available == known)[0] for _, known in times]
    np.testing.assert_array_equal(times[:, 0], whole.times[chosen])
    np.testing.assert_array_equal(found, np.swapaxes(whole.cosines[:, chosen], 0, 1))
    assert found.shape == (3, 3, 9, 9)
    off = ~np.eye(9, dtype=bool)
    assert 0.0 <= found.min() <= found[..., off].max() < 1.0


@pytest.mark.numba
@pytest.mark.slow
def test_compiled_and_numpy_give_the_same_cosines():
    x0 = FLOW.initial(members=6, seed=2)
    compiled, by_numpy = (
        at_chosen_times(SGD.tangent(Euler(dt=1e-3), backend=backend), x0, "lagged")[0] for backend in ("numba", "numpy")
    )
    np.testing.assert_allclose(compiled, by_numpy, rtol=0, atol=1e-10)
