"""How good features are, without training a network: linear probe, nearest neighbours, LogME.

Every number is about images that took no part in what predicts them: folds keep copies and groups
together, and a setting is chosen for a fold by what the other folds say.
"""

import dataclasses

import numpy as np

from tlkit.errors import TlkitError
from tlkit.evaluation import bootstrap as resampling
from tlkit.evaluation import logistic
from tlkit.evaluation.folds import grouped_folds

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # strong to weak, see `logistic.fit`
NEIGHBOURS = (1, 3, 5, 9, 15)
FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A share of images with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclasses.dataclass(frozen=True, eq=False)
class Probe:
    """What one set of features is worth.

    Attributes:
        linear: Accuracy of a linear classifier on images it has not seen.
        knn: The same of nearest neighbours by cosine.
        logme: Log evidence per image and class; higher is better.
        probabilities: float64 [n, classes] of the linear classifiers that had not seen the image.
        correct: bool [n], whether their first choice is right.
    """

    linear: Accuracy
    knn: Accuracy
    logme: float
    probabilities: np.ndarray
    correct: np.ndarray


def probe(features: np.ndarray, labels: np.ndarray, folds: np.ndarray, seed: int = 0) -> Probe:
    """Returns all that is measured about `features` [n, d].

    Args:
        labels: int64 [n].
        folds: int64 [n], see `folds.grouped_folds`.
    """
    labels = np.asarray(labels, np.int64)
    chances = out_of_fold(features, labels, folds, seed)
    correct = chances.argmax(1) == labels
    with logistic.one_thread():
        near = nearest(features, labels, folds) == labels
        evidence = logme(features, labels)
    return Probe(accuracy(correct, seed), accuracy(near, seed), evidence, chances, correct)


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, folds: int | np.ndarray = FOLDS, seed: int = 0
) -> np.ndarray:
    """Returns float64 [n, classes]: probabilities by linear classifiers that saw no such image.

    Each fold's images are judged by a logistic regression on the other folds, with the penalty
    that had the least log loss outside this fold. Classes are 0 .. labels.max().

    Args:
        features: [n, d] of any float type.
        labels: int64 [n].
        folds: How many, or the fold of each image (int64 [n]) from
            `folds.grouped_folds`.

    Raises:
        TlkitError: Fewer than two folds or classes, or lengths that differ.
    """
    labels = np.asarray(labels, np.int64)
    if np.ndim(folds) == 0:
        folds = grouped_folds(labels, count=int(folds), seed=seed)
    folds = np.asarray(folds)
    _check(features, labels, folds)
    with logistic.one_thread():
        path, losses = _path(logistic.rotate(features), labels, folds)
    chosen = _cross_chosen(losses, folds)
    return np.stack(path)[chosen, np.arange(len(labels))]


