"""What is computed for the members of a study: training, exponents, angles, and possible predictors."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import numpy as np

from dynsys import Ensemble, Euler, RunState, TangentSystem
from dynsys.algorithms.checks.covariance import determined_subspaces
from dynsys.algorithms.ginelli import random_triangles
from dynsys.compiled.backward import sweep_back
from dynsys.indicators import angles, cosines, line_distance
from dynsys.passes.eigenvectors import eigenvectors
from dynsys.passes.orthonormal import packed_diagonal, random_frames, solve_upper
from dynsys.passes.run_state import forward_in_chunks, warm_up
from dynsys.passes.status import RUNNING

if TYPE_CHECKING:
    import xarray

    from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow
    from dynsys.models.weight_dynamics.study import Study

Array = np.ndarray

SPANS = ("start", "window", "interval")  # over which an exponent at a prediction time is taken, up to that time
VARIANTS = ("lagged", "lagged, random start", "periodic window")  # of Sharafi's estimate, see dynsys.algorithms.sharafi
ENDINGS = ("ginelli", "ginelli, another start", *VARIANTS)  # where covariant vectors at the end of training come from
SAME_SPAN = 0.01  # sine up to which vectors, or spans, of two backward starts are called the same
MOST_GROWTH = 100.0  # logarithm: nothing overflows, and the spans of vectors so far out of order are lost anyway

DIMENSIONS = {
    "loss": ("activation", "member", "time"),
    "exponent": ("activation", "member", "time", "q"),
    "window_loss": ("activation", "member", "prediction"),
    "gradient_norm": ("activation", "member", "prediction"),
    "sharpness": ("activation", "member", "prediction"),
    "window_exponent": ("activation", "member", "prediction", "span", "q"),
    "cosine": ("activation", "member", "prediction", "variant", "pair"),
    "final_cosine": ("activation", "member", "ending", "pair"),
    "subspace": ("activation", "member", "q"),
    "angle": ("activation", "member", "time", "pair"),
    "frame_distance": ("activation", "member", "time", "q"),
    "initial": ("activation", "member", "weight"),
    "final": ("activation", "member", "weight"),
    "status": ("activation", "member"),
    "stopped": ("activation", "member"),
}


@attrs.frozen(eq=False)
class TrainingRuns:
    """The training runs of a study on some data.

    A covariant vector is Q C with the orthonormal frame Q of the forward pass and triangular coefficients C of a
    backward one: angles are those of the columns of C.

    A training run is a transient, and covariant vectors along it are finite-time objects with two ends that are open.
    The frame begins at random with the training, and vector q knows nothing of the system until the span of the first q
    has forgotten that. The backward pass begins at random at the end of training, so that vectors drop out towards it:
    all but the first at the end itself, and long before it those whose exponents hardly differ, as near a minimum with
    flat directions. What is left between belongs to the run; the rest belongs to the seeds.
    """

    study: Study
    X: Array
    y: Array
    task: str = ""

    def ensemble(self) -> Ensemble:
        """All runs of the study, to be computed block by block."""
        return Ensemble(self, self.study.members)

    def __call__(self, members: Array) -> xarray.Dataset:
        """Train the networks with these numbers, of each activation.

        Returns
        -------
        xarray.Dataset
            loss (activation, member, time): cost over all data. exponent (activation, member, time, q): finite-time
            exponents lambda_q(t) from 0 to t, 1/time. initial, final (activation, member, weight). status, stopped
            (activation, member): code and step, -1 for members that did not stop. NaN after a member stopped, and for
            exponents where the tangent is not followed.

            With predictions, at each of them (prediction, in intervals): window_loss; gradient_norm and sharpness,
            the norm of the gradient and the largest eigenvalue of the Hessian of the cost over all data;
            window_exponent (..., span, q) from the start, over the last window, over the last interval;
            cosine (..., variant, pair): |cos theta_ij|, i < j, by the variants of Sharafi's estimate.

            With a tail: final_cosine (..., ending, pair), by Ginelli's backward pass through the tail from two starts,
            and by Sharafi's estimate from the last window of training; subspace (..., q), which of Ginelli's vectors
            are determined singly (see `dynsys.algorithms.checks.covariance.determined_subspaces`; the forward frame is
            taken as given).

            With angles: angle (..., time, pair), radians in [0, pi/2], between the covariant vectors that come back
            from the end of training; NaN where two starts there part by more than `SAME_SPAN` in one of the two.
            frame_distance (..., time, q): how far the span of the first q vectors lies from that of another frame which
            began at random, see `frame_distance`; where it is above `SAME_SPAN`, vector q depends on the seed. Both in
            single precision, and NaN for members that stopped.
        """
        import xarray

        study = self.study
        runs = [self._train(name, members) for name in study.activations]
        q = runs[0]["exponent"].shape[-1]
        settings = {name: v for name, v in attrs.asdict(study).items() if v is not None and v != ()}
        del settings["activations"]  # a coordinate
        coordinates = {
            "activation": list(study.activations),
            "time": study.output_intervals * study.interval * study.learning_rate,
            "q": np.arange(1, q + 1),
            "prediction": list(study.predictions),
            "span": list(SPANS),
            "variant": list(VARIANTS),
            "ending": list(ENDINGS),
            "pair": [f"{i + 1} {j + 1}" for i, j in zip(*np.triu_indices(q, 1), strict=True)],
        }
        used = {dimension for name in runs[0] for dimension in DIMENSIONS[name]}
        return xarray.Dataset(
            {
                name: (dims, np.stack([run[name] for run in runs]))
                for name, dims in DIMENSIONS.items()
                if name in runs[0]
            },
            coords={name: labels for name, labels in coordinates.items() if name in used},
            attrs={name: int(v) if isinstance(v, bool) else v for name, v in settings.items()}
            | {"steps": study.intervals * study.interval, "variance_of_y": float(np.var(self.y)), "task": self.task},
        )

    def _train(self, activation: str, members: Array) -> dict[str, Array]:
        """The variables of one activation."""
        study, seeds = self.study, self.study.seeds
        flow = study.network(self.X, self.y, activation)
        driven = flow.minibatches(study.batch, seeds["batches"], shared=study.shared_batches) if study.batch else flow
        tangent = driven.tangent(Euler(study.learning_rate)).on_one_thread()
        everyone = flow.initial(scheme=study.weights, biases=study.biases, members=study.members, seed=seeds["weights"])
        initial = everyone[members]
        end = RunState.start(initial, flow.dimension, None, seeds["frames"], members)
        growth = np.zeros((len(members), flow.dimension))
        duration = study.interval * study.learning_rate
        outputs = set(study.output_intervals.tolist())
        series: dict[str, list[Array]] = defaultdict(list)
        factors: list[tuple[int, Array]] = []
        for done, until in pairwise([0, *study.cuts.tolist()]):
            count, window = until - done, until in study.windows
            if done >= study.followed:
                end = warm_up(tangent, end, count, study.interval)
                growth = np.full_like(growth, np.nan)
            elif window or study.angles:
                parts = list(forward_in_chunks(tangent, end, count, study.interval, "R"))
                if study.angles:
                    factors += [(part.n // study.interval, part.R) for part in parts]
                end = joined(parts) if window else parts[-1]  # factors of a whole run are copied for nothing
                steps = np.concatenate([np.log(packed_diagonal(part.R)) for part in parts], axis=1)
                spans = [growth + np.add.accumulate(steps, axis=1)[:, -1]]
                growth = spans[0]
                if until in study.predictions:
                    spans += [np.add.accumulate(steps, axis=1)[:, -1], steps[:, -1]]
                    lengths = np.array([until, count, 1])[:, None] * duration
                    series["window_exponent"].append(np.stack(spans, axis=1) / lengths)
                    series["cosine"].append(estimated_cosines(end))
                    for name, values in alternatives(flow, end.x).items():
                        series[name].append(values)
            else:
                (end,) = forward_in_chunks(tangent, end, count, study.interval, "growth", stride=count)
                growth = growth + end.growth[:, 0]
            if until in outputs:
                series["exponent"].append(growth / (until * duration))
                series["loss"].append(flow.loss(end.x))
            if until == study.followed < study.intervals:
                end = end.without_records().with_frames(0, 0)
        return {
            **{name: np.stack(values, axis=1) for name, values in series.items()},
            **(final_vectors(tangent, end, study.tail, study.interval) if study.tail else {}),
            **(vectors_along(end, factors, outputs) if study.angles else {}),
            "initial": initial,
            "final": end.x,
            "status": end.status,
            "stopped": end.stopped,
        }


def estimated_cosines(end: RunState) -> Array:
    """|cos theta_ij|, i < j, by the `VARIANTS` of Sharafi's estimate, from a pass that recorded R: (members, 3, pairs).

    Lagged estimates are valid at the start of the pass, those of a periodic window at its end; all are known there.
    """
    k = end.k
    identity = np.broadcast_to(np.eye(k), (len(end.x), k, k))
    lagged, total = _back(end.R, identity)
    by_chance, _ = _back(end.R, random_triangles(end, 0, 0))
    return np.stack([_pairs(C) for C in (lagged, by_chance, eigenvectors(lagged, total))], axis=1)


def alternatives(flow: ThreeLayerGradientFlow, x: Array) -> dict[str, Array]:
    """Other possible predictors, over all data: cost, norm of its gradient, largest eigenvalue of its Hessian."""
    gradient = np.linalg.norm(flow.vector_field(0.0, x), axis=-1)
    sharpness = np.full(len(x), np.nan)
    for m in np.flatnonzero(np.isfinite(x).all(axis=1)):  # LAPACK refuses NaN
        sharpness[m] = np.linalg.eigvalsh(-flow.jacobian(0.0, x[m]))[-1]
    return {"window_loss": flow.loss(x), "gradient_norm": gradient, "sharpness": sharpness}


def final_vectors(tangent: TangentSystem, end: RunState, tail: int, steps_per_interval: int) -> dict[str, Array]:
    """Angles of covariant vectors at the end of a pass that recorded the last window, and which are determined."""
    after = joined(list(forward_in_chunks(tangent, end, tail, steps_per_interval, "R")))
    one, other = (_back(after.R, random_triangles(after, 0, key))[0] for key in (0, 1))
    stopped = after.status != RUNNING  # in the tail
    one[stopped] = other[stopped] = np.nan
    labels = determined_subspaces(one, other, np.ones(one.shape[::2], dtype=bool), SAME_SPAN)
    ginelli = np.stack([_pairs(C) for C in (one, other)], axis=1)
    return {"final_cosine": np.concatenate([ginelli, estimated_cosines(end)], axis=1), "subspace": labels}


def vectors_along(end: RunState, factors: list[tuple[int, Array]], outputs: set[int]) -> dict[str, Array]:
    """Angles between covariant vectors at `outputs`, and what their frame has to do with them, as `TrainingRuns` says.

    Ginelli's backward pass begins at the `end` of training, from two random starts, and comes back through all
    `factors`: the ends of parts of the run, in intervals, and R within them. Both are (members, outputs, ...).
    """
    one, other = (random_triangles(end, 0, key) for key in (0, 1))
    growth = np.zeros(one.shape[:2])  # of vectors, from here to the end
    found, angle = [], []
    for until, R in reversed(factors):
        if until in outputs:
            found.append((one, growth))
            angle.append(_determined_angles(one, other))
        one, total = _back(R, one)
        other, _ = _back(R, other, totals=False)
        growth = growth + total
    L = _unit_lower(solve_upper(one, random_frames(end.k, end.k, 1, end.members)))
    distance = [frame_distance(L, C, growth - ahead) for C, ahead in found]
    lists = {"angle": angle, "frame_distance": distance}
    series = {name: np.stack(values[::-1], axis=1).astype(np.float32, copy=False) for name, values in lists.items()}
    for values in series.values():
        values[end.status != RUNNING] = np.nan
    return series


def _determined_angles(C: Array, D: Array) -> Array:
    """Angles of all pairs of vectors in which two starts agree, else NaN, (members, pairs)."""
    determined = np.where((line_distance(C, D) <= SAME_SPAN)[..., None, :], C, np.nan)
    return angles(determined)[(..., *np.triu_indices(C.shape[-1], 1))].astype(np.float32)


def frame_distance(L: Array, C: Array, growth: Array) -> Array:
    """Distance between the leading spans of the frame and of another one that began at random, (members, k).

    Covariant vectors spare the second forward pass. With the log growth g along them, the product of all R from 0 to t
    is C(t) exp(g) C(0)^-1. Another first frame, Q(0) G, becomes Q(t) C(t) exp(g) H, H = C(0)^-1 G, and its leading
    spans do not change if H is replaced by L of H = L U, and columns are scaled:

        Q(t) C(t) W(t),     W_ab = L_ab exp(g_a - g_b), a >= b.

    The distance is the norm of the sines of all principal angles.
    """
    W = L * np.exp(np.minimum(growth[..., :, None] - growth[..., None, :], MOST_GROWTH))
    squares = np.linalg.qr(C @ W)[0] ** 2
    return np.stack([np.sqrt(squares[..., i:, :i].sum(axis=(-2, -1))) for i in range(1, C.shape[-1] + 1)], axis=-1)


def _unit_lower(H: Array) -> Array:
    """L of H = L U, (members, k, k); NaN where a leading block of H is singular to rounding.

    So it may be where C(0), still the random start of the backward pass, is large: nothing is determined then.
    """
    k = H.shape[-1]
    L = np.full(H.shape, np.nan)
    for one, h in zip(L, H, strict=True):
        with suppress(np.linalg.LinAlgError):
            columns = [h[:, :i] @ np.linalg.solve(h[:i, :i], np.eye(i)[:, -1:]) for i in range(1, k + 1)]
            one[:] = np.tril(np.hstack(columns))
    return L


def joined(parts: list[RunState]) -> RunState:
    """One pass of successive ones that recorded R."""
    return attrs.evolve(parts[-1], R=np.concatenate([part.R for part in parts], axis=1))


def _back(R: Array, C: Array, totals: bool = True) -> tuple[Array, Array]:
    """A backward pass through factors, (members, intervals, k (k + 1) / 2)."""
    members = np.arange(len(R))
    return sweep_back(R, members, np.zeros_like(members), np.full_like(members, R.shape[1]), C, totals=totals)


def _pairs(C: Array) -> Array:
    return cosines(C)[(..., *np.triu_indices(C.shape[-1], 1))]
