"""What PyTorch cannot differentiate twice, as a survey; what stands in the way is refused by name, and nothing else."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

import torch_survey  # noqa: E402
from torch import nn  # noqa: E402

from dynsys import InvalidInputError  # noqa: E402
from dynsys.training.second_derivatives.attention import differentiable_attention  # noqa: E402
from dynsys.training.second_derivatives.dropped import dropped_share  # noqa: E402
from dynsys.training.second_derivatives.obstacles import check, check_loss, explain  # noqa: E402

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

LOUD = {  # cases that PyTorch itself refuses: the operator that the error must name
    "Hardsigmoid": "hardsigmoid",
    "EmbeddingBag": "embedding_bag",
    "EmbeddingBag(max)": "embedding_bag",
    "embedding_bag": "embedding_bag",
    "CrossMapLRN2d": "mul",
    "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiMarginLoss": "multi_margin_loss",
    "CTCLoss": "ctc_loss",
    "cdist": "cdist",
    "cdist p=1": "cdist",
    "cdist p=3": "cdist",
    "pdist": "pdist",
    "segment_reduce": "segment_reduce",
    "gamma draw": "standard_gamma_grad",
    "student draw": "standard_gamma_grad",
    "bessel_j0": "without a graph",
    "under no_grad": "without a graph",
}
SILENT = {  # cases whose second derivative is wrong, without a word: refused at the door, or found by differences
    "Embedding(max_norm)", "weight_norm", "gumbel_softmax hard", "dirichlet draw", "beta draw", "sparse from weights",
    "detached", "taken by .data",
}  # fmt: skip


@pytest.mark.parametrize(("name", "build", "shapes"), torch_survey.CASES, ids=[case[0] for case in torch_survey.CASES])
def test_second_derivatives_of_pytorch_are_exact_or_known_not_to_be(name, build, shapes):
    with differentiable_attention():
        if name in LOUD:
            with pytest.raises((RuntimeError, NotImplementedError)) as caught:
                torch_survey.second_derivative_error(build, shapes)
            said = explain(caught.value, nn.Sequential(nn.Linear(1, 1)))
            assert isinstance(said, InvalidInputError)
            assert f"'{LOUD[name]}'" in str(said) or LOUD[name] == "without a graph" in str(said)
        else:
            error, size = torch_survey.second_derivative_error(build, shapes)
            assert size > 1e-3
            assert error > 1e-2 if name in SILENT else error < 1e-7


OWN_DRAWS = {"normal draw", "BCELoss", *LOUD, *SILENT}  # which differ between precisions, or hold float64 numbers


def test_kernels_of_single_precision_have_the_same_second_derivatives():
    tried = 0
    for name, build, shapes in torch_survey.CASES:
        if name not in OWN_DRAWS:
            with differentiable_attention():
                found, exact = (torch_survey.hessian_product(build, shapes, d) for d in (torch.float32, torch.float64))
            assert float((found - exact).norm()) < 1e-4 * float(exact.norm()), name
            tried += 1
    assert tried > 150


class Reader(nn.Module):
    """An embedding, and a head that computes distances: what a user would write."""

    def __init__(self, **options):
        super().__init__()
        self.words = nn.Embedding(5, 3, **options)
        self.head = Distances()

    def forward(self, tokens):
        return self.head(self.words(tokens))


class Distances(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn((2, 3)))

    def forward(self, x):
        return torch.cdist(x, self.centres)


def trained_by(model, kind=torch.optim.SGD, **options):
    return kind([p for p in model.parameters() if p.requires_grad], **({"lr": 0.1} | options))


def plain(*more):
    return nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), *more))


def compiled():
    model = plain(nn.Linear(2, 2))
    model[1].compile()
    return model


def half():
    model = plain(nn.Linear(2, 2))
    model[1][1].half()
    return model


def mixed():
    model = plain(nn.Linear(2, 2))
    model[1][1].double()
    return model


def complex_valued():
    return plain(nn.Linear(2, 2, dtype=torch.complex64))


REFUSED_MODELS = {
    "DataParallel": (lambda: nn.DataParallel(plain()), r"the model itself \(DataParallel\).* model\.module"),
    "compiled": (lambda: torch.compile(plain()), r"OptimizedModule.* model\._orig_mod"),
    "compiled inside": (lambda: plain(torch.compile(nn.Linear(2, 2))), r"'1\.1' \(OptimizedModule\)"),
    "compiled in place": (compiled, r"'1' \(Sequential\) after its compile\(\)"),
    "sparse": (lambda: Reader(sparse=True), r"'words' \(Embedding\) with sparse=True: set sparse=False"),
    "max_norm": (lambda: Reader(max_norm=1.0), r"'words' \(Embedding\) with max_norm"),
    "bag": (lambda: plain(nn.EmbeddingBag(3, 2)), r"'1\.1' \(EmbeddingBag\).* nn\.Embedding"),
    "hardsigmoid": (lambda: plain(nn.Hardsigmoid()), r"'1\.1' \(Hardsigmoid\).*\.relu6"),
    "loss": (lambda: plain(nn.CTCLoss()), r"'1\.1' \(CTCLoss\)"),
    "weight_norm": (
        lambda: plain(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))),
        r"'1\.1' \(ParametrizationList\) with weight_norm, whose second",
    ),
    "old weight_norm": (lambda: plain(nn.utils.weight_norm(nn.Linear(2, 2))), r"'1\.1' \(Linear\) with weight_norm"),
    "lazy": (lambda: plain(nn.LazyLinear(2)), r"'1\.1\.weight', which is lazy: call the model once before"),
    "half": (half, r"'1\.1\.weight' in torch\.float16: keep weights in float32 .* under torch\.autocast$"),
    "complex": (complex_valued, r"'1\.1\.weight' in torch\.complex64: keep real and imaginary part"),
    "two dtypes": (mixed, "one dtype and on one device, got torch.float32 on cpu, torch.float64 on cpu"),
    "meta": (lambda: plain(nn.Linear(2, 2, device="meta")), r"'1\.1\.weight' \(torch.strided, meta\)"),
}


@pytest.mark.parametrize("case", REFUSED_MODELS)
def test_models_are_refused_by_path_and_remedy(case):
    build, message = REFUSED_MODELS[case]
    model = build()
    with pytest.raises(InvalidInputError, match=message):
        check(model, trained_by(model))


def test_a_quantised_module_is_refused():
    kind = type("Linear", (nn.Module,), {"__module__": "torch.ao.nn.quantized.modules.linear"})
    with pytest.raises(InvalidInputError, match=r"'1\.1' \(Linear\), a quantised module"):
        check(plain(kind()), trained_by(plain()))


@pytest.mark.parametrize(
    "kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RMSprop]
)
def test_ordinary_models_and_optimisers_pass(kind):
    for model in (Reader(), plain(nn.BatchNorm1d(2), nn.LSTM(2, 2)), nn.TransformerEncoderLayer(4, 2, 8)):
        assert list(check(model, trained_by(model, kind))) == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.parametrize(("dim", "right"), [(0, False), (1, True), (2, True), (3, False), (None, True)])
def test_weight_norm_is_refused_along_the_axes_where_it_is_wrong(norm, dim, right):
    model = nn.Sequential(norm(nn.Conv2d(2, 3, 3), dim=dim), nn.Tanh()).double()
    share = dropped_share(model, (torch.randn(2, 2, 5, 5),), {}, list(model.parameters()), 0)
    assert (share < 1e-6) == right
    if right:
        check(model, trained_by(model))
    else:
        with pytest.raises(InvalidInputError, match="weight_norm"):
            check(model, trained_by(model))


def test_frozen_parts_may_hold_anything():
    model = plain(
        nn.Hardsigmoid(), nn.EmbeddingBag(3, 2), nn.Embedding(3, 2, sparse=True, max_norm=1.0), nn.Linear(2, 2).half()
    )
    model.append(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
    for weight in model.parameters():
        weight.requires_grad_(False)
    model.head = nn.Linear(2, 2)
    assert list(check(model, trained_by(model.head))) == ["head.weight", "head.bias"]


@pytest.mark.parametrize("name", ["Rprop", "LBFGS", "SparseAdam", "Adafactor", "Muon"])
def test_optimisers_without_a_derivative_are_refused(name):
    if name not in vars(torch.optim):
        pytest.skip(f"this PyTorch has no {name}")
    model = nn.Linear(2, 2, bias=False)
    with pytest.raises(InvalidInputError, match=f"got {name}: .*; take SGD"):
        check(model, trained_by(model, vars(torch.optim)[name]))


class Wrapped(torch.optim.SGD):
    """As accelerate and Lightning wrap an optimiser: one by its kind, which hands on to the one that it holds."""

    def __init__(self, optimizer):
        self.inner, self.param_groups, self.state = optimizer, optimizer.param_groups, optimizer.state


def test_of_an_optimiser_that_is_wrapped_the_one_inside_is_asked_for():
    model = plain()
    wrapped = Wrapped(trained_by(model))
    with pytest.raises(InvalidInputError, match=r"got Wrapped, which wraps it: give the one inside, optimizer\.inner "):
        check(model, wrapped)
    assert list(check(model, wrapped.inner)) == ["0.weight", "0.bias"]


def test_what_is_no_model_or_optimiser_or_does_not_fit():
    model, other = plain(), plain()
    with pytest.raises(InvalidInputError, match=r"model must be a torch.nn.Module, got 'resnet'"):
        check("resnet", trained_by(model))
    with pytest.raises(InvalidInputError, match=r"optimizer must be a torch\.optim\.Optimizer"):
        check(model, torch.optim.lr_scheduler.StepLR(trained_by(model), 1))
    with pytest.raises(InvalidInputError, match="got none of them: was it made for another copy"):
        check(model, trained_by(other))
    optimizer = trained_by(model)
    model.requires_grad_(False)
    with pytest.raises(InvalidInputError, match="got 2, none of which requires a gradient"):
        check(model, optimizer)


def test_weights_from_elsewhere_are_named_by_their_place():
    model, scale = nn.Linear(2, 1), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([{"params": model.parameters()}, {"params": [scale]}], lr=0.1)
    trained = check(model, optimizer)
    assert list(trained) == ["weight", "bias", "optimizer.param_groups[1]['params'][0]"]
    assert list(trained.values())[2] is scale


def twice(loss, weights):
    slopes = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    torch.autograd.grad(sum((g**2).sum() for g in slopes if g is not None), weights, allow_unused=True)


def explained(model, loss):
    with pytest.raises((RuntimeError, NotImplementedError)) as caught:
        twice(loss, list(model.parameters()))
    return str(explain(caught.value, model, loss))


def test_errors_name_the_operator_the_modules_that_use_it_and_the_remedy():
    model = Reader()
    said = explained(model, model(torch.tensor([1, 2])).square().sum())
    assert "'cdist'" in said
    assert "used by 'head' (Distances): write out" in said
    model = nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0))
    said = explained(model, model(torch.randn(3, 2, 4)).square().sum())
    assert "'scaled_dot_product_flash_attention_for_cpu'" in said
    assert "used by '1.self_attn' (MultiheadAttention)" in said


def test_an_operator_nobody_has_listed_is_named_too():
    said = explain(RuntimeError("derivative for aten::_new_thing_backward is not implemented"), plain())
    assert "got 'new_thing', which has none in PyTorch: write it in operations that have one" in str(said)


def test_losses_that_were_used_or_changed_before_are_named():
    model = plain()
    x = torch.randn(3, 2)
    loss = model(x).square().sum()
    loss.backward()
    assert "leave loss.backward() out" in explained(model, loss)
    loss = model(x).square().sum()
    with torch.no_grad():
        model[0].weight.add_(1.0)
        model[0].bias.add_(1.0)
    deep = nn.Sequential(plain(), plain())
    loss = deep(x).square().sum()
    with torch.no_grad():
        deep[1][0].weight.add_(1.0)
    assert "changed between forward and backward" in explained(deep, loss)


class Twice(torch.autograd.Function):
    """x^2, whose derivative can be differentiated."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, slope):
        return slope * 2 * ctx.saved_tensors[0]


