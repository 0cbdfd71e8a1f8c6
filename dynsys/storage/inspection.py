"""What is in a store: a report to read, and files for other programs. Nothing in a store is executed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynsys.errors import InvalidInputError, need
from dynsys.passes.status import MEMBER, STATUSES
from dynsys.storage.escaping import csv_cell, file_name
from dynsys.storage.files import new_file, refuse_taken
from dynsys.storage.store import Store

if TYPE_CHECKING:
    import xarray

LONGEST_LIST, LONGEST_LINE = 20, 100


def open_store(path: str | Path) -> xarray.Dataset:
    """The dataset of an ensemble, finished or still growing: its numbers are read when needed.

    Every chunk carries a checksum, so that a damaged one raises an error when it is read. NaN and -1 stand for members
    that are not yet computed; `status` marks them.

    Raises
    ------
    StoreError
        If the folder holds no store, or one whose description is damaged.
    """
    need("xarray", "zarr")
    return Store.open(Path(path)).dataset()


def report(path: str | Path) -> str:
    """What is in a store, how much is done, what failed and what is damaged; all chunks are read.

    Raises
    ------
    StoreError
        As for `open_store`.
    """
    store = Store.open(Path(path), whole=False)
    header = store.header
    finished, damaged = store.check()
    counts = store.statuses(finished)
    done = sum(header.members_of(block).stop - header.members_of(block).start for block in finished)
    shares = Counter({STATUSES.get(code, f"status {code}"): count for code, count in counts.items()})
    variables = header.variables.items()
    lines = [
        f"{path}: {done} of {header.members} members, {len(finished)} of {header.blocks} blocks of {header.block}",
        f"  {', '.join(f'{count} {name}' for name, count in shares.items()) or 'none finished yet'}",
        "variables",
        *(f"  {name}: {each.dtype} {dict(zip(each.dims, each.shape, strict=True))}" for name, each in variables),
        "attributes",
        *_tree(header.attributes),
        "definition",
        *_tree(header.definition),
        "versions",
        *_tree(header.versions),
    ]
    for title, found in (
        ("failed", [f"member {member}: {text}" for member, text in store.failures().items()]),
        ("damaged: the same call computes it again", damaged),
    ):
        if found:
            lines += [title, *(f"  {_printable(line)}" for line in found[:LONGEST_LIST])]
            lines += [f"  and {len(found) - LONGEST_LIST} more"] * (len(found) > LONGEST_LIST)
    return "\n".join(lines)


def _tree(value: Any, depth: int = 1) -> Iterator[str]:
    """JSON as indented lines."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield f"{'  ' * depth}{_printable(name)}"
            yield from _tree(part, depth + 1)
        else:
            yield f"{'  ' * depth}{_printable(name)}: {json.dumps(part)[:LONGEST_LINE]}"


def _printable(text: str) -> str:
    """Text from a store, without what a terminal might obey."""
    return (text if text.isprintable() else json.dumps(text))[:LONGEST_LINE]


def export(path: str | Path, target: str | Path) -> list[Path]:
    """Write a store as NetCDF (target ending in .nc) or as tables (a new folder: one CSV for each set of dimensions).

    The tables are long: a column for each dimension, by its labels where it has any, and one for each variable. A
    NetCDF file is made in memory; tables are written block by block. Numbers keep all digits. An apostrophe stands
    before a label that a spreadsheet would take for a formula.

    Raises
    ------
    InvalidInputError
        If the target exists already: nothing is overwritten.
    StoreError
        As for `open_store`.
    """
    store, target = Store.open(Path(path)), Path(target)
    data = store.dataset()
    refuse_taken(target)
    if target.suffix == ".nc":
        plain = {name: json.dumps(v) if isinstance(v, dict | list) else v for name, v in data.attrs.items()}
        with new_file(target):
            data.assign_attrs(plain).to_netcdf(target, engine="scipy")
        return [target]
    if target.suffix:
        raise InvalidInputError(f"{target}: a name ending in .nc makes a NetCDF file, one without an ending CSV tables")
    target.mkdir(parents=True)
    files: list[Path] = []
    stems: list[str] = []
    for dims in sorted({each.dims for each in data.data_vars.values()}):
        names = [name for name, each in data.data_vars.items() if each.dims == dims]
        stems.append(file_name("_".join(map(str, dims))) if dims else "numbers")
        again = stems.count(stems[-1])  # dimensions a_b and c, or a and b_c
        files.append(target / f"{stems[-1]}{f' {again}' if again > 1 else ''}.csv")
        with new_file(files[-1]) as raw, TextIOWrapper(raw, encoding="utf-8", newline="") as stream:
            for number, part in enumerate(_parts(data[names], store.header.block)):
                table = part.to_dataframe().reset_index().rename(columns=csv_cell)
                for column in table.columns[[kind.kind not in "biufc" for kind in table.dtypes]]:
                    table[column] = table[column].map(csv_cell)
                table.to_csv(stream, header=number == 0, index=False)
    return files


def _parts(data: xarray.Dataset, length: int) -> Iterator[xarray.Dataset]:
    """The dataset, so many members at a time."""
    if MEMBER not in data.dims:
        yield data
        return
    for begin in range(0, data.sizes[MEMBER], length):
        members = np.arange(begin, min(begin + length, data.sizes[MEMBER]))
        yield data.isel({MEMBER: members}).assign_coords({MEMBER: members})
