"""What training reads: the asked view of the asked images, kept or live, with its labels."""

import numpy as np
import pytest

from tests.conftest import UNSORTED, tiny_backbone
from tests.pictures import Watched, assert_rows, expected, images_of, noise, seen
from tlkit.augmentation import policies
from tlkit.errors import TlkitError
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.models.classifier import Classifier

PHOTOS = policies.policy("photos")
VIEWS = [View(PHOTOS, 3, 0), View(PHOTOS, 3, 1), View()]
IMAGES = images_of(noise(8))
SOME = np.array([3, 0, 7])


def frozen(store=None):
    return Frozen(Classifier(tiny_backbone(), UNSORTED), store or Store(engine="keras"))


@pytest.mark.parametrize("boundary", ["pixels", "stage2", "pooled"])
@pytest.mark.parametrize("memory", [1, 1 << 20], ids=["live", "kept"])
def test_batches_are_those_of_the_asked_view(boundary, memory):
    part = frozen(Watched(memory=memory, engine="keras"))
    rows = part.training_rows(IMAGES, boundary, VIEWS)
    assert len(rows) == 8 and rows.targets is None
    np.testing.assert_array_equal(rows.labels, IMAGES.labels)
    for number in range(4):
        view = VIEWS[number % 3]
        if boundary == "pixels":
            wanted = seen(IMAGES, part.model.rule, view)
        else:
            wanted = expected(part.model, IMAGES, boundary, view)
        assert_rows(np.asarray(rows.batch(SOME, number)), wanted[SOME])
    kept = [part.kind(IMAGES, "stage2", view) in dict(part.store.computed) for view in VIEWS]
    assert kept == [boundary == "stage2" and memory > 1] * 3


def test_plain_pixels_are_the_bytes_themselves():
    part = frozen()
    batch = part.training_rows(IMAGES, "pixels", [View()]).batch(SOME, 5)
    assert batch.dtype == np.uint8
    np.testing.assert_array_equal(batch, seen(IMAGES, part.model.rule, View())[SOME])


def test_the_boundary_below_is_kept_from_the_same_pass():
    part = frozen(Watched(engine="keras"))
    part.training_rows(IMAGES, "pooled", VIEWS, below="stage1")
    part.store.computed.clear()
    for view in VIEWS:
        part.rows(IMAGES, "stage1", view)
    assert part.store.computed == []


@pytest.mark.parametrize("boundary", ["pixels", "pooled"])
def test_shares_of_labels_go_with_shares_of_pixels(boundary):
    shade = np.array([200, 20, 90], np.float32)  # of the classes
    labels = np.array([0, 1, 2, 0, 1, 2, 2, 1])
    flat = [np.full((32, 32, 3), value, np.uint8) for value in shade[labels]]
    images, part = images_of(np.stack(flat), labels), frozen()
    mixup = View(policies.Policy(mix="mixup", alpha=1.0), seed=1)
    views = [View(), mixup]
    rows = part.training_rows(images, boundary, views)
    np.testing.assert_array_equal(rows.targets(SOME, 0), np.eye(3)[labels[SOME]])
    shares = rows.targets(SOME, 1)
    assert (shares.max(1) < 0.999).any()
    np.testing.assert_array_equal(rows.targets(SOME, 3), shares)
    mixed = (shares @ shade)[:, None, None, None] * np.ones((1, 32, 32, 3), np.float32)
    wanted = mixed if boundary == "pixels" else part.model.segment("pixels", "pooled")(mixed)
    np.testing.assert_allclose(rows.batch(SOME, 1), wanted, rtol=1e-3, atol=1e-3)


def test_a_batch_by_itself_cannot_be_mixed():
    mixup = View(policies.Policy(mix="mixup", alpha=1.0))
    with pytest.raises(TlkitError, match="mixup takes all training images"):
        frozen().live(np.zeros((1, 32, 32, 3), np.uint8), np.array(["a"]), mixup, "pooled")


def test_the_limit_counts_all_views_and_images():
    stage2 = 8 * 8 * 12 * 4  # bytes of one row
    part = frozen(Store(memory=stage2 * 8 * 3))
    assert part.row_bytes("stage2") == stage2
    assert (part.row_bytes("pooled"), part.row_bytes("pixels")) == (16 * 4, 32 * 32 * 3)
    assert part.fits(IMAGES, "stage2", 3) and not part.fits(IMAGES, "stage2", 4)
    assert not part.fits(images_of(noise(9)), "stage2", 3)


def test_the_note_says_where_rows_come_from():
    part = frozen(Store(memory=8 * 8 * 12 * 4 * 8 * 100, engine="constants"))
    assert part.note(IMAGES, "pixels", 2) == (
        "training from pixels: 2 views of 8 images, drawn live"
    )
    assert part.note(IMAGES, "stage2", 101) == (
        "features at stage2 exceed the cache: computed live in every epoch"
    )
    assert part.note(IMAGES, "stage2", 100) == (
        "cached 100 views of 8 images at stage2, 2 MB at most"
    )
    assert part.difference() == 0.0
    part.rows(IMAGES, "pooled", View())
    assert 0 < part.difference() < 1e-5
    note = part.note(IMAGES, "pooled", 3)
    assert note.startswith("cached 3 views of 8 images at pooled, 0 MB; engine constants, ")
    assert note.endswith(f"{part.difference():.1g} from Keras")
