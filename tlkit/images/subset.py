"""Some of the images: all roles together, or each class in its share."""

import dataclasses
from typing import Any

import numpy as np

from tlkit.images import checks, copies, sources
from tlkit.images.dataset import Data, Images


def everything(data: Data) -> Images:
    """Returns the images of all splits."""
    return chosen(data, np.arange(len(data.table)), "all")


def chosen(data: Data, rows: np.ndarray, role: str) -> Images:
    """Returns some rows of `data.table` as images of one role."""
    table = data.table.select(rows)
    hashes = tuple(data.hashes[i] for i in rows)
    return Images(role, table, table.labels, hashes, data.class_names)


def stratified(labels, count: int):
    """Returns positions of about `count` of `labels`, each class in its share, at least one."""
    import numpy as np

    draw = np.random.default_rng(0)
    share = min(count / len(labels), 1.0)
    parts = []
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        parts.append(draw.permutation(mine)[: max(round(share * len(mine)), 1)])
    return np.sort(np.concatenate(parts))


def clusters_of(data: Data, rows: np.ndarray) -> np.ndarray:
    """Returns int64 per row: copies found by the gate, joined with the groups the user named."""
    clusters = data.checked.clusters[rows]
    if data.table.group is None:
        return clusters
    first: dict[Any, int] = {}
    pairs = []
    for i, (copy, group) in enumerate(zip(clusters, data.table.group[rows], strict=True)):
        for key in [("copy", int(copy)), *([("group", str(group))] if group else [])]:
            pairs.append((first.setdefault(key, i), i))
    return copies.clusters(len(rows), pairs)


def spread(labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Returns `limit` positions, ascending, with classes in their proportions, at least two each.

    Within a class the order is drawn; across classes the next is whose share is least served.
    """
    draw = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = draw[labels[draw] == label]
        rank[mine] = np.arange(len(mine))
    share = np.where(rank < 2, -1.0, rank / np.bincount(labels)[labels])
    return np.sort(np.argsort(share, kind="stable")[:limit])


def gather(source: Any, max_bad: float = 0.05) -> Images:
    """Returns all usable images of a folder, CSV file or data set, divided or not.

    Raises:
        TlkitError: Nothing there, or too many bad files.
    """
    table = dataclasses.replace(sources.read_source(source, least=1), split=None)
    checked = checks.check(table, max_bad=max_bad)
    kept = checked.table
    return Images("all", kept, kept.labels, checked.hashes, kept.class_names)
