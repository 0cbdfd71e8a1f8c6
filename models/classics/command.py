"""The command of this folder: `dynsys classics`."""

from __future__ import annotations

import time
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dynsys import InvalidInputError
from dynsys.models.reporting.terminal import Seed, made, progress_bar, say


class Length(StrEnum):
    """How long the runs are: a few seconds in all, some minutes, or an hour."""

    quick, usual, long = "quick", "usual", "long"


EFFORT = {Length.quick: 0.02, Length.usual: 1.0, Length.long: 10.0}


def classics(
    systems: Annotated[list[str] | None, typer.Argument(help="Names such as Lorenz63 [default: all].")] = None,
    length: Annotated[Length, typer.Option(help="Errors shrink with the square root of the length.")] = Length.usual,
    seed: Seed = 0,
    report: Annotated[
        Path | None, typer.Option(help="Folder for CATALOGUE.md and figures/, which are written anew.")
    ] = None,
) -> None:
    """Compute the exponents of the classic systems, and compare them with what is known of them.

    For every system: the spectrum with its standard errors, how well exact relations are kept, and published values
    beside ours, with the difference in combined standard errors.

    Example: `dynsys classics Lorenz63 --length quick`
    """
    from dynsys.models.classics.catalogue import SYSTEMS, entry
    from dynsys.models.classics.report import catalogue_in, table, write

    names = {kind.__name__: kind for kind in SYSTEMS}
    unknown = [name for name in systems or () if name not in names]
    if unknown:
        raise InvalidInputError(f"unknown system {', '.join(map(repr, unknown))}: choose among {', '.join(names)}")
    if report is not None:
        catalogue_in(report)  # or refuse it before anything is computed
    chosen = [names[name] for name in systems or names]
    entries, began = [], time.monotonic()
    with progress_bar() as bar, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task = bar.add_task("")

        for place, kind in enumerate(chosen, start=1):

            def show(done: int, total: int, what: str, place: int = place) -> None:
                bar.update(task, completed=done, total=total, description=f"{what} ({place} of {len(chosen)})")

            entries.append(entry(kind, effort=EFFORT[length], seed=seed, progress=show))
            for warning in caught:
                say(f"dynsys: {kind.__name__}: {warning.message}")
            caught.clear()
    typer.echo(table(entries))
    say(f"{time.monotonic() - began:.0f} s")
    if report is not None:
        say(f"see {write(entries, report, made())}")
