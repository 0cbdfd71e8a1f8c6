"""The soak test: `python -m benchmarks.soak --minutes 120 --seed 1 --out soak.jsonl`; `--summary soak.jsonl` shows it.

One ensemble after the other, each with another seed, is run with its store and its kernels on a small disk. Again and
again it is killed (SIGKILL, SIGTERM, Ctrl-C, also a worker), its disk filled, bytes of its files flipped, files cut,
emptied, deleted, and then the same call goes on. Whenever it has stopped, the blocks that are finished, and whenever
it has ended, all files and arrays must be those of an undisturbed run. Beside it one process runs ensembles again and
again, and must not grow. All of it stays on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from benchmarks.soak.disturbed import Soak
from benchmarks.soak.harm import small_disk
from benchmarks.soak.log import Log, show


def follow(process: subprocess.Popen[str], log: Log) -> None:
    """Write down what the resident says of itself."""
    assert process.stdout is not None
    for line in process.stdout:
        log("resident", pid=process.pid, **json.loads(line))


def soak(options: argparse.Namespace) -> None:
    """Run it."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})  # two soak tests may be on two
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    log, home = Log(options.out), Path(tempfile.mkdtemp(prefix="dynsys-soak-"))
    try:
        with small_disk(home / "disk", f"size={options.megabytes}m,mode=700") as full:
            log("start", seed=options.seed, minutes=options.minutes, full=full, kernels=not options.spare_kernels)
            one = Soak(
                home, log, random.Random(options.seed), time.monotonic() + 60 * options.minutes, options.every,
                options.members, full, not options.spare_kernels,
            )  # fmt: skip
            resident = one.start("resident", home / "resident", cache=home / "cache")
            threading.Thread(target=follow, args=(resident, log), daemon=True).start()
            try:
                seed = options.seed * 1000
                while time.monotonic() < one.until:
                    try:
                        one.ensemble(seed)
                    except OSError:  # must not end a long test, but be seen
                        log("error", seed=seed, what="the soak test", end="OSError", text=traceback.format_exc())
                        one.clear()
                    if resident.poll() is not None:
                        raise RuntimeError(f"the resident has ended: {(home / 'errors-resident').read_text()}")
                    seed += 1
            finally:
                one.end(one.started)
            log("end")
    except BaseException as problem:
        log("error", what="the soak test", end=type(problem).__name__, text=str(problem))
        raise
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main(arguments: list[str] | None = None) -> None:
    """Run a soak test, or show what one found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1, help="of what is done, and of the ensembles")
    parser.add_argument("--out", type=Path, default=Path("soak.jsonl"), help="the log, to which lines are appended")
    parser.add_argument("--every", type=float, default=20.0, help="mean seconds to the next event; a run starts anew")
    parser.add_argument("--members", type=int, default=3200, help="of an ensemble")
    parser.add_argument("--megabytes", type=int, default=64, help="of the small disk")
    parser.add_argument("--spare-kernels", action="store_true", help="do not damage the kernel cache")
    parser.add_argument("--summary", type=Path, metavar="LOG", help="show what a log says, and run nothing")
    options = parser.parse_args(arguments)
    if options.summary is None:
        soak(options)
    print(show(options.summary or options.out))


if __name__ == "__main__":
    main()
