"""What lies below the freeze boundary is computed once, kept, and shared.

A feature row is a pure function of the image's bytes, the pixel rule, the frozen weights, the
boundary and the view, and it is stored under a key made of exactly these. Heads, phases, probes
and searches that ask for the same rows get the same rows.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from tlkit import augment, engines, files, pixels, progress, weights
from tlkit.errors import AuditError
from tlkit.model import PIXELS, POOLED, Classifier
from tlkit.store import Store

BATCH = engines.BATCH  # one fixed shape: a row is the same whichever rows share its batch
SAME = 1e-3  # accelerators add in varying order; live noise is far larger
HALF_LIMIT = 30_000.0  # float16 ends at 65,504
HALF_ERROR = 1e-3  # largest root-mean-square rounding error, relative to the features' own


@dataclasses.dataclass(frozen=True)
class View:
    """One look at every image: the image itself, or draw `number` of an augmentation policy."""

    policy: augment.Policy = augment.POLICIES["none"]
    seed: int = 0
    number: int = 0

    def key(self) -> tuple:
        """Returns what distinguishes this view's pixels; all plain views are one."""
        values = dataclasses.replace(self.policy, assumes="")
        if values == augment.Policy():
            return ("plain",)
        return (*dataclasses.astuple(values), self.seed, self.number)


