"""What PyTorch has of modules, losses and functions, each as a small case: (name, build, shapes of its inputs).

`build()` gives what is called on the inputs: random float64 tensors of the shapes, or the tensors that stand there.
"""

import torch
import torch.nn.functional as F
from torch import nn

SEQUENCE, SQUARE, CUBE, IMAGE, VOLUME = (3, 4), (4, 4), (2, 4, 6), (2, 4, 6, 6), (1, 2, 4, 4, 4)
CLASSES = torch.tensor([1, 0, 3])
SIGNS = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
TOKENS = torch.tensor([[0, 2, 2], [1, 4, 0]])
POSITIVE = torch.linspace(0.1, 0.9, 12, dtype=torch.float64).reshape(SEQUENCE)
PLAIN = (
    "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU ReLU ReLU6 RReLU SELU",
    "SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink Identity Flatten Dropout AlphaDropout",
)


def first(module):
    """Its output, or the first of them."""
    return lambda *inputs: module(*inputs)[0]


def loss_of(module):
    """The field `loss` of its output."""
    return lambda *inputs: module(*inputs).loss


def unpooled(pool, unpool):
    """Max-unpooling of what max-pooling took, x^2 at its places."""

    def call(x):
        y, places = pool(x)
        return unpool(y**2, places)

    return call


CASES = [(name, getattr(nn, name), [SEQUENCE]) for name in " ".join(PLAIN).split()]
CASES += [
    (f"{name}(1)", lambda name=name: getattr(nn, name)(dim=1), [SEQUENCE])
    for name in ("Softmax", "Softmin", "LogSoftmax")
]
CASES += [
    ("GLU", nn.GLU, [SEQUENCE]),
    ("Threshold", lambda: nn.Threshold(0.1, 2.0), [SEQUENCE]),
    ("Softmax2d", nn.Softmax2d, [IMAGE]),
    ("MultiheadAttention", lambda: first(nn.MultiheadAttention(4, 2)), [(2, 4, 4)] * 3),
    ("Linear", lambda: nn.Linear(4, 2), [SEQUENCE]),
    ("Bilinear", lambda: nn.Bilinear(4, 4, 2), [SEQUENCE] * 2),
    ("RNN", lambda: first(nn.RNN(6, 3, 2)), [CUBE]),
    ("LSTM", lambda: first(nn.LSTM(6, 3, 2, bidirectional=True)), [CUBE]),
    ("GRU", lambda: first(nn.GRU(6, 3)), [CUBE]),
    ("RNNCell", lambda: nn.RNNCell(4, 3), [SEQUENCE]),
    ("LSTMCell", lambda: first(nn.LSTMCell(4, 3)), [SEQUENCE]),
    ("GRUCell", lambda: nn.GRUCell(4, 3), [SEQUENCE]),
    ("Embedding", lambda: nn.Embedding(5, 3), [TOKENS]),
    ("Embedding(max_norm)", lambda: nn.Embedding(5, 3, max_norm=0.5), [TOKENS]),
    ("EmbeddingBag", lambda: nn.EmbeddingBag(5, 3), [TOKENS]),
    ("EmbeddingBag(max)", lambda: nn.EmbeddingBag(5, 3, mode="max"), [TOKENS]),
    ("Transformer", lambda: nn.Transformer(4, 2, 1, 1, 8), [(2, 4, 4)] * 2),
    ("TransformerEncoderLayer", lambda: nn.TransformerEncoderLayer(4, 2, 8), [(2, 4, 4)]),
    ("TransformerDecoderLayer", lambda: nn.TransformerDecoderLayer(4, 2, 8), [(2, 4, 4)] * 2),
    ("Bicubic", lambda: nn.Upsample(scale_factor=1.5, mode="bicubic"), [IMAGE]),
    ("Linear1d", lambda: nn.Upsample(scale_factor=1.5, mode="linear"), [CUBE]),
    ("Trilinear", lambda: nn.Upsample(scale_factor=1.5, mode="trilinear"), [VOLUME]),
    ("UpsamplingBilinear2d", lambda: nn.UpsamplingBilinear2d(scale_factor=2), [IMAGE]),
    ("UpsamplingNearest2d", lambda: nn.UpsamplingNearest2d(scale_factor=2), [IMAGE]),
    ("Fold", lambda: nn.Fold((3, 3), 2), [(1, 8, 4)]),
    ("Unfold", lambda: nn.Unfold(2), [IMAGE]),
    ("PixelShuffle", lambda: nn.PixelShuffle(2), [IMAGE]),
    ("PixelUnshuffle", lambda: nn.PixelUnshuffle(2), [IMAGE]),
    ("ChannelShuffle", lambda: nn.ChannelShuffle(2), [IMAGE]),
    ("Unflatten", lambda: nn.Unflatten(1, (2, 2)), [SEQUENCE]),
    ("CosineSimilarity", nn.CosineSimilarity, [SEQUENCE] * 2),
    ("PairwiseDistance", nn.PairwiseDistance, [SEQUENCE] * 2),
    ("CrossMapLRN2d", lambda: nn.CrossMapLRN2d(2), [IMAGE]),
    ("LocalResponseNorm", lambda: nn.LocalResponseNorm(2), [IMAGE]),
    ("LayerNorm", lambda: nn.LayerNorm(4), [SEQUENCE]),
    ("RMSNorm", lambda: nn.RMSNorm(4), [SEQUENCE]),
    ("GroupNorm", lambda: nn.GroupNorm(2, 4), [IMAGE]),
    ("MaxUnpool1d", lambda: unpooled(nn.MaxPool1d(2, return_indices=True), nn.MaxUnpool1d(2)), [CUBE]),
    ("MaxUnpool2d", lambda: unpooled(nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)), [IMAGE]),
    ("MaxUnpool3d", lambda: unpooled(nn.MaxPool3d(2, return_indices=True), nn.MaxUnpool3d(2)), [VOLUME]),
    ("FractionalMaxPool2d", lambda: nn.FractionalMaxPool2d(2, output_size=3), [IMAGE]),
    ("FractionalMaxPool3d", lambda: nn.FractionalMaxPool3d(2, output_size=2), [VOLUME]),
]  # fmt: skip
for d, shape in ((1, CUBE), (2, IMAGE), (3, VOLUME)):
    channels = shape[1]
    ways = {
        "AdaptiveAvgPool": (2,), "AdaptiveMaxPool": (2,), "AvgPool": (2,), "MaxPool": (2,),
        "BatchNorm": (channels,), "InstanceNorm": (channels,), "Conv": (channels, 3, 2), "LPPool": (2, 2),
        "ConvTranspose": (channels, 3, 2),
        "CircularPad": (1,), "ConstantPad": (1, 0.5), "ReflectionPad": (1,), "ReplicationPad": (1,), "ZeroPad": (1,),
        "Dropout": (),
    }  # fmt: skip
    CASES += [
        (f"{name}{d}d", lambda name=f"{name}{d}d", options=options: getattr(nn, name)(*options), [shape])
        for name, options in ways.items()
    ]
