"""What happens to members that fail, to blocks that are not like the others, and to stores of something else."""

import importlib.metadata
import warnings
from collections import Counter
from functools import partial

import numpy as np
import pytest
import xarray
from ensemble_stores import content, silent, wide

from dynsys import (
    DiagnosticWarning,
    Ensemble,
    InvalidInputError,
    StoreError,
    SymbolicMap,
)
from dynsys.passes.status import FAILED, STATUSES
from dynsys.storage.store import Store

# --- members that fail -----------------------------------------------------------------------------------------------

DOUBLE = SymbolicMap.of({"x": "2*x**2"})  # away from 1/2, to 0 or to infinity


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_members_that_diverge_are_marked_and_leave_the_others_alone(backend):
    x0 = np.full((20, 1), 0.45)
    x0[[0, 7, 8, 9, 19]] = [[1.5], [2.0], [3.0], [4.0], [1e300]]
    good = np.setdiff1d(np.arange(20), [0, 7, 8, 9, 19])
    tangent, seen = DOUBLE.tangent(backend=backend), []
    options = {"intervals": 5, "steps_per_interval": 2, "warmup": 0}
    whole = None
    for block in (1, 3, 20):
        study = Ensemble.of(tangent.benettin, x0, **options, stride=1)
        found = silent(lambda: study.run(block=block, workers=2, progress=seen.append), DiagnosticWarning)  # noqa: B023
        assert [*found.status.values] == [int(m not in good) for m in range(20)]
        assert seen[-1].statuses == {"finished": 15, "diverged": 5}
        assert seen[-1].done == 20
        whole = found if whole is None else whole
        xarray.testing.assert_identical(found, whole)
    alone = silent(lambda: Ensemble.of(tangent.benettin, x0[good], **options).run(), DiagnosticWarning)
    for name in ("rate", "exponent_mean"):
        assert whole[name].values[good].tobytes() == alone[name].values.tobytes()


ALL = {
    "f8": np.float64(0.5), "f4": np.float32(0.5), "i8": np.int64(5), "i2": np.int16(5), "i1": np.int8(5),
    "u8": np.uint64(5), "u1": np.uint8(5), "b1": np.bool_(True),
}  # fmt: skip


def of_all_types(members, bad=()):
    """Variables of all types; NaN for members that are divisible by 5, an error for the bad ones."""
    wrong = [m for m in members if m in bad]
    if wrong:
        raise ArithmeticError(f"{'seven' if len(members) > 1 else wrong[0]} is bad")
    size = len(members)
    data = {name: ("member", np.full(size, value)) for name, value in ALL.items()}
    data["x"] = (("side", "member"), np.where(members % 5 == 0, np.nan, members + np.array([[0.5], [0.25]])))
    return xarray.Dataset(data, {"sigma": ("member", members * 0.5), "side": [0, 1]}, {"title": "types", "n": (1, 2)})


@pytest.mark.parametrize("bad", [(7,), (18, 19), (0, 1, 2, 9, 19), tuple(range(19))])
def test_members_that_raise_are_named_and_the_others_do_not_notice(bad, tmp_path):
    clean = Ensemble(of_all_types, 20).run(block=20)
    good, seen, whole = np.setdiff1d(np.arange(20), bad), [], None
    for block in (3, 1, 20):
        path = tmp_path / f"{block}.zarr"
        study = Ensemble(partial(of_all_types, bad=bad), 20)
        with pytest.warns(DiagnosticWarning, match=f"{len(bad)} members failed, the first is {bad[0]}: Ari") as caught:
            found = study.run(path, block=block, workers=2, progress=seen.append)
        assert caught[0].filename == __file__
        with pytest.warns(DiagnosticWarning, match="members failed"):
            xarray.testing.assert_identical(study.run(path), found)  # a finished one is read
        assert found.attrs.pop("definition") != clean.attrs.get("definition")
        assert Store.open(path).failures() == {m: f"ArithmeticError: {m} is bad" for m in bad}
        assert (found.status.values[list(bad)] == FAILED).all()
        assert [STATUSES[int(s)] for s in found.status[good]] == ["finished" if m % 5 else "not finite" for m in good]
        assert seen[-1].statuses == {name: n for name, n in Counter(map(STATUSES.get, found.status.values)).items()}
        for name in clean.variables:
            assert found[name].dtype == clean[name].dtype
            mine, right = found[name], clean[name]
            if "member" in right.dims:
                mine, right = mine.isel(member=good), right.isel(member=good)
            assert name == "status" or mine.values.tobytes() == right.values.tobytes()
        assert np.isnan(found.x.values[:, list(bad)]).all()
        assert (found.i2.values[list(bad)] == -1).all()
        assert set(found.coords) == {"sigma", "side"}
        whole = found.load() if whole is None else whole
        xarray.testing.assert_identical(found, whole)


@pytest.mark.parametrize(("members", "computed"), [(10, 10), (1000, 80)])
def test_what_always_fails_raises_its_own_error_and_a_corrected_call_can_use_the_folder(members, computed, tmp_path):
    calls = []

    def compute(members):
        calls.append(members)
        raise KeyError("wrong name")

    path = tmp_path / "runs.zarr"
    with pytest.raises(KeyError, match="wrong name"):
        Ensemble(compute, members).run(path, block=4, workers=1)
    assert sum(len(m) for m in calls if len(m) == 1) <= computed  # it is not tried for all of many
    assert [file for file in content(path) if not file.endswith("lock")] == []
    assert Ensemble(wide, 10).run(path, block=5).sizes == {"member": 10, "k": 1000}


