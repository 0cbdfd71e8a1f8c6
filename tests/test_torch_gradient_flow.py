"""TorchGradientFlow: the same function as networks in NumPy, pure in weights, rows and key, whatever the model does."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_networks import PAIRS, SAMPLES, data, mlp, squares  # noqa: E402

from dynsys import Adam, InvalidInputError  # noqa: E402
from dynsys.storage.description import describe  # noqa: E402
from dynsys.testing import check_system  # noqa: E402
from dynsys.torch import TorchGradientFlow  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

X, y = data()
RNG = np.random.default_rng(5)


def flow(model=None, loss=squares, inputs=X, targets=y, **options):
    return TorchGradientFlow(mlp(2, 3, 1) if model is None else model, loss, inputs, targets, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_loss_gradient_and_hessian_are_those_of_the_network_in_numpy(pair, reduction):
    if reduction == "sum" and pair is PAIRS["DeepNetworkFlow"]:
        pytest.skip("it has the mean alone")
    ours, theirs, order = pair(reduction=reduction) if reduction == "sum" else pair()
    states = RNG.normal(size=(2, 3, theirs.dimension))
    x = np.empty_like(states)
    x[..., order] = states
    for rows in (slice(None), np.array([3, 1, 7])):
        one, other = (ours, theirs) if isinstance(rows, slice) else (ours.on(rows), theirs.on(rows))
        np.testing.assert_allclose(other.loss(states), one.loss(x), rtol=1e-13)
        slopes = one.vector_field(0.0, x)[..., order]
        np.testing.assert_allclose(other.vector_field(0.0, states), slopes, rtol=0, atol=1e-13 * np.abs(slopes).max())
        J = one.jacobian(0.0, x[0, 0])[np.ix_(order, order)]
        np.testing.assert_allclose(other.jacobian(0.0, states[0, 0]), J, rtol=0, atol=1e-13 * np.abs(J).max())
    assert theirs.loss(states[0, 0]).shape == ()


def test_it_keeps_the_contract_of_a_system_alone_and_on_batches():
    whole = flow()
    assert (whole.derivative, whole.samples, whole.on(np.arange(4)).samples) == ("double backward", SAMPLES, 4)
    check_system(whole, whole.initial())
    check_system(whole.minibatches(5, seed=1), whole.initial())
    dropping = flow(nn.Sequential(mlp(2, 8), nn.Tanh(), nn.Dropout(0.5), mlp(8, 1)))
    check_system(dropping.minibatches(5, seed=1), dropping.initial())


@pytest.mark.parametrize("size", [None, 5])
def test_nothing_that_is_given_changes_and_nothing_that_happens_to_it_later_matters(size):
    model = nn.Sequential(mlp(2, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 1)).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs, targets = torch.tensor(X), torch.tensor(y)
    whole = flow(model, nn.MSELoss(), inputs, targets)
    state, stream = whole.initial(), torch.get_rng_state()
    driven = whole if size is None else whole.minibatches(size, seed=1)
    first = driven.flow_at(3).vector_field(0.0, state)
    whole.jacobian(0.0, state)
    assert torch.equal(torch.get_rng_state(), stream)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers(), inputs, targets):
            tensor.zero_()
    model.eval()
    np.testing.assert_array_equal(driven.flow_at(3).vector_field(0.0, state), first)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(7)
        np.testing.assert_array_equal(driven.flow_at(3).vector_field(0.0, state), first)


def differentiated(whole):
    """Whether the Jacobian is that of differences, also where entries are exactly zero, as before BatchNorm."""
    theta, small = whole.initial(), 1e-5 * np.eye(whole.dimension)
    slopes = [whole.vector_field(0.0, theta + sign * small) for sign in (1, -1)]
    jacobian = whole.jacobian(0.0, theta)
    np.testing.assert_allclose(jacobian, (slopes[0] - slopes[1]).T / 2e-5, rtol=0, atol=1e-7 * abs(jacobian).max())


def test_batchnorm_takes_the_statistics_of_the_batch_in_training_and_its_own_in_evaluation():
    model = nn.Sequential(mlp(2, 4), nn.BatchNorm1d(4), nn.Tanh(), mlp(4, 1)).double()
    with torch.no_grad():
        model[1].running_mean.fill_(0.3)
        model[1].running_var.fill_(2.0)
    rows = np.array([0, 4, 5, 9])
    for training in (True, False):
        whole = flow(model.train(training), nn.MSELoss())
        assert whole.dimension == sum(p.numel() for p in model.parameters())  # buffers are no part of the state
        h = (torch.tensor(X[rows]) @ model[0][0].weight.T + model[0][0].bias).detach()
        mean, var = (h.mean(0), h.var(0, unbiased=False)) if training else (0.3, 2.0)
        outputs = model[3](torch.tanh((h - mean) / (var + 1e-5) ** 0.5)).detach().numpy()
        np.testing.assert_allclose(whole.on(rows).loss(whole.initial()), np.mean((outputs - y[rows]) ** 2), rtol=1e-12)
        assert whole.module(whole.initial())[1].running_mean.tolist() == [pytest.approx(0.3)] * 4
        differentiated(whole.on(rows))


def dropping(**options):
    return flow(nn.Sequential(mlp(2, 40), nn.Tanh(), nn.Dropout(0.5), mlp(40, 1)), **options)


def test_dropout_is_a_pure_function_of_seed_and_step():
    whole = dropping(seed=3)
    sgd, theta = whole.minibatches(SAMPLES, seed=0), whole.initial()
    losses = [float(sgd.flow_at(n).loss(theta)) for n in range(6)]
    assert [float(sgd.flow_at(n).loss(theta)) for n in reversed(range(6))] == losses[::-1]
    assert len(set(losses)) == 6
    assert float(dropping(seed=4).minibatches(SAMPLES, seed=0).flow_at(0).loss(theta)) not in losses
    assert float(whole.flow_at(2).loss(theta)) != float(whole.flow_at(3).loss(theta))  # on all samples, too
    assert whole.with_parameters({"seed": 4}).seed == 4
    resting = flow(mlp(2, 3, 1))
    assert resting.flow_at(2) is resting


def test_members_draw_alike_unless_their_batches_differ():
    whole = dropping()
    theta = whole.initial()
    for shared in (True, False):
        sgd = whole.minibatches(SAMPLES, seed=0, shared=shared)
        losses = {float(sgd.for_member(m).flow_at(5).loss(theta)) for m in range(4)}
        assert len(losses) == (1 if shared else 4)


def test_the_masks_are_those_of_pytorch():
    """With a mask that is known from the outside the loss is that of the masked network."""
    whole = dropping()
    model, theta = whole.module(whole.initial()), whole.initial()
    masks = []
    model[2].register_forward_hook(lambda module, given, result: masks.append((result != 0).double().numpy()))
    # the same key as step 4: a flow of the hooked model draws what the other one does
    loss = flow(model).flow_at(4).loss(theta)
    assert 0.3 < masks[-1].mean() < 0.7
    hidden = np.tanh(X @ model[0][0].weight.detach().numpy().T + model[0][0].bias.detach().numpy())
    out = (2.0 * masks[-1] * hidden) @ model[3][0].weight.detach().numpy().T + model[3][0].bias.detach().numpy()
    assert float(loss) == pytest.approx(np.mean((out - y) ** 2), rel=1e-12)
    assert float(whole.flow_at(4).loss(theta)) == float(loss)


def test_augmentation_draws_from_its_generator_alone():
    def noisy(inputs, generator):
        return inputs + 0.1 * torch.randn(inputs.shape, generator=generator, dtype=inputs.dtype)

    whole = flow(augment=noisy, seed=1)
    theta, stream = whole.initial(), torch.get_rng_state()
    losses = [float(whole.flow_at(n).loss(theta)) for n in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    assert torch.equal(torch.get_rng_state(), stream)
    assert abs(losses[0] - float(flow().loss(theta))) < 0.2 * losses[0]


def test_parameters_that_do_not_train_are_no_part_of_the_state_and_tied_ones_count_once():
    model = mlp(2, 3, 1)
    model[0].weight.requires_grad_(False)
    whole = flow(model)
    assert whole.dimension == 7
    check_system(whole, whole.initial())

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = mlp(2, 2)
            self.two = mlp(2, 2)
            self.two[0].weight = self.one[0].weight

        def forward(self, x):
            return self.two(torch.tanh(self.one(x))).sum(dim=1, keepdim=True)

    whole = flow(Tied())
    assert whole.dimension == 8
    check_system(whole, whole.initial())
    assert whole.module(np.arange(8.0)).two[0].weight.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_weights_go_in_and_out_in_the_order_of_the_parameters():
    whole = flow()
    theta = RNG.normal(size=whole.dimension)
    model = whole.module(theta)
    np.testing.assert_array_equal(torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy(), theta)
    np.testing.assert_array_equal(whole.initial(model), theta)
    loss = squares(model(torch.tensor(X)), torch.tensor(y)).mean()
    assert float(whole.loss(theta)) == pytest.approx(loss.item(), rel=1e-14)
    with torch.no_grad():
        model[0].weight.zero_()
    assert float(whole.loss(theta)) == pytest.approx(loss.item(), rel=1e-14)
    with pytest.raises(InvalidInputError, match=r"name and shape of 0\.weight, 0\.bias, 2\.weight"):
        whole.initial(mlp(2, 4, 1))
    with pytest.raises(InvalidInputError, match=r"theta must have shape \(13,\), got \(3,\)"):
        whole.module(np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"x must have shape \(\.\.\., 13\)"):
        whole.vector_field(0.0, np.zeros(3))


def test_weights_of_classes_are_copied_and_take_the_precision_of_the_model():
    weights = torch.tensor([1.0, 3.0])
    labels = np.arange(SAMPLES) % 2
    loss = nn.CrossEntropyLoss(weight=weights)
    whole = flow(mlp(2, 3, 2), loss, X, labels)
    found = float(whole.loss(whole.initial()))
    expected = nn.functional.cross_entropy(mlp(2, 3, 2)(torch.tensor(X)), torch.tensor(labels), weights.double())
    assert found == pytest.approx(expected.item(), rel=1e-12)
    loss.weight.zero_()
    assert float(whole.loss(whole.initial())) == found
    assert loss.weight.dtype == torch.float32
    assert len(repr(whole)) < 400


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.lstm, self.out = nn.Embedding(7, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, tokens):
        return self.out(self.lstm(self.embedding(tokens))[0][:, -1])


KINDS = {
    "labels": (lambda: mlp(2, 3, 2), nn.CrossEntropyLoss(), X, (np.arange(SAMPLES) % 2).astype(np.int32)),
    "tokens": (Tokens, nn.CrossEntropyLoss(), RNG.integers(0, 7, (SAMPLES, 5)), np.arange(SAMPLES) % 2),
    "images": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(18, 2)),
        nn.CrossEntropyLoss(),
        RNG.normal(size=(SAMPLES, 1, 5, 5)),
        np.arange(SAMPLES) % 2,
    ),
    "lists": (lambda: mlp(1, 2, 1), nn.MSELoss(), [[0.0], [1.0], [2.0]], [[1], [0.5], [0]]),
    "one number for each sample": (lambda: mlp(2, 2), nn.CrossEntropyLoss(reduction="none"), X, np.arange(SAMPLES) % 2),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_models_and_data_of_many_kinds(kind, dtype):
    make, loss, inputs, targets = kind
    whole = flow(make().to(dtype), loss, inputs, targets)
    theta = whole.initial()
    check_system(whole, theta)
    model = whole.module(theta)
    assert next(model.parameters()).dtype == dtype
    inputs, targets = (torch.as_tensor(np.array(part)) for part in (inputs, targets))
    inputs, targets = (
        part.to(dtype).double() if part.is_floating_point() else part.long() for part in (inputs, targets)
    )
    expected = loss(model.double()(inputs), targets).mean().item()
    assert float(whole.loss(theta)) == pytest.approx(expected, rel=1e-12)  # of float32, in float64


def test_numpy_methods_stay_in_single_precision_where_the_model_says_so():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 1))

        def forward(self, x):
            return torch.tanh(x @ self.weight) + torch.ones(1, 1, dtype=torch.float32) @ self.weight[:1]

    whole = flow(Single(), nn.MSELoss())
    assert whole.task.double is whole.task
    assert flow(mlp(2, 1, dtype=torch.float32)).task.double.dtype == torch.float64
    noisy = nn.Sequential(mlp(2, 40, dtype=torch.float32), nn.Dropout(0.5), mlp(40, 1, dtype=torch.float32))
    assert flow(noisy).task.double.dtype == torch.float64
    assert flow(noisy).task.same_in_double  # masks are the same

    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    whole = flow(nn.Sequential(mlp(2, 2, dtype=torch.float32), Noise(), mlp(2, 1, dtype=torch.float32)), nn.MSELoss())
    assert whole.task.double is not whole.task
    assert not whole.task.same_in_double  # normal numbers are not
    assert whole.vector_field(0.0, whole.initial()).dtype == np.float64


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(7, 4), nn.Linear(4, 2)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.1, batch_first=True)

    def forward(self, tokens):
        return self.out(self.layer(self.embedding(tokens)).mean(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_has_a_second_derivative(dtype):
    tokens, labels = RNG.integers(0, 7, (SAMPLES, 5)), np.arange(SAMPLES) % 2
    whole = flow(Attending().to(dtype), nn.CrossEntropyLoss(), tokens, labels)
    differentiated(whole.minibatches(6, seed=1).flow_at(3))
    assert torch.nn.functional.scaled_dot_product_attention.__module__ != "dynsys.training.second_derivatives.attention"


class Bags(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(7, 3), nn.Linear(3, 2)

    def forward(self, tokens):
        return self.out(self.bag(tokens))


class Distances(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(2, 2, dtype=torch.float64))

    def forward(self, x):
        return torch.cdist(x, self.centres)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (Bags().double(), RNG.integers(0, 7, (SAMPLES, 5)), r"got 'bag' \(EmbeddingBag\).*none in PyTorch"),
        (Distances(), X, "operators must have a second derivative, got '.*cdist"),
    ],
    ids=["module", "function"],
)
def test_what_has_no_second_derivative_is_refused_at_the_door_by_name(model, inputs, message):
    with pytest.raises(InvalidInputError, match=message):
        flow(model, nn.CrossEntropyLoss(), inputs, np.arange(SAMPLES) % 2)


def test_stores_tell_tasks_apart_by_all_that_they_compute():
    def described(change=lambda model: None, **options):
        model = nn.Sequential(mlp(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.LeakyReLU(0.1), mlp(4, 1)).double()
        change(model)
        options = {"loss": nn.MSELoss(), "seed": 3} | options
        return describe(flow(model, **options).minibatches(5, seed=1).tangent(Adam(1e-3)))

    def set_to(path, name, value):
        return lambda model: setattr(model.get_submodule(path), name, value)

    same = described()
    assert described() == same
    assert json.loads(json.dumps(same)) == same
    others = [
        described(lambda model: model.eval()),
        described(set_to("2", "p", 0.3)),
        described(set_to("3", "negative_slope", 0.2)),
        described(lambda model: model[1].running_mean.add_(1.0)),
        described(lambda model: model[0][0].bias.requires_grad_(False)),
        described(loss=nn.L1Loss()),
        described(loss=squares),
        described(inputs=X + 1.0),
        described(targets=2.0 * y),
        described(seed=4),
        described(reduction="sum"),
    ]
    for other in others:
        assert other != same
    assert len({json.dumps(other) for other in others}) == len(others)


def good(**changes):
    given = {"model": mlp(2, 3, 1), "loss": nn.MSELoss(), "X": X, "y": y} | changes
    return TorchGradientFlow(**given)


MIXED = mlp(2, 3, 1)
MIXED[0].float()
STILL = mlp(2, 3, 1)
for parameter in STILL.parameters():
    parameter.requires_grad_(False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": torch.tanh}, "model must be a torch.nn.Module"),
        ({"model": STILL}, "all float32 or all float64, on one device, got none that requires grad"),
        ({"model": MIXED}, r"got torch\.float32 on cpu, torch\.float64 on cpu"),
        ({"model": mlp(2, 3, 1).half()}, r"got torch\.float16 on cpu: convert it by model\.to"),
        ({"model": mlp(3, 3, 1)}, r"must work on the first samples, X \(12, 2\) torch.float64"),
        ({"loss": "squares"}, "loss must be a function of two arguments"),
        ({"loss": nn.MSELoss(reduction="sum")}, "loss must be the mean over samples.*give reduction='sum' to the flow"),
        ({"loss": nn.MSELoss(reduction="none")}, r"one number for each of them, got torch.float64 of shape \(12, 1\)"),
        ({"loss": lambda outputs, targets: 1.0}, "got 1.0"),
        ({"loss": lambda outputs, targets: ((outputs.detach() - targets) ** 2).mean()}, "must depend on the weights"),
        ({"X": X[:-1]}, "X has 11 samples but y has 12"),
        ({"X": X * np.nan}, "X must be finite"),
        ({"X": np.array(["a"] * 12)}, "X must be an array or tensor of real or whole numbers"),
        ({"X": np.ma.array(X, mask=X > 0)}, "masked"),
        ({"y": y * 1j}, "y must be"),
        ({"y": torch.tensor(1.0)}, r"y must be a dense tensor .*got torch.float32 of shape \(\)"),
        ({"augment": 3}, "augment must be a function"),
        ({"reduction": "median"}, "reduction must be 'mean' or 'sum', got 'median'"),
        ({"seed": -1}, "seed must be a whole number >= 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message):
    assert good().dimension == 13
    with pytest.raises(InvalidInputError, match=message):
        good(**changes)


class Remembers(torch.nn.Linear):
    """Counts its calls, and acts on the number."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1.0 + 0.01 * self.calls)


class DrawsElsewhere(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) * np.random.default_rng().uniform(0.5, 1.5)


@pytest.mark.parametrize("kind", [Remembers, DrawsElsewhere])
def test_a_model_that_is_no_function_of_its_weights_is_refused(kind):
    X = np.linspace(-1.0, 1.0, 12).reshape(6, 2)
    with pytest.raises(InvalidInputError, match=r"must be the same whenever it is computed.*draw random numbers by"):
        TorchGradientFlow(kind(2, 1).double(), torch.nn.MSELoss(), X, X[:, :1])


def test_a_model_that_writes_into_its_input_does_not_change_the_data():
    class Centred(torch.nn.Linear):
        def forward(self, x):
            x += 1.0
            return super().forward(x)

    X = np.linspace(-1.0, 1.0, 12).reshape(6, 2)
    flow = TorchGradientFlow(Centred(2, 1).double(), torch.nn.MSELoss(), X, X[:, :1])
    theta = flow.initial()
    assert flow.loss(theta) == flow.loss(theta) == flow.on(np.arange(6)).loss(theta)
    np.testing.assert_array_equal(flow.vector_field(0.0, theta), flow.vector_field(0.0, theta))
