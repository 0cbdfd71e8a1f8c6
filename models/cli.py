"""The command `dynsys`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import warnings
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import dynsys
from dynsys import DynsysError, InterruptedWarning, InvalidInputError
from dynsys.blocks import STATUSES
from dynsys.files import write_whole
from dynsys.inspection import export as export_store
from dynsys.inspection import report
from models.activations import BY_NAME

try:
    import typer
    from rich.console import Console
except ImportError as problem:  # pragma: no cover
    sys.exit(f"the command dynsys needs the extra `study` ({problem}): pip install 'dynsys-clv[study]'")

if TYPE_CHECKING:
    import xarray

    from dynsys.ensemble import Ensemble, Progress
    from models.weight_dynamics.check import BlockCheck

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)
USAGE, FAILURE, INTERRUPTED = 2, 1, 130
BLOCK = 16  # members trained side by side: of the paper's runs, half a minute


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
        console.print("dynsys: interrupted", style="bold")
        os._exit(INTERRUPTED)  # not waiting for the threads, which no one can stop


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
    workers: Annotated[int | None, typer.Option(help="Threads [default: all cores].")] = None,
    output: Annotated[Path, typer.Option(help="New or empty, or of the same command.")] = Path("weight-dynamics"),
) -> None:
    """Train an ensemble of networks and follow all Lyapunov exponents of every run.

    Writes the data (runs.zarr), summary.md and figures. Whatever ends it, the same command goes on: Ctrl-C saves the
    runs under way, a second one ends at once. Example: dynsys weight-dynamics --members 20 --activation gelu
    """
    from models.weight_dynamics.study import Study
    from models.weight_dynamics.task import paper_task, read_table, regression_task

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
        task = paper_task(samples)
    store = output / "runs.zarr"
    _prepare(output, store)
    runs = _compute(study.ensemble(X, y, task), store, workers)
    _write_summary(runs, output, data is None)
    counts = _counts(runs)
    console.print(
        f"{counts['finished']} of {runs.status.size} runs finished: see {output / 'summary.md'}", markup=False
    )
    if not counts["finished"]:
        stopped = runs.stopped.values[runs.stopped.values >= 0]
        raise Failed(
            f"all {len(stopped)} runs stopped (diverged or singular), the first by step {stopped.min()}: choose a "
            f"smaller --learning-rate than {learning_rate:g}; what was computed is in {store}"
        )


def _prepare(output: Path, store: Path) -> None:
    """Make the output folder, or say why not; nothing in it is ever overwritten."""
    if output.exists() and not store.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidInputError(
            f"the output folder {output} is not empty, and holds no study to be continued: nothing is overwritten, "
            "choose another one"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InvalidInputError(f"the output folder {output} cannot be made: {problem}") from None
    if not os.access(output, os.W_OK):
        raise InvalidInputError(f"the output folder {output} cannot be written: choose another one")


def _compute(ensemble: Ensemble, store: Path, workers: int | None) -> xarray.Dataset:
    """Run an ensemble, or what is left of it, with a progress bar."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.percentage:3.0f} %"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    last = None
    with Bar(*columns, console=console) as bar, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task = bar.add_task(f"0 of {ensemble.members} members", total=ensemble.members)

        def show(progress: Progress) -> None:
            nonlocal last
            last = progress
            bar.update(task, completed=progress.done, description=str(progress))

        runs = ensemble.run(store, block=None if store.exists() else BLOCK, workers=workers, progress=show)
    for warning in caught:
        if issubclass(warning.category, InterruptedWarning):
            raise Interrupted(str(warning.message))
        console.print(f"dynsys: {warning.message}", markup=False)
    if last is not None and last.computed:
        console.print(f"{last.seconds_per_member:.3g} s of a worker for each member", markup=False)
    return runs


def _write_summary(runs: xarray.Dataset, output: Path, paper_task: bool) -> None:
    """Figures, and last the summary; a study that has one is left alone."""
    from models.weight_dynamics.figures import draw_all
    from models.weight_dynamics.summary import summary

    if (output / "summary.md").exists():
        return
    shutil.rmtree(output / "figures", ignore_errors=True)  # of a process that was killed while it drew
    if _counts(runs)["finished"]:
        draw_all(runs, output / "figures")
    made = f"Made by `{shlex.join(['dynsys', *sys.argv[1:]])}`, dynsys {dynsys.__version__}."
    write_whole(output / "summary.md", f"{summary(runs, paper_task)}\n{made}\n")


def _counts(runs: xarray.Dataset) -> Counter[str]:
    return Counter(STATUSES[code] for code in runs.status.values.ravel().tolist())


@app.command()
def inspect(
    store: Annotated[Path, typer.Argument(help="Folder of the store, such as weight-dynamics/runs.zarr.")],
) -> None:
    """Print what is in the store of an ensemble, how far it is, and what failed. Nothing in it is executed.

    Example: dynsys inspect weight-dynamics/runs.zarr
    """
    typer.echo(report(store))


@app.command()
def export(
    store: Annotated[Path, typer.Argument(help="Folder of the store.")],
    target: Annotated[Path, typer.Argument(help="New file NAME.nc (NetCDF), or new folder for CSV tables.")],
) -> None:
    """Write the store of an ensemble as a NetCDF file or as CSV tables.

    Example: dynsys export weight-dynamics/runs.zarr runs.nc
    """
    for file in export_store(store, target):
        typer.echo(file)


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
