"""Predicting a rare outcome of a training run from what is measured early: naive Bayes, an SVM, and the ROC of both.

Members are divided into halves: whatever is chosen (bins, threshold, direction, the best of many) is chosen on the
training half, whatever is claimed is claimed of the test half.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from dynsys import InvalidInputError
from dynsys.errors import real_array, whole_number, whole_seed
from dynsys.models.weight_dynamics.paper.area import Area, area_of_halves, balanced_edges, rank_area

Array = np.ndarray

BINS = 20
FEWEST = 2  # members of a class in a half, for anything to be said
SVM_ROWS = (200, 2000)  # least and most training members of a class, between them as many as of the rarer one


@attrs.frozen
class Contingency:
    """Numbers of members of the test half: true and false positives, false and true negatives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0


@attrs.frozen(eq=False)
class Score:
    """How well a classifier predicts an outcome.

    Attributes
    ----------
    training_positives, training_negatives, test_positives, test_negatives : int
        Members whose indicator is known. With fewer than two of a kind there is nothing but these counts.
    auc : Area
        Of what the classifier gives: log odds, or the decision function.
    rank : Area
        Of the indicator itself, no bins and no threshold, in its `direction`; NaN for several features.
    direction : int
        1 if high values of the indicator predict the outcome in the training half, -1 if low ones do, 0 if unknown.
    roc : ndarray, shape (points, 2)
        False and true positive rate in the test half.
    table : Contingency
        At the threshold with the largest difference of true and false positive rate in the training half (W. J. Youden,
        Cancer 3, 32 (1950)).
    """

    training_positives: int
    training_negatives: int
    test_positives: int
    test_negatives: int
    auc: Area = attrs.field(default=Area(), kw_only=True)
    rank: Area = attrs.field(default=Area(), kw_only=True)
    direction: int = attrs.field(default=0, kw_only=True)
    roc: Array = attrs.field(factory=lambda: np.empty((0, 2)), repr=False, kw_only=True)
    table: Contingency = attrs.field(default=Contingency(), kw_only=True)


@attrs.frozen(eq=False)
class Selection:
    """The scores of many indicators, and the number of that with the largest area in the training half."""

    scores: tuple[Score, ...]
    best: int

    @property
    def score(self) -> Score:
        """The score of the best; its test half had no part in the choice."""
        return self.scores[self.best]


def halves(outcome: Array, seed: int = 0) -> Array:
    """Which members train, bool (n,): a random half of those with the outcome, and of those without.

    An `InvalidInputError` says if `outcome` is not bool (n,), or `seed` no whole number.
    """
    outcome = _marks("outcome", outcome, np.size(outcome))
    order = np.random.default_rng(whole_seed(seed)).permutation(outcome.size)
    training = np.zeros(outcome.size, dtype=bool)
    for has in (False, True):
        training[order[outcome[order] == has][::2]] = True
    return training


def naive_bayes(indicator: Array, outcome: Array, training: Array, *, bins: int = BINS, seed: int = 0) -> Score:
    """Score of a naive Bayes classifier with binned densities, log p(+)/p(-) + sum_j log p(b_j|+)/p(b_j|-).

    The edges of bins are values of the training half: between two edges lie equal shares of it, both classes having the
    same weight in all. Bins of equal counts would put all positives of a rare outcome into one of them, with so many
    negatives that the area of a perfect indicator is no larger than about 1 - 1/(2 bins). Equal values share a bin, and
    no monotone function of the indicator changes anything. One count is added to each bin (Laplace).

    Parameters
    ----------
    indicator : ndarray, shape (n,) or (n, p)
        One indicator, or p features. Members with NaN are left out.
    outcome : ndarray of bool, shape (n,)
    training : ndarray of bool, shape (n,)
        The training half; see `halves`.
    bins : int
        The only parameter.
    seed : int
        Of the intervals.

    Raises
    ------
    InvalidInputError
        For other shapes or types, or fewer than two bins.

    References
    ----------
    arXiv:2405.00743, Sec. VI, which says neither how many bins nor where their edges are.

    Examples
    --------
    >>> loss = np.arange(40.0)
    >>> high = loss >= 30
    >>> score = naive_bayes(loss, high, halves(high))
    >>> score.auc.test, score.rank.test, score.table
    (1.0, 1.0, Contingency(tp=5, fp=0, fn=0, tn=15))
    """
    features, outcome, training = _known(indicator, outcome, training, lambda x: ~np.isnan(x))
    bins, seed = whole_number("bins", bins, 2), whole_seed(seed)
    score = _score(lambda: _log_odds(features, outcome, training, bins), outcome, training, seed)
    if features.shape[1] > 1 or np.isnan(score.auc.test):
        return score
    values = features[:, 0]
    direction = 1 if rank_area(values[training], outcome[training]) >= 0.5 else -1
    return attrs.evolve(score, rank=area_of_halves(direction * values, outcome, training, seed), direction=direction)


