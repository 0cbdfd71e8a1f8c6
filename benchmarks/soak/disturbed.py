"""The run that is disturbed: what is done to it, how it ends, and whether what stands on the disk is right."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from benchmarks.soak.harm import COPY, LEAVE, ROOT, damage_documents, damage_some, fill, kill
from benchmarks.soak.log import Log
from benchmarks.soak.store import Files, block_of, committed, content, differences, wrong_blocks

EVENTS = {"SIGKILL": 5, "SIGTERM": 3, "SIGINT": 3, "SIGINT twice": 1, "SIGKILL of a worker": 3, "full disk": 3}
HANGS = 300.0  # seconds in which a process must end that was told to, or whose disk is full
GIVEN_UP = 5  # starts that fail one after the other, for no reason of ours
INTERRUPTED = (("KeyboardInterrupt", ""), ("signal 2", ""), ("exit -2", ""))
EXPECTED = {  # beside "returned": what each event may end with ("exit": when all was done), and a part of what it says
    "SIGKILL": (("signal 9", ""), ("exit -9", "")),
    "SIGTERM": (("signal 15", ""), ("exit -15", "")),
    "SIGINT": INTERRUPTED,
    "SIGINT twice": INTERRUPTED,
    "SIGKILL of a worker": (("BrokenProcessPool", ""),),
    "full disk": (
        ("OSError", "No space left"),
        ("InvalidInputError", "and the disk has"),
        ("signal 9", ""),
        ("exit -9", ""),
    ),
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

    def clear(self) -> None:
        """Forget an ensemble that went wrong, and what it left on the disk."""
        self.end(self.started[1:])  # all but the resident
        for path in (self.home / "reference.zarr", *self.disk.iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def end(self, processes: list[subprocess.Popen[str]]) -> None:
        """End those that still run."""
        for process in processes:
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
        if end is None or end["end"] != "returned":
            raise OSError(f"an undisturbed run ended with {end}")
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
        ballast = fill(soak.disk, rng.choice(LEAVE))
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
