"""The gate: every image is decoded once before anything is trained on it.

A file that cannot be read is named and left out, never touched. Verdicts are kept by content, so
the second look at the same files only hashes them. Copies are found here as well, since what a
split may do depends on them.
"""

import csv
import dataclasses
import io
import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from tlkit import duplicates, files
from tlkit.duplicates import some
from tlkit.errors import TlkitError
from tlkit.progress import track
from tlkit.table import ROLES, Table

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
LEAST_SIDE = 4  # pixels; smaller ones are tracking dots and the like
FEW = 10  # training images of a class below which we warn
SKEWED = 10.0  # largest class / smallest class above which we warn
_DRAFT = 64  # libjpeg's reduced scale reads the whole entropy-coded stream and skips the rest
_KEEP = 250_000  # verdicts, about 900 bytes each
_HEADER = "file,reason"

_SIGNS = {
    b"\xff\xd8\xff": "a JPEG that breaks off in its header",
    b"\x89PNG": "a PNG that breaks off in its header",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"version https://git-lfs": "a Git LFS pointer, whose content was never fetched",
    b"<!doctype html": "HTML",
    b"<html": "HTML",
    b"<svg": "SVG",
    b"<?xml": "XML",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """What decoding one image told; sizes are upright, that is after EXIF orientation."""

    reason: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    orientation: int = 1
    frames: int = 1
    bits16: bool = False
    alpha: bool = False
    gray: bool = False
    thumb: Any = 0  # uint8 [16, 16, 3]

    @property
    def ok(self) -> bool:
        """Whether the image can be used."""
        return not self.reason


@dataclasses.dataclass(frozen=True, eq=False)
class Checked:
    """The images that passed, and what is to be said about all of them.

    Attributes:
        table: The rows that passed.
        hashes: Content hash per row.
        verdicts: Verdict per row.
        quarantine: Name and reason of each bad image.
        clusters: int64 per row; copies of one picture share a number.
        warnings: One line each.
        dropped: Training images left out since the given test split holds a copy of them.
    """

    table: Table
    hashes: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    quarantine: list[tuple[str, str]]
    clusters: np.ndarray
    warnings: list[str]
    dropped: list[tuple[str, str]]

    def summary(self) -> str:
        """Returns what the gate found, on several lines."""
        return "\n".join([*facts(self), *(f"  warning: {line}" for line in self.warnings)])

    def write_quarantine(self, path: str | os.PathLike[str]) -> None:
        """Writes the bad files as CSV with the columns file and reason.

        Raises:
            TlkitError: `path` holds something that is not such a list.
        """
        path = Path(path)
        if path.exists() and path.read_bytes().splitlines()[:1] != [_HEADER.encode()]:
            raise TlkitError(f"{path} is not a quarantine list of tlkit and is left as it is.")
        text = io.StringIO()
        rows = [_HEADER.split(","), *self.quarantine]
        csv.writer(text, lineterminator="\n").writerows(rows)
        files.write_text(path, text.getvalue())


def check(
    table: Table, *, max_bad: float = 0.05, cache: bool = True, workers: int | None = None
) -> Checked:
    """Decodes every image of `table` once and returns those that can be used.

    Args:
        max_bad: Share of bad images above which this raises.
        cache: Whether verdicts are kept by content under tlkit's cache folder.
        workers: Threads; all cores unless given.

    Raises:
        TlkitError: Too many bad images, or a class of which none is left.
    """
    with warnings.catch_warnings(action="ignore"):  # what Pillow warns of becomes a verdict
        hashes, verdicts = _examine(table, cache, workers)
        good = np.array([verdict.ok for verdict in verdicts], bool)
        bad = [(table.name(i), v.reason) for i, v in enumerate(verdicts) if not v.ok]
        _refuse(table, bad, good, max_bad)
        hashes = [h for h, v in zip(hashes, verdicts, strict=True) if v.ok]
        verdicts = [v for v in verdicts if v.ok]
        return _without_copies_of_test(table.select(good), hashes, verdicts, bad)


def _without_copies_of_test(table, hashes, verdicts, bad) -> Checked:
    sizes = np.array([(v.width, v.height) for v in verdicts])
    thumbs = np.stack([v.thumb for v in verdicts])
    pairs = duplicates.find(hashes, thumbs, sizes, lambda i, side: _look(table, i, side))
    clusters = duplicates.clusters(len(table), pairs)
    spoiled = duplicates.of_test(table.split, clusters)
    dropped = [(table.name(i), f"copy of test {table.name(t)}") for i, t in spoiled.items()]
    stay = np.array([i for i in range(len(table)) if i not in spoiled])
    left = table.select(stay)
    _refuse_lost_class(table, left, "each of its images is also in the test split")
    hashes, verdicts = (tuple(part[i] for i in stay) for part in (hashes, verdicts))
    checked = Checked(left, hashes, verdicts, bad, clusters[stay], [], dropped)
    return dataclasses.replace(checked, warnings=_warnings(checked))


def judge(data: bytes) -> Verdict:
    """Decodes the bytes of one file completely and says what they are."""
    if not data:
        return Verdict("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _judge_opened(image, data)
    except UnidentifiedImageError:
        return Verdict(f"not an image: {looks_like(data)}")
    except Image.DecompressionBombError:
        return Verdict("too large: more pixels than Pillow decodes safely")
    except Exception as error:  # decoders raise all sorts: SyntaxError, struct.error, IndexError
        text = " ".join(str(error).split())[:60] or type(error).__name__
        return Verdict("truncated" if "truncated" in text.lower() else f"unreadable: {text}")


def judge_array(pixels: np.ndarray) -> Verdict:
    """Says what one array [height, width, channels] is."""
    height, width, channels = pixels.shape
    if min(height, width) < LEAST_SIDE:
        return Verdict(f"too small: {width}x{height}")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        return Verdict("holds NaN or infinity")
    thumb = duplicates.small(duplicates.as_image(pixels), duplicates.THUMB)
    kind = {"format": "array", "mode": str(pixels.dtype), "alpha": channels == 4}
    return Verdict("", width, height, gray=_is_gray(thumb), thumb=thumb, **kind)


def looks_like(data: bytes) -> str:
    """Says in words what bytes that are no image seem to be."""
    start = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for sign, words in _SIGNS.items():
        if start.startswith(sign.lower()):
            return f"looks like {words}"
    if data[4:8] == b"ftyp":
        return f"looks like {data[8:12].decode('latin-1').strip().upper()} (HEIC, AVIF or video)"
    text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512])
    return "looks like text" if text else "unknown content"