def support_vectors(features: Array, outcome: Array, training: Array, *, seed: int = 0) -> Score:
    """Score of a support vector machine with a radial kernel, on standardised features; its parameters are the usual.

    It is trained with as many members of the commoner class as of the rarer one, but 200 to 2000 if there are so many,
    and the classes have the same weight. With all negatives a rare outcome is learned by heart: for 50 positives among
    20,000, nine Gaussian features and a possible area of 0.955, the test half gives 0.86, and 0.91 with 200 negatives.

    Parameters
    ----------
    features : ndarray, shape (n, p) or (n,)
        Members with NaN or infinity are left out.
    outcome, training : ndarray of bool, shape (n,)
    seed : int
        Of the members that it is trained with, and of the interval.

    Raises
    ------
    InvalidInputError
        For other shapes or types.

    References
    ----------
    arXiv:2405.00743, Sec. VI and Table I, which state no parameters.
    """
    features, outcome, training = _known(features, outcome, training, np.isfinite)
    seed = whole_seed(seed)
    return _score(lambda: _decision(features, outcome, training, seed), outcome, training, seed)


def selection(indicators: Array, outcome: Array, training: Array, *, bins: int = BINS, seed: int = 0) -> Selection:
    """Scores of many indicators, each alone, and which is best in the training half; see `naive_bayes`.

    A member with NaN in some of the `indicators`, shape (n, m), is left out of those only. An `InvalidInputError` says
    if shapes or types are other than these and those of `naive_bayes`.
    """
    if np.ndim(indicators) != 2 or not np.size(indicators):
        raise InvalidInputError(f"indicators must have the shape (n, m), got {np.shape(indicators)}")
    scores = tuple(naive_bayes(one, outcome, training, bins=bins, seed=seed) for one in np.transpose(indicators))
    areas = np.array([score.auc.training for score in scores])
    return Selection(scores, int(np.argmax(np.nan_to_num(areas, nan=-1.0))))


def _log_odds(features: Array, outcome: Array, training: Array, bins: int) -> Array:
    from sklearn.naive_bayes import CategoricalNB

    # KBinsDiscretizer would merge edges closer than 1e-8, however small the indicator is
    edges = [balanced_edges(values[training], outcome[training], bins) for values in features.T]
    binned = np.stack([np.searchsorted(e, values) for e, values in zip(edges, features.T, strict=True)], axis=1)
    model = CategoricalNB(min_categories=bins).fit(binned[training], outcome[training])
    return np.diff(model.predict_joint_log_proba(binned))[:, 0]


def _decision(features: Array, outcome: Array, training: Array, seed: int) -> Array:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    order = np.random.default_rng(seed).permutation(np.flatnonzero(training))
    classes = order[outcome[order]], order[~outcome[order]]
    most = np.clip(min(map(len, classes)), *SVM_ROWS)
    rows = np.concatenate([members[:most] for members in classes])
    model = make_pipeline(StandardScaler(), SVC(kernel="rbf", class_weight="balanced"))
    return model.fit(features[rows], outcome[rows]).decision_function(features)


def _score(classify: Callable[[], Array], outcome: Array, training: Array, seed: int) -> Score:
    """The score of the values that `classify` gives to all members, not asked if a class has too few."""
    counts = [int(np.count_nonzero(half & kind)) for half in (training, ~training) for kind in (outcome, ~outcome)]
    if min(counts) < FEWEST:
        return Score(*counts)
    from sklearn.metrics import confusion_matrix, roc_curve

    values = classify()
    false, true, thresholds = roc_curve(outcome[training], values[training])
    predicted = values[~training] >= thresholds[np.argmax(true - false)]
    tn, fp, fn, tp = confusion_matrix(outcome[~training], predicted).ravel().tolist()
    false, true, _ = roc_curve(outcome[~training], values[~training])
    auc, roc = area_of_halves(values, outcome, training, seed), np.stack([false, true], axis=1)
    return Score(*counts, auc=auc, roc=roc, table=Contingency(tp, fp, fn, tn))


def _known(
    features: Array, outcome: Array, training: Array, known: Callable[[Array], Array]
) -> tuple[Array, Array, Array]:
    """Features (n, p), outcome and training half of the members whose features are all `known`, or an error."""
    features = real_array("indicator", features)
    if features.ndim not in (1, 2) or not features.size:
        raise InvalidInputError(f"indicator must have the shape (n,), or (n, p) for features, got {features.shape}")
    features, n = features.reshape(len(features), -1), len(features)
    outcome, training = _marks("outcome", outcome, n), _marks("training", training, n)
    rows = known(features).all(axis=1)
    return features[rows], outcome[rows], training[rows]


def _marks(name: str, value: Array, n: int) -> Array:
    """The value as bool (n,), or an error."""
    marks = np.asarray(value)
    if marks.dtype != bool or marks.shape != (n,):
        raise InvalidInputError(f"{name} must be bool of shape ({n},), got {marks.dtype} of shape {marks.shape}")
    return marks
