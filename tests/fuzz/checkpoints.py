"""Target: a damaged file of a monitor: a monitor that goes on as it would have, or an error of ours."""

import copy
import warnings

import numpy as np
import torch

from dynsys import InvalidInputError
from dynsys.torch import TrainingMonitor
from fuzz.results import Results


def training():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(model, monitor, steps):
    for n in range(steps):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(n))
        monitor.step((model(x) ** 2).mean())


class Checkpoints(Results):
    """The file of a monitor, with the training that it belongs to."""

    def __init__(self, folder):
        self.folder, self.file = folder, folder / "monitor.npz"
        model, optimizer = training()
        monitor = TrainingMonitor(model, optimizer, k=2, steps_per_interval=2)
        train(model, monitor, 6)
        monitor.save(self.file)
        self.states = copy.deepcopy((model.state_dict(), optimizer.state_dict()))

    def target(self, draw):
        path = self.folder / "damaged.npz"
        path.write_bytes(self.damaged(draw, self.file))
        model, optimizer = training()
        for loading, state in zip((model, optimizer), copy.deepcopy(self.states), strict=True):
            loading.load_state_dict(state)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                monitor = TrainingMonitor.load(path, model, optimizer)
        except InvalidInputError:
            return "refused"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                train(model, monitor, 4)
                assert np.shape(monitor.spectrum().exponents) == (2,)
        except InvalidInputError:
            return "stopped"
        finally:
            monitor.close()
        return "a monitor"