CASES += [
    ("FeatureAlphaDropout", nn.FeatureAlphaDropout, [VOLUME]),
    ("BatchNorm2d evaluated", lambda: nn.BatchNorm2d(4).eval(), [IMAGE]),
    ("LSTM with dropout", lambda: first(nn.LSTM(6, 3, 2, dropout=0.5)), [CUBE]),
    ("LSTM projected", lambda: first(nn.LSTM(6, 3, proj_size=2)), [CUBE]),
    ("weight_norm", lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), [SEQUENCE]),
    ("spectral_norm", lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)).eval(), [SEQUENCE]),
    ("orthogonal", lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)), [SEQUENCE]),
]

LOSSES = [
    ("L1Loss", nn.L1Loss, [SEQUENCE, POSITIVE]),
    ("MSELoss", nn.MSELoss, [SEQUENCE, POSITIVE]),
    ("HuberLoss", nn.HuberLoss, [SEQUENCE, POSITIVE]),
    ("SmoothL1Loss", nn.SmoothL1Loss, [SEQUENCE, POSITIVE]),
    ("CrossEntropyLoss", nn.CrossEntropyLoss, [SEQUENCE, CLASSES]),
    ("CrossEntropyLoss smoothed", lambda: nn.CrossEntropyLoss(label_smoothing=0.1), [SEQUENCE, CLASSES]),
    ("CrossEntropyLoss of shares", nn.CrossEntropyLoss, [SEQUENCE, POSITIVE]),
    ("NLLLoss", nn.NLLLoss, [SEQUENCE, CLASSES]),
    ("NLLLoss2d", nn.NLLLoss, [IMAGE, torch.randint(0, 4, (2, 6, 6), generator=torch.Generator().manual_seed(0))]),
    ("PoissonNLLLoss", nn.PoissonNLLLoss, [SEQUENCE, POSITIVE]),
    ("GaussianNLLLoss", lambda: lambda x, y: nn.GaussianNLLLoss()(x, POSITIVE, y.exp()), [SEQUENCE, SEQUENCE]),
    ("KLDivLoss", nn.KLDivLoss, [SEQUENCE, POSITIVE]),
    ("BCELoss", lambda: lambda x: nn.BCELoss()(x.sigmoid(), POSITIVE), [SEQUENCE]),
    ("BCEWithLogitsLoss", nn.BCEWithLogitsLoss, [SEQUENCE, POSITIVE]),
    ("SoftMarginLoss", nn.SoftMarginLoss, [SEQUENCE, POSITIVE.sign()]),
    ("MarginRankingLoss", lambda: lambda x, y: nn.MarginRankingLoss(5.0)(x, y, SIGNS), [(3,), (3,)]),
    ("HingeEmbeddingLoss", nn.HingeEmbeddingLoss, [SEQUENCE, SIGNS[:, None]]),
    ("CosineEmbeddingLoss", lambda: lambda x, y: nn.CosineEmbeddingLoss()(x, y, SIGNS), [SEQUENCE, SEQUENCE]),
    ("TripletMarginLoss", lambda: nn.TripletMarginLoss(5.0), [SEQUENCE] * 3),
    ("TripletMarginWithDistanceLoss", lambda: nn.TripletMarginWithDistanceLoss(margin=5.0), [SEQUENCE] * 3),
    ("MultiLabelSoftMarginLoss", nn.MultiLabelSoftMarginLoss, [SEQUENCE, POSITIVE.round()]),
    ("MultiLabelMarginLoss", nn.MultiLabelMarginLoss, [SEQUENCE, torch.tensor([[1, -1, 0, 0]] * 3)]),
    ("MultiMarginLoss", nn.MultiMarginLoss, [SEQUENCE, CLASSES]),
    ("AdaptiveLogSoftmaxWithLoss", lambda: loss_of(nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4])), [SEQUENCE, CLASSES]),
    (
        "CTCLoss",
        lambda: (
            lambda x: nn.CTCLoss()(
                x.log_softmax(-1), torch.tensor([[1, 2]] * 2), torch.tensor([5, 5]), torch.tensor([2, 2])
            )
        ),
        [(5, 2, 4)],
    ),
]

