"""Reads the lists of faults and plants a fault into a copy of the project."""

import dataclasses
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parents[1]
KINDS = ("form", "wiring", "net")  # a definition; that it is used; a net whose counts stay


@dataclasses.dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        id: Its name in reports.
        room: The part of the toolkit it is in, the stem of its file.
        kind: One of `KINDS`.
        what: What the tired engineer did.
        find: Text that stands exactly once in the Python files of `tlkit/`.
        put: What takes its place.
        tests: Test files, below `tests/`, of which one must fail.
    """

    id: str
    room: str
    kind: str
    what: str
    find: str
    put: str
    tests: tuple[str, ...]


def faults(rooms: Iterable[str] = (), ids: Iterable[str] = ()) -> list[Fault]:
    """Returns the listed faults, or only those of some rooms or with some ids."""
    rooms, ids = set(rooms), set(ids)
    listed = [fault for path in sorted(FOLDER.glob("*.toml")) for fault in _read(path)]
    return [
        fault
        for fault in listed
        if (not rooms or fault.room in rooms) and (not ids or fault.id in ids)
    ]


def _read(path: Path) -> list[Fault]:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    common = content.get("tests", [])
    return [
        Fault(
            row["id"], path.stem, row["kind"], row["what"], row["find"], row["put"],
            tuple(row.get("tests", common)),
        )
        for row in content["fault"]
    ]  # fmt: skip


def place(fault: Fault, project: Path = PROJECT) -> Path:
    """Returns the one file that holds the fault's text.

    Raises:
        LookupError: The text stands in no file, or more than once.
    """
    places = {
        path: count
        for path in sorted((project / "tlkit").rglob("*.py"))
        if (count := path.read_text(encoding="utf-8").count(fault.find))
    }
    if sum(places.values()) != 1:
        names = [str(path.relative_to(project)) for path in places]
        raise LookupError(f"{fault.id}: its text stands {sum(places.values())} times: {names}")
    return next(iter(places))


def copy(folder: Path) -> Path:
    """Copies what the tests need to `folder` and returns it."""
    left_out = shutil.ignore_patterns(
        ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build", "dist",
        "runs",
    )  # fmt: skip
    shutil.copytree(PROJECT, folder, ignore=left_out, symlinks=True)
    return folder


def plant(fault: Fault, project: Path) -> None:
    """Puts the fault into a copy of the project."""
    path = place(fault, project)
    path.write_text(path.read_text(encoding="utf-8").replace(fault.find, fault.put), "utf-8")
