"""A second user of the same machine attacks the cache: nothing that he planted runs, nothing of the victim's is lost.

The attack is real: processes of other users, which only root can make.
"""

import os
import stat
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("numba")

from cache_server import Server

from dynsys.storage.cache import KEY

pytestmark = [
    pytest.mark.numba,
    pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be several users"),
]

PLANTED_KEY = "ab" * 32
PAIRS = pytest.mark.parametrize(
    ("victim", "attacker"),
    [(54321, 65534), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0, 65534), (65534, 54321)))],
)


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


class Scene:
    """A victim and an attacker, with a home each, and a place that everybody can write."""

    def __init__(self, server, base, victim, attacker):
        self.server, self.base, self.users = server, base, {"victim": victim, "attacker": attacker}
        base.chmod(0o755)
        for who, uid in self.users.items():
            self.folder(f"{who}s", uid, 0o755)
        self.folder("open", 0, 0o777)
        self.marker = str(base / "open" / "marker")

    def folder(self, name, owner, mode):
        path = self.base / name
        path.mkdir()
        os.chown(path, owner, owner)
        path.chmod(mode)
        return path

    def start(self, who, do, umask=0o022, groups=(), cwd="/", env=None, **arguments):
        home = {"HOME": str(self.base / f"{who}s")}
        request = {"do": do, "with": arguments, "uid": self.users[who], "umask": umask, "cwd": str(cwd)}
        return self.server.start(request | {"groups": list(groups), "env": home | (env or {})})

    def run(self, who, do, **options):
        code, found = self.server.wait(self.start(who, do, **options))
        assert code == 0, found
        return found

    def attack(self, folder, **options):
        """Everything that can be planted in a folder; how many files that were."""
        groups, how = options.get("groups", ()), options.get("how", "file")
        self.run("attacker", "plant_key", folder=str(folder), key=PLANTED_KEY, groups=groups, how=how)
        return self.run("attacker", "plant", folder=str(folder), marker=self.marker, key=PLANTED_KEY, **options)

    def right(self, found, factor=2.0, said=0):
        """The numbers are right, nothing planted ran, there was one warning or none."""
        assert found["numbers"] == [3.0 * factor] * 2
        assert not os.path.exists(self.marker)
        assert len(found["said"]) == said, found["said"]
        assert found["categories"] == ["FallbackWarning"] * said


@pytest.fixture
def scene(server):
    with tempfile.TemporaryDirectory() as base:  # a tmp_path of pytest's is closed to others, again and again
        yield lambda victim, attacker: Scene(server, Path(base), victim, attacker)


def test_what_is_planted_would_run_if_its_seal_were_right(scene):
    here = scene(54321, 65534)
    mine = here.base / "attackers" / "cache"
    here.run("attacker", "use", env={"DYNSYS_CACHE": str(mine)})
    key = (here.base / "attackers" / ".cache" / "dynsys" / KEY).read_bytes().hex()
    assert here.run("attacker", "plant", folder=str(mine), marker=here.marker, key=key) > 10
    code, said = here.server.wait(here.start("attacker", "use", env={"DYNSYS_CACHE": str(mine)}))
    assert os.path.exists(here.marker), (code, said)


SHARED = {
    "shared": ("root", 0o777),
    "shared, sticky": ("root", 0o1777),
    "the victim's, shared": ("victim", 0o777),
    "the victim's, sticky": ("victim", 0o1777),
    "the victim's, for a group": ("victim", 0o775),
    "the attacker's": ("attacker", 0o755),
    "the attacker's, open": ("attacker", 0o777),
}


@PAIRS
@pytest.mark.parametrize("kind", SHARED)
def test_a_folder_that_others_can_write_is_not_used(kind, victim, attacker, scene):
    here, (owner, mode) = scene(victim, attacker), SHARED[kind]
    folder = here.folder("cache", here.users.get(owner, 0), mode)
    groups = [victim] if "group" in kind else []
    assert here.attack(folder, groups=groups) > 10
    before = sorted(folder.rglob("*"))
    for _ in range(2):
        found = here.run("victim", "use", umask=0, env={"DYNSYS_CACHE": str(folder)})
        here.right(found, said=1)
        assert sorted(folder.rglob("*")) == before
        assert str(folder) in found["said"][0]


