"""Gradients of a perceptron and products with the Hessian of its loss, for the compiler.

Matrix products by BLAS, the rest in fused loops. Units stand in rows, samples in columns: loops over samples are
vectorised. Back-propagation and its derivative along a tangent vector, layer by layer, as in
`dynsys.models.networks.perceptron`. Of a scaled network with weights W it is that of one with weights c W.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dynsys.compiled.kernel import Kernel
from dynsys.compiled.tanh import LANE_TANH
from dynsys.models.networks.losses import Loss
from dynsys.models.networks.perceptron import Perceptron

Array = np.ndarray

HELPERS = '''
@njit
{sigma}

@njit
def affine(W, b, a, z):
    """z = W^T a + b."""
    np.dot(W.T, a, z)
    for j in range(b.size):
        for s in range(z.shape[1]):
            z[j, s] += b[j]


@njit
def activate(z, s0, s1, s2):
    """sigma(z) and its derivatives, element by element."""
    for j in range(z.shape[0]):
        for s in range(z.shape[1]):
            s0[j, s], s1[j, s], s2[j, s] = sigma(z[j, s])


@njit
def gradient(a, e, W, b):
    """The entries of weights and biases: a e^T, and the sums of e."""
    np.dot(a, e.T, W)
    for j in range(b.size):
        total = 0.0
        for s in range(e.shape[1]):
            total += e[j, s]
        b[j] = total


@njit
def add(A, B):
    """A += B."""
    for j in range(A.shape[0]):
        for s in range(A.shape[1]):
            A[j, s] += B[j, s]


@njit
def multiply(A, B, C):
    """C = A B, element by element."""
    for j in range(A.shape[0]):
        for s in range(A.shape[1]):
            C[j, s] = A[j, s] * B[j, s]


@njit
def gather(data, rows, a, targets):
    """Samples of a batch, each in a column."""
    for s in range(rows.size):
        row = data[rows[s]]
        for j in range(a.shape[0]):
            a[j, s] = row[j]
        for j in range(targets.shape[0]):
            targets[j, s] = row[a.shape[0] + j]

'''


Places = Sequence[tuple[int, int]]  # where weights and biases of every layer begin in the state


def whole_kernel(network: Perceptron, X: Array, loss: Loss, places: Places | None = None) -> Kernel | None:
    """The kernel of x -> -grad L(x) on all samples, or None: see `compiles`.

    `places` tells of a state in another order than that of `Perceptron`.
    """
    if not compiles(network, loss):
        return None
    source, scratch = _source(network, loss, len(X), places, gathers=False)
    return Kernel(source, data=np.ascontiguousarray(np.vstack([X.T, loss.targets.T])), scratch=scratch)


def batch_kernel(network: Perceptron, X: Array, loss: Loss, size: int, places: Places | None = None) -> Kernel | None:
    """The same on batches of `size` samples, those that the drive names, or None."""
    if not compiles(network, loss):
        return None
    source, scratch = _source(network, loss, size, places, gathers=True)
    return Kernel(source, data=np.hstack([X, loss.targets]), scratch=scratch)


def compiles(network: Perceptron, loss: Loss) -> bool:
    """Whether there is a kernel: of an activation and a loss with source, without gates."""
    return network.activation.compiles and bool(loss.source) and network.gates is None


def _source(network: Perceptron, loss: Loss, samples: int, places: Places | None, *, gathers: bool) -> tuple[str, int]:
    """Source of a kernel, and the length of its work array."""
    text = _Text(network, samples, gathers, places)
    body = "\n    ".join(text.state() + ["for c in range(V.shape[1]):"] + [f"    {line}" for line in text.vector()])
    helpers = HELPERS.format(sigma=network.activation.kernel_source("sigma"))
    return LANE_TANH + helpers + loss.source + LINEARISE.format(body=body), text.used


LINEARISE = '''
@njit
def linearise(t, x, V, f, F, parameters, data, rows, scratch):
    """f = -grad L and F = -H V."""
    {body}

'''


class _Text:
    """The statements of a step, and the places of its matrices in the work array."""

    def __init__(self, network: Perceptron, samples: int, gathers: bool, places: Places | None) -> None:
        self.network, self.samples, self.gathers, self.used = network, samples, gathers, 0
        self.depth = len(network.layers)
        ends = np.cumsum([0, *((i + network.biases) * o for i, o in network.layers)]).tolist()
        self.places = places or [(at, at + i * o) for at, (i, o) in zip(ends, network.layers, strict=False)]

    def room(self, name: str, rows: int, columns: int = 0) -> str:
        """A statement that gives a matrix, of one column for each sample unless said, a name and a place."""
        columns = columns or self.samples
        first, self.used = self.used, self.used + rows * columns
        return f"{name} = scratch[{first}:{self.used}].reshape({rows}, {columns})"

    def views(self, vector: str, W: str, b: str) -> list[str]:
        """Statements that name the weights W1, W2, ... and biases b1, ... of a vector in the order of the state."""
        found = []
        for layer, ((i, o), (weights, biases)) in enumerate(zip(self.network.layers, self.places, strict=True), 1):
            found += [
                f"{W}{layer} = {vector}[{weights}:{weights + i * o}].reshape({i}, {o})",
                f"{b}{layer} = {vector}[{biases}:{biases + self.network.biases * o}]",
            ]
        return found

    def samples_given(self) -> list[str]:
        """Inputs and targets: as they stand in the data, or gathered from its rows."""
        widths = self.network.widths
        if self.gathers:
            rooms = [self.room("a0", widths[0]), self.room("targets", widths[-1])]
            return [*rooms, "gather(data, rows, a0, targets)"]
        inputs, outputs = widths[0] * self.samples, widths[-1] * self.samples  # slices of rows are no views to BLAS
        return [
            "flat = data.reshape(data.size)",
            f"a0 = flat[:{inputs}].reshape({widths[0]}, {self.samples})",
            f"targets = flat[{inputs}:{inputs + outputs}].reshape({widths[-1]}, {self.samples})",
        ]

    def scaled(self, vector: str, name: str) -> tuple[list[str], str]:
        """Statements that give c W in the place of the weights W of a vector, and its name; those of c = 1 are none."""
        if not self.network.scaled:
            return [], vector
        lines = [f"{name} = scratch[{self.used}:{self.used + self.network.dimension}]"]
        self.used += self.network.dimension
        return [*lines, *self.factors(f"{name}[i] =", f"{vector}[i]")], name

    def negative(self, vector: str) -> list[str]:
        """Statements that turn a gradient by c W into minus that by W."""
        return self.factors(f"{vector}[i] =", f"-{vector}[i]")

    def factors(self, left: str, right: str) -> list[str]:
        """Statements for every component: the factor c of its layer times something, or that alone."""
        if not self.network.scaled:
            return [f"for i in range({self.network.dimension}):", f"    {left} {right}"]
        found = []
        for (i, o), scale, (weights, biases) in zip(self.network.layers, self.network.scales, self.places, strict=True):
            found += [f"for i in range({weights}, {weights + i * o}):", f"    {left} {scale!r} * {right}"]
            found += [f"for i in range({biases}, {biases + self.network.biases * o}):", f"    {left} {right}"]
        return found

    def state(self) -> list[str]:
        """Forward and backward through the layers; the derivatives s1_l, s2_l, the errors e_l and back_l are kept."""
        widths, last = self.network.widths, self.depth
        lines = self.samples_given()
        for layer, units in enumerate(widths[1:last], start=1):
            lines += [self.room(f"{name}{layer}", units) for name in ("a", "s1_", "s2_", "e", "back", "da")]
            lines += [self.room(f"{name}{layer}", units) for name in ("dz", "de", "other")]
        lines += [self.room(f"{name}{last}", widths[last]) for name in ("a", "e", "dz", "de", "other")]
        for layer, (i, o) in enumerate(self.network.layers[1:], start=2):
            lines.append(self.room(f"product{layer}", i, o))
        scaled, x = self.scaled("x", "point")
        lines += [*scaled, *self.views(x, "W", "b"), *self.views("f", "fW", "fb")]
        for layer in range(1, last):
            lines += [
                f"affine(W{layer}, b{layer}, a{layer - 1}, e{layer})",
                f"activate(e{layer}, a{layer}, s1_{layer}, s2_{layer})",
            ]
        lines += [
            f"affine(W{last}, b{last}, a{last - 1}, a{last})",
            f"errors(a{last}, e{last}, targets)",
        ]
        for layer in range(last, 0, -1):
            lines.append(f"gradient(a{layer - 1}, e{layer}, fW{layer}, fb{layer})")
            if layer > 1:
                lines += [
                    f"np.dot(W{layer}, e{layer}, back{layer - 1})",
                    f"multiply(s1_{layer - 1}, back{layer - 1}, e{layer - 1})",
                ]
        return [*lines, *self.negative("f")]

    def vector(self) -> list[str]:
        """The derivative of all that along column c of V."""
        widths, last = self.network.widths, self.depth
        scaled, v = self.scaled("v", "along")
        lines = ["v, g = V.T[c], F.T[c]", *scaled, *self.views(v, "vW", "vb"), *self.views("g", "gW", "gb")]
        for layer in range(1, last + 1):
            lines.append(f"affine(vW{layer}, vb{layer}, a{layer - 1}, dz{layer})")
            if layer > 1:
                lines += [f"np.dot(W{layer}.T, da{layer - 1}, other{layer})", f"add(dz{layer}, other{layer})"]
            if layer < last:
                lines.append(f"multiply(s1_{layer}, dz{layer}, da{layer})")
        lines.append(f"errors_along(a{last}, dz{last}, de{last}, targets)")
        for layer in range(last, 0, -1):
            before = layer - 1
            lines.append(f"gradient(a{before}, de{layer}, gW{layer}, gb{layer})")
            if layer > 1:
                lines += [
                    f"np.dot(da{before}, e{layer}.T, product{layer})",
                    f"add(gW{layer}, product{layer})",
                    f"np.dot(W{layer}, de{layer}, de{before})",
                    f"np.dot(vW{layer}, e{layer}, other{before})",
                    f"for j in range({widths[before]}):",
                    f"    for s in range({self.samples}):",
                    f"        curved = s2_{before}[j, s] * dz{before}[j, s] * back{before}[j, s]",
                    f"        turned = s1_{before}[j, s] * (de{before}[j, s] + other{before}[j, s])",
                    f"        de{before}[j, s] = curved + turned",
                ]
        return [*lines, *self.negative("g")]
