"""Tangents dropped in silence are found and placed; usual architectures raise no alarm; nothing of the user changes."""

import dataclasses
import random
import warnings
from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
import torch_survey  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from dynsys import DiagnosticWarning  # noqa: E402
from dynsys.training.second_derivatives.attention import on_forward  # noqa: E402
from dynsys.training.second_derivatives.captured import CapturedCall, each, tensors_in  # noqa: E402
from dynsys.training.second_derivatives.double import in_double  # noqa: E402
from dynsys.training.second_derivatives.dropped import (  # noqa: E402
    TOLERANCE,
    dropped_in,
    dropped_share,
    dropped_share_of,
    warn_of_dropped,
)

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def seed(one_thread):
    torch.manual_seed(0)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 3, padding=1),
        )

    def forward(self, x):
        return F.relu(x + self.second(F.relu(self.norm(self.first(x)), inplace=True)))


@dataclasses.dataclass
class Reconstruction:
    x: torch.Tensor
    latent: tuple
    note: str = "of a batch"


class Autoencoder(nn.Module):
    """Variational, with the reparametrisation trick, and a dataclass as output."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, x):
        mean, log_variance = self.encode(x).chunk(2, dim=-1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return Reconstruction(self.decode(z).sigmoid(), (mean, log_variance))


class Language(nn.Module):
    """Tied embedding and head around an LSTM; a mapping as output."""

    def __init__(self):
        super().__init__()
        self.embed, self.rnn, self.head = (
            nn.Embedding(9, 5),
            nn.LSTM(5, 5, batch_first=True),
            nn.Linear(5, 9, bias=False),
        )
        self.head.weight = self.embed.weight

    def forward(self, tokens, scale=1.0):
        y, state = self.rnn(self.embed(tokens))
        return OrderedDict(logits=scale * self.head(y), state=state, tokens=tokens)


class Rough(nn.Module):
    """Written for float32: casts and constants of that kind, draws of NumPy and of a generator of its own."""

    def __init__(self):
        super().__init__()
        self.linear, self.draws, self.numpy = (
            nn.Linear(6, 6),
            torch.Generator().manual_seed(1),
            np.random.default_rng(1),
        )
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        noise = torch.rand(x.shape, generator=self.draws) + torch.tensor(
            self.numpy.normal(size=x.shape), dtype=torch.float32
        )
        y = self.linear(x.float() + noise.to(torch.float32) * random.random() + np.random.rand())  # noqa: NPY002
        out = torch.zeros(y.shape, dtype=torch.float32)
        out[:] = F.softplus(y)
        return out.float().square().to(torch.float32)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True, activation="gelu")
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.body(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True)


class Checkpointed(nn.Module):
    """Blocks that are computed again in the backward pass, one with attention."""

    def __init__(self):
        super().__init__()
        self.first, self.body = nn.Linear(6, 6), Transformer()

    def forward(self, x):
        x = checkpoint(self.first, x, use_reentrant=False)
        return checkpoint(self.body, x, use_reentrant=False)


IMAGES, ROWS, SERIES, TOKENS = (3, 2, 6, 6), (8, 6), (3, 4, 6), "tokens"
SOUND = {
    "MLP with dropout": (lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Dropout(0.4), nn.Linear(9, 3)), ROWS),
    "CNN with BatchNorm": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 2)),
        IMAGES,
    ),
    "residual": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), Residual(), Residual(), nn.AdaptiveAvgPool2d(1)), IMAGES),
    "GroupNorm": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.LeakyReLU()), IMAGES),
    "GELU and LayerNorm": (lambda: nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.LayerNorm(6), nn.Softplus()), ROWS),
    "LSTM": (lambda: nn.LSTM(6, 4, 2, dropout=0.2), SERIES),
    "GRU": (lambda: nn.GRU(6, 4, bidirectional=True), SERIES),
    "RNN": (lambda: nn.RNN(6, 4, nonlinearity="relu"), SERIES),
    "transformer": (Transformer, SERIES),
    "checkpointed": (Checkpointed, SERIES),
    "autoencoder": (Autoencoder, ROWS),
    "tied language model": (Language, TOKENS),
    "linear": (lambda: nn.Linear(6, 2), ROWS),
    "one number": (lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)), ROWS),
    "rough": (Rough, ROWS),
}  # fmt: skip


def inputs_of(shape):
    return torch.randint(0, 9, (3, 4)) if shape == TOKENS else torch.randn(shape)


def state_of(model):
    """All that a check must not change."""
    tensors = {name: (t.data_ptr(), t._version, t.clone()) for name, t in model.state_dict().items()}
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]
    numpy = np.random.get_state()[1].copy()  # noqa: NPY002
    return tensors, hooks, torch.get_rng_state().clone(), numpy, random.getstate()


def assert_unchanged(before, after):
    for name, (place, version, values) in before[0].items():
        assert after[0][name][0] == place
        assert torch.equal(after[0][name][2], values), name
        assert after[0][name][1] == version
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])
    np.testing.assert_array_equal(before[3], after[3])
    assert before[4] == after[4]
    assert F.scaled_dot_product_attention is torch._C._nn.scaled_dot_product_attention
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", SOUND)
def test_usual_architectures_raise_no_alarm_and_do_not_change(name, seed):
    build, shape = SOUND[name]
    model, x = build(), inputs_of(shape)
    before = state_of(model)
    own = (model.draws.get_state().clone(), model.numpy.bit_generator.state, model.calls) if name == "rough" else None
    assert dropped_share(model, (x,), {}, list(model.parameters()), seed) < 1e-6
    assert_unchanged(before, state_of(model))
    if own:
        assert torch.equal(own[0], model.draws.get_state())
        assert own[1:] == (model.numpy.bit_generator.state, model.calls)


@pytest.mark.parametrize("name", sorted(SOUND.keys() - {"checkpointed"}))
def test_closures_raise_no_alarm_and_do_not_change_the_model(name):
    build, shape = SOUND[name]
    model, x = build(), inputs_of(shape)
    before = state_of(model)

    def closure():
        return sum((y**2).mean() for y in tensors_in(model(x)) if y.is_floating_point())

    assert dropped_share_of(closure, model, list(model.parameters()), 0) < 1e-6
    assert_unchanged(before, state_of(model))
    assert all(p.grad is None and p.dtype == torch.float32 for p in model.parameters())


def test_a_graph_that_is_alive_stays_valid():
    model, x = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh()), torch.randn(ROWS)
    weights = list(model.parameters())
    loss = model(x).square().mean()
    expected = torch.autograd.grad(loss, weights, retain_graph=True)
    dropped_share_of(lambda: model(x).square().mean(), model, weights, 0)
    dropped_share(model, (x,), {}, weights, 0)
    for found, right in zip(torch.autograd.grad(loss, weights), expected, strict=True):
        assert torch.equal(found, right)


def test_a_model_with_differentiable_attention_keeps_it():
    model, x = Transformer(), torch.randn(SERIES)
    handle = on_forward(model)
    captured = CapturedCall()
    captured.attach(model)
    before = state_of(model)
    weights = list(model.parameters())
    assert dropped_share(model, (x,), {}, weights, 0) < 1e-6
    assert dropped_share_of(lambda: model(x).square().mean(), model, weights, 0) < 1e-6
    assert_unchanged(before, state_of(model))
    handle.remove()


def test_many_kinks_are_no_alarm():
    model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(100, 100), nn.ReLU())))
    x = torch.randn((1000, 100))
    assert dropped_share(model, (x,), {}, list(model.parameters()), 0) < 1e-6


class Middle(nn.Module):
    """x / |x| with the norm, or what is asked for, taken out of the graph in some way."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, x):
        if self.way == "no_grad":
            with torch.no_grad():
                norm = x.norm(dim=-1, keepdim=True)
            return x / norm
        norm = x.norm(dim=-1, keepdim=True)
        if self.way == "numpy":
            return x / torch.as_tensor(norm.detach().numpy())
        if self.way == "in place":
            y = x.clone()
            y.data.div_(norm.data)
            return y**2
        return x / {"detach": norm.detach, "data": lambda: norm.data, "sound": lambda: norm}[self.way]()


