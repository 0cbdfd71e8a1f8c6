"""All targets: functions of a `random.Random` that raise where something is wrong, and else say in a word what came."""

import importlib.util

from fuzz import equations
from fuzz.caches import Caches
from fuzz.results import Results
from fuzz.stores import Stores
from fuzz.tables import Tables

OF_TEXT = {name: getattr(equations, name) for name in ("equations", "losses", "functions", "vectors")}
OF_FILES = {"tables": Tables, "stores": Stores, "results": Results, "caches": Caches, "checkpoints": None}
if importlib.util.find_spec("torch") is None:
    del OF_FILES["checkpoints"]
NAMES = (*OF_TEXT, *OF_FILES)


def target(name, folder):
    """The target of this name, which writes to an empty folder."""
    if name in OF_TEXT:
        return OF_TEXT[name]
    kind = OF_FILES[name]
    if kind is None:
        from fuzz.checkpoints import Checkpoints as kind  # it imports PyTorch
    return kind(folder).target
