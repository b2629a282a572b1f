"""Mixed images and labels agree, and neither depends on order or batch."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import files
from tlkit.augmentation import apply, mixing, policies
from tlkit.errors import TlkitError
from tlkit.features.decoded import pixel_rows
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store

HASHES = [files.content_hash(bytes([i, 7])) for i in range(200)]
IMAGES = np.random.default_rng(0).integers(0, 256, (200, 12, 16, 3)).astype(np.float32)
POOL = mixing.pool(HASHES)


def pairs(name, hashes=HASHES, pool=POOL, seed=0, view=0, strength=1.0):
    chosen = policies.policy(name, strength)
    return mixing.pairs(hashes, IMAGES.shape[1:3], chosen, pool, seed, view)


def test_mixup_is_convex():
    found = pairs("mixup")
    others = IMAGES[found.partners]
    mixed = mixing.mixed(IMAGES, others, found)
    assert (0.5 <= found.share).all() and (found.share <= 1).all()
    assert (mixed >= np.minimum(IMAGES, others) - 1e-3).all()
    assert (mixed <= np.maximum(IMAGES, others) + 1e-3).all()
    share = found.share[:, None, None, None]
    np.testing.assert_allclose(mixed, share * IMAGES + (1 - share) * others, rtol=1e-5)


def test_cutmix_area_is_the_share_of_the_label():
    found = pairs("cutmix")
    black, white = np.zeros_like(IMAGES), np.full_like(IMAGES, 255)
    mixed = mixing.mixed(black, white, found)
    np.testing.assert_allclose((mixed == 0).mean((1, 2, 3)), found.share, atol=1e-6)
    assert set(np.unique(mixed)) == {0, 255}
    rows = (mixed == 255).any((2, 3)).sum(1)
    np.testing.assert_array_equal(
        rows * (mixed == 255).any((1, 3)).sum(1), found.boxes[:, 2:].prod(1)
    )


@pytest.mark.parametrize(("name", "alpha"), [("mixup", 0.2), ("cutmix", 1.0)])
def test_shares_follow_the_beta_distribution(name, alpha):
    draws = np.random.default_rng(0).beta(alpha, alpha, 100_000)
    expected = np.maximum(draws, 1 - draws).mean()
    assert abs(pairs(name).share.mean() - expected) < 0.03


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["mixup", "cutmix"]), st.floats(0.01, 3), st.integers(0, 9))
def test_soft_labels_sum_to_one(name, strength, view):
    found = pairs(name, view=view, strength=strength)
    labels = np.arange(200) % 5
    soft = mixing.targets(labels, labels[found.partners], found.share, 5)
    assert soft.dtype == np.float32 and soft.shape == (200, 5) and soft.min() >= 0
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    same = labels[found.partners] == labels
    np.testing.assert_allclose(soft[same, labels[same]], 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_partners_follow_the_images_not_their_order(name):
    straight = pairs(name)
    order = np.random.default_rng(1).permutation(200)
    hashes = [HASHES[i] for i in order]
    moved = pairs(name, hashes, mixing.pool(hashes))
    np.testing.assert_array_equal(order[moved.partners], straight.partners[order])
    np.testing.assert_array_equal(moved.share, straight.share[order])
    assert len(set(straight.partners)) > 100
    assert mixing.pool(hashes).digest == POOL.digest != mixing.pool(hashes[1:]).digest


def test_a_weak_mix_leaves_the_image_alone():
    assert pairs("mixup", strength=1e-4).share.min() > 0.999
    assert pairs("cutmix", strength=1e-4).share.min() > 0.999
    assert policies.policy("mixup", 0).mix == ""


def views(name):
    return [View(policies.policy(name), 3, number) for number in range(2)]


def test_kept_rows_and_labels_are_those_of_the_mixed_pixels(classifier, data):
    name = "cutmix"
    frozen = Frozen(classifier, Store())
    rows = frozen.training_rows(data.train, "pooled", views(name))
    live = Frozen(classifier, Store(memory=1, disk=1)).training_rows(
        data.train, "pooled", views(name)
    )
    positions = np.array([5, 0, 9])
    np.testing.assert_allclose(rows.batch(positions, 1), live.batch(positions, 1), atol=1e-4)
    soft = rows.targets(positions, 1)
    assert soft.shape == (3, 3) and soft.dtype == np.float32
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    assert (soft.argmax(1) == data.train.labels[positions]).all()
    shown = frozen.training_rows(data.train, "pixels", views(name))
    source = pixel_rows(frozen.store, data.train, classifier.rule)
    hashes = np.array(data.train.hashes)
    chosen = policies.policy(name)
    found = mixing.pairs(hashes[positions], (32, 32), chosen, mixing.pool(data.train.hashes), 3, 1)
    looks = [apply.look(source[p], hashes[p], chosen, 3, 1) for p in (positions, found.partners)]
    np.testing.assert_allclose(shown.batch(positions, 1), mixing.mixed(*looks, found), atol=1e-3)


def test_other_training_images_are_other_rows(classifier, data):
    frozen = Frozen(classifier, Store())
    view = views("mixup")[0]
    whole = frozen.rows(data.train, "pooled", view)
    keep = np.arange(len(data.train))[:-9]
    fewer = dataclasses.replace(
        data.train,
        table=data.train.table.select(keep),
        labels=data.train.labels[keep],
        hashes=tuple(data.train.hashes[i] for i in keep),
    )
    assert not np.array_equal(frozen.rows(fewer, "pooled", view), whole[keep])


def test_unmixed_rows_have_hard_labels_only(classifier, data):
    frozen = Frozen(classifier, Store())
    assert frozen.training_rows(data.val, "pooled", [View()]).targets is None
    with pytest.raises(TlkitError, match="takes all training images"):
        frozen.live(IMAGES[:2], HASHES[:2], views("mixup")[0], "pooled")
