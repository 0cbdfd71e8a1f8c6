"""Whatever table or file comes: a result or a clear error, in bounded memory; nothing is executed."""

import contextlib
import io
import json
import os
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsys import InvalidInputError, LyapunovSpectrum
from dynsys.models.classics import LinearMap
from dynsys.models.weight_dynamics import read_table
from dynsys.results.axes import check_axes

posix = pytest.mark.skipif(sys.platform == "win32", reason="limits of a process and pipes are those of POSIX")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A folder for all files."""
    return tmp_path_factory.mktemp("untrusted")


# ---- tables

ENTRY = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**400), 10**400).map(str),
    st.sampled_from(
        ["", " ", "1_000", "0x10", "1e308", "-1e308", "5e-324", "nan", "inf", '"1"', '"', "\0", "\ufeff", "٣"]
    ),
    st.text(max_size=3),
)
LINE = st.lists(ENTRY, min_size=1, max_size=4).map(",".join)


@settings(max_examples=200)
@given(
    header=st.sampled_from(["x,y", "y,x,z", "y", "", "y,y", '"y","x"', "\ufeffy,x", " y , x ", "x\0,y", ",y"]),
    lines=st.lists(LINE, max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    code=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    cut=st.integers(0, 3),
)
def test_any_table_is_refused_or_gives_finite_standardised_columns(scratch, header, lines, end, code, cut):
    path = scratch / "table.csv"
    content = end.join([header, *lines]).encode(code, "replace")
    path.write_bytes(content[: len(content) - cut])
    try:
        X, y, names = read_table(path, "y")
    except InvalidInputError:
        return
    assert X.shape == (len(y), len(names))
    assert np.isfinite(y).all()
    np.testing.assert_allclose(X.mean(axis=0), 0.0, atol=1e-7)
    np.testing.assert_allclose(X.std(axis=0), 1.0, atol=1e-7)


def peak(call):
    """Most memory that a call held, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "row", ["1,2\n3,4\n", "1.2345678,2.3456789\n3.4567891,4.5678912\n", "\n\n\n"], ids=["short", "long", "none"]
)
def test_memory_for_a_table_is_bounded_by_the_size_of_the_file(scratch, row):
    path = scratch / "large.csv"
    path.write_text("x,y\n1,2\n3,4\n" + row * (500_000 // len(row)))
    assert peak(lambda: read_table(path, "y")) < 25 * path.stat().st_size


@pytest.mark.parametrize("header", ["a" * 100_000, ",".join(f"c{i}" for i in range(50_000)), "y," * 50_000])
def test_error_about_a_huge_header_is_readable(scratch, header):
    path = scratch / "header.csv"
    path.write_text(f"{header}\n1\n")
    with pytest.raises(InvalidInputError) as error:
        read_table(path, "y")
    assert len(str(error.value)) < 2000


@posix
@pytest.mark.parametrize("read", [lambda path: read_table(path, "y"), LyapunovSpectrum.load], ids=["table", "result"])
def test_what_has_no_end_is_refused_without_waiting(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(InvalidInputError, match="regular file"):
            read(path)


# ---- files of results


@pytest.fixture(scope="module")
def members(scratch):
    """What stands in a file of a spectrum, by name."""
    spectrum = LinearMap([[2.0]]).tangent(backend="numpy").benettin([0.0], intervals=2)
    with zipfile.ZipFile(spectrum.save(scratch / "spectrum.npz")) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def refused(path, **options):
    with pytest.raises(InvalidInputError, match=r"does not hold a LyapunovSpectrum"):
        LyapunovSpectrum.load(path, **options)


def npy(header, content=b""):
    text = (header if isinstance(header, str) else repr(header)).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def described(shape, dtype="<f8", **more):
    return {"descr": dtype, "fortran_order": False, "shape": shape} | more


FORGED = {
    "shape of 10^12": npy(described((10**12,)), bytes(16)),
    "shape that overflows": npy(described((2**62, 2**62)), bytes(16)),
    "negative shape": npy(described((-1,)), bytes(16)),
    "shape of words": npy(described(("a",)), bytes(16)),
    "too much data": npy(described((1, 2)), bytes(800)),
    "objects": npy(described((1, 2), "|O"), b"cos\nsystem\n(S'true'\ntR."),
    "records": npy(described((1, 2), [("a", "<f8")]), bytes(16)),
    "dates": npy(described((1, 2), "<M8[s]"), bytes(16)),
    "words": npy(described((1, 2), "<U1"), "abcd".encode("utf-32")[4:12]),
    "empty words": npy(described((10**15,), "<U0")),
    "code as header": npy("__import__('os').system('true')"),
    "brackets as header": npy("(" * 9000),
    "long header": npy(described((1, 2)) | {"x": " " * 60_000}),
    "another version": b"\x93NUMPY\x09\x00" + bytes(100),
    "no array": b"PK",
    "nothing": b"",
}


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED)
def test_forged_array_is_refused_in_little_memory(content, members, tmp_path):
    path = packed(tmp_path / "forged.npz", members | {"rates.npy": content})
    assert peak(lambda: refused(path)) < 2**22


def changed(members, change):
    stream = io.BytesIO(members["header.npy"])
    header = json.loads(str(np.load(stream, allow_pickle=False)))
    header["values"] |= change
    stream = io.BytesIO()
    np.save(stream, np.array(json.dumps(header)))
    return members | {"header.npy": stream.getvalue()}


@pytest.mark.parametrize(
    "change",
    [
        {"dt": "1"},
        {"dt": None},
        {"dt": [1.0]},
        {"dt": {"a": 1}},
        {"stride": 1.5},
        {"end": 3},
        {"end": {}},
        {"diagnostics": []},
    ],
    ids=str,
)
def test_value_of_another_type_is_refused(change, members, tmp_path):
    with pytest.raises(InvalidInputError, match="does not hold a LyapunovSpectrum"):
        LyapunovSpectrum.load(packed(tmp_path / "changed.npz", changed(members, change)))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 2_000_000, '{"format"', "1e999", "\x00"], ids=lambda text: text[:5]
)
def test_header_that_is_no_header_is_refused(text, members, tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.array(text))
    with pytest.raises(InvalidInputError, match="does not hold a LyapunovSpectrum"):
        LyapunovSpectrum.load(packed(tmp_path / "header.npz", members | {"header.npy": stream.getvalue()}))


