"""Which images lie far from all others of their class in feature space."""

import numpy as np

from tlkit.evaluation.probes import unit_rows

FAR = 4.0  # robust standard deviations beyond which an image is far from its class
NEIGHBOURS = 5
_FEW = 10  # images of a class below which its deviation is taken from all classes
_BLOCK = 2048  # images compared with their class at once


def class_distance(features, labels: np.ndarray, clusters=None) -> np.ndarray:
    """Returns float64 [n]: how far each image lies from its class, in robust deviations.

    The distance is the mean over the 5 nearest other pictures of the class, in cosine; its
    logarithm is compared with the class's median and median absolute deviation, which up to half
    of a class cannot shift. Classes with fewer than 10 images borrow the deviation of all. An
    image alone in its class is far from nothing: 0.
    """
    unit = unit_rows(features)
    clusters = np.arange(len(labels)) if clusters is None else np.asarray(clusters)
    logs = np.full(len(labels), np.nan)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        logs[rows] = np.log(_neighbour_distance(unit[rows], clusters[rows]) + 1e-6)
    return _robust(logs, labels)


def _neighbour_distance(unit: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Returns [m]: mean distance to the nearest rows of other clusters; NaN without any."""
    out = np.full(len(unit), np.nan)
    for start in range(0, len(unit), _BLOCK):
        part = slice(start, start + _BLOCK)
        distance = np.maximum(1 - unit[part] @ unit.T, 0)
        distance[clusters[part, None] == clusters[None]] = np.inf
        nearest = np.partition(distance, min(NEIGHBOURS, len(unit)) - 1, 1)[:, :NEIGHBOURS]
        there = np.isfinite(nearest)
        total = np.where(there, nearest, 0).sum(1)
        out[part] = np.where(there.any(1), total / np.maximum(there.sum(1), 1), np.nan)
    return out


def _robust(logs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    centred = np.zeros(len(logs))
    spread = np.ones(len(logs))
    known = np.isfinite(logs)
    for label in np.unique(labels[known]):
        rows = np.flatnonzero((labels == label) & known)
        centred[rows] = logs[rows] - np.median(logs[rows])
    common = _deviation(centred[known])
    for label in np.unique(labels[known]):
        rows = np.flatnonzero((labels == label) & known)
        spread[rows] = _deviation(centred[rows]) if len(rows) >= _FEW else common
    return centred / np.maximum(spread, common / 3)


def _deviation(centred: np.ndarray) -> float:
    return float(max(1.4826 * np.median(np.abs(centred)), 1e-6)) if len(centred) else 1.0
