"""One table behind every source of labelled images: path or index, label, split, group.

Nothing is decoded here. Folders, CSV files, arrays and TensorFlow Datasets all become a `Table`,
which the gate (`checks`) reads next.
"""

import csv
import dataclasses
import difflib
import functools
import importlib.util
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import TlkitError, unknown

READABLE = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
ROLES = ("train", "val", "test")
ROLE_NAMES = {
    **dict.fromkeys(("train", "training"), "train"), **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
}  # fmt: skip
_NO_TFDS = "For TensorFlow Datasets: pip install 'tlkit[tfds]'."


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
        arrays: Images 0..255, stacked or an object array of [height, width(, channels)] arrays.
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

    def read(self, i: int) -> bytes:
        """Returns the encoded bytes of row `i`."""
        return self.path(i).read_bytes()

    def image(self, i: int) -> np.ndarray:
        """Returns the pixels [height, width, channels] of row `i` of an array source."""
        if self.arrays is None:
            raise TlkitError(f"{self.source} holds files: read them by `read` or `path`.")
        pixels = np.asarray(self.arrays[self.items[i]])
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def select(self, rows: Any) -> "Table":
        """Returns the table of `rows`, a bool mask or indices; arrays are shared, not copied."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        columns = {name: getattr(self, name) for name in ("labels", "split", "group")}
        chosen: Any = {name: None if c is None else c[rows] for name, c in columns.items()}
        return dataclasses.replace(self, items=tuple(self.items[i] for i in rows), **chosen)


def read_source(
    source: Any,
    *,
    labels: Any = None,
    test: Any = None,
    data_dir: str | None = None,
    least: int = 2,
) -> Table:
    """Reads the names and labels of a source of images.

    Args:
        source: A folder with one folder per class; a folder of such folders called train, val
            and test; a CSV file with the columns path and label, and perhaps split and group;
            `(x, y)` or `(x, y, class_names)` arrays; or the name of a TensorFlow Dataset, with
            or without `tfds:` before it.
        labels: For an array `source`: its labels. For a folder: a CSV file with paths in it.
        test: A further source of the same kinds that is the test split.
        data_dir: Where TensorFlow Datasets keeps its files.
        least: The smallest number of classes that makes sense.

    Raises:
        TlkitError: No such source, no images, too few classes, an empty class, a bad CSV line.
    """
    table = _read(source, labels, data_dir)
    if test is not None:
        table = _with_test(table, _read(test, None, data_dir))
    if len(table.class_names) < least:
        only = f"{table.source} holds only one class, {table.class_names[0]!r}"
        raise TlkitError(f"{only}; a classifier needs at least two.{_nested_hint(table)}")
    return table


def relabel(table: Table, class_names: Sequence[str]) -> Table:
    """Returns `table` with its labels expressed in the order of `class_names`, by name.

    Raises:
        TlkitError: `table` has a class that is not in `class_names`.
    """
    if strange := sorted(set(table.class_names) - set(class_names)):
        raise TlkitError(f"{table.source}: {unknown('class', strange[0], class_names)}")
    order = np.array([list(class_names).index(name) for name in table.class_names], np.int64)
    return dataclasses.replace(table, labels=order[table.labels], class_names=tuple(class_names))


def _read(source, labels, data_dir) -> Table:
    if isinstance(source, Table):
        return source
    if isinstance(source, str | os.PathLike):
        return _read_named(os.fspath(source), labels, data_dir)
    if labels is not None:
        source = (source, labels)
    if not isinstance(source, tuple | list) or len(source) not in (2, 3):
        raise TlkitError(f"Cannot read {type(source)}: give a folder, CSV file or (x, y) arrays.")
    return from_arrays(*source)


def _read_named(source: str, labels, data_dir) -> Table:
    path = Path(source).expanduser()
    if source.startswith("tfds:"):
        return _tfds(source.removeprefix("tfds:"), data_dir)
    if path.is_dir():
        return _csv(Path(labels), path, source) if labels is not None else _folder(path, source)
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _csv(path, path.parent, source)
    if path.exists():
        raise TlkitError(f"{source} is neither a folder nor a CSV file.")
    if re.fullmatch(r"\w+(/\w+)?(:\d.*)?", source) and _is_tfds(source, data_dir):
        return _tfds(source, data_dir)
    raise _no_such(path, source)


def _no_such(path: Path, source: str) -> TlkitError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(str(path.parent / n)) for n in near)}?" if near else ""
    extra = "" if importlib.util.find_spec("tensorflow_datasets") else _NO_TFDS
    return TlkitError(f"No folder, CSV file or data set called {source!r}.{hint} {extra}".strip())


def _folder(root: Path, source: str) -> Table:
    below = _folders(root)
    roles = {name: ROLE_NAMES[name.lower()] for name in below if name.lower() in ROLE_NAMES}
    given = set(roles.values())
    if "train" not in given or (len(given) == 1 and len(below) > 1):
        return _classes(root, root, source)
    if len(given) < len(roles):
        raise TlkitError(f"{source} has two folders for one split: {', '.join(sorted(roles))}.")
    parts = {role: _classes(root, root / name, f"{source}/{name}") for name, role in roles.items()}
    table = dataclasses.replace(_marked(parts["train"], "train"), source=source)
    for role in ("val", "test"):
        if role in parts:
            table = _join(table, _marked(relabel(parts[role], table.class_names), role))
    others = sorted(set(below) - set(roles))
    note = (f"Not read: the folders {', '.join(others)} beside {', '.join(sorted(roles))}.",)
    return dataclasses.replace(table, notes=table.notes + (note if others else ()))


def _classes(root: Path, folder: Path, source: str) -> Table:
    """Reads one folder per class; files in deeper folders belong to the class at the top."""
    names = _folders(folder)
    skipped: Counter[str] = Counter()
    files = {name: list(_images(folder / name, skipped)) for name in names}
    loose = list(_images(folder, Counter(), deep=False))
    if not any(files.values()):
        raise TlkitError(_nothing(source, loose, skipped))
    if empty := [name for name in names if not files[name]]:
        listed = ", ".join(map(repr, empty))
        raise TlkitError(f"{source}: no readable image in the class folder {listed}.")
    rows = [(_relative(path, root), i) for i, name in enumerate(names) for path in files[name]]
    note = f"{len(loose)} images lie directly in {source}, in no class folder, and are not read."
    items, labels = zip(*sorted(rows), strict=True)
    return Table(
        source, root, items, np.array(labels, np.int64), tuple(names),
        skipped=dict(skipped), notes=(note,) if loose else (),
    )  # fmt: skip


def _nothing(source, loose, skipped) -> str:
    if loose:
        found = f"{len(loose)} images lie directly in {source}, none in class folders"
        return f"{found}: use one folder per class, or a CSV file with the columns path and label."
    found = ", ".join(f"{n} {extension}" for extension, n in sorted(skipped.items()))
    found = f"only {found}" if found else "no files in folders"
    return f"No images in {source}: {found}. Readable: {' '.join(READABLE)}, one folder per class."


def _nested_hint(table: Table) -> str:
    inner = sorted({Path(item).parts[1] for item in table.items if str(item).count("/") > 1})
    if table.root is None or len(inner) < 2:
        return ""
    outer = table.root / table.class_names[0]
    return f" Its folders {', '.join(inner[:5])} look like classes: did you mean {outer}?"


def _folders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not _hidden(e.name))


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _images(folder: Path, skipped: Counter, deep: bool = True) -> Iterator[str]:
    """Yields readable files below `folder`, counting the others by extension into `skipped`."""
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if deep and not _hidden(name)]
        for name in names:
            if not _hidden(name):
                if (extension := os.path.splitext(name)[1].lower()) in READABLE:
                    yield os.path.join(here, name)
                else:
                    skipped[extension or "no extension"] += 1


def _relative(path: str | Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


def _csv(path: Path, root: Path, source: str) -> Table:
    rows = list(_csv_rows(path))
    skipped = Counter(e for row in rows if (e := Path(row["path"]).suffix.lower()) not in READABLE)
    rows = [row for row in rows if Path(row["path"]).suffix.lower() in READABLE]
    if not rows:
        raise TlkitError(f"No images in {path}. Readable: {' '.join(READABLE)}.")
    rows.sort(key=lambda row: row["path"])
    twice = [a["path"] for a, b in itertools.pairwise(rows) if a["path"] == b["path"]]
    if twice:
        raise TlkitError(f"{path} names {twice[0]} twice. Give each image one line.")
    names, labels = np.unique([row["label"] for row in rows], return_inverse=True)
    column = {key: np.array([row[key] for row in rows]) for key in ("split", "group")}
    given: Any = {key: value for key, value in column.items() if (value != "").any()}
    return Table(
        source, root, tuple(row["path"] for row in rows), labels.astype(np.int64),
        tuple(map(str, names)), skipped=dict(skipped), **given,
    )  # fmt: skip


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TlkitError(f"Cannot read the CSV file {path}: {error}.") from error
    lines = text.splitlines()
    comma = max(",;\t", key=lines[0].count) if lines else ","
    for number, row in enumerate(csv.DictReader(lines, delimiter=comma), 2):
        row = {(key or "").strip().lower(): (value or "").strip() for key, value in row.items()
               if not isinstance(value, list)}  # fmt: skip
        if "path" not in row or "label" not in row:
            raise TlkitError(f"{path} needs the columns path and label; it has {', '.join(row)}.")
        if not row["path"] or not row["label"]:
            raise TlkitError(f"{path}, line {number}: the path or the label is empty.")
        role = row.get("split", "").lower()
        if role and role not in ROLE_NAMES:
            raise TlkitError(f"{path}, line {number}: {unknown('split', role, ROLES)}")
        where = os.path.normpath(row["path"]).replace(os.sep, "/")
        role, group = ROLE_NAMES.get(role, ""), row.get("group", "")
        yield row | {"path": where, "split": role, "group": group}


def from_arrays(
    x: Any, y: Any, class_names: Iterable[str] | None = None, source: str = "arrays"
) -> Table:
    """Returns the table of images `x` with labels `y`.

    Args:
        x: [N, height, width(, channels)] or a list of [height, width(, channels)], pixels 0..255.
        y: [N] integers or strings. Integers without `class_names` are named by themselves.
        class_names: The names that integer labels stand for.
    """
    images, y = _stack(x), np.asarray(y).reshape(-1)
    if len(images) != len(y) or not len(y):
        raise TlkitError(f"{source}: {len(images)} images came with {len(y)} labels.")
    bad = [im.shape for im in images if np.ndim(im) not in (2, 3)][:1]
    if bad:
        raise TlkitError(f"{source}: an image must be [height, width(, channels)], not {bad[0]}.")
    values, labels = np.unique(y, return_inverse=True)
    names = list(map(str, values if class_names is None else class_names))
    labels = (labels if class_names is None else _indices(y, names)).astype(np.int64)
    return Table(source, None, tuple(range(len(y))), labels, tuple(names), arrays=images)


def _indices(y: np.ndarray, names: list[str]) -> np.ndarray:
    values = list(range(len(names))) if y.dtype.kind in "iu" else names
    if strange := sorted(set(y.tolist()) - set(values)):
        raise unknown("label", strange[0], map(str, values))
    return np.array([values.index(value) for value in y.tolist()])


def _stack(images) -> np.ndarray:
    """Returns images as one array, or as an object array where their shapes differ."""
    if isinstance(images, np.ndarray):
        return images
    images = [np.asarray(image) for image in images]
    if len({(image.shape, image.dtype) for image in images}) == 1:
        return np.stack(images)
    out = np.empty(len(images), object)
    for i, image in enumerate(images):  # a slice would try to broadcast equal leading sides
        out[i] = image
    return out


def _is_tfds(name: str, data_dir) -> bool:
    if not importlib.util.find_spec("tensorflow_datasets"):
        return False
    import tensorflow_datasets as tfds

    plain = re.split("[/:]", name)[0]
    there = data_dir is not None and (Path(data_dir) / plain).is_dir()
    return there or plain in tfds.list_builders(with_community_datasets=False)


def _tfds(name: str, data_dir) -> Table:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise TlkitError(f"{name!r} cannot be read. {_NO_TFDS}") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    except Exception as error:  # the library raises all sorts, bare Exception included
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TlkitError(
            f"Cannot prepare {name!r}: {text} Check name, network, data_dir."
        ) from error
    if not builder.info.supervised_keys:
        raise TlkitError(f"The data set {name!r} has no (image, label) form.")
    parts = [_tfds_part(tfds, builder, split) for split in builder.info.splits]
    # One part decides nothing: tf_flowers, say, has all its images in "train".
    joined = functools.reduce(_join, parts)
    return joined if len(parts) > 1 else dataclasses.replace(joined, split=None)


def _tfds_part(tfds, builder, split: str) -> Table:
    rows = tfds.as_numpy(builder.as_dataset(split=split, as_supervised=True, shuffle_files=False))
    images, labels = zip(*rows, strict=True)
    names = builder.info.features[builder.info.supervised_keys[1]].names
    table = from_arrays(list(images), labels, names, f"tfds:{builder.info.name}")
    return _marked(table, ROLE_NAMES.get(split.lower(), ""))


def _marked(table: Table, role: str) -> Table:
    return dataclasses.replace(table, split=np.full(len(table), role, "<U5"))


def _with_test(table: Table, test: Table) -> Table:
    if table.split is not None and (table.split == "test").any():
        raise TlkitError(f"{table.source} has a test split already; leave out test={test.source}.")
    table = table if table.split is not None else _marked(table, "")
    return _join(table, _marked(relabel(test, table.class_names), "test"))


def _join(one: Table, two: Table) -> Table:
    """Appends the rows of `two`, whose labels are in the order of `one`'s classes already."""
    if (one.root is None) != (two.root is None):
        raise TlkitError(f"{one.source} and {two.source}: both must be files, or both arrays.")
    items, arrays = tuple(range(len(one) + len(two))), None
    if one.root is None:
        arrays = _stack([t.arrays[i] for t in (one, two) for i in t.items])  # type: ignore[index]
    else:
        items = one.items + tuple(_relative(two.path(i), one.root) for i in range(len(two)))
    joined = np.concatenate([one.labels, two.labels])
    groups = [np.full(len(t), "") if t.group is None else t.group for t in (one, two)]
    group = None if one.group is None and two.group is None else np.concatenate(groups)
    return dataclasses.replace(
        one, items=items, labels=joined, arrays=arrays, group=group,
        split=np.concatenate([one.split, two.split]), notes=one.notes + two.notes,
        skipped=dict(Counter(one.skipped) + Counter(two.skipped)),
    )  # fmt: skip
