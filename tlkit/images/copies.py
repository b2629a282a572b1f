"""Which images show the same picture: equal bytes, or resized, re-encoded, slightly brighter.

Two stages. Candidates are pairs whose 16x16 gray thumbnails correlate almost perfectly; the search
finds all of them and compares few. A candidate counts only if a larger picture agrees as well, in
colour and above all in fine detail: two sunsets share their gradients, never their detail.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tlkit.images.table import Table
from tlkit.images.verdicts import THUMB
from tlkit.progress import track
from tlkit.text import listed

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LOOK = 64  # side of the picture that decides
_CELL = 4  # detail is what remains after removing the mean of each 4x4 cell
_FLAT = 3.0  # gray levels; thumbnails with less contrast carry no picture
_BLOCK = 1 << 25  # correlations held at a time, 128 MB
_STEP = 256  # vectors compared with their window at once
_AXES = 15  # principal components that the search looks at first
_SAMPLE = 8192  # vectors that the axes are taken from
_SLACK = 1e-4  # rounding of float32, with much to spare
_PARTNERS = 10  # best candidates examined per image; more of them are chained to each other anyway


@dataclasses.dataclass(frozen=True)
class Likeness:
    """When two pictures are one, found on planted copies and on real sets without any."""

    thumb: float = 0.965  # correlation of gray thumbnails
    color: float = 0.93  # correlation of all pixels and channels
    detail: float = 0.85  # correlation of detail
    faint: float = 1.5  # gray levels of detail below which it need not agree,
    least: int = 16  # side of the picture below which it says nothing, and ...
    smooth: float = 0.9985  # ... colour must agree this well instead
    certain: float = 0.995  # colour agreement that needs no comparison with other images; below,
    lonely: float = 0.15  # the distance must be at most this part of that to the tenth neighbour
    gain: float = 1.4  # contrast ratio
    shift: float = 40.0  # brightness, gray levels
    aspect: float = 0.03  # relative difference of width / height


def find(
    hashes: Sequence[str],
    thumbs: np.ndarray,
    sizes: np.ndarray,
    look: Callable[[int, int], np.ndarray],
    limits: Likeness = Likeness(),
) -> list[tuple[int, int]]:
    """Returns pairs (i, j), i < j, of rows that show the same picture.

    The pairs connect each cluster of copies; they are not all pairs of a cluster.

    Args:
        hashes: Content hash per row.
        thumbs: uint8 [N, 16, 16, 3], upright.
        sizes: [N, 2] width and height, upright.
        look: `look(i, side)` returns row i as uint8 [side, side, 3].
    """
    first: dict[str, int] = {}
    exact = [(first[h], i) for i, h in enumerate(hashes) if first.setdefault(h, i) != i]
    rows = np.array(sorted(first.values()), np.int64)
    look = functools.lru_cache(maxsize=4096)(look)
    space = _space(rows, thumbs[rows])
    near = []
    for i, j, close in _candidates(space, sizes, limits):
        one, two = sorted(space.rows[[i, j]].tolist())
        side = _side(sizes[[one, two]])
        lonely = functools.partial(space.lonely, i, j, close, limits)
        if same_picture(look(one, side), look(two, side), lonely, limits):
            near.append((one, two))
    return exact + near


def clusters(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns int64 [count]: the smallest row of the connected component each row is in."""
    parent = list(range(count))

    def top(i):
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for i, j in pairs:
        low, high = sorted((top(i), top(j)))
        parent[high] = low
    return np.array([top(i) for i in range(count)], np.int64)


def same_picture(
    one: np.ndarray, two: np.ndarray, lonely: Callable[[], bool], limits: Likeness = Likeness()
) -> bool:
    """Says whether two uint8 pictures [side, side, 3] are one, but for coding and brightness.

    Args:
        lonely: Says, if it matters, whether both are much closer to each other than to any
            unrelated image. Simple shapes such as digits resemble each other all too well, and
            need more proof.
    """
    one, two = one.astype(np.float32), two.astype(np.float32)
    gain = (two.std() + 1e-6) / (one.std() + 1e-6)
    if not 1 / limits.gain < gain < limits.gain or abs(two.mean() - one.mean()) > limits.shift:
        return False
    agree = _correlation(one, two)
    details = [_detail(picture @ _LUMA) for picture in (one, two)]
    if len(one) >= limits.least and _correlation(*details) > limits.detail:
        return agree > limits.certain or (agree > limits.color and lonely())
    faint = len(one) < limits.least or min(part.std() for part in details) < limits.faint
    return faint and agree > limits.smooth


def of_test(split: np.ndarray | None, clusters: np.ndarray) -> dict[int, int]:
    """Returns row -> test row for rows outside a given test split that repeat one in it."""
    if split is None:
        return {}
    tested = {clusters[i]: int(i) for i in np.flatnonzero(split == "test")[::-1]}
    others = np.flatnonzero(split != "test").tolist()
    return {i: tested[clusters[i]] for i in others if clusters[i] in tested}


def report(table: Table, clusters: np.ndarray, dropped: list[tuple[str, str]]) -> Iterator[str]:
    """Yields one line per kind of copy or group that the user should know of."""
    if dropped:
        shown = [f"{name} ({reason})" for name, reason in dropped]
        yield f"{len(shown)} images repeat the test split and are left out: {listed(shown)}."
    names = np.array(table.class_names)[table.labels]
    shown = _pairs(table, clusters, names)
    if shown:
        yield f"{len(shown)} pictures have copies with different labels: {listed(shown)}."
    if table.split is None:
        return
    shown = _pairs(table, clusters, table.split)
    if shown:
        yield f"{len(shown)} pictures have copies in two splits: {listed(shown)}."
    if table.group is not None:
        known = table.select((table.group != "") & (table.split != ""))
        shown = _pairs(known, known.group, known.split)
        if shown:
            yield f"{len(shown)} groups are in two of the given splits: {listed(shown)}."


