"""Target: a damaged store. No wrong number, no error of others, nothing outside of it, in little time and memory."""

import contextlib
import json
import shutil
import warnings

import numpy as np
import xarray

from dynsys import DiagnosticWarning, Ensemble, InvalidInputError, StoreError
from dynsys.storage.documents import COPY, HEADER, ROOT, documents
from dynsys.storage.header import Header
from dynsys.storage.inspection import export, open_store, report
from fuzz.damages import damage, edited


def forged(draw, path):
    """Another header in both places, and descriptions of variables that fit it, all with right digests."""
    try:
        content = edited(draw, json.loads((path / COPY).read_bytes()))
        try:
            found = documents(Header.of_json(content))
        except Exception:
            root = json.loads((path / ROOT).read_bytes())
            root["attributes"][HEADER] = content
            found = {ROOT: root, COPY: content}
        for name, document in found.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if (path / name).is_fifo():  # of an earlier damage: it would wait for a reader
                (path / name).unlink()
            (path / name).write_text(json.dumps(document))
    except (OSError, ValueError, TypeError, KeyError):  # damaged before
        return "no header"
    return "forged"


def numbers(seed):
    """Something to compute: variables of several types, what members share, a member that fails."""

    def compute(members):
        if 5 in members:
            raise ValueError("five is too many")
        x = members + seed / 8
        return xarray.Dataset(
            {
                "x": (("member", "time"), np.stack([x, x**2, -x], axis=1)),
                "y": (("member", "time"), np.stack([-x, x**3, x], axis=1)),
                "even": ("member", members % 2 == 0),
                "names": ("side", [f"left {seed}", "rïght"]),
                "weights": ("side", [0.25, 0.75]),
            },
            coords={"time": [1.0, 2.0, 3.0], "label": ("time", [7.0, 8.0, 9.0])},
            attrs={"dt": 0.125},
        )

    return compute


class Stores:
    """A finished store, one of another seed, and what may be done to copies of the first."""

    def __init__(self, folder):
        self.folder = folder
        self.whole, self.other, self.outside = (folder / name for name in ("whole.zarr", "other.zarr", "outside"))
        self.ensemble = Ensemble(numbers(0), 8)
        with quiet():
            self.ensemble.run(self.whole, block=3, workers=1)
            Ensemble(numbers(1), 8).run(self.other, block=3, workers=1)
        self.right = open_store(self.whole).load()
        self.outside.mkdir()
        self.reset()

    def reset(self):
        for file in self.outside.iterdir():
            file.unlink()
        for name in ("0", "kept"):
            (self.outside / name).write_text("kept")

    def target(self, draw, all_ways=True):
        """Damage a copy, and look at what becomes of it, in all ways or by one."""
        path = self.folder / "damaged.zarr"
        remove(path)
        shutil.copytree(self.whole, path)
        done = [
            forged(draw, path) if not draw.randrange(6) else damage(draw, path, self.other, self.outside)
            for _ in range(draw.choice((1, 1, 2, 3)))
        ]
        try:
            with quiet():
                said = [self.read(lambda: open_store(path).load())]
                if all_ways:
                    self.look_at(path)
                    said.append(self.run_again(path))
        except Exception as problem:
            problem.add_note("; ".join(done))
            raise
        return ", ".join(said)

    def look_at(self, path):
        for look in (
            lambda: report(path),
            lambda: export(path, self.folder / "tables"),
            lambda: export(path, self.folder / "a.nc"),
        ):
            with contextlib.suppress(StoreError, InvalidInputError):
                checksums_apart(look)
        remove(self.folder / "tables")
        remove(self.folder / "a.nc")
        self.unharmed()

    def run_again(self, path):
        said = self.read(lambda: self.ensemble.run(path, workers=1).load(), finished=True)
        self.unharmed()
        return said

    def read(self, read, finished=False):
        try:
            found = checksums_apart(read)
        except (StoreError, InvalidInputError):
            return "refused"
        if found is None:
            return "checksum"
        pending = found["status"] == -1
        if finished:
            assert not pending.any()
        else:
            done = np.flatnonzero(~pending)
            found, right = found.isel(member=done), self.right.isel(member=done)
        right = self.right if finished else right
        xarray.testing.assert_equal(found, right)
        assert found.attrs["dt"] == 0.125
        return "right"

    def unharmed(self):
        try:
            self._unharmed()
        finally:
            self.reset()

    def _unharmed(self):
        assert sorted(file.name for file in self.outside.iterdir()) == ["0", "kept"]
        assert {file.read_text() for file in self.outside.iterdir()} == {"kept"}
        assert sorted(file.name for file in self.folder.iterdir()) == [
            "damaged.zarr",
            "other.zarr",
            "outside",
            "whole.zarr",
        ]


def checksums_apart(read):
    """What is read; None if Zarr says that a checksum is wrong, as it does where numbers are read later."""
    try:
        return read()
    except ValueError as problem:
        if "checksum" not in str(problem):
            raise
        return None


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DiagnosticWarning)
        yield


def remove(path):
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
