"""Logits to probabilities, and the temperature that makes them honest."""

from typing import Any

import numpy as np

from tlkit.errors import TlkitError
from tlkit.evaluation.bootstrap import paired_difference as paired_difference

_BOUNDS = (0.01, 100.0)


def softmax(logits: Any, temperature: float = 1.0) -> np.ndarray:
    """Returns float64 probabilities of `logits` [..., classes] divided by `temperature`."""
    if not temperature > 0:
        raise TlkitError(f"A temperature must be above 0. Received: {temperature}.")
    scaled = np.asarray(logits, np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def fit_temperature(logits: Any, labels: Any) -> float:
    """Returns the temperature with the least log loss (Guo et al. 2017, Section 4.2).

    It changes no ranking, so no accuracy. With every image right the least loss would be at
    temperature 0, certainty, so the labels are smoothed by one image in n + 2 first, as Platt
    (1999) does. The answer is 1.0 where the data cannot tell: fewer than 20 images, equal logits,
    or worse than chance.

    Args:
        logits: [images, classes], of images the model was not trained on.
        labels: [images] integers.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if not np.isfinite(logits).all():
        raise TlkitError("Cannot fit a temperature: some logits are NaN or infinite.")
    if len(labels) < 20:
        return 1.0
    margins = logits - logits[np.arange(len(labels)), labels][:, None]
    return _least(lambda log_t: _mean_log_loss(margins, np.exp(log_t)))


def _mean_log_loss(margins: np.ndarray, temperature: float) -> float:
    """`margins` are the logits minus that of the label, [images, classes]."""
    from scipy.special import logsumexp

    scaled = margins / temperature
    smoothing = 1 / (len(margins) + 2)
    return float((logsumexp(scaled, axis=1) - smoothing * scaled.mean(axis=1)).mean())


def _least(loss) -> float:
    """Returns the temperature where `loss` of its logarithm is least, 1.0 without a minimum.

    The log loss is convex in 1/T, so it has one valley in log T too.
    """
    from scipy.optimize import minimize_scalar

    low, high = np.log(_BOUNDS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    at_bound = min(found.x - low, high - found.x) < 0.01
    return 1.0 if at_bound or loss(0.0) - found.fun < 1e-12 else float(np.exp(found.x))


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats; NaN logits give NaN, which ends the run."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(-1)) - chosen))
