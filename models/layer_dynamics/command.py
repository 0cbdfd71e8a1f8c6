"""The command `dynsys layer-dynamics`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dynsys.models.reporting.report import report_in
from dynsys.models.reporting.terminal import Seed, report


def layer_dynamics(
    networks: Annotated[int, typer.Option(help="Initial networks of each kind.")] = 20,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="New or empty folder.")] = Path("layer-dynamics"),
) -> None:
    """Measure what deep networks conserve, how their layers grow, and how linear they are; some minutes.

    Writes REPORT.md with figures (report/): what 'Layer dynamics of linearised neural nets' says beside what we find.

    Example: `dynsys layer-dynamics --networks 5`
    """
    from dynsys.models.layer_dynamics.report import write
    from dynsys.models.layer_dynamics.study import Study

    report(report_in(output, "layer-dynamics"), 15, partial(write, Study(networks=networks, seed=seed)))