def pixel_rows(store: Store, images, rule: pixels.PixelRule) -> np.ndarray:
    """Returns uint8 [n, size, size, channels] of `images`, each file decoded once for ever."""
    kind = files.combined_hash("pixels", 1, dataclasses.astuple(rule))

    def compute(positions):
        batches = _decoded(images, rule, positions)
        count = -(-len(positions) // BATCH)
        return progress.track(batches, f"Decoding {len(positions):,} images", count, BATCH)

    return store.rows(kind, images.hashes, compute)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows to train or validate on: `batch(positions, view)`, and the labels of all."""

    batch: Callable[[np.ndarray, int], np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


class Frozen:
    """Computes and keeps the rows of one classifier's frozen part.

    Call `forget` after any training: digests of the weights are taken once.

    Args:
        model: The classifier whose part below a boundary is frozen.
        store: Where rows are kept.
    """

    def __init__(self, model: Classifier, store: Store):
        self.model = model
        self.store = store
        self._engines: dict[tuple[str, str], engines.Engine] = {}
        self._fingerprints: dict[str, str] = {}

    def forget(self) -> None:
        """Drops the digests of weights that may have been trained since."""
        self._fingerprints.clear()

    def rows(self, images, boundary: str, view: View, via: str = PIXELS) -> np.ndarray:
        """Returns the features of `images` at `boundary`, float16 or float32.

        Args:
            images: An `Images` value.
            boundary: A stage name or `pooled`.
            view: Which look at the images.
            via: A boundary below whose rows are (or are about to be) cached: start from there.
        """
        kind = files.combined_hash(
            "features",
            self.fingerprint(boundary),
            dataclasses.astuple(self.model.rule),
            view.key(),
            engines.signature(self.store.engine),
            "" if via == PIXELS else via,  # rows made from rounded rows are other rows
        )
        compute = functools.partial(self._compute, images, boundary, view, via)
        return self.store.rows(kind, images.hashes, compute)

    def training_rows(self, images, boundary: str, views: Sequence[View], via: str) -> Rows:
        """Returns `images` at `boundary`: from the cache where that fits, else computed live."""
        plain = [view.key() == ("plain",) for view in views]
        if boundary == PIXELS and all(plain):
            kept = pixel_rows(self.store, images, self.model.rule)
            return Rows(lambda positions, view: kept[positions], images.labels)
        if boundary == PIXELS or not self.fits(images, boundary, len(views)):
            return self._live_rows(images, boundary, views)
        cached = [self.rows(images, boundary, view, via) for view in views]
        return Rows(lambda positions, view: cached[view % len(cached)][positions], images.labels)

    def note(self, images, boundary: str, views: int) -> str:
        """Says in one line where this boundary's rows come from."""
        if boundary == PIXELS:
            return f"training from pixels: {views} views of {len(images):,} images, drawn live"
        if not self.fits(images, boundary, views):
            return f"features at {boundary} exceed the cache: computed live in every epoch"
        size = self.row_bytes(boundary) * views * len(images) / 1e6
        half = " at most" if boundary != POOLED else ""
        used = " and ".join(sorted({engine.name for engine in self._engines.values()}))
        return (
            f"cached {views} views of {len(images):,} images at {boundary}, {size:,.0f} MB{half}"
            + (f"; engine {used}, {self.difference():.1g} from Keras" if used else "")
        )

    def difference(self) -> float:
        """Returns the largest relative difference from Keras of the engines used so far."""
        return max((engine.difference for engine in self._engines.values()), default=0.0)

    def _live_rows(self, images, boundary, views) -> Rows:
        source = pixel_rows(self.store, images, self.model.rule)
        hashes = np.array(images.hashes)

        def batch(positions, number):
            view = views[number % len(views)]
            return self.live(source[positions], hashes[positions], view, PIXELS, boundary)

        return Rows(batch, images.labels)

    def fits(self, images, boundary: str, views: int) -> bool:
        """Says whether that many views of `images` may be cached at `boundary`."""
        return self.store.fits(self.row_bytes(boundary) * views, len(images))

    def row_bytes(self, boundary: str) -> int:
        """Returns the bytes one cached row takes at most."""
        values = int(np.prod(self.model.boundary_shape(boundary)))
        return values * (1 if boundary == PIXELS else 4)

    def fingerprint(self, boundary: str) -> str:
        """Returns a digest of all that is computed below `boundary`."""
        if boundary not in self._fingerprints:
            part = self.model.segment(PIXELS, boundary)
            self._fingerprints[boundary] = files.combined_hash(
                boundary,
                self.model.backbone.name,
                self.model.backbone.preprocess.get_config(),
                self.model.head.kind if boundary == POOLED else "",
                weights.fingerprint(part.weights),
            )
        return self._fingerprints[boundary]

    def engine(self, start: str, end: str, sample: np.ndarray) -> engines.Engine:
        """Returns the engine that takes rows at `start` to features at `end`.

        Args:
            sample: Rows at `start`, on which a new engine is compared with Keras and itself.

        Raises:
            AuditError: The frozen part gives two answers for the same rows.
        """
        key = (start, self.fingerprint(end))
        if key not in self._engines:
            part = self.model.segment(start, end)
            found = engines.compile(part, sample, engine=self.store.engine)
            _require_determinism(found, sample, f"{self.model.backbone.name} up to {end}")
            self._engines[key] = found
        return self._engines[key]

    def live(self, rows: np.ndarray, hashes, view: View, start: str, end: str) -> np.ndarray:
        """Returns one batch's features, computed now: rows at `start` [n, ...] to `end`."""
        x = np.asarray(rows, np.float32)
        if start == PIXELS and view.key() != ("plain",):
            parameters = augment.view_parameters(
                hashes, rows.shape[1:3], view.policy, view.seed, view.number
            )
            x = _look(tf.constant(rows), parameters).numpy()
        return x if start == end else self.engine(start, end, x).call(x)

    def _compute(self, images, boundary, view, via, positions) -> Iterator[np.ndarray]:
        if via == PIXELS:
            source = pixel_rows(self.store, images, self.model.rule)
        else:
            source = self.rows(images, via, view)
        text = f"Frozen features of {len(positions):,} images ({boundary})"
        starts = range(0, len(positions), BATCH)
        dtype = None
        for start in progress.track(starts, text, unit=BATCH):
            part = positions[start : start + BATCH]
            padded = np.resize(part, BATCH)
            names = [images.hashes[i] for i in padded]
            batch = self.live(source[padded], names, view, via, boundary)[: len(part)]
            dtype = dtype or _dtype(boundary, batch)
            yield _rounded(batch, dtype)


def _require_determinism(engine: engines.Engine, sample: np.ndarray, what: str) -> None:
    """Raises if anything random is alive in the frozen part: its rows must not be cached."""
    off = engines.difference(engine.call(sample), engine.call(sample))
    if off > SAME:
        raise AuditError(
            f"{what} is frozen but answers the same images differently ({off:.2g} apart): a "
            "random layer in it ignores inference mode. Remove it, or train from its stage."
        )


@tf.function(autograph=False, reduce_retracing=True)
def _look(rows, parameters):
    return augment.apply(rows, parameters)


def _dtype(boundary: str, sample: np.ndarray) -> str:
    """Pooled vectors are small already; a feature map is halved where it does no harm."""
    return "float16" if boundary != POOLED and half_is_harmless(sample) else "float32"


def half_is_harmless(sample: np.ndarray) -> bool:
    """Says whether float16 keeps these features: no overflow, error far below their own size."""
    if not np.isfinite(sample).all() or np.abs(sample).max() > HALF_LIMIT:
        return False
    error = np.sqrt(np.mean((sample - sample.astype(np.float16)) ** 2, dtype=np.float64))
    return bool(error <= HALF_ERROR * (np.sqrt(np.mean(sample**2, dtype=np.float64)) + 1e-12))


def _rounded(batch: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "float16":  # a later batch may be larger than the sample: clip, never overflow
        batch = np.clip(batch, -65_000, 65_000)
    return batch.astype(dtype)


def _decoded(images, rule, positions) -> Iterator[np.ndarray]:
    """Yields batches of decoded pixels from files, arrays or encoded bytes in memory."""
    if images.table.arrays is None:
        yield from pixels.load_paths([images.files[i] for i in positions], rule, BATCH)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(positions), BATCH):
            part = [images.table.read(i) for i in positions[start : start + BATCH]]
            yield np.stack(list(pool.map(functools.partial(pixels.load_any, rule=rule), part)))