def with_middle(middle):
    return nn.Sequential(OrderedDict(a=nn.Linear(6, 8), b=nn.Sequential(nn.Tanh(), middle), c=nn.Linear(8, 3)))


@pytest.mark.parametrize("way", ["detach", "data", "no_grad", "numpy", "in place"])
def test_what_is_taken_out_of_the_graph_is_found_and_placed(way):
    model, x = with_middle(Middle(way)), torch.randn(ROWS)
    weights = list(model.parameters())
    before = state_of(model)
    share = dropped_share(model, (x,), {}, weights, 0)
    assert share > 0.01
    where = dropped_in(model, (x,), {}, weights, 0)
    assert where == ["'b.1' (Middle)"]
    with pytest.warns(DiagnosticWarning, match=r"dropped in silence in 'b\.1' \(Middle\): double backward is .* % off"):
        warn_of_dropped(share, where)
    assert_unchanged(before, state_of(model))
    assert dropped_share_of(lambda: model(x).square().mean(), model, weights, 0) > 0.01


def test_the_same_in_the_graph_is_sound():
    model, x = with_middle(Middle("sound")), torch.randn(ROWS)
    weights = list(model.parameters())
    share = dropped_share(model, (x,), {}, weights, 0)
    assert share < 1e-6
    assert dropped_in(model, (x,), {}, weights, 0) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_dropped(share)
        warn_of_dropped(float("nan"))
    assert dropped_share_of(lambda: model(x).square().mean(), model, weights, 0) < 1e-6


