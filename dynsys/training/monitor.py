"""A monitor for the user's own training loop: Lyapunov exponents of the training, step by step, beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
import torch

from dynsys.errors import InvalidInputError, one_of, positive, warn_of, whole_number, whole_seed
from dynsys.results.result import MEMORY_LIMIT
from dynsys.results.spectrum import LyapunovSpectrum
from dynsys.training import checkpoint
from dynsys.training.clipping import clip
from dynsys.training.dropped import TOLERANCE, warn_of_dropped
from dynsys.training.layout import remembers_more, state_vector, trainable
from dynsys.training.obstacles import check, check_loss, explain
from dynsys.training.record import Record
from dynsys.training.slopes import TrainingGradient, accumulate
from dynsys.training.vectors import TangentVectors
from dynsys.training.watch import Watch

if TYPE_CHECKING:
    import xarray

Tensor = torch.Tensor
Array = np.ndarray

HERE = Path(__file__).parent
CHECKED_STEPS = 3  # in which the optimiser is compared with the copy that is differentiated
LARGEST_ASYMMETRY = 0.05  # rounding of bfloat16 gives 0.01


class TrainingMonitor:
    """Lyapunov exponents of a training with PyTorch, followed in the loop that trains.

    A step of the training is a map of the trainable weights theta and of the memory of the optimiser (momentum, second
    moments). The monitor pushes k tangent vectors with the exact derivative of that map, on the batch, under the
    dropout mask and with the rate of the step: the gradient's by double backward, H v = grad(g . v), that of clipping,
    and that of the optimiser. At the end of each interval it makes them orthonormal, V = Q R, and

        lambda_i = 1/T sum log R_ii      per step.

    The training itself does not change by a bit.

    Parameters
    ----------
    model : torch.nn.Module
    optimizer : torch.optim.Optimizer
        SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, NAdam, RAdam, Adamax, ASGD in all variants; others if they are
        differentiable, slower. Learning rates, and whatever else a schedule changes, are read in every step.
    k : int
        Number of tangent vectors. Each takes about the time of a training step, and the memory of weights and buffers.
    seed : int
        Of the first vectors. They are random: the first tens of steps also show how these turn into the growing ones.
    steps_per_interval : int
        Steps from one factorisation to the next.
    clip_norm, clip_value : float, optional
        Gradients are clipped as by `torch.nn.utils.clip_grad_norm_`, then as by `clip_grad_value_`.
    perturbed : "weights" or "state"
        Where the first vectors lie: among the weights, as two trainings that start from other weights differ, whose
        optimisers remember nothing yet, and as those of batch mode (if k is larger, the others lie in all of the
        state); or all of them in all of the state. The second moments of Adam are so small that a unit vector along
        them makes weights differ by orders of magnitude more within steps: a growth that says nothing of the training,
        and is in the mean of all that follows.

    Raises
    ------
    InvalidInputError
        If the model or the optimiser cannot be followed, with what is in the way.

    Notes
    -----
    Statistics that a network only records (of BatchNorm) are no part of the state. SGD's momentum counts in units of
    the learning rate at the start, v = -lr buffer. Where the tangent cannot be followed any further, the monitor says
    so once, keeps what it has, and the training goes on.

    `torch.autocast` in bfloat16 needs nothing; a GradScaler, for float16, cannot be used, as the optimiser would see
    scaled gradients.

    References
    ----------
    G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, Meccanica 15, 9 (1980); B. A. Pearlmutter, Neural Comput. 6,
    147 (1994).

    Examples
    --------
    >>> model = torch.nn.Linear(1, 1, bias=False).double()
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> monitor = TrainingMonitor(model, optimizer, k=1)
    >>> for step in range(50):
    ...     loss = 0.5 * model(torch.ones(1, 1, dtype=torch.float64)).square().sum()
    ...     loss = monitor.step(loss)  # for zero_grad, backward, clipping and optimizer.step
    >>> monitor.spectrum().exponents.round(6), round(np.log(1 - 0.1), 6)
    (array([-0.105361]), np.float64(-0.105361))
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        k: int = 5,
        seed: int = 0,
        steps_per_interval: int = 10,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        perturbed: Literal["weights", "state"] = "weights",
    ) -> None:
        self._names = {id(weight): name for name, weight in check(model, optimizer).items()}
        self.model, self.optimizer = model, optimizer
        self.seed = whole_seed(seed)
        self.steps_per_interval = whole_number("steps_per_interval", steps_per_interval, 1)
        self.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else positive("clip_value", clip_value)
        self.perturbed = one_of("perturbed", perturbed, "weights", "state")
        self._vectors: TangentVectors | None = TangentVectors(optimizer, k, self.seed, self.perturbed)
        self._pieces, self._weights = self._vectors.pieces, self._vectors.weights
        self.k, self.dimension = self._vectors.rows.shape
        self._gradient = TrainingGradient()
        self._record = Record()
        self._losses: list[Tensor] = []  # of the step under way
        self._loss = self._weights[0].new_tensor(float("nan"))
        self._versions: list[tuple[int, int]] = []
        self._defect = 0.0
        self.steps = 0
        self.stopped = ""
        self._watch = Watch(model, self._weights, self.seed)
        self._watch.before_step(0)

    # the loop

    def step(self, loss: Tensor | Callable[[], Tensor] | None = None) -> Tensor:
        """Train one step: zero_grad, backward, clipping, optimizer.step, and the same of the tangent vectors.

        Parameters
        ----------
        loss : Tensor, shape (), or callable without arguments
            The loss of this step with its graph, or what computes it. None after `backward`.

        Returns
        -------
        Tensor, shape ()
            The loss without its graph; of several `backward` their sum.
        """
        if loss is not None:
            if self._losses:
                raise InvalidInputError(
                    f"step must get no loss after backward, got one after {len(self._losses)}: give it to backward, "
                    "then call step()"
                )
            if callable(loss):
                with torch.enable_grad():
                    loss = loss()
            self.backward(loss)
        if not self._losses:
            raise InvalidInputError("step needs a loss, or what backward was given before it, got neither")
        self._update()
        self._loss = torch.stack(self._losses).sum() if len(self._losses) > 1 else self._losses[0]
        self._losses = []
        return self._loss

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of the loss of a micro-batch to that of the others; the first one begins anew.

        Parameters
        ----------
        loss : Tensor, shape ()
            Scaled as the sum is to be: divide a mean by the number of micro-batches.
        """
        self._check_loss(loss)
        if not self._losses:
            self._begin_step()
        if self._vectors is None:
            loss.backward()
        else:
            self._look_for_dropped()
            self._differentiate(loss, self._vectors)
        self._losses.append(loss.detach())

    def _check_loss(self, loss: Tensor) -> None:
        try:
            check_loss(loss)
        except InvalidInputError as problem:
            if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.grad_fn is None:
                raise  # nothing to train with
            if self._vectors is not None:
                self._give_up(problem)

    def _begin_step(self) -> None:
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = None
        if self._vectors is None:
            return
        hooked = next((weight for weight in self._weights if _hooked(weight)), None)
        if hooked is not None:
            self._give_up(
                InvalidInputError(
                    f"weights must have no hooks on gradients, got one on {self._names[id(hooked)]}, whose derivative "
                    "is not known: remove it; clipping is done by clip_norm and clip_value"
                )
            )
            return
        now = [weight for group in trainable(self.optimizer) for weight in group]
        if len(now) != len(self._weights) or any(a is not b for a, b in zip(now, self._weights, strict=True)):
            self._stop("other weights are trained than at the start: begin a new TrainingMonitor when weights are "
                       "frozen, thawed or added")  # fmt: skip
        elif remembers_more(self.optimizer, self._pieces):
            self._stop("the optimizer remembers more than at the start, as with a momentum that was 0: begin a new "
                       "TrainingMonitor")  # fmt: skip
        elif self._versions and self._versions != _versions(self._weights):
            self._versions = []
            warn_of(
                [(True, "weights were changed by something else than monitor.step, whose derivative is not in the "
                        "exponents: let all steps go through the monitor (weights that were put back as they were, "
                        "for an evaluation, do no harm)")],
                stacklevel=_up_to_the_loop(),
            )  # fmt: skip

    def _differentiate(self, loss: Tensor, vectors: TangentVectors) -> None:
        """The gradient of a loss, and the derivative of the gradient along the vectors."""
        plain = None
        try:
            with self._watch.context():
                plain, slopes = self._gradient(loss, self._weights)
                vectors.differentiate(slopes, add=bool(self._losses))
        except (RuntimeError, InvalidInputError) as problem:
            self._give_up(explain(problem, self.model, loss), problem)
        if plain is None:
            loss.backward()
            return
        accumulate(plain, self._weights)
        if self._vectors is vectors and self.steps % self.steps_per_interval == 0 and not self._losses:
            self._check_symmetry(vectors.asymmetry())

    def _update(self) -> None:
        vectors, order, limits = self._vectors, self._in_model_order(), (self.clip_norm, self.clip_value)
        if vectors is None:
            clip(self._weights, order, None, *limits)
            self.optimizer.step()
        else:
            vectors.step(order, *limits, check=self.steps < CHECKED_STEPS)
        self.steps += 1
        self._watch.before_step(self.steps)
        self._versions = _versions(self._weights)
        if vectors is not None and self.steps % self.steps_per_interval == 0:
            self._finish_interval(vectors)

    def _finish_interval(self, vectors: TangentVectors) -> None:
        growth = vectors.orthonormalise()
        if growth is not None:
            self._record.append(growth / self.steps_per_interval, self.steps)
        elif not bool(torch.isfinite(vectors.rows).all()):
            self._stop("tangent vectors became infinite or NaN, as where a training diverges")
        else:
            self._stop("tangent vectors became parallel, where more are followed than directions survive: lower k")

    def _in_model_order(self) -> list[Tensor]:
        """Trained weights as `model.parameters()` has them, as norms of the gradient are summed; then others."""
        weights = {id(w): w for group in self.optimizer.param_groups for w in group["params"]}
        first = [w for w in self.model.parameters() if weights.pop(id(w), None) is not None]
        return [*first, *weights.values()]

    def _check_symmetry(self, asymmetry: float) -> None:
        """Second derivatives of a loss are symmetric; a gradient that is not one of a loss has others."""
        if asymmetry > LARGEST_ASYMMETRY >= self._defect:
            warn_of(
                [(True, f"the gradient is not that of a loss (v.Hw and w.Hv differ by {asymmetry:.2g} of their size), "
                        "as with a backward of one's own: the exponents are not those of the training")],
                stacklevel=_up_to_the_loop(),
            )  # fmt: skip
        self._defect = max(self._defect, asymmetry)

    def _look_for_dropped(self) -> None:
        found = self._watch.dropped()
        if found is None or np.isnan(found[0]):
            return
        if self._defect <= LARGEST_ASYMMETRY:
            warn_of_dropped(*found, stacklevel=_up_to_the_loop())
        if found[0] > TOLERANCE:
            self._defect = max(self._defect, found[0], 2 * LARGEST_ASYMMETRY)

    def _give_up(self, error: Exception, cause: BaseException | None = None) -> None:
        """Raise an error in the first step; later the training is not to suffer."""
        if self.steps == 0:
            raise error from cause
        self._stop(str(error))

    def _stop(self, why: str) -> None:
        """Follow the tangent no further; the training goes on."""
        self.stopped = why
        self._vectors = None
        self._watch.remove()
        warn_of(
            [(True, f"{why}; the training goes on without its tangent from step {self.steps} on, and the exponents of "
                    f"{len(self._record)} finished intervals are kept")],
            stacklevel=_up_to_the_loop(),
        )  # fmt: skip

    def close(self) -> None:
        """Take off the model what the monitor has put on it; what was found can still be asked for."""
        if self._vectors is not None:
            self._vectors, self.stopped = None, "the monitor was closed"
        self._watch.remove()

    # what it found

    def spectrum(self) -> LyapunovSpectrum:
        """The exponents so far, of all finished intervals, per step, in frame order.

        Raises
        ------
        InvalidInputError
            Before the first interval is finished.

        Notes
        -----
        A training is a transient: `finite_time_exponents(window)` says when what grows; the standard error is that of
        fluctuations, not of the choice of weights or batches (follow several seeds for those). `end.x` has weights and
        buffers, in the order of the tangent vectors.
        """
        if not len(self._record):
            raise InvalidInputError(
                f"a spectrum needs a finished interval, got {self.steps} steps with steps_per_interval="
                f"{self.steps_per_interval}" + (f"; {self.stopped}" if self.stopped else ": train on, or shorten it")
            )
        return self._record.spectrum(
            steps=self.steps,
            steps_per_interval=self.steps_per_interval,
            state=state_vector(self.optimizer, self._pieces).numpy(),
            defect=self._defect,
            doubtful=self._defect > LARGEST_ASYMMETRY,
        )

    @property
    def last(self) -> dict[str, float]:
        """Numbers for a logger: step, loss, the exponents of the last interval, and their means so far, per step.

        Examples
        --------
        >>> model = torch.nn.Linear(2, 1)
        >>> monitor = TrainingMonitor(model, torch.optim.Adam(model.parameters()), k=1, steps_per_interval=2)
        >>> for step in range(2):
        ...     loss = monitor.step(model(torch.ones(3, 2)).square().mean())
        >>> list(monitor.last)
        ['step', 'loss', 'lambda_1', 'mean_lambda_1']
        """
        found = {"step": float(self.steps), "loss": float(self._loss)}
        if len(self._record):
            found |= {f"lambda_{i}": float(rate) for i, rate in enumerate(self._record.last, start=1)}
            found |= {f"mean_lambda_{i}": float(mean) for i, mean in enumerate(self._record.mean, start=1)}
        return found

    def to_xarray(self) -> xarray.Dataset:
        """The spectrum as a labelled dataset."""
        return self.spectrum().to_xarray()

    # files

    def save(self, path: str | Path) -> Path:
        """Write the monitor to a file (.npz), beside the state of model and optimizer that you keep; see `load`.

        It takes the place of an earlier file at once: a process that is killed leaves the old one or the new one.
        """
        if self._losses:
            raise InvalidInputError("save must come after step, got backward before it: the gradient is half done")
        header = {
            "options": {
                "k": self.k,
                "seed": self.seed,
                "steps_per_interval": self.steps_per_interval,
                "clip_norm": self.clip_norm,
                "clip_value": self.clip_value,
                "perturbed": self.perturbed,
            },
            "training": self._description(),
            "units": [list(piece.units) for piece in self._pieces],
            "weights": self._checksum(),
            "steps": self.steps,
            "stopped": self.stopped,
            "defect": self._defect,
            "loss": float(self._loss),
            "gradient": self._gradient.seen(),
        }
        arrays = {"rates": self._record.rates.reshape(-1, self.k), "times": self._record.times}
        if self._vectors is not None:
            arrays["rows"] = self._vectors.rows.cpu().numpy()
            header["curvature"] = self._vectors.curvature
        return checkpoint.write(path, header, arrays)

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        memory_limit: float = MEMORY_LIMIT,
    ) -> TrainingMonitor:
        """A monitor that goes on where `save` left it: the same bits as without the interruption.

        Parameters
        ----------
        path : str or Path
        model, optimizer
            As at the save: load their own state (`load_state_dict`) first, and set random numbers and data as they
            were.
        memory_limit : float
            Bytes that the file may hold.

        Raises
        ------
        InvalidInputError
            If the file is damaged or of another training, or model or optimizer are not as they were.
        """
        header, arrays = checkpoint.read(path, memory_limit)
        found = cls(model, optimizer, **header["options"])
        try:
            found._restore(path, header, arrays)
        except BaseException:
            found.close()
            raise
        return found

    def _restore(self, path: str | Path, header: dict[str, Any], arrays: dict[str, Array]) -> None:
        for (what, here), there in zip(self._description().items(), header["training"].values(), strict=True):
            checkpoint.agree(path, what, there, here, "load it with the model and the optimizer of that training")
        checkpoint.agree(
            path, "weights and optimizer state of checksum", header["weights"], self._checksum(),
            "load the state_dict of model and optimizer that were saved together with it, before the monitor",
        )  # fmt: skip
        self._pieces[:] = [
            attrs.evolve(piece, units=tuple(units)) for piece, units in zip(self._pieces, header["units"], strict=True)
        ]
        self._record = Record(arrays["rates"], arrays["times"])
        self.steps, self.stopped, self._defect = header["steps"], header["stopped"], header["defect"]
        self._loss = self._weights[0].new_tensor(header["loss"])
        self._gradient = TrainingGradient(**header["gradient"])
        if self._vectors is not None and not self.stopped:
            self._vectors.rows.copy_(torch.from_numpy(arrays["rows"]))
            self._vectors.curvature = header["curvature"]
            self._watch.before_step(self.steps)
        else:
            self._vectors = None
            self._watch.remove()

    def _description(self) -> dict[str, Any]:
        """What has to be the same for the tangent vectors to mean the same."""
        return {
            "an optimizer": type(self.optimizer).__name__,
            "weights": [[self._names[id(w)], list(w.shape), str(w.dtype)] for w in self._weights],
            "optimizer state": [list(piece.buffers) for piece in self._pieces],
        }

    def _checksum(self) -> int:
        memory = [
            self.optimizer.state.get(weight, {}).get(name)
            for piece in self._pieces
            for name in piece.buffers
            for weight in piece.weights
        ]
        return checkpoint.checksum([*self._weights, *(value for value in memory if value is not None)])


def _up_to_the_loop() -> int:
    """How far above the function that calls this the user's loop is, as `warn_of` counts."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and Path(frame.f_code.co_filename).parent == HERE:
        frame, level = frame.f_back, level + 1
    return level


def _hooked(weight: Tensor) -> bool:
    """Whether something happens to the gradient of a weight on its way."""
    return bool(weight._backward_hooks) or bool(getattr(weight, "_post_accumulate_grad_hooks", None))


def _versions(weights: list[Tensor]) -> list[tuple[int, int]]:
    """What changes when somebody writes to a weight."""
    return [(weight._version, weight.data_ptr()) for weight in weights]
