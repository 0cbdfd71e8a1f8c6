"""Gradient flows: what descends the loss of one sample, given as an expression, over many samples.

GradientFlow.of("(y - w*x - b)^2", ["w", "b"], {"x": x, "y": y}).minibatches(32).tangent(Euler(1e-2))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self

import attrs
import numpy as np

from dynsys.compiled.graph import FUNCTIONS, LossGraph
from dynsys.compiled.graph_kernel import graph_kernel
from dynsys.compiled.kernel import Kernel
from dynsys.compiled.sample_kernel import sample_kernel
from dynsys.compiled.samples import LARGEST
from dynsys.equations.loss_graph import loss_graph
from dynsys.equations.sample_loss import SampleLoss
from dynsys.equations.scalar_function import ScalarFunction
from dynsys.errors import InvalidInputError, real, real_array, real_or_complex, shown
from dynsys.systems.identity.told import CLASS, EQUATIONS, equations_told
from dynsys.systems.loss_along_graph import LossAlongGraph
from dynsys.systems.minibatches import DataFlow, table
from dynsys.systems.time_step import check_parameters

Array = np.ndarray


LARGEST_WITH_MATRIX = 100  # weights whose Hessian SymPy derives, entry by entry, in a second
LARGEST_DERIVED = 500  # the same in a quarter of a minute, where there is no other way
KNOWN = (
    f"write it with {', '.join(name for name in FUNCTIONS if name.isidentifier())}, powers, Max, Min, and Piecewise of "
    "comparisons by < <= > >="
)


def _data(value: Any) -> Array:
    return table("data", value)


def _values(value: Any) -> tuple[float, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
        raise InvalidInputError(f"parameters must be a sequence of numbers, got {shown(value)}")
    numbers = [real("parameters", number, "be finite numbers") for number in value]
    if any(number.shape or not np.isfinite(number) for number in numbers):
        raise InvalidInputError(f"parameters must be finite numbers, got {shown(value)}")
    return tuple(map(float, numbers))


@attrs.frozen(eq=False)
class GradientFlow(DataFlow):
    """The gradient flow theta' = -grad C(theta), C the mean or sum over samples of the loss of one; see `of`.

    Attributes
    ----------
    sample : SampleLoss
        The loss of one sample, and what SymPy derives from it.
    data : array_like, shape (samples, columns)
        In the order of `sample.columns`.
    sigma : ScalarFunction, optional
        The nonlinearity that is called sigma in the loss.
    parameters : sequence of float, optional
        Values of `sample.parameters`; they may change without compiling again.
    reduction : "mean" or "sum"
    """

    sample: SampleLoss
    data: Array = attrs.field(converter=_data)
    sigma: ScalarFunction | None = None
    parameters: tuple[float, ...] = attrs.field(default=(), converter=_values)

    def __attrs_post_init__(self) -> None:
        for name, values in (("columns", self.data.T), ("parameters", self.parameters)):
            names = getattr(self.sample, name)
            if len(values) != len(names):
                raise InvalidInputError(f"the loss has {len(names)} {name} ({', '.join(names)}), got {len(values)}")
        if self.sigma is not None and not isinstance(self.sigma, ScalarFunction):
            raise InvalidInputError(f"sigma must be an object such as Tanh(), got {self.sigma!r:.100}")
        if self.sigma is None and (self._graph or self.sample.statements()).calls_sigma:
            raise InvalidInputError("the loss contains sigma(...): say which function that is, sigma=Tanh() for one")

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides how it moves, by name: the loss of a sample, columns of data, parameters."""
        loss = {"loss": self.sample.loss, **dict(self.sample.outputs)}
        return {
            CLASS: type(self),
            "state": self.sample.state,
            "loss": equations_told("gradient flow", loss, {})[EQUATIONS],
            "data": dict(zip(self.sample.columns, self.data.T, strict=True)),
            "sigma": self.sigma,
            "parameters": dict(zip(self.sample.parameters, self.parameters, strict=True)),
            "reduction": self.reduction,
        }

    @classmethod
    def of(
        cls,
        loss: Any,
        state: Iterable[Any],
        data: Mapping[Any, Any],
        outputs: Mapping[Any, Any] | None = None,
        *,
        sigma: ScalarFunction | None = None,
        parameters: Mapping[Any, float] | None = None,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> Self:
        """A gradient flow from expressions, as text or of SymPy.

        Parameters
        ----------
        loss : str or Expr
            Loss of one sample: an expression in the names of all that follows.
        state : sequence of str or Symbol
            What moves, in order. Names begin with a letter.
        data : mapping, name -> array_like, shape (samples,)
            The columns of the data.
        outputs : mapping, name -> str or Expr, optional
            What the loss is a function of; each may use those before it. The loss may also contain the state itself
            (weight decay, say), but a network given by `outputs` gets the faster kernel. Losses of tens of thousands of
            weights are read in seconds where each unit is an output of its own; they run without their Hessian. A
            network of as many weights is faster still as dynsys.models.networks.DeepNetworkFlow, by matrix products.
        sigma : ScalarFunction, optional
            The nonlinearity that is called sigma in the expressions; or use tanh, exp, ... there.
        parameters : mapping, name -> number, optional
        reduction : "mean" or "sum"
            Over the samples, those of a batch or all.

        Raises
        ------
        InvalidInputError
            Naming what is not understood.

        Examples
        --------
        Logistic regression, and a network with one hidden unit:

        >>> x, y = np.array([-1.0, 0.5, 2.0]), np.array([0.0, 1.0, 1.0])
        >>> flow = GradientFlow.of("log(1 + exp(a)) - y*a", ["w", "b"], {"x": x, "y": y}, {"a": "w*x + b"})
        >>> flow.vector_field(0.0, np.zeros(2))
        array([0.58333333, 0.16666667])
        >>> from dynsys.models.activations import Tanh
        >>> outputs = {"h": "sigma(w*x + b)", "a": "v*h"}
        >>> net = GradientFlow.of("(y - a)^2", ["w", "b", "v"], {"x": x, "y": y}, outputs, sigma=Tanh())
        >>> net.jacobian(0.0, np.array([1.0, 0.0, 1.0])).shape
        (3, 3)
        """
        columns = [real_array(f"the column {name}", values) for name, values in data.items()]
        if not columns or any(column.ndim != 1 or len(column) != len(columns[0]) for column in columns):
            shapes = ", ".join(f"{name}: {column.shape}" for name, column in zip(data, columns, strict=True))
            raise InvalidInputError(f"data must be columns of one length, shape (samples,), got {shapes or 'none'}")
        named = tuple((str(name), given) for name, given in (outputs or {}).items())
        given = parameters or {}
        sample = SampleLoss(loss, tuple(map(str, state)), tuple(map(str, data)), named, tuple(map(str, given)))
        return cls(sample, np.stack(columns, axis=1), sigma, tuple(given.values()), reduction=reduction)

    @property
    def dimension(self) -> int:
        """Length of the state."""
        return len(self.sample.state)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.data)

    def on(self, rows: Array) -> GradientFlow:
        """The flow on some of the samples."""
        return attrs.evolve(self, data=self.data[rows])

    @property
    def parameter_names(self) -> Sequence[str]:
        """Names of the parameters of the loss."""
        return self.sample.parameters

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same flow with other values of some of the parameters of its loss, by their names.

        Raises
        ------
        InvalidInputError
            For a name that is not one of them, naming those that are.
        """
        check_parameters(self, values, self.sample.parameters)
        named = dict(zip(self.sample.parameters, self.parameters, strict=True)) | dict(values)
        return attrs.evolve(self, parameters=tuple(named.values()))

    @property
    def source(self) -> str:
        """The generated NumPy source, of gradient and Hessian: for some hundred weights at most, it takes minutes."""
        return self.sample.source

    @property
    def derivative(self) -> str:
        """Where derivatives come from: "jacobian", or "jvp" for a state of more than `LARGEST_WITH_MATRIX`."""
        return "jvp" if self._graph else "jacobian"

    @cached_property
    def _graph(self) -> LossGraph | None:
        """The graph of a loss whose Hessian is not written out."""
        if self.dimension <= LARGEST_WITH_MATRIX:
            return None
        graph = loss_graph(self.sample)
        if graph is None and self.dimension > LARGEST_DERIVED:
            raise InvalidInputError(
                f"the loss of {self.dimension} weights holds a function that losses of more than {LARGEST_DERIVED} "
                f"must do without: {KNOWN}"
            )
        return graph

    def loss(self, theta: Array) -> Array:
        """Cost C(theta), mean or sum over the samples, shape (...)."""
        return self.scale(self.samples) * self._summed("loss", theta)

    def vector_field(self, t: float, x: Array) -> Array:
        """-grad C at the states x, shape (..., dim)."""
        return -self.scale(self.samples) * self._summed("gradient", x)

    def jacobian(self, t: float, x: Array) -> Array:
        """Minus the Hessian of C at the state x, shape (dim, dim): symmetric."""
        if self._graph:
            return self.jvp(t, x, np.eye(self.dimension))
        return -self.scale(self.samples) * self._summed("sample", x)[1]

    def jvp(self, t: float, x: Array, V: Array) -> Array:
        """Minus the Hessian at the state x times the columns of V, shape (dim, k); of many weights without it."""
        V = real("V", V)
        if not self._graph:
            return self.jacobian(t, x) @ V
        along = self._along(self._graph, real("x", x))
        return -self.scale(self.samples) * np.stack([along.hessian_product(v) for v in V.T], axis=1)

    def _along(self, graph: LossGraph, x: Array) -> LossAlongGraph:
        return LossAlongGraph(graph, x, self.data, self.parameters, self._fused)

    @property
    def _fused(self) -> Any:
        return None if self.sigma is None else self.sigma.fused

    def _summed(self, function: str, x: Array) -> Any:
        """A function of `SampleLoss.source`, or the same along the graph."""
        x = real_or_complex("x", x)
        if not self._graph:
            return self.sample.functions[function](x, self.data, self.parameters, self._fused)
        found = [getattr(self._along(self._graph, state), function) for state in x.reshape(-1, self.dimension)]
        return np.array(found).reshape(x.shape if function == "gradient" else x.shape[:-1])

    def batch_kernel(self, size: int) -> Kernel | None:
        """The equations as source for Numba: written out for few weights, else by a walk over the loss's graph.

        None if sigma has no source, or where there is neither.
        """
        if self.sigma is not None and not self.sigma.compiles:
            return None
        sigma, scale = self.sigma.kernel_source("sigma") if self.sigma is not None else "", -self.scale(size)
        if not self._graph:
            sample = self.sample.statements(self.sigma is not None and self.sigma.piecewise_linear)
            kernel = sample_kernel(sample, sigma, scale, self.data, self.parameters)
            if kernel is not None:
                return kernel
        graph = loss_graph(self.sample)
        return None if graph is None else graph_kernel(graph, sigma, scale, self.data, self.parameters)

    @property
    def fallback(self) -> str:
        """What keeps it from being compiled: sigma has no source, or what the loss is made of; or empty."""
        if self.sigma is not None and self.sigma.fallback:
            return self.sigma.fallback
        if self.batch_kernel(self.samples) is None:
            return (
                f"the loss of one sample takes more than {LARGEST} statements, and holds a function that larger losses "
                f"must do without: {KNOWN}; or say backend='numpy'"
            )
        return ""
