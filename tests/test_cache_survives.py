"""What happens to the processes and the disk of a cache: kills, no room, no home, many at once. The result is right."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("numba")

from cache_server import Server

from benchmarks.soak.harm import small_disk

pytestmark = [
    pytest.mark.numba,
    pytest.mark.skipif(sys.platform == "win32", reason="processes are forked"),
]
root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can do that")

BOTH = {"kernel": True, "equations": True}


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture
def place():
    """A folder that other users can read, with a home, and a current folder in which nothing may be written."""
    with tempfile.TemporaryDirectory() as base:
        for name in (".", "home", "current"):
            (Path(base) / name).mkdir(exist_ok=True)
            (Path(base) / name).chmod(0o755)
        yield Path(base)
        assert not list((Path(base) / "current").iterdir())


def request(place, **more):
    return {"do": "use", "env": {"HOME": str(place / "home")}, "cwd": str(place / "current")} | more


def right(answer, said=0):
    """What a process found: the right numbers, and so many warnings."""
    code, found = answer
    assert code == 0, found
    assert found["numbers"] == [6.0, 6.0]
    assert len(found["said"]) == said, found["said"]
    return found["found"]


# --- killed ----------------------------------------------------------------------------------------------------------


def nothing(home):
    """A new user."""


def a_cut_key(home):
    (home / ".cache" / "dynsys").mkdir(parents=True, mode=0o700)
    (home / ".cache" / "dynsys" / "dynsys.key").write_bytes(b"x" * 16)


def an_open_folder(home):
    (home / ".cache" / "dynsys").mkdir(parents=True)
    (home / ".cache" / "dynsys").chmod(0o777)


@pytest.mark.slow
@pytest.mark.parametrize("before", [nothing, a_cut_key, an_open_folder])
def test_a_kill_at_any_change_of_a_file_costs_the_next_process_nothing_but_time(before, server, place):
    change, code, changes = 0, -9, []
    while code:
        change += 1
        home = place / f"home{change}"
        home.mkdir()
        before(home)
        asked = request(place, env={"HOME": str(home)})
        code, _ = server.run(asked | {"kill_at": change, "under": str(home)})
        assert code in (0, -9)
        changes.append(sorted(path.name[:10] for path in home.rglob("*")))
        right(server.run(asked))
        assert right(server.run(asked)) == BOTH, change
    assert change > 6
    assert len({tuple(names) for names in changes}) >= 4  # it was killed at different states of the disk


@pytest.mark.slow
@pytest.mark.parametrize("kill", [True, False])
def test_a_file_of_which_only_some_bytes_are_written(kill, server, place):
    for number, most in enumerate([0, 1, 31, 32, 77, 78, 79, 300, 4096, 8192, 9000]):
        home = place / f"home{number}"
        home.mkdir()
        asked = request(place, env={"HOME": str(home)})
        answer = server.run(asked | {"most_bytes": most, "kill": kill})
        if kill and answer[0]:
            assert -answer[0] == 25  # SIGXFSZ
        else:
            right(answer, said=0 if most > 8192 + 500 else 1)
            left = [path.name for path in home.rglob("*") if "partial" in path.name]
            assert left == []
        right(server.run(asked))
        assert right(server.run(asked)) == BOTH


@pytest.mark.slow
def test_a_kill_while_it_is_emptied(server, place):
    asked, change, code = request(place), 0, -9
    while code:
        change += 1
        right(server.run(asked))
        code, found = server.run(request(place, do="empty", kill_at=change, under=str(place / "home")))
        assert code in (0, -9), found
        right(server.run(asked))
        assert right(server.run(asked)) == BOTH
    assert change >= 3


# --- no room, no home ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@root
@pytest.mark.parametrize("where", ["home", "DYNSYS_CACHE"])
def test_a_disk_that_is_full_is_one_warning(where, server, place):
    with small_disk(place / "disk", "size=64k,mode=755") as mounted:
        if not mounted:
            pytest.skip("a small disk cannot be mounted here")
        disk = place / "disk"
        environment = (
            {"HOME": str(disk)} if where == "home" else {"HOME": str(place / "home"), "DYNSYS_CACHE": str(disk)}
        )
        for pages in range(17):
            for file in [path for path in disk.rglob("*") if path.is_file()]:
                file.unlink()
            (disk / "ballast").write_bytes(b"0" * 4096 * (16 - pages))
            code, found = server.run(request(place, env=environment))
            right([code, found], said=0 if pages > 4 or (where != "home" and pages == 4) else 1)
            assert not list(disk.rglob("*.partial"))
            assert all("No space left" in text for text in found["said"])
            (disk / "ballast").unlink()
            right(server.run(request(place, env=environment)))
            assert right(server.run(request(place, env=environment))) == BOTH


@pytest.mark.slow
@root
def test_a_disk_without_inodes(server, place):
    with small_disk(place / "disk", "size=1m,nr_inodes=7,mode=755") as mounted:
        if not mounted:
            pytest.skip("a small disk cannot be mounted here")
        disk = place / "disk"
        for number in range(6):
            (disk / str(number)).touch()
        for number in range(6):
            right(server.run(request(place, env={"HOME": str(disk)})), said=1 if number < 5 else 0)
            (disk / str(number)).unlink()
        right(server.run(request(place, env={"HOME": str(disk)})))


@pytest.mark.slow
@root
@pytest.mark.parametrize("kept", [False, True])
def test_a_home_that_cannot_be_written(kept, server, place):
    with small_disk(place / "disk", "size=1m,mode=755") as mounted:
        if not mounted:
            pytest.skip("a small disk cannot be mounted here")
        asked = request(place, env={"HOME": str(place / "disk")})
        if kept:
            right(server.run(asked))
        subprocess.run(["mount", "-o", "remount,ro", str(place / "disk")], check=True)
        assert right(server.run(asked), said=0 if kept else 1)["kernel"] == kept  # what was kept is read, no more
        right(server.run(request(place, env={"HOME": str(place / "disk"), "DYNSYS_CACHE": str(place / "other")})))


@root
@pytest.mark.parametrize("closed", [".", ".cache", ".cache/dynsys"])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("mode", [0o500, *(pytest.param(mode, marks=pytest.mark.slow) for mode in (0o400, 0))])
def test_a_user_whose_folders_are_closed(mode, closed, kept, server, place):
    home = place / "home"
    (home / closed).mkdir(parents=True, exist_ok=True)
    for path in [home, *home.rglob("*")]:
        os.chown(path, 54321, 54321)
    asked = request(place, uid=54321)
    if kept:
        right(server.run(asked))
    (home / closed).chmod(mode)
    found = right(server.run(asked), said=0 if kept and mode == 0o500 else 1)
    assert (found.get("kernel", False)) == (kept and mode == 0o500)
    (home / closed).chmod(0o700)
    right(server.run(asked))
    assert right(server.run(asked)) == BOTH


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HOME": "/nonexistent"}, 1),
        ({"HOME": "relative"}, 1),
        ({"HOME": "."}, 1),
        ({"HOME": "/dev/null"}, 1),
        ({"XDG_CACHE_HOME": "", "HOME": "/nonexistent"}, 1),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/nonexistent"}, 1),
        ({"XDG_CACHE_HOME": "/dev/null"}, 1),
        ({"DYNSYS_CACHE": ""}, 0),
        ({"DYNSYS_CACHE": "", "XDG_CACHE_HOME": ""}, 0),
        ({"XDG_CACHE_HOME": "."}, 0),
        ({"DYNSYS_CACHE": "/dev/null"}, 1),
        ({"DYNSYS_CACHE": "/dev/null/inside"}, 1),
        ({"DYNSYS_CACHE": "/proc/inside"}, 1),
        ({"DYNSYS_CACHE": "/" + "long/" * 1000}, 1),
        ({"DYNSYS_CACHE": "/" + "l" * 300}, 1),
    ],
    ids=lambda value: str(value)[:50],
)
def test_variables_that_lead_nowhere(environment, said, server, place):
    code, found = server.run(request(place, env={"HOME": str(place / "home")} | environment))
    right([code, found], said=said)
    assert all("DYNSYS_CACHE" in text for text in found["said"])


@root
@pytest.mark.parametrize("environment", [{}, {"HOME": ""}])
@pytest.mark.parametrize("asked", [False, True])
def test_a_user_whom_nobody_knows(asked, environment, server, place):
    own = place / "own"
    own.mkdir()
    os.chown(own, 54321, 54321)
    more = {"DYNSYS_CACHE": str(own)} if asked else {}
    for _ in range(2):
        found = right(server.run(request(place, env=environment | more, uid=54321)), said=0 if asked else 1)
    assert found == (BOTH if asked else {"equations": False, "kernel": False} if found else {})
    assert (stat.S_IMODE((own / "dynsys.key").stat().st_mode) == 0o600) if asked else not list(own.iterdir())


# --- many at once ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("before", [nothing, a_cut_key])
def test_twenty_processes_at_once(before, server, place):
    before(place / "home")
    numbers = [server.start(request(place, go=str(place / "go"))) for _ in range(20)]
    (place / "go").touch()
    for number in numbers:
        right(server.wait(number))
    if before is a_cut_key:  # each may have made one: that of the last counts from now on
        right(server.run(request(place)))
    assert right(server.run(request(place))) == BOTH


@pytest.mark.slow
def test_twenty_processes_while_another_empties_what_they_keep(server, place):
    end = place / "end"
    emptying = server.start(request(place, do="empty", go=str(place / "go"), **{"with": {"until": str(end)}}))
    numbers = [server.start(request(place, go=str(place / "go"))) for _ in range(20)]
    (place / "go").touch()
    for number in numbers:
        right(server.wait(number))
    end.touch()
    code, times = server.wait(emptying)
    assert code == 0, times
    assert times > 20
    right(server.run(request(place)))
    assert right(server.run(request(place))) == BOTH
