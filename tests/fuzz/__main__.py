"""Fuzz everything that dynsys reads: PYTHONPATH=tests python -m fuzz [--seconds 60] [--coverage] [targets].

Each target runs so many seconds in a process of its own, which may take some memory and a while for one input, and may
start no program, open no connection, and write nowhere but in its folder. By default inputs are drawn at random, the
same ones for the same --seed; with --coverage they are bred by what they reach in dynsys (`pip install atheris`).
A finding is printed with what reproduces it: --seed and --count 1, or the file that Atheris left.
"""

import argparse
import collections
import importlib.util
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

MEMORY, LONGEST = 6 * 2**30, 60  # bytes of address space (Numba and PyTorch take 3 GiB of it), seconds for one input
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "ctypes.dlopen")


def main():
    """Run the targets that are asked for, one after the other; the exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="by default all of them")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--coverage", action="store_true", help="let Atheris find inputs that reach what others do not")
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    parser.add_argument("--count", type=int, default=10**9, help="inputs at most")
    parser.add_argument("--corpus", type=Path, help="folder of inputs that Atheris found earlier, and adds to")
    parser.add_argument("--here", metavar="FOLDER", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        return bred(asked) if asked.coverage else drawn(asked)
    if asked.coverage and importlib.util.find_spec("atheris") is None:
        parser.error("--coverage needs Atheris: pip install atheris")
    from fuzz.targets import NAMES

    unknown = set(asked.targets) - set(NAMES)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}: choose among {', '.join(NAMES)}")
    found = 0
    for name in asked.targets or NAMES:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            options = [option for option in sys.argv[1:] if option not in asked.targets]
            environment = os.environ | {"DYNSYS_CACHE": f"{folder}/cache"}
            command = [sys.executable, "-m", "fuzz", name, *options, "--here", folder]
            found |= subprocess.run(command, env=environment).returncode != 0
    return int(found)


def prepared(asked):
    """The target, in a process that may do nothing else."""
    from fuzz.targets import target

    folder = Path(asked.here) / "files"
    folder.mkdir()
    warnings.simplefilter("error")
    run = target(asked.targets[0], folder)
    run(random.Random(1))  # what is imported late is there before the limits
    allowed = (asked.here, "/dev/null")

    def hook(event, args):
        outside = (
            event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and isinstance(args[0], str | Path)
        )
        if event in FORBIDDEN or (outside and not str(args[0]).startswith(allowed)):
            raise AssertionError(f"{event} {args!r:.200}")

    if not asked.coverage:  # which writes what it finds
        sys.addaudithook(hook)
    return run


def drawn(asked):
    """Inputs drawn at random."""
    run, counts, known = prepared(asked), collections.Counter(), set()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def too_long(*_):
        raise TimeoutError(f"more than {LONGEST} s")

    signal.signal(signal.SIGALRM, too_long)
    begin, slowest = time.monotonic(), (0.0, 0)
    for seed in range(asked.seed, asked.seed + asked.count):
        started = time.monotonic()
        if started - begin > asked.seconds:
            break
        signal.alarm(LONGEST)
        try:
            counts[run(random.Random(seed))] += 1
        except Exception as problem:
            place = traceback.extract_tb(problem.__traceback__)[-1]
            if (kind := (type(problem), place.filename, place.lineno)) not in known:
                known.add(kind)
                print(f"FOUND with --seed {seed} --count 1:", flush=True)
                traceback.print_exception(problem)
            counts["found"] += 1
        finally:
            signal.alarm(0)
        slowest = max(slowest, (time.monotonic() - started, seed))
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{asked.targets[0]}: {dict(counts)}, {size:.2f} GiB, slowest {slowest[0]:.1f} s (seed {slowest[1]})",
        flush=True,
    )
    return int(bool(known))


class Bytes(random.Random):
    """Random numbers that are bytes, one after the other; zeros in the end."""

    def __new__(cls, data):
        return super().__new__(cls, 0)

    def __init__(self, data):
        self.data, self.place = data, 0

    def getrandbits(self, k):
        """As many bits."""
        size = -(-k // 8)
        part = self.data[self.place : self.place + size]
        self.place += size
        return int.from_bytes(part.ljust(size, b"\0"), "little") & ((1 << k) - 1)

    def random(self):
        """A number between 0 and 1, of two bytes."""
        return self.getrandbits(16) / 2**16

    def _randbelow(self, n):
        return self.getrandbits(max(1, (n - 1).bit_length())) % n


def bred(asked):
    """Inputs bred by coverage."""
    import atheris

    with atheris.instrument_imports(include=["dynsys"]):
        run = prepared(asked)
    corpus = (asked.corpus or Path(asked.here) / "corpus") / asked.targets[0]
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [
        f"-max_total_time={int(asked.seconds)}",
        f"-runs={asked.count}",
        f"-timeout={LONGEST}",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup(
        [sys.argv[0], *limits, "-max_len=2000", "-print_final_stats=1", f"-seed={asked.seed + 1}", str(corpus)],
        lambda data: run(Bytes(data)) and None,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
