"""Recurrent networks against PyTorch's: values, Jacobians and exponents, of random modules and of trained ones."""

import numpy as np
import pytest

from dynsys import InvalidInputError
from dynsys.models.networks import GRU, LSTM, RNN

torch = pytest.importorskip("torch")
from dynsys.torch import TorchMap  # noqa: E402

pytestmark = pytest.mark.torch
SIZES = {"input_size": 2, "hidden_size": 5}
INPUTS = np.random.default_rng(0).normal(size=(60, 2))


@pytest.fixture(autouse=True)
def seed(one_thread):
    torch.manual_seed(0)


def cell_map(cell, inputs=INPUTS):
    """The step of a cell as a function of PyTorch."""
    u = torch.tensor(inputs)

    def step(n, x):
        if isinstance(cell, torch.nn.LSTMCell):
            h, c = x.chunk(2)
            return torch.cat(cell(u[n], (h, c)))
        return cell(u[n], x)

    return TorchMap(step, cell.hidden_size * (1 + isinstance(cell, torch.nn.LSTMCell)))


CELLS = [
    (RNN, torch.nn.RNNCell, {}),
    (RNN, torch.nn.RNNCell, {"nonlinearity": "relu"}),
    (GRU, torch.nn.GRUCell, {}),
    (LSTM, torch.nn.LSTMCell, {}),
    (GRU, torch.nn.GRUCell, {"bias": False}),
    (LSTM, torch.nn.LSTMCell, {"bias": False}),
]


@pytest.mark.parametrize(("kind", "module", "options"), CELLS)
def test_a_cell_is_the_same_map(kind, module, options):
    cell = module(**SIZES, **options, dtype=torch.float64)
    with torch.no_grad():
        for weight in cell.parameters():
            weight *= 3.0
    ours, theirs = kind.of(cell, INPUTS), cell_map(cell)
    x = np.random.default_rng(1).normal(size=(3, ours.dimension))
    np.testing.assert_allclose(ours.step(4, x), theirs.step(4, x), atol=1e-14)
    np.testing.assert_allclose(ours.jacobian(4, x[0]), theirs.jacobian(4, x[0]), atol=1e-14)
    if options:  # of ReLU nothing may be left of a direction
        return
    run = {"intervals": 40, "warmup": 10}
    spectra = [system.tangent(backend="numpy").benettin(x[0], **run) for system in (ours, theirs)]
    np.testing.assert_allclose(spectra[0].exponents, spectra[1].exponents, atol=1e-10)


@pytest.mark.parametrize(("kind", "module"), [(RNN, torch.nn.RNN), (GRU, torch.nn.GRU), (LSTM, torch.nn.LSTM)])
def test_a_layer_walks_the_same_way(kind, module):
    layer = module(**SIZES, batch_first=True)  # float32
    network = kind.of(layer, INPUTS)
    outputs = layer(torch.tensor(INPUTS[None], dtype=torch.float32))[0][0].detach().numpy()
    states = network.tangent(backend="numpy").trajectory(np.zeros(network.dimension), intervals=60, warmup=0).states
    np.testing.assert_allclose(states[:, :5], outputs, atol=1e-5)
    alone = kind.of(layer)  # u = 0
    rest = layer(torch.zeros(1, 60, 2))[0][0, -1].detach().numpy()
    still = alone.tangent(backend="numpy").trajectory(np.zeros(network.dimension), intervals=60, warmup=0).states[-1]
    np.testing.assert_allclose(still[:5], rest, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GRU.of(torch.nn.GRU(2, 3, num_layers=2)), "num_layers=2, .*dynsys.torch.TorchMap"),
        (lambda: RNN.of(torch.nn.RNN(2, 3, bidirectional=True)), "bidirectional=True"),
        (lambda: LSTM.of(torch.nn.LSTM(2, 3, proj_size=2)), "proj_size=2"),
        (lambda: LSTM.of(torch.nn.GRU(2, 3)), r"takes a torch.nn.LSTM or torch.nn.LSTMCell, got GRU; LSTM.of reads"),
        (lambda: GRU.of(torch.nn.Linear(2, 3)), "got Linear"),
        (
            lambda: RNN.of(torch.nn.RNN(2, 3), np.ones((9, 3))),
            r"inputs of size 3 need input weights U of shape \(3, 3\)",
        ),
    ],
)
def test_what_is_not_supported_says_so(make, words):
    with pytest.raises(InvalidInputError, match=words):
        make()


@pytest.mark.parametrize(("kind", "module"), [(GRU, torch.nn.GRU), (LSTM, torch.nn.LSTM)])
def test_a_network_that_learned_to_remember(kind, module):
    """Say at the end whether the first input was up or down."""
    layer, readout = module(1, 8, batch_first=True), torch.nn.Linear(8, 1)
    optimiser = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.02)
    generator = torch.Generator().manual_seed(1)

    def apart():
        """Distance of two pasts after 40 steps of silence."""
        ends = []
        for sign in (-2.0, 2.0):
            tangent = kind.of(layer, sign * np.eye(1, 41).T).tangent(backend="numpy")
            ends.append(tangent.trajectory(np.zeros(tangent.dimension), intervals=41, warmup=0).states[-1])
        return np.linalg.norm(ends[0] - ends[1])

    def silent():
        network = kind.of(layer)
        x0 = 0.1 * np.random.default_rng(2).normal(size=network.dimension)
        return network.tangent(backend="numpy").benettin(x0, intervals=60, warmup=60, k=3), x0

    before, forgotten = silent()[0].exponents[0], apart()
    for _ in range(300):
        signs = 2.0 * torch.randint(2, (64, 1), generator=generator) - 1.0
        series = 0.3 * torch.randn(64, 10, 1, generator=generator)
        series[:, 0] += 2.0 * signs
        loss = torch.nn.functional.softplus(-signs * readout(layer(series)[0][:, -1])).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.01
    assert before < -0.3
    assert forgotten < 1e-4 < 0.01 < apart()
    ours, x0 = silent()

    def step(n, x):
        quiet, parts = (
            torch.zeros(1, 1, 1, dtype=x.dtype),
            tuple(part[None, None] for part in x.chunk(1 + (kind is LSTM))),
        )
        _, end = layer(quiet, parts if kind is LSTM else parts[0])
        return torch.cat([part[0, 0] for part in end]) if kind is LSTM else end[0, 0]

    if kind is LSTM:  # whose kernel in single precision has no forward derivative
        with pytest.raises(InvalidInputError, match=r"computed by mkldnn_rnn.* call .double\(\) of the module"):
            TorchMap(step, len(x0), dtype=torch.float32).jvp(0, x0, np.eye(16))
    layer.double()
    theirs = TorchMap(step, len(x0)).tangent().benettin(x0, intervals=60, warmup=60, k=3)
    np.testing.assert_allclose(ours.exponents, theirs.exponents, atol=1e-10)
