"""Random numbers of PyTorch by a key: a block draws the same ones whenever it runs, and the process keeps its own.

Modules such as Dropout ask the generators of the process, on the CPU and on the device of their input. Within `drawing`
these are seeded by a key; afterwards their states are what they were before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock

import numpy as np
import torch

# generators, places of attention and levels of forward mode are those of the process, whichever thread asks them
ONE_AT_A_TIME = RLock()


@contextmanager
def drawing(device: torch.device, key: Sequence[int]) -> Iterator[torch.Generator]:
    """A block that draws by a key, whole numbers >= 0, and a generator of its own, of another stream."""
    of_process, own = map(int, np.random.SeedSequence(list(key)).generate_state(2, np.uint64))
    with kept(device):
        torch.default_generator.manual_seed(of_process)
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(of_process)
        elif device.type == "mps":
            torch.mps.manual_seed(of_process)
        yield torch.Generator(device).manual_seed(own)


@contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """A block after which the generators of the process, on the CPU and on this device, are what they were before."""
    on_cpu = device.type == "cpu"
    with (
        ONE_AT_A_TIME,
        torch.random.fork_rng([] if on_cpu else [device.index or 0], device_type="cuda" if on_cpu else device.type),
    ):
        yield


def states(device: torch.device) -> torch.Tensor:
    """States of these generators, one after the other."""
    found = [torch.get_rng_state()]
    if device.type == "cuda":
        found.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        found.append(torch.mps.get_rng_state())
    return torch.cat(found)
