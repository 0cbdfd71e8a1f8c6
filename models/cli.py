"""The command `dynsys`."""

from __future__ import annotations

import os
import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import dynsys
from dynsys import DynsysError, InvalidInputError
from models.activations import BY_NAME

try:
    import typer
    from rich.console import Console
except ImportError as problem:  # pragma: no cover
    sys.exit(f"the command dynsys needs the extra `study` ({problem}): pip install 'dynsys-clv[study]'")

if TYPE_CHECKING:
    import numpy as np
    import xarray

    from models.weight_dynamics.check import BlockCheck
    from models.weight_dynamics.study import Study

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)
USAGE, FAILURE, INTERRUPTED = 2, 1, 130


Activation = StrEnum("Activation", list(BY_NAME))  # type: ignore[misc]


class Weights(StrEnum):
    """Initial weights: He et al., or the paper's wide range (standard deviation 20)."""

    he, wide = "he", "wide"


class Biases(StrEnum):
    """Initial biases: zero, or drawn like the weights of their layer."""

    zero, drawn = "zero", "drawn"


class Reduction(StrEnum):
    """Cost of a batch: mean or sum over its samples."""

    mean, sum = "mean", "sum"


class Failed(DynsysError):
    """The command did what it was asked, and the answer is bad: exit status 1."""


class Interrupted(DynsysError):
    """Ctrl-C ended a run, and what was finished is kept: exit status 130."""


def main() -> None:
    """Run the command: exit status 2 for wrong usage, 1 for failure, and never a traceback for either."""
    try:
        app()
    except InvalidInputError as problem:
        _leave(problem, USAGE)
    except Interrupted as problem:
        _leave(problem, INTERRUPTED)
    except (DynsysError, OSError) as problem:
        _leave(problem, FAILURE)
    except KeyboardInterrupt:
        _leave("interrupted", INTERRUPTED)


