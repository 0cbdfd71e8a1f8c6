"""What exponents say about the attractor: its Kaplan-Yorke dimension, and a bound on its entropy."""

from __future__ import annotations

import numpy as np

from dynsys.errors import InvalidInputError, real_array, whole_number

Array = np.ndarray


def kaplan_yorke_dimension(exponents: Array, dimension: int) -> Array:
    """Kaplan-Yorke (Lyapunov) dimension, conjectured to be the information dimension of the attractor.

        D = j + S_j / |lambda_{j+1}|,   S_j = lambda_1 + ... + lambda_j,   j the largest index with S_j >= 0,

    of the exponents in descending order; 0 if lambda_1 < 0, and `dimension` if no sum is negative. D is continuous
    except where lambda_1 changes sign, from a fixed point (0) to a limit cycle (1).

    Parameters
    ----------
    exponents : ndarray, shape (..., k)
        In any order, 1/time.
    dimension : int
        Of the state space. k < dimension will do where the sums have turned negative.

    Returns
    -------
    ndarray, shape (...)
        NaN where an exponent is NaN.

    Raises
    ------
    InvalidInputError
        If the spectrum is truncated before the sums turn negative, or k > dimension.

    References
    ----------
    J. L. Kaplan, J. A. Yorke, Lecture Notes in Mathematics 730, 204 (1979);
    P. Frederickson, J. L. Kaplan, E. D. Yorke, J. A. Yorke, J. Differ. Equ. 49, 185 (1983).

    Examples
    --------
    >>> float(kaplan_yorke_dimension([0.5, 0.0, -2.0], dimension=3))
    2.25
    """
    _, j, S, following = _balance(exponents, dimension)
    return (j + S / np.abs(following))[..., 0][()]  # a number for one spectrum


def kaplan_yorke_gradient(exponents: Array, dimension: int) -> Array:
    """Derivatives of the Kaplan-Yorke dimension with respect to the exponents, for its standard error.

        dD/dlambda_i = 1 / |lambda_{j+1}| for i <= j,   S_j / lambda_{j+1}^2 for i = j + 1,   0 beyond.

    Parameters and errors are those of `kaplan_yorke_dimension`.

    Returns
    -------
    ndarray, shape (..., k)
        In the order of `exponents`, units of time. Where a sum vanishes: those of the side on which it is positive.

    Examples
    --------
    >>> kaplan_yorke_gradient([0.5, 0.0, -2.0], dimension=3)
    array([0.5  , 0.5  , 0.125])
    """
    order, j, S, following = _balance(exponents, dimension)
    rank = np.arange(order.shape[-1])
    gradient = (rank < j) / np.abs(following) + (rank == j) * S / following / following
    np.put_along_axis(gradient, order, gradient.copy(), axis=-1)
    return gradient


def entropy_bound(exponents: Array, dimension: int) -> Array:
    """Sum of the positive exponents: an upper bound on the Kolmogorov-Sinai entropy (Ruelle).

    It is the entropy if the invariant measure is of SRB type (Pesin; Ledrappier and Young).

    Parameters
    ----------
    exponents : ndarray, shape (..., k)
        In any order, 1/time.
    dimension : int
        Of the state space. k < dimension will do where one of the exponents is not positive.

    Returns
    -------
    ndarray, shape (...)
        Nats per unit of time. NaN where an exponent is NaN.

    Raises
    ------
    InvalidInputError
        If the spectrum is truncated before the exponents cease to be positive, or k > dimension.

    References
    ----------
    D. Ruelle, Bol. Soc. Bras. Mat. 9, 83 (1978); Ya. B. Pesin, Russ. Math. Surv. 32, 55 (1977);
    F. Ledrappier, L.-S. Young, Ann. Math. 122, 509 (1985).

    Examples
    --------
    >>> float(entropy_bound([0.5, 0.0, -2.0], dimension=3))
    0.5
    """
    exponents = _spectrum(exponents, dimension)
    _refuse_truncated(exponents, dimension, (exponents > 0.0).all(axis=-1), "its smallest exponent is still positive")
    return np.maximum(exponents, 0.0).sum(axis=-1)


def _balance(exponents: Array, dimension: int) -> tuple[Array, Array, Array, Array]:
    """The descending order, and j, S_j and lambda_{j+1} of shape (..., 1); lambda_{dimension+1} is -infinity."""
    exponents = _spectrum(exponents, dimension)
    order = np.argsort(-exponents, axis=-1, kind="stable")
    edge = np.zeros((*exponents.shape[:-1], 1))
    descending = np.concatenate([np.take_along_axis(exponents, order, axis=-1), edge - np.inf], axis=-1)
    sums = np.concatenate([edge, np.cumsum(descending[..., :-1], axis=-1)], axis=-1)
    j = np.count_nonzero(sums[..., 1:] >= 0.0, axis=-1, keepdims=True)  # the sums are concave: the first j of them
    _refuse_truncated(exponents, dimension, j[..., 0] == exponents.shape[-1], "the sums have not turned negative")
    S, following = (np.take_along_axis(array, j, axis=-1) for array in (sums, descending))
    return order, j, np.where(np.isnan(exponents).any(axis=-1, keepdims=True), np.nan, S), following


def _spectrum(exponents: Array, dimension: int) -> Array:
    exponents, dimension = real_array("exponents", exponents), whole_number("dimension", dimension, 1)
    if exponents.ndim < 1 or exponents.shape[-1] > dimension:
        raise InvalidInputError(f"exponents must have shape (..., k) with k <= {dimension}, got {exponents.shape}")
    return exponents


def _refuse_truncated(exponents: Array, dimension: int, undecided: Array | np.bool, reason: str) -> None:
    k = exponents.shape[-1]
    if k < dimension and undecided.any():
        first = exponents[undecided][0]
        raise InvalidInputError(
            f"the spectrum is truncated: {reason} within the first {k} of {dimension} exponents, {first} "
            f"({np.count_nonzero(undecided)} of {undecided.size} spectra); follow more vectors (k > {k})"
        )
