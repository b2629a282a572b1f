"""Which images show the same picture: equal bytes, or resized, re-encoded, slightly brighter.

Two stages. Candidates are pairs whose 16x16 gray thumbnails correlate almost perfectly, found by
a blocked matrix product. A candidate counts only if a larger picture agrees as well, in colour and
above all in fine detail: two sunsets share their gradients, never their detail.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from tlkit.progress import track
from tlkit.table import Table

THUMB = 16
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LOOK = 64  # side of the picture that decides
_CELL = 4  # detail is what remains after removing the mean of each 4x4 cell
_FLAT = 3.0  # gray levels; thumbnails with less contrast carry no picture
_BLOCK = 1 << 25  # correlations held at a time, 128 MB
_PARTNERS = 10  # best candidates examined per image; more of them are chained to each other anyway


@dataclasses.dataclass(frozen=True)
class Limits:
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


def small(image: Image.Image, side: int, sharp: int = 0) -> np.ndarray:
    """Returns uint8 [side, side, 3]: the image upright, alpha over white, squashed.

    Args:
        sharp: A JPEG may be decoded at a reduced scale that keeps both sides at least this long.
    """
    scaled = image.draft(None, (sharp, sharp)) if sharp else None
    box = scaled[1] if scaled else None  # the part of the last row and column that is picture
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    tag = orientation(image)
    # Triangles, not boxes: Pillow's box filter counts whole pixels only, so copies would differ.
    image = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box)
    pixels = np.asarray(image)
    pixels = pixels.swapaxes(0, 1) if tag >= 5 else pixels
    down, right = (1 - 2 * (tag in flipped) for flipped in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(pixels[::down, ::right])


def as_image(pixels: np.ndarray) -> Image.Image:
    """Returns an array [height, width, channels] of any number type 0..255 as an image."""
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    if pixels.shape[2] in (3, 4):
        return Image.fromarray(pixels)
    return Image.fromarray(pixels[..., 0])


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation 1..8 of an opened image."""
    tag = image.getexif().get(0x0112, 1)
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def find(
    hashes: Sequence[str],
    thumbs: np.ndarray,
    sizes: np.ndarray,
    look: Callable[[int, int], np.ndarray],
    limits: Limits = Limits(),
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
    near = [
        (i, j)
        for i, j, lonely in _candidates(rows, thumbs[rows], sizes[rows], limits)
        if _agree(look, i, j, _side(sizes[[i, j]]), lonely, limits)
    ]
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
    one: np.ndarray, two: np.ndarray, lonely: bool = True, limits: Limits = Limits()
) -> bool:
    """Says whether two uint8 pictures [side, side, 3] are one, but for coding and brightness.

    Args:
        lonely: Whether both are much closer to each other than to any unrelated image. Simple
            shapes such as digits resemble each other all too well, and need more proof.
    """
    one, two = one.astype(np.float32), two.astype(np.float32)
    gain = (two.std() + 1e-6) / (one.std() + 1e-6)
    if not 1 / limits.gain < gain < limits.gain or abs(two.mean() - one.mean()) > limits.shift:
        return False
    agree = _correlation(one, two)
    details = [_detail(picture @ _LUMA) for picture in (one, two)]
    if len(one) >= limits.least and _correlation(*details) > limits.detail:
        return agree > (limits.color if lonely else limits.certain)
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
        yield f"{len(shown)} images repeat the test split and are left out: {some(shown)}."
    names = np.array(table.class_names)[table.labels]
    shown = _pairs(table, clusters, names)
    if shown:
        yield f"{len(shown)} pictures have copies with different labels: {some(shown)}."
    if table.split is None:
        return
    shown = _pairs(table, clusters, table.split)
    if shown:
        yield f"{len(shown)} pictures have copies in two splits: {some(shown)}."
    if table.group is not None:
        known = table.select((table.group != "") & (table.split != ""))
        shown = _pairs(known, known.group, known.split)
        if shown:
            yield f"{len(shown)} groups are in two of the given splits: {some(shown)}."


def some(names: list[str], most: int = 5) -> str:
    """Returns the first names and how many more there are."""
    return ", ".join(names[:most]) + (
        f" and {len(names) - most:,} more" if len(names) > most else ""
    )


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


def _candidates(rows, thumbs, sizes, limits):
    """Yields pairs of `rows` whose thumbnails and aspect ratios agree, and if they are lonely."""
    gray = (thumbs @ _LUMA).reshape(len(thumbs), -1)
    gray = gray - gray.mean(1, keepdims=True)
    norm = np.linalg.norm(gray, axis=1)
    lively = np.flatnonzero(norm > _FLAT * THUMB)
    rows, unit, sizes = rows[lively], gray[lively] / norm[lively, None], sizes[lively]
    step = max(1, _BLOCK // max(1, len(rows)))
    for start in track(range(0, len(rows), step), "comparing"):
        close = unit[start : start + step] @ unit[start:].T
        i, j = np.nonzero(close > limits.thumb)
        fits = (i < j) & _same_aspect(sizes[start + i], sizes[start + j], limits)
        i, j, near = _best(i[fits], j[fits], close)
        lonely = 1 - near < limits.lonely * (1 - _crowd(unit, start + i, start + j))
        yield from zip(*(part.tolist() for part in (rows[start + i], rows[start + j], lonely)),
                       strict=True)  # fmt: skip


def _best(i, j, close):
    """Returns for each i its closest partners j only, and how close they are."""
    order = np.lexsort((-close[i, j], i))
    i, j = i[order], j[order]
    first = np.arange(len(i)) - np.searchsorted(i, i) < _PARTNERS
    return i[first], j[first], close[i[first], j[first]]


def _crowd(unit, i, j) -> np.ndarray:
    """Returns per pair the larger correlation with a tenth neighbour, of those of i and j."""
    ends, place = np.unique(np.concatenate([i, j]), return_inverse=True)
    rank = max(1, min(_PARTNERS, (len(unit) - 1) // 2))  # rank 0 is the image itself
    tenth = np.ones(len(ends), np.float32)
    step = max(1, _BLOCK // max(1, len(unit)))
    for start in range(0, len(ends), step):
        far = 1 - unit[ends[start : start + step]] @ unit.T
        tenth[start : start + step] = 1 - np.partition(far, rank, axis=1)[:, rank]
    return tenth[place].reshape(2, -1).max(0)


def _agree(look, i, j, side, lonely, limits) -> bool:
    return same_picture(look(i, side), look(j, side), lonely, limits)


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
