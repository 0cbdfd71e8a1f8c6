"""Attention in training: the bits of the fused kernel, the second derivative of the formula, PyTorch as it was."""

import copy
import io
import sys
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from dynsys import InvalidInputError  # noqa: E402
from dynsys.training.second_derivatives.attention import FUSED, attention, differentiable_attention, on_forward  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


def second_order(call, inputs, seed=1):
    """Value, gradient and Hessian product of <c, call()^2>, c and the direction random."""
    torch.manual_seed(seed)
    outputs = call()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    c = torch.Generator().manual_seed(2)
    S = sum((torch.randn(o.shape, generator=c).to(o.dtype) * o**2).sum() for o in outputs)
    g = torch.autograd.grad(S, inputs, create_graph=True, allow_unused=True)
    moving = [(a, torch.randn(a.shape, generator=c).to(a.dtype)) for a in g if a is not None and a.requires_grad]
    products = []
    for _ in range(2):  # the graph serves more than one
        products = torch.autograd.grad(
            [a for a, _ in moving], inputs, [v for _, v in moving], retain_graph=True, allow_unused=True
        )
    return outputs, [torch.zeros(1) if a is None else a.detach() for a in g], products


def first_order(call, inputs, seed=1):
    torch.manual_seed(seed)
    outputs = call()
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    c = torch.Generator().manual_seed(2)
    S = sum((torch.randn(o.shape, generator=c).to(o.dtype) * o**2).sum() for o in outputs)
    g = torch.autograd.grad(S, inputs, allow_unused=True)
    return outputs, [torch.zeros(1) if a is None else a for a in g]


def assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


def assert_close(one, other, rtol):
    for a, b in zip(one, other, strict=True):
        if a is not None or b is not None:
            assert float((a.double() - b.double()).norm()) <= rtol * float(b.double().norm()) + 1e-30


MASK = torch.tensor([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1] * 6, [0, 0, 1, 1, 0, 0]]).bool()
CASES = {
    "plain": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.7},
    "masked": {"attn_mask": MASK},
    "all masked": {"attn_mask": MASK & torch.tensor([[True]] * 4 + [[False]])},
    "added mask": {"attn_mask": torch.linspace(-2, 2, 30).reshape(5, 6)},
    "trained mask": {"attn_mask": torch.linspace(-2, 2, 30).reshape(5, 6).requires_grad_()},
    "groups": {"enable_gqa": True},
    "dropout": {"dropout_p": 0.3},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_the_kernel_and_the_second_derivative_that_of_the_formula(case, dtype):
    torch.manual_seed(0)
    options = {k: v.to(dtype) if k == "attn_mask" and v.is_floating_point() else v for k, v in CASES[case].items()}
    heads = 2 if case == "groups" else 4
    shapes = [(2, 4, 5, 8), (2, heads, 6, 8), (2, heads, 6, 8)]
    q, k, v = (torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes)
    native = first_order(lambda: FUSED(q, k, v, **options), (q, k, v))
    ours = second_order(lambda: attention(q, k, v, **options), (q, k, v))
    assert_same_bits(native[0], ours[0])
    assert_same_bits(native[1], ours[1])

    Q, K, V = (t.detach().double().requires_grad_() for t in (q, k, v))
    options = {k: v.double() if k == "attn_mask" and v.is_floating_point() else v for k, v in options.items()}
    with sdpa_kernel(SDPBackend.MATH):
        exact = second_order(lambda: FUSED(Q, K, V, **options), (Q, K, V))
    if case != "dropout" or dtype == torch.float64:  # masks are drawn in the dtype
        assert_close(ours[2], exact[2], 3e-6 if dtype == torch.float32 else 1e-13)


def test_one_tensor_as_query_key_and_value_and_only_one_that_is_trained():
    torch.manual_seed(0)
    x = torch.randn((2, 2, 4, 3), requires_grad=True)
    assert_same_bits(first_order(lambda: FUSED(x, x, x), (x,))[1], second_order(lambda: attention(x, x, x), (x,))[1])
    with sdpa_kernel(SDPBackend.MATH):
        exact = second_order(lambda: FUSED(x, x, x), (x,))
    assert_close(second_order(lambda: attention(x, x, x), (x,))[2], exact[2], 3e-6)
    y = x.detach()
    with sdpa_kernel(SDPBackend.MATH):
        exact = second_order(lambda: FUSED(y, x, y), (x,))
    assert_close(second_order(lambda: attention(y, x, y), (x,))[2], exact[2], 3e-6)


def test_a_mask_that_is_trained_in_a_fused_kernel(monkeypatch):
    torch.manual_seed(0)
    q, k, v = (torch.randn((2, 3, n, 4), dtype=torch.float64, requires_grad=True) for n in (5, 6, 6))
    mask = torch.randn((3, 1, 6), dtype=torch.float64, requires_grad=True)
    exact = second_order(lambda: FUSED(q, k, v, mask), (q, k, v, mask))
    monkeypatch.setattr(torch, "_fused_sdp_choice", lambda *tensors, **options: 1)  # as on a GPU
    found = second_order(lambda: attention(q, k, v, mask), (q, k, v, mask))
    assert type(found[0][0].grad_fn).__name__ == "_AttentionBackward"
    assert_close(found[1], exact[1], 1e-13)
    assert_close(found[2], exact[2], 1e-13)
    (g,) = torch.autograd.grad(attention(q, k, v, mask).square().sum(), q, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), mask)  # where the mask's own gradient was not asked for
    monkeypatch.undo()
    (g,) = torch.autograd.grad(FUSED(q, k, v, mask).square().sum(), q, create_graph=True)
    assert_close([h], torch.autograd.grad(g.sum(), mask), 1e-13)


def test_nothing_is_wrapped_where_no_gradient_is_asked_for_or_the_formula_is_used_already():
    x = torch.randn((2, 2, 4, 3), requires_grad=True)

    def name(*tensors, **options):
        return type(attention(*tensors, **options).grad_fn).__name__

    assert name(x, x, x) == "_AttentionBackward"
    assert name(x.detach(), x.detach(), x.detach()) == "NoneType"
    assert name(x, x, x, dropout_p=0.5) == name(x[0], x[0], x[0]) == "UnsafeViewBackward0"
    with torch.no_grad():
        assert name(x, x, x) == "NoneType"
    with sdpa_kernel(SDPBackend.MATH):
        assert name(x, x, x) == "UnsafeViewBackward0"


class Transformer(nn.Module):
    def __init__(self, dropout=0.1, **options):
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=dropout, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 11)

    def forward(self, tokens):
        return self.head(self.encoder(self.embed(tokens)))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_transformer_trains_by_the_same_bits_and_has_exact_second_derivatives(dropout, dtype):
    torch.manual_seed(0)
    model = Transformer(dropout).to(dtype)
    tokens = torch.randint(0, 11, (3, 7))
    weights = list(model.parameters())
    before = first_order(lambda: model(tokens), weights)
    handle = on_forward(model)
    ours = second_order(lambda: model(tokens), weights)
    handle.remove()
    assert_same_bits(before[0], ours[0])
    assert_same_bits(before[1], ours[1])
    with sdpa_kernel(SDPBackend.MATH):
        exact = second_order(lambda: model(tokens), weights)
    assert_close(ours[2], exact[2], 1e-4 if dtype == torch.float32 else 1e-12)
    assert F.scaled_dot_product_attention is FUSED


@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead_attention_with_and_without_its_weights(need_weights):
    torch.manual_seed(0)
    model = nn.MultiheadAttention(8, 2, batch_first=True).double()
    x = torch.randn((2, 5, 8), dtype=torch.float64)

    def call():
        return model(x, x, x, need_weights=need_weights)[0]

    weights = list(model.parameters())
    before = first_order(call, weights)
    handle = on_forward(model)
    ours = second_order(call, weights)
    handle.remove()
    assert_same_bits(before[1], ours[1])
    with sdpa_kernel(SDPBackend.MATH):
        assert_close(ours[2], second_order(call, weights)[2], 1e-12)


def test_hooks_cover_functions_imported_by_name_errors_and_models_in_models(monkeypatch):
    users = ModuleType("users")  # says: from torch.nn.functional import scaled_dot_product_attention as sdpa
    users.sdpa = FUSED
    monkeypatch.setitem(sys.modules, "users", users)

    class Own(nn.Module):
        def forward(self, x):
            assert F.scaled_dot_product_attention is users.sdpa is attention
            out = users.sdpa(x, x, x)
            if x.sum() > 0:
                raise ArithmeticError("of the user")
            return out

    monkeypatch.setattr(Own, "__module__", "users")
    inner, x = Own(), -torch.ones((1, 1, 2, 3), requires_grad=True)
    model = nn.Sequential(inner)
    handles = [on_forward(inner), on_forward(model), on_forward(model)]
    assert type(model(x).grad_fn).__name__ == "_AttentionBackward"
    with pytest.raises(ArithmeticError, match="of the user"):
        model(-x)
    assert F.scaled_dot_product_attention is users.sdpa is FUSED
    with torch.no_grad():
        copy.deepcopy(model)(x)
    assert F.scaled_dot_product_attention is FUSED
    for handle in handles:
        handle.remove()
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_namespaces_that_hold_the_function_are_given_it_back():
    space = {"sdpa": FUSED, "other": 1}
    with differentiable_attention(space), differentiable_attention(space):
        assert space == {"sdpa": attention, "other": 1}
    assert space == {"sdpa": FUSED, "other": 1}


def test_an_interrupt_in_the_forward_pass_leaves_nothing_behind_after_removal():
    class Interrupted(nn.Module):
        def forward(self, x):
            raise KeyboardInterrupt

    model = Interrupted()
    handle = on_forward(model)
    with pytest.raises(KeyboardInterrupt):
        model(1)
    handle.remove()
    assert F.scaled_dot_product_attention is FUSED