FUNCTIONS = {
    "cdist": lambda x: torch.cdist(x, x**2 + 1),
    "cdist p=1": lambda x: torch.cdist(x, x**2 + 1, p=1.0),
    "cdist p=3": lambda x: torch.cdist(x, x**2 + 1, p=3.0),
    "pdist": F.pdist,
    "embedding_bag": lambda x: F.embedding_bag(TOKENS % 4, x),
    "normalize": F.normalize,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gumbel_softmax": F.gumbel_softmax,
    "gumbel_softmax hard": lambda x: F.gumbel_softmax(x, hard=True),
    "grid_sample": lambda x: F.grid_sample(
        x.reshape(1, 1, 4, 4), 0.5 * x[:2].reshape(1, 2, 2, 2).tanh(), align_corners=False
    ),
    "grid_sample bicubic": lambda x: F.grid_sample(
        x.reshape(1, 1, 4, 4), 0.5 * x[:2].reshape(1, 2, 2, 2).tanh(), mode="bicubic", align_corners=False
    ),
    "grid_sample 3d": lambda x: F.grid_sample(
        x.reshape(1, 1, 4, 2, 2), 0.5 * x[:3].reshape(1, 1, 2, 2, 3).tanh(), align_corners=False
    ),
    "affine_grid": lambda x: F.affine_grid(x[:2, :3][None], (1, 1, 2, 2), align_corners=False),
    "interpolate area": lambda x: F.interpolate(x[None, None], size=(3, 3), mode="area"),
    "interpolate antialias": lambda x: F.interpolate(x[None, None], size=(3, 3), mode="bilinear", antialias=True),
    "interpolate nearest-exact": lambda x: F.interpolate(x[None, None], size=(3, 3), mode="nearest-exact"),
    "fft": lambda x: torch.fft.rfft2(x).abs(),
    "stft": lambda x: torch.stft(x.flatten(), 8, window=torch.ones(8, dtype=x.dtype), return_complex=True).abs(),
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "eigh": lambda x: torch.linalg.eigvalsh(x + x.T),
    "svd": torch.linalg.svdvals,
    "qr": lambda x: torch.linalg.qr(x)[1],
    "cholesky": lambda x: torch.linalg.cholesky(x @ x.T + torch.eye(4)),
    "inverse": torch.linalg.inv,
    "solve": lambda x: torch.linalg.solve(x, x[0] ** 2),
    "lstsq": lambda x: torch.linalg.lstsq(x[:, :2], x[:, 2:] ** 2).solution,
    "slogdet": lambda x: torch.linalg.slogdet(x)[1],
    "matrix_exp": torch.linalg.matrix_exp,
    "pinv": torch.linalg.pinv,
    "householder_product": lambda x: torch.linalg.householder_product(x, x[0]),
    "nuclear norm": lambda x: torch.linalg.matrix_norm(x, "nuc"),
    "logsumexp": lambda x: x.logsumexp(1),
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "cumprod": lambda x: x.cumprod(1),
    "cummax": lambda x: x.cummax(1).values ** 2,
    "prod": lambda x: x.prod(1),
    "amax": lambda x: x.amax(1),
    "median": lambda x: x.median(1).values,
    "quantile": lambda x: x.quantile(0.3, dim=1),
    "topk": lambda x: x.topk(2).values,
    "sort": lambda x: x.sort(1).values,
    "std": lambda x: x.std(1),
    "renorm": lambda x: x.renorm(2, 0, 0.5),
    "scatter_reduce prod": lambda x: x.scatter_reduce(1, torch.tensor([[0, 0, 1, 1]] * 4), x**2, "prod"),
    "scatter_reduce mean": lambda x: x.scatter_reduce(1, torch.tensor([[0, 0, 1, 1]] * 4), x**2, "mean"),
    "scatter_reduce amax": lambda x: x.scatter_reduce(1, torch.tensor([[0, 0, 1, 1]] * 4), x**2, "amax"),
    "index_reduce": lambda x: x.index_reduce(0, torch.tensor([0, 0, 1, 3]), x**2, "prod"),
    "segment_reduce": lambda x: torch.segment_reduce(x, "sum", lengths=torch.tensor([1, 3])),
    "bincount weights": lambda x: torch.zeros(3, dtype=x.dtype).index_add(0, torch.tensor([0, 0, 1, 2]), x[0]),
    "sparse product": lambda x: torch.sparse.mm(torch.eye(4, dtype=x.dtype).to_sparse(), x),
    "sparse from weights": lambda x: torch.sparse.mm(
        torch.sparse_coo_tensor(torch.tensor([[0, 1, 3], [1, 1, 2]]), x[0, :3], (4, 4)), x
    ),
    "igamma": lambda x: torch.special.gammainc(torch.ones_like(x), x.exp()),
    "lgamma": lambda x: torch.lgamma(x.exp()),
    "erfinv": lambda x: torch.erfinv(x.tanh()),
    "i0": torch.special.i0,
    "bessel_j0": torch.special.bessel_j0,
    "ndtri": lambda x: torch.special.ndtri(x.sigmoid()),
    "log_ndtr": torch.special.log_ndtr,
    "sinc": torch.sinc,
    "where": lambda x: torch.where(x > 0, x**2, x**3),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "atan2": lambda x: torch.atan2(x, x**2 + 1),
    "trapezoid": lambda x: torch.trapezoid(x, x**2),
    "gamma draw": lambda x: torch.distributions.Gamma(x.exp(), x.exp()).rsample(),
    "dirichlet draw": lambda x: torch.distributions.Dirichlet(x.exp()).rsample(),
    "beta draw": lambda x: torch.distributions.Beta(x.exp(), x.exp() + 1).rsample(),
    "normal draw": lambda x: torch.distributions.Normal(x, x.exp()).rsample(),
    "student draw": lambda x: torch.distributions.StudentT(x.exp() + 2).rsample(),
    "detached": lambda x: x * (x**2).detach(),
    "taken by .data": lambda x: x * (x**2).data,
    "under no_grad": torch.no_grad()(lambda x: x**2),
}
if "LinearCrossEntropyLoss" in vars(nn):  # since 2.13
    LOSSES += [("LinearCrossEntropyLoss", lambda: nn.LinearCrossEntropyLoss(4, 4), [SEQUENCE, CLASSES])]
