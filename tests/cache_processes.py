"""Processes of several users that use a cache, attack it, or are killed: a server forks one for each line it reads.

What is compiled and derived there is so small that a process takes a fraction of a second.
"""
# ruff: noqa: T201  what is printed is read by the test

import contextlib
import hashlib
import io
import json
import os
import pickle
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import numba
import numpy as np

from dynsys import SymbolicMap
from dynsys.compiled.build import load
from dynsys.storage import cache
from dynsys.storage.cache import Cache, kept

KERNEL = "@_kernel\ndef forward(x):\n    return {factor} * x\n"
WATCHED = "open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.chmod"  # events of changes of files


def use(factor=2.0):
    """Compute `factor * 3` by a kernel and by derived equations: the numbers, what was found, what was said."""
    found = _use(factor)
    found.pop("origins")  # which are long
    return found


def _use(factor):
    asked, read = [], Cache.read

    def watched(self, kind, made_from):
        content = read(self, kind, made_from)
        asked.append((kind, made_from, content is not None))
        return content

    Cache.read = watched
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        kernel = load(KERNEL.format(factor=factor)).forward
        numbers = [kernel(3.0), float(SymbolicMap.of({"x": f"{factor}*x"}).step(0, np.array([3.0]))[0])]
    Cache.read = read
    return {
        "numbers": numbers,
        "found": {kind: found for kind, _, found in asked},
        "origins": {kind: made_from for kind, made_from, _ in asked},
        "said": [str(each.message) for each in said],
        "categories": [each.category.__name__ for each in said],
        "folder": str(kept().folder),
    }


def use_twice(paused, go):
    """The same twice, with a pause in which somebody else may do something."""
    first = use(2.0)
    Path(paused).touch()
    while not Path(go).exists():
        time.sleep(0.01)
    return [first, use(5.0), use(7.0)]


