"""Divisions of images into folds that keep copies of one picture together."""

import numpy as np


def grouped_folds(labels, clusters=None, count: int = 5, seed: int = 0) -> np.ndarray:
    """Returns int64 [n]: the fold, below `count`, that each image is held out in.

    Every class is dealt out evenly; rows of one cluster share a fold, so that no image is judged
    by a model that saw its copy.

    Args:
        labels: int [n].
        clusters: int [n], equal for copies of one picture; None if there are none.
    """
    labels = np.asarray(labels)
    clusters = np.arange(len(labels)) if clusters is None else np.asarray(clusters)
    _, first, member = np.unique(clusters, return_index=True, return_inverse=True)
    draw = np.random.default_rng(seed).random(len(first))
    order = np.lexsort((draw, labels[first]))
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % count
    return fold[member]
