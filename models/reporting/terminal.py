"""What the commands share: options, messages, errors with an exit status, output folders, a progress bar."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import dynsys
from dynsys import DynsysError, InterruptedWarning, InvalidInputError
from dynsys.errors import LARGEST_SEED, whole_number
from dynsys.models.reporting.outputs import Outputs
from dynsys.storage.escaping import markdown_code, terminal

if TYPE_CHECKING:
    import xarray
    from rich.progress import Progress as Bar

    from dynsys.ensembles.ensemble import Ensemble, Progress

console = Console(stderr=True, highlight=False, emoji=False)  # :b: stays what it is
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


def prepare(outputs: Outputs, *stores: Path) -> None:
    """Make the folder of a page, or say why not: it may be new or empty, or hold some of the stores of the command."""
    output = outputs.page.parent
    if os.path.lexists(output) and not output.is_dir():
        what = "a file" if output.exists() else "a link that leads nowhere"
        raise InvalidInputError(f"the output folder {output} is {what}: choose another name")
    if output.exists() and any(output.iterdir()) and not _holds(output, stores):
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
    outputs.check()


def _holds(output: Path, stores: Sequence[Path]) -> bool:
    """Whether a folder holds one of some stores, or nothing but the folder that they will be in."""
    if any(store.is_dir() for store in stores):
        return True
    folders = {store.parent for store in stores} - {output}
    return {*output.iterdir()} <= folders and not any(any(folder.iterdir()) for folder in folders if folder.is_dir())


def say(text: object) -> None:
    """Print to the terminal, which obeys nothing in it."""
    console.print(terminal(text), markup=False)


def progress_bar() -> Bar:
    """A bar with a share, a time and a description."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.percentage:3.0f} %"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
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
        say(f"dynsys: {warning.message}")
    if last is not None and last.computed:
        say(f"{last.seconds_per_member:.3g} s of a worker for each member")
    return runs


def made() -> str:
    """How what is written was made: the last line of every report, in Markdown."""
    return f"Made by {markdown_code(shlex.join(['dynsys', *sys.argv[1:]]))}, dynsys {dynsys.__version__}."


def report(outputs: Outputs, parts: int, write: Callable[[Path, str, Callable[[str], None]], Path]) -> None:
    """Have a report written into a new folder, `write(folder, made, tell)`, with a bar that `tell` moves on."""
    prepare(outputs)
    with progress_bar() as bar:
        task = bar.add_task("", total=parts)
        written = write(outputs.page.parent, made(), lambda what: bar.update(task, advance=1, description=what))
    say(f"see {written}")
