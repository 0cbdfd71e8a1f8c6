"""Kernels from the cache: what runs was compiled from exactly this source, by these versions, for this processor.

Numba's own cache unpickles whatever stands in its files. This one is handed to Numba in its place: the object code of a
kernel stands in one entry of `dynsys.storage.cache`, whose seal is checked before anything is read out of it.
"""

from __future__ import annotations

import pickle
import platform
import sysconfig
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
from numba.core import caching, serialize
from numba.core.compiler import CompileResult

from dynsys.compiled.sealed import sealed_compiler
from dynsys.storage.cache import kept


class KernelCache(caching._Cache):
    """The cache of one kernel, for its dispatcher."""

    def __init__(self, source: str) -> None:
        self._source = source

    @property
    def cache_path(self) -> str:
        """Where it is, for the statistics of the dispatcher."""
        return str(kept().folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The kernel for some types of arguments, or None."""
        target_context.refresh()
        content = kept().read("kernel", self._made_from(sig, target_context.codegen()))
        return None if content is None else CompileResult._rebuild(target_context, *pickle.loads(content))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel that was compiled, unless it holds addresses of this process."""
        if not data.library.has_dynamic_globals and not data.lifted:
            kept().keep("kernel", self._made_from(sig, data.codegen), serialize.dumps(data._reduce()))

    def _made_from(self, sig: Any, codegen: Any) -> str:
        build = sysconfig.get_config_var("EXT_SUFFIX")  # of Python: with or without a global lock, for debugging
        versions = platform.python_version(), build, numba.__version__, llvmlite.__version__
        options = numba.config.OPT, numba.config.USING_SVML  # type: ignore[attr-defined]
        return "\n".join(map(str, [*versions, *options, codegen.magic_tuple(), sig, self._source]))

    def enable(self) -> None:
        """Nothing to do: it is always on."""

    disable = flush = enable


def kernel_decorator(source: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What marks the kernel of a module with this source, which is kept; None: that calls users' functions: not."""
    compile_ = numba.njit(error_model="numpy", fastmath={"contract"}, nogil=True, pipeline_class=sealed_compiler())

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher = compile_(function)
        if source is not None:
            dispatcher._cache = KernelCache(source)  # type: ignore[attr-defined]
        return dispatcher

    return mark
