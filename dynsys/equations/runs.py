"""Components of a lattice whose equations are one text: they are computed together, as slices of NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynsys.compiled.equations import Run

LEAST = 16  # components of a system whose equations are searched for runs
SHORTEST_RUN = 8
FIELDS = (1, 2, 3, 4)  # interleaved fields of a lattice, u0, v0, u1, v1, ...


def runs(texts: Sequence[Any]) -> list[range]:
    """Runs of components with equal texts, of that number of interleaved fields which leaves the fewest texts."""
    dim = len(texts)
    found = [_equal_neighbours(texts, step) for step in FIELDS if dim % step == 0]
    return min(found, key=lambda some: dim - sum(map(len, some)) + len(some))


def _equal_neighbours(texts: Sequence[Any], step: int) -> list[range]:
    """Runs of equal texts i, i + step, ..."""
    found = []
    for first in range(step):
        start, end = first, first + step
        while start < len(texts):
            while end < len(texts) and texts[end] == texts[start]:
                end += step
            if (end - start) // step >= SHORTEST_RUN:
                found.append(range(start, end, step))
            start, end = end, end + step
    return found


def neighbour(place: int) -> str:
    """Name of the component so many places after one: `_here`, `_after1`, `_before2`."""
    return "_here" if place == 0 else f"_after{place}" if place > 0 else f"_before{-place}"


def neighbours(run: Run) -> list[str]:
    """Statements that name the neighbours of all components of a run."""
    return [f"{name} = _u[..., {_slice(run, place)}]" for name, place in run.neighbours]


def entries(run: Run) -> list[str]:
    """Statements that write the entries of the Jacobian in the rows of a run."""

    def rows(place: int) -> str:
        first = run.first + place
        return f"np.arange({first}, {first + run.count * run.step}, {run.step})"

    return [f"_J[{rows(0)}, {rows(place)}] = {source}" for place, source in (*run.moving, *run.fixed)]


def rule(run: Run) -> str:
    """The statement that writes the right-hand sides of a run."""
    return f"_f[..., {_slice(run, 0)}] = {run.rule}"


def product(run: Run) -> str:
    """The statement that writes the rows of a run in the Jacobian times the columns of _V."""
    products = [f"({source}) * _V[..., {_slice(run, place)}]" for place, source in (*run.moving, *run.fixed)]
    return f"_F[..., {_slice(run, 0)}] = {' + '.join(products) or '0.0'}"


def _slice(run: Run, place: int) -> str:
    first = run.first + place
    return f"{first}:{first + run.count * run.step}" + (f":{run.step}" if run.step > 1 else "")
