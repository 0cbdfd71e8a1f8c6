"""What stands in the way of exact tangents of a training says so: the operator, the modules that use it, what to do.

Tangents of a training need its gradient differentiated once more, and the optimiser's step differentiated. `check`
refuses at the door what is known not to have these, `check_loss` a loss that cannot, and `explain` turns PyTorch's
error into one that names the modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn

from dynsys.errors import InvalidInputError
from dynsys.training.second_derivatives.operators import OPERATORS, Operator, named, operator_of, users_of

Tensor = torch.Tensor


OPTIMIZERS = {  # of torch.optim, by name since some came late: why the step has no derivative to follow
    "Rprop": "its step depends on the sign of the gradient alone",
    "LBFGS": "its step is a search along a line, with decisions on the way",
    "Muon": "its step is rounded to bfloat16 on the way",
    "SparseAdam": "it takes sparse gradients only",
    "Adafactor": "it turns norms into plain numbers, whose derivative is lost",
}


def check(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Refuse a model or an optimiser that is known not to have exact tangents of its training.

    Returns
    -------
    dict
        The weights that are trained, by name, in the order of the optimiser. Weights of the model that the optimiser
        does not have are constants; those it has from elsewhere (of the loss, say) are trained, too, named by place.

    Raises
    ------
    InvalidInputError
        It names the module by its path in `model.named_modules()`.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInputError(f"model must be a torch.nn.Module, got {model!r:.100}")
    for path, module in model.named_modules():
        _check_kind(path, module)
    _check_optimizer(optimizer)
    trained = _trained(model, optimizer)
    for name, weight in trained.items():
        _check_weight(name, weight)
    kinds = {(str(w.dtype), str(w.device)) for w in trained.values()}
    if len(kinds) > 1:
        raise InvalidInputError(
            f"trained weights must be of one dtype and on one device, got "
            f"{', '.join(map(' on '.join, sorted(kinds)))}: convert the model by .to(...) before the optimizer is made"
        )
    ids = {id(weight) for weight in trained.values()}
    whole = {id(weight) for weight in model.parameters()} <= ids  # else it may be in a part that is frozen
    for path, module in model.named_modules():
        own = bool({id(weight) for weight in module.parameters()} & ids)
        if own:
            _check_settings(path, module)
        for operator in OPERATORS:
            without = isinstance(module, operator.modules) and _is_at_the_door(operator)
            if without and (own if operator.trained else whole):
                raise InvalidInputError(
                    f"modules must have a second derivative, got {named(path, module)}, which has none in PyTorch: "
                    f"{operator.remedy}"
                )
    return trained


def _is_at_the_door(operator: Operator) -> bool:
    """Whether its modules cannot work at all; the others depend on how they are called."""
    return operator.word not in ("cudnn_rnn", "scaled_dot_product")


WRAPPERS = {  # by name: to import them would load compilers and process groups
    "OptimizedModule": "watch the module inside, model._orig_mod, and train that",
    "DataParallel": "watch model.module, and train that, on one device",
    "DistributedDataParallel": "watch model.module, and train that, on one device",
    "FullyShardedDataParallel": "watch the model before it is wrapped, on one device",
    "FSDPModule": "watch the model before it is sharded, on one device",
}


def _check_kind(path: str, module: nn.Module) -> None:
    """Refuse wrappers, compiled and quantised modules."""
    found = next((base.__name__ for base in type(module).__mro__ if base.__name__ in WRAPPERS), None)
    if found:
        raise InvalidInputError(f"model must be a plain module, got {named(path, module)}: {WRAPPERS[found]}")
    if module._compiled_call_impl is not None:
        raise InvalidInputError(
            f"model must not be compiled, which leaves one derivative, got {named(path, module)} after its compile(): "
            "leave that call out"
        )
    if ".quantized" in type(module).__module__ or ".qat" in type(module).__module__:
        raise InvalidInputError(
            f"model must compute in floating point, got {named(path, module)}, a quantised module: watch the training "
            "before quantisation"
        )


def _check_settings(path: str, module: nn.Module) -> None:
    """Refuse settings of modules with trained weights that drop or change derivatives."""
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        if module.sparse:
            raise InvalidInputError(
                f"gradients must be dense, got {named(path, module)} with sparse=True: set sparse=False"
            )
        if module.max_norm is not None:
            raise InvalidInputError(
                f"weights must change in the optimiser alone, got {named(path, module)} with max_norm, which shortens "
                "them in the forward pass: leave max_norm out, and use weight decay"
            )
    hooks: Any = module._forward_pre_hooks.values()
    normed = [(h.dim, getattr(module, f"{h.name}_v").ndim) for h in hooks if type(h).__name__ == "WeightNorm"]
    if isinstance(module, nn.utils.parametrize.ParametrizationList):
        parts: Any = [part for part in module if type(part).__name__ == "_WeightNorm"]
        normed = [(part.dim, module.original1.ndim) for part in parts]
        path = path.partition(".parametrizations.")[0]
    if any(dim in (0, axes - 1) for dim, axes in normed):  # along others PyTorch takes plain operations
        raise InvalidInputError(
            f"modules must have a right second derivative, got {named(path, module)} with weight_norm, whose second "
            "derivative in PyTorch lacks that of the norm: register v * (g / v.norm(dim=..., keepdim=True)) as a "
            "parametrization of your own (torch.nn.utils.parametrize)"
        )


def _check_optimizer(optimizer: Any) -> None:
    """Refuse what is no optimiser of PyTorch, and those whose step has no derivative."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidInputError(
            f"optimizer must be a torch.optim.Optimizer, got {optimizer!r:.100}: of a wrapper give the one inside"
        )
    inside = next((name for name, held in vars(optimizer).items() if isinstance(held, torch.optim.Optimizer)), None)
    if inside is not None:
        raise InvalidInputError(
            f"optimizer must be the one that takes the steps, got {type(optimizer).__name__}, which wraps it: give the "
            f"one inside, optimizer.{inside} (with Lightning self.optimizers(use_pl_optimizer=False))"
        )
    for base in type(optimizer).__mro__:
        if base.__name__ in OPTIMIZERS and base.__module__.startswith("torch.optim"):
            raise InvalidInputError(
                f"the optimizer's step must have a derivative, got {base.__name__}: {OPTIMIZERS[base.__name__]}; take "
                "SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, NAdam, RAdam, Adamax or ASGD"
            )


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The weights of the optimiser that ask for a gradient, by name."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    listed = {
        names.get(id(weight), f"optimizer.param_groups[{i}]['params'][{j}]"): weight
        for i, group in enumerate(optimizer.param_groups)
        for j, weight in enumerate(group["params"])
    }
    trained = {name: weight for name, weight in listed.items() if weight.requires_grad}
    if not trained:
        raise InvalidInputError(
            f"the optimizer must have weights to train, got {len(listed)}, none of which requires a gradient: "
            "set requires_grad, before the monitor is made"
        )
    if not any(id(weight) in names for weight in trained.values()):
        raise InvalidInputError(
            "the optimizer must train weights of the model, got none of them: was it made for another copy, or before "
            "the model was converted?"
        )
    return trained