def _judge_opened(image, data) -> Verdict:
    width, height = image.size
    if min(width, height) < LEAST_SIDE:
        return Verdict(f"too small: {width}x{height}")
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    alpha, mode = image.has_transparency_data, image.mode
    thumb = duplicates.small(image, duplicates.THUMB, _DRAFT)
    tag = duplicates.orientation(image)  # PNG may carry EXIF after the pixels
    width, height = (height, width) if tag >= 5 else (width, height)
    bits16 = mode.startswith("I") or (image.format == "PNG" and data[24] == 16)
    kind = "JPEG" if image.format == "MPO" else image.format
    gray = _is_gray(thumb)
    return Verdict("", width, height, kind, mode, tag, frames, bits16, alpha, gray, thumb)


def _is_gray(thumb: np.ndarray) -> bool:
    return bool(np.ptp(thumb, axis=-1).max() <= 2)


def _look(table: Table, i: int, side: int) -> np.ndarray:
    """Returns row i as uint8 [side, side, 3], for the comparison of candidates."""
    if table.root is None:
        return duplicates.small(duplicates.as_image(table.image(i)), side)
    with Image.open(table.path(i), formats=FORMATS) as image:
        return duplicates.small(image, side, 2 * side)


def _examine(table: Table, cache: bool, workers: int | None) -> tuple[list[str], list[Verdict]]:
    """Returns content hash and verdict of every row."""
    kept = _Kept() if cache and table.root is not None else None
    judged: list[tuple[str, Verdict]] = []
    try:
        rows = _on_all_cores(lambda i: _row(table, i, kept), len(table), workers)
        judged.extend(track(rows, "checking", len(table)))
    finally:  # an interrupted check is not lost
        if kept is not None:
            kept.add(dict(judged))
    return [h for h, _ in judged], [verdict for _, verdict in judged]


