"""The command `dynsys training-chaos`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynsys import InvalidInputError
from dynsys.models.reporting.terminal import Seed, Workers, compute, made, prepare, say


def training_chaos(
    share: Annotated[float, typer.Option(help="Share of the networks; 1 takes some minutes on two cores.")] = 1.0,
    seed: Seed = 0,
    workers: Workers = None,
    output: Annotated[Path, typer.Option(help="New or empty folder, or that of the same command.")] = Path(
        "training-chaos"
    ),
) -> None:
    """Train networks at learning rates from regular to chaotic, and report on 'Dynamical stability and chaos ...'.

    Writes the data (runs/) and REPORT.md with figures (report/): every claim of the paper beside what we find.
    If interrupted, run it again to resume.

    Example: `dynsys training-chaos --share 0.1`
    """
    from dynsys.models.reporting.report import report_in
    from dynsys.models.training_chaos.protocol import Protocol, store, write

    if not 0.0 < share <= 100.0:
        raise InvalidInputError(f"--share must be positive and at most 100, got {share}")
    protocol = Protocol(share=share, seed=seed)
    stores = [store(output, name) for name in protocol.experiments]
    prepare(report_in(output, "training-chaos"), *stores)
    (output / "runs").mkdir(exist_ok=True)
    data = {}
    for place, (name, experiment) in enumerate(protocol.experiments.items(), start=1):
        label = f"{name} ({place} of {len(protocol.experiments)}): "
        data[name] = compute(experiment.ensemble(), store(output, name), workers, label, block=experiment.block)
    say("writing the report")
    say(f"see {write(protocol, data, output, made())}")
