"""The derivative of an optimiser's step, of torch's own and of others, against differences of the step."""

import attrs
import pytest

torch = pytest.importorskip("torch")

from torch import optim  # noqa: E402

from dynsys.training.optimisers.layout import RULES, dimension, layout, state_vector  # noqa: E402
from dynsys.training.optimisers.update import differs, push  # noqa: E402

pytestmark = pytest.mark.torch

OPTIONS = {
    "sgd": (optim.SGD, {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "nesterov": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "maximize": (optim.SGD, {"lr": 0.001, "momentum": 0.9, "maximize": True}),
    "fused sgd": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "fused": True}),
    "rate as a tensor": (optim.SGD, {"lr": torch.tensor(0.1), "momentum": 0.9, "foreach": False}),
    "adam": (optim.Adam, {"lr": 0.1, "eps": 1e-2}),
    "fused adam": (optim.Adam, {"lr": 0.1, "eps": 1e-2, "fused": True}),
    "adam with decay": (optim.Adam, {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-2}),
    "amsgrad": (optim.Adam, {"lr": 0.01, "amsgrad": True, "eps": 1e-2}),
    "adamw": (optim.AdamW, {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-2}),
    "nadam": (optim.NAdam, {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-2}),
    "nadam decoupled": (optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True, "eps": 1e-2}),
    "radam": (optim.RAdam, {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-2}),
    "adamax": (optim.Adamax, {"lr": 0.1}),
    "adadelta": (optim.Adadelta, {"lr": 0.1, "weight_decay": 0.1}),
    "adagrad": (optim.Adagrad, {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    "rmsprop": (optim.RMSprop, {"lr": 0.1}),
    "rmsprop in full": (optim.RMSprop, {"lr": 0.1, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    "asgd": (optim.ASGD, {"lr": 0.1, "weight_decay": 0.1}),
}
COUNT = 17
SHIFT = 1e-7


def begin(make):
    """An optimiser of two tensors, and the gradient of a loss of theirs with its derivative."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(*s, generator=generator, dtype=torch.float64)) for s in ((3, 4), (5,))]
    A = torch.randn(COUNT, COUNT, generator=generator, dtype=torch.float64)
    A = A @ A.T / COUNT
    optimizer = make(weights)

    def slope(x):
        return A @ x + torch.tanh(x)

    def along(x, V):
        return V @ A + V * (1 - torch.tanh(x) ** 2)

    return optimizer, weights, slope, along


def flat(weights):
    return torch.cat([weight.detach().reshape(-1) for weight in weights])


def give(weights, gradient):
    for weight, part in zip(weights, gradient.split([w.numel() for w in weights]), strict=True):
        weight.grad = part.view(weight.shape).clone()


def after(make, optimizer, weights, pieces, shift, slope):
    """State after a step from one that is shifted."""
    twins = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    twin = make(twins)
    for weight, copy in zip(weights, twins, strict=True):
        known = optimizer.state.get(weight)
        if known:
            twin.state[copy] = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in known.items()}
    there = [attrs.evolve(piece, weights=twins) for piece in pieces]
    x = state_vector(optimizer, pieces) + shift
    with torch.no_grad():
        for piece in there:
            for column, name, unit in zip(piece.columns, (None, *piece.buffers), piece.units, strict=True):
                for weight in twins:
                    value = x[column : column + weight.numel()].view(weight.shape) / unit
                    column += weight.numel()
                    if name is None:
                        weight.copy_(value)
                    elif twin.state.get(weight, {}).get(name) is not None:
                        twin.state[weight][name].copy_(value)
    give(twins, slope(flat(twins)))
    twin.step()
    return state_vector(twin, there)


def of_ones_own(kind):
    """A subclass, which may do anything as far as dynsys knows."""
    return type(f"My{kind.__name__}", (kind,), {})


@pytest.mark.parametrize("own", [False, True], ids=["torch", "own"])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_derivative_is_that_of_the_step(name, own):
    kind, options = OPTIONS[name]
    kind = of_ones_own(kind) if own else kind

    def make(weights):
        return kind(weights, **options)

    optimizer, weights, slope, along = begin(make)
    pieces = layout(optimizer)
    generator = torch.Generator().manual_seed(1)
    for n in range(7):
        V = torch.randn(3, dimension(pieces), generator=generator, dtype=torch.float64)
        if n == 0 and not optimizer.state:
            V[:, COUNT:] = 0.0  # buffers that are not there yet
        give(weights, slope(flat(weights)))
        H = along(flat(weights), V[:, :COUNT])
        V[:, COUNT:] *= 1e-2  # squares are small
        expected = [
            sum(sign * after(make, optimizer, weights, pieces, sign * SHIFT * v, slope) for sign in (1, -1))
            / (2 * SHIFT)
            for v in V
        ]
        before = {weight: weight.detach().clone() for weight in weights}
        state = state_vector(optimizer, pieces)
        predicted = push(optimizer, pieces, V, H, predict=n % 2 == 0)
        assert torch.equal(state, state_vector(optimizer, pieces))
        optimizer.step()
        assert len(predicted) == (2 if n % 2 == 0 or own else 0)
        assert not differs(predicted, before)
        torch.testing.assert_close(V, torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_all_rules_are_tested():
    assert {kind for kind, _ in OPTIONS.values()} == set(RULES)


@pytest.mark.parametrize("name", ["adam", "rmsprop in full", "adagrad", "adadelta", "nadam", "radam", "amsgrad"])
def test_the_root_of_nothing_moves_not(name):
    kind, options = OPTIONS[name]
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = kind([weight], **{k: v for k, v in options.items() if k != "initial_accumulator_value"})
    pieces = layout(optimizer)
    V = torch.ones(2, dimension(pieces))
    for _ in range(7):
        weight.grad = torch.tensor([0.5, 0.0])  # the second one is dead
        push(optimizer, pieces, V, torch.zeros(2, 2))
        optimizer.step()
        assert torch.isfinite(V).all()
    assert (weight[1] == 2.0) == ("weight_decay" not in options)


def test_a_weight_without_a_gradient_stays():
    weights = [torch.nn.Parameter(torch.randn(3)) for _ in range(3)]
    optimizer = optim.Adam(weights, lr=0.1)
    pieces = layout(optimizer)
    V, H = torch.randn(2, 27), torch.randn(2, 9)
    before = V.clone()
    for weight in weights:
        weight.grad = torch.randn(3)
    weights[1].grad = None
    push(optimizer, pieces, V, H)
    for part in range(3):
        assert torch.equal(V[:, 9 * part + 3 : 9 * part + 6], before[:, 9 * part + 3 : 9 * part + 6])
        assert not torch.equal(V[:, 9 * part : 9 * part + 3], before[:, 9 * part : 9 * part + 3])


def test_weights_that_were_not_always_trained_have_their_own_count_of_steps():
    def pushed(used):
        weights = [torch.nn.Parameter(torch.full((2,), 0.5)) for _ in range(2)]
        optimizer = optim.Adam(weights, lr=0.1)
        pieces = layout(optimizer)
        V = torch.eye(12)
        for first in (used, True):
            weights[0].grad = torch.tensor([0.1, 0.2]) if first else None
            weights[1].grad = torch.tensor([0.1, 0.2])
            push(optimizer, pieces, V, torch.zeros(12, 4))
            optimizer.step()
        return V

    both, one = pushed(True), pushed(False)
    assert torch.equal(both[:, 2:4], one[:, 2:4])
    assert not torch.equal(both[:, :2], one[:, :2])


@pytest.mark.parametrize(
    ("kind", "why"), [(optim.Rprop, "takes its sign"), (optim.Adafactor, "another shape than its weights")]
)
def test_what_has_no_derivative_is_refused(kind, why):
    weight = torch.nn.Parameter(torch.randn(3, 3))
    optimizer = kind([weight])
    weight.grad = torch.randn(3, 3)
    with pytest.raises(ValueError, match=why):
        push(optimizer, layout(optimizer), torch.randn(2, 27)[:, : dimension(layout(optimizer))], torch.randn(2, 9))


class Trusting(optim.Optimizer):
    """Steps of a length that depends on the weights, by a plain number."""

    def __init__(self, weights, plain):
        self.plain = plain
        super().__init__(weights, {"lr": 0.1})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                length = weight.norm()
                length = length.item() if self.plain else length
                weight.sub_(group["lr"] * length * weight.grad.data)


def test_a_number_taken_out_of_weights_is_refused_and_a_tensor_is_followed():
    results = []
    for plain in (True, False):
        weight = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
        optimizer = Trusting([weight], plain)
        weight.grad = torch.tensor([1.0, 2.0], dtype=torch.float64)
        pieces, V = layout(optimizer), torch.eye(2, dtype=torch.float64)
        if plain:
            with pytest.raises(ValueError, match="makes a plain number"):
                push(optimizer, pieces, V, torch.zeros(2, 2, dtype=torch.float64))
        else:
            push(optimizer, pieces, V, torch.zeros(2, 2, dtype=torch.float64))
            results = V
    expected = torch.eye(2) - 0.1 * torch.outer(torch.tensor([0.6, 0.8]), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(results, expected.double(), rtol=1e-6, atol=1e-7)


def test_a_step_that_is_not_repeated_is_noticed():
    class Noisy(optim.SGD):
        def step(self):
            super().step()
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(0.1 * torch.rand(3))

    weight = torch.nn.Parameter(torch.randn(3))
    optimizer = Noisy([weight], lr=0.1)
    weight.grad = torch.ones(3)
    before = {weight: weight.detach().clone()}
    predicted = push(optimizer, layout(optimizer), torch.eye(3), torch.zeros(3, 3))
    optimizer.step()
    assert differs(predicted, before)


class Wrapper(optim.Optimizer):
    """Hides an optimiser, and what it remembers."""

    def __init__(self, weights):
        super().__init__(weights, {"lr": 0.1})
        self.inner = optim.Adam(self.param_groups)

    def step(self):
        self.inner.step()


class Hoarder(optim.SGD):
    """Keeps its memory out of its state."""

    def __init__(self, weights):
        super().__init__(weights, lr=0.1)
        self.means = [torch.zeros_like(weight) for weight in weights]


@pytest.mark.parametrize(("kind", "where"), [(Wrapper, "inner"), (Hoarder, "means")])
def test_memory_that_is_not_in_the_state_is_refused(kind, where):
    optimizer = kind([torch.nn.Parameter(torch.randn(3))])
    with pytest.raises(ValueError, match=f"{kind.__name__}, which has numbers in '{where}'"):
        layout(optimizer)