@PAIRS
@pytest.mark.parametrize("mode", [0o777, *(pytest.param(mode, marks=pytest.mark.slow) for mode in (0o1777, 0o775))])
@pytest.mark.parametrize(
    "how", ["file", *(pytest.param(how, marks=pytest.mark.slow) for how in ("raw", "link", "hard link", "pipe"))]
)
def test_the_victims_own_folder_is_made_private_and_what_is_planted_there_does_not_count(
    how, mode, victim, attacker, scene
):
    here = scene(victim, attacker)
    here.folder("victims/.cache", victim, 0o700 if victim else 0o777).chmod(0o777)
    folder = here.folder("victims/.cache/dynsys", victim, mode)
    assert here.attack(folder, how=how, groups=[victim] if mode == 0o775 else []) > 10
    here.right(here.run("victim", "use", umask=0))
    found = here.run("victim", "use", umask=0)
    here.right(found)
    assert found["found"] == {"kernel": True, "equations": True}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / KEY).stat().st_uid == victim
    assert (folder / KEY).read_bytes().hex() != PLANTED_KEY
    assert here.run("attacker", "look", folder=str(folder)) == [[], [], []]
    assert here.attack(folder) == 0


@PAIRS
def test_a_folder_in_the_place_of_entries_or_of_the_key_is_one_warning(victim, attacker, scene):
    here = scene(victim, attacker)
    here.folder("victims/.cache", victim, 0o700).chmod(0o755)
    folder = here.folder("victims/.cache/dynsys", victim, 0o777)
    here.run("attacker", "plant", folder=str(folder), marker=here.marker, how="folder")
    here.right(here.run("victim", "use"), said=1)
    folder.chmod(0o777)
    (folder / KEY).unlink()
    assert here.run("attacker", "plant_key", folder=str(folder), key=PLANTED_KEY, how="folder")
    here.right(here.run("victim", "use"), said=1)


@PAIRS
@pytest.mark.parametrize("of", ["victim", "attacker"])
def test_a_link_that_leads_to_a_folder_of_another_is_not_followed(of, victim, attacker, scene):
    here = scene(victim, attacker)
    theirs, mine = here.folder("theirs", attacker, 0o755), here.folder("mine", victim, 0o755)
    assert here.attack(theirs) > 10
    link = here.base / "open" / "link"
    link.symlink_to(theirs if of == "victim" else mine)  # a link of the attacker's may lead elsewhere tomorrow
    os.chown(link, here.users[of], here.users[of], follow_symlinks=False)
    here.right(here.run("victim", "use", env={"DYNSYS_CACHE": str(link)}), said=1)
    assert not list(mine.iterdir())
    link.unlink()
    link.symlink_to(mine)
    os.chown(link, victim, victim, follow_symlinks=False)
    here.right(here.run("victim", "use", env={"DYNSYS_CACHE": str(link)}))


@PAIRS
@pytest.mark.parametrize("home", [True, False])
def test_a_folder_that_is_swapped_while_it_is_used(home, victim, attacker, scene):
    """Between two calls of one process the attacker puts a folder of his own in the place of the victim's."""
    here = scene(victim, attacker)
    folder = here.base / "open" / "cache"
    theirs = here.folder("open/theirs", attacker, 0o777)
    environment = {"DYNSYS_CACHE": str(folder)} | ({} if home else {"HOME": "/nonexistent"})
    paused, go = here.base / "open" / "paused", here.base / "open" / "go"
    number = here.start("victim", "use_twice", paused=str(paused), go=str(go), env=environment, umask=0)
    here.server.until(paused.exists)
    assert here.attack(folder) == 0
    assert here.attack(theirs) > 10
    assert here.run("attacker", "swap", folder=str(folder), other=str(theirs))
    go.touch()
    code, found = here.server.wait(number)
    assert code == 0, found
    first, second, third = found
    here.right(first)
    here.right(second, 5.0, len(second["said"]))
    here.right(third, 7.0, len(third["said"]))
    assert len(second["said"]) + len(third["said"]) <= 1
    here.right(here.run("victim", "use", env=environment), said=1)  # a new process sees whose folder it is
    os.rename(folder, theirs)
    os.rename(f"{folder}-away", folder)
    found = here.run("victim", "use", env=environment)
    here.right(found)
    assert found["found"] == {"kernel": True, "equations": True}


