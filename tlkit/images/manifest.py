"""The manifest: every image with its label, split and content hash, and whether it still holds."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images.checks import Checked
from tlkit.text import listed

FORMAT = 1


def make_manifest(checked: Checked, splits: np.ndarray, *, seed: int = 0, **options: Any) -> dict:
    """Returns the split as plain values: what was divided, how, and the content it stands for."""
    table = checked.table
    groups = [""] * len(table) if table.group is None else table.group.tolist()
    names = [table.class_names[label] for label in table.labels]
    columns = zip(table.items, names, splits, groups, checked.hashes, strict=True)
    rows = sorted(list(map(str, row)) for row in columns)
    return {
        "format": FORMAT, "source": table.source, "seed": seed, "options": options,
        "classes": list(table.class_names), "columns": ["path", "label", "split", "group", "hash"],
        "digest": files.combined_hash(list(table.class_names), rows), "rows": rows,
    }  # fmt: skip


def changes(manifest: dict, checked: Checked) -> list[str]:
    """Returns one line per image that was added, removed, changed or labelled anew."""
    then = {row[0]: row for row in manifest["rows"]}
    now = {str(item): i for i, item in enumerate(checked.table.items)}
    lines = [f"{path} is gone" for path in then if path not in now]
    for path, i in now.items():
        label = checked.table.class_names[checked.table.labels[i]]
        if path not in then:
            lines.append(f"{path} is new")
        elif then[path][4] != checked.hashes[i]:
            lines.append(f"{path} has other content")
        elif then[path][1] != label:
            lines.append(f"{path} was {then[path][1]!r} and is {label!r}")
    return lines


def verify_manifest(manifest: dict, checked: Checked) -> None:
    """Raises a TlkitError naming the first differences if the data is not what was divided."""
    found = changes(manifest, checked)
    if list(checked.table.class_names) != manifest["classes"] and not found:
        found = [f"the classes are {', '.join(checked.table.class_names)}"]
    if found:
        raise TlkitError(
            f"{checked.table.source} changed since it was divided: {listed(found, between='; ')}. "
            "Restore the files, or start a new run."
        )


def splits_of(manifest: dict, items: Sequence) -> np.ndarray:
    """Returns the role per item as the manifest has it, "" for items it does not know."""
    role = {row[0]: row[2] for row in manifest["rows"]}
    return np.array([role.get(str(item), "") for item in items], "<U5")


def write_manifest(manifest: dict, path: str | os.PathLike[str]) -> None:
    """Writes a manifest as JSON, atomically, one line per image."""
    head = {key: value for key, value in manifest.items() if key != "rows"}
    files.write_text(path, _json(head, manifest["rows"]))


def read_manifest(path: str | os.PathLike[str]) -> dict:
    """Reads and proves a manifest.

    Raises:
        TlkitError: The file is missing, damaged or edited.
    """
    try:
        found = files.read_json(path)
        intact = found["digest"] == files.combined_hash(found["classes"], found["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TlkitError(f"Cannot read the manifest {path}: {error}.") from error
    if found.get("format") != FORMAT or not intact:
        raise TlkitError(f"The manifest {Path(path)} was edited or belongs to another version.")
    return found


def _json(head: dict, rows: list) -> str:
    lines = ",\n ".join(json.dumps(row) for row in rows)
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n {lines}\n]}}\n'
