"""The command `dynsys`: every folder brings its own commands; `dynsys.models.reporting.terminal` is shared."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

try:
    import rich  # noqa: F401  what the commands need: one message for all that is missing
    import typer
except ImportError as problem:  # pragma: no cover
    sys.exit(f"the command dynsys needs the extra `study` ({problem}): pip install 'dynsys-clv[study]'")

import dynsys
from dynsys import DynsysError, InvalidInputError, StoreError
from dynsys.models.classics.command import classics
from dynsys.models.layer_dynamics.command import layer_dynamics
from dynsys.models.reporting.terminal import Interrupted, console
from dynsys.models.training_chaos.command import training_chaos
from dynsys.models.training_response.command import training_response
from dynsys.models.weight_dynamics.command import check_jacobian, weight_dynamics
from dynsys.storage.cache import kept, size
from dynsys.storage.escaping import terminal
from dynsys.storage.inspection import export as export_store
from dynsys.storage.inspection import report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # fills paragraphs, and leaves [brackets] alone
)
Store = Annotated[
    Path,
    typer.Argument(exists=True, file_okay=False, help="Folder of the store, such as weight-dynamics/runs.zarr."),
]
USAGE, FAILURE, INTERRUPTED = 2, 1, 130

app.command("weight-dynamics")(weight_dynamics)
app.command("check-jacobian")(check_jacobian)
app.command("training-chaos")(training_chaos)
app.command("training-response")(training_response)
app.command("layer-dynamics")(layer_dynamics)
app.command("classics")(classics)


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
    console.print(f"dynsys: {terminal(problem)}", style="bold", markup=False, soft_wrap=True)
    sys.exit(status)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dynsys {dynsys.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Lyapunov exponents and covariant Lyapunov vectors of flows, maps and learning networks.

    To begin with, each in less than a minute:

    - `dynsys classics Lorenz63 --length quick`: exponents of a known system, beside the published ones

    - `dynsys weight-dynamics --members 20`: 40 training runs of a small network, all exponents of each

    - `dynsys inspect weight-dynamics/runs.zarr`: what that command wrote

    Options and an example of each command: `dynsys COMMAND --help`. How to use the library, and what was found with
    it: README.md of the repository, and from there tutorials/ and docs/.
    """


@app.command()
def inspect(
    store: Store,
) -> None:
    """Print what is in the store of an ensemble, how much is done, and what failed.

    Nothing in it is executed.

    Example: `dynsys inspect weight-dynamics/runs.zarr`
    """
    typer.echo(terminal(report(store)))


@app.command()
def export(
    store: Store,
    target: Annotated[Path, typer.Argument(help="New file NAME.nc (NetCDF), or new folder for CSV tables.")],
) -> None:
    """Write the store of an ensemble as a NetCDF file or as CSV tables.

    Example: `dynsys export weight-dynamics/runs.zarr runs.nc`
    """
    for file in export_store(store, target):
        typer.echo(terminal(file))


@app.command()
def cache(
    check: Annotated[bool, typer.Option("--check", help="Read every entry, and name those that are damaged.")] = False,
    empty: Annotated[bool, typer.Option("--empty", help="Remove all of it, and nothing else in that folder.")] = False,
) -> None:
    """Show, check or empty the cache of derived equations and compiled kernels.

    An entry that is damaged, or comes from elsewhere, is never used: it is made anew when it is needed.

    Example: `dynsys cache --check`
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        here = kept()
    if here.folder is None:
        raise StoreError(": ".join(["nothing is kept", *(str(warning.message) for warning in said)]))
    for title, files in (
        ("entries", here.entries()),
        ("left by killed processes and earlier versions", here.remains()),
    ):
        typer.echo(f"{terminal(here.folder)}: {len(files)} {title}, {size(files) / 2**20:.1f} MiB")
    if check:
        damaged = here.damaged()
        for name in damaged:
            typer.echo(f"damaged, will be made anew: {name}")
        typer.echo(f"{len(damaged)} damaged")
    if empty:
        here.empty()
        typer.echo("emptied")
