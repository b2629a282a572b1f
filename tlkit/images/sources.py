"""Readers of every kind of source: folders, CSV files, arrays and TensorFlow Datasets.

Each returns a `Table`. Images are named here, never decoded.
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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlkit.errors import TlkitError, unknown
from tlkit.images.table import (
    ROLE_NAMES,
    ROLES,
    Table,
    from_arrays,
    join,
    relabel,
    relative,
    with_role,
)

READABLE = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_NO_TFDS = "For TensorFlow Datasets: pip install 'tlkit[tfds]'."


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
            or without `tfds:` before it, such as "tfds:name/config:1.0.0".
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
    if labels is not None:
        return _read_folder_with_list(path, source, labels)
    if source.startswith("tfds:"):
        return _tfds(source.removeprefix("tfds:"), data_dir)
    if path.is_dir():
        return _folder(path, source)
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _csv(path, path.parent, source)
    if path.exists():
        raise TlkitError(f"{source} is neither a folder nor a CSV file.")
    if _may_be_tfds(source) and _is_tfds(source, data_dir):
        return _tfds(source, data_dir)
    raise _no_such(path, source)


def _read_folder_with_list(path: Path, source: str, labels) -> Table:
    if not path.is_dir():
        raise TlkitError(f"labels= goes with arrays or a folder, and {source!r} is no folder.")
    if not isinstance(labels, str | os.PathLike):
        kind = type(labels).__name__
        raise TlkitError(f"labels= of the folder {source} must be a CSV file's path, not a {kind}.")
    return _csv(Path(labels).expanduser(), path, source)


def _no_such(path: Path, source: str) -> TlkitError:
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = [str(path.parent / name) for name in _near(path.name, beside)]
    if _may_be_tfds(source):
        near += [f"tfds:{name}" for name in _near(_plain(source), _tfds_names())]
    extra = "" if importlib.util.find_spec("tensorflow_datasets") else f" {_NO_TFDS}"
    hint = _did_you_mean(near) + extra
    return TlkitError(f"No folder, CSV file or data set called {source!r}.{hint}")


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)


def _did_you_mean(near: list[str]) -> str:
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _with_test(table: Table, test: Table) -> Table:
    if table.split is not None and (table.split == "test").any():
        raise TlkitError(f"{table.source} has a test split already; leave out test={test.source}.")
    table = table if table.split is not None else with_role(table, "")
    return join(table, with_role(relabel(test, table.class_names), "test"))


def _nested_hint(table: Table) -> str:
    inner = sorted({Path(item).parts[1] for item in table.items if str(item).count("/") > 1})
    if table.root is None or len(inner) < 2:
        return ""
    outer = table.root / table.class_names[0]
    return f" Its folders {', '.join(inner[:5])} look like classes: did you mean {outer}?"


def _folder(root: Path, source: str) -> Table:
    below = _folders(root)
    roles = {name: ROLE_NAMES[name.lower()] for name in below if name.lower() in ROLE_NAMES}
    given = set(roles.values())
    if "train" not in given or (len(given) == 1 and len(below) > 1):
        return _classes(root, root, source)
    if len(given) < len(roles):
        raise TlkitError(f"{source} has two folders for one split: {', '.join(sorted(roles))}.")
    parts = {role: _classes(root, root / name, f"{source}/{name}") for name, role in roles.items()}
    table = dataclasses.replace(with_role(parts["train"], "train"), source=source)
    for role in ("val", "test"):
        if role in parts:
            table = join(table, with_role(relabel(parts[role], table.class_names), role))
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
    rows = [(relative(path, root), i) for i, name in enumerate(names) for path in files[name]]
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


def _may_be_tfds(name: str) -> bool:
    """Says whether `name` has the form name/config:version and the library is there."""
    form = re.fullmatch(r"\w+(/\w+)?(:\d.*)?", name)
    return form is not None and importlib.util.find_spec("tensorflow_datasets") is not None


def _is_tfds(name: str, data_dir) -> bool:
    there = data_dir is not None and (Path(data_dir) / _plain(name)).is_dir()
    return there or _plain(name) in _tfds_names()


def _tfds_names() -> list[str]:
    """Returns the names that come with the installed library; no network is asked."""
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def _plain(name: str) -> str:
    return re.split("[/:]", name)[0]


def _tfds(name: str, data_dir) -> Table:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise TlkitError(f"{name!r} cannot be read. {_NO_TFDS}") from error
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        builder.download_and_prepare()
    except Exception as error:  # the library raises all sorts, bare Exception included
        raise TlkitError(_not_prepared(name, error)) from error
    if not builder.info.supervised_keys:
        raise TlkitError(f"The data set {name!r} has no (image, label) form.")
    parts = [_tfds_part(tfds, builder, name, split) for split in builder.info.splits]
    # One part decides nothing: tf_flowers, say, has all its images in "train".
    joined = functools.reduce(join, parts)
    return joined if len(parts) > 1 else dataclasses.replace(joined, split=None)


def _not_prepared(name: str, error: Exception) -> str:
    known = _tfds_names()
    if _plain(name) not in known and (near := _near(_plain(name), known)):
        return f"TensorFlow Datasets has no {name!r}.{_did_you_mean(near)}"
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f"Cannot prepare {name!r}: {text} Check name, network, data_dir."


def _tfds_part(tfds, builder, name: str, split: str) -> Table:
    image, label = builder.info.supervised_keys[:2]
    decoders = {image: tfds.decode.SkipDecoding()} if _is_encoded(tfds, builder, image) else None
    how: dict = {"as_supervised": True, "shuffle_files": False, "decoders": decoders}
    rows = tfds.as_numpy(builder.as_dataset(split=split, **how))
    images, labels = zip(*rows, strict=True)
    names = builder.info.features[label].names
    table = from_arrays(list(images), labels, names, f"tfds:{name}")
    return with_role(table, ROLE_NAMES.get(split.lower(), ""))


def _is_encoded(tfds, builder, key: str) -> bool:
    """Says whether images are stored as JPEG or PNG: a tenth of the memory of their pixels."""
    feature = builder.info.features[key]
    # Depth maps are floats disguised as PNG; only their own decoder knows.
    return isinstance(feature, tfds.features.Image) and feature.np_dtype == np.uint8
