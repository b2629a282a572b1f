"""Decoded pixels, kept in the store and read ahead of need."""

import contextlib
import contextvars
import dataclasses
import functools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tlkit import files, progress
from tlkit.features import engines
from tlkit.features.store import Store
from tlkit.images import pixels

BATCH = engines.BATCH  # one fixed shape: a row is the same whichever rows share its batch


def pixel_rows(store: Store, images, rule: pixels.PixelRule) -> np.ndarray:
    """Returns uint8 [n, size, size, channels] of `images`, each file decoded once for ever."""
    compute = functools.partial(_decoding, images, rule)
    return store.rows(pixel_kind(rule), images.hashes, compute)


@contextlib.contextmanager
def decoding_ahead(store: Store, images, rule: pixels.PixelRule) -> Iterator[None]:
    """Decodes `images` into the store in a thread, while the block does something else.

    What the block needs of them sooner it waits for, and it ends without what is not yet decoded.
    Trouble is left to whoever asks for the pixels.
    """
    ended = threading.Event()

    def compute(positions):
        for rows in _decoding(images, rule, positions):
            if ended.is_set():
                raise InterruptedError
            yield rows

    def decode():
        with contextlib.suppress(Exception):
            store.fill(pixel_kind(rule), images.hashes, compute)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(decode,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _decoding(images, rule, positions) -> Iterator[np.ndarray]:
    batches = decode(images, rule, positions)
    count = -(-len(positions) // BATCH)
    return progress.track(batches, f"Decoding {len(positions):,} images", count, BATCH)


def pixel_kind(rule: pixels.PixelRule) -> str:
    """Returns what the store keeps pixels under; the number is that of the decoding's version."""
    return files.combined_hash("pixels", 2, dataclasses.astuple(rule))


def decode(images, rule, positions) -> Iterator[np.ndarray]:
    """Yields batches of decoded pixels from files, arrays or encoded bytes in memory."""
    if images.table.arrays is None:
        yield from pixels.load_paths([images.files[i] for i in positions], rule, BATCH)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(positions), BATCH):
            part = [images.table.read(i) for i in positions[start : start + BATCH]]
            yield np.stack(list(pool.map(functools.partial(pixels.load_pixels, rule=rule), part)))
