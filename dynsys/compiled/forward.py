"""A pass by compiled code: the driver and the step of a system, and the arrays that they are given."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.driver import ARGUMENTS, COLUMNS, FORWARD, TILES
from dynsys.compiled.equations import aligned
from dynsys.compiled.functions import FUNCTIONS
from dynsys.compiled.kernel import StepKernel, StepSource
from dynsys.compiled.llvm.machine import compiled, function
from dynsys.compiled.tile_factor import work_length
from dynsys.passes.orthonormal import SINGULAR_RATIO
from dynsys.passes.run_state import RunState
from dynsys.passes.status import DIVERGED, RUNNING, SINGULAR

Array = np.ndarray

FEW = 3  # as many members that are left over run one after the other, as many vectors stand by columns


@attrs.frozen(eq=False)
class Pass:
    """A pass over some members of a run, from `start` to `end`, by one step.

    Attributes
    ----------
    kernel : StepKernel
    source : StepSource
    start, end : RunState
    intervals, steps : int
    t0, dt : float
    """

    kernel: StepKernel
    source: StepSource
    start: RunState
    end: RunState
    intervals: int
    steps: int
    t0: float
    dt: float

    calls_blas = False

    def run(self, members: Array, drive: Array) -> None:
        """Move some members; `drive` is theirs, or that of all."""
        end, source, done = self.end, self.source, 0
        if not self.start.single:
            for lanes, least in ((source.side_by_side, source.side_by_side // 2), (8, FEW)):
                if 0 < lanes <= source.side_by_side:
                    left = (len(members) - done) % lanes
                    blocks = len(members) - (left if left <= least else 0)
                    self._run("lanes", lanes, slice(done, blocks), members, drive)
                    done = blocks
        tiles = source.any_layout and self.start.single and end.Q.shape[2] > FEW
        self._run("tiles" if tiles else source.layout, 1, slice(done, None), members, drive)

    def _run(self, layout: str, lanes: int, part: slice, members: Array, drive: Array) -> None:
        members, drive = np.ascontiguousarray(members[part], np.int64), drive[part] if len(drive) > 1 else drive
        if not len(members):
            return
        end, parameters, data = self.end, self.kernel.parameters, np.ascontiguousarray(self.kernel.data)
        varied, (dim, k) = parameters.ndim == 2, end.Q.shape[1:]
        numbers = np.ascontiguousarray(parameters[self.start.members[members]] if varied else parameters[None])
        count, drive = numbers.shape[1], np.ascontiguousarray(drive)
        of_member, of_step = (drive[0].size if len(drive) > 1 else 0), (drive.shape[2] if drive.shape[1] > 1 else 0)
        sizes = np.array([drive.shape[2], of_step, *data.shape, count])
        columns = aligned(k) if layout == "tiles" else k
        own = np.zeros(lanes, np.int64)
        factor = k * (k + 1) // 2
        lengths = (
            self.source.scratch * lanes,
            dim * lanes,
            dim * columns * lanes,
            factor * lanes,
            work_length(k) if layout == "tiles" else k * lanes,
            count * lanes,
        )
        _memory, (scratch, *work) = _rooms(lengths)  # which lasts until the pass is over
        driver, width = _driver(layout, lanes)
        driver(
            _advance(self.source, layout, width, varied),
            _at(members), len(members), self.start.n, self.intervals, self.steps,
            self.t0, self.dt, _at(numbers), count if varied else 0, _at(data), _at(drive),
            drive.itemsize, of_member, of_step, _at(sizes), _at(own), scratch, dim, k, *work,
            _at(end.x), _at(end.Q), _at(end.status), _at(end.stopped),
            *(_at(array) if array.shape[1] else None for array in (end.growth, end.R, end.xs, end.Qs)),
        )  # fmt: skip


def _rooms(lengths: Sequence[int]) -> tuple[Array, list[int]]:
    """Memory for work, and where the rooms begin in it, each at a whole cache line."""
    memory = np.zeros(sum(lengths) + 8 * len(lengths) + 8)
    at = -(-_at(memory) // 64) * 64
    places = []
    for length in lengths:
        places.append(at)
        at += 8 * aligned(length)
    return memory, places


def _at(array: Array) -> int:
    return array.__array_interface__["data"][0]  # `array.ctypes.data` takes five times as long


@lru_cache(maxsize=512)
def _advance(source: StepSource, layout: str, width: int, varied: bool) -> int:
    """The address of a step for a layout."""
    meant = {"columns": (), "tiles": ("frame",), "lanes": ("states", "frame", *["numbers"] * varied)}[layout]
    text = f"_WIDTH = {width}\n_COLUMNS = {8 if layout == 'tiles' else 1}\n{FUNCTIONS}{source.source}"
    return compiled(text, ("advance",), 8 if layout == "columns" else width, meant)["advance"]


@cache
def _driver(layout: str, lanes: int) -> tuple[Any, int]:
    """The driver for a layout, and how many numbers a vector has."""
    width = {"columns": 1, "tiles": 8, "lanes": lanes}[layout]
    constants = {
        "LANES": lanes, "RUNNING": RUNNING, "DIVERGED": DIVERGED, "SINGULAR": SINGULAR,
        "SINGULAR_RATIO": float(SINGULAR_RATIO),
    }  # fmt: skip
    source = "".join(f"{name} = {value!r}\n" for name, value in constants.items())
    source += (TILES if layout == "tiles" else COLUMNS) + FORWARD.format(arguments=ARGUMENTS)
    meant = {"columns": (), "tiles": ("frame",), "lanes": ("states", "frame", "factor")}[layout]
    address = compiled(source, ("forward",), width, meant)["forward"]
    kinds = [ARGUMENT_KINDS.get(a.split(":")[1].strip(), ctypes.c_void_p) for a in ARGUMENTS.split(",")]
    return function(address, kinds), width


ARGUMENT_KINDS = {"int": ctypes.c_int64, "float": ctypes.c_double}
