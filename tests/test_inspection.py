"""Looking at a store: what is read is what was written, and a store from elsewhere runs nothing and fills no memory."""

import json
import os
import pickle
import shutil
import tracemalloc
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynsys import Ensemble, InvalidInputError, StoreError
from dynsys.errors import DiagnosticWarning
from dynsys.storage.documents import HEADER
from dynsys.storage.files import write_whole
from dynsys.storage.header import Header, digest, sealed
from dynsys.storage.inspection import export, open_store, report


def squares(members):
    """A variable of each kind, and a member that fails."""
    if 3 in members:
        raise ValueError("three \x1b[31m is too many")
    x = members.astype(float)
    return xarray.Dataset(
        {
            "x": (("member", "time"), np.stack([x, x**2], axis=1), {"units": "1/time"}),
            "even": ("member", members % 2 == 0),
            "names": ("side", ["left", "rïght"]),
        },
        coords={"time": [1.0, 2.0], "label": ("time", [7, 8])},
        attrs={"dt": 0.1, "weird": [1, {"two": None}]},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "squares.zarr"
    with pytest.warns(DiagnosticWarning, match="1 members failed, the first is 3: ValueError: three"):
        Ensemble(squares, 10).run(path, block=4)
    return path


@pytest.fixture
def store(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "squares.zarr")


def test_what_is_read_is_what_was_computed(finished):
    data = open_store(finished)
    assert dict(data.sizes) == {"member": 10, "time": 2, "side": 2}
    assert set(data.data_vars) == {"x", "even", "names", "status"}
    assert set(data.coords) == {"time", "label"}
    good = np.arange(10) != 3
    np.testing.assert_array_equal(data.x[good, 1], np.arange(10)[good] ** 2)
    assert np.isnan(data.x[3]).all()
    assert data.status.values.tolist() == [0, 0, 0, 4, 0, 0, 0, 0, 0, 0]
    assert data.names.values.tolist() == ["left", "rïght"]
    assert (data.x.attrs["units"], data.dt, data.weird) == ("1/time", 0.1, [1, {"two": None}])
    assert json.loads(data.definition)["members"] == 10


def test_xarray_alone_reads_a_store(finished):
    plain = xarray.open_zarr(finished, chunks=None)
    for name, values in open_store(finished).variables.items():
        np.testing.assert_array_equal(plain[name], values)
    assert set(plain.coords) == {"time", "label"}


def test_a_report_tells_what_there_is_and_what_is_wrong(store):
    text = report(store)
    assert "10 of 10 members, 3 of 3 blocks of 4\n  9 finished, 1 failed" in text
    assert "member 3: ValueError: three \\u001b[31m is too many" in text
    assert "\x1b" not in text
    assert "x: float64 {'member': 10, 'time': 2}" in text
    (store / "x" / "c" / "1" / "0").write_bytes(b"short")
    text = report(store)
    assert "6 of 10 members, 2 of 3 blocks" in text
    assert "x/c/1/0 (cut short or too long: 5 bytes)" in text
    with pytest.raises(StoreError, match="x/c/1/0"):
        open_store(store)
    (store / "x" / "c" / "1" / "0").write_bytes(bytes(4 * 2 * 8 + 4))
    assert "x/c/1/0 (checksum)" in report(store)
    with pytest.raises(ValueError, match="checksum"):
        open_store(store).x.load()


def test_exports_hold_the_same_numbers(finished, tmp_path):
    (file,) = export(finished, tmp_path / "squares.nc")
    with xarray.open_dataset(file, engine="scipy") as netcdf:
        for name in ("x", "even", "status", "time", "label"):
            np.testing.assert_array_equal(netcdf[name], open_store(finished)[name])
        assert netcdf.weird == '[1, {"two": null}]'
    files = export(finished, tmp_path / "tables")
    assert [file.name for file in files] == ["member.csv", "member_time.csv", "side.csv"]
    table = np.genfromtxt(files[1], delimiter=",", names=True)
    assert table.dtype.names == ("member", "time", "x", "label")
    np.testing.assert_array_equal(table["x"].reshape(10, 2), open_store(finished).x)
    for target in ("squares.nc", "tables"):
        with pytest.raises(InvalidInputError, match="exists already"):
            export(finished, tmp_path / target)
    with pytest.raises(InvalidInputError, match="makes a NetCDF file"):
        export(finished, tmp_path / "squares.xlsx")


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


def test_a_store_with_a_pickle_in_it_is_refused_unopened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "trap.zarr"
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None, "order": "C"}
    for name, content in (
        (".zgroup", {"zarr_format": 2}),
        ("x/.zarray", {**array, "compressor": None, "filters": [{"id": "pickle", "protocol": 5}]}),
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(content))
    (path / "x" / "0").write_bytes(pickle.dumps(np.array([Trap()], dtype=object)))
    for read in (open_store, report, Ensemble(squares, 10).run):
        with pytest.raises(StoreError):
            read(path)
    assert not Path("sprung").exists()


