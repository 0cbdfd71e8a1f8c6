"""Archives of arrays (.npz), read in no more memory than the file says that it holds; nothing of it is executed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

Array = np.ndarray

HEADER = "header.npy"


def read_archive(path: str | Path, memory_limit: float, longest_header: int) -> tuple[Any, dict[str, Array]]:
    """The header of an archive, JSON in an array of text, and the other arrays, by name.

    The sizes that the directory of the file states are those that are read, and are compared with `memory_limit` and
    `longest_header` (bytes) before anything is.

    Raises
    ------
    FileNotFoundError, or an error of any kind that says what is wrong with the file
    """
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError("it is no regular file")  # a pipe may never end
    with ZipFile(path) as file:
        members = file.infolist()
        size = sum(member.file_size for member in members)
        if size > memory_limit:
            raise ValueError(
                f"it holds {size / 2**30:.3g} GiB, more than memory_limit = {memory_limit / 2**30:.3g} GiB: "
                "raise memory_limit if you trust the file"
            )
        if (length := file.getinfo(HEADER).file_size) > longest_header:
            raise ValueError(f"its header has {length} bytes, more than {longest_header}")
        arrays = {member.filename.removesuffix(".npy"): _read(file, member) for member in members}
    return json.loads(str(arrays.pop(HEADER.removesuffix(".npy")))), arrays


def _read(file: ZipFile, member: ZipInfo) -> Array:
    """An array of numbers or text, if it is as large as the directory of the file says."""
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # others are unpacked without a bound
        raise ValueError(f"{member.filename} is compressed by another method")
    with file.open(member) as stream:
        header = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[read_magic(stream)]
        shape, fortran, dtype = header(stream)
        count = math.prod(shape)
        if dtype.kind not in "biufU" or stream.tell() + count * dtype.itemsize != member.file_size:
            raise ValueError(f"{member.filename} is said to hold {dtype} of shape {shape}")
        array: Array = np.frombuffer(stream.read(count * dtype.itemsize), dtype, count)
    return array.reshape(shape, order="F" if fortran else "C")