class Once(Twice):
    """The same, whose derivative cannot."""

    backward = staticmethod(torch.autograd.function.once_differentiable(Twice.backward))


def test_functions_that_can_be_differentiated_once_lose_tangents_and_are_refused():
    x = torch.ones(2, requires_grad=True)
    slopes = [torch.autograd.grad((f.apply(x) ** 2).sum(), x, create_graph=True)[0] for f in (Once, Twice)]
    lost, found = (torch.autograd.grad((g**2).sum(), x, allow_unused=True)[0] for g in slopes)
    assert lost is None  # PyTorch says nothing
    assert found is not None
    with pytest.raises(InvalidInputError, match="got Once, marked once_differentiable"):
        check_loss(Once.apply(x).sum())
    check_loss(Twice.apply(x).sum())


def test_compiled_functions_are_named():
    model = plain()
    run = torch.compile(model.forward, backend="aot_eager")
    assert "a compiled function: call it without torch.compile" in explained(
        model, run(torch.ones(3, 2)).square().sum()
    )


def test_errors_that_say_all_themselves_come_back():
    for error in (torch.OutOfMemoryError("CUDA out of memory"), InvalidInputError("x"), KeyError("x")):
        assert explain(error, plain()) is error
    assert "PyTorch's error: strange" in str(explain(RuntimeError("strange"), plain()))