def forged(path, **changes):
    """The store with another header, whose checksum is right."""
    content = json.loads((path / "status" / "header.json").read_bytes())
    del content["sha256"]
    for where, value in changes.items():
        *outer, last = where.split("__")
        part = content
        for name in outer:
            part = part[name]
        part[last] = value
    content["sha256"] = digest(content)
    root = json.loads((path / "zarr.json").read_bytes())
    root["attributes"][HEADER] = content
    write_whole(path / "status" / "header.json", json.dumps(content))
    write_whole(path / "zarr.json", json.dumps(root))


DEEP = json.loads('{"a":' * 300 + "1" + "}" * 300)


@pytest.mark.parametrize(
    "changes",
    [
        {"members": 10**15},
        {"members": 10**30, "block": 10**29},
        {"block": 10**12},
        {"variables__x__shape": [10**15, 2]},
        {"variables__time__shape": [10**15]},
        {"variables__names__shape": [10**15]},
        {"variables__x__dtype": "object"},
        {"variables__x__dtype": "O"},
        {"variables__x__dims": ["member"]},
        {"variables__x__dims": [["member"], "time"]},
        {"variables__x__attributes": {"scale_factor": "five", "_FillValue": [], "dtype": "object"}},
        {"variables__x": None},
        {"variables": {}},
        {"variables": {"../../escape": {"dims": ["member"], "shape": [10], "dtype": "int8", "attributes": {}}}},
        {"variables__label__coordinate": "no"},
        {"attributes": {"coordinates": 3, HEADER: 1}},
        {"attributes": DEEP},
        {"definition": DEEP},
        {"versions": [1]},
        {"members": "ten"},
        {"extra": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_forged_header_is_refused_or_does_no_harm(store, changes):
    forged(store, **changes)
    tracemalloc.start()
    for read in (open_store, report, Ensemble(squares, 10).run):
        with suppress(StoreError, InvalidInputError), warnings.catch_warnings():
            warnings.simplefilter("ignore", DiagnosticWarning)
            read(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    assert not (store.parents[1] / "escape").exists()


def exchanged(path, first, second):
    a, b = (path / first).read_bytes(), (path / second).read_bytes()
    (path / first).write_bytes(b)
    (path / second).write_bytes(a)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x/c/0/0", "x/c/1/0"),  # each with a right checksum
        ("status/c/0", "status/c/1"),
        ("time/c/0", "label/c/0"),
        ("status/block.0.json", "status/block.1.json"),
    ],
)
def test_chunks_of_other_places_are_refused_and_mended(store, first, second):
    right = open_store(store).load()
    exchanged(store, first, second)
    with pytest.raises(StoreError, match=r"not the one that was written there|of another store or block"):
        open_store(store)
    with suppress(StoreError):  # of what all members share nothing is said without it
        assert "10 of 10 members" not in report(store)
    with pytest.warns(DiagnosticWarning, match=r"was damaged|members failed"):
        found = Ensemble(squares, 10).run(store).load()
    xarray.testing.assert_identical(found, right)


def test_a_block_of_another_store_is_refused(store, tmp_path):
    """Of the same layout: all its files, its record too."""

    def cubes(members):
        data = squares(members)
        return data.assign(x=data.x + 1.0)

    with pytest.warns(DiagnosticWarning, match="members failed"):
        Ensemble(cubes, 10).run(tmp_path / "cubes.zarr", block=4)
    for name in ("x/c/0/0", "even/c/0", "status/c/0", "status/block.0.json"):
        shutil.copy(tmp_path / "cubes.zarr" / name, store / name)
    with pytest.raises(StoreError, match=r"block.0.json \(it is of another store or block\)"):
        open_store(store)


def unbound(path):
    """As it was written before there were records."""
    for record in path.glob("status/*.json"):
        content = json.loads(record.read_bytes())
        if record.name == "block.0.json":
            (path / "status" / "failures.0.json").write_text(json.dumps(sealed({"failures": content["failures"]})))
        if record.name not in ("header.json", "zarr.json"):
            record.unlink()
    forged(path, format="dynsys ensemble, format 2")


def test_stores_without_records_are_read_and_continued(store):
    right = open_store(store).load()
    unbound(store)
    xarray.testing.assert_identical(open_store(store).load(), right)
    assert "member 3: ValueError" in report(store)
    shutil.rmtree(store / "x" / "c" / "1")
    with pytest.warns(DiagnosticWarning, match=r"x/c/1/0 \(missing\)|members failed"):
        found = Ensemble(squares, 10).run(store).load()
    xarray.testing.assert_identical(found, right)
    assert not list(store.glob("status/block*"))


def run_again(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiagnosticWarning)  # that it was damaged
        return Ensemble(squares, 10).run(path)


@pytest.mark.parametrize("name", ["x/c/1", "x/c", "x", "status"])
def test_nothing_is_written_or_removed_through_a_link(store, tmp_path, name):
    outside = tmp_path / "outside"
    shutil.move(store / name, outside)
    (store / name).symlink_to(outside)
    for file in files_of(outside):  # so that there is something to be mended
        if file.suffix != ".json":
            file.write_bytes(b"others")
    before = {file: file.read_bytes() for file in files_of(outside)}
    with pytest.raises(StoreError, match=r"is a link|no store|not the lock"):
        run_again(store)
    assert {file: file.read_bytes() for file in files_of(outside)} == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
@pytest.mark.parametrize("name", ["zarr.json", "x/zarr.json", "x/c/1/0", "status/block.0.json", "status/c/1"])
def test_what_is_no_file_is_named(store, name, make):
    (store / name).unlink()
    make(store / name)
    with pytest.raises(StoreError):
        open_store(store)
    with pytest.raises(StoreError, match=f"{name} is a folder or pipe"):
        run_again(store)


@pytest.mark.parametrize("name", ["status/c/1", "x/c/1/0", "zarr.json"])
def test_a_link_to_itself_is_named(store, name):
    (store / name).unlink()
    (store / name).symlink_to((store / name).name)
    with pytest.raises(StoreError, match=name):
        open_store(store)


def test_other_attributes_are_refused_when_it_is_continued(store):
    forged(store, attributes={"weird": [1, {"two": None}]})
    with (
        pytest.raises(InvalidInputError, match=r"not like the others, .*dt: only here"),
        pytest.warns(DiagnosticWarning, match="was damaged"),
    ):
        Ensemble(squares, 10).run(store, workers=1)


def files_of(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_reader_of_a_damaged_store_gets_right_values_or_an_error(finished, tmp_path_factory, data):
    path = shutil.copytree(finished, tmp_path_factory.mktemp("damaged") / "squares.zarr")
    right = open_store(finished).load()
    file = data.draw(st.sampled_from(files_of(path)))
    content = file.read_bytes()
    place = data.draw(st.integers(0, max(0, len(content) - 1)))
    file.write_bytes(
        content[:place] + data.draw(st.binary(max_size=20)) + content[place + data.draw(st.integers(0, 9)) :]
    )
    try:
        text = report(path)
        found = open_store(path).load()
    except (StoreError, ValueError):
        pass
    else:
        xarray.testing.assert_identical(found, right)
        assert "10 of 10 members" in text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(json_values | st.fixed_dictionaries({"format": st.just("dynsys ensemble, format 1"), "sha256": st.text()}))
def test_any_json_is_a_header_or_refused(content):
    with pytest.raises(InvalidInputError):
        Header.of_json(content)
