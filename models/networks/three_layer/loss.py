"""The loss of one sample: what the SymPy-generated Jacobian, and the kernel of a small network, are derived from."""

from __future__ import annotations

from functools import cache

from dynsys.equations.sample_loss import SampleLoss
from dynsys.models.networks.three_layer.layout import Layout


@cache
def sample_loss(layout: Layout) -> SampleLoss:
    """C = |y - W32 sigma(W21 x + b1) - b2|^2, Eqs. (1)-(2), with an opaque sigma, of a network."""
    inputs, hidden, outputs = range(layout.n1), range(layout.n2), range(layout.n3)
    state = [
        *(f"w{j}_{i}" for i in inputs for j in hidden),
        *(f"v{k}_{j}" for j in hidden for k in outputs),
        *(f"b{j}" for j in hidden),
        *(f"c{k}" for k in outputs),
    ]
    d = {f"d{j}": f"b{j} + " + " + ".join(f"w{j}_{i}*x{i}" for i in inputs) for j in hidden}
    a = {f"a{k}": f"c{k} + " + " + ".join(f"v{k}_{j}*sigma(d{j})" for j in hidden) for k in outputs}
    loss = " + ".join(f"(y{k} - a{k})^2" for k in outputs)
    columns = [*(f"x{i}" for i in inputs), *(f"y{k}" for k in outputs)]
    return SampleLoss(loss, tuple(state), tuple(columns), tuple((d | a).items()))