def _pairs(table, keys, words) -> list[str]:
    """Returns for each key whose rows differ in their word the first two rows that do."""
    first: dict = {}
    pairs: dict = {}
    for i, key in enumerate(keys.tolist()):
        j = first.setdefault(key, i)
        if words[j] != words[i]:
            pairs.setdefault(key, (j, i))
    said = [
        [f"{table.name(i)} ({words[i] or 'undecided'})" for i in pair] for pair in pairs.values()
    ]
    return [" = ".join(pair) for pair in said]


@dataclasses.dataclass(frozen=True)
class _Space:
    """Thumbnails as unit vectors, sorted by their first principal component, for exact search.

    `short` holds the first components of each vector and the length of what is left of it. Two
    bounds follow from Cauchy-Schwarz: the product of two short vectors is at least that of the
    whole ones, and vectors of correlation c differ by at most sqrt(2 - 2c) in any component.
    """

    rows: np.ndarray  # [N] rows of the table
    unit: np.ndarray  # [N, 256]
    short: np.ndarray  # [N, 16]
    first: np.ndarray  # [N] ascending, the first column of `short`

    def window(self, low: float, high: float, least: float) -> slice:
        """Returns where to look for what correlates with vectors from `low` to `high`."""
        reach = math.sqrt(max(0.0, 2 - 2 * least)) + _SLACK
        return slice(*np.searchsorted(self.first, (low - reach, high + reach)))

    def blocks(self, least: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields positions i and j, i < j, of all vectors that correlate above `least`, and how."""
        step = min(_STEP, max(1, _BLOCK // max(1, len(self.rows))))
        for start in track(range(0, len(self.rows), step), "comparing"):
            part = slice(start, start + step)
            stop = self.window(self.first[part][0], self.first[part][-1], least).stop
            bound = (self.short[part] @ self.short[start:stop].T).max(0)
            later = start + np.flatnonzero(bound > least - _SLACK)
            close = self.unit[part] @ self.unit[later].T
            i, k = np.nonzero(close > least)
            ordered = start + i < later[k]
            i, k = i[ordered], k[ordered]
            yield start + i, later[k], close[i, k]

    def crowd(self, i: int, least: float) -> int:
        """Returns how many vectors, itself included, correlate at least so much with vector i."""
        window = self.window(self.first[i], self.first[i], least)
        bound = self.short[window] @ self.short[i]
        maybe = window.start + np.flatnonzero(bound > least - _SLACK)
        return int((self.unit[maybe] @ self.unit[i] >= least).sum())

    def lonely(self, i: int, j: int, close: float, limits: Likeness) -> bool:
        """Says whether i and j are much closer to each other than each is to a tenth neighbour."""
        rank = max(1, min(_PARTNERS, (len(self.rows) - 1) // 2))  # beside the vector itself
        least = 1 - (1 - close) / limits.lonely
        return all(self.crowd(end, least) <= rank for end in (i, j))


def _space(rows: np.ndarray, thumbs: np.ndarray) -> _Space:
    """Returns the space of those `rows` whose thumbnails carry a picture."""
    parts = np.array_split(thumbs.reshape(len(thumbs), -1, 3), len(thumbs) // _STEP + 1)
    gray = np.concatenate([part @ _LUMA for part in parts])  # in parts: floats are large
    gray -= gray.mean(1, keepdims=True)
    norm = np.linalg.norm(gray, axis=1)
    lively = norm > _FLAT * THUMB
    unit = gray[lively] / norm[lively, None]
    sample = unit[:: len(unit) // _SAMPLE + 1]
    _, axes = np.linalg.eigh(sample.T @ sample)  # ascending; any orthonormal axes would be right
    short = unit @ axes[:, : -_AXES - 1 : -1]
    rest = np.sqrt(np.maximum(0, 1 - (short**2).sum(1, keepdims=True)))
    order = np.argsort(short[:, 0], kind="stable")
    short = np.hstack([short, rest])[order]
    first = np.ascontiguousarray(short[:, 0])
    return _Space(rows[lively][order], unit[order], short, first)


def _candidates(space: _Space, sizes, limits) -> Iterator[tuple[int, int, float]]:
    """Yields positions in `space` whose thumbnails and aspect ratios agree, and how well."""
    for i, j, close in space.blocks(limits.thumb):
        fits = _same_aspect(sizes[space.rows[i]], sizes[space.rows[j]], limits)
        best = _best(i[fits], j[fits], close[fits])
        yield from zip(*(part.tolist() for part in best), strict=True)


def _best(i, j, close):
    """Returns for each i its closest partners only."""
    order = np.lexsort((-close, i))
    i, j, close = i[order], j[order], close[order]
    first = np.arange(len(i)) - np.searchsorted(i, i) < _PARTNERS
    return i[first], j[first], close[first]


def _same_aspect(one, two, limits) -> np.ndarray:
    ratio = np.abs(np.log(one[:, 0] * two[:, 1] / (one[:, 1] * two[:, 0])))
    rounding = 1.0 / np.minimum(one, two).min(1)
    return ratio < limits.aspect + rounding


def _side(sizes) -> int:
    return max(_CELL, min(_LOOK, int(sizes.min())) // _CELL * _CELL)


def _detail(gray: np.ndarray) -> np.ndarray:
    cells = gray.reshape(len(gray) // _CELL, _CELL, len(gray) // _CELL, _CELL)
    return cells - cells.mean((1, 3), keepdims=True)


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    one, two = one - one.mean(), two - two.mean()
    return float((one * two).sum() / (np.sqrt((one**2).sum() * (two**2).sum()) + 1e-6))
