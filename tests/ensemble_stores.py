"""What a store holds on the disk, and what a reader finds in it."""

import json
import warnings

import numpy as np
import xarray


def wide(members):
    """A thousand numbers a member."""
    return xarray.Dataset({"wide": (("member", "k"), np.sin(members[:, None] + np.arange(1000.0)))})


def content(path):
    """All files of a store but its lock."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.name != "lock"}


def committed(path):
    """The chunks of the blocks that are committed, by name, and those that all members share."""
    blocks = {file.name for file in path.glob("status/c/*") if file.name.isdigit()}
    found = {}
    for name, data in content(path).items() if blocks else ():
        variable, _, chunk = name.partition("/c/")
        if chunk and not chunk.endswith(".partial"):
            dims = json.loads((path / variable / "zarr.json").read_bytes())["dimension_names"]
            if "member" not in dims or chunk.split("/")[dims.index("member")] in blocks:
                found[name] = data
    return found


def assert_readable(path, expected):
    """A reader finds all values of whoever is committed, and what members share."""
    if not (path / "zarr.json").exists():
        assert not list(path.glob("status/c/*"))
        return
    data = xarray.open_zarr(path).load()
    done = np.flatnonzero(data.status.values != -1)
    for name in expected.variables:
        mine, right = data[name].variable, expected[name].variable
        if "member" in right.dims:
            mine, right = mine.isel(member=done), right.isel(member=done)
        elif not len(done):
            continue
        assert mine.dtype == right.dtype or name == "name"  # text has another type in NumPy
        np.testing.assert_array_equal(mine.values, right.values)


def attempt(call, *errors):
    """A result, or what an error said."""
    try:
        return call(), ""
    except errors as problem:
        return None, str(problem)


def silent(call, *categories):
    """A result, without warnings of these kinds."""
    with warnings.catch_warnings():
        for category in categories:
            warnings.simplefilter("ignore", category)
        return call()
