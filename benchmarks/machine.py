"""What the times were taken on: processor, width of its vectors, versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from benchmarks.measure import Contestant, race

PACKAGES = ["numpy", "numba", "llvmlite", "sympy", "scipy", "heyoka", "pynamicalsys", "lyapax", "jax", "clvlib"]
PACKAGES += ["lyapynov", "qgs", "torch"]
WIDEST = (
    ("avx512f", 512, "zmm"),
    ("avx2", 256, "ymm"),
    ("avx", 256, "ymm"),
    ("neon", 128, "neon"),
    ("sse2", 128, "xmm"),
)
"""Features of processors, the widest first: bits of a vector, and the name of its registers."""


def machine(rounds: int, quick: bool) -> None:
    """A paragraph for the head of the page."""
    side = 200 if quick else 1000
    matrix = np.random.default_rng(0).normal(size=(side, side))
    (product,) = race([Contestant("", lambda: matrix @ matrix, side**3)], rounds)
    name, bits, registers = vectors()
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    print(
        f"Machine: {_processor()} (to LLVM: {name}), {os.cpu_count()} cores, vectors of {bits} bits ({registers}); a "
        f"product of two {side} x {side} matrices on one thread does {1 / product.median:.0f} multiply-adds per "
        f"nanosecond. {platform.system()}, Python {platform.python_version()}; {', '.join(found)}.\n",
        flush=True,
    )


def vectors() -> tuple[str, int, str]:
    """The processor's name to LLVM, bits of its widest vectors, and what their registers are called."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    for feature, bits, registers in WIDEST:
        if features.get(feature):
            return llvm.get_host_cpu_name(), bits, registers
    return llvm.get_host_cpu_name(), 64, "none"


def _processor() -> str:
    """What the processor calls itself."""
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
