"""The files that describe a store: what they hold, and how files of a store are read and written, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dynsys.errors import StoreError
from dynsys.storage.description import Json
from dynsys.storage.files import write_whole
from dynsys.storage.header import Header, Variable, fill_value

ROOT, COPY, LOCK = "zarr.json", "status/header.json", "status/lock"
HEADER = "dynsys_ensemble"  # the attribute that holds it
LONGEST = 2**26  # bytes of a file of JSON
UNIMPORTANT: dict[str, Json] = {"storage_transformers": []}  # what another version of Zarr may leave out


def documents(header: Header) -> dict[str, Json]:
    """The files that describe a store, by name."""
    memory: dict[str, Any] = {}
    for name, variable in header.variables.items():
        array_in(memory, name, variable, header.block)
    found = {name: json.loads(text.to_bytes()) for name, text in memory.items() if name != ROOT}
    described = json.loads(json.dumps(header.json()))  # tuples are lists in a file
    further = [name for name, variable in header.variables.items() if variable.coordinate and name not in variable.dims]
    coordinates = {"coordinates": " ".join(further)} if further else {}  # as xarray and CF write it
    root = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": header.attributes | coordinates | {HEADER: described},
        "consolidated_metadata": {  # where xarray looks first
            "kind": "inline",
            "must_understand": False,
            "metadata": {name: found[f"{name}/{ROOT}"] for name in header.variables},
        },
    }
    return found | {COPY: described, ROOT: root}


def array_in(memory: dict[str, Any], name: str, variable: Variable, block: int) -> Any:
    """A variable as an array of Zarr whose files are kept in a mapping."""
    import zarr
    from zarr.codecs import Crc32cCodec

    return zarr.create_array(
        zarr.storage.MemoryStore(memory),
        name=name,
        shape=variable.shape,
        chunks=variable.chunk(block),
        dtype=str if variable.dtype == "str" else np.dtype(variable.dtype).newbyteorder("<"),
        compressors=[Crc32cCodec()],
        fill_value=fill_value(variable.dtype),
        attributes=variable.attributes,
        dimension_names=variable.dims,
        zarr_format=3,
    )


def write_documents(path: Path, found: dict[str, Json]) -> None:
    """Write files that describe a store, by name."""
    for name, document in found.items():
        write_in(path, path / name, json.dumps(document, indent=1))


def write_in(path: Path, file: Path, content: str | bytes) -> None:
    """Write a file of a store."""
    own_place(path, file).parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)


def own_place(path: Path, file: Path) -> Path:
    """The place of a file of a store; refused if a link, or what is no file, stands there: that is of others."""
    for place in (*reversed(file.relative_to(path).parents[:-1]), file.relative_to(path)):
        found = path / place
        wrong = found.is_symlink() or (found.is_file() if found != file else found.is_dir() or found.is_fifo())
        if wrong:
            what = "link" if found.is_symlink() else "file" if found != file else "folder or pipe"
            raise StoreError(f"{found} is a {what}, and no part of a store: move it away")
    return file


def read_json(path: Path) -> Json:
    """The content of a file of ours; ValueError if it is none."""
    if not path.is_file() or path.stat().st_size > LONGEST:  # a pipe may never end
        raise ValueError("it is no file" if not path.is_file() else f"it has more than {LONGEST} bytes")
    try:
        return json.loads(path.read_bytes())
    except RecursionError as problem:
        raise ValueError(str(problem)) from None


def read_header(path: Path) -> tuple[Header | None, list[str]]:
    """The header, from the first of its two copies that is right, and what is wrong with the copies that are there."""
    damaged, found = [], None
    for name, where in ((ROOT, ("attributes", HEADER)), (COPY, ())):
        if not (path / name).exists():
            continue
        try:
            content = read_json(path / name)
            for key in where:
                content = content[key]
            found = found or Header.of_json(content)
        except (ValueError, TypeError, KeyError, OSError) as problem:
            damaged.append(f"{name}: {problem}")
    return found, damaged


def wrong_documents(path: Path, header: Header) -> dict[str, Json]:
    """Of the files that describe a store those that are not as they should be, by name, as they should be."""
    wrong = {}
    for name, document in documents(header).items():
        try:
            right = _canonical(read_json(path / name)) == _canonical(document)
        except (ValueError, TypeError, OSError):
            right = False
        if not right:
            wrong[name] = document
    return wrong


def _canonical(document: dict[str, Json]) -> str:
    """Text that tells 1 from 1.0 and True."""
    return json.dumps(UNIMPORTANT | document, sort_keys=True)