class HalfForgotten(torch.autograd.Function):
    """x^3 with a backward that keeps x outside of the graph."""

    @staticmethod
    def forward(ctx, x):
        ctx.x = x.detach()
        return x**3

    @staticmethod
    def backward(ctx, slope):
        return slope * 3 * ctx.x**2


class Cube(nn.Module):
    def forward(self, x):
        return HalfForgotten.apply(x)


def test_a_function_whose_backward_forgets_the_graph_is_found():
    model, x = with_middle(Cube()), torch.randn(ROWS)
    assert dropped_share(model, (x,), {}, list(model.parameters()), 0) > 0.01
    assert dropped_in(model, (x,), {}, list(model.parameters()), 0) == ["'b.1' (Cube)"]


def test_what_the_model_itself_drops_between_its_modules_is_placed_there():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            y = self.a(x).tanh()
            return self.b(y * y.detach())

    model, x = Own(), torch.randn(ROWS)
    assert dropped_in(model, (x,), {}, list(model.parameters()), 0) == ["the model itself (Own)"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("way", ["weight_norm", "spectral_norm", "max_norm"])
def test_silent_errors_of_pytorch_are_found(way):
    if way == "max_norm":
        model, x = nn.Sequential(nn.Embedding(9, 5, max_norm=0.5), nn.Tanh()), inputs_of(TOKENS)
    else:
        normed = getattr(nn.utils.parametrizations, way)(nn.Linear(6, 5))
        model, x = nn.Sequential(normed, nn.Tanh()), torch.randn(ROWS)
    assert dropped_share(model, (x,), {}, list(model.parameters()), 0) > TOLERANCE
    plain = nn.Sequential(nn.Embedding(9, 5) if way == "max_norm" else nn.Linear(6, 5), nn.Tanh())
    assert dropped_share(plain, (x,), {}, list(plain.parameters()), 0) < 1e-6


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", ["gumbel_softmax hard", "dirichlet draw", "beta draw", "sparse from weights", "detached"]
)
def test_silent_functions_of_the_survey_are_found(name):
    class Use(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(torch_survey.SQUARE))

        def forward(self):
            return torch_survey.FUNCTIONS[name](self.weight)

    model = Use()
    assert dropped_share(model, (), {}, [model.weight], 0) > 0.01


def test_what_cannot_be_told_is_not_a_number():
    model, x = nn.Linear(6, 2), torch.randn(ROWS)
    assert np.isnan(dropped_share(model, (x,), {}, [], 0))
    assert np.isnan(dropped_share(model, (x,), {}, [nn.Parameter(torch.ones(2))], 0))

    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 6)

        def forward(self, x):
            return self.linear(torch.from_numpy(x.detach().numpy().astype("float32"))[:0].new_empty(0, 5))

    model, x = Checkpointed(), torch.randn(SERIES)
    assert np.isnan(dropped_share_of(lambda: model(x).mean(), model, list(model.parameters()), 0))
    single = Single()
    assert np.isnan(dropped_share(single, (x,), {}, list(single.parameters()), 0))


def test_frozen_parts_and_targets_without_gradient_are_no_alarm():
    class Student(nn.Module):
        def __init__(self):
            super().__init__()
            self.online, self.target = nn.Linear(6, 4), nn.Linear(6, 4)

        def forward(self, x):
            with torch.no_grad():
                goal = self.target(x).tanh()
            return {"online": self.online(x).tanh(), "target": goal}

    model, x = Student(), torch.randn(ROWS)
    assert dropped_share(model, (x,), {}, list(model.online.parameters()), 0) < 1e-6


def test_keyword_arguments_and_evaluation_mode_are_kept():
    model, x = Language(), inputs_of(TOKENS)
    assert dropped_share(model, (), {"tokens": x, "scale": torch.tensor(2.0)}, list(model.parameters()), 0) < 1e-6
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh()).eval()
    assert dropped_share(model, (torch.randn(ROWS),), {}, list(model.parameters()), 0) < 1e-6
    assert not model.training


def test_a_model_that_cannot_be_copied_is_tried_itself():
    class Stubborn(nn.Sequential):
        def __deepcopy__(self, memo):
            raise TypeError("no")

    model, x = Stubborn(nn.Linear(6, 6), nn.BatchNorm1d(6), Middle("detach")), torch.randn(ROWS)
    before = state_of(model)
    assert dropped_share(model, (x,), {}, list(model.parameters()), 0) > 0.01
    assert dropped_in(model, (x,), {}, list(model.parameters()), 0) == ["the model itself (Stubborn)"]
    assert_unchanged(before, state_of(model))


