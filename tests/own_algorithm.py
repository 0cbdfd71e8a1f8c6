"""Algorithms as a user writes them, in a module that other processes can import."""

import numpy as np
import xarray

from dynsys.passes.orthonormal import unpacked
from dynsys.passes.run_state import begin


def reactivity(tangent, x0, intervals, steps_per_interval=1):
    """ln of the largest growth in each interval, over its length: (members, intervals), 1/time."""
    start = begin(tangent, x0, None, 0)
    R = unpacked(tangent.forward(start, intervals=intervals, steps_per_interval=steps_per_interval, record="R").R)
    return np.log(np.linalg.norm(R, ord=2, axis=(-2, -1))) / (steps_per_interval * tangent.dt)


def growth_of_volume(tangent, x0, intervals, steps_per_interval=1, k=None):
    """Mean growth rate of the volume of the frame, (members,)."""
    start = begin(tangent, x0, k, 0)
    end = tangent.forward(start, intervals=intervals, steps_per_interval=steps_per_interval, record="growth")
    return end.growth.sum(axis=(1, 2)) / (intervals * steps_per_interval * tangent.dt)


def as_mapping(tangent, x0, **options):
    growth = reactivity(tangent, x0, **options)
    return {"first": growth[:, 0], "every": growth[..., None] * np.arange(1, 3)}


def as_dataset(tangent, x0, **options):
    return xarray.Dataset({"rate": (("member", "time"), reactivity(tangent, x0, **options))})


def as_result(tangent, x0, **options):
    return tangent.benettin(x0, warmup=0, **options)
