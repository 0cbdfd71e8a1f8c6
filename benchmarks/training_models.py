"""The networks whose training is timed, written as their users write them, with data of the right shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import attrs
import torch
from torch import nn
from torch.nn import functional as F

from dynsys.training.curvature import gradient, hessian_products
from dynsys.training.second_derivatives.attention import differentiable_attention

Tensor = torch.Tensor

OPTIMISERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=1e-3),
    "momentum": lambda weights: torch.optim.SGD(weights, lr=1e-3, momentum=0.9),
    "Adam": lambda weights: torch.optim.Adam(weights, lr=1e-4),
}
"""Rates so small that no network comes to an end while it is timed."""


class CharacterTransformer(nn.Module):
    """The next of 64 characters from the last 32: four layers of causal attention, width 64, four heads."""

    def __init__(self, characters: int = 64, context: int = 32, width: int = 64, heads: int = 4, layers: int = 4):
        super().__init__()
        self.characters = nn.Embedding(characters, width)
        self.places = nn.Parameter(0.02 * torch.randn(context, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, characters)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(context))

    def forward(self, text: Tensor) -> Tensor:
        """Logits (batch, characters, context) of the next character, for text (batch, context)."""
        hidden = self.layers(self.characters(text) + self.places, mask=self.mask, is_causal=True)
        return self.out(hidden).transpose(1, 2)


@attrs.frozen(eq=False)
class Case:
    """A network and what it is trained on.

    Attributes
    ----------
    name : str
        Of the network and its batch.
    make : callable () -> Module
    inputs, targets : Tensor
        One batch.
    intervals : int
        How many a run takes, so that it lasts long enough to be timed.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor
    intervals: int = 1

    def model(self) -> nn.Module:
        """A new network, the same every time; no other random number is disturbed."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return self.make()

    def loss(self, model: nn.Module) -> Tensor:
        """Cross-entropy over the batch."""
        return F.cross_entropy(model(self.inputs), self.targets)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.model().parameters())


def perceptron(*sizes: int) -> nn.Module:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutions() -> nn.Module:
    """Two convolutions, each with a pooling, and two linear layers, for images of 28 x 28."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 60),
        nn.ReLU(),
        nn.Linear(60, 10),
    )


def images(samples: int, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Noise, 28 x 28, of the class that a linear teacher gives it."""
    numbers = torch.Generator().manual_seed(0)
    X = torch.randn(samples, 784, generator=numbers)
    return X, (X @ torch.randn(784, classes, generator=numbers)).argmax(dim=1)


def cases(images_in_batch: int = 128, texts_in_batch: int = 16) -> dict[str, Case]:
    """The four networks, each with a batch."""
    X, classes = images(images_in_batch)
    text = torch.randint(64, (texts_in_batch, 33), generator=torch.Generator().manual_seed(0))
    small = max(1, images_in_batch // 2)
    of = f"batch {images_in_batch}"
    return {
        "MLP": Case(f"MLP 784-100-10, {of}", lambda: perceptron(784, 100, 10), X, classes, intervals=8),
        "CNN": Case(f"CNN, batch {small}", convolutions, X[:small].view(-1, 1, 28, 28), classes[:small]),
        "transformer": Case(
            f"transformer, batch {texts_in_batch} x 32", CharacterTransformer, text[:, :-1], text[:, 1:]
        ),
        "million": Case(
            f"MLP 784-700-550-100, {of}", lambda: perceptron(784, 700, 550, 100), *images(images_in_batch, 100)
        ),
    }


def plain(case: Case, optimiser: str, steps: int) -> Callable[[], None]:
    """Some steps of a training, which goes on in the next call."""
    model = case.model()
    optimizer = OPTIMISERS[optimiser](model.parameters())

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            case.loss(model).backward()
            optimizer.step()

    return run


def random_frame(k: int, dimension: int) -> torch.Tensor:
    """As many rows of random numbers."""
    return torch.randn(k, dimension, generator=torch.Generator().manual_seed(0))


def gradients(model: nn.Module, case: Case, times: int) -> None:
    """Gradients with their graph."""
    for _ in range(times):
        with differentiable_attention():
            gradient(case.loss(model), list(model.parameters()))


def products(model: nn.Module, case: Case, k: int, times: int) -> None:
    """Gradients with their graph, each followed by k products with the Hessian."""
    weights = list(model.parameters())
    V = random_frame(k, case.weights)
    for _ in range(times):
        with differentiable_attention():
            slopes = gradient(case.loss(model), weights)
        for _ in hessian_products(slopes, weights, V):
            pass
