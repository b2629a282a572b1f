"""A process that dies at a chosen change of a file, as far as its files can tell.

Python reports every change of a file to its audit hooks, whichever function makes it: a writer
that does not rename, or renames too early, meets its death as well as one that does it right.
"""

import contextlib
import os
import sys
import threading

_CHANGES = (
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "os.symlink",
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_watchers = []  # hooks cannot be removed, so there is one for all


class Died(BaseException):
    """The process is gone."""


class Watch:
    """Notes changes of files in this thread as (event, path), and dies at one of them.

    Attributes:
        steps: So many changes are made before death; None never dies.
        stays: Whether no change succeeds afterwards: after `kill -9` nobody cleans up.
    """

    def __init__(self, steps=None, stays=True):
        self.steps, self.stays = steps, stays
        self.changes, self.died = [], False
        self.thread = threading.get_ident()

    def see(self, event, path):
        if threading.get_ident() != self.thread:
            return
        due = self.steps is not None and len(self.changes) == self.steps
        if due and (self.stays or not self.died):
            self.died = True
            raise Died
        self.changes.append((event, path))


@contextlib.contextmanager
def watched(watch):
    """Lets `watch` see the changes that the block makes."""
    if not _watchers:
        sys.addaudithook(_hook)
    _watchers.append(watch)
    try:
        yield watch
    finally:
        _watchers[:] = [None]


def _hook(event, arguments):
    watch = _watchers[-1]
    if watch is None or not arguments:
        return
    if event in _CHANGES or (event == "open" and _is_write(*arguments)):
        watch.see(event, os.fspath(arguments[0]) if arguments[0] is not None else "")


def _is_write(path, mode, flags):
    return not isinstance(path, int) and bool((flags or 0) & _WRITES)


def content(folder):
    """Returns the bytes of every file below `folder`; None where there is no folder."""
    if not folder.exists():
        return None
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
