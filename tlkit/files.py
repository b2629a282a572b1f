"""Atomic writes and content hashes. Nothing here knows about images or models."""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def content_hash(data: bytes | memoryview) -> str:
    """Returns the 128-bit BLAKE2b digest of `data` as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def combined_hash(*parts: object) -> str:
    """Returns one digest for several plain values; the order matters."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return content_hash(text.encode())


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path` that takes its place when the block succeeds.

    A reader, or a run that resumes after `kill -9`, sees the old file or the new one, never half
    of either. The temporary name keeps the suffix, since Keras picks a format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=1, sort_keys=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON written by `write_json`."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def keep_newest(folder: Path, pattern: str, most: int) -> list[Path]:
    """Deletes all but the newest `most` files of a cache folder; returns those deleted."""
    files = sorted(folder.glob(pattern), key=lambda path: -path.stat().st_mtime)
    for path in files[most:]:
        path.unlink(missing_ok=True)
    return files[most:]


def home() -> Path:
    """Returns tlkit's cache folder: $TLKIT_HOME, else ~/.cache/tlkit."""
    return Path(os.environ.get("TLKIT_HOME") or Path.home() / ".cache" / "tlkit")
