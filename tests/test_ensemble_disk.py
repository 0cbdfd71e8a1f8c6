"""What happens to the disk under long runs: it is full, or its files are damaged."""

import os
import shutil
import subprocess
import time
import warnings

import numpy as np
import pytest
import xarray
from ensemble_stores import assert_readable, attempt, content, silent, wide
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import (
    DiagnosticWarning,
    Ensemble,
    InvalidInputError,
    StoreError,
)
from dynsys.ensembles import run
from dynsys.storage.store import Store

# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder, leave):
    """Fill a disk, but for some bytes."""
    free = shutil.disk_usage(folder).free
    (folder / "ballast").write_bytes(b"0" * max(0, free - leave))


@pytest.mark.parametrize("leave", [0, 4096, 45_000, 90_000])
def test_a_disk_that_fills_up_keeps_what_is_finished(leave, small_disk):
    path, whole = small_disk / "runs.zarr", Ensemble(wide, 40).run().load()

    def progress(now):
        if now.done == 8:
            fill(small_disk, leave)

    with pytest.raises(OSError, match="No space left") as caught:
        Ensemble(wide, 40).run(path, block=4, workers=1, progress=progress)
    assert "of 40 members are saved" in caught.value.__notes__[0]
    assert_readable(path, whole)
    assert len(list(path.glob("status/c/*"))) == 2 + leave // 41_000  # a chunk, one of the status, a record
    with pytest.raises((OSError, InvalidInputError)):  # it is still full
        Ensemble(wide, 40).run(path, workers=1)
    assert_readable(path, whole)
    (small_disk / "ballast").unlink()
    found = Ensemble(wide, 40).run(path, workers=1)
    xarray.testing.assert_equal(found.load(), whole)
    assert not list(path.rglob("*.partial"))


def test_a_disk_that_is_full_while_a_store_is_made(small_disk, monkeypatch):
    monkeypatch.setattr(run.Run, "_ask_for_room", lambda *_: None)
    path, whole = small_disk / "runs.zarr", Ensemble(wide, 8).run().load()
    for pages in range(16):
        shutil.rmtree(path, ignore_errors=True)
        fill(small_disk, 4096 * pages)
        with pytest.raises(OSError, match="No space left"):
            Ensemble(wide, 8).run(path, block=4, workers=1)
        (small_disk / "ballast").unlink()
        xarray.testing.assert_equal(Ensemble(wide, 8).run(path, block=4).load(), whole)


def test_a_disk_that_is_too_small_is_seen_after_the_first_block(small_disk, tmp_path):
    calls = []

    def huge(members):
        calls.append(members)
        time.sleep(0.05)
        return wide(members)

    with pytest.raises(InvalidInputError, match=r"needs 0.0032 GB for 100 blocks, and the disk has 0.00209 GB"):
        Ensemble(huge, 400).run(small_disk / "runs.zarr", block=4, workers=1)
    assert len(calls) <= 2  # the second was on its way


# --- damage ----------------------------------------------------------------------------------------------------------


def damage(file, kind):
    data = bytearray(file.read_bytes())
    if kind == "cut short":
        file.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "removed":
        file.unlink()
    else:
        place = next(i for i in range(len(data) // 2, len(data)) if file.suffix != ".json" or chr(data[i]).isalnum())
        data[place] ^= 1
        file.write_bytes(data)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """A finished store of two blocks, in which member 7 failed."""
    path = tmp_path_factory.mktemp("finished") / "runs.zarr"
    silent(lambda: fails_at_7(study).run(path, block=4), DiagnosticWarning)
    return path


def fails_at_7(study):
    values = study.values

    def compute(members):
        if 7 in members:
            raise ArithmeticError("seven")
        return values(members)

    return Ensemble(compute, 8)


@pytest.mark.parametrize("kind", ["cut short", "empty", "removed", "a byte"])
def test_any_damaged_file_is_named_and_mended(kind, study, finished, tmp_path):
    right, names = xarray.open_zarr(finished).load(), list(content(finished))
    assert len(names) == 4 * 2 + 2 + 2 + 7 + 2 + 3  # chunks by member, of the status, common; descriptions; records
    path = tmp_path / "runs.zarr"
    for name in names:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(finished, path)
        damage(path / name, kind)
        store, said = attempt(lambda: Store.open(path), StoreError)
        assert (store is None) == (name in said)
        data, said = attempt(store.dataset, ValueError) if store else (None, "")
        assert "checksum" in said or data or not store
        assert not said or name == "time/c/0"  # an index is read at once
        for variable in data.variables if data else ():
            found, said = attempt(lambda: data[variable].values, ValueError)  # noqa: B023
            if said:
                assert "checksum" in said
                assert name.split("/c/")[0] == variable
            else:
                pending = variable == "status" and kind == "removed" and name.startswith("status/c/")
                np.testing.assert_array_equal(
                    found, np.where(found == -1, -1, right.status) if pending else right[variable]
                )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fails_at_7(study).run(path)
        messages = [str(warning.message) for warning in caught if warning.filename == __file__]
        assert messages.pop() == "1 members failed, the first is 7: ArithmeticError: seven"
        if kind == "removed" and name.startswith("status/c"):  # it has never been finished, as far as one can see
            assert messages == []
        else:
            assert len(messages) == 1, name
            assert name in messages[0]
        assert content(path) == content(finished)


def test_a_header_of_which_both_copies_are_damaged(study, finished, tmp_path):
    path = tmp_path / "runs.zarr"
    shutil.copytree(finished, path)
    root = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(root.replace('"members": 8', '"members": 7'))
    damage(path / "status" / "header.json", "cut short")
    before = content(path)
    with pytest.raises(StoreError, match=r"both copies .*zarr.json: .*checksum.*status/header.json"):
        fails_at_7(study).run(path)
    assert content(path) == before


texts = st.sampled_from([b"", b"[]", b"{}", b"null", b"1", b"[" * 100_000, b"9" * 5000, b"\xff", b'{"attributes": []}'])
harms = st.tuples(
    st.integers(0, 100),  # which file
    st.sampled_from(["over", "insert", "cut", "replace", "remove"]),
    st.floats(0, 1),  # where
    st.one_of(st.binary(min_size=1, max_size=8), texts),
)


@settings(max_examples=15)
@given(st.lists(harms, min_size=1, max_size=4))
def test_any_bytes_end_with_the_right_numbers_or_an_error(study, finished, tmp_path_factory, harms):
    path = tmp_path_factory.mktemp("harmed") / "runs.zarr"
    shutil.copytree(finished, path)
    names = list(content(path))
    for number, kind, place, new in harms:
        file = path / names[number % len(names)]
        old = file.read_bytes() if file.exists() else b""
        at = int(place * len(old))
        if kind == "remove":
            file.unlink(missing_ok=True)
        else:
            head, tail = old[:at], {"over": old[at + len(new) :], "insert": old[at:]}.get(kind, b"")
            file.write_bytes({"cut": head, "replace": new}.get(kind, head + new + tail))
    began = time.monotonic()
    found, said = attempt(lambda: silent(lambda: fails_at_7(study).run(path), DiagnosticWarning), StoreError)
    if found is None:
        assert any(name in said for name in names)
    else:
        changed = {name for name, data in content(finished).items() if content(path)[name] != data}
        assert all(name.endswith(".json") for name in changed)  # spaces, for instance
        assert_readable(path, xarray.open_zarr(finished).load())
    assert time.monotonic() - began < 10