def test_archive_that_unpacks_to_more_than_the_limit_is_refused_unread(members, tmp_path):
    count = 2**23
    path = packed(tmp_path / "bomb.npz", members | {"rates.npy": npy(described((1, count)), bytes(8 * count))})
    assert path.stat().st_size < 8 * count / 500
    assert peak(lambda: refused(path, memory_limit=2**25)) < 2**21
    with pytest.raises(InvalidInputError, match=r"0.0625 GiB, more than memory_limit = 0.0312 GiB: raise memory_limit"):
        LyapunovSpectrum.load(path, memory_limit=2**25)


def test_archive_that_lies_about_its_sizes_is_refused_in_little_memory(members, tmp_path):
    """The directory says 144 bytes, the stream holds 64 MiB."""
    path = tmp_path / "liar.npz"
    true = npy(described((1, 2**23)), bytes(2**26))
    content = packed(path, members | {"rates.npy": true}).read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", len(true)), struct.pack("<I", 144)))
    assert peak(lambda: refused(path)) < 2**22


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_methods_that_numpy_never_writes_are_refused(method, members, tmp_path):
    with pytest.raises(InvalidInputError, match="compressed by another method"):
        LyapunovSpectrum.load(packed(tmp_path / "other.npz", members, method))


def test_results_of_nothing_but_nan_are_loaded_however_well_they_compress(tmp_path):
    """An ensemble that has escaped: deflate makes a thousandth of it, as of a bomb."""
    spectrum = LinearMap([[1e200]]).tangent(backend="numpy").benettin(np.ones((2000, 1)), intervals=200)
    assert np.isnan(spectrum.exponents).all()
    path = spectrum.save(tmp_path / "escaped.npz")
    assert path.stat().st_size < spectrum.rates.nbytes / 50
    np.testing.assert_array_equal(LyapunovSpectrum.load(path).rates, spectrum.rates)


def resaved(members, change):
    """Other arrays in the place of those that are named, each a function of the array that stood there."""
    found = dict(members)
    for name, make in change.items():
        stream = io.BytesIO()
        np.save(stream, make(np.load(io.BytesIO(members[f"{name}.npy"]))))
        found[f"{name}.npy"] = stream.getvalue()
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"rates": lambda a: a[:-1]},
        {"times": lambda a: a[None]},
        {"exponents": lambda a: a[0]},
        {"exponents": lambda a: a.astype(int)},
        {"standard_error": lambda a: np.append(a, 1.0)},
        {"end.x": lambda a: np.repeat(a, 2, axis=0)},
        {"end.status": lambda a: a.astype(float)},
        {"end.R": lambda a: np.zeros((1, 0, 3))},
        {"diagnostics.rest": lambda a: np.zeros(3)},
        {"diagnostics.doubtful": lambda a: np.full(a.shape, np.nan)},
        {name: lambda a: np.zeros(2) for name in ("exponents", "standard_error")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_arrays_that_do_not_fit_together_are_refused(change, members, tmp_path):
    refused(packed(tmp_path / "other.npz", resaved(members, change)))


def test_every_array_of_a_result_has_its_axes():
    tangent = LinearMap([[2.0, 0.0], [0.0, 0.5]]).tangent(backend="numpy")
    for start in ([0.0, 0.0], [[0.0, 0.0], [0.1, 0.1]]):
        for found in (
            tangent.benettin(start, intervals=4),
            tangent.ginelli(start, intervals=4, warmup=20, tail=20),
            tangent.gali(start, intervals=4),
            tangent.trajectory(start, intervals=4),
            tangent.wolfe_samelson(start, intervals=4, warmup=20, tail=20),
        ):
            check_axes(found, {})


@settings(max_examples=100)
@given(data=st.data())
def test_archive_with_any_damage_inside_is_refused_or_loaded(scratch, members, data):
    """The checksums of the archive are right: what is damaged reaches the reader."""
    name = data.draw(st.sampled_from(sorted(members)))
    content = bytearray(members[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = packed(scratch / "damaged.npz", members | {name: bytes(content[: data.draw(st.integers(0, len(content)))])})
    with contextlib.suppress(InvalidInputError):
        LyapunovSpectrum.load(path)
