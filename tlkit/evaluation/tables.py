"""Tables about predictions: the matrix, classes, worst cases, confidence against truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkit.evaluation.bootstrap import paired_difference as paired_difference
from tlkit.evaluation.calibration import fit_temperature as fit_temperature
from tlkit.evaluation.calibration import softmax as softmax

BINS = 15  # Guo et al. 2017, Section 5

WORST = 20

CONFUSED = 10


@dataclass(frozen=True)
class Scored:
    """One row per image, all the rest is counted from."""

    probabilities: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    loss: np.ndarray


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Returns the bin of each confidence; bin m is ((m - 1) / 15, m / 15]."""
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def confusion(scored: Scored, classes: int) -> np.ndarray:
    from sklearn.metrics import confusion_matrix  # slow to import, so not at the top

    return confusion_matrix(scored.labels, scored.predicted, labels=range(classes))


def per_class(scored: Scored, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns a row per class; None where a ratio has nothing to divide by."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        scored.labels, scored.predicted, labels=range(len(class_names)), zero_division=np.nan
    )
    rows = []
    for name, precision, recall, f1, support in zip(class_names, *columns, strict=True):
        ratios = {"precision": precision, "recall": recall, "f1": f1 if support else np.nan}
        ratios = {key: None if np.isnan(ratio) else float(ratio) for key, ratio in ratios.items()}
        rows.append({"name": name, **ratios, "support": int(support)})
    return rows


def most_confused(matrix: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSED]
    pairs = [divmod(int(cell), len(matrix)) for cell in order]
    return [
        {"true": class_names[t], "predicted": class_names[p], "count": int(wrong[t, p])}
        for t, p in pairs
        if wrong[t, p]
    ]


def top_losses(scored: Scored, class_names, files) -> list[dict[str, Any]]:
    order = np.argsort(-scored.loss, kind="stable")[:WORST]
    return [
        {
            "index": int(i),
            "file": str(files[i]) if files is not None else None,
            "true": class_names[scored.labels[i]],
            "predicted": class_names[scored.predicted[i]],
            "probability": float(scored.confidence[i]),
            "true_probability": float(scored.probabilities[i, scored.labels[i]]),
            "loss": float(scored.loss[i]),
        }
        for i in order
    ]


def reliability(scored: Scored) -> list[dict[str, Any]]:
    """Returns a row per bin that is not empty: edges, count, mean confidence, accuracy."""
    bins = bin_of(scored.confidence)
    rows = []
    for index in np.unique(bins):
        inside = bins == index
        rows.append(
            {
                "low": float(index / BINS),
                "high": float((index + 1) / BINS),
                "count": int(inside.sum()),
                "confidence": float(scored.confidence[inside].mean()),
                "accuracy": float(scored.correct[inside].mean()),
            }
        )
    return rows
