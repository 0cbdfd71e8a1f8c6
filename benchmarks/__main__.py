"""Run the benchmarks: `python -m benchmarks [--only lorenz63] [--quick]`, Markdown tables on stdout.

`--only sharafi`, `--only coverage` and `--only flows` measure errors rather than times, `--only training` needs
PyTorch: they run only when asked for.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is imported: one thread, unless a section says two
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import argparse  # noqa: E402
import tempfile  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402

SECTIONS = (
    "machine",
    "lorenz63",
    "medium",
    "sizes",
    "factorisation",
    "steppers",
    "lorenz96-wide",
    "vectors",
    "networks",
    "descent",
    "startup",
    "peak",
    "threads",
    "ensembles",
    "memory",
    "vectors-memory",
)


def main(arguments: list[str] | None = None) -> None:
    """Run the sections that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        choices=(*SECTIONS, "sharafi", "coverage", "flows", "training"),
        action="append",
        help="a section; may be given again",
    )
    parser.add_argument("--quick", action="store_true", help="so little work that the times mean nothing")
    parser.add_argument("--rounds", type=int, default=0, help="interleaved repeats (default: 5, quick: 1)")
    parser.add_argument(
        "--figure", type=Path, metavar="FOLDER", help="where `steppers` and `sharafi` draw their figures"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="a page whose sections are written anew (docs/benchmarks.md)"
    )
    chosen = parser.parse_args(arguments)
    from benchmarks import (
        coverage,
        descent,
        ensembles,
        factorisation,
        flows,
        flows_database,
        machine,
        medium,
        memory,
        networks,
        sharafi,
        sizes,
        startup,
        steppers,
        training,
        vectors,
        wide,
    )
    from benchmarks.page import printed, with_section

    sections = {
        "machine": machine.machine,
        "lorenz63": flows.lorenz63,
        "medium": medium.medium,
        "sizes": sizes.sizes,
        "factorisation": factorisation.factorisation,
        "steppers": partial(steppers.steppers, folder=chosen.figure),
        "lorenz96-wide": wide.lorenz96_wide,
        "vectors": vectors.vectors,
        "networks": networks.networks,
        "descent": descent.descent,
        "startup": startup.startup,
        "peak": networks.peak,
        "threads": networks.threads,
        "ensembles": ensembles.ensembles,
        "memory": memory.memory,
        "vectors-memory": memory.vectors_memory,
        "coverage": coverage.coverages,
        "flows": flows_database.flows_database,
        "training": training.training,
        "sharafi": partial(sharafi.sharafi, folder=chosen.figure),
    }
    with tempfile.TemporaryDirectory() as folder:
        if not chosen.quick:
            os.environ["DYNSYS_CACHE"] = folder  # nothing is compiled when we begin
        for name in chosen.only or SECTIONS:
            with printed() as text:
                sections[name](chosen.rounds or (1 if chosen.quick else 5), chosen.quick)
            if chosen.page is not None:
                chosen.page.write_text(with_section(chosen.page.read_text("utf-8"), name, "".join(text)), "utf-8")


if __name__ == "__main__":
    main()
