"""What a system gives to the compiler: its linearised equations as Python source, and the numbers they use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.lanes import LaneSource
from dynsys.steppers import Stepper

Array = np.ndarray


def no_drive(n: int, steps: int, members: Array) -> Array:
    """The drive of a system that data do not drive."""
    return np.zeros((1, 1, 0), dtype=np.int32)


@attrs.frozen
class PushSource:
    """The step of a system on one trajectory, for the compiler.

    Attributes
    ----------
    source : str
        Python source that defines

            push(n, t, dt, x, V, X, W, f, F, parameters, data, rows, scratch)

        which moves x, shape (dim,), and V, shape (dim, k), by step n at time t.
    scratch : int
        Length of the float64 work array.
    rows_at : int or None
        Where in the work array the frame stands, row by row, every row padded to a multiple of 8 numbers. None: it
        stands in an array of its own, column by column.
    """

    source: str
    scratch: int = 0
    rows_at: int | None = None


def no_push(stepper: Stepper | None, k: int) -> PushSource | None:
    """No better step than that of the stepper."""
    return None


def no_lanes(stepper: Stepper | None, k: int, varied: bool) -> LaneSource | None:
    """No step for blocks of members: they run one after the other."""
    return None


@attrs.frozen(eq=False)
class Kernel:
    """The linearised equations of a system, for the compiler.

    Attributes
    ----------
    source : str
        Python source in the subset that Numba compiles. It defines

            linearise(t, x, V, f, F, parameters, data, rows, scratch)

        which writes f = rule(t, x), shape (dim,), and F = J(t, x) V, shape (dim, k); x and V are only read. Frames
        stand in memory column by column: V.T and F.T are contiguous. In scope are `njit`, `np`, `math`, the elementary
        functions of `dynsys.equations.source`, and `copy` and `copy_matrix`, which take the place of array assignments.
    parameters : ndarray, shape (p,) or (members, p)
        Numbers that may change without compiling again; row m, if there are several, is that of member m.
    data : ndarray, shape (samples, columns)
        Data that drive the system; empty if none do.
    drive : callable (n, steps, members) -> int32 ndarray, shape (1 or members, 1 or steps, size)
        Rows of `data` in force during each of the steps n, ..., n + steps - 1; a leading 1 means that all members
        (all steps) see the same rows.
    shared : bool
        Whether all members see the same rows; else each thread asks for those of its own members.
    scratch : int
        Length of the float64 work array that `linearise` may use freely.
    push : callable (stepper, k) -> PushSource or None
        A whole step of one trajectory under a stepper (None: a map), where one beats stages of `linearise`.
    lanes : callable (stepper, k, varied) -> LaneSource or None
        The same for blocks of members side by side, which have one row of parameters, or each its own.
    functions : mapping, name -> function marked `@numba.njit`
        Functions of the user that the source calls by these names. A module that calls some is not kept on disk.
    """

    source: str = ""
    parameters: Array = attrs.field(factory=lambda: np.empty(0))
    data: Array = attrs.field(factory=lambda: np.empty((0, 0)))
    drive: Callable[[int, int, Array], Array] = no_drive
    shared: bool = True
    scratch: int = 0
    push: Callable[[Stepper | None, int], PushSource | None] = no_push
    lanes: Callable[[Stepper | None, int, bool], LaneSource | None] = no_lanes
    functions: Mapping[str, Callable[..., Any]] = attrs.field(factory=dict)
