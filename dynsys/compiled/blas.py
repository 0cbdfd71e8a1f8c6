"""BLAS on one thread: passes have threads of their own, and matrices of this size gain nothing from more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

_lock, _limit, _inside = threading.Lock(), ExitStack(), 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """A context in which BLAS runs on one thread, with the same bits whatever the number of cores.

    The number is one of the process, and passes run side by side: the first to enter limits it, the last to leave lets
    it go.
    """
    global _inside
    with _lock:
        if not _inside:
            _limit.enter_context(_libraries().limit(limits=1, user_api="blas"))
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limit.close()


@cache
def _libraries() -> Any:
    import scipy.linalg.cython_blas  # the library that compiled code calls must be there to be found
    import threadpoolctl

    assert scipy.linalg.cython_blas
    return threadpoolctl.ThreadpoolController()
