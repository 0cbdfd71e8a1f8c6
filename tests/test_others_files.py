"""Nothing that dynsys did not make is deleted, emptied or written over, and what it made may be made again."""

import os
import shutil
import stat
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import xarray

from dynsys import Ensemble, InvalidInputError, StoreError, open_store
from dynsys.models.classics import LinearMap
from dynsys.plotting import grid, save_figure
from dynsys.storage.files import is_leftover, new_file
from dynsys.storage.inspection import export

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes and links are those of POSIX")


def numbers(members):
    data = {"x": ("member", np.sqrt(members)), "status": ("member", np.zeros(len(members), np.int8))}
    return xarray.Dataset(data | {"shared": ("k", np.arange(3.0))})


STUDY = Ensemble(numbers, 6)


def seen(folder):
    """Everything in a folder: kinds, links, modes and contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(mode) else None
        found[str(path.relative_to(folder))] = (mode, content)
    return found


# ---- a name that is taken: files of results, figures, exports


def a_file(path):
    path.write_bytes(b"mine")


def an_empty_file(path):
    path.touch()


def a_write_protected_file(path):
    path.write_bytes(b"mine")
    path.chmod(0o444)


def a_folder(path):
    path.mkdir()


def a_full_folder(path):
    path.mkdir()
    (path / "mine").write_bytes(b"mine")


def a_link(path):
    (path.parent / "precious").write_bytes(b"precious")
    path.symlink_to("precious")


def a_link_to_nowhere(path):
    path.symlink_to("nowhere")


def a_link_to_a_folder(path):
    (path.parent / "there").mkdir()
    path.symlink_to("there")


def a_hard_link(path):
    (path.parent / "precious").write_bytes(b"precious")
    os.link(path.parent / "precious", path)


def a_pipe(path):
    os.mkfifo(path)


TAKEN = [
    a_file, an_empty_file, a_write_protected_file, a_folder, a_full_folder, a_link, a_link_to_nowhere,
    a_link_to_a_folder, a_hard_link, a_pipe,
]  # fmt: skip
taken = pytest.mark.parametrize("put", TAKEN, ids=lambda put: put.__name__)


def spectrum():
    return LinearMap([[2.0]]).tangent(backend="numpy").benettin([0.0], intervals=2)


def a_figure():
    return grid(1, 1, title="", size=(1, 1))[0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "a.zarr"
    STUDY.run(path, block=2)
    return path


WRITERS = {
    "a.npz": lambda path, _: spectrum().save(path),
    "a.png": lambda path, _: save_figure(a_figure(), path, {"x": [1]}),
    "a.csv": lambda path, _: save_figure(a_figure(), path.with_suffix(".png"), {"x": [1]}),
    "a.nc": lambda path, store: export(store, path),
    "tables": lambda path, store: export(store, path),
}


@posix
@taken
@pytest.mark.parametrize("name", WRITERS)
def test_a_name_that_is_taken_is_refused_and_all_stays_as_it_was(name, put, store, tmp_path):
    put(tmp_path / name)
    before = seen(tmp_path)
    with pytest.raises(InvalidInputError, match=rf"{name} exists already.*: choose another name, or remove it first"):
        WRITERS[name](tmp_path / name, store)
    assert seen(tmp_path) == before


@pytest.mark.parametrize("name", WRITERS)
def test_what_dynsys_wrote_is_not_written_over_either_and_can_be_removed(name, store, tmp_path):
    WRITERS[name](tmp_path / name, store)
    before = seen(tmp_path)
    with pytest.raises(InvalidInputError, match="exists already"):
        WRITERS[name](tmp_path / name, store)
    assert seen(tmp_path) == before
    for path in list(tmp_path.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    WRITERS[name](tmp_path / name, store)
    assert seen(tmp_path).keys() == before.keys()


def test_a_folder_that_is_a_link_is_a_folder(store, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").symlink_to("disk")
    for name, write in WRITERS.items():
        if name != "a.csv":
            write(tmp_path / "here" / name, store)
    STUDY.run(tmp_path / "here" / "b.zarr", block=2)
    STUDY.run(tmp_path / "here" / "b.zarr")


def test_what_could_not_be_written_leaves_nothing(monkeypatch, tmp_path):
    def no_room(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez_compressed", no_room)
    with pytest.raises(OSError, match="No space left"):
        spectrum().save(tmp_path / "a.npz")
    monkeypatch.setattr("csv.writer", no_room)
    with pytest.raises(OSError, match="No space left"):
        save_figure(a_figure(), tmp_path / "a", {"x": [1]})
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_write_one_name_one_is_refused(tmp_path):
    with new_file(tmp_path / "a") as file, pytest.raises(InvalidInputError), new_file(tmp_path / "a"):
        pass
    with new_file(tmp_path / "b") as file:
        file.write(b"whole")
    assert (tmp_path / "b").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("rho=0.5", ["rho=0.5.csv", "rho=0.5.png"]),
        ("v1.2.png", ["v1.2.csv", "v1.2.png"]),
        ("a.csv", ["a.csv", "a.png"]),
        ("a", ["a.csv", "a.png"]),
    ],
)
def test_a_point_in_the_name_of_a_figure_is_no_ending(name, files, tmp_path):
    """Names of sweeps such as rho=0.5 and rho=0.7 were both cut to rho=0."""
    assert save_figure(a_figure(), tmp_path / name, {"x": [1]}).name == files[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == files


# ---- stores

FOREIGN = [
    "mine.partial", "zarr.json.partial", "0.partial", "notes.0123456789abcdef0123456789abcdef.partial",
    f"data.csv.{uuid.uuid4().hex}.partial", f"0.{uuid.uuid4()}.partial", f"0.{uuid.uuid4().hex[:-1]}.partial",
    f"0.{uuid.uuid4().hex}.partial.bak", "notes.txt", "5.npy",
]  # fmt: skip
LEFT = ["zarr.json.{}.partial", "zarr.{}.partial", "header.json.{}.partial", "0.{}.partial", "c.{}.partial"]
LEFT += ["failures.3.json.{}.partial"]


@pytest.mark.parametrize("folder", ["", "status", "status/c", "x", "x/c", "mine"])
def test_files_of_others_in_a_store_stay_and_leftovers_of_a_kill_go(store, tmp_path, folder):
    path = shutil.copytree(store, tmp_path / "a.zarr")
    (path / folder).mkdir(exist_ok=True)
    mine, left = ([path / folder / name for name in names] for names in (FOREIGN, LEFT))
    left = [file.with_name(file.name.format(uuid.uuid4().hex)) for file in left]
    for file in mine + left:
        file.write_bytes(b"mine")
    linked = path / folder / f"1.{uuid.uuid4().hex}.partial"
    linked.symlink_to("notes.txt")
    before = seen(path)
    STUDY.run(path)
    after = seen(path)
    assert [file.name for file in mine if not file.exists()] == []
    assert before.keys() - after.keys() == {str(file.relative_to(path)) for file in left}
    assert linked.is_symlink()
    xarray.testing.assert_identical(open_store(path).load(), open_store(store).load())


def test_names_of_leftovers_are_those_that_are_written(monkeypatch, tmp_path):
    """Zarr and we write to these names first: a kill at any of them leaves what is known."""
    known, replace, move = [], os.replace, Path.replace
    monkeypatch.setattr("os.replace", lambda old, new: (known.append(is_leftover(Path(old))), replace(old, new)))
    monkeypatch.setattr(Path, "replace", lambda old, new: (known.append(is_leftover(old)), move(old, new))[1])

    def failing(members):
        if 3 in members:
            raise ValueError("no")
        return numbers(members)

    with pytest.warns(UserWarning, match="failed"):
        Ensemble(failing, 6).run(tmp_path / "a.zarr", block=2)
    assert len(known) > 15
    assert all(known)


@posix
@taken
def test_a_path_with_something_else_is_no_store(put, tmp_path):
    put(tmp_path / "a.zarr")
    before = seen(tmp_path)
    if put in (a_folder, a_link_to_a_folder):  # an empty one, on another disk for all we know
        STUDY.run(tmp_path / "a.zarr")
        return
    with pytest.raises(StoreError, match="exists and is no store of an ensemble: choose another name"):
        STUDY.run(tmp_path / "a.zarr")
    assert seen(tmp_path) == before


MINE = {
    "a lock of others": {"status/lock": b"the lock of my own program"},
    "an empty lock and more": {"status/lock": b"", "data.csv": b"1,2"},
    "a lock and a partial file": {"status/lock": b"", "mine.partial": b"mine"},
    "another Zarr": {"zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'},
    "another Zarr with a lock": {"zarr.json": b'{"zarr_format": 3, "node_type": "group"}', "status/lock": b""},
    "an array of others": {"x/zarr.json": b'{"zarr_format": 3, "node_type": "array", "codecs": []}'},
    "chunks of others": {"status/lock": b"", "x/c/0": b"1234"},
    "a hidden file": {".mine": b""},
}


@pytest.mark.parametrize("files", MINE.values(), ids=MINE)
def test_a_folder_of_others_is_no_store(files, tmp_path):
    for name, content in files.items():
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).write_bytes(content)
    before = seen(tmp_path)
    with pytest.raises(StoreError, match="is no store"):
        STUDY.run(tmp_path / "a")
    assert seen(tmp_path) == before


def test_a_store_that_a_kill_left_before_its_header_is_gone_on_with(store, tmp_path):
    path = tmp_path / "a.zarr"
    for file in ("x/zarr.json", "shared/zarr.json", "status/lock"):
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(store / file, path / file)
    (path / f"x/zarr.json.{uuid.uuid4().hex}.partial").write_bytes(b"{")
    STUDY.run(path, block=2)
    xarray.testing.assert_identical(open_store(path).load(), open_store(store).load())
    assert not list(path.rglob("*.partial"))


@posix
def test_a_lock_that_leads_elsewhere_is_not_emptied(store, tmp_path):
    path = shutil.copytree(store, tmp_path / "a.zarr")
    (tmp_path / "precious").write_text("process 1 on mine")
    (path / "status/lock").unlink()
    for target in ("../../precious", "../../nowhere"):
        (path / "status/lock").symlink_to(target)
        with pytest.raises(StoreError, match="is not the lock of a store, which has this name: move it away"):
            STUDY.run(path)
        (path / "status/lock").unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr", "precious"]
    assert (tmp_path / "precious").read_text() == "process 1 on mine"
    STUDY.run(path)


@pytest.mark.parametrize("part", ["x", "x/c", "status/c", "shared"])
def test_nothing_is_written_or_deleted_through_a_link_within_a_store(store, tmp_path, part):
    path = shutil.copytree(store, tmp_path / "a.zarr")
    shutil.move(path / part, tmp_path / "elsewhere")
    (path / part).symlink_to(tmp_path / "elsewhere")
    before = seen(tmp_path / "elsewhere")
    STUDY.run(path)  # which finds nothing to do: reading is no harm
    assert seen(tmp_path / "elsewhere") == before
    chunk = max(file for file in (tmp_path / "elsewhere").rglob("*") if file.name.isdigit())
    chunk.write_bytes(b"damaged, or mine")
    before = seen(tmp_path / "elsewhere")
    with (
        pytest.warns(UserWarning, match="What stood there is computed again"),
        pytest.raises(StoreError, match="is a link, and no part of a store: move it away"),
    ):
        STUDY.run(path)
    assert seen(tmp_path / "elsewhere") == before


# ---- the checkpoint of a monitor, which is written again and again


@pytest.mark.torch
@posix
@taken
def test_a_checkpoint_takes_the_place_of_a_checkpoint_and_of_nothing_else(put, tmp_path):
    pytest.importorskip("torch")
    from dynsys.training import checkpoint

    path = tmp_path / "monitor.npz"
    put(path)
    before = seen(tmp_path)
    with pytest.raises(InvalidInputError, match=r"monitor.npz .* is not overwritten: choose another name, or move it"):
        checkpoint.write(path, {"steps": 1}, {"a": np.zeros(2)})
    assert seen(tmp_path) == before
    path = tmp_path / "other.npz"
    for steps in range(3):
        checkpoint.write(path, {"steps": steps}, {"a": np.full(2, steps)})
        header, arrays = checkpoint.read(path, 2**20)
        assert (header["steps"], arrays["a"].tolist()) == (steps, [steps, steps])
    assert not list(tmp_path.glob("*.partial"))
    path.chmod(0o444)
    with pytest.raises(InvalidInputError, match="is write-protected, and is not overwritten"):
        checkpoint.write(path, {"steps": 9}, {})
    np.savez(tmp_path / "arrays.npz", header=np.array("mine"), a=np.zeros(3))
    spectrum().save(tmp_path / "result.npz")
    before = seen(tmp_path)
    for name in ("arrays.npz", "result.npz"):
        with pytest.raises(InvalidInputError, match="holds no dynsys training monitor"):
            checkpoint.write(tmp_path / name, {"steps": 1}, {})
    assert seen(tmp_path) == before
