"""How much memory there can be, and a refusal of what would need more, before anything is computed.

The bound is what the machine has, swap included, not what is free at the moment: others may be about to end, and what
would run must not be refused. Of estimates only that is counted which is surely held at one time.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from dynsys.errors import InvalidInputError

GIB = 2**30
REMEMBERED = 10.0  # seconds; a run of a millisecond asks several times
PROCESS, LIMITS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def ask_for_memory(what: str, needed: float, remedy: str) -> None:
    """Refuse what needs more bytes than this machine can give.

    >>> ask_for_memory("the record of 10 intervals", 80, "record fewer")
    >>> ask_for_memory("the record of 10**18 intervals", 8e18, "record fewer")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    dynsys.errors.InvalidInputError: the record of 10**18 intervals would take 7.45e+09 GiB of memory, and there are ...
    """
    there = largest_memory()
    if needed > there:
        raise InvalidInputError(
            f"{what} would take {needed / GIB:.3g} GiB of memory, and there are {there / GIB:.3g} GiB at most (of the "
            f"machine, with swap, within the limits of the process): {remedy}"
        )


def largest_memory() -> float:
    """Bytes that this process can have at most: memory and swap of the machine, or less where it is limited.

    By the standard library: /proc/meminfo on Linux, `os.sysconf` on other systems that have it, limits of a control
    group (containers, batch systems) and of the process (`ulimit -v`). Infinite where none of these says anything.
    """
    return min(_around(int(time.monotonic() / REMEMBERED)), of_process())


@lru_cache(maxsize=1)
def _around(when: int) -> float:
    """What machine and control group leave to this process: read from a dozen files, and remembered for a while."""
    memory, swap = of_machine()
    return min(memory + swap, of_control_group(swap))


def of_machine(table: Path = Path("/proc/meminfo")) -> tuple[float, float]:
    """Bytes of memory and of swap."""
    try:
        sizes = dict(line.split(":", 1) for line in table.read_text().splitlines())
        memory, swap = (1024.0 * int(sizes[name].split()[0]) for name in ("MemTotal", "SwapTotal"))
        return memory, swap
    except (OSError, ValueError, KeyError, IndexError):
        pass  # another system
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"), 0.0
    except (AttributeError, ValueError, OSError):
        return math.inf, 0.0


def of_process() -> float:
    """The limit on the address space and on the data of this process, in bytes, which files in memory count against."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    limits = [resource.getrlimit(kind)[0] for kind in kinds]
    return min((float(limit) for limit in limits if limit != resource.RLIM_INFINITY), default=math.inf)


def of_control_group(swap: float, process: Path = PROCESS, limits: Path = LIMITS) -> float:
    """The limit of the control group of this process, or of one that it is in, with the swap that it may have."""
    try:
        lines = process.read_text().splitlines()
    except (OSError, ValueError):
        return math.inf
    return min((limit for line in lines for limit in _limits(line, swap, limits)), default=math.inf)


def _limits(line: str, swap: float, limits: Path) -> Iterator[float]:
    """The limits of a group and of those around it; in a container the path may be that outside of it."""
    _, controllers, path = (line + "::").split(":", 2)
    if controllers == "":  # version 2
        root, name, of_swap = limits, "memory.max", "memory.swap.max"
    elif "memory" in controllers.split(","):
        root, name, of_swap = limits / "memory", "memory.limit_in_bytes", ""
    else:
        return
    parts = path.rstrip(":").strip("/").split("/")
    for depth in range(len(parts) + 1):
        folder = root.joinpath(*parts[:depth])
        yield _number(folder / name) + min(swap, _number(folder / of_swap) if of_swap else swap)


def _number(file: Path) -> float:
    try:
        return float(int(file.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf
