"""The user's images, checked, divided and remembered: what `fine_tune` and `evaluate` take.

The split of a source is kept under tlkit's cache folder. New files are added to it; what was a
test image stays one, however often the source is loaded.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images import checks, split
from tlkit.images.checks import Checked
from tlkit.images.manifest import (
    changes,
    make_manifest,
    read_manifest,
    splits_of,
    verify_manifest,
    write_manifest,
)
from tlkit.images.sources import read_source
from tlkit.images.table import ARRAYS, ROLE_NAMES, ROLES, Table, relabel
from tlkit.progress import say
from tlkit.text import listed


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Some checked images of one role.

    Attributes:
        role: "train", "val", "test", or what `read_images` was given.
        table: Their rows.
        labels: int64 [N], positions in `class_names`.
        hashes: Content hash per row.
        class_names: The classes in the order of the labels.
    """

    role: str
    table: Table
    labels: np.ndarray
    hashes: tuple[str, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.table)

    @functools.cached_property
    def files(self) -> tuple[str, ...]:
        """The path of each image, or "row 17" for arrays."""
        if self.table.root is None:
            return tuple(self.table.name(i) for i in range(len(self)))
        return tuple(str(self.table.path(i)) for i in range(len(self)))


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """Checked images with their split. `summary()` says what there is to know."""

    checked: Checked
    splits: np.ndarray
    manifest: dict
    warnings: tuple[str, ...]

    @property
    def table(self) -> Table:
        """All rows that can be used."""
        return self.checked.table

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels."""
        return self.table.class_names

    @property
    def hashes(self) -> tuple[str, ...]:
        """Content hash per row of `table`."""
        return self.checked.hashes

    @property
    def quarantine(self) -> list[tuple[str, str]]:
        """Name and reason of each image that cannot be used."""
        return self.checked.quarantine

    @property
    def fingerprint(self) -> str:
        """One digest of classes, names, labels, split and content."""
        return self.manifest["digest"]

    @functools.cached_property
    def train(self) -> Images:
        """The images to learn from."""
        return self._role("train")

    @functools.cached_property
    def val(self) -> Images:
        """The images that choose the best epoch."""
        return self._role("val")

    @functools.cached_property
    def test(self) -> Images:
        """The images for the final numbers, and for nothing else."""
        return self._role("test")

    def _role(self, role) -> Images:
        rows = np.flatnonzero(self.splits == role)
        return _images(role, self.checked, rows)

    def summary(self) -> str:
        """Returns what the gate found and how the images are divided, on several lines."""
        lines = checks.facts(self.checked)
        lines.append(f"  {'split':<9} {_sizes(self.splits)} (manifest {self.fingerprint[:8]})")
        return "\n".join([*lines, *(f"  warning: {line}" for line in self.warnings)])

    def write_quarantine(self, path: str | os.PathLike[str]) -> None:
        """Writes the images that cannot be used as CSV with the columns file and reason."""
        self.checked.write_quarantine(path)

    @classmethod
    def from_manifest(
        cls,
        path: str | os.PathLike[str],
        source: Any = None,
        *,
        labels: Any = None,
        test: Any = None,
    ) -> "Data":
        """Loads exactly the data a manifest was written for.

        Files are found again by themselves; arrays must be given as `load_images` was given them.

        Args:
            source: The arrays, or where a folder was moved to.
            labels: Labels for an array `source`; a list of labels that was moved.
            test: The arrays of the test split, or where its folder was moved to.

        Raises:
            TlkitError: The manifest is damaged, an image was added, removed or changed, or arrays
                are needed.
        """
        manifest = read_manifest(path)
        options = manifest["options"]
        given = {"source": source, "labels": labels, "test": test}
        given = {key: options[key] if value is None else value for key, value in given.items()}
        for name in ("source", "test"):
            if isinstance(given[name], str) and given[name] == ARRAYS:
                raise TlkitError(
                    f"{path} stands for arrays: give them as `{name}` again, "
                    "Data.from_manifest(path, source, labels=..., test=...)."
                )
        table = read_source(**given, data_dir=options["data_dir"])
        checked = checks.check(table, max_bad=options["max_bad"])
        verify_manifest(manifest, checked)
        splits = splits_of(manifest, checked.table.items)
        return cls(checked, splits, manifest, tuple(checked.warnings))


def load_images(
    source: Any,
    *,
    labels: Any = None,
    test: Any = None,
    val_share: float = 0.15,
    test_share: float = 0.15,
    seed: int = 0,
    max_bad: float = 0.05,
    data_dir: str | None = None,
    cache: bool = True,
) -> Data:
    """Reads, checks and divides images.

    Args:
        source: A folder with one folder per class; one with train, val and test; a CSV file;
            `(x, y)` arrays; the name of a TensorFlow Dataset. See `images.sources.read_source`.
        labels: Labels for an array `source`; a CSV file for a folder.
        test: A further source that is the test split.
        val_share: Share of validation images, where the source does not name them.
        test_share: Share of test images, where the source does not name them.
        seed: Another seed gives another split.
        max_bad: Share of unreadable images above which this raises.
        data_dir: Where TensorFlow Datasets keeps its files.
        cache: Whether verdicts and split are remembered.

    Raises:
        TlkitError: Nothing there, too few classes or images, too many bad files.
    """
    table = read_source(source, labels=labels, test=test, data_dir=data_dir)
    checked = checks.check(table, max_bad=max_bad, cache=cache)
    options = _options(table, labels, test, val_share, test_share, max_bad, data_dir)
    memory = files.home() / "data" / _key(options, checked, seed) / "manifest.json"
    before, notes = _recall(memory) if cache else (None, [])
    kept, changed = _kept(before, checked)
    splits = split.split(checked, val=val_share, test=test_share, seed=seed, kept=kept)
    manifest = make_manifest(checked, splits, seed=seed, **options)
    if cache and (before is None or before["digest"] != manifest["digest"]):
        write_manifest(manifest, memory)
    data = Data(checked, splits, manifest, (*checked.warnings, *notes, *changed))
    _announce(data)
    return data


def read_images(
    source: Any, class_names: Sequence[str], role: str = "test", max_bad: float = 0.05
) -> Images:
    """Reads and checks labelled images for a model that exists, such as a folder of test photos.

    Args:
        class_names: The model's classes; `source` may lack some, but may have no others.

    Raises:
        TlkitError: `source` has a class the model does not know, or too many bad files.
    """
    table = read_source(source, least=1)
    if table.split is not None and len(set(table.split.tolist())) > 1:
        roles = ", ".join(role for role in ROLES if (table.split == role).any())
        raise TlkitError(
            f"{table.source} is divided into {roles}: name the part to read, such as "
            f"{Path(str(table.source)) / _folder_of(table, 'test')}."
        )
    checked = checks.check(
        dataclasses.replace(relabel(table, class_names), split=None), max_bad=max_bad
    )
    for line in checked.warnings:
        say(f"{table.source}: {line}")
    return _images(role, checked, np.arange(len(checked.table)))


def _images(role, checked, rows) -> Images:
    table = checked.table.select(rows)
    hashes = tuple(checked.hashes[i] for i in rows)
    return Images(role, table, table.labels, hashes, table.class_names)


def _folder_of(table, role) -> str:
    names = {str(item).split("/")[0] for item in table.items}
    return next((name for name in sorted(names) if ROLE_NAMES.get(name.lower()) == role), role)


def _options(table, labels, test, val_share, test_share, max_bad, data_dir) -> dict:
    """Returns what it takes to read the same source again, as plain values."""
    is_path = table.root is not None
    return {
        "source": _place(table.source) if is_path else table.source,
        "labels": _place(labels) if is_path and labels is not None else None,
        "test": None if test is None else _place(test),
        "val_share": val_share, "test_share": test_share, "max_bad": max_bad,
        "data_dir": None if data_dir is None else os.fspath(data_dir),
    }  # fmt: skip


def _place(source) -> str:
    """Returns what finds a source again: an absolute path, a data set's name or `ARRAYS`."""
    if not isinstance(source, str | os.PathLike):
        return ARRAYS
    path = os.path.abspath(os.path.expanduser(source))
    return path if os.path.exists(path) else os.fspath(source)