def test_losses_are_checked():
    model, x = plain(), torch.randn(3, 2)
    check_loss(model(x).mean())
    check_loss(model(x).mean().reshape(1))
    for loss, message in (
        (1.0, "loss must be a tensor, got 1.0: leave out .item"),
        (SimpleNamespace(loss=model(x).mean()), r"got a SimpleNamespace that has one: give its \.loss"),
        ({"loss": model(x).mean()}, r"got a dict that has one: give its \['loss'\]"),
        ((model(x).mean(), model(x)), "got a tuple: give the loss alone"),
        (model(x), r"one real number, got shape \(3, 2\) in torch.float32: take its mean or sum"),
        (model(x).argmax(), "in torch.int64"),
        (model(x).mean().detach(), "got one without a graph: it was computed under torch.no_grad"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            check_loss(loss)


def test_reentrant_checkpoints_would_lose_gradients_and_are_refused():
    from torch.utils.checkpoint import checkpoint

    model, x = plain(), torch.randn((3, 2), requires_grad=True)
    lost = torch.autograd.grad(checkpoint(model, x, use_reentrant=True).mean(), model[0].weight, allow_unused=True)
    assert lost == (None,)  # PyTorch says nothing
    with pytest.raises(InvalidInputError, match="use_reentrant=False"):
        check_loss(checkpoint(model, x, use_reentrant=True).mean())
    check_loss(checkpoint(model, x, use_reentrant=False).mean())


def test_cudnn_says_so_in_words_that_are_known():
    text = (
        "the derivative for '_cudnn_rnn_backward' is not implemented. Double backwards is not supported for CuDNN RNNs"
    )
    said = str(explain(NotImplementedError(text), nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 2))))
    assert (
        "'cudnn_rnn', which has none in PyTorch, used by '1' (LSTM): set torch.backends.cudnn.enabled = False" in said
    )