def test_double_precision_is_kept_and_left():
    weight = nn.Parameter(torch.ones(3))
    x, y = torch.ones(3), torch.zeros(3, dtype=torch.int64)
    with in_double():
        assert (
            torch.zeros(2).dtype == (x + 1).dtype == x.dtype == x.float().dtype == (x * weight).dtype == torch.float64
        )
        assert x.to(torch.float32).dtype == torch.tensor([1], dtype=torch.float32).dtype == torch.float64
        assert (y + 1).dtype == torch.int64
        x.add_(torch.ones(3) / 3)
        x[0] = 5.0
        x += 1
    assert x.tolist() == [6.0, pytest.approx(7 / 3), pytest.approx(7 / 3)]
    assert x.dtype == torch.zeros(2).dtype == torch.float32
    with pytest.raises(ArithmeticError), in_double():
        raise ArithmeticError
    assert torch.zeros(2).dtype == torch.float32


def test_a_call_is_captured_when_asked_with_gradients_and_once():
    model, x = nn.Sequential(nn.Linear(6, 6)), torch.randn(ROWS, requires_grad=True)
    captured = CapturedCall()
    handle = captured.attach(model)
    model(x)
    assert captured.call is None
    captured.ask()
    with torch.no_grad():
        model(x + 1)
    assert captured.call is None
    model(x * 2)
    model(x * 3)
    (seen,), kwargs = captured.call
    assert torch.equal(seen, x * 2)
    assert not seen.requires_grad
    assert kwargs == {}
    assert dropped_share(model, *captured.call, list(model.parameters()), 0) < 1e-6  # nobody is asked in the copy
    captured.forget()
    assert captured.call is None
    handle.remove()
    assert not model._forward_pre_hooks


def test_tensors_are_found_in_containers_of_many_kinds():
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)
    value = {"a": [a, (b, "text")], "c": Reconstruction(c, (a,)), "n": None, "size": a.shape}
    assert [len(t) for t in tensors_in(value)] == [1, 2, 3, 1]
    doubled = each(lambda t: 2 * t, value)
    assert [float(t.sum()) for t in tensors_in(doubled)] == [2.0, 4.0, 6.0, 2.0]
    assert doubled["size"] == a.shape
    packed = nn.utils.rnn.pack_sequence([c, b])
    assert type(each(torch.clone, packed)) is type(packed)


@dataclasses.dataclass
class Output(OrderedDict):
    """A mapping and a dataclass in one that refuses `update`, as the outputs of the library transformers are."""

    loss: torch.Tensor
    logits: torch.Tensor

    def __post_init__(self):
        for field in dataclasses.fields(self):
            super().__setitem__(field.name, getattr(self, field.name))

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def update(self, *args, **kwargs):
        raise TypeError("You cannot use ``update`` on an Output instance.")

    def __reduce__(self):
        return Output, (self.loss, self.logits), None, None, iter(self.items())


def test_outputs_of_transformers_are_gone_through_like_any_others():
    output = Output(torch.ones(1), torch.ones(2))
    assert [len(t) for t in tensors_in(output)] == [1, 2]
    doubled = each(lambda t: 2 * t, output)
    assert float(output.loss) == float(output["loss"]) == 1.0
    assert float(doubled.loss) == float(doubled["loss"]) == 2.0

    class Model(nn.Module):
        def __init__(self, drops):
            super().__init__()
            self.first, self.last, self.drops = nn.Linear(6, 4), nn.Linear(4, 6), drops

        def forward(self, x):
            h = torch.tanh(self.first(x))
            logits = self.last(h.detach() * h if self.drops else h)
            return Output(logits.square().mean(), logits)

    for drops in (False, True):
        model = Model(drops)
        share = dropped_share(model, (torch.randn(ROWS),), {}, list(model.parameters()), 0)
        assert (share > 0.05) if drops else (share < 1e-6)


class Counting(nn.Module):
    """A model that takes another way in every other call."""

    def __init__(self, drops):
        super().__init__()
        self.inner, self.calls, self.drops = nn.Linear(3, 3), 0, drops

    def forward(self, x):
        self.calls += 1
        y = torch.tanh(self.inner(x))
        y = y * y.detach() if self.drops else y
        return y if self.calls % 2 else y**2


@pytest.mark.parametrize("drops", [False, True])
def test_a_model_that_counts_its_calls_is_looked_at_in_one_of_them(drops):
    model = Counting(drops)
    share = dropped_share(model, (torch.randn(4, 3),), {}, list(model.parameters()), 0)
    assert (share > TOLERANCE) == drops
    assert model.calls == 0
