"""What is done to a run: its processes are killed, its disk filled, its files and kernels damaged."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT, COPY = "zarr.json", "status/header.json"
KILLS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
DAMAGES = ("a byte", "cut", "emptied", "deleted")
LEAVE = (0, 4096, 40_000)  # bytes that are left on a full disk


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[bool]:
    """A small disk in a folder, where root may mount one; whether there is one. Options are those of tmpfs."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = (
        shutil.which("mount") is not None
        and os.geteuid() == 0
        and subprocess.run(mount, capture_output=True).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all of a disk, but for some bytes."""
    ballast = disk / "ballast"
    with suppress(OSError):  # somebody else took the rest meanwhile
        ballast.write_bytes(b"0" * max(0, shutil.disk_usage(disk).free - leave))
    return ballast


def workers_of(pid: int) -> list[int]:
    """The processes that a process has forked."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill(process: subprocess.Popen[str], name: str, rng: random.Random) -> str:
    """Send a signal: to a process, twice to it, or to one of its workers; what was done."""
    if name == "SIGINT twice":
        process.send_signal(signal.SIGINT)
        time.sleep(rng.uniform(0.0, 0.5))
        process.send_signal(signal.SIGINT)
    elif name == "SIGKILL of a worker":
        workers = workers_of(process.pid)
        with suppress(ProcessLookupError):
            os.kill(rng.choice(workers) if workers else process.pid, signal.SIGKILL)
        name = name if workers else "SIGKILL"
    else:
        process.send_signal(KILLS[name])
    return name


def damage(file: Path, kind: str, rng: random.Random) -> None:
    """Damage a file."""
    data = bytearray(file.read_bytes())
    if kind == "deleted":
        file.unlink()
    elif kind == "emptied" or not data:
        file.write_bytes(b"")
    elif kind == "cut":
        file.write_bytes(data[: rng.randrange(len(data))])
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)


def damage_some(folder: Path, rng: random.Random, spare: str = "") -> dict[str, str]:
    """Damage up to three files of a folder, but for one that is spared; which, and how."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".partial"))
    names = [str(file.relative_to(folder)) for file in files if file != folder / spare]
    done = {}
    for name in rng.sample(names, min(len(names), rng.randint(1, 3))):
        done[name] = rng.choice(DAMAGES)
        damage(folder / name, done[name], rng)
    return done


def damage_documents(store: Path, rng: random.Random, spare: str) -> dict[str, str]:
    """Damage one of the files that describe a store, but for the copy of its header that is spared."""
    names = [str(file.relative_to(store)) for file in sorted(store.rglob("*.json")) if file != store / spare]
    name, kind = rng.choice(names), rng.choice(DAMAGES)
    damage(store / name, kind, rng)
    return {name: kind}