def _row(table, i, kept) -> tuple[str, Verdict]:
    if table.root is None:
        pixels = table.image(i)
        tail = repr((pixels.shape, pixels.dtype.str)).encode()
        return files.content_hash(pixels.tobytes() + tail), judge_array(pixels)
    try:
        data = table.read(i)
    except OSError as error:
        return "", Verdict(f"cannot be read: {error.strerror or error}")
    name = files.content_hash(data)
    return name, (kept and kept.get(name)) or judge(data)


def _on_all_cores(row: Callable, count: int, workers: int | None, chunk: int = 16) -> Iterator:
    """Yields `row(i)` for i below `count`, in order; Pillow decodes outside Python's lock."""
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    starts = range(0, count, chunk)
    try:
        for part in pool.map(lambda s: [row(i) for i in range(s, min(s + chunk, count))], starts):
            yield from part
    finally:
        pool.shutdown(cancel_futures=True)


class _Kept:
    """Verdicts by content hash, in one file replaced as a whole; a damaged one counts as none."""

    ROW = np.dtype(
        [("hash", "S32"), ("reason", "S96"), ("width", "u4"), ("height", "u4"), ("format", "S8"),
         ("mode", "S8"), ("orientation", "u1"), ("frames", "u4"), ("bits16", "?"), ("alpha", "?"),
         ("gray", "?"), ("thumb", "u1", (duplicates.THUMB, duplicates.THUMB, 3))]
    )  # fmt: skip
    FIELDS = tuple(field.name for field in dataclasses.fields(Verdict))

    def __init__(self):
        # Another Pillow may read what this one does not.
        self.path = files.home() / "verdicts" / f"1-{PIL.__version__}.npz"
        self.rows = self._read()
        self.place = {name.decode(): i for i, name in enumerate(self.rows["hash"].tolist())}

    def _read(self) -> np.ndarray:
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                rows = stored["rows"]
        except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile):
            return np.empty(0, self.ROW)
        return rows if rows.dtype == self.ROW else np.empty(0, self.ROW)

    def get(self, name: str) -> Verdict | None:
        if name not in self.place:
            return None
        row = self.rows[self.place[name]]
        plain = {field: row[field].item() for field in self.FIELDS[:-1]}
        text: Any = {k: v.decode() if isinstance(v, bytes) else v for k, v in plain.items()}
        return Verdict(**text, thumb=row["thumb"])

    def add(self, judged: dict[str, Verdict]):
        new = {h: v for h, v in judged.items() if h and h not in self.place}
        if not new:
            return
        rows = np.empty(len(new), self.ROW)
        for i, (name, verdict) in enumerate(new.items()):
            fields = [getattr(verdict, field) for field in self.FIELDS]
            plain = (f.encode("ascii", "replace") if isinstance(f, str) else f for f in fields)
            rows[i] = (name, *plain)
        with files.replacing(self.path) as temporary:
            np.savez(temporary, rows=np.concatenate([self.rows, rows])[-_KEEP:])


def _refuse(table, bad, good, max_bad):
    if len(bad) > max_bad * len(table):
        raise TlkitError(
            f"{table.source}: {len(bad)} of {len(table)} images cannot be used, more than "
            f"max_bad={max_bad:g} allows: {some([f'{name} ({why})' for name, why in bad])}. "
            "Mend or remove them, or allow more with max_bad."
        )
    _refuse_lost_class(table, table.select(good), "none of its images can be used")


def _refuse_lost_class(before, after, why):
    lost = sorted(set(before.labels[_trainable(before)]) - set(after.labels[_trainable(after)]))
    if lost:
        name = before.class_names[lost[0]]
        raise TlkitError(f"{before.source}: the class {name!r} is lost: {why}.")


def _warnings(checked: Checked) -> list[str]:
    table = checked.table
    copies = duplicates.report(table, checked.clusters, checked.dropped)
    lines = [*table.notes, *_about_files(checked), *copies, *_about_pixels(checked)]
    counts = np.bincount(table.labels[_trainable(table)], minlength=len(table.class_names))
    few = [f"{name} ({n})" for name, n in zip(table.class_names, counts, strict=True) if n < FEW]
    if few:
        lines.append(f"Fewer than {FEW} images to train and validate on: {some(few)}.")
    if counts.max() > SKEWED * max(counts.min(), 1):
        ends = [f"{counts[i]:,} images of {table.class_names[i]}" for i in np.argsort(-counts)]
        lines.append(f"Unbalanced: {ends[0]}, {ends[-1]}. Look at the balanced accuracy.")
    return lines