def _key(options, checked, seed) -> str:
    """Returns the name a split is remembered by; arrays have none but their content."""
    unnamed = ARRAYS in (options["source"], options["test"])
    content = sorted(checked.hashes) if unnamed else None
    return files.combined_hash({**options, "max_bad": None}, content, seed)


def _recall(memory: Path) -> tuple[dict | None, list[str]]:
    if not memory.exists():
        return None, []
    try:
        return read_manifest(memory), []
    except TlkitError as error:
        return None, [f"The remembered split cannot be used and is made anew: {error}"]


def _kept(before, checked) -> tuple[np.ndarray | None, list[str]]:
    """Returns the role each row had, found by content, then by path; and what changed since."""
    if before is None:
        return None, []
    by_content: dict[str, str] = {}
    for row in before["rows"]:  # of two equal images in two roles, the stricter one counts
        by_content[row[4]] = max(row[2], by_content.get(row[4], "train"), key=ROLES.index)
    by_path = splits_of(before, checked.table.items)
    roles = [by_content.get(h, role) for h, role in zip(checked.hashes, by_path, strict=True)]
    found = changes(before, checked)
    if not found:
        return np.array(roles, "<U5"), []
    new = roles.count("")
    return np.array(roles, "<U5"), [
        f"The data changed since it was divided ({listed(found, 3, '; ')}). "
        f"Known images keep their split, {new:,} new ones were added to it."
    ]


def _sizes(splits) -> str:
    return ", ".join(f"{role} {int((splits == role).sum()):,}" for role in ROLES)


def _announce(data: Data):
    classes = len(data.class_names)
    say(
        f"{data.table.source}: {len(data.table):,} images, {classes} classes; {_sizes(data.splits)}"
    )
    for line in data.warnings:
        say(f"warning: {line}")
