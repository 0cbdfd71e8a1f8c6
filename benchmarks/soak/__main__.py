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
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from benchmarks.soak.harm import COPY, ROOT, damage_documents, damage_some, fill, kill, small_disk
from benchmarks.soak.log import Log, show
from benchmarks.soak.store import Files, block_of, committed, content, differences, wrong_blocks

EVENTS = {"SIGKILL": 5, "SIGTERM": 3, "SIGINT": 3, "SIGINT twice": 1, "SIGKILL of a worker": 3, "full disk": 3}
HANGS = 300.0  # seconds in which a process must end that was told to, or whose disk is full
GIVEN_UP = 5  # starts that fail one after the other, for no reason of ours
INTERRUPTED = (("KeyboardInterrupt", ""), ("signal 2", ""), ("exit -2", ""))  # the last: when it had ended
EXPECTED = {  # beside "returned": what each event may end with, and a part of what it says
    "SIGKILL": (("signal 9", ""),),
    "SIGTERM": (("signal 15", ""),),
    "SIGINT": INTERRUPTED,
    "SIGINT twice": INTERRUPTED,
    "SIGKILL of a worker": (("BrokenProcessPool", ""),),
    "full disk": (("OSError", "No space left"), ("InvalidInputError", "and the disk has"), ("signal 9", "")),
    "nothing": (),
}