def _check_weight(name: str, weight: Tensor) -> None:
    """Refuse a weight that is not dense and real, of single or double precision."""
    if nn.parameter.is_lazy(weight):
        raise InvalidInputError(f"weights must have a shape, got '{name}', which is lazy: call the model once before")
    if weight.dtype not in (torch.float32, torch.float64):
        remedy = "keep real and imaginary part as two real ones"
        if not weight.is_complex():
            remedy = "keep weights in float32 (model.float()), and compute in lower precision under torch.autocast"
        raise InvalidInputError(f"weights must be float32 or float64, got '{name}' in {weight.dtype}: {remedy}")
    if weight.layout != torch.strided or weight.device.type == "meta":
        raise InvalidInputError(f"weights must be dense numbers, got '{name}' ({weight.layout}, {weight.device})")
    if type(weight) not in (Tensor, nn.Parameter):
        raise InvalidInputError(
            f"weights must be plain tensors, got '{name}', a {type(weight).__name__}: watch the model before it is "
            "sharded or quantised"
        )


def check_loss(loss: Any) -> None:
    """Refuse a loss that is no scalar with a gradient, or whose gradient `torch.autograd.grad` would not find."""
    if not isinstance(loss, Tensor):
        raise InvalidInputError(f"loss must be a tensor, got {_not_a_loss(loss)}")
    if loss.numel() != 1 or not loss.is_floating_point():
        raise InvalidInputError(
            f"loss must be one real number, got shape {tuple(loss.shape)} in {loss.dtype}: take its mean or sum"
        )
    if loss.grad_fn is None:
        raise InvalidInputError(
            "loss must depend on the weights, got one without a graph: it was computed under torch.no_grad, or from "
            "detached or integer tensors (.detach(), .data, .argmax(), .numpy()), or all weights are frozen"
        )
    for node in graph(loss):
        function = getattr(type(node), "_forward_cls", None)  # of a function that is written in Python
        if function is torch.utils.checkpoint.CheckpointFunction:
            raise InvalidInputError(
                "checkpoints must be of the kind that can be differentiated, got a reentrant one: call "
                "torch.utils.checkpoint.checkpoint with use_reentrant=False"
            )
        if function is not None and _once(function):
            raise InvalidInputError(
                f"functions must have a second derivative, got {function.__name__}, marked once_differentiable, whose "
                "derivative PyTorch drops in silence: write its backward in differentiable operations, unmarked"
            )


