"""Generated modules: driver, stepper, factorisation and equations in one file, compiled once and kept on disk.

Everything stands in one module because Numba caches a module's functions on disk but recompiles, in every process,
a kernel that is handed another compiled function as an argument.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from dynsys.compiled.driver import DRIVER, FRAMES_BY_COLUMNS, FRAMES_BY_ROWS, HEADER
from dynsys.compiled.equations import aligned
from dynsys.compiled.kernel import StepKernel
from dynsys.compiled.lanes import lane_source
from dynsys.errors import FallbackWarning
from dynsys.passes.orthonormal import GRAM_SCHMIDT, HOUSEHOLDER, LONG_COLUMN
from dynsys.storage.files import write_whole


@attrs.frozen
class Built:
    """A compiled pass, `forward` of the generated module, and the length of its work array."""

    forward: Callable[..., Any]
    scratch: int = 0


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 1)


def build(kernel: StepKernel, dim: int, k: int) -> Built:
    """The compiled pass of a system for one member after the other; built once per source, then found on disk."""
    step = kernel.step(k)
    by_rows = FRAMES_BY_ROWS.format(rows_at=step.rows_at, pitch=aligned(k))
    frames = FRAMES_BY_COLUMNS if step.rows_at is None else by_rows
    factorise = GRAM_SCHMIDT if dim < LONG_COLUMN else HOUSEHOLDER
    source = HEADER + frames + step.source + factorise + DRIVER
    forward = _load_with(source, tuple(kernel.functions.items())) if kernel.functions else load(source).forward
    return Built(forward, step.scratch)


def build_lanes(kernel: StepKernel, dim: int, k: int) -> Built | None:
    """The compiled pass for blocks of members side by side, where there is one."""
    lanes = kernel.lanes(k, kernel.parameters.ndim == 2)
    return None if lanes is None else Built(load(HEADER + lane_source(lanes, dim, k)).forward)


@lru_cache(maxsize=256)
def load(source: str) -> ModuleType:
    """The module with some source, kept on disk together with what Numba compiles of it."""
    import numba

    key = hashlib.sha256(f"numba {numba.__version__}\n{source}".encode()).hexdigest()[:20]
    name = f"dynsys_{key}"
    path = cache_folder() / f"{name}.py"
    if not path.exists():
        write_whole(path, source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@attrs.frozen
class _InMemory(importlib.abc.InspectLoader):
    """Loads a module from text that no file holds."""

    text: str

    def get_source(self, fullname: str) -> str:
        return self.text


@lru_cache(maxsize=256)
def _load_with(source: str, functions: tuple[tuple[str, Callable[..., Any]], ...]) -> Callable[..., Any]:
    """The same for a module that calls functions of the user, which are told apart by identity.

    It is not kept on disk: Numba would find it there, compiled with the functions as they once were.
    """
    module = ModuleType("dynsys_with_functions")
    vars(module).update(functions)
    _InMemory(source.replace("cache=True", "cache=False")).exec_module(module)
    return module.forward


@cache
def cache_folder() -> Path:
    """The folder of generated modules: $DYNSYS_CACHE, or dynsys under the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dynsys"
    folder = Path(os.environ.get("DYNSYS_CACHE", default))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as problem:
        temporary = Path(tempfile.mkdtemp(prefix="dynsys-"))
        warnings.warn(
            f"compiled kernels cannot be kept in {folder} ({problem}); they go to {temporary} and are compiled again "
            "next time. Set DYNSYS_CACHE to a folder that can be written.",
            FallbackWarning,
            stacklevel=4,
        )
        return temporary