@attrs.define(eq=False)
class Soak:
    """A soak test: where it is, what it does, when it ends."""

    home: Path
    log: Log
    rng: random.Random
    until: float
    every: float
    members: int
    full: bool  # whether there is a disk that can be filled
    kernels: bool  # whether these are damaged
    started: list[subprocess.Popen[str]] = attrs.field(factory=list)

    @property
    def disk(self) -> Path:
        """The small disk."""
        return self.home / "disk"

    def start(self, *arguments: Any, cache: Path) -> subprocess.Popen[str]:
        """A process of `child`, in a group of its own."""
        command = [sys.executable, "-m", "benchmarks.soak.child", *map(str, arguments)]
        errors = (self.home / f"errors-{arguments[0]}").open("w")
        root = Path(__file__).parents[2]
        environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "DYNSYS_CACHE": str(cache),
            "XDG_CACHE_HOME": str(cache / "key"),
        }
        with errors:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, cwd=root,
                env=environment,
            )  # fmt: skip
        self.started = [one for one in self.started if one.poll() is None] + [process]
        return process

    def end(self) -> None:
        """End what was started and still runs."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def ended(self, process: subprocess.Popen[str], timeout: float | None) -> dict[str, Any] | None:
        """How a run ended; None if it has not."""
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers that nobody told, which hold the pipe
        said = process.communicate()[0].splitlines()
        with suppress(ValueError, IndexError):
            found = json.loads(said[-1])
            return found if process.returncode == 0 else found | {"end": f"exit {process.returncode}"}
        errors = (self.home / "errors-run").read_text()[-3000:]
        if process.returncode < 0:
            return {"end": f"signal {-process.returncode}", "text": "", "warnings": [], "trace": errors}
        last = errors.strip().rpartition("\n")[2]
        name, _, text = last.partition(":")
        return {"end": name.rpartition(".")[2], "text": text, "warnings": [], "trace": errors}

    def ensemble(self, seed: int) -> None:
        """One ensemble: undisturbed, and again disturbed until it is finished; and compare."""
        began, reference = time.monotonic(), self.home / "reference.zarr"
        end = self.ended(self.start("run", reference, seed, self.members, "threads", cache=self.home / "cache"), None)
        self.log("ensemble", seed=seed, seconds=time.monotonic() - began, end=end)
        disturbed = Disturbed(self, seed, content(reference), spare=self.rng.choice([ROOT, COPY]))
        if disturbed.finish():
            differ = differences(disturbed.path, reference)
            self.log("compared", seed=seed, files=len(disturbed.right), differ=differ)
        for folder in (reference, disturbed.path):
            shutil.rmtree(folder, ignore_errors=True)


@attrs.define(eq=False)
class Disturbed:
    """The run that is disturbed, and what is known of its store.

    Attributes
    ----------
    right : dict
        The files of the undisturbed run.
    spare : str
        The copy of the header that is not damaged: a store of which both are is refused.
    known, suspect : set of str
        Blocks that were finished when last we looked; those that we damaged and have not seen right since.
    lent : int
        Blocks that may be computed again though they were right: one each time that a variable without members is
        damaged, which it brings anew.
    """

    soak: Soak
    seed: int
    right: Files
    spare: str
    known: set[str] = attrs.field(factory=set)
    suspect: set[str] = attrs.field(factory=set)
    lent: int = 0
    damaged: bool = False  # anything of the store, since it was last run to an end
    failed: int = 0

    @property
    def path(self) -> Path:
        """Its store."""
        return self.soak.disk / "runs.zarr"

    def finish(self) -> bool:
        """Start it again and again until it has finished undamaged; False if it is given up."""
        while True:
            what, end = self.once()
            if self._unexpected(what, end):
                self.failed += 1
                self.soak.log("error", seed=self.seed, what=what, **end)
            else:
                self.failed = 0
            if self.failed >= GIVEN_UP:
                self.soak.log("error", seed=self.seed, what="given up", end="", text="")
                shutil.rmtree(self.soak.disk / "cache", ignore_errors=True)
                return False
            self.check()
            over = time.monotonic() > self.soak.until
            if (
                what == "nothing"
                and end["end"] == "returned"
                and not self.damaged
                and (over or self.soak.rng.random() < 0.5)
            ):
                return True
            if what == "nothing" and end["end"] == "returned":
                self.damaged = False
            if not over:
                self.damage()

    def once(self) -> tuple[str, dict[str, Any]]:
        """Start it, do something to it after a while, and see how it ends."""
        rng, soak = self.soak.rng, self.soak
        executor, cache = rng.choice(["threads", "processes"]), soak.disk / "cache"
        began = time.monotonic()
        process = soak.start("run", self.path, self.seed, soak.members, executor, cache=cache)
        wait = None if began > soak.until else rng.uniform(0.02, 2.0) * soak.every
        what, end = "nothing", soak.ended(process, wait)
        if end is None:
            names = [name for name in EVENTS if soak.full or name != "full disk"]
            what = rng.choices(names, [EVENTS[name] for name in names])[0]
            if what == "full disk":
                end = self._on_a_full_disk(process)
            else:
                what = kill(process, what, rng)
                end = soak.ended(process, HANGS)
            if end is None:
                process.kill()
                end = (soak.ended(process, None) or {}) | {"end": "hangs"}
        soak.log(
            "disturbed", seed=self.seed, what=what, end=end["end"], after=time.monotonic() - began, executor=executor,
            finished=len(self.known),
        )  # fmt: skip
        return what, end

    def _on_a_full_disk(self, process: subprocess.Popen[str]) -> dict[str, Any] | None:
        rng, soak = self.soak.rng, self.soak
        ballast = fill(soak.disk, rng.choice([0, 4096, 40_000]))
        end = soak.ended(process, HANGS if rng.random() < 0.7 else rng.uniform(0.0, 2.0))
        if end is None:
            process.kill()
            end = soak.ended(process, None)
        ballast.unlink()
        return end

    def _unexpected(self, what: str, end: dict[str, Any]) -> bool:
        """Whether an end, or a warning, is none that what we did explains."""
        explained = (("returned", ""), *EXPECTED[what])
        says = ["members failed"]
        says += ["was damaged"] if self.damaged else []
        says += ["stopped with"] if what.startswith("SIGINT") else []
        says += ["cannot be kept"] if what == "full disk" else []
        strange = [text for text in end["warnings"] if not any(each in text for each in says)]
        return bool(strange) or not any(end["end"] == name and text in end["text"] for name, text in explained)

    def check(self) -> None:
        """Compare the blocks that are finished with those of the undisturbed run."""
        found = content(self.path)
        now, wrong = committed(found), wrong_blocks(found, self.right)
        lost = self.known - now - self.suspect
        if len(lost) <= self.lent:
            self.lent -= len(lost)
            self.suspect |= lost
            lost = set()
        differ = [f"block {block} is wrong" for block in wrong - self.suspect] + [
            f"block {block} is lost" for block in lost
        ]
        self.soak.log("checked", seed=self.seed, blocks=len(now), differ=sorted(differ))
        self.suspect -= now - wrong
        self.known = now

    def damage(self) -> None:
        """Damage some files of the store, and some kernels."""
        rng, soak = self.soak.rng, self.soak
        whole = (self.path / ROOT).exists() and (self.path / COPY).exists()
        if whole and rng.random() < 0.4:
            files = damage_some(self.path, rng, self.spare)
            if rng.random() < 0.3:
                files |= damage_documents(self.path, rng, self.spare)
            self._log("store", files)
            self.damaged = True
            self.suspect |= {block_of(name, self.right) for name in files} - {""}
            self.lent += 1
        if soak.kernels and rng.random() < 0.4:
            self._log("kernels", damage_some(soak.disk / "cache", rng))
        elif soak.kernels and rng.random() < 0.1:
            shutil.rmtree(soak.disk / "cache", ignore_errors=True)
            self._log("kernels", {"all": "deleted"})

    def _log(self, of: str, files: dict[str, str]) -> None:
        self.soak.log("damaged", seed=self.seed, of=of, files=files)


def follow(process: subprocess.Popen[str], log: Log) -> None:
    """Write down what the resident says of itself."""
    assert process.stdout is not None
    for line in process.stdout:
        log("resident", pid=process.pid, **json.loads(line))


def soak(options: argparse.Namespace) -> None:
    """Run it."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    log, home = Log(options.out), Path(tempfile.mkdtemp(prefix="dynsys-soak-"))
    try:
        with small_disk(home / "disk", options.megabytes) as full:
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
                    one.ensemble(seed)
                    if resident.poll() is not None:
                        raise RuntimeError(f"the resident has ended: {(home / 'errors-resident').read_text()}")
                    seed += 1
            finally:
                one.end()
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
