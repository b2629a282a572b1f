"""A disk that keeps what `kill -9` would leave of it, in the middle and at the end of each write.

It watches Python's own `open`, `os.replace` and the like, whoever calls them: a file that is
written in place is found half-way in its copy of the disk, whatever the writer promises.
"""

import builtins
import dataclasses
import io
import os
import re
import shutil
import threading
from collections import Counter
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Left:
    """What one death would leave.

    Attributes:
        kind: The first word of the name of the file that was being written, or "rows".
        number: How many writes of this kind came before.
        moment: "torn" with half of the bytes on the disk, "done" after the file got its name.
        folder: A copy of the whole disk.
    """

    kind: str
    number: int
    moment: str
    folder: Path


class Disk:
    """Keeps a copy of `folder` for every death in a write below it, while `watched` holds.

    Args:
        torn: Called with the path of each file of which half of the bytes are written; by default
            a copy is kept.
    """

    def __init__(self, folder: Path, copies: Path, torn=None):
        self.folder, self.copies = folder.resolve(), copies
        self.torn = torn or self.keep_torn
        self.left: list[Left] = []
        self.writes: Counter[str] = Counter()
        self.lock = threading.RLock()

    def watched(self, monkeypatch) -> None:
        """Puts itself in the place of what writes files, until `monkeypatch` is undone."""
        for module in (builtins, io):
            monkeypatch.setattr(module, "open", self.open)
        for name in ("replace", "rename", "link"):
            monkeypatch.setattr(os, name, self.moving(getattr(os, name)))

    def open(self, file, mode="r", *args, _real=open, **options):
        """Opens a file; one below the folder that is written from its start is watched."""
        opened = _real(file, mode, *args, **options)
        mine = not isinstance(file, int) and self.folder in Path(os.fsdecode(file)).parents
        return Writing(opened, Path(file), self) if mine and {*mode} & {*"wx"} else opened

    def moving(self, real):
        """Returns what moves a file and keeps a copy of the disk afterwards."""

        def move(source, target, *args, **options):
            real(source, target, *args, **options)
            if self.folder in Path(target).parents:
                with self.lock:
                    kind = kind_of(target)
                    self.keep(kind, self.writes[kind] - 1, "done")

        return move

    def keep_torn(self, path: Path) -> None:
        """Keeps a copy of the disk in which the file has half of its bytes."""
        with self.lock:
            kind = kind_of(path)
            copy = self.keep(kind, self.writes[kind], "torn") / path.relative_to(self.folder)
            os.truncate(copy, copy.stat().st_size // 2)
            self.writes[kind] += 1

    def keep(self, kind: str, number: int, moment: str) -> Path:
        """Copies the whole disk and notes what for."""
        copy = self.copies / str(len(self.left))
        shutil.copytree(self.folder, copy)
        self.left.append(Left(kind, number, moment, copy))
        return copy

    def after(self, kind: str, number: int, moment: str) -> Path:
        """Returns the copy of the disk after that death."""
        found = [
            x.folder for x in self.left if (x.kind, x.number, x.moment) == (kind, number, moment)
        ]
        return found[-1]


class Writing:
    """A file open for writing; closing it tells the disk, which then holds half of it."""

    def __init__(self, file, path: Path, disk: Disk):
        self.file, self.path, self.disk = file, path, disk

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Closes the file; the first time the disk is told before the last bytes are safe."""
        if not self.file.closed:
            self.file.flush()
            self.disk.torn(self.path)
        self.file.close()


def kind_of(path) -> str:
    """Returns "manifest" for `.manifest.1234.tmp.json`; what has no such word are rows."""
    word = re.match(r"\W*([a-z]+)\b", Path(path).name)
    return word[1] if word and "rows" not in Path(path).parts else "rows"