@pytest.mark.parametrize("sticky", [0, 0o1000])
def test_hard_links_to_files_of_the_victim_are_no_entries(sticky, scene):
    here = scene(54321, 65534)
    folder = here.folder("open/cache", 54321, 0o700)
    here.right(here.run("victim", "use", env={"DYNSYS_CACHE": str(folder)}))
    own = here.base / "victims" / "own"
    own.write_bytes(b"x" * 32)
    own.chmod(0o600)
    os.chown(own, 54321, 54321)
    folder.chmod(0o777 | sticky)
    links = here.server.wait(
        here.server.start(
            {"do": "link_own", "with": {"folder": str(folder), "own": str(own), "key": str(own)}, "env": {}}
        )
    )  # as root, who may where the kernel protects hard links
    assert links == [0, True]
    folder.chmod(0o700)
    here.right(here.run("victim", "use", env={"DYNSYS_CACHE": str(folder)}))
    assert own.read_bytes() == b"x" * 32


@PAIRS
def test_whatever_the_mask_nobody_else_sees_or_writes_what_is_kept(victim, attacker, scene):
    here = scene(victim, attacker)
    found = here.run("victim", "use", umask=0, env={"DYNSYS_CACHE": str(here.base / "open" / "new" / "cache")})
    here.right(found)
    for folder in (here.base / "open" / "new", here.base / "victims" / ".cache"):
        assert here.run("attacker", "look", folder=str(folder)) == [[], [], []]
        assert here.attack(folder) == 0
    readable = here.folder("readable", victim, 0o755)
    here.run("victim", "use", umask=0, env={"DYNSYS_CACHE": str(readable), "HOME": "/nonexistent"})
    names, read, written = here.run("attacker", "look", folder=str(readable))
    assert len(names) == 3
    assert (read, written) == ([], [])


@pytest.mark.parametrize("private", [True, False])
def test_the_cache_of_root_is_of_no_use_to_others_and_they_cannot_harm_it(private, scene):
    here = scene(0, 65534)
    folder = here.folder("roots", 0, 0o700 if private else 0o755)
    environment = {"DYNSYS_CACHE": str(folder)}
    here.right(here.run("victim", "use", env=environment))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    here.right(here.run("attacker", "use", env=environment), said=1)
    assert here.attack(folder) == 0
    here.right(here.run("attacker", "use", env={"HOME": str(here.base / "victims")}), said=1)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    found = here.run("victim", "use", env=environment)
    here.right(found)
    assert found["found"] == {"kernel": True, "equations": True}


@pytest.mark.parametrize("there", [False, True])
def test_root_leaves_nothing_in_the_home_of_another(there, scene):
    """As after `sudo -E`: a ~/.cache of root's would be closed to all programs of that user."""
    here = scene(0, 65534)
    if there:
        here.folder("attackers/.cache", 65534, 0o700)
    home = here.base / "attackers"
    here.right(here.run("victim", "use", env={"HOME": str(home)}), said=1)
    assert [path.name for path in home.rglob("*")] == [".cache"] * there
    here.right(here.run("victim", "use", env={"XDG_CACHE_HOME": str(home / ".cache")}), said=1)
    assert [path.name for path in home.rglob("*")] == [".cache"] * there
    here.right(here.run("attacker", "use"))
