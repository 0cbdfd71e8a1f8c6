"""Tables of whole numbers, which are constants of a source, and numbers that stand in the data of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynsys.compiled.equations import aligned


class Data:
    """Numbers that the sources of one system share; they begin at whole vectors."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.known: dict[bytes, int] = {}

    def at(self, values: Any) -> int:
        """Where some numbers stand, each sequence once."""
        of = np.asarray(values, dtype=float).ravel()
        place = self.known.setdefault(of.tobytes(), len(self.numbers))
        if place == len(self.numbers):
            self.numbers += [*of.tolist(), *[0.0] * (aligned(of.size) - of.size)]
        return place


class Tables:
    """Tables of whole numbers, each once; `arrays`: as those of NumPy, for Numba."""

    def __init__(self, arrays: bool) -> None:
        self.arrays = arrays
        self.constants: list[str] = []
        self.known: dict[tuple[int, ...], str] = {}

    def entry(self, values: Sequence[int], index: str) -> str:
        """Source of an entry."""
        of = tuple(map(int, values))
        step = of[1] - of[0] if len(of) > 1 else 0
        if of == tuple(of[0] + step * i for i in range(len(of))):
            product = f"{step} * ({index})" if step != 1 else index
            return str(of[0]) if step == 0 else product if of[0] == 0 else f"{of[0]} + {product}"
        if of not in self.known:
            self.known[of] = f"_T{len(self.known)}"
            shown = ", ".join(map(str, of))
            self.constants.append(f"{self.known[of]} = " + (f"np.array([{shown}])" if self.arrays else f"({shown})"))
        return f"{self.known[of]}[{index}]"