def _leave(problem: object, status: int) -> None:
    console.print(f"dynsys: {problem}", style="bold", markup=False, soft_wrap=True)
    sys.exit(status)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dynsys {dynsys.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Lyapunov exponents and covariant Lyapunov vectors of flows, maps and learning networks."""


@app.command("weight-dynamics")
def weight_dynamics(
    members: Annotated[int, typer.Option(help="Training runs of each activation.")] = 256,
    steps: Annotated[int | None, typer.Option(help="Steps of a run [default: the paper's time, 22 / rate].")] = None,
    learning_rate: Annotated[float, typer.Option(help="Learning rate; the default is the paper's.")] = 3e-5,
    activation: Annotated[list[Activation] | None, typer.Option(help="May be repeated [default: relu, tanh].")] = None,
    hidden: Annotated[int, typer.Option(help="Hidden units.")] = 2,
    batch: Annotated[int, typer.Option(help="Samples of a minibatch; 0: all of them.")] = 32,
    own_batches: Annotated[bool, typer.Option("--own-batches", help="Every run has its own batch order.")] = False,
    weights: Annotated[Weights, typer.Option(help="Initial weights.")] = Weights.he,
    biases: Annotated[Biases, typer.Option(help="Initial biases.")] = Biases.zero,
    reduction: Annotated[Reduction, typer.Option(help="Cost: mean or sum over the batch.")] = Reduction.mean,
    interval: Annotated[int, typer.Option(help="Steps between orthonormalisations.")] = 20,
    samples: Annotated[int, typer.Option(help="Samples of the paper's task.")] = 1000,
    data: Annotated[Path | None, typer.Option(help="Your own table (CSV) instead of the paper's task.")] = None,
    target: Annotated[str | None, typer.Option(help="Its column to be predicted; the others are inputs.")] = None,
    seed: Annotated[int, typer.Option(help="Spawns all random numbers.")] = 0,
    output: Annotated[Path, typer.Option(help="New or empty folder.")] = Path("weight-dynamics"),
) -> None:
    """Train an ensemble of networks and follow all Lyapunov exponents of every run.

    Writes the data (runs.nc), summary.md and figures. Ctrl-C ends it with the data of the output times reached so far.
    Example: dynsys weight-dynamics --members 20 --activation gelu
    """
    from models.weight_dynamics.study import Study
    from models.weight_dynamics.task import read_table, regression_task

    study = Study(
        activations=tuple(a.value for a in activation) if activation else ("relu", "tanh"),
        members=members,
        steps=steps,
        learning_rate=learning_rate,
        hidden=hidden,
        batch=batch,
        interval=interval,
        weights=weights.value,
        biases=biases.value,
        reduction=reduction.value,
        shared_batches=not own_batches,
        seed=seed,
    )
    if (data is None) != (target is None):
        raise InvalidInputError("--data and --target go together: a CSV file and the name of its target column")
    if data is not None and target is not None:
        X, y, names = read_table(data, target)
        task = f"Task: {target} from {', '.join(names)} of {data.name} ({len(y)} rows, inputs standardised)."
    else:
        X, y = regression_task(samples, study.seeds["data"])
        task = f"Task: y = 10 x1 - 2 x2^2, {samples} samples with x1, x2 ~ N(0, 1)."
    _prepare(output)
    started = time.monotonic()
    runs = _with_progress(study, X, y)
    runs = _write_data(runs, output, task)
    _raise_if_interrupted(runs, output)
    _write_summary(runs, output, task, data is None)
    console.print(f"{_count(runs)} in {time.monotonic() - started:.0f} s: see {output / 'summary.md'}", markup=False)
    stopped = runs.stopped.values[runs.status.values > 0]
    if len(stopped) == runs.status.size:
        raise Failed(
            f"all {len(stopped)} runs stopped (diverged or singular), the first by step {stopped.min()}: choose a "
            f"smaller --learning-rate than {learning_rate:g}; what was computed is in {output / 'runs.nc'}"
        )


def _prepare(output: Path) -> None:
    """Make the output folder, or say why not; nothing in it is ever overwritten."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidInputError(f"the output folder {output} is not empty: nothing is overwritten, choose another one")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InvalidInputError(f"the output folder {output} cannot be made: {problem}") from None
    if not os.access(output, os.W_OK):
        raise InvalidInputError(f"the output folder {output} cannot be written: choose another one")


def _with_progress(study: Study, X: np.ndarray, y: np.ndarray) -> xarray.Dataset:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    total = study.members * len(study.activations) * study.intervals * study.interval
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{total:.3g} network-steps", total=total)
        return study.run(X, y, lambda done: bar.advance(task, done))


def _write_data(runs: xarray.Dataset, output: Path, task: str) -> xarray.Dataset:
    """Data first, so that nothing is lost if a figure fails."""
    runs = runs.assign_attrs(task=task, command=shlex.join(["dynsys", *sys.argv[1:]]))
    runs.to_netcdf(output / "runs.nc", engine="scipy")
    return runs


def _raise_if_interrupted(runs: xarray.Dataset, output: Path) -> None:
    from models.weight_dynamics.study import INTERRUPTED as UNFINISHED

    if (runs.status != UNFINISHED).all():
        return
    reached = runs.loss.notnull().any("member").sum("time")
    counts = ", ".join(f"{int(count)} ({name})" for name, count in zip(runs.activation.values, reached, strict=True))
    raise Interrupted(
        f"interrupted; {output / 'runs.nc'} holds the output times that were reached, {counts} of "
        f"{runs.sizes['time']}, and NaN for the others. A new run starts from the beginning."
    )


def _write_summary(runs: xarray.Dataset, output: Path, task: str, paper_task: bool) -> None:
    from models.weight_dynamics.figures import draw_all
    from models.weight_dynamics.summary import summary

    text = summary(runs, task, paper_task) + f"\nMade by `{runs.command}`, dynsys {dynsys.__version__}.\n"
    (output / "summary.md").write_text(text)
    if (runs.status == 0).any():
        draw_all(runs, output / "figures", task)


def _count(runs: xarray.Dataset) -> str:
    finished = int((runs.status == 0).sum())
    return f"{finished} of {runs.status.size} runs finished"


@app.command("check-jacobian")
def check_jacobian(
    sizes: Annotated[str, typer.Option(help="N1,N2,N3: inputs, hidden units, outputs.")] = "2,2,1",
    activation: Annotated[list[Activation] | None, typer.Option(help="May be repeated [default: all].")] = None,
    samples: Annotated[int, typer.Option(help="Samples of random data.")] = 32,
    reduction: Annotated[Reduction, typer.Option(help="Cost: mean or sum over the samples.")] = Reduction.mean,
    seed: Annotated[int, typer.Option(help="Draws data and weights.")] = 0,
) -> None:
    """Check the network's Jacobian, block by block: Eqs. (8)-(23) of the paper against three other ways.

    SymPy's derivatives of the loss of one sample, the matrix-free product, and the complex step. Exit status 1 if
    they disagree. Example: dynsys check-jacobian --sizes 3,4,2 --activation tanh
    """
    import numpy as np

    from models.activations import named
    from models.weight_dynamics import ThreeLayerGradientFlow
    from models.weight_dynamics.check import TOLERANCE
    from models.weight_dynamics.check import check_jacobian as check

    try:
        n1, n2, n3 = (int(size) for size in sizes.split(","))
    except ValueError:
        raise InvalidInputError(f"--sizes must be three whole numbers such as 2,2,1, got {sizes!r}") from None
    if min(n1, n2, n3, samples) < 1:
        raise InvalidInputError(f"sizes and samples must be at least 1, got {sizes} and {samples}")
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(samples, n1)), rng.normal(size=(samples, n3))
    disagree = []
    for choice in activation or list(Activation):
        flow = ThreeLayerGradientFlow(X, y, n2, activation=named(choice.value), reduction=reduction.value)
        blocks = check(flow, flow.initial(biases="drawn", seed=seed))
        typer.echo(_block_table(choice.value, (n1, n2, n3), blocks))
        disagree += [f"({block.equation}) with {choice.value}" for block in blocks if not block.agrees]
    if disagree:
        raise Failed(f"the Jacobians differ by more than {TOLERANCE:g} in the blocks {', '.join(disagree)}")
    typer.echo(f"All agree within {TOLERANCE:g} of the largest entry.")


def _block_table(activation: str, sizes: tuple[int, int, int], blocks: list[BlockCheck]) -> str:
    lines = [
        f"{activation}, (N1, N2, N3) = {sizes}: largest difference from the formula, relative to the largest entry",
        f"{'block':>6}  {'derivative':<14}{'SymPy':>12}{'matrix-free':>14}{'complex step':>14}",
    ]
    lines += [
        f"{f'({b.equation})':>6}  {f'd {b.row}. / d {b.column}':<14}{b.symbolic:>12.1e}{b.jvp:>14.1e}"
        f"{b.complex_step:>14.1e}{'' if b.agrees else '   DISAGREES'}"
        for b in blocks
    ]
    return "\n".join([*lines, ""])
