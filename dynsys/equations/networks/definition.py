"""Definitions of networks: equations of numbers that are sums of many terms of few forms.

Written out they would take the compiler minutes, and SymPy as long: here one term of every form is derived, and terms
are computed in loops, with components and coefficients from tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import attrs
import numpy as np

from dynsys.compiled.kernel import Kernel, StepSource
from dynsys.compiled.networks.kernel import NetworkSource
from dynsys.compiled.networks.tables import Data
from dynsys.compiled.staged import StagedSource, numba_linearise, staged_step
from dynsys.equations import runs as lattice
from dynsys.equations.definition import LANGUAGE, Definition, check_names, derived_once, run_source
from dynsys.equations.expression import nesting_refused
from dynsys.equations.networks.forms import OtherForm
from dynsys.equations.networks.reader import Reader
from dynsys.equations.networks.source import numpy_network
from dynsys.equations.networks.terms import network
from dynsys.steppers.stepper import Tableau

LEAST = 10  # equations
WRITTEN_OUT = 175  # statements, about: fewer are written out, which is faster
MODULES = (
    __name__,
    "dynsys.equations.networks.forms",
    "dynsys.equations.networks.reader",
    "dynsys.equations.networks.syntax",
    "dynsys.equations.networks.terms",
    "dynsys.equations.networks.source",
    "dynsys.compiled.networks.network",
    "dynsys.compiled.networks.layout",
    "dynsys.compiled.networks.kernel",
    "dynsys.compiled.networks.pairs",
    "dynsys.compiled.networks.product",
    "dynsys.compiled.networks.room",
    "dynsys.compiled.staged",
    "dynsys.compiled.networks.tables",
    *LANGUAGE,
)


@attrs.frozen(eq=False)
class NetworkDefinition:
    """Equations of numbers that are computed as a network.

    Attributes
    ----------
    numbers : Definition
        The equations as they were given.
    derived : NetworkDerived
    """

    numbers: Definition
    derived: NetworkDerived

    @property
    def state(self) -> Sequence[str]:
        """Names of the components."""
        return self.numbers.state

    @property
    def right_sides(self) -> Sequence[Any]:
        """Right-hand sides, as they were given."""
        return self.numbers.right_sides

    @property
    def dimension(self) -> int:
        """Number of components."""
        return len(self.numbers.state)

    @property
    def source(self) -> str:
        """NumPy source of `rule(t, state, parameters)` over leading axes, and of `jvp` and `jacobian` at one state."""
        return self.derived.source

    @property
    def jumps(self) -> Sequence[str]:
        """None: equations that may jump are written out."""
        return ()

    @property
    def driven(self) -> bool:
        """Whether the time stands in an equation."""
        return self.derived.driven

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The functions that `source` defines."""
        return run_source(self.source)

    def kernel(self, values: Any) -> Kernel:
        """The same equations as source for the compiler, with values of the parameters."""
        derived, tiles = self.derived, self.derived.tiles
        assert tiles is not None

        def step(tableau: Tableau | None, k: int) -> StepSource:
            return staged_step(tiles, tableau, not k)

        numbers, data = np.array(values, dtype=float), np.array([derived.data])
        return Kernel(derived.linearise, numbers, data, scratch=derived.scratch, step=step, rates=tiles.equations)


@attrs.frozen
class NetworkDerived:
    """What is derived; all empty where equations have another form.

    Attributes
    ----------
    source, linearise : str
        For NumPy, and for Numba.
    scratch : int
        Length of the work array of `linearise`.
    tiles : StagedSource or None
        For frames in tiles.
    data : sequence of float
        Coefficients.
    driven : bool
        Whether the time stands in an equation.
    """

    source: str = ""
    linearise: str = ""
    scratch: int = 0
    tiles: StagedSource | None = None
    data: Sequence[float] = ()
    driven: bool = False

    @classmethod
    def read(cls, record: dict[str, Any]) -> NetworkDerived:
        """The inverse of `attrs.asdict`."""
        return cls(**record | {"tiles": StagedSource(**record["tiles"]) if record["tiles"] else None})


@lru_cache(maxsize=256)
@nesting_refused()
def define_network(
    state: tuple[str, ...],
    right_sides: tuple[Any, ...],
    parameters: tuple[str, ...],
    helpers: tuple[tuple[str, Any], ...] = (),
) -> NetworkDefinition | None:
    """The definition behind many equations that are sums of terms of few forms; None if these are others, or few."""
    if len(state) < LEAST:
        return None
    check_names([*state, *parameters, *(name for name, _ in helpers)])
    definition = Definition(state, parameters, right_sides, helpers)
    given = [state, parameters, right_sides, helpers]
    fields = derived_once("network", given, MODULES, lambda: _derive(definition))
    return NetworkDefinition(definition, NetworkDerived.read(fields)) if fields["source"] else None


def _derive(definition: Definition) -> NetworkDerived:
    reader = Reader(definition.state, definition.parameters)
    try:
        for helper in definition.helpers:
            reader.name(*helper)
        for row, right_side in enumerate(definition.right_sides):
            reader.read(row, right_side)
    except OtherForm:
        return NetworkDerived()
    if _short(reader):
        return NetworkDerived()
    found = network(len(definition.state), len(reader.sums), definition.parameters, list(reader.forms.values()))
    data = Data()
    linearise, scratch = numba_linearise(NetworkSource(found, data, False).written())
    tiles = NetworkSource(found, data, True).written()
    return NetworkDerived(numpy_network(found), linearise, scratch, tiles, data.numbers, found.driven)


def _short(reader: Reader) -> bool:
    """Whether equations are few enough to be written out, but for those that are one text for many components."""
    rows: list[list[Any]] = [[] for _ in reader.names]
    inside: list[set[int]] = [set() for _ in reader.names]
    for number, form in enumerate(reader.forms.values()):
        for where, coefficient in form.coefficients.items():
            places = tuple(i - where.row for i in where.components)
            rows[where.row].append((number, places, where.parameters, where.numbers, coefficient))
            inside[where.row].update(where.components)
    dim = reader.dimension
    alone = set(range(dim))
    if dim >= lattice.LEAST and not reader.sums:
        alone.difference_update(*lattice.runs([tuple(sorted(row, key=repr)) for row in rows]))
    sums = {i: len(inside[i]) for i in range(dim, len(rows))}  # written out where they are used
    entries = sum(max(1, sums.get(j, 1)) for i in alone for j in inside[i])
    return 2 * entries + 3 * len(alone) <= WRITTEN_OUT
