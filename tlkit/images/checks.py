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
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images import copies as duplicates
from tlkit.images.pictures import look
from tlkit.images.table import ROLES, Table
from tlkit.images.verdicts import Verdict, VerdictCache, judge, judge_array
from tlkit.progress import track
from tlkit.text import listed

FEW = 10  # training images of a class below which we warn
SKEWED = 10.0  # largest class / smallest class above which we warn
_HEADER = "file,reason"


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
    pairs = duplicates.find(hashes, thumbs, sizes, lambda i, side: look(table.read(i), side))
    clusters = duplicates.clusters(len(table), pairs)
    spoiled = duplicates.of_test(table.split, clusters)
    dropped = [(table.name(i), f"copy of test {table.name(t)}") for i, t in spoiled.items()]
    stay = np.array([i for i in range(len(table)) if i not in spoiled])
    left = table.select(stay)
    _refuse_lost_class(table, left, "each of its images is also in the test split")
    hashes, verdicts = (tuple(part[i] for i in stay) for part in (hashes, verdicts))
    checked = Checked(left, hashes, verdicts, bad, clusters[stay], [], dropped)
    return dataclasses.replace(checked, warnings=_warnings(checked))


def _examine(table: Table, cache: bool, workers: int | None) -> tuple[list[str], list[Verdict]]:
    """Returns content hash and verdict of every row."""
    kept = VerdictCache() if cache and table.root is not None else None
    judged: list[tuple[str, Verdict]] = []
    try:
        rows = _on_all_cores(lambda i: _row(table, i, kept), len(table), workers)
        judged.extend(track(rows, "checking", len(table)))
    finally:  # an interrupted check is not lost
        if kept is not None:
            kept.add(dict(judged))
    return [h for h, _ in judged], [verdict for _, verdict in judged]


def _row(table, i, kept) -> tuple[str, Verdict]:
    try:
        held = table.read(i)
    except OSError as error:
        return "", Verdict(f"cannot be read: {error.strerror or error}")
    if isinstance(held, bytes):
        name = files.content_hash(held)
        return name, (kept and kept.get(name)) or judge(held)
    tail = repr((held.shape, held.dtype.str)).encode()
    return files.content_hash(held.tobytes() + tail), judge_array(held)


def _on_all_cores(row: Callable, count: int, workers: int | None, chunk: int = 16) -> Iterator:
    """Yields `row(i)` for i below `count`, in order; Pillow decodes outside Python's lock."""
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    starts = range(0, count, chunk)
    try:
        for part in pool.map(lambda s: [row(i) for i in range(s, min(s + chunk, count))], starts):
            yield from part
    finally:
        pool.shutdown(cancel_futures=True)


def _refuse(table, bad, good, max_bad):
    if len(bad) > max_bad * len(table):
        raise TlkitError(
            f"{table.source}: {len(bad)} of {len(table)} images cannot be used, more than "
            f"max_bad={max_bad:g} allows: {listed([f'{name} ({why})' for name, why in bad])}. "
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
        lines.append(f"Fewer than {FEW} images to train and validate on: {listed(few)}.")
    if counts.max() > SKEWED * max(counts.min(), 1):
        ends = [f"{counts[i]:,} images of {table.class_names[i]}" for i in np.argsort(-counts)]
        lines.append(f"Unbalanced: {ends[0]}, {ends[-1]}. Look at the balanced accuracy.")
    return lines


def _about_files(checked) -> Iterator[str]:
    table = checked.table
    if checked.quarantine:
        bad = [f"{name} ({reason})" for name, reason in checked.quarantine]
        yield f"{len(bad)} images cannot be used and are left out: {listed(bad)}."
    if table.skipped:
        kinds = [f"{n} {extension}" for extension, n in sorted(table.skipped.items())]
        yield f"Files of other kinds are not read: {listed(kinds)}."
    animated = [table.name(i) for i, v in enumerate(checked.verdicts) if v.frames > 1]
    if animated:
        yield f"{len(animated)} images have several frames; the first counts: {listed(animated)}."
    limit = Image.MAX_IMAGE_PIXELS or float("inf")
    huge = [table.name(i) for i, v in enumerate(checked.verdicts) if v.width * v.height > limit]
    if huge:
        yield f"{len(huge)} images have more than {limit:,} pixels: {listed(huge)}."


def _about_pixels(checked) -> Iterator[str]:
    table, verdicts = checked.table, checked.verdicts
    if table.arrays is not None:
        held = [
            image for image in map(table.read, range(len(table))) if isinstance(image, np.ndarray)
        ]
        low = float(min((image.min() for image in held), default=0))
        high = float(max((image.max() for image in held), default=255))
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
    kinds = Counter(v.format for v in verdicts).most_common()
    said = {
        "classes": listed(classes, 12),
        "size": f"{small} to {large}, median {middle}",
        "kinds": ", ".join(f"{kind} {n:,}" for kind, n in kinds),
        "of these": ", ".join(f"{n:,} {word}" for word, n in _odd(verdicts).items() if n),
        "copies": f"{int((members - 1).sum()):,} of {(members > 1).sum():,} pictures",
        "left out": f"{len(checked.quarantine)} bad, {len(checked.dropped)} copies of test images",
    }
    if table.split is not None:
        given = {role: (table.split == role).sum() for role in (*ROLES, "")}
        said["given"] = ", ".join(f"{r or 'undecided'} {n:,}" for r, n in given.items() if n)
    head = f"{table.source}: {len(table):,} images, {len(table.class_names)} classes"
    return [head, *(f"  {name:<9} {text}" for name, text in said.items() if text)]


def _odd(verdicts) -> dict[str, int]:
    """Returns how many images are of each kind that decoders treat in their own way."""
    return {
        "gray": sum(v.gray for v in verdicts), "with alpha": sum(v.alpha for v in verdicts),
        "CMYK": sum(v.mode == "CMYK" for v in verdicts), "16-bit": sum(v.bits16 for v in verdicts),
        "turned by EXIF": sum(v.orientation > 1 for v in verdicts),
        "animated": sum(v.frames > 1 for v in verdicts),
    }  # fmt: skip
