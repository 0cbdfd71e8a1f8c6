"""What the parts of a network's source have in common: tables, numbers, and where everything stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from dynsys.compiled.equations import aligned
from dynsys.compiled.networks.layout import ROWS, Plan, plan
from dynsys.compiled.networks.network import Network
from dynsys.compiled.networks.tables import Data, Tables


@attrs.frozen
class Room:
    """The work array, shared out, with tables and numbers.

    Attributes
    ----------
    plan : Plan
    tables : Tables
    data : Data
    vectors : bool
        Whether blocks are written in vectors of 8; else for Numba, number by number.
    at : mapping, name of a function of one component -> int
        Where it stands, for each component. The state, with the sums inside functions after it, stands at 0.
    lanes, sums, scratch : int
        Where there are vectors of a block, and tangent vectors of the sums, and the length of it all.
    """

    plan: Plan
    tables: Tables
    data: Data
    vectors: bool
    at: Mapping[str, int]
    lanes: int
    sums: int
    scratch: int

    @classmethod
    def of(cls, network: Network, data: Data, vectors: bool) -> Room:
        """Room for a network."""
        names = [name for sites in network.sites for name in sites.names]
        row = aligned(network.dimension + network.sums)
        lanes = (1 + len(names)) * row
        sums = lanes + ROWS * (3 + len(names))
        at = {name: (1 + i) * row for i, name in enumerate(names)}
        scratch = sums + ROWS * network.sums
        return cls(plan(network), Tables(not vectors), data, vectors, at, lanes, sums, scratch)

    def names(self, texts: Sequence[str], slot: str, at: str) -> list[tuple[str, str]]:
        """What some texts name of a component, and where it stands."""
        used = {name for text in texts for name in re.findall(r"\w+", text)}
        found = [(slot, f"_B[{at}]")] if slot in used else []
        return found + [(site + slot, f"_B[{o} + {at}]") for site, o in self.at.items() if site + slot in used]


def among(name: str, texts: Sequence[str]) -> bool:
    """Whether a name stands in some texts."""
    return any(re.search(rf"\b{name}\b", text) for text in texts)
