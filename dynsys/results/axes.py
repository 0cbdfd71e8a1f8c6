"""The axes of the arrays in results: what is read from a file must fit together, or whoever uses it would stumble."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

Array = np.ndarray

VECTORS = "... time dim k"
# of a field, by its place in the record; `...` is member, or nothing for a run of one state; q: tangent vectors
AXES = {
    "times": "time",
    "available": "time",
    "exponents": "... k",
    "standard_error": "... k",
    "rates": "... time k",
    "log_gali": "... time k",
    "states": "... time dim",
    "vectors": VECTORS,
    "backward": VECTORS,
    "covariant": VECTORS,
    "forward": "... time dim k_or_none",
    "coefficients": "... time k k",
    "end.x": "member dim",
    "end.Q": "member dim q",
    "end.status": "member",
    "end.stopped": "member",
    "end.members": "member",
    "end.growth": "member growth q",
    "end.R": "member R packed",
    "end.xs": "member xs dim",
    "end.Qs": "member Qs dim q",
    "diagnostics.drift": "... k",
    "diagnostics.determinant_defect": "...",
    "diagnostics.vanishing": "... vanishing",
    "diagnostics.step_error": "... k",
    "diagnostics.divergence_defect": "...",
    "diagnostics.speed": "...",
    "diagnostics.rest": "... dim",
    "diagnostics.derivative_defect": "...",
    "diagnostics.doubtful": "...",
    "diagnostics.covariance_residual": "...",
    "diagnostics.start_agreement": "... k",
    "diagnostics.frame_agreement": "... k",
    "diagnostics.subspaces": "... k",
    "diagnostics.smallest_gap": "...",
    "diagnostics.tail_needed": "...",
    "diagnostics.growth_defect": "... k",
    "diagnostics.error": "... k",
    "diagnostics.smallest_angle": "...",
    "diagnostics.closest_time": "...",
    "diagnostics.closest_pair": "... pair",
    "diagnostics.near_tangencies": "...",
    "diagnostics.neutral_angle": "...",
    "diagnostics.neutral_vector": "...",
}
WHOLE = {"end.status", "end.stopped", "end.members"}  # numbers, of fields that convert nothing
INDICES = {"diagnostics.subspaces", "diagnostics.closest_pair", "diagnostics.neutral_vector"}  # of vectors, or -1
ANGLES = {  # what says more about an angle, which is NaN where there is nothing to be said
    "diagnostics.closest_time": "diagnostics.smallest_angle",
    "diagnostics.closest_pair": "diagnostics.smallest_angle",
    "diagnostics.neutral_vector": "diagnostics.neutral_angle",
}


def arrays_of(record: Any, prefix: str = "") -> dict[str, tuple[Array, bool]]:
    """The arrays of a record and of the records in it, by place, and whether each may be left out of a file."""
    found = {}
    for field in attrs.fields(type(record)):
        value, place = getattr(record, field.name), prefix + field.name
        if isinstance(value, np.ndarray):
            found[place] = value, field.default is not attrs.NOTHING
        elif attrs.has(type(value)):
            found |= arrays_of(value, place + ".")
    return found


def check_axes(record: Any, given: dict[str, Array]) -> None:
    """Refuse a record that was read from arrays which do not fit together, or are of another kind of number.

    Raises
    ------
    ValueError
        Naming the array.
    """
    members, single = len(np.atleast_1d(record.end.status)), record.end.single
    if single and members != 1:
        raise ValueError(f"it has {members} members, but is of one state")
    lengths = {"member": members, "pair": 2, "packed": record.end.Q.shape[-1] * (record.end.Q.shape[-1] + 1) // 2}
    arrays = arrays_of(record)
    for place, (array, optional) in arrays.items():
        whole = place in WHOLE or np.issubdtype(array.dtype, np.integer)
        if array.dtype.kind not in ("iu" if whole else "f") or (
            place in given and given[place].dtype.kind != array.dtype.kind
        ):
            raise ValueError(f"{place} is of type {given.get(place, array).dtype}")
        silent = place not in ANGLES or np.isnan(arrays[ANGLES[place]][0]).all()
        if optional and array.ndim == 0 and silent:
            continue  # of a file from before there was such a field
        axes = AXES[place].replace("...", "" if single else "member").split()
        if len(axes) != array.ndim or any(
            lengths.setdefault(name, length) != length for name, length in zip(axes, array.shape, strict=True)
        ):
            raise ValueError(f"{place} has the shape {array.shape}, which does not fit the others")
        if place in INDICES and array.size and not -1 <= array.min() <= array.max() < lengths["k"]:
            raise ValueError(f"{place} holds {array.min()} to {array.max()}, and there are {lengths['k']} vectors")
    if lengths.get("k_or_none") not in (None, 0, lengths.get("k")):
        raise ValueError(f"there are {lengths['k_or_none']} forward vectors, and {lengths['k']} covariant ones")