CASES += LOSSES
CASES += [(name, lambda call=call: call, [SQUARE]) for name, call in FUNCTIONS.items()]


def second_derivative_error(build, shapes):
    """How far double backward is from differences of the gradient: (relative distance, size), in float64.

    Of S = <c, y + 0.3 y^2>, y the outputs, along a random direction of all inputs and weights.
    """
    torch.manual_seed(0)
    call = build()
    cells = [cell.cell_contents for cell in getattr(call, "__closure__", None) or ()]
    modules = [part.double() for part in (call, *cells) if isinstance(part, nn.Module)]
    weights = list(dict.fromkeys(p for module in modules for p in module.parameters()))
    inputs = [s if torch.is_tensor(s) else torch.randn(s, dtype=torch.float64) for s in shapes]
    moving = [i for i, s in enumerate(shapes) if not torch.is_tensor(s)]
    base = [weight.detach().clone() for weight in weights]
    draws = torch.Generator().manual_seed(4)
    D = [torch.randn(x.shape, generator=draws, dtype=x.dtype) for x in [inputs[i] for i in moving] + base]

    def gradient(t, graph=False):
        torch.manual_seed(1)
        given = list(inputs)
        for i, d in zip(moving, D, strict=False):
            given[i] = (inputs[i] + t * d).requires_grad_()
        with torch.no_grad():
            for weight, start, d in zip(weights, base, D[len(moving) :], strict=True):
                weight.copy_(start + t * d)
        y = call(*given)
        c = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
        live = [given[i] for i in moving] + weights
        return live, torch.autograd.grad((c * (y + 0.3 * y**2)).sum(), live, create_graph=graph, allow_unused=True)

    def flat(tensors):
        return torch.cat(
            [(torch.zeros_like(d) if t is None else t.detach()).flatten() for t, d in zip(tensors, D, strict=True)]
        )

    live, slopes = gradient(0.0, graph=True)
    pairs = [(g, d) for g, d in zip(slopes, D, strict=True) if g is not None and g.requires_grad]
    found = flat(torch.autograd.grad([g for g, _ in pairs], live, [d for _, d in pairs], allow_unused=True))
    exact = (flat(gradient(1e-6)[1]) - flat(gradient(-1e-6)[1])) / 2e-6
    size = float(max(exact.norm(), found.norm()))
    return float((found - exact).norm()) / max(size, 1e-30), size


