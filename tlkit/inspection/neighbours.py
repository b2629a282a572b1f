"""The images most like a given one: exact nearest neighbours in feature space, by cosine."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.evaluation.probes import unit_rows
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.images.dataset import Data, Images
from tlkit.images.subset import everything
from tlkit.images.table import Table
from tlkit.models.classifier import Classifier
from tlkit.models.network import POOLED

BLOCK = 8192  # rows compared at once


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """One image found: its file, its label, and the cosine of its features with the query's."""

    file: str
    label: str
    similarity: float
    row: int


def similar(
    model: Classifier,
    images: Data | Images,
    query: str | os.PathLike[str] | bytes | Sequence[str | os.PathLike[str] | bytes],
    top: int = 5,
    store: Store | None = None,
) -> list[list[Neighbour]]:
    """Returns for each query the `top` most similar images, most similar first.

    Features are the model's pooled ones, from the cache where they are there. A query that is
    itself among the images is found first, with similarity 1.

    Args:
        images: What `load_images` returned (then all three splits are searched), or `Images`.
        query: Paths or encoded bytes, or a single one.

    Raises:
        TlkitError: A query cannot be read, or `top` is not positive.
    """
    queries = [query] if isinstance(query, str | bytes | os.PathLike) else list(query)
    images = everything(images) if isinstance(images, Data) else images
    frozen = Frozen(model, store or Store.default())
    known = frozen.rows(images, POOLED, View())
    asked = frozen.rows(_queries(queries, images.class_names), POOLED, View())
    near, how = nearest(known, asked, top)
    return [
        [_neighbour(images, int(row), float(value)) for row, value in zip(rows, line, strict=True)]
        for rows, line in zip(near, how, strict=True)
    ]


def nearest(
    known: np.ndarray, asked: np.ndarray, top: int, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of `known` [n, d] nearest to each of `asked` [m, d], and their cosines.

    The search is exact, whatever number of rows a `block` has. Ties go to the earlier row.

    Returns: int64 and float32 [m, min(top, n)], the largest cosine first.
    """
    if top < 1:
        raise TlkitError(f"Ask for one neighbour or more, not {top}.")
    asked = unit_rows(asked)
    rows = np.zeros((len(asked), 0), np.int64)
    values = np.zeros((len(asked), 0), np.float32)
    for start in range(0, len(known), block):
        alike = asked @ unit_rows(known[start : start + block]).T
        numbers = np.broadcast_to(np.arange(start, start + alike.shape[1]), alike.shape)
        wider = np.hstack([values, alike])
        best = np.argsort(-wider, axis=1, kind="stable")[:, :top]
        rows = np.take_along_axis(np.hstack([rows, numbers]), best, 1)
        values = np.take_along_axis(wider, best, 1)
    return rows, values


def _queries(queries: list, class_names: tuple[str, ...]) -> Images:
    """Returns the queries as images of no known label."""
    held = [item if isinstance(item, bytes) else _bytes(item) for item in queries]
    pictures = np.empty(len(held), object)
    pictures[:] = held
    labels = np.full(len(held), -1, np.int64)
    table = Table("query", None, tuple(range(len(held))), labels, class_names, arrays=pictures)
    return Images("query", table, labels, tuple(map(files.content_hash, held)), class_names)


def _bytes(path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlkitError(f"Cannot read the query {path}: {error.strerror or error}.") from error


def _neighbour(images: Images, row: int, similarity: float) -> Neighbour:
    label = images.class_names[images.labels[row]]
    return Neighbour(images.table.name(row), label, similarity, row)
