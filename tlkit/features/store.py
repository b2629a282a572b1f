"""Rows computed once and found again by content: decoded pixels and frozen features.

A store holds rows of one kind, each of the same shape and type, under the content hash of the
image they come from. On disk a kind is a folder of immutable chunks; a chunk exists when its list
of hashes does, which is written last, so `kill -9` and two runs at once are both harmless.
"""

import json
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import files

CHUNK_BYTES = 64 << 20
MEMORY_BYTES = 2 << 30  # rows are copied into memory up to this size, mapped from disk above
DISK_BYTES = 8 << 30

Compute = Callable[[np.ndarray], Iterator[np.ndarray]]


class Store:
    """Keeps rows by kind and content hash.

    Args:
        folder: Where chunks are written; None keeps them in memory only.
        memory: Bytes one request may take in memory before it is mapped from disk instead.
        disk: Bytes all chunks together may take; the longest unused kinds are dropped first.
        engine: What computes frozen features not yet stored, a key of `engines.ENGINES`. The
            default folds constants and is exact but for rounding; `auto` may take one that rounds
            more, chosen by timing, so that two machines may not give the same bits.
    """

    def __init__(
        self,
        folder: Path | None = None,
        memory: int = MEMORY_BYTES,
        disk: int = DISK_BYTES,
        engine: str = "constants",
    ):
        self.engine = engine
        self.folder = folder
        self.memory = memory
        self.disk = disk
        self._kinds: dict[str, list[tuple[list[str], np.ndarray]]] = {}
        self._filling: dict[str, Any] = defaultdict(threading.RLock)

    @classmethod
    def default(cls, engine: str = "constants") -> "Store":
        """Returns the store under tlkit's cache folder."""
        return cls(files.home() / "rows", engine=engine)

    def fits(self, row_bytes: int, count: int) -> bool:
        """Says whether `count` rows may be kept at all, in memory or on disk."""
        limit = self.memory if self.folder is None else max(self.memory, self.disk)
        return row_bytes * count <= limit

    def missing(self, kind: str, hashes: Sequence[str]) -> np.ndarray:
        """Returns the positions in `hashes` whose row is not stored; each content once."""
        known = {name for names, _ in self._chunks(kind) for name in names}
        first = {name: i for i, name in reversed(list(enumerate(hashes))) if name not in known}
        return np.array(sorted(first.values()), np.int64)

    def rows(self, kind: str, hashes: Sequence[str], compute: Compute) -> np.ndarray:
        """Returns the rows of `hashes` in order, computing and keeping those not yet stored.

        Args:
            compute: Takes positions in `hashes`, yields batches of their rows in that order.
        """
        self.fill(kind, hashes, compute)
        return self._gather(kind, hashes)

    def fill(self, kind: str, hashes: Sequence[str], compute: Compute) -> None:
        """Computes and keeps the rows of `hashes` that are not yet stored.

        Where another thread of this process fills the same kind, it is waited for.
        """
        with self._filling[kind]:
            absent = self.missing(kind, hashes)
            if len(absent):
                self._keep_all(kind, [hashes[i] for i in absent], compute(absent))

    def _keep_all(self, kind, names, batches):
        waiting: list[np.ndarray] = []
        done = 0
        for batch in batches:
            waiting.append(batch)
            if sum(rows.nbytes for rows in waiting) >= CHUNK_BYTES:
                done = self._keep(kind, names, done, waiting)
                waiting = []
        if waiting:
            done = self._keep(kind, names, done, waiting)
        if done != len(names):
            raise RuntimeError(f"{len(names)} rows of {kind} were asked for, {done} were computed")

    def _keep(self, kind, names, done, batches) -> int:
        rows = np.concatenate(batches)
        chunk = names[done : done + len(rows)]
        if self.folder is not None:
            rows = self._write(self.folder, kind, chunk, rows)
        self._kinds.setdefault(kind, []).append((chunk, rows))
        return done + len(rows)

    def _write(self, folder: Path, kind, chunk, rows) -> np.ndarray:
        self._make_room(folder, kind, rows.nbytes)
        stem = folder / kind / files.combined_hash(chunk)
        with files.replacing(stem.with_suffix(".npy")) as temporary:
            np.save(temporary, rows, allow_pickle=False)
        files.write_text(stem.with_suffix(".json"), json.dumps(chunk))
        return np.load(stem.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)

    def _chunks(self, kind) -> list[tuple[list[str], np.ndarray]]:
        if kind not in self._kinds:
            self._kinds[kind] = list(self._read(kind)) if self.folder is not None else []
        return self._kinds[kind]

    def _read(self, kind):
        for names in sorted((self.folder / kind).glob("*.json")):
            try:
                rows = np.load(names.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
                listed = json.loads(names.read_text())
            except (OSError, ValueError):
                continue  # evicted or damaged: computed again
            if len(listed) == len(rows):
                os.utime(names)
                yield listed, rows

    def _gather(self, kind, hashes) -> np.ndarray:
        chunks = self._chunks(kind)
        place = {
            name: (c, r) for c, (names, _) in enumerate(chunks) for r, name in enumerate(names)
        }
        where = np.array([place[name] for name in hashes], np.int64).reshape(-1, 2)
        shape = (len(hashes), *chunks[0][1].shape[1:]) if chunks else (0,)
        dtype = np.result_type(*(rows.dtype for _, rows in chunks)) if chunks else np.float32
        out = self._room(kind, hashes, shape, dtype)
        for number, (_, rows) in enumerate(chunks):
            mine = np.flatnonzero(where[:, 0] == number)
            out[mine] = rows[where[mine, 1]]
        return out

    def _room(self, kind, hashes, shape, dtype) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if self.folder is None or size <= self.memory:
            return np.empty(shape, dtype)
        path = self.folder / kind / f"{files.combined_hash(list(hashes))}.order.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    def _make_room(self, folder: Path, kind: str, needed: int) -> None:
        kinds = [path for path in folder.glob("*") if path.is_dir() and path.name != kind]
        kinds.sort(key=_last_use)
        used = _size(folder)
        while kinds and used + needed > self.disk:
            oldest = kinds.pop(0)
            used -= _size(oldest)
            shutil.rmtree(oldest, ignore_errors=True)
            self._kinds.pop(oldest.name, None)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.npy"))


def _last_use(folder: Path) -> float:
    return max((file.stat().st_mtime for file in folder.glob("*.json")), default=0.0)
