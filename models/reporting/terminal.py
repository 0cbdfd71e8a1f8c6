"""What the commands share: options, messages, errors with an exit status, output folders, a progress bar."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import dynsys
from dynsys import DynsysError, InterruptedWarning, InvalidInputError
from dynsys.errors import LARGEST_SEED, whole_number

if TYPE_CHECKING:
    import xarray
    from rich.progress import Progress as Bar

    from dynsys.ensembles.ensemble import Ensemble, Progress

console = Console(stderr=True, highlight=False)
BLOCK = 16  # members trained side by side: of the paper's runs, half a minute


def _seed(value: int) -> int:
    return whole_number("--seed", value, 0, LARGEST_SEED)


def _workers(value: int | None) -> int | None:
    return None if value is None else whole_number("--workers", value, 1)


Seed = Annotated[int, typer.Option(callback=_seed, help="Seed of all random numbers.")]
Workers = Annotated[int | None, typer.Option(callback=_workers, help="Threads [default: all cores].")]


class Failed(DynsysError):
    """The command did what it was asked, and the answer is bad: exit status 1."""


class Interrupted(DynsysError):
    """Ctrl-C ended a run, and what was finished is kept: exit status 130."""


def prepare(output: Path, store: Path | None = None) -> None:
    """Make the output folder, or say why not; nothing in it is ever overwritten."""
    if output.exists() and not output.is_dir():
        raise InvalidInputError(f"the output folder {output} is a file: choose another name")
    if output.exists() and not _holds(output, store) and any(output.iterdir()):
        raise InvalidInputError(
            f"the output folder {output} is not empty, and holds no study to be continued: choose another one, nothing "
            "is overwritten"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InvalidInputError(
            f"the output folder {output} cannot be made ({problem.strerror}): choose another one"
        ) from None
    if not os.access(output, os.W_OK):
        raise InvalidInputError(f"the output folder {output} cannot be written to: choose another one")


def _holds(output: Path, store: Path | None) -> bool:
    """Whether a folder holds the store of an ensemble, or of several and nothing else in their folder."""
    if store is None or not store.is_dir():
        return False
    if store.suffix == ".zarr":
        return True
    stores = list(store.iterdir())
    return all(".zarr" in each.name for each in stores) and (bool(stores) or list(output.iterdir()) == [store])


def progress_bar() -> Bar:
    """A bar with a share, a time and a description."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.percentage:3.0f} %"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
    )


def compute(
    ensemble: Ensemble, store: Path, workers: int | None, name: str = "", block: int | None = None
) -> xarray.Dataset:
    """Run an ensemble, or what is left of it, with a progress bar."""
    last = None
    with progress_bar() as bar, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task = bar.add_task(f"{name}0 of {ensemble.members} members", total=ensemble.members)

        def show(progress: Progress) -> None:
            nonlocal last
            last = progress
            bar.update(task, completed=progress.done, description=name + str(progress))

        runs = ensemble.run(store, block=None if store.exists() else block or BLOCK, workers=workers, progress=show)
    for warning in caught:
        if issubclass(warning.category, InterruptedWarning):
            raise Interrupted(str(warning.message))
        console.print(f"dynsys: {warning.message}", markup=False)
    if last is not None and last.computed:
        console.print(f"{last.seconds_per_member:.3g} s of a worker for each member", markup=False)
    return runs


def made() -> str:
    """How what is written was made: the last line of every report."""
    return f"Made by `{shlex.join(['dynsys', *sys.argv[1:]])}`, dynsys {dynsys.__version__}."


def report(output: Path, parts: int, write: Callable[[Path, str, Callable[[str], None]], Path]) -> None:
    """Have a report written into a new folder, `write(folder, made, tell)`, with a bar that `tell` moves on."""
    prepare(output)
    with progress_bar() as bar:
        task = bar.add_task("", total=parts)
        written = write(output, made(), lambda what: bar.update(task, advance=1, description=what))
    console.print(f"see {written}", markup=False)
