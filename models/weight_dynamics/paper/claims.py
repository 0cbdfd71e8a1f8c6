"""A statement of the paper beside what we find, and the rules by which a verdict is given."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

Array = np.ndarray

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"
UNDER = "holds under choice"  # and says which


@attrs.frozen
class Claim:
    """One of the sixty.

    Attributes
    ----------
    number : int
        Its number in the list.
    where : str
        Figure, table or section of the paper.
    text, paper, ours : str
        What is said, the paper's value, and ours with its error.
    verdict : str
        One of the four, with the choice under which it holds.
    """

    number: int
    where: str
    text: str
    paper: str
    ours: str
    verdict: str

    def __attrs_post_init__(self) -> None:
        if not self.verdict.startswith((HOLDS, FAILS, OPEN)):
            raise ValueError(f"claim {self.number} has the verdict {self.verdict!r}")


def judged(condition: bool | np.bool) -> str:
    """Holds or not."""
    return HOLDS if condition else FAILS


def chosen(ours: bool | np.bool, others: Sequence[str]) -> str:
    """Holds as we compute it, or under the choices named, or not."""
    if ours:
        return HOLDS
    return f"{UNDER}: {'; '.join(others)}" if others else FAILS


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def listed(values: Sequence[float] | Array) -> str:
    """Numbers of three digits, with commas."""
    return ", ".join(number(float(v)) for v in values)
