"""What is known of a classic system: how it is usually run, what holds exactly, what was published."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Self

import attrs
import numpy as np

from dynsys import InvalidInputError, Stepper

Array = np.ndarray
StateFunction = Callable[[Any, Array], Array]  # of a system and states (..., dim), to values (...)

SPROTT = "J. C. Sprott, Chaos and Time-Series Analysis (Oxford, 2003), App."
COMMON_SYSTEMS = "J. C. Sprott, sprott.physics.wisc.edu/chaos/comchaos.htm (2004)"
OURS = "ours: an independent run of twice the usual length (seed 7)"
NUMBER = re.compile(r"(-?\d+(?:\.(\d+))?)(?:\((\d+)\))?")


@attrs.frozen
class Known:
    """Exponents of a system that are known from somewhere, in nats per unit of its time.

    Attributes
    ----------
    exponents : tuple of float
        In descending order; NaN where a source does not give one.
    error : tuple of float
        Their uncertainty: as published, or half a unit of the last digit; 0 for what is exact.
    source : str
        Where they stand; "exact" for a theorem, `OURS` for values of a longer run of this package.
    parameters : mapping
        Parameters that differ from the defaults of the system.
    start : tuple of float, optional
        The state they belong to, where that matters.
    note : str
        What has to be said.
    agrees : bool
        Whether we find the same. Where we do not, the note says why; a test holds the disagreement.
    """

    exponents: tuple[float, ...]
    error: tuple[float, ...]
    source: str
    parameters: Mapping[str, float] = attrs.field(factory=dict)
    start: tuple[float, ...] | None = None
    note: str = ""
    agrees: bool = True

    def __attrs_post_init__(self) -> None:
        if len(self.exponents) != len(self.error):
            raise InvalidInputError(f"{len(self.exponents)} exponents need as many errors, got {len(self.error)}")

    @classmethod
    def printed(cls, text: str, source: str, parameters: Mapping[str, float] | None = None, **others: Any) -> Self:
        """Exponents as printed: 0.90566(3), or 0.9056 (half a unit is its error), 0 (exact), ? (not given).

        Examples
        --------
        >>> Known.printed("0.90566(3) 0 -14.5723 ?", "somewhere").error
        (3e-05, 0.0, 5e-05, nan)
        """
        pairs = [_read(word) for word in text.split()]
        return cls(tuple(v for v, _ in pairs), tuple(e for _, e in pairs), source, parameters or {}, **others)


def _read(word: str) -> tuple[float, float]:
    """A printed number and its error."""
    if word == "?":
        return math.nan, math.nan
    match = NUMBER.fullmatch(word)
    if match is None:
        raise InvalidInputError(f"a printed exponent looks like 0.9056, -14.57(3), 0 or ?, got {word!r}")
    number, decimals, units = match.groups()
    if decimals is None and units is None:
        return float(number), 0.0
    return float(number), float(f"{units or 0.5}e-{len(decimals or '')}")


@attrs.frozen(eq=False, kw_only=True)
class Reference:
    """How a system is usually run, and what holds for it exactly.

    Attributes
    ----------
    start : tuple of float, or callable
        A state on the attractor or near it; for systems of any size a function of the system.
    stepper : Stepper or None
        None for a map.
    steps_per_interval, warmup, intervals : int
        Steps between orthonormalisations; intervals before the record, and in it, for a usual run.
    vectors : int, optional
        How many exponents are computed: the leading ones of a system with many. None: all.
    axes : tuple of int
        The two components that a picture of phase space shows; of a state with one component, it and its next value.
    sampling : int
        Steps between the points of the picture.
    dots : bool
        Whether they are dots, as those of a map or of a section, or points of a line.
    volume_rate : callable (system, states (..., dim)) -> (...)
        Trace of the Jacobian of a flow, ln|det| of that of a map. Its mean along a run is the sum of the exponents.
    symplectic : bool
        Exponents come in pairs +-lambda.
    conserved : mapping, name -> callable (system, states) -> (...)
        Quantities that do not change along an orbit.
    names : tuple of str
        Names of the components, where the equations do not give them.
    latex : tuple of str
        The equations, where SymPy cannot write them; "&" aligns them.
    known : tuple of Known
    """

    start: tuple[float, ...] | Callable[[Any], Array]
    stepper: Stepper | None = None
    steps_per_interval: int = 1
    warmup: int = 100
    intervals: int = 100_000
    vectors: int | None = None
    axes: tuple[int, int] = (0, 1)
    sampling: int = 1
    dots: bool = attrs.field(default=attrs.Factory(lambda self: self.stepper is None, takes_self=True))
    volume_rate: StateFunction
    symplectic: bool = False
    conserved: Mapping[str, StateFunction] = attrs.field(factory=dict)
    names: tuple[str, ...] = ()
    latex: tuple[str, ...] = ()
    known: tuple[Known, ...] = ()

    def state(self, system: Any) -> Array:
        """The start state, shape (dim,)."""
        return np.array(self.start(system) if callable(self.start) else self.start, dtype=float)