def nearest(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Returns int64 [n]: each image's class by its nearest neighbours (cosine) in other folds.

    How many neighbours vote is chosen among `NEIGHBOURS` by the accuracy on the other folds.
    """
    labels, folds = np.asarray(labels, np.int64), np.asarray(folds)
    _check(features, labels, folds)
    x = np.asarray(features, np.float32)
    x = unit_rows(x - x.mean(0))
    votes = [np.zeros(len(labels), np.int64) for _ in NEIGHBOURS]
    for fold in np.unique(folds):
        mine, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        found, alike = _closest(x[mine] @ x[others].T, min(max(NEIGHBOURS), len(others)))
        for column, k in zip(votes, NEIGHBOURS, strict=True):
            column[mine] = _vote(labels[others][found[:, :k]], alike[:, :k], labels.max() + 1)
    answers = np.stack(votes)
    wrong = (answers != labels).astype(np.float64)
    return answers[_cross_chosen(wrong, folds), np.arange(len(labels))]


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Returns LogME (You et al. 2021): the mean log evidence per image of a Bayesian linear model.

    Each class is a regression on 0 and 1 with prior precision a and noise precision b. With
    t = a / b, the best b is known in closed form, so the evidence is maximised over t alone.
    """
    x = np.asarray(features, np.float64)
    targets = np.eye(int(np.max(labels)) + 1)[np.asarray(labels)]
    targets = targets[:, targets.any(0)]  # a class without images says nothing
    n = len(x)
    if n < x.shape[1]:
        squared, left = np.linalg.eigh(x @ x.T)
        along = (left.T @ targets) ** 2
    else:
        squared, right = np.linalg.eigh(x.T @ x)
        along = (right.T @ (x.T @ targets)) ** 2 / np.maximum(squared, 1e-300)[:, None]
    kept = squared > 1e-12 * max(squared.max(initial=0.0), 1e-300)
    squared, along = squared[kept], along[kept]
    rest = np.maximum((targets**2).sum(0) - along.sum(0), 0.0)
    return float(np.mean([_evidence(squared, along[:, c], rest[c], n) for c in range(len(rest))]))


def _evidence(squared, along, rest, n) -> float:
    """Returns the largest log evidence per image of one class, over t.

    Args:
        squared: Squared singular values of the features, [r].
        along: Squared length of the target along each, [r]; `rest` is what lies outside them.
    """

    def value(logs):
        t = np.exp(logs)[:, None]
        error = rest + (along * t / (squared + t)).sum(1)
        log_noise = np.log(n / np.maximum(error, 1e-300))
        return 0.5 * (log_noise - np.log(2 * np.pi) - 1) - np.log1p(squared / t).sum(1) / (2 * n)

    low, high = np.log(squared.mean()) - 25, np.log(squared.mean()) + 25
    for _ in range(8):  # each round narrows 50 to 1/20: far below 1e-6 of the value
        grid = np.linspace(low, high, 81)
        found = value(grid)
        best = int(found.argmax())
        low, high = grid[max(best - 2, 0)], grid[min(best + 2, 80)]
    return float(found[best])


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Returns rows [n, d] scaled to length 1, float32; rows of zeros stay as they are."""
    rows = np.asarray(rows, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def accuracy(correct: np.ndarray, seed: int = 0, bootstrap: int = 1000) -> Accuracy:
    """Returns the share of `correct` (bool [n]) with a bootstrap interval over images.

    Where all or none are right every resample is the same, so the exact binomial bound is given.
    """
    correct = np.asarray(correct, np.float64)
    n, value = len(correct), float(correct.mean())
    if value in (0.0, 1.0):
        bound = (2 * resampling.TAIL) ** (1 / n)
        return Accuracy(value, *((bound, 1.0) if value else (0.0, 1 - bound)))
    draws = [weights @ correct / n for weights in resampling.resamples(n, bootstrap, seed)]
    tails = [resampling.TAIL, 1 - resampling.TAIL]
    low, high = np.quantile(np.concatenate(draws), tails)
    return Accuracy(value, float(low), float(high))


def _path(rotated, labels, folds) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns [n, classes] out of fold for each penalty tried, and the losses [penalties, n].

    From strong to weak, each fit starting at the one before; it ends where weaker is worse, which
    also saves the fits that take longest.
    """
    classes = int(labels.max()) + 1
    parts = [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in np.unique(folds)]
    fits: list[logistic.Fit | None] = [None] * len(parts)
    path: list[np.ndarray] = []
    losses: list[np.ndarray] = []
    for penalty in PENALTIES:
        chances = np.empty((len(labels), classes))
        for i, (seen, held) in enumerate(parts):
            fits[i] = found = logistic.fit(rotated, seen, labels, classes, penalty, fits[i])
            chances[held] = found.probabilities(rotated.rows[held])
        path.append(chances)
        losses.append(-np.log(np.maximum(chances[np.arange(len(labels)), labels], 1e-12)))
        if len(losses) > 1 and losses[-1].mean() > losses[-2].mean():
            break
    return path, np.stack(losses)


def _cross_chosen(values: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Returns int64 [n], the row of `values` [settings, n] that is least outside the own fold."""
    chosen = np.empty(len(folds), np.int64)
    for fold in np.unique(folds):
        chosen[folds == fold] = values[:, folds != fold].mean(1).argmin()
    return chosen


def _closest(alike: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns columns and values of the k largest of each row, the largest first."""
    found = np.argpartition(-alike, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(alike, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1)
    return found, np.take_along_axis(alike, found, 1)


def _vote(labels: np.ndarray, alike: np.ndarray, classes: int) -> np.ndarray:
    """Returns the class with most votes; of equal ones the one that is more alike."""
    counts = np.zeros((len(labels), classes))
    rows = np.repeat(np.arange(len(labels)), labels.shape[1])
    np.add.at(counts, (rows, labels.ravel()), 1 + 1e-3 * alike.ravel())
    return counts.argmax(1)


def _check(features, labels, folds) -> None:
    if not len(features) == len(labels) == len(folds):
        raise TlkitError(
            f"One label and one fold for each image: {len(features)} rows of features, "
            f"{len(labels)} labels, {len(folds)} folds."
        )
    if len(np.unique(folds)) < 2 or len(np.unique(labels)) < 2:
        raise TlkitError("A probe needs images of two classes or more, in two folds or more.")
