"""Equations as a kernel, and their derivative along vectors: of symbolic systems, and of functions that were traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsys.compiled.equations import EquationSource, stages
from dynsys.compiled.kernel import TILES_FROM, Kernel, RateSource, StepSource
from dynsys.compiled.lattice import lattice_linearise, lattice_scratch
from dynsys.compiled.rates import rate_source
from dynsys.compiled.tiles import tile_step
from dynsys.compiled.unrolled import few, unrolled_linearise, unrolled_step
from dynsys.equations.definition import Definition
from dynsys.equations.vectors.definition import VectorDefinition
from dynsys.equations.vectors.dense import DenseDefinition
from dynsys.steppers.stepper import Tableau

Array = np.ndarray

SINGLE_ROWS = 100  # beside loops over runs, in all stages: to fuse more gains nothing, and compiles for long


def equations_jvp(
    definition: Definition | VectorDefinition | DenseDefinition, t: float, x: Array, V: Array, parameters: Any
) -> Array:
    """The Jacobian of equations at one state times the columns of V."""
    by_neighbours = definition.functions.get("jvp")
    if by_neighbours:
        return by_neighbours(t, x, V, parameters)
    return definition.functions["jacobian"](t, x, parameters) @ V


def equations_kernel(equations: EquationSource, parameters: Array) -> Kernel:
    """Equations as source for Numba: written out if they are few, by loops over runs if not."""

    def step(tableau: Tableau | None, k: int) -> StepSource | None:
        if few(equations, tableau):
            return unrolled_step(equations if k else equations.alone, tableau)
        if tableau and (0 < k < TILES_FROM or stages(tableau) * len(equations.rows) > SINGLE_ROWS):
            return None
        return tile_step(equations if k else equations.alone, tableau)

    def rates(parts: int, k: int) -> RateSource:
        return rate_source(equations if k else equations.alone, parts)

    if few(equations, None):
        return Kernel(unrolled_linearise(equations), parameters, step=step, rates=rates)
    scratch = lattice_scratch(equations)
    return Kernel(lattice_linearise(equations), parameters, scratch=scratch, step=step, rates=rates)
