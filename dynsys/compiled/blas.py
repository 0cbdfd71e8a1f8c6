"""BLAS on one thread: passes have threads of their own, and matrices of this size gain nothing from more."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


def one_blas_thread() -> AbstractContextManager:
    """A context in which BLAS runs on one thread, with the same bits whatever the number of cores."""
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> Any:
    import scipy.linalg.cython_blas  # the library that compiled code calls must be there to be found
    import threadpoolctl

    assert scipy.linalg.cython_blas
    return threadpoolctl.ThreadpoolController()
