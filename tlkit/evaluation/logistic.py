"""Logistic regression on many feature vectors, quick enough to be fitted hundreds of times.

Features are rotated once to their principal axes. There the curvature of the loss is almost
diagonal, so a change of scale makes L-BFGS converge in a few steps, and axes that carry nothing
are left out. Rotation and scale look at no label: all folds and penalties share them.
"""

import contextlib
import dataclasses

import numpy as np

from tlkit.evaluation.calibration import softmax

AXES = 512  # principal axes kept at most
_TINY = 1e-6  # axes with less than this share of the largest variance are rounding
_STEPS = 100
_TOLERANCE = 1e-4  # of the gradient, per image: predictions are then right to about .001


@dataclasses.dataclass(frozen=True)
class Rotated:
    """Features on their principal axes.

    Attributes:
        rows: float32 [n, axes], centred; their mean squared length is 1.
        variances: float64 [axes], falling.
    """

    rows: np.ndarray
    variances: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fit:
    """Weights float64 [axes + 1, classes]; the last row is the bias."""

    weights: np.ndarray

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Returns float64 [m, classes] for rotated rows [m, axes]."""
        return softmax(rows @ self.weights[:-1] + self.weights[-1])


def one_thread() -> contextlib.AbstractContextManager:
    """Keeps matrix products to one thread: small ones lose more by waiting than they gain.

    On a machine with other work to do a fit took twenty times as long on two threads as on one.
    """
    import threadpoolctl  # scikit-learn depends on it

    return threadpoolctl.threadpool_limits(1, "blas")


def rotate(features: np.ndarray, axes: int = AXES) -> Rotated:
    """Returns `features` [n, d] centred, with unit variance each, on their principal axes.

    A feature that is the same everywhere stays zero. Channels of a deep network differ in scale by
    orders of magnitude without differing in use, so each is brought to unit variance first.
    """
    x = np.asarray(features, np.float32)
    x = x - x.mean(0)
    spread = x.std(0)
    x = np.where(spread > 1e-4 * max(spread.max(initial=0.0), 1e-12), x / (spread + 1e-12), 0.0)
    x = x / np.sqrt(max((x**2).sum(1).mean(), 1e-12))
    x = x.astype(np.float32)
    if len(x) < x.shape[1]:
        squared, left = np.linalg.eigh((x @ x.T).astype(np.float64))
        rows = left * np.sqrt(np.maximum(squared, 0))
    else:
        squared, axis = np.linalg.eigh((x.T @ x).astype(np.float64))
        rows = x @ axis
    order = np.argsort(-squared)[:axes]
    order = order[squared[order] > _TINY * max(squared.max(initial=0.0), 1e-12)]
    variances = np.maximum(squared[order], 0) / max(len(x), 1)
    return Rotated(np.ascontiguousarray(rows[:, order], np.float32), variances)


def fit(
    rotated: Rotated,
    part: np.ndarray,
    labels: np.ndarray,
    classes: int,
    penalty: float,
    start: Fit | None = None,
) -> Fit:
    """Minimises mean cross-entropy + penalty / 2 * |weights|^2 (the bias is free) on some rows.

    Args:
        part: Positions of the rows to learn from; `labels` int64 are those of all rows.
        penalty: Above 0. scikit-learn's C is 1 / (penalty * number of rows).
        start: Where to begin, such as the fit with the next larger penalty.
    """
    from scipy.optimize import minimize

    # A bound of the softmax's own curvature times the variance, plus the penalty's: the diagonal.
    scale = 1 / np.sqrt(rotated.variances * (classes - 1) / classes**2 + penalty)
    x = np.empty((len(part), len(scale) + 1), np.float32)
    x[:, :-1] = rotated.rows[part] * scale.astype(np.float32)
    x[:, -1] = 1.0
    decay = np.append(penalty * scale**2, 0.0)[:, None]
    first = np.zeros((len(scale) + 1, classes))
    if start is not None:
        first = start.weights / np.append(scale, 1.0)[:, None]
    known = labels[part]
    found = minimize(
        _loss, first.ravel(), (x, known, decay), jac=True, method="L-BFGS-B",
        options={"maxiter": _STEPS, "gtol": _TOLERANCE, "ftol": 1e-8, "maxcor": 8},
    )  # fmt: skip
    return Fit(found.x.reshape(first.shape) * np.append(scale, 1.0)[:, None])


def _loss(flat, x, labels, decay) -> tuple[float, np.ndarray]:
    """Returns the penalised loss and its gradient."""
    weights = flat.reshape(len(decay), -1)
    chances = softmax(x @ weights.astype(np.float32))
    rows = np.arange(len(labels))
    loss = -np.log(np.maximum(chances[rows, labels], 1e-12)).mean()
    chances[rows, labels] -= 1
    slope = (x.T @ (chances / len(labels)).astype(np.float32)).astype(np.float64)
    return loss + 0.5 * (decay * weights**2).sum(), (slope + decay * weights).ravel()
