"""Warnings that point at the user's loop, whatever the way to them."""

from __future__ import annotations

import sys
from pathlib import Path

from dynsys.errors import warn_of

HERE = Path(__file__).parent


def warn_in_loop(text: str) -> None:
    """Warn, at the line of the loop that called the monitor."""
    warn_of([(True, text)], stacklevel=up_to_the_loop())


def up_to_the_loop() -> int:
    """How far above the function that calls this the user's loop is, as `warn_of` counts."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and Path(frame.f_code.co_filename).parent == HERE:
        frame, level = frame.f_back, level + 1
    return level
