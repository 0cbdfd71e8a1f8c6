"""Functions of NumPy, other than ufuncs, whose own text does not work on arrays of symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from dynsys.equations.tracing.limits import NotTraceable


def _full(shape: Any, value: Any, *_: Any, **__: Any) -> Any:
    """numpy.full."""
    made = np.empty(shape, dtype=object)
    made[...] = value
    return made


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """numpy.linalg.norm of vectors."""
    if axis is None and (ord is None or x.ndim == 1):
        x, axis = x.ravel(), 0
    if axis is None or isinstance(axis, tuple) or ord not in (None, 1, 2, np.inf):
        raise NotTraceable("a norm of matrices is not known to it")
    if ord in (None, 2):
        return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))
    return (np.sum if ord == 1 else np.max)(np.abs(x), axis=axis, keepdims=keepdims)


def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """numpy.cross of vectors of three components: older NumPy writes their products over a 0 that is a whole number."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if not a.shape[-1] == b.shape[-1] == 3:
        raise NotTraceable("numpy.cross of vectors of two components is not known to it")
    next_, last = [1, 2, 0], [2, 0, 1]
    return np.moveaxis(a[..., next_] * b[..., last] - a[..., last] * b[..., next_], -1, axisc)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """numpy.clip."""
    lower, upper = (a_min if min is None else min), (a_max if max is None else max)
    a = a if lower is None else np.maximum(a, lower)
    return a if upper is None else np.minimum(a, upper)


def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """numpy.convolve."""
    n, m = len(a), len(v)
    whole = [
        np.sum(a[max(0, i - m + 1) : i + 1] * v[i - n + 1 if i >= n else 0 : i + 1][::-1]) for i in range(n + m - 1)
    ]
    cut = {"full": 0, "same": (min(n, m) - 1) // 2, "valid": min(n, m) - 1}[mode]
    length = {"full": n + m - 1, "same": max(n, m), "valid": abs(n - m) + 1}[mode]
    return np.array(whole[cut : cut + length], dtype=object)


def _gradient(f: Any, *spacing: Any, **options: Any) -> Any:
    """numpy.gradient of one axis and an equal spacing."""
    if np.ndim(f) != 1 or options or len(spacing) > 1 or any(np.ndim(h) for h in spacing):
        raise NotTraceable("numpy.gradient with several axes, or another spacing at every point, is not known to it")
    return np.concatenate([f[1:2] - f[:1], (f[2:] - f[:-2]) / 2, f[-1:] - f[-2:-1]]) / (spacing[0] if spacing else 1)


def _interp(*_: Any) -> NoReturn:
    raise NotTraceable("numpy.interp of the state is not known to it")


def _unchanged(x: Any, *_: Any, **__: Any) -> Any:
    return x


OF_ARRAYS: dict[str, Callable[..., Any]] = {
    "full": _full,
    "norm": _norm,
    "cross": _cross,
    "clip": _clip,
    "convolve": _convolve,
    "gradient": _gradient,
    "interp": _interp,
    "real": _unchanged,
    "nan_to_num": _unchanged,
    "real_if_close": _unchanged,
}
