"""Records: read-only copies, lossless on disk, refused when damaged, labelled, and good to go on from."""

import io
import json
import pickle

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynsys import RK4, CovariantVectors, InvalidInputError, LyapunovSpectrum
from dynsys.models.classics import Henon, LinearMap, Lorenz63

HENON = Henon().tangent(backend="numpy")
ONE, MANY = [0.1, 0.1], [[0.1, 0.1], [0.3, 0.2], [5.0, 5.0]]  # the third member escapes
PASSES = {"intervals": 20, "warmup": 40}

RUNS = {
    "spectrum": lambda: HENON.benettin(ONE, **PASSES),
    "spectra": lambda: HENON.benettin(MANY, **PASSES),
    "leading exponent": lambda: HENON.benettin(ONE, k=1, **PASSES),
    "vectors": lambda: HENON.ginelli(ONE, tail=40, **PASSES),
    "vectors of members": lambda: HENON.ginelli(MANY, tail=40, **PASSES),
    "states": lambda: HENON.trajectory(ONE, intervals=20),
    "states of members": lambda: HENON.trajectory(MANY, intervals=20),
    "estimates": lambda: HENON.sharafi(ONE, window=30, **PASSES),
}


@pytest.fixture(scope="module", params=RUNS.values(), ids=RUNS)
def result(request):
    return request.param()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of a small file, and what it holds."""
    spectrum = LinearMap([[2.0]]).tangent(backend="numpy").benettin([0.0], intervals=2)
    return spectrum.save(tmp_path_factory.mktemp("saved") / "spectrum.npz").read_bytes(), spectrum


def values(record, prefix=""):
    """Every field of a record and of the records in it, by name."""
    found = {}
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        if attrs.has(type(value)):
            found |= values(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


def arrays(record):
    return {name: value for name, value in values(record).items() if isinstance(value, np.ndarray)}


def assert_same_bits(one, two):
    ones, twos = values(one), values(two)
    assert list(ones) == list(twos)
    for name, value in ones.items():
        other = twos[name]
        assert type(value) is type(other), name
        if isinstance(value, np.ndarray):
            assert (value.dtype, value.shape) == (other.dtype, other.shape), name
            assert value.tobytes() == other.tobytes(), name
        else:
            assert value == other, name


def test_what_is_loaded_is_what_was_saved_bit_for_bit(result, tmp_path):
    path = tmp_path / "result.npz"
    assert result.save(path) == path
    assert_same_bits(type(result).load(str(path)), result)


def test_file_holds_no_pickle(result, tmp_path):
    with np.load(result.save(tmp_path / "result.npz"), allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= set("fiuU")  # numbers, and the header as text
        header = json.loads(str(file["header"]))
    assert header["class"] == f"dynsys.{type(result).__name__}"


@pytest.mark.parametrize("name", ["a.npz", "no suffix", "dots.in.name"])
def test_file_is_written_under_the_very_name_and_never_overwritten(name, tmp_path, saved):
    _, spectrum = saved
    path = spectrum.save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match="exists already"):
        spectrum.save(path)
    assert path.read_bytes() == before


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0.0, 1.0, exclude_max=True), flip=st.integers(1, 255))
def test_changed_byte_is_refused_or_harmless_but_never_gives_other_numbers(saved, tmp_path, position, flip):
    content, spectrum = saved
    damaged = bytearray(content)
    damaged[int(position * len(content))] ^= flip
    path = tmp_path / "damaged.npz"
    path.write_bytes(damaged)
    try:
        loaded = LyapunovSpectrum.load(path)
    except InvalidInputError:
        return
    assert_same_bits(loaded, spectrum)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_truncated_file_is_refused(saved, tmp_path, share):
    content, _ = saved
    path = tmp_path / "truncated.npz"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InvalidInputError, match=r"truncated\.npz does not hold a LyapunovSpectrum"):
        LyapunovSpectrum.load(path)


class Trap:
    """A pickle that leaves a trace when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def npz(**content):
    stream = io.BytesIO()
    np.savez(stream, **content)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


