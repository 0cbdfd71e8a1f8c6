"""Whether a store is that of an undisturbed run, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import xarray

Files = dict[str, bytes]


def content(store: Path) -> Files:
    """All files of a store but its lock."""
    files = sorted(file for file in store.rglob("*") if file.is_file())
    return {str(file.relative_to(store)): file.read_bytes() for file in files if file.name != "lock"}


def committed(files: Files) -> set[str]:
    """Numbers of the blocks that are finished."""
    names = (name.rpartition("/")[2] for name in files if name.startswith("status/c/"))
    return {name for name in names if name.isdigit()}


def block_of(name: str, right: Files) -> str:
    """The block that a chunk belongs to; nothing for what all members share, and for what describes."""
    variable, _, chunk = name.partition("/c/")
    if name.startswith("status/block."):
        return name.split(".")[1]
    if not chunk:
        return ""
    dims = json.loads(right[f"{variable}/zarr.json"])["dimension_names"]
    return chunk.split("/")[dims.index("member")] if "member" in dims else ""


def wrong_blocks(found: Files, right: Files) -> set[str]:
    """Finished blocks of which a chunk is not that of the undisturbed run."""
    blocks = committed(found)
    chunks = ((name, block_of(name, right)) for name in right)
    return {block for name, block in chunks if block in blocks and found.get(name) != right[name]}


def differences(store: Path, reference: Path) -> list[str]:
    """Where two finished stores differ: in chunks, in what describes them (as JSON), in arrays."""
    found, right = content(store), content(reference)
    differ = [f"file {name}" for name in sorted(found.keys() | right.keys()) if not _same(name, found, right)]
    try:
        mine, theirs = xarray.open_zarr(store).load(), xarray.open_zarr(reference).load()
        names = mine.variables.keys() | theirs.variables.keys()
        differ += [f"array {name}" for name in sorted(map(str, names)) if not _same_array(name, mine, theirs)]
    except Exception as problem:
        differ.append(f"cannot be read: {type(problem).__name__}: {problem}")
    return differ


def _same(name: str, found: Files, right: Files) -> bool:
    if name not in found or name not in right:
        return False
    if found[name] == right[name]:
        return True
    try:
        return name.endswith(".json") and json.loads(found[name]) == json.loads(right[name])
    except ValueError:
        return False


def _same_array(name: str, mine: xarray.Dataset, theirs: xarray.Dataset) -> bool:
    if name not in mine.variables or name not in theirs.variables:
        return False
    a, b = mine[name], theirs[name]
    return a.dims == b.dims and a.dtype == b.dtype and a.values.tobytes() == b.values.tobytes()