def test_a_hooked_model_can_be_saved_whole():
    model = nn.Sequential(nn.Linear(2, 2))
    on_forward(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    read = torch.load(file, weights_only=False)
    assert torch.equal(read(torch.ones(2)), model(torch.ones(2)))
    assert F.scaled_dot_product_attention is FUSED


def test_evaluation_keeps_its_fast_path():
    torch.manual_seed(0)
    model = Transformer().eval()
    tokens = torch.randint(0, 11, (3, 7))
    with torch.no_grad():
        before = model(tokens)
        on_forward(model)
        assert torch.equal(model(tokens), before)


def test_errors_of_the_graph_stay_and_its_memory_is_freed():
    x = torch.randn((1, 1, 4, 3), requires_grad=True)
    out = attention(x * 1, x, x)
    assert out.grad_fn.leaves is not None
    out.sum().backward()
    assert out.grad_fn.leaves is None
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        out.sum().backward()
    y = x * 1
    out = attention(y, x, x)
    with torch.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_derivatives_of_higher_order_follow_the_formula():
    torch.manual_seed(0)
    x, u, v = (torch.randn((1, 2, 4, 3), dtype=torch.float64) for _ in range(3))
    x.requires_grad_()

    def third():
        g = torch.autograd.grad((F.scaled_dot_product_attention(x, x, x) ** 2).sum(), x, create_graph=True)[0]
        torch.autograd.grad(g, x, u, retain_graph=True)  # whose formula has no graph
        h = torch.autograd.grad(g, x, u, create_graph=True)[0]
        return torch.autograd.grad(h, x, v)[0]

    with differentiable_attention():
        found = third()
    with sdpa_kernel(SDPBackend.MATH):
        exact = third()
    assert_close([found], [exact], 1e-12)


def test_checkpointing_recomputes_it():
    from torch.utils.checkpoint import checkpoint

    torch.manual_seed(0)
    w = torch.randn((3, 3), dtype=torch.float64, requires_grad=True)
    x = torch.randn((1, 1, 4, 3), dtype=torch.float64)

    def layer(x):
        return attention(x @ w, x @ w, x)

    plain = second_order(lambda: layer(x), (w,))
    kept = second_order(lambda: checkpoint(layer, x, use_reentrant=False), (w,))
    assert_same_bits(plain[1], kept[1])
    assert_close(kept[2], plain[2], 1e-14)


def test_checkpoints_inside_a_model_need_the_context_in_the_passes_back():
    from torch.utils.checkpoint import checkpoint

    class Model(nn.Module):
        def __init__(self, kept):
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.kept = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), kept

        def forward(self, x):
            return self.layer(x) if self.kept else checkpoint(self.layer, x, use_reentrant=False)

    x, found = torch.randn((3, 2, 8)), []
    for kept in (True, False):
        model = Model(kept)
        handle = on_forward(model)
        with handle.context():
            found.append(second_order(lambda: model(x), list(model.parameters())))  # noqa: B023
        handle.remove()
    assert_same_bits(found[0][1], found[1][1])
    assert_close(found[1][2], found[0][2], 1e-5)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_transforms_of_torch_func_are_passed_on():
    x = torch.randn((3, 1, 2, 4, 8), requires_grad=True)
    with differentiable_attention():
        mapped = torch.func.vmap(lambda x: F.scaled_dot_product_attention(x, x, x))(x)
        slope = torch.func.grad(lambda x: F.scaled_dot_product_attention(x, x, x).sum())(x[0].detach())
    for part, single in zip(mapped, x, strict=True):
        torch.testing.assert_close(part, FUSED(single, single, single))
    y = x[0].detach().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(FUSED(y, y, y).sum(), y)[0])


def test_autocast_trains_by_the_same_bits():
    torch.manual_seed(0)
    q, k, v = (torch.randn((2, 2, 5, 8), requires_grad=True) for _ in range(3))

    def under(function):
        with torch.autocast("cpu", torch.bfloat16):
            return function(q, k, v)

    native = first_order(lambda: under(FUSED), (q, k, v))
    ours = second_order(lambda: under(attention), (q, k, v))
    assert native[0][0].dtype == torch.bfloat16
    assert_same_bits(native[0], ours[0])
    assert_same_bits(native[1], ours[1])
    with sdpa_kernel(SDPBackend.MATH):
        exact = second_order(lambda: FUSED(q, k, v), (q, k, v))
    assert_close(ours[2], exact[2], 0.02)


def test_a_fused_kernel_that_keeps_its_dropout_mask_is_named(monkeypatch):
    monkeypatch.setattr(torch, "_fused_sdp_choice", lambda *tensors, **options: 1)  # as on a GPU
    x = torch.randn((1, 1, 4, 3), requires_grad=True)
    y = x.detach()
    torch.manual_seed(0)
    g = torch.autograd.grad((attention(x, y, y, dropout_p=0.5) ** 2).sum(), x, create_graph=True)[0]
    torch.manual_seed(0)
    assert torch.equal(g, torch.autograd.grad((FUSED(x, y, y, dropout_p=0.5) ** 2).sum(), x)[0])
    with pytest.raises(InvalidInputError, match="dropout must run as plain operations"):
        torch.autograd.grad(g.sum(), x)
