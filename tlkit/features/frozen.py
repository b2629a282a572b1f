"""What lies below the freeze boundary is computed once, kept, and shared.

A feature row is a pure function of the image's bytes, the pixel rule, the frozen weights, the
boundary and the view, and it is stored under a key made of exactly these. Heads, phases, probes
and searches that ask for the same rows get the same rows.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tlkit import files, progress
from tlkit.augmentation.views import View, look, reader, row_key, soft_labels
from tlkit.backbones import weights
from tlkit.errors import AuditError, TlkitError
from tlkit.features import engines
from tlkit.features.decoded import BATCH, decode, pixel_kind, pixel_rows
from tlkit.features.store import Store
from tlkit.models.classifier import Classifier
from tlkit.models.network import PIXELS, POOLED

SAME = 1e-3  # accelerators add in varying order; live noise is far larger
HALF_LIMIT = 30_000.0  # float16 ends at 65,504
HALF_ERROR = 1e-3  # largest root-mean-square rounding error, relative to the features' own


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows to train or validate on: `batch(positions, view)`, and the labels of all.

    Attributes:
        targets: (positions, view) to soft labels, float32 [b, classes] with rows that sum to 1,
            where a policy mixes images; None where `labels` say all.
    """

    batch: Callable[[np.ndarray, int], np.ndarray]
    labels: np.ndarray
    targets: Callable[[np.ndarray, int], np.ndarray] | None = None

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
        self._engines: dict[tuple[str, ...], engines.Engine] = {}
        self._fingerprints: dict[str, str] = {}

    def forget(self) -> None:
        """Drops the digests of weights that may have been trained since."""
        self._fingerprints.clear()

    def rows(self, images, boundary: str, view: View, below: str | None = None) -> np.ndarray:
        """Returns the features of `images` at `boundary`, float16 or float32.

        Args:
            images: An `Images` value.
            boundary: A stage name or `pooled`.
            view: Which look at the images.
            below: A lower boundary whose rows are wanted soon: kept from the same pass.
        """
        if below is not None:
            self._fill_both(images, below, boundary, view)
        compute = functools.partial(self._compute, images, boundary, view)
        return self.store.rows(self.kind(images, boundary, view), images.hashes, compute)

    def kind(self, images, boundary: str, view: View) -> str:
        """Returns what the store keeps these rows under."""
        return files.combined_hash(
            "features",
            self.fingerprint(boundary),
            dataclasses.astuple(self.model.rule),
            row_key(view, images.hashes),
            engines.signature(self.store.engine),
        )

    def _fill_both(self, images, below, above, view) -> None:
        """Computes rows of two boundaries in one pass, where the same rows of both are missing."""
        lower, upper = (self.kind(images, end, view) for end in (below, above))
        absent = self.store.missing(lower, images.hashes)
        if not np.array_equal(absent, self.store.missing(upper, images.hashes)):
            return
        kept: list[np.ndarray] = []  # of the upper boundary, which has far smaller rows

        def compute(positions):
            for rows, more in self._pass(images, (below, above), view, positions):
                kept.append(more)
                yield rows

        self.store.fill(lower, images.hashes, compute)
        self.store.fill(upper, images.hashes, lambda positions: iter(kept))

    def training_rows(self, images, boundary: str, views: Sequence[View], below=None) -> Rows:
        """Returns `images` at `boundary`: from the cache where that fits, else computed live."""
        batch = self._batches(images, boundary, views, below)
        classes, size = len(self.model.class_names), self.model.rule.size
        targets = soft_labels(images.labels, classes, images.hashes, size, views)
        return Rows(batch, images.labels, targets)

    def _batches(self, images, boundary, views, below) -> Callable[[np.ndarray, int], np.ndarray]:
        plain = [view.key() == ("plain",) for view in views]
        if boundary == PIXELS and all(plain):
            kept = pixel_rows(self.store, images, self.model.rule)
            return lambda positions, view: kept[positions]
        if boundary == PIXELS or not self.fits(images, boundary, len(views)):
            return self._live_batches(images, boundary, views)
        cached = [self.rows(images, boundary, view, below) for view in views]
        return lambda positions, view: cached[view % len(cached)][positions]

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

    def _live_batches(self, images, boundary, views) -> Callable[[np.ndarray, int], np.ndarray]:
        source = pixel_rows(self.store, images, self.model.rule)
        readers = [reader(source, images.hashes, view) for view in views]

        def batch(positions, number):
            return self._onward(readers[number % len(readers)](positions), boundary)

        return batch

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

    def engine(self, ends: Sequence[str], sample: np.ndarray) -> engines.Engine:
        """Returns the engine that takes pixels to the features at `ends`.

        Args:
            sample: float32 pixels, on which a new engine is compared with Keras and itself.

        Raises:
            AuditError: The frozen part gives two answers for the same rows.
        """
        key = tuple(map(self.fingerprint, ends))
        if key not in self._engines:
            part = self.model.segment(PIXELS, *ends)
            found = engines.compile(part, sample, engine=self.store.engine)
            _require_determinism(found, sample, f"{self.model.backbone.name} up to {ends[-1]}")
            self._engines[key] = found
        return self._engines[key]

    def live(self, rows: np.ndarray, hashes, view: View, end: str) -> np.ndarray:
        """Returns one batch's features, computed now from pixels [n, ...] to `end`.

        It knows no other images: policies that mix have no live view of a batch by itself.
        """
        if view.policy.mix:
            raise TlkitError(f"{view.policy.mix} takes all training images: use `training_rows`.")
        return self._onward(look(rows, hashes, view), end)

    def _onward(self, x: np.ndarray, end: str) -> np.ndarray:
        return x if end == PIXELS else self.engine((end,), x).call(x)[0]

    def _compute(self, images, boundary, view, positions) -> Iterator[np.ndarray]:
        return (rows for (rows,) in self._pass(images, (boundary,), view, positions))

    def _pass(self, images, ends, view, positions) -> Iterator[list[np.ndarray]]:
        """Yields batches of the rows at each of `ends`."""
        self._prepare(images, ends, view, positions[:BATCH])
        source = pixel_rows(self.store, images, self.model.rule)
        read = reader(source, images.hashes, view)
        text = f"Frozen features of {len(positions):,} images ({' and '.join(ends)})"
        dtypes: list[str] = []
        # Reading ahead in a thread was no faster: views and engines use all cores as it is.
        for start in progress.track(range(0, len(positions), BATCH), text, unit=BATCH):
            part = positions[start : start + BATCH]
            x = read(np.resize(part, BATCH))
            found = [rows[: len(part)] for rows in self.engine(ends, x).call(x)]
            dtypes = dtypes or [_dtype(end, rows) for end, rows in zip(ends, found, strict=True)]
            yield [_rounded(rows, dtype) for rows, dtype in zip(found, dtypes, strict=True)]

    def _prepare(self, images, ends, view, positions) -> None:
        """Makes the engine on a few images decoded apart, while the others may be on their way."""
        if tuple(map(self.fingerprint, ends)) in self._engines:
            return
        names, kind = [images.hashes[i] for i in positions], pixel_kind(self.model.rule)
        if len(self.store.missing(kind, names)):
            first = np.concatenate(list(decode(images, self.model.rule, positions)))
        else:
            first = self.store.rows(kind, names, lambda _: iter(()))
        self.engine(ends, np.resize(look(first, names, view), (BATCH, *first.shape[1:])))


def _require_determinism(engine: engines.Engine, sample: np.ndarray, what: str) -> None:
    """Raises if anything random is alive in the frozen part: its rows must not be cached."""
    few = sample[:8]
    off = engines.differences(engine.call(few), engine.call(few))
    if off > SAME:
        raise AuditError(
            f"{what} is frozen but answers the same images differently ({off:.2g} apart): a "
            "random layer in it ignores inference mode. Remove it, or train from its stage."
        )


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
