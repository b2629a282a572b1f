"""The worklist of doubtful labels as a CSV file, and the labels it was accepted with."""

import csv
import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import files
from tlkit.errors import TlkitError, unknown
from tlkit.images import sources
from tlkit.images.dataset import Data
from tlkit.images.table import Table, relative

COLUMNS = ("file", "label", "suggested", "score", "reason", "accept")

_YES, _NO = ("yes", "y", "1", "true", "x", "accept"), ("", "no", "n", "0", "false")


@dataclasses.dataclass(frozen=True)
class Doubt:
    """One image whose label the user should look at.

    Attributes:
        row: Its position.
        suggested: The label it would rather have; empty where none is better.
        score: 0..1, the worst first: 1 for copies that contradict each other.
        reasons: Each piece of evidence in words.
    """

    row: int
    file: str
    label: str
    suggested: str
    score: float
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Worklist:
    """The doubtful labels, worst first, and what they were judged by.

    Attributes:
        doubts: One for each image in doubt.
        count: Images judged.
        rate: Share of images that confident learning lists when all labels are right and the
            probabilities, at `temperature`, are too.
        wrong: Estimated share of wrong labels, if they fall on all classes alike.
        joint: float64 [classes, classes], confident learning's estimate of the shares of images
            by given (rows) and true label; sums to 1. Where classes look alike it counts hard
            images as wrong labels: read it for which classes are confused, not how often.
        temperature: What the probabilities were softened by before use.
    """

    doubts: tuple[Doubt, ...]
    count: int
    rate: float
    wrong: float
    joint: np.ndarray
    temperature: float

    def summary(self) -> str:
        """Returns how many labels are in doubt, and how many would be if all were right."""
        expected = self.rate * self.count
        few = " This is no more than that." if len(self.doubts) <= expected else ""
        return (
            f"{len(self.doubts):,} of {self.count:,} labels are in doubt; about "
            f"{100 * self.wrong:.1f} % are estimated to be wrong. Were all labels right, up to "
            f"about {expected:,.0f} would be listed.{few}"
        )


def write_csv(worklist: Worklist, path: str | os.PathLike[str]) -> None:
    """Writes the worklist with an empty column `accept` for the user to fill, see `accepted`.

    Raises:
        TlkitError: `path` holds something else, or a list with marks that would be lost.
    """
    path = Path(path)
    if path.exists() and any(row["accept"] for row in _read(path)):
        raise TlkitError(f"{path} holds accepted rows. Move it away, or write to another folder.")
    rows = [
        (d.file, d.label, d.suggested, f"{d.score:.4f}", "; ".join(d.reasons), "")
        for d in worklist.doubts
    ]
    _write(path, [COLUMNS, *rows])


def accepted(worklist: str | os.PathLike[str], source: Any, out: str | os.PathLike[str]) -> int:
    """Writes the labels of `source` with the accepted changes as a new CSV, and returns how many.

    A row counts as accepted if its `accept` says yes, y, 1, true, x or accept. The image then gets
    the label in `suggested`, which the user may have edited to any class; where that is empty the
    image is left out. `load_images(out)` reads the result. No file of the user's is changed.

    Args:
        worklist: The CSV that `write_csv` wrote, with marks.
        source: What `load_images` took or gave: a folder, a CSV file or a `Data`, whose split is
            then kept.
        out: A path that does not exist yet; its paths are written from there.

    Raises:
        TlkitError: A mark that is neither yes nor no, an unknown file or class, a label that has
            changed since, a source without files, or `out` exists.
    """
    out = Path(out)
    if out.exists():
        raise TlkitError(f"{out} exists and is left as it is. Choose another name.")
    table, split = _table_of(source)
    if table.root is None:
        raise TlkitError(f"{table.source} holds arrays: change their labels by row instead.")
    changes = _changes(Path(worklist), table)
    _write(out, _labels(table, split, changes, out.absolute().parent))
    return len(changes)


def _table_of(source: Any) -> tuple[Table, np.ndarray | None]:
    if isinstance(source, Data):
        return source.table, source.splits
    table = sources.read_source(source)
    return table, table.split


def _changes(path: Path, table: Table) -> dict[int, str]:
    """Returns row of the table -> new label, empty to leave it out."""
    place = {table.name(i): i for i in range(len(table))}
    changes = {}
    for number, row in enumerate(_read(path), 2):
        if not _is_yes(row["accept"], f"{path}, line {number}"):
            continue
        if row["file"] not in place:
            raise TlkitError(f"{path}, line {number}: {row['file']} is not in {table.source}.")
        i = place[row["file"]]
        if table.class_names[table.labels[i]] != row["label"]:
            raise TlkitError(
                f"{path}, line {number}: {row['file']} is labelled "
                f"{table.class_names[table.labels[i]]} by now. Make the list again."
            )
        if row["suggested"] and row["suggested"] not in table.class_names:
            raise unknown("class", row["suggested"], table.class_names)
        changes[i] = row["suggested"]
    return changes


def _is_yes(text: str, where: str) -> bool:
    word = text.strip().lower()
    if word not in _YES + _NO:
        raise TlkitError(f"{where}: accept must be yes, no or empty. Received: {text!r}.")
    return word in _YES


def _labels(table: Table, split, changes: dict[int, str], folder: Path) -> Iterator[tuple]:
    columns = {"split": split, "group": table.group}
    given = {name: column for name, column in columns.items() if column is not None}
    yield ("path", "label", *given)
    for i in range(len(table)):
        label = changes.get(i, table.class_names[table.labels[i]])
        if label:
            where = relative(table.path(i).absolute(), folder)
            yield (where, label, *(column[i] for column in given.values()))


def _read(path: Path) -> list[dict[str, str]]:
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
        rows = [{key: (row.get(key) or "").strip() for key in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TlkitError(f"Cannot read the worklist {path}: {error}.") from error
    if missing := set(COLUMNS) - set(reader.fieldnames or ()):
        raise TlkitError(f"{path} is no worklist: it lacks the columns {sorted(missing)}.")
    return rows


def _write(path: Path, rows) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    files.write_text(path, text.getvalue())
