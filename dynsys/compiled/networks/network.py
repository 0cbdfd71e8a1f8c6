"""Networks: equations of numbers as sums of terms, told by few functions and tables of where each stands."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

HERE = "_here"  # the component of the equation; others are _there1, _there2, ...
COEFFICIENT = "_n0"  # by which a term is multiplied, where every term has its own; other numbers are _n1, _n2, ...


@attrs.frozen
class Sites:
    """Functions of one component, computed for those that need them.

    Attributes
    ----------
    names : sequence of str
        In terms `_s3_there1`, where `_s3` is one of these.
    shared : sequence of str
        Statements for what they share, in the symbol `_here`.
    sources : sequence of str
    components : sequence of int
        All of the state, or all sums.
    """

    names: Sequence[str]
    shared: Sequence[str]
    sources: Sequence[str]
    components: Sequence[int]


@attrs.frozen
class Factors:
    """One of the products whose sum a term of two components is: a(here) b(there).

    Attributes
    ----------
    here, there : str
        Sources of the factors; the coefficient is none of them.
    here_slope, there_slope : str
        Sources of their derivatives.
    """

    here: str
    there: str
    here_slope: str
    there_slope: str


@attrs.frozen
class Terms:
    """All terms of one form.

    Attributes
    ----------
    inner : bool
        Whether the terms stand in sums inside functions.
    slots : sequence of str
        Names of components: `_here`, if that of the equation is in it, and `_there1`, ...
    shared : sequence of str
        Statements for what value and derivatives share.
    value : str
    alone : sequence of str
        Statements for the value alone; the last of them is its source.
    slopes : sequence of str
        Sources of the derivatives by the slots.
    rows : sequence of int
        The equation of every term.
    components : sequence of sequences of int
        For every slot the component of every term.
    numbers : sequence of (str, sequence of float)
        Names of what every term has of its own, and the numbers.
    parameters : sequence of (str, sequence of int)
        Names, and which parameter they are in every term.
    factors : sequence of Factors
        Of a term of the equation's component, or none, and another that is a sum of products; else empty.
    """

    inner: bool
    slots: Sequence[str]
    shared: Sequence[str]
    value: str
    alone: Sequence[str]
    slopes: Sequence[str]
    rows: Sequence[int]
    components: Sequence[Sequence[int]]
    numbers: Sequence[tuple[str, Sequence[float]]]
    parameters: Sequence[tuple[str, Sequence[int]]]
    factors: Sequence[Factors]


@attrs.frozen
class Network:
    """Equations as sums of terms of few forms.

    Attributes
    ----------
    dimension : int
    sums : int
        Number of sums inside functions: they are the components after those of the state.
    parameters : sequence of str
    constants : sequence of str
        Statements for functions of parameters and time alone.
    sites : sequence of Sites
    terms : sequence of Terms
    driven : bool
        Whether the time stands in an equation.
    """

    dimension: int
    sums: int
    parameters: Sequence[str]
    constants: Sequence[str]
    sites: Sequence[Sites]
    terms: Sequence[Terms]
    driven: bool
