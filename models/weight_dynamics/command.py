"""The commands of this folder: `dynsys weight-dynamics` and `dynsys check-jacobian`."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from dynsys import InvalidInputError
from dynsys.models.activations import BY_NAME
from dynsys.models.reporting.outputs import Outputs
from dynsys.models.reporting.terminal import BLOCK, Failed, Seed, Workers, compute, made, prepare, say
from dynsys.passes.status import STATUSES
from dynsys.storage.escaping import plain_name

if TYPE_CHECKING:
    import xarray

    from dynsys.models.networks.three_layer.check import BlockCheck
    from dynsys.models.weight_dynamics.study import Study

MOST_BYTES = 2**30  # that a worker holds for the angles

Activation = StrEnum("Activation", list(BY_NAME))  # type: ignore[misc]


class Kind(StrEnum):
    """One ensemble of training runs, or the paper in full."""

    single, paper = "single", "paper"


class Weights(StrEnum):
    """Initial weights: He et al., or the paper's wide range (standard deviation 20)."""

    he, wide = "he", "wide"


class Biases(StrEnum):
    """Initial biases: zero, or random like the weights of their layer."""

    zero, random = "zero", "random"


class Reduction(StrEnum):
    """Cost of a batch: mean or sum over its samples."""

    mean, sum = "mean", "sum"