def hessian_product(build, shapes, dtype):
    """H v of the same S by double backward, computed in a dtype: a vector in float64."""
    torch.manual_seed(0)
    call = build()
    cells = [cell.cell_contents for cell in getattr(call, "__closure__", None) or ()]
    modules = [part.to(dtype) for part in (call, *cells) if isinstance(part, nn.Module)]
    draws = torch.Generator().manual_seed(5)

    def drawn(shape):
        return torch.randn(shape, dtype=torch.float64, generator=draws).to(dtype)

    inputs = [
        (s.to(dtype) if s.is_floating_point() else s) if torch.is_tensor(s) else drawn(s).requires_grad_()
        for s in shapes
    ]
    live = [x for x, s in zip(inputs, shapes, strict=True) if not torch.is_tensor(s)]
    live += dict.fromkeys(p for module in modules for p in module.parameters())
    torch.manual_seed(1)
    y = call(*inputs)
    slopes = torch.autograd.grad((drawn(y.shape) * (y + 0.3 * y**2)).sum(), live, create_graph=True, allow_unused=True)
    pairs = [
        (g, v) for g, v in zip(slopes, [drawn(x.shape) for x in live], strict=True) if g is not None and g.requires_grad
    ]
    found = torch.autograd.grad([g for g, _ in pairs], live, [v for _, v in pairs], allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(x) if h is None else h).flatten().double() for h, x in zip(found, live, strict=True)]
    )