def _about_files(checked) -> Iterator[str]:
    table = checked.table
    if checked.quarantine:
        bad = [f"{name} ({reason})" for name, reason in checked.quarantine]
        yield f"{len(bad)} images cannot be used and are left out: {some(bad)}."
    if table.skipped:
        kinds = [f"{n} {extension}" for extension, n in sorted(table.skipped.items())]
        yield f"Files of other kinds are not read: {some(kinds)}."
    animated = [table.name(i) for i, v in enumerate(checked.verdicts) if v.frames > 1]
    if animated:
        yield f"{len(animated)} images have several frames; the first counts: {some(animated)}."
    limit = Image.MAX_IMAGE_PIXELS or float("inf")
    huge = [table.name(i) for i, v in enumerate(checked.verdicts) if v.width * v.height > limit]
    if huge:
        yield f"{len(huge)} images have more than {limit:,} pixels: {some(huge)}."


def _about_pixels(checked) -> Iterator[str]:
    table, verdicts = checked.table, checked.verdicts
    if table.arrays is not None:
        ranges = [(table.image(i).min(), table.image(i).max()) for i in range(len(table))]
        low, high = float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))
        if high <= 1 or low < 0 or high > 255:
            yield f"The arrays hold {low:g} to {high:g}; pixels are expected to be 0..255."
    gray = np.array([v.gray for v in verdicts], float)
    totals = np.bincount(table.labels, minlength=len(table.class_names))
    share = np.bincount(table.labels, gray) / np.maximum(totals[: table.labels.max() + 1], 1)
    share = share[totals[: len(share)] > 0]
    if share.max() > 0.8 and share.min() < 0.2:
        names = np.array(table.class_names)[np.flatnonzero(totals)]
        yield (
            f"Most images of {names[share.argmax()]} are gray, few of {names[share.argmin()]}: "
            "a model may learn that instead of the picture."
        )


def _trainable(table) -> np.ndarray:
    return np.full(len(table), True) if table.split is None else table.split != "test"


def facts(checked: Checked) -> list[str]:
    """Returns the lines of a summary, without the warnings."""
    table, verdicts = checked.table, checked.verdicts
    counts = np.bincount(table.labels, minlength=len(table.class_names))
    classes = [f"{name} {n:,}" for name, n in zip(table.class_names, counts, strict=True)]
    sizes = sorted(((v.width, v.height) for v in verdicts), key=np.prod)
    small, middle, large = (f"{w}x{h}" for w, h in (sizes[0], sizes[len(sizes) // 2], sizes[-1]))
    _, members = np.unique(checked.clusters, return_counts=True)
    special = {
        "gray": sum(v.gray for v in verdicts), "with alpha": sum(v.alpha for v in verdicts),
        "CMYK": sum(v.mode == "CMYK" for v in verdicts), "16-bit": sum(v.bits16 for v in verdicts),
        "turned by EXIF": sum(v.orientation > 1 for v in verdicts),
        "animated": sum(v.frames > 1 for v in verdicts),
    }  # fmt: skip
    kinds = Counter(v.format for v in verdicts).most_common()
    facts = {
        "classes": some(classes, 12),
        "size": f"{small} to {large}, median {middle}",
        "kinds": ", ".join(f"{kind} {n:,}" for kind, n in kinds),
        "of these": ", ".join(f"{n:,} {word}" for word, n in special.items() if n),
        "copies": f"{int((members - 1).sum()):,} of {(members > 1).sum():,} pictures",
        "left out": f"{len(checked.quarantine)} bad, {len(checked.dropped)} copies of test images",
    }
    if table.split is not None:
        given = {role: (table.split == role).sum() for role in (*ROLES, "")}
        facts["given"] = ", ".join(f"{r or 'undecided'} {n:,}" for r, n in given.items() if n)
    head = f"{table.source}: {len(table):,} images, {len(table.class_names)} classes"
    return [head, *(f"  {name:<9} {text}" for name, text in facts.items() if text)]