def _not_a_loss(loss: Any) -> str:
    """What came in the place of a loss, and what to do: models of some libraries return it among other things."""
    if isinstance(getattr(loss, "loss", None), Tensor):
        return f"a {type(loss).__name__} that has one: give its .loss"
    if isinstance(loss, dict) and isinstance(loss.get("loss"), Tensor):
        return "a dict that has one: give its ['loss']"
    if isinstance(loss, float):
        return f"{loss!r}: leave out .item() or float()"
    return f"a {type(loss).__name__}: give the loss alone"


def _once(function: Any) -> bool:
    """Whether the backward of a function bears the decorator `once_differentiable`."""
    return bool(inspect.unwrap(function.backward) is not function.backward) and (
        function.backward.__code__ is torch.autograd.function.once_differentiable(_once).__code__
    )


def graph(loss: Tensor) -> Iterator[Any]:
    """The nodes of the graph behind a loss, each once."""
    waiting, seen = [loss.grad_fn], {loss.grad_fn}
    while waiting:
        node: Any = waiting.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)


CAUSES = {  # a part of PyTorch's text: what came, and what to do
    "backward through the graph a second time": (
        "a loss whose graph is freed: it was back-propagated before; leave loss.backward() out, and compute the loss "
        "anew for each step; losses that share a part of their graph are to be added up, monitor.backward(a + b)"
    ),
    "modified by an inplace operation": (
        "tensors that were changed between forward and backward pass: do not step the optimizer or change weights in "
        "between, and replace operations in place (names that end in _, +=, inplace=True) by plain ones"
    ),
    "does not currently support double backward": "a compiled function: call it without torch.compile",
    "Checkpointing is not compatible with": "a reentrant checkpoint: call it with use_reentrant=False",
    "does not require grad": (
        "a loss without a graph: it was computed under torch.no_grad, or from detached or integer tensors"
    ),
}


def explain(error: BaseException, model: nn.Module, loss: Any = None) -> Exception:
    """The error to raise in place of one that PyTorch raised in a double backward; names operator, modules and remedy.

    Raise it `from` the error given. Errors that need no words (out of memory, those of dynsys) come back as they are.
    """
    text = str(error)
    if not isinstance(error, RuntimeError) or isinstance(error, torch.OutOfMemoryError):
        return error if isinstance(error, Exception) else RuntimeError(text)
    for operator in OPERATORS:
        if operator.word in text:
            users = ", ".join(users_of(model, operator))
            return InvalidInputError(
                f"operators must have a second derivative, got '{operator_of(text)}', which has none in PyTorch"
                f"{users and f', used by {users}'}: {operator.remedy}"
            )
    for part, cause in CAUSES.items():
        if part in text:
            return InvalidInputError(f"the loss must have a second derivative, got {cause}")
    if "not implemented" in text and "derivative" in text:
        return InvalidInputError(
            f"operators must have a second derivative, got '{operator_of(text)}', which has none in PyTorch: write it "
            "in operations that have one"
        )
    return InvalidInputError(f"the loss must have a second derivative, got PyTorch's error: {text:.500}")
