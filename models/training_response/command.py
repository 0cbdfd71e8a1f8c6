"""The command `dynsys training-response`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import dynsys
from models.terminal import console, prepare, progress_bar


def training_response(
    networks: Annotated[int, typer.Option(help="Initial networks.")] = 12,
    seed: Annotated[int, typer.Option(help="Spawns all random numbers.")] = 0,
    output: Annotated[Path, typer.Option(help="New or empty folder.")] = Path("training-response"),
) -> None:
    """Measure how an output answers a step of training on another input, and how that ages; a minute or two.

    Writes REPORT.md with figures (report/): what 'A simple theory for training response ...' says beside what we find.
    Example: dynsys training-response --networks 5
    """
    from models.training_response.report import write
    from models.training_response.study import Study

    study = Study(networks=networks, seed=seed)
    prepare(output)
    made = f"Made by `{shlex.join(['dynsys', *sys.argv[1:]])}`, dynsys {dynsys.__version__}."
    with progress_bar() as bar:
        task = bar.add_task("", total=20)
        report = write(study, output, made, lambda what: bar.update(task, advance=1, description=what))
    console.print(f"see {report}", markup=False)