def test_where_warnings_are_errors_they_are_not_those_of_a_member():
    def compute(members):
        warnings.warn("odd", UserWarning, stacklevel=2)
        return wide(members)

    with pytest.raises(UserWarning, match="odd"):
        Ensemble(compute, 3).run()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of the compute above
        assert (Ensemble(compute, 3).run().status == 0).all()


def changed_at_5(change):
    """A study whose member 5 gives something else."""

    def compute(members):
        data = xarray.Dataset({"x": (("member", "time"), members[:, None] + np.arange(3.0))}, {"time": np.arange(3.0)})
        return change(data, members) if 5 in members else data

    return Ensemble(compute, 10)


WRONG = {
    "an xarray.Dataset, got a dict": lambda data, members: data.to_dict(),
    r"given 2 members .* got {'member': 0": lambda data, members: data.isel(member=[]),
    r"given 2 members .* got {'time'": lambda data, members: data.isel(member=0),
    r"block 2 is not like .* x.dtype: 'float64' there, 'float32' here": lambda data, members: data.astype("f4"),
    r"block 2 is not like .* x.shape": lambda data, members: data.isel(time=[0, 1]),
    r"block 2 is not like .* y: only here": lambda data, members: data.assign(y=data.x),
    r"block 2 is not like .* time\b": lambda data, members: data.assign_coords(time=[0.0, 1.0, 2.5]),
    r"block 2 is not like .* x.attributes.units: only here": lambda data, members: data.assign(
        x=data.x.assign_attrs(units="m")
    ),
    "status must hold one code": lambda data, members: data.assign(status=("member", 0 * members + 4)),
    "status must hold one code .*": lambda data, members: data.assign(status=0),
    "y: a value of type complex128 cannot": lambda data, members: data.assign(y=data.x * 1j),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_block_is_an_error_and_is_not_saved(text, tmp_path):
    path = tmp_path / "runs.zarr"
    study = changed_at_5(WRONG[text])
    with pytest.raises(InvalidInputError, match=text):
        study.run(path, block=2, workers=1)
    assert sorted(file.name for file in path.glob("status/c/*")) in (["0", "1"], ["0", "1", "3"])
    with pytest.raises(InvalidInputError):  # and so it is again
        study.run(path, workers=1)
    for block in (1, 5, 10):
        if block < 10 or "block 2" not in text:  # one block is like itself
            with pytest.raises(InvalidInputError):
                study.run(tmp_path / f"{block}.zarr", block=block, workers=1)


@pytest.mark.parametrize("shared", ["time", "kind"])
@pytest.mark.parametrize("block", [1, 4, 12])
def test_what_is_shared_must_be_the_same_beside_a_member_that_fails(shared, block):
    def compute(members):
        if 2 in members:
            raise ArithmeticError
        late = members.max() > 6
        data = {"x": (("member", "time"), np.zeros((len(members), 2))), "kind": ((), float(late and shared == "kind"))}
        return xarray.Dataset(data, {"time": [0.0, 1.0 + (late and shared == "time")]})

    with pytest.raises(InvalidInputError, match="no dimension 'member'"):
        Ensemble(compute, 12).run(block=block)


def test_a_wrong_initial_state_is_refused_at_the_door():
    x0 = np.full((5, 1), 0.3)
    x0[[1, 3], 0] = np.nan, np.inf
    with pytest.raises(InvalidInputError, match=r"finite, got NaN or infinity for the members \[1, 3\]"):
        Ensemble.of(DOUBLE.tangent(backend="numpy").benettin, x0, intervals=1)


# --- another definition ----------------------------------------------------------------------------------------------


def test_another_definition_is_refused_and_named(tmp_path):
    path = tmp_path / "runs.zarr"
    x0 = np.full((6, 1), 0.3)

    def study(intervals=4, x0=x0, **options):
        return Ensemble.of(DOUBLE.tangent(backend="numpy").trajectory, x0, intervals=intervals, **options)

    study().run(path, block=2)
    before = content(path)
    for other, text in [
        (study(5), r"compute.options.intervals: 4 there, 5 here"),
        (study(warmup=1), r"compute.options.warmup: only here"),
        (study(x0=x0[:5]), r"compute.x0.array: 'float64 \(6, 1\)' there, .*members: 6 there, 5 here"),
        (study(x0=x0 + 1e-16), r"compute.x0.sha256"),
        (Ensemble(wide, 6), r"compute"),
    ]:
        with pytest.raises(StoreError, match=rf"is of another definition \(.*{text}"):
            other.run(path)
    with pytest.raises(InvalidInputError, match="has blocks of 2 members, got block = 3: leave block out"):
        study().run(path, block=3)
    assert content(path) == before
    xarray.testing.assert_identical(study().run(path, block=2), study().run(path))


def test_other_versions_are_a_warning(tmp_path, monkeypatch):
    path = tmp_path / "runs.zarr"
    Ensemble(wide, 4).run(path)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    with pytest.warns(DiagnosticWarning, match=r"other versions \(.*numpy: '.*' there, '99' here") as caught:
        Ensemble(wide, 4).run(path)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("inside", ["notes.txt", "zarr.json", "status/notes.txt", None])
def test_a_folder_that_is_no_store_is_not_touched(inside, tmp_path):
    path = tmp_path / "mine"
    if inside:
        (path / inside).parent.mkdir(parents=True)
        (path / inside).write_text("mine")
    else:
        path.write_text("mine")
    with pytest.raises(StoreError, match="is no store"):
        Ensemble(wide, 4).run(path)
    assert sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()) == [inside] * bool(
        inside
    )
