"""A monitor for the user's own training loop: Lyapunov exponents of the training, step by step, beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from dynsys.errors import InvalidInputError, positive, whole_number, whole_seed
from dynsys.results.result import MEMORY_LIMIT
from dynsys.results.spectrum import LyapunovSpectrum
from dynsys.training import checkpoint
from dynsys.training.between import Between
from dynsys.training.clipping import clip
from dynsys.training.guard import MOVED, Guard
from dynsys.training.loop import up_to_the_loop, warn_in_loop
from dynsys.training.optimisers.layout import in_model_order, memory, state_vector
from dynsys.training.record import Record
from dynsys.training.second_derivatives.dropped import TOLERANCE, warn_of_dropped
from dynsys.training.second_derivatives.obstacles import check, check_loss, explain
from dynsys.training.second_derivatives.padding import padding_rows
from dynsys.training.slopes import TrainingGradient, accumulate, give_to_others
from dynsys.training.vectors import TangentVectors
from dynsys.training.watch import Watch

if TYPE_CHECKING:
    import xarray

Tensor = torch.Tensor
Array = np.ndarray

CHECKED_STEPS = 3  # in which the optimiser is compared with the copy that is differentiated
LARGEST_ASYMMETRY = 0.05  # rounding of bfloat16 gives 0.01


class TrainingMonitor:
    """Lyapunov exponents of a training with PyTorch, followed in the loop that trains.

    A step of the training is a map of the trainable weights theta and of the memory of the optimiser (momentum, second
    moments). The monitor pushes k tangent vectors with the exact derivative of that map, on the batch, under the
    dropout mask and with the rate of the step: the gradient's by double backward, H v = grad(g . v), that of clipping,
    and that of the optimiser. At the end of each interval it makes them orthonormal, V = Q R, and

        lambda_i = 1/T sum log R_ii      per step.

    The training itself does not change by a bit (PyTorch's own numbers depend on the number of its threads).

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

    Raises
    ------
    InvalidInputError
        If the model or the optimiser cannot be followed, with what is in the way.

    Notes
    -----
    Statistics that a network only records (of BatchNorm) are no part of the state. SGD's momentum counts in units of
    the learning rate at the start, v = -lr buffer. Where the tangent cannot be followed any further, the monitor says
    so once, keeps what it has, and the training goes on.

    In the first steps of Adam, RMSprop and their kin, whose second moments are still nearly 0, vectors may grow more
    than in hundreds of later ones, and the mean keeps that: `spectrum(since=...)` leaves these steps out.

    Looked at now and then is whether the *model* drops derivatives (`.detach()`, NumPy). What the loss drops outside of
    it is not seen: compute it in a module that returns the loss, and watch that. Hooks on tensors inside
    (`retain_grad`, `register_hook`) are called again for every vector: look at such gradients without a monitor.

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
    ) -> None:
        self._names = {id(weight): name for name, weight in check(model, optimizer).items()}
        self.model, self.optimizer = model, optimizer
        self.seed = whole_seed(seed)
        self.steps_per_interval = whole_number("steps_per_interval", steps_per_interval, 1)
        self.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else positive("clip_value", clip_value)
        self._vectors: TangentVectors | None = TangentVectors(optimizer, k, self.seed, padding_rows(model))
        self._pieces, self._weights = self._vectors.pieces, self._vectors.weights
        self.k, self.dimension = self._vectors.rows.shape
        self._gradient = TrainingGradient()
        self._record = Record()
        self._losses: list[Tensor] = []  # of the step under way
        self._loss = self._weights[0].new_tensor(float("nan"))
        self._guard = Guard(model, optimizer, self._pieces)
        self._between = Between()
        self._warned = False  # of weights that something else changed
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
        losses, self._losses = self._losses, []
        self._loss = losses[0] if len(losses) == 1 else torch.stack([loss.reshape(()) for loss in losses]).sum()
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
            self._between.begin(self._weights)
        else:
            self._between.check_weights(self._weights)
        if self._vectors is None:
            loss.backward()
        else:
            self._look_for_dropped()
            self._differentiate(loss, self._vectors)
        self._losses.append(loss.detach())
        self._between.after_backward(self._weights)

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
        begins = self.steps % self.steps_per_interval == 0
        try:
            self._guard.before_step(self._names, modules=begins)
        except InvalidInputError as problem:
            self._give_up(problem)
            return
        if not self._warned and self._guard.moved(surely=begins):
            self._warned = True
            warn_in_loop(MOVED)

    def _differentiate(self, loss: Tensor, vectors: TangentVectors) -> None:
        """The gradient of a loss, and the derivative of the gradient along the vectors."""
        try:
            with self._watch.context():
                plain, slopes = self._gradient(loss, self._weights)
        except Exception as problem:
            self._give_up(explain(problem, self.model, loss), problem)
            loss.backward()
            return
        with self._watch.context():
            give_to_others(loss, self._weights)
        try:
            with self._watch.context():
                vectors.differentiate(slopes, add=bool(self._losses))
        except Exception as problem:
            self._give_up(explain(problem, self.model, loss), problem)
        accumulate(plain, self._weights)
        if self._vectors is vectors and self.steps % self.steps_per_interval == 0 and not self._losses:
            self._check_symmetry(vectors.asymmetry())

    def _update(self) -> None:
        order, limits = in_model_order(self.model, self.optimizer), (self.clip_norm, self.clip_value)
        if self._vectors is not None:
            self._push(self._vectors, order, limits)
        else:
            clip(self._weights, order, None, *limits)
            self.optimizer.step()
        self.steps += 1
        self._watch.before_step(self.steps)
        if self._vectors is not None:
            self._guard.after_step()
            if self.steps % self.steps_per_interval == 0:
                self._finish_interval(self._vectors)

    def _push(self, vectors: TangentVectors, order: list[Tensor], limits: tuple[float | None, float | None]) -> None:
        """Clip, push the vectors, and let the optimiser step; in the first steps compare its copy with it."""
        check = self.steps < CHECKED_STEPS
        before = {weight: weight.detach().clone() for weight in self._weights} if check else {}
        predicted: dict[Tensor, Tensor] = {}
        changed = self._between.changed(self._weights)
        if changed is not None:
            self._give_up(changed)
        vectors.clip(order, *limits)
        if self._vectors is not None:
            try:
                predicted = vectors.push(predict=check)
            except Exception as problem:
                self._give_up(problem)
        self.optimizer.step()
        if self._vectors is not None and check:
            try:
                vectors.compare(predicted, before)
            except InvalidInputError as problem:
                self._give_up(problem)

    def _finish_interval(self, vectors: TangentVectors) -> None:
        growth = vectors.orthonormalise()
        if growth is not None:
            self._record.append(growth / self.steps_per_interval, self.steps)
        elif not bool(torch.isfinite(vectors.rows).all()):
            self._stop("tangent vectors became infinite or NaN, as where a training diverges")
        else:
            self._stop("tangent vectors became parallel, where more are followed than directions survive: lower k")

    def _check_symmetry(self, asymmetry: float) -> None:
        """Second derivatives of a loss are symmetric; a gradient that is not one of a loss has others."""
        if asymmetry > LARGEST_ASYMMETRY >= self._defect:
            warn_in_loop(
                f"the gradient is not that of a loss (v.Hw and w.Hv differ by {asymmetry:.2g} of their size), "
                "as with a backward of one's own: the exponents are not those of the training"
            )
        self._defect = max(self._defect, asymmetry)

    def _look_for_dropped(self) -> None:
        try:
            found = self._watch.dropped()
        except Exception:  # a model that cannot be copied or called alone: nothing is known
            found = None
        if found is None or np.isnan(found[0]):
            return
        if self._defect <= LARGEST_ASYMMETRY:
            warn_of_dropped(*found, stacklevel=up_to_the_loop())
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
        warn_in_loop(
            f"{why}; the training goes on without its tangent from step {self.steps} on, and the exponents of "
            f"{len(self._record)} finished intervals are kept"
        )

    def __repr__(self) -> str:
        rate = f", lambda_1 = {self._record.mean[0]:.3g} per step" if len(self._record) else ""
        ended = f"; {self.stopped}" if self.stopped else ""
        vectors = f"{self.k} vector{'s' * (self.k > 1)} of {self.dimension:,} numbers"
        return f"{type(self).__name__}: {vectors}, {self.steps:,} steps{rate}{ended}"

    def close(self) -> None:
        """Take off the model what the monitor has put on it; what was found can still be asked for."""
        if self._vectors is not None:
            self._vectors, self.stopped = None, "the monitor was closed"
        self._watch.remove()

    # what it found

    def spectrum(self, since: int = 0) -> LyapunovSpectrum:
        """The exponents so far, of all finished intervals, per step, in frame order.

        Parameters
        ----------
        since : int
            Of the intervals that begin at or after this step: to leave the first steps out.

        Raises
        ------
        InvalidInputError
            Before the first of these intervals is finished.

        Notes
        -----
        A training is a transient: `finite_time_exponents(window)` says when what grows; the standard error is that of
        fluctuations, not of the choice of weights or batches (follow several seeds for those). `end.x` has weights and
        buffers, in the order of the tangent vectors.
        """
        since = whole_number("since", since, 0)
        record = self._record.since(since, self.steps_per_interval)
        if not len(record):
            raise InvalidInputError(
                f"a spectrum needs a finished interval{f' since step {since}' if since else ''}, got {self.steps} "
                f"steps with steps_per_interval={self.steps_per_interval}"
                + (f"; {self.stopped}" if self.stopped else ": train on, or shorten it")
            )
        return record.spectrum(
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

        It takes the place of an earlier file of a monitor at once: a process that is killed leaves the old one or the
        new one. Anything else that has the name, a link too, is left alone, and refused.
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
        with checkpoint.damage_named(path):
            options = {
                name: value for name, value in header["options"].items() if name != "perturbed"
            }  # of older files
            found = cls(model, optimizer, **options)
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
        shape, units = () if self._vectors is None else self._vectors.rows.shape, [len(p.units) for p in self._pieces]
        checkpoint.check(header, arrays, self.k, shape, units)
        self._pieces[:] = [
            attrs.evolve(piece, units=tuple(units)) for piece, units in zip(self._pieces, header["units"], strict=True)
        ]
        self._record = Record(arrays["rates"], arrays["times"])
        self.steps, self.stopped, self._defect = header["steps"], header["stopped"], header["defect"]
        self._loss = self._weights[0].new_tensor(header["loss"])
        self._gradient = TrainingGradient(**header["gradient"])
        if self._vectors is not None and not self.stopped:
            for row, kept in zip(self._vectors.rows, arrays["rows"], strict=True):
                row.copy_(torch.from_numpy(kept.copy()))  # PyTorch warns of arrays that cannot be written
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
        found = memory(self.optimizer, self._pieces)
        return checkpoint.checksum([*self._weights, *(value for value in found if value is not None)])
