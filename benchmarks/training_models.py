"""The networks whose training is timed, written as their users write them, with data of the right shapes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import attrs
import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor


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
    make : callable () -> Module
    inputs, targets : Tensor
        One batch.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Tensor
    targets: Tensor

    def model(self) -> nn.Module:
        """A new network, the same every time, and no other random number disturbed."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            return self.make()

    def loss(self, model: nn.Module) -> Tensor:
        """Cross-entropy over the batch."""
        return F.cross_entropy(model(self.inputs), self.targets)


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


def cases(batch: int = 128) -> dict[str, Case]:
    """The four networks; batches of images, or of a quarter as many texts of 32 characters."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 784, generator=numbers)
    classes = torch.randint(10, (batch,), generator=numbers)
    text = torch.randint(64, (max(1, batch // 4), 33), generator=numbers)
    return {
        "MLP": Case("MLP 784-100-10", lambda: perceptron(784, 100, 10), images, classes),
        "CNN": Case("CNN, two convolutions", convolutions, images.view(-1, 1, 28, 28), classes),
        "transformer": Case("transformer, four layers", CharacterTransformer, text[:, :-1], text[:, 1:]),
        "million": Case("MLP 784-700-550-100", lambda: perceptron(784, 700, 550, 100), images, classes),
    }
