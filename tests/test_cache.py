"""The cache: what comes out is what was put in for exactly that, or nothing; no folder of others; no file of others."""

import os
import shutil
import stat
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsys import RK4, FallbackWarning, SymbolicFlow
from dynsys.storage import cache
from dynsys.storage.cache import Cache, kept

KEY = bytes(range(32))
posix = pytest.mark.skipif(sys.platform == "win32", reason="owners and modes of files are those of POSIX")


@pytest.fixture
def here(tmp_path):
    return Cache(tmp_path, KEY)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """The cache as a new process finds it, with some variables set; HOME is empty, the current folder is another."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    for name in ("DYNSYS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def find(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        for forgotten in (kept, cache._say_once):
            forgotten.cache_clear()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = kept()
        assert not list(Path("../current").iterdir())  # nothing is put where the user happens to be
        assert all(issubclass(each.category, FallbackWarning) for each in said)
        return found, [str(each.message) for each in said]

    yield find
    for forgotten in (kept, cache._say_once):
        forgotten.cache_clear()


@given(content=st.binary(max_size=300), source=st.text(st.characters(codec="utf-8"), max_size=30))
def test_what_was_kept_is_found_by_another_and_only_for_its_own_source_kind_and_key(tmp_path_factory, content, source):
    folder = tmp_path_factory.mktemp("cache")
    Cache(folder, KEY).keep("kernel", source, content)
    assert Cache(folder, KEY).read("kernel", source) == content
    assert Cache(folder, KEY).read("kernel", source + "x") is None
    assert Cache(folder, KEY).read("equations", source) is None
    assert Cache(folder, KEY[::-1]).read("kernel", source) is None
    assert Cache(folder, KEY).damaged() == []


@given(data=st.data())
def test_no_damage_to_an_entry_is_overlooked(tmp_path_factory, data):
    here = Cache(tmp_path_factory.mktemp("cache"), KEY)
    here.keep("kernel", "source", b"what was compiled")
    (path,) = here.entries()
    right = path.read_bytes()
    place = data.draw(st.integers(0, len(right) - 1))
    wrong = data.draw(
        st.sampled_from([right[:place], right[place + 1 :], right + right[: place + 1], b""])
        | st.integers(1, 255).map(lambda change: right[:place] + bytes([right[place] ^ change]) + right[place + 1 :])
        | st.binary()
    )
    path.write_bytes(wrong)
    assert (here.read("kernel", "source") is None) == (wrong != right)
    assert here.damaged() == [path.name] * (wrong != right)
    assert here.once("kernel", "source", lambda: b"made anew") == (b"made anew" if wrong != right else right[-17:])
    assert here.damaged() == []


def test_an_entry_under_the_name_of_another_is_not_taken(here):
    here.keep("kernel", "mine", b"mine")
    here.keep("kernel", "yours", b"yours")
    first, second = here.entries()
    second.write_bytes(first.read_bytes())
    assert {here.read("kernel", "mine"), here.read("kernel", "yours")} in ({b"mine", None}, {b"yours", None})
    assert here.damaged() == [second.name]


@posix
@pytest.mark.parametrize("instead", ["pipe", "folder", "link", "dangling link"])
def test_what_is_no_file_is_not_read(here, instead, tmp_path_factory):
    here.keep("kernel", "source", b"content")
    (path,) = here.entries()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "file"
    if instead == "link":
        path.rename(elsewhere)
    else:
        path.unlink()
    if instead == "pipe":
        os.mkfifo(path)
    elif instead == "folder":
        path.mkdir()
    else:
        path.symlink_to(elsewhere)
    assert here.read("kernel", "source") is None
    cache._say_once.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert here.once("kernel", "source", lambda: b"anew") == b"anew"
    assert len(said) == (instead == "folder")  # which no file can replace
    assert here.read("kernel", "source") == (None if instead == "folder" else b"anew")


@posix
def test_folders_and_files_are_the_users_own_whatever_the_mask(fresh):
    before = os.umask(0)
    try:
        found, said = fresh()
        found.keep("kernel", "source", b"content")
    finally:
        os.umask(before)
    assert said == []
    home = Path(os.environ["HOME"])
    assert found.folder == home / ".cache" / "dynsys"
    for path in [home / ".cache", found.folder]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in [found.folder / "dynsys.key", *found.entries()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_a_folder_that_others_can_write_is_not_used_but_our_own_is_made_private(fresh, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    found, (said,) = fresh(DYNSYS_CACHE=shared)
    assert found.folder is None
    assert str(shared) in said
    assert "others can write" in said
    assert not list(shared.iterdir())
    assert found.once("kernel", "source", lambda: b"content") == b"content"
    shared.chmod(0o755)
    assert fresh(DYNSYS_CACHE=shared)[0].folder == shared
    ours = Path(os.environ["HOME"]) / ".cache" / "dynsys"
    ours.chmod(0o775)  # as earlier versions made it where a user's group is his own
    found, said = fresh(DYNSYS_CACHE="")
    assert (found.folder, said) == (ours, [])
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700


def test_empty_and_relative_variables(fresh, tmp_path):
    ours = tmp_path / "home" / ".cache" / "dynsys"
    for value in ("", "relative", "./"):
        assert fresh(XDG_CACHE_HOME=value, DYNSYS_CACHE="") == (Cache(ours, (ours / "dynsys.key").read_bytes()), [])
    assert fresh(XDG_CACHE_HOME=tmp_path / "xdg")[0].folder == tmp_path / "xdg" / "dynsys"
    assert fresh(DYNSYS_CACHE="../asked")[0].folder == tmp_path / "current" / ".." / "asked"


@pytest.mark.parametrize("home", ["/nonexistent", "relative"])
def test_without_a_home_nothing_is_kept_but_where_it_is_said(fresh, home, tmp_path):
    found, (said,) = fresh(HOME=home)
    assert found.folder is None
    assert "DYNSYS_CACHE" in said
    assert not Path("/nonexistent").exists()
    found, said = fresh(DYNSYS_CACHE=tmp_path / "asked")
    assert (found.folder, said) == (tmp_path / "asked", [])
    assert (tmp_path / "asked" / "dynsys.key").stat().st_size == 32  # there is no better place


def test_entries_that_have_the_key_beside_them_count_in_no_copy(fresh, tmp_path):
    """An archive could hold both, and so code that runs where it is unpacked."""
    there, copy, moved = tmp_path / "there", tmp_path / "copy", tmp_path / "moved"
    fresh(HOME="/nonexistent", DYNSYS_CACHE=there)[0].keep("kernel", "source", b"content")
    assert fresh()[0].read("kernel", "source") == b"content"
    shutil.copytree(there, copy)
    found, said = fresh(DYNSYS_CACHE=copy)
    assert said == []
    assert found.read("kernel", "source") is None
    assert found.damaged() == [path.name for path in found.entries()] != []
    assert found.once("kernel", "source", lambda: b"anew") == b"anew"
    assert fresh()[0].read("kernel", "source") == b"anew"
    there.rename(moved)
    assert fresh(DYNSYS_CACHE=moved)[0].read("kernel", "source") == b"content"


def test_a_home_in_which_no_key_can_be_written_does_not_keep_others_from_being_used(fresh, tmp_path):
    (tmp_path / "home" / ".cache" / "dynsys" / "dynsys.key").mkdir(parents=True)  # as good as full, or read-only
    found, said = fresh(DYNSYS_CACHE=tmp_path / "asked")
    assert (found.folder, said) == (tmp_path / "asked", [])
    assert (tmp_path / "asked" / "dynsys.key").exists()
    found.keep("kernel", "source", b"content")
    assert fresh()[0].read("kernel", "source") == b"content"
    (tmp_path / "home" / ".cache" / "dynsys" / "dynsys.key").rmdir()
    assert fresh()[0].key == (tmp_path / "home" / ".cache" / "dynsys" / "dynsys.key").read_bytes()


def test_a_tilde_that_no_shell_has_read_is_the_home(fresh, tmp_path):
    assert fresh(DYNSYS_CACHE="~/kept")[0].folder == tmp_path / "home" / "kept"


def test_the_warning_points_to_the_line_that_asked(fresh):
    fresh(HOME="/nonexistent")
    for forgotten in (kept, cache._say_once):
        forgotten.cache_clear()
    with pytest.warns(FallbackWarning, match="cannot be kept") as said:
        SymbolicFlow.of({"x": "-17.25*x"}).tangent(RK4(0.1), backend="numpy").benettin(
            [1.0], intervals=1, steps_per_interval=1, warmup=0
        )
    assert {warning.filename for warning in said if "cannot be kept" in str(warning.message)} == {__file__}


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), PermissionError(13, "denied")])
def test_a_home_that_takes_no_key_does_not_close_another_folder(fresh, problem, monkeypatch, tmp_path):
    write = cache.write_whole

    def full(path, *args, **options):
        if path.is_relative_to(tmp_path / "home"):
            raise problem
        write(path, *args, **options)

    monkeypatch.setattr(cache, "write_whole", full)  # as a quota does
    assert fresh()[0].folder is None
    found, said = fresh(DYNSYS_CACHE=tmp_path / "asked")  # the remedy that the warning names
    assert (found.folder, said) == (tmp_path / "asked", [])
    assert (tmp_path / "asked" / "dynsys.key").exists()


def test_a_tilde_that_no_shell_has_seen_is_the_home(fresh, tmp_path):
    assert fresh(DYNSYS_CACHE="~/asked")[0].folder == tmp_path / "home" / "asked"
    assert fresh(DYNSYS_CACHE="../~/asked")[0].folder == tmp_path / "current" / ".." / "~" / "asked"
    found, (said,) = fresh(HOME="/nonexistent", DYNSYS_CACHE="~/asked")
    assert found.folder is None
    assert "~/asked" in said


@posix
def test_without_a_variable_the_home_is_that_of_the_user(fresh, monkeypatch, tmp_path):
    import pwd

    for value in ("", None):
        monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(["me", "", 0, 0, "", str(tmp_path), ""]))
        if value is None:
            monkeypatch.delenv("HOME")
        assert fresh(**{"HOME": value} if value is not None else {})[0].folder == tmp_path / ".cache" / "dynsys"
        monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
        found, (said,) = fresh()
        assert found.folder is None
        assert "no home" in said


@posix
@pytest.mark.parametrize("spoil", ["cut", "empty", "open to others", "link", "folder"])
def test_a_key_that_is_not_whole_or_not_secret_is_replaced(fresh, spoil):
    found, _ = fresh()
    found.keep("kernel", "source", b"content")
    key = found.folder / "dynsys.key"
    if spoil in ("cut", "empty"):
        key.write_bytes(found.key[:16] if spoil == "cut" else b"")
    elif spoil == "open to others":
        key.chmod(0o644)
    else:
        key.rename(found.folder / "planted")
        key.symlink_to(found.folder / "planted") if spoil == "link" else key.mkdir()
    again, said = fresh()
    if spoil == "folder":
        assert (again.folder, len(said)) == (None, 1)
        return
    assert said == []
    assert again.key != found.key
    assert again.read("kernel", "source") is None
    assert fresh()[0].key == again.key


def test_emptying_removes_what_dynsys_made_and_nothing_else(here):
    here.keep("equations", "source", b"content")
    name = here.entries()[0].name
    old = [f"dynsys_{'0' * 20}.py", f"sample_{'0' * 20}.json", f"{name}.{'0' * 32}.partial"]
    compiled = [f"dynsys_{'0' * 20}.forward-339.py311.nbi", f"dynsys_{'0' * 20}.cpython-311.pyc"]
    mine = ["thesis.partial", "dynsys.key", "key", "kernel_notes.kept", f"data_{'0' * 20}.json", "dynsys_of_my_own.py"]
    being_written = f"{name}.{'1' * 32}.partial"
    (here.folder / "__pycache__").mkdir()
    (here.folder / f"kernel_{'0' * 32}.kept").mkdir()
    for file in [*old, *mine, being_written, *(f"__pycache__/{each}" for each in [*compiled, "mine.pyc"])]:
        (here.folder / file).write_text("")
    os.utime(here.folder / old[-1], (0, 0))
    assert {path.name for path in here.remains()} == {*old, *compiled}
    here.empty()
    assert (here.entries(), here.remains()) == ([], [])
    left = {str(path.relative_to(here.folder)) for path in here.folder.rglob("*") if path.is_file()}
    assert left == {*mine, being_written, "__pycache__/mine.pyc"}


def test_a_disk_that_is_full_is_said_once(here, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_whole", full)
    cache._say_once.cache_clear()
    with pytest.warns(FallbackWarning, match="No space left"):
        assert here.once("kernel", "one", lambda: b"one") == b"one"
    assert here.once("kernel", "two", lambda: b"two") == b"two"  # in silence


def test_the_command_shows_checks_and_empties(fresh, monkeypatch, capsys):
    cli = pytest.importorskip("dynsys.models.cli")

    def dynsys_cache(*options):
        monkeypatch.setattr(sys, "argv", ["dynsys", "cache", *options])
        try:
            cli.main()
        except SystemExit as leave:
            return leave.code or 0, "".join(capsys.readouterr())
        return 0, "".join(capsys.readouterr())

    found, _ = fresh()
    left = "left by killed processes and earlier versions"
    none = f"{found.folder}: 0 entries, 0.0 MiB\n{found.folder}: 0 {left}, 0.0 MiB\n"
    assert dynsys_cache() == (0, none)
    for source in "abc":
        found.keep("kernel", source, bytes(2**20))
    (found.folder / "thesis.txt").write_text("mine")
    status, text = dynsys_cache("--check")
    assert (status, "3 entries, 3.0 MiB" in text, text.endswith("\n0 damaged\n")) == (0, True, True)
    first, second, _ = found.entries()
    first.write_bytes(b"")
    second.unlink()
    second.symlink_to(found.folder / "nowhere")
    status, text = dynsys_cache("--check")
    assert (status, text.count("damaged, will be made anew: "), text.endswith("\n2 damaged\n")) == (0, 2, True)
    assert first.name in text
    assert second.name in text
    status, text = dynsys_cache("--empty")
    assert (status, text.endswith("emptied\n")) == (0, True)
    assert {path.name for path in found.folder.iterdir()} == {"dynsys.key", "thesis.txt"}
    fresh(HOME="/nonexistent")
    for forgotten in (kept, cache._say_once):
        forgotten.cache_clear()
    status, text = dynsys_cache("--empty")  # warnings are errors here: the cause is in the message alone
    assert (status, "nothing is kept: " in text, "no home folder /nonexistent" in text) == (1, True, True)