class Evil:
    """Makes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


def evil(kind, marker, content=b'{"source": ""}'):
    """What runs where it is taken for a kernel, or for derived equations."""
    if kind == "kernel":
        return pickle.dumps(Evil(marker))
    derived = json.loads(content)
    return json.dumps(derived | {"source": f"open({marker!r}, 'w')\n{derived['source']}"}).encode()


def plant(folder, marker, key=None, how="file", mode=0o644, factors=(2.0, 5.0)):
    """As an attacker who knows all but the key: plant entries of all kinds, in the ways of today and of before."""
    folder, done = Path(folder), []
    key = bytes(32) if key is None else bytes.fromhex(key)
    for factor in factors:
        for kind, made_from in _use(factor)["origins"].items():
            content = kept().read(kind, made_from)
            mine = Cache(folder, key)
            origin = hashlib.sha256(made_from.encode()).digest()
            payload = evil(kind, marker, content)
            path = folder / cache._name(kind, origin)
            sealed = mine._head(kind, origin, payload) + payload
            done.append(_put(path, sealed if how != "raw" else payload, how, mode))
        source = KERNEL.format(factor=factor)
        for name in (
            hashlib.sha256(f"numba {numba.__version__}\n{source}".encode()).hexdigest()[:20],
            hashlib.sha256(source.encode()).hexdigest()[:20],
        ):
            script = f"open({marker!r}, 'w')\ndef forward(x):\n    return 666.0\n".encode()
            done.append(_put(folder / f"dynsys_{name}.py", script, "file", mode))
            for ending in ("nbi", "1.nbc"):
                names = f"dynsys_{name}.forward-1.py{sys.version_info[0]}{sys.version_info[1]}.{ending}"
                done.append(_put(folder / "__pycache__" / names, pickle.dumps(Evil(marker)), "file", mode))
            done.append(_put(folder / f"equations_{name}.json", evil("equations", marker), "file", mode))
    return done.count(True)


def plant_key(folder, key, how="file", mode=0o600):
    """As an attacker: put a key that one knows in the place of the right one."""
    return _put(Path(folder) / cache.KEY, bytes.fromhex(key), how, mode)


def _put(path, content, how, mode):
    """Put something in a place, in one of several ways; whether it could be done."""
    try:
        if path.parent.name == "__pycache__":
            path.parent.mkdir(exist_ok=True)
        if path.exists() or path.is_symlink():
            path.rename(path.with_name(path.name + f".away{time.time()}"))
        elsewhere = path.with_name(f"{path.name}.elsewhere")
        match how:
            case "pipe":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "link" | "hard link":
                elsewhere.write_bytes(content)
                elsewhere.chmod(mode)
                path.symlink_to(elsewhere) if how == "link" else os.link(elsewhere, path)
            case _:
                path.write_bytes(content)
                path.chmod(mode)
    except OSError:
        return False
    return True


def link_own(folder, own, key):
    """As an attacker: hard links from entries to files of the victim."""
    try:
        for path in Path(folder).iterdir():
            path.unlink()
            os.link(own, path)
        (Path(folder) / cache.KEY).unlink(missing_ok=True)
        os.link(key, Path(folder) / cache.KEY)
    except OSError:
        return False
    return True


def swap(folder, other):
    """As an attacker: put another folder in the place of one."""
    try:
        os.rename(folder, f"{folder}-away")
        os.rename(other, folder)
    except OSError:
        return False
    return True


def look(folder):
    """What another user can see of a folder: names that can be listed, files that can be read, or written."""
    names, read, written = [], [], []
    try:
        names = [str(path) for path in Path(folder).rglob("*")]
    except OSError:
        return [names, read, written]
    for name in names:
        for flags, found in ((os.O_RDONLY, read), (os.O_WRONLY, written)):
            try:
                os.close(os.open(name, flags))
                found.append(name)
            except OSError:
                continue
    return [names, read, written]


def empty(until=None):
    """As `dynsys cache --check --empty`, once, or again and again until there is a file; how often."""
    from dynsys.models.cli import cache as command

    times = 0
    with contextlib.redirect_stdout(io.StringIO()):
        while not times or (until and not Path(until).exists()):
            command(check=True, empty=True)
            times += 1
    return times


ACTIONS = {each.__name__: each for each in (use, use_twice, plant, plant_key, link_own, swap, look, empty)}


def become(request):
    """Be the user, with the variables, in the folder, that a request says."""
    os.umask(request.get("umask", 0o022))
    os.environ.clear()
    os.environ.update({"PATH": "/usr/bin:/bin"} | request["env"])
    os.chdir(request.get("cwd", "/"))
    uid = request.get("uid")
    if uid:
        os.setgroups(request.get("groups", []))
        os.setgid(request.get("gid", uid))
        os.setuid(uid)
    for forgotten in (kept, cache._say_once):
        forgotten.cache_clear()
    while "go" in request and not Path(request["go"]).exists():
        time.sleep(0.001)
    if "most_bytes" in request:  # of a file; what writes more is killed, or fails
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if request["kill"] else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["most_bytes"],) * 2)
    if "kill_at" in request:
        _kill_at(request["kill_at"], request["under"])


def _kill_at(most, under):
    """Kill the process just before it changes a file under a folder for the time `most`."""
    changes = 0

    def see(event, arguments):
        nonlocal changes
        if event not in WATCHED or under not in str(arguments[0]):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        changes += 1
        if changes == most:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)


def serve():
    """Fork a child for every line that says what it does; a line with a number waits for that one."""
    pipes = {}
    for _ in range(2):  # imports what is imported when it is needed: other users may not see the installation
        use(1.25)
        load.cache_clear()
    empty()
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            data = b""
            while part := os.read(pipes[request], 65536):
                data += part
            os.close(pipes.pop(request))
            code = os.waitstatus_to_exitcode(os.waitpid(request, 0)[1])
            print(json.dumps([code, json.loads(data) if data else None]), flush=True)
            continue
        end, begin = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                become(request)
                found = ACTIONS[request["do"]](**request.get("with", {}))
                os.write(begin, json.dumps(found).encode())
                os._exit(0)
            except BaseException:
                os.write(begin, json.dumps(traceback.format_exc()).encode())
                os._exit(1)
        os.close(begin)
        pipes[pid] = end
        print(pid, flush=True)
    for pid in pipes:  # nobody waits for them any more
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()