def weight_dynamics(
    context: typer.Context,
    study: Annotated[Kind, typer.Option(help="One ensemble, or the paper in full: see below.")] = Kind.single,
    members: Annotated[int | None, typer.Option(help="Training runs of each activation [default: 256; 4000].")] = None,
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
    angles: Annotated[
        bool | None,
        typer.Option(
            "--angles/--no-angles",
            help="Angles between covariant vectors along the runs [default: where 1 GiB for each worker is enough].",
        ),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    output: Annotated[
        Path | None, typer.Option(help="New or empty, or of the same command [default: by study].")
    ] = None,
) -> None:
    """Train an ensemble of networks and follow all Lyapunov exponents of every run.

    Writes the data (runs.zarr), summary.md, figures, and runs.html: a page on which a run is picked by its final loss
    and examined. If interrupted, run the same command again to resume: Ctrl-C saves the runs under way, a second one
    ends at once.

    With --study paper, all that "On the weight dynamics of learning networks" reports, and one study for everything
    that it leaves open: 72,000 runs, under two hours on two cores. Of the options, members, steps, seed, workers and
    output apply. Writes the data (runs/) and, whenever it is called, REPORT.md with figures (report/).

    Example: `dynsys weight-dynamics --members 20 --activation gelu`
    """
    from dynsys.models.weight_dynamics.runs import TrainingRuns
    from dynsys.models.weight_dynamics.study import Study
    from dynsys.models.weight_dynamics.table import read_table
    from dynsys.models.weight_dynamics.task import paper_task, regression_task

    if study is Kind.paper:
        _only(context, ("study", "members", "steps", "seed", "workers", "output"))
        _paper(members, steps, seed, workers, output or Path("weight-dynamics-paper"))
        return
    output = output or Path("weight-dynamics")
    settings = Study(
        activations=tuple(a.value for a in activation) if activation else ("relu", "tanh"),
        members=256 if members is None else members,  # whole blocks of lanes on two cores
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
        plain_name("table", data.name)
        task = f"Task: {target} from {', '.join(names)} of {data.name} ({len(y)} rows, inputs standardised)."
    else:
        X, y = regression_task(samples, settings.seeds["data"])
        task = paper_task(samples)
    if batch > len(y):
        raise InvalidInputError(
            f"a batch of {batch} samples needs at least as many data; there are {len(y)}: choose a smaller --batch, or "
            "0 for all of them"
        )
    settings = _with_angles(settings, settings.network(X, y, settings.activations[0]).dimension, angles)
    store, outputs = output / "runs.zarr", Outputs(output / "summary.md", "weight-dynamics")
    prepare(outputs, store)
    runs = compute(TrainingRuns(settings, X, y, task).ensemble(), store, workers)
    _write_summary(runs, outputs, data is None)
    counts = _counts(runs)
    say(
        f"{counts['finished']} of {runs.status.size} runs finished: see {output / 'summary.md'}"
        + (f" and, in a browser, {output / 'runs.html'}" if counts["finished"] else "")
    )
    if not counts["finished"]:
        stopped = runs.stopped.values[runs.stopped.values >= 0]
        first = f", the first by step {stopped.min()}: choose a smaller --learning-rate than {learning_rate:g}"
        raise Failed(
            f"no run finished ({', '.join(f'{count} {kind}' for kind, count in counts.items())})"
            f"{first if stopped.size else ''}; what was computed is in {store}"
        )


def _with_angles(settings: Study, dimension: int, asked: bool | None) -> Study:
    """The same settings with angles where they are asked for, or nothing is said and memory allows them."""
    import attrs

    block = min(BLOCK, settings.members)
    planned = settings.angle_bytes(dimension, block)
    if asked and planned > MOST_BYTES:
        raise InvalidInputError(
            f"--angles holds all triangular factors of the {dimension} vectors of {block} runs, and the vectors, "
            f"{planned / 2**30:.3g} GiB for each worker, and at most {MOST_BYTES / 2**30:g} GiB are allowed: leave it "
            "out, or choose fewer --steps, a longer --interval, or fewer --hidden units"
        )
    return attrs.evolve(settings, angles=planned <= MOST_BYTES if asked is None else asked)


def _only(context: typer.Context, names: tuple[str, ...]) -> None:
    """Refuse options that have no meaning here."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    wrong = sorted(f"--{name.replace('_', '-')}" for name in given if name not in names)
    if wrong:
        raise InvalidInputError(
            f"--study paper is a fixed protocol, in which {', '.join(wrong)} has no meaning: leave it out, or run a "
            "single study"
        )


def _paper(members: int | None, steps: int | None, seed: int, workers: int | None, output: Path) -> None:
    """Run every study of the protocol, or what is left of them, and write the report."""
    from dynsys.models.reporting.report import report_in
    from dynsys.models.weight_dynamics.paper.protocol import Protocol, store
    from dynsys.models.weight_dynamics.paper.report import write
    from dynsys.models.weight_dynamics.study import PAPER_LEARNING_RATE, PAPER_TIME

    time = PAPER_TIME if steps is None else steps * PAPER_LEARNING_RATE
    protocol = Protocol(members=4000 if members is None else members, time=time, seed=seed)
    names = list(protocol.studies)
    prepare(report_in(output, "weight-dynamics"), *(store(output, name) for name in names))
    (output / "runs").mkdir(exist_ok=True)
    for place, name in enumerate(names, start=1):
        compute(protocol.ensemble(name), store(output, name), workers, f"{name} ({place} of {len(names)}): ")
    say("writing the report")
    say(f"see {write(protocol, output, made())}")


def _write_summary(runs: xarray.Dataset, outputs: Outputs, paper_task: bool) -> None:
    """The summary, figures, and the page: what is missing of them, and nothing else."""
    from dynsys.models.weight_dynamics.figures import draw_all
    from dynsys.models.weight_dynamics.page.page import write_page
    from dynsys.models.weight_dynamics.summary import summary

    if outputs.complete():
        return
    with TemporaryDirectory() as folder:
        if _counts(runs)["finished"]:
            draw_all(runs, Path(folder, "figures"))
            write_page(runs, Path(folder, "runs.html"), made())
        left = outputs.add([summary(runs, paper_task)], made(), Path(folder))
    for file in left:
        say(f"dynsys: {file} was there before, and is left as it is")


def _counts(runs: xarray.Dataset) -> Counter[str]:
    return Counter(STATUSES[code] for code in runs.status.values.ravel().tolist())


def check_jacobian(
    sizes: Annotated[str, typer.Option(help="N1,N2,N3: inputs, hidden units, outputs.")] = "2,2,1",
    activation: Annotated[list[Activation] | None, typer.Option(help="May be repeated [default: all].")] = None,
    samples: Annotated[int, typer.Option(help="Samples of random data.")] = 32,
    reduction: Annotated[Reduction, typer.Option(help="Cost: mean or sum over the samples.")] = Reduction.mean,
    seed: Seed = 0,
) -> None:
    """Check the network's Jacobian, block by block: Eqs. (8)-(23) of the paper against three other ways.

    SymPy's derivatives of the loss of one sample, the matrix-free product, and the complex step. Exit status 1 if
    they disagree.

    Example: `dynsys check-jacobian --sizes 3,4,2 --activation tanh`
    """
    import numpy as np

    from dynsys.models.activations import named
    from dynsys.models.networks.three_layer.check import TOLERANCE
    from dynsys.models.networks.three_layer.check import check_jacobian as check
    from dynsys.models.weight_dynamics import ThreeLayerGradientFlow

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
        blocks = check(flow, flow.initial(biases="random", seed=seed))
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
