"""The command `dynsys training-response`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dynsys.models.reporting.report import report_in
from dynsys.models.reporting.terminal import Seed, report


def training_response(
    networks: Annotated[int, typer.Option(help="Initial networks.")] = 12,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="New or empty folder.")] = Path("training-response"),
) -> None:
    """Measure how an output responds to a training step on another input, and how that ages; a minute or two.

    Writes REPORT.md with figures (report/): what 'A simple theory for training response ...' says beside what we find.

    Example: `dynsys training-response --networks 5`
    """
    from dynsys.models.training_response.report import write
    from dynsys.models.training_response.study import Study

    report(report_in(output, "training-response"), 20, partial(write, Study(networks=networks, seed=seed)))
