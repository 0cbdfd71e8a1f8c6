"""Where the members of an ensemble are computed and saved, and whether there is room for what they give."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs

from dynsys.errors import InvalidInputError
from dynsys.passes.memory import ask_for_memory


@attrs.frozen(eq=False)
class Place:
    """The place of a call of `Ensemble.run`.

    Attributes
    ----------
    path : Path
        Folder of the store.
    kept : bool
        Whether the user keeps it; else the dataset is read into memory, and the folder removed.
    workers : int
        Blocks that are computed at a time.
    here : bool
        Whether that is in this process.
    """

    path: Path
    kept: bool
    workers: int
    here: bool

    def ask_for_room(self, block: int, blocks: int) -> None:
        """Refuse blocks of so many bytes for which there is no room, on the disk or in memory."""
        needed, free = blocks * block, shutil.disk_usage(self.path).free
        if not self.kept:
            ask_for_memory("the dataset of all members", needed, "give a path, where it is read from when asked for")
        if self.here:
            workers = min(self.workers, blocks)
            what, remedy = f"what {workers} workers record", "take shorter blocks (block), or fewer workers"
            ask_for_memory(what, workers * block, remedy)
        if needed > free:
            raise InvalidInputError(
                f"{self.path} needs {needed / 1e9:.3g} GB for {blocks} blocks, and the disk has {free / 1e9:.3g} GB "
                "left: free some, choose another place, or record less"
            )
