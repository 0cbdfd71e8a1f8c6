"""A file that holds a monitor in the midst of a training: numbers and JSON, whole or absent, nothing of it executed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch

from dynsys.errors import InvalidInputError
from dynsys.storage.archive import read_archive
from dynsys.storage.files import unlike_a_file, written_whole

Tensor = torch.Tensor
Array = np.ndarray

FORMAT = "dynsys training monitor, format 1"
LONGEST_HEADER = 2**26  # bytes; every weight has its name in it


def write(path: str | Path, header: dict[str, Any], arrays: dict[str, Array]) -> Path:
    """Write numbers and arrays to a file (.npz), in the place of one of this format that may be there."""
    path = Path(path)
    if os.path.lexists(path) and (reason := unlike_a_file(path) or _unlike_a_checkpoint(path)):
        raise InvalidInputError(f"{path} {reason}, and is not overwritten: choose another name, or move it away")
    with written_whole(path) as file:
        np.savez(file, header=np.array(json.dumps({"format": FORMAT, **header})), **arrays)  # type: ignore[arg-type]
    return path


def read(path: str | Path, memory_limit: float) -> tuple[dict[str, Any], dict[str, Array]]:
    """What `write` wrote: numbers and arrays, of no more than `memory_limit` bytes together."""
    with damage_named(path):
        header, arrays = read_archive(path, memory_limit, LONGEST_HEADER)
        if header["format"] != FORMAT:
            raise ValueError(f"it holds {header['format']!r:.100}")
        return header, arrays


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """An error that names the file, whatever the readers say of what is none of theirs."""
    try:
        yield
    except (FileNotFoundError, InvalidInputError):
        raise
    except Exception as problem:
        reason = f"it lacks {problem}" if isinstance(problem, KeyError) else problem
        raise InvalidInputError(f"{path} does not hold a {FORMAT}: {reason!s:.500}") from problem


def check(header: dict[str, Any], arrays: dict[str, Array], k: int, rows: Sequence[int], units: Sequence[int]) -> None:
    """Refuse numbers of other types and shapes than those of a monitor of k vectors: `rows`, and how many `units`.

    Raises
    ------
    ValueError
        Naming what is wrong.
    """
    kinds = {"steps": int, "stopped": str, "defect": float, "loss": float, "curvature": float, "gradient": dict}
    for name, kind in kinds.items():
        if name in header and type(header[name]) not in (kind, int if kind is float else kind):
            raise ValueError(f"{name} is {header[name]!r:.50}")
    given = header["units"]
    if [len(each) for each in given] != units or not all(type(unit) in (int, float) for each in given for unit in each):
        raise ValueError(f"units is {given!r:.50}")
    shapes = {"rates": (len(arrays["times"]), k), "times": (arrays["times"].size,), "rows": tuple(rows)}
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.shape != shapes.get(name):
            raise ValueError(f"{name} holds {array.dtype} of shape {array.shape}")


def _unlike_a_checkpoint(path: Path) -> str:
    """What tells a file from one that `write` wrote, in words; empty if nothing does."""
    try:
        with ZipFile(path) as file:
            if file.getinfo("header.npy").file_size > LONGEST_HEADER:
                raise ValueError
        with np.load(path, allow_pickle=False) as file:
            if json.loads(str(file["header"]))["format"] == FORMAT:
                return ""
    except Exception:  # whatever the readers say of what is no archive of theirs
        pass
    return f"holds no {FORMAT}"


def checksum(tensors: Sequence[Tensor]) -> int:
    """A number that tells tensors from others."""
    found = 0
    for tensor in tensors:
        found = zlib.crc32(tensor.detach().cpu().reshape(-1).numpy().data, found)
    return found


def agree(path: str | Path, what: str, stored: Any, here: Any, remedy: str) -> None:
    """Refuse a file of another training, with what differs."""
    if stored != here:
        raise InvalidInputError(f"{path} is of a training with {what} {stored!s:.200}, got {here!s:.200}: {remedy}")
