"""The command `dynsys layer-dynamics`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import dynsys
from models.terminal import console, prepare, progress_bar


def layer_dynamics(
    networks: Annotated[int, typer.Option(help="Initial networks of each kind.")] = 20,
    seed: Annotated[int, typer.Option(help="Spawns all random numbers.")] = 0,
    output: Annotated[Path, typer.Option(help="New or empty folder.")] = Path("layer-dynamics"),
) -> None:
    """Measure what deep networks conserve, how their layers grow, and how linear they are; some minutes.

    Writes REPORT.md with figures (report/): what 'Layer dynamics of linearised neural nets' says beside what we find.
    Example: dynsys layer-dynamics --networks 5
    """
    from models.layer_dynamics.report import write
    from models.layer_dynamics.study import Study

    study = Study(networks=networks, seed=seed)
    prepare(output)
    made = f"Made by `{shlex.join(['dynsys', *sys.argv[1:]])}`, dynsys {dynsys.__version__}."
    with progress_bar() as bar:
        task = bar.add_task("", total=15)
        report = write(study, output, made, lambda what: bar.update(task, advance=1, description=what))
    console.print(f"see {report}", markup=False)
