"""One table behind every source of labelled images: path or index, label, split, group.

Nothing is decoded here. `sources` makes tables, the gate (`checks`) reads them next.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import TlkitError, unknown

ROLES = ("train", "val", "test")
ARRAYS = "arrays"  # the name of sources that have none
ROLE_NAMES = {
    **dict.fromkeys(("train", "training"), "train"), **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Rows of labelled images, in order of their relative paths.

    Attributes:
        source: What the user named.
        root: The folder that `items` are relative to; None for arrays.
        items: A relative path with `/` per row, or a row index into `arrays`.
        labels: int64 [N], positions in `class_names`.
        split: "train", "val", "test" or "" (undecided) per row; None where nothing was given.
        group: A string per row ("" = none); rows of one group must share a split.
        arrays: Images 0..255 [N, height, width(, channels)], or an object array of such images,
            some or all of which may be encoded bytes.
        skipped: Extension -> number of files that are not read.
        notes: Lines the user should see, such as images lying beside the class folders.
    """

    source: str
    root: Path | None
    items: tuple
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: np.ndarray | None = None
    group: np.ndarray | None = None
    arrays: np.ndarray | None = None
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def path(self, i: int) -> Path:
        """Returns where row `i` lies; only for sources of files."""
        if self.root is None:
            raise TlkitError(f"{self.source} holds arrays: row {i} has no path.")
        return self.root / self.items[i]

    def name(self, i: int) -> str:
        """Returns how messages call row `i`: its relative path, or "row 17" of an array."""
        return str(self.items[i]) if self.root is not None else f"row {self.items[i]}"

    def read(self, i: int) -> bytes | np.ndarray:
        """Returns row `i` as it is held: encoded bytes, or pixels [height, width, channels]."""
        if self.arrays is None:
            return self.path(i).read_bytes()
        held = self.arrays[self.items[i]]
        if isinstance(held, bytes):
            return held
        return held[..., None] if held.ndim == 2 else held

    def select(self, rows: Any) -> "Table":
        """Returns the table of `rows`, a bool mask or indices; arrays are shared, not copied."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        columns = {name: getattr(self, name) for name in ("labels", "split", "group")}
        chosen: Any = {name: None if c is None else c[rows] for name, c in columns.items()}
        return dataclasses.replace(self, items=tuple(self.items[i] for i in rows), **chosen)


def from_arrays(
    x: Any, y: Any, class_names: Iterable[str] | None = None, source: str = ARRAYS
) -> Table:
    """Returns the table of images `x` with labels `y`.

    Args:
        x: [N, height, width(, channels)] or a list of [height, width(, channels)], pixels 0..255;
            a list may hold encoded bytes as well.
        y: [N] integers or strings. Integers without `class_names` are named by themselves.
        class_names: The names that integer labels stand for.

    Raises:
        TlkitError: Another number of labels, an image of another shape, an unknown label.
    """
    images, y = stack(x), np.asarray(y).reshape(-1)
    if len(images) != len(y) or not len(y):
        raise TlkitError(f"{source}: {len(images)} images came with {len(y)} labels.")
    shapes = {image.shape for image in images if not isinstance(image, bytes)}
    if bad := [list(shape) for shape in shapes if len(shape) not in (2, 3)]:
        raise TlkitError(f"{source}: an image must be [height, width(, channels)], not {bad[0]}.")
    values, labels = np.unique(y, return_inverse=True)
    names = list(map(str, values if class_names is None else class_names))
    labels = (labels if class_names is None else _indices(y, names)).astype(np.int64)
    return Table(source, None, tuple(range(len(y))), labels, tuple(names), arrays=images)


def relabel(table: Table, class_names: Sequence[str]) -> Table:
    """Returns `table` with its labels expressed in the order of `class_names`, by name.

    Raises:
        TlkitError: `table` has a class that is not in `class_names`.
    """
    if strange := sorted(set(table.class_names) - set(class_names)):
        raise TlkitError(f"{table.source}: {unknown('class', strange[0], class_names)}")
    order = np.array([list(class_names).index(name) for name in table.class_names], np.int64)
    return dataclasses.replace(table, labels=order[table.labels], class_names=tuple(class_names))


def with_role(table: Table, role: str) -> Table:
    """Returns `table` with every row in the split `role`."""
    return dataclasses.replace(table, split=np.full(len(table), role, "<U5"))


def join(one: Table, two: Table) -> Table:
    """Returns the rows of `one`, then those of `two`; both have the same class names and a split.

    Raises:
        TlkitError: One holds files and the other arrays.
    """
    if (one.root is None) != (two.root is None):
        raise TlkitError(f"{one.source} and {two.source}: both must be files, or both arrays.")
    items, arrays = tuple(range(len(one) + len(two))), None
    if one.root is None:
        arrays = stack([t.arrays[i] for t in (one, two) for i in t.items])  # type: ignore[index]
    else:
        items = one.items + tuple(relative(two.path(i), one.root) for i in range(len(two)))
    joined = np.concatenate([one.labels, two.labels])
    groups = [np.full(len(t), "") if t.group is None else t.group for t in (one, two)]
    group = None if one.group is None and two.group is None else np.concatenate(groups)
    return dataclasses.replace(
        one, items=items, labels=joined, arrays=arrays, group=group,
        split=np.concatenate([one.split, two.split]), notes=one.notes + two.notes,
        skipped=dict(Counter(one.skipped) + Counter(two.skipped)),
    )  # fmt: skip


def stack(images) -> np.ndarray:
    """Returns images as one array; as an object array where shapes differ or some are bytes."""
    if isinstance(images, np.ndarray) and images.dtype != object:
        return images
    images = [image if isinstance(image, bytes) else np.asarray(image) for image in images]
    encoded = any(isinstance(image, bytes) for image in images)
    if not encoded and len({(image.shape, image.dtype) for image in images}) == 1:
        return np.stack(images)
    out = np.empty(len(images), object)
    for i, image in enumerate(images):  # a slice would try to broadcast equal leading sides
        out[i] = image
    return out


def _indices(y: np.ndarray, names: list[str]) -> np.ndarray:
    values = list(range(len(names))) if y.dtype.kind in "iu" else names
    if strange := sorted(set(y.tolist()) - set(values)):
        raise unknown("label", strange[0], map(str, values))
    place = {value: i for i, value in enumerate(values)}
    return np.array([place[value] for value in y.tolist()])


def relative(path: str | Path, root: Path) -> str:
    """Returns `path` as it is written in a table: from `root`, with `/`."""
    return os.path.relpath(path, root).replace(os.sep, "/")
