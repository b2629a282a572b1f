"""Pictures in memory, what Keras itself makes of them, and a store that notes what it computes."""

import dataclasses

import numpy as np

from tests.conftest import UNSORTED
from tlkit import files
from tlkit.augmentation import apply
from tlkit.features.store import Store
from tlkit.images import pixels
from tlkit.images.dataset import Images
from tlkit.images.table import from_arrays
from tlkit.models.network import PIXELS


class Watched(Store):
    """Notes of each kind of rows the names of those it had computed, in order."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.computed = []

    def fill(self, kind, hashes, compute):
        def noted(positions):
            self.computed.append((kind, [hashes[i] for i in positions]))
            yield from compute(positions)

        super().fill(kind, hashes, noted)

    def computed_of(self, kind):
        """Returns the names of all rows of one kind that were computed."""
        return [name for made, names in self.computed if made == kind for name in names]


def noise(count, shape=(36, 44, 3), seed=0):
    """Returns pictures that no two pixel rules see alike."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def images_of(pictures, labels=None):
    """Returns arrays as checked images of classes that are not in the alphabet's order."""
    labels = np.arange(len(pictures)) % 3 if labels is None else labels
    table = from_arrays(pictures, labels, UNSORTED)
    hashes = tuple(files.content_hash(np.asarray(one).tobytes()) for one in pictures)
    return Images("train", table, table.labels, hashes, table.class_names)


def taken(images, order):
    """Returns some of the images, in another order."""
    hashes = tuple(images.hashes[i] for i in order)
    table = images.table.select(order)
    return dataclasses.replace(images, table=table, labels=images.labels[order], hashes=hashes)


def seen(images, rule, view):
    """Returns the pixels of a view that mixes nothing, drawn image by image."""
    plain = [pixels.load_pixels(images.table.read(i), rule) for i in range(len(images))]
    rows = np.stack(plain)
    if view.key() == ("plain",):
        return rows.astype(np.float32)
    return apply.look(rows, images.hashes, view.policy, view.seed, view.number)


def expected(model, images, boundary, view):
    """Returns the features as Keras itself computes them, from scratch."""
    part = model.segment(PIXELS, boundary)
    return part(seen(images, model.rule, view), training=False).numpy()


def assert_rows(rows, wanted):
    """Rows in float16 may be off by its rounding."""
    loose = 1e-3 if rows.dtype == np.float16 else 1e-5
    np.testing.assert_allclose(rows, wanted, atol=loose * np.abs(wanted).max())
