"""Target: a damaged file of a result: a result that can be looked at, or an error of ours, in little memory."""

import contextlib
import io
import json
import struct
import warnings
import zipfile

import numpy as np
import pytest

from dynsys import GALI, CovariantVectors, InvalidInputError, LyapunovSpectrum, LyapunovVectors, Trajectory
from dynsys.models.classics import Henon
from fuzz.damages import bytes_of, edited

DTYPES = ("<f8", ">f8", "<f4", "<i8", "|i1", "|b1", "<U3", "|O", "<c16", "<M8[s]", "|V8", "<f2", "S3", "<U0")


class Results:
    """Files of results of each kind, of one run and of several."""

    def __init__(self, folder):
        self.folder, self.files = folder, []
        x0 = np.array([0.1, 0.1])
        tangent = Henon().tangent(backend="numpy")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number, start in enumerate((x0, np.stack([x0, x0 + 0.01, [9.0, 9.0]]))):
                for made in (
                    tangent.benettin(start, intervals=20),
                    tangent.ginelli(start, intervals=12, warmup=20, tail=20),
                    tangent.gali(start, intervals=6),
                    tangent.trajectory(start, intervals=5),
                    tangent.wolfe_samelson(start, intervals=6, warmup=20, tail=20),
                ):
                    self.files.append((type(made), made.save(folder / f"{type(made).__name__}{number}.npz")))
        assert {kind for kind, _ in self.files} == {
            LyapunovSpectrum,
            CovariantVectors,
            GALI,
            Trajectory,
            LyapunovVectors,
        }

    def target(self, draw):
        kind, file = draw.choice(self.files)
        path = self.folder / "damaged.npz"
        path.write_bytes(self.damaged(draw, file))
        return read(kind, path)

    def damaged(self, draw, file):
        content = file.read_bytes()
        if not draw.randrange(4):
            return bytes_of(draw, content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        for _ in range(draw.choice((1, 1, 2))):
            with contextlib.suppress(Exception):  # of what is damaged already
                member_damaged(draw, members)
        packed = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that occur twice
            with zipfile.ZipFile(packed, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
                for name, part in members.items():
                    archive.writestr(name, part)
                if not draw.randrange(10):
                    name = draw.choice(
                        ("../../escape.npy", "/tmp/escape.npy", "a/b.npy", next(iter(members)), "extra", "x" * 999)
                    )
                    archive.writestr(name, draw.choice((b"", npy((2,), "<f8", bytes(16)))))
        return packed.getvalue()


def npy(shape, dtype, content, fortran=False):
    text = repr({"descr": dtype, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def member_damaged(draw, members):
    name = draw.choice(list(members))
    kind = draw.randrange(9)
    if name == "header.npy" and kind >= 2:
        header = json.loads(str(np.load(io.BytesIO(members[name]))))
        stream = io.BytesIO()
        try:
            np.save(stream, np.array(json.dumps(edited(draw, header))))
        except (UnicodeEncodeError, ValueError):
            return
        members[name] = stream.getvalue()
    elif kind == 0:
        members[name] = bytes_of(draw, members[name])
    elif kind == 1:
        del members[name]
    elif kind == 2:
        other = draw.choice(list(members))
        members[name], members[other] = members[other], members[name]
    elif kind == 3:
        shape = draw.choice(
            ((10**12,), (0,), (1,), (2, 2), (3,), (), (1, 2, 3), (2**62, 2**62), (-1,), (3, 0), (1,) * 40, (20, 2))
        )
        count = int(np.prod(shape, dtype=float)) if np.prod(shape, dtype=float) < 100 else 2
        dtype = draw.choice(DTYPES)
        size = int("".join(filter(str.isdigit, dtype.partition("[")[0])) or 8) * (4 if "U" in dtype else 1)
        members[name] = npy(shape, dtype, draw.randbytes(max(count, 0) * size), not draw.randrange(3))
    else:
        array = np.load(io.BytesIO(members[name]))
        if not array.size or array.dtype.kind not in "fi":
            return
        array = array.copy()
        if kind == 4:
            array.flat[draw.randrange(array.size)] = np.nan if array.dtype.kind == "f" else draw.choice((-1, 99, 127))
        elif kind == 5:
            array = array[..., :-1] if array.ndim else array[None]
        elif kind == 6:
            array = array.T
        elif kind == 7:
            array = array[None]
        else:
            array = array.reshape(-1)
        stream = io.BytesIO()
        np.save(stream, array)
        members[name] = stream.getvalue()


def read(kind, path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = kind.load(path)
    except InvalidInputError as refusal:
        return "refused" if len(str(refusal)) < 2000 else pytest.fail(f"an error of {len(str(refusal))} characters")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        str(found), repr(found), found.to_xarray()
    return "a result"