FOREIGN = {
    "nothing": lambda trap: b"",
    "text": lambda trap: b"exponents: 0.9, 0.0, -14.6",
    "one array": lambda trap: npy(np.ones(3)),
    "arrays": lambda trap: npz(exponents=np.ones(3)),
    "header that is no JSON": lambda trap: npz(header=np.array("exponents")),
    "empty header": lambda trap: npz(header=np.array("{}")),
    "list as header": lambda trap: npz(header=np.array("[]")),
    "pickle": pickle.dumps,
    "pickle in an array": lambda trap: npz(header=np.array(trap, dtype=object)),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_file_is_refused_and_nothing_in_it_is_run(content, tmp_path):
    path, trace = tmp_path / "foreign.npz", tmp_path / "trace"
    path.write_bytes(content(Trap(trace)))
    with pytest.raises(InvalidInputError, match=r"foreign\.npz does not hold a CovariantVectors"):
        CovariantVectors.load(path)
    assert not trace.exists()


def edited(saved, tmp_path, edit):
    """A file whose header or arrays were changed by hand."""
    path = tmp_path / "edited.npz"
    path.write_bytes(saved[0])
    with np.load(path) as file:
        content = {name: file[name] for name in file.files}
    header = json.loads(str(content["header"]))
    edit(header, content)
    content["header"] = np.array(json.dumps(header))
    with path.open("wb") as file:
        np.savez(file, **content)
    return path


EDITS = {
    "another format": lambda header, content: header.update(format="dynsys result, format 99"),
    "another class": lambda header, content: header.update({"class": "CovariantVectors"}),
    "missing value": lambda header, content: header["values"].pop("dt"),
    "missing array": lambda header, content: content.pop("rates"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_file_of_another_class_format_or_with_gaps_is_refused(edit, saved, tmp_path):
    assert_same_bits(LyapunovSpectrum.load(edited(saved, tmp_path, lambda header, content: None)), saved[1])
    with pytest.raises(InvalidInputError, match="does not hold a LyapunovSpectrum of dynsys result, format 1"):
        LyapunovSpectrum.load(edited(saved, tmp_path, edit))


def test_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        LyapunovSpectrum.load(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("part", ["itself", "diagnostics", "end"])
def test_fields_and_arrays_of_a_record_cannot_be_changed(result, part):
    record = getattr(result, part, result)
    fields = {field.name for field in attrs.fields(type(record))}
    assert {name for name, array in arrays(record).items() if name in fields and array.flags.writeable} == set()
    for name in fields:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(record, name, None)


def test_record_holds_copies_so_that_later_changes_elsewhere_do_not_reach_it(saved):
    rates = np.ones((2, 1))
    spectrum = attrs.evolve(saved[1], rates=rates)
    rates[:] = 7.0
    np.testing.assert_array_equal(spectrum.rates, 1.0)


def test_run_leaves_the_given_state_as_it_was():
    x0 = np.array(MANY)
    before = x0.copy()
    result = HENON.ginelli(x0, tail=40, **PASSES)
    np.testing.assert_array_equal(x0, before)
    assert not any(np.shares_memory(x0, array) for array in arrays(result).values())


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("x0", [ONE, MANY], ids=["one state", "members"])
@pytest.mark.parametrize("t0", [0.0, 2.5])
def test_run_continued_from_a_loaded_result_equals_the_uninterrupted_run(backend, x0, t0, tmp_path):
    tangent = Henon().tangent(backend=backend, t0=t0)
    whole = tangent.benettin(x0, intervals=50, steps_per_interval=2, warmup=10)
    first = tangent.benettin(x0, intervals=20, steps_per_interval=2, warmup=10)
    loaded = LyapunovSpectrum.load(first.save(tmp_path / "first.npz"))
    second = tangent.benettin(loaded.end, intervals=30, steps_per_interval=2)
    np.testing.assert_array_equal(np.concatenate([first.rates, second.rates], axis=-2), whole.rates)
    np.testing.assert_array_equal(np.concatenate([first.times, second.times]), whole.times)
    assert_same_bits(second.end, whole.end)


@pytest.mark.parametrize("x0", [ONE, MANY[:2]], ids=["one state", "members"])
def test_labelled_data_have_the_axes_of_the_record(x0):
    member = {} if x0 is ONE else {"member": 2}
    spectrum, vectors = HENON.benettin(x0, **PASSES), HENON.ginelli(x0, tail=40, k=2, **PASSES)
    data = spectrum.to_xarray()
    assert dict(data.sizes) == {**member, "exponent": 2, "time": 20}
    assert data.rate.dims == (*member, "time", "exponent")
    np.testing.assert_array_equal(data.rate.sel(time=60.0, exponent=2), spectrum.rates[..., -1, 1])
    np.testing.assert_array_equal(data.exponent_mean, spectrum.exponents)

    data = vectors.to_xarray()
    assert dict(data.sizes) == {**member, "time": 20, "state": 2, "vector": 2}
    assert data.covariant_vector.dims == (*member, "time", "state", "vector")
    np.testing.assert_array_equal(data.covariant_vector.sel(time=41.0, vector=1), vectors.vectors[..., 0, :, 0])
    np.testing.assert_array_equal(data.available - data.time, 40.0)
    assert data.attrs == {"method": "ginelli", "dt": 1.0, "steps_per_interval": 1, "stride": 1}


def test_times_and_dt_are_in_the_units_of_the_model():
    spectrum = (
        Lorenz63().tangent(RK4(dt=0.01), t0=5.0).benettin(np.ones(3), intervals=20, steps_per_interval=4, warmup=30)
    )
    assert (spectrum.dt, spectrum.steps_per_interval, spectrum.end.n) == (0.01, 4, 200)
    np.testing.assert_array_equal(spectrum.to_xarray().time, 5.0 + (30 + np.arange(1, 21)) * 4 * 0.01)
    # sum of the rates of an interval is the mean trace of the Jacobian, to the accuracy of RK4
    np.testing.assert_allclose(spectrum.rates.sum(axis=1), -(10 + 1 + 8 / 3), rtol=1e-4)
