"""Mixed views: pixels and labels have the same shares, and partners are any training images."""

import dataclasses

import numpy as np
import pytest

from tests.augmentation.test_augment_rules import HASHES
from tlkit import files
from tlkit.augmentation import apply, mixing, policies, preview
from tlkit.augmentation.policies import Change, Policy
from tlkit.augmentation.views import View, look, reader, row_key, soft_labels

NAMES = HASHES[:60]
LABELS = np.arange(60) % 3
# Each image shows its class and its number, in two channels; the third is black.
FLAT = np.zeros((60, 10, 10, 3), np.uint8)
FLAT[..., 0] = LABELS[:, None, None] * 100
FLAT[..., 1] = np.arange(60)[:, None, None] * 4
NOISE = np.random.default_rng(0).integers(0, 256, (60, 10, 10, 3), np.uint8)
MIXES = {"mixup": Policy(mix="mixup", alpha=1.0), "cutmix": Policy(mix="cutmix", alpha=1.0)}
SOME = np.array([7, 0, 41, 22, 58])


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("number", [0, 3])
def test_soft_labels_are_the_shares_of_the_pixels(mix, number):
    view = View(MIXES[mix], 5, number)
    shown = reader(FLAT, NAMES, view)(np.arange(60))
    labels = soft_labels(LABELS, 3, NAMES, 10, [view])(np.arange(60), 0)
    np.testing.assert_allclose(shown[..., 0].mean((1, 2)), labels @ [0, 100, 200], atol=0.02)
    assert labels.dtype == np.float32 and ((labels > 0).sum(1) == 2).sum() > 20
    if mix == "cutmix":  # counted pixel by pixel
        for name in range(3):
            share = (np.abs(shown[..., 0] - 100 * name) < 0.1).mean((1, 2))
            np.testing.assert_allclose(labels[:, name], share, atol=1e-5)


@pytest.mark.parametrize("mix", MIXES)
def test_a_mixed_view_is_the_same_whatever_rows_are_asked_for(mix):
    read = reader(NOISE, NAMES, View(MIXES[mix], 5, 1))
    targets = soft_labels(LABELS, 3, NAMES, 10, [View(MIXES[mix], 5, 1)])
    np.testing.assert_array_equal(read(SOME), read(np.arange(60))[SOME])
    np.testing.assert_array_equal(targets(SOME, 0), targets(np.arange(60), 0)[SOME])
    order = np.random.default_rng(1).permutation(60)
    moved = reader(NOISE[order], [NAMES[i] for i in order], View(MIXES[mix], 5, 1))
    np.testing.assert_array_equal(moved(np.arange(60)), read(order))


def test_partners_are_all_images_and_their_own_views():
    view = View(MIXES["cutmix"], 0, 0)
    shown = reader(FLAT, NAMES, view)(np.arange(60))
    seen = np.unique(shown[..., 1]) / 4  # most of them were lent to another
    partners = [{*np.unique(image[..., 1]) / 4} - {i} for i, image in enumerate(shown)]
    assert all(len(one) <= 1 for one in partners) and len(seen) == 60
    lent = set().union(*partners)
    assert len(lent) > 25 and min(lent) < 10 and max(lent) > 50
    bright = dataclasses.replace(MIXES["mixup"], brightness=0.5)
    views = look(FLAT, np.array(NAMES), View(dataclasses.replace(bright, mix="", alpha=0), 0, 0))
    found = mixing.pairs(np.array(NAMES), (10, 10), bright, mixing.pool(NAMES), 0, 0)
    share = found.share[:, None, None, None]
    np.testing.assert_allclose(
        reader(FLAT, NAMES, View(bright))(np.arange(60)),
        views * share + views[found.partners] * (1 - share), atol=0.01,
    )  # fmt: skip


@pytest.mark.parametrize("mix", MIXES)
def test_seed_and_number_draw_other_partners(mix):
    policy = MIXES[mix]
    shown = [reader(NOISE, NAMES, View(policy, s, n))(SOME) for s, n in ((0, 0), (1, 0), (0, 1))]
    labels = [soft_labels(LABELS, 3, NAMES, 10, [View(policy, s, n)])(np.arange(60), 0)
              for s, n in ((0, 0), (1, 0), (0, 1))]  # fmt: skip
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(shown[one] - shown[two]).max() > 1
        assert np.abs(labels[one] - labels[two]).max() > 0.05


def test_views_take_turns_and_those_that_do_not_mix_have_hard_labels():
    views = [View(), View(MIXES["mixup"], 1, 1), View(MIXES["cutmix"], 1, 2)]
    targets = soft_labels(LABELS, 3, NAMES, 10, views)
    for number in range(3):
        np.testing.assert_array_equal(targets(SOME, number), targets(SOME, number + 3))
    np.testing.assert_array_equal(targets(SOME, 0), np.eye(3)[LABELS[SOME]])
    for number in (1, 2):
        alone = soft_labels(LABELS, 3, NAMES, 10, [views[number]])
        np.testing.assert_array_equal(targets(SOME, number), alone(SOME, 0))
    assert soft_labels(LABELS, 3, NAMES, 10, [View(), View(policies.policy("photos"))]) is None


def test_shares_are_as_alpha_has_them_and_the_own_share_is_the_larger():
    many = [files.content_hash(i.to_bytes(4)) for i in range(3000)]
    for alpha in (0.1, 0.4, 2.0):
        policy = Policy(mix="mixup", alpha=alpha)
        share = mixing.pairs(many, (8, 8), policy, mixing.pool(many), 0, 0).share
        draw = np.random.default_rng(0).beta(alpha, alpha, 100_000)
        expected = np.maximum(draw, 1 - draw)
        np.testing.assert_allclose(share.mean(), expected.mean(), atol=0.012)
        np.testing.assert_allclose(np.quantile(share, 0.2), np.quantile(expected, 0.2), atol=0.03)


def test_a_box_lies_anywhere_within_the_image():
    many = [files.content_hash(i.to_bytes(4)) for i in range(2000)]
    found = mixing.pairs(many, (8, 20), MIXES["cutmix"], mixing.pool(many), 0, 0)
    top, left, tall, wide = found.boxes.T
    assert min(top.min(), left.min()) == 0
    assert (top + tall).max() == 8 and (left + wide).max() == 20
    np.testing.assert_allclose(found.share, 1 - tall * wide / 160, atol=1e-6)
    inner = (tall > 0) & (tall < 8)
    np.testing.assert_allclose((top + tall / 2)[inner].mean(), 4, atol=0.15)
    np.testing.assert_allclose((left + wide / 2)[inner].mean(), 10, atol=0.3)
    large = tall > 3
    np.testing.assert_allclose((wide[large] / tall[large]).mean(), 2.5, atol=0.2)


def test_equal_content_is_in_the_pool_once():
    pool = mixing.pool(["c", "a", "c", "b", "a"])
    assert pool.places.tolist() == [1, 3, 0]
    assert pool.digest == mixing.pool(["a", "b", "c"]).digest != mixing.pool(["a", "b"]).digest


def test_what_makes_views_differ_is_in_their_keys():
    photos, mixup = policies.policy("photos"), policies.policy("mixup")
    views = [View(), View(photos), View(photos, 1), View(photos, 0, 1), View(photos.scaled(2)),
             View(mixup), View(Policy(changes=(Change("blur", 1),)))]  # fmt: skip
    assert len({view.key() for view in views}) == len(views)
    assert View(policies.policy("none"), 3, 4).key() == View().key()
    assert row_key(View(photos), NAMES) == row_key(View(photos), NAMES[1:])
    assert row_key(View(mixup), NAMES) != row_key(View(mixup), NAMES[1:])
    assert row_key(View(mixup), NAMES) == row_key(View(mixup), NAMES[::-1])


def test_a_reader_shows_the_views_of_its_policy_seed_and_number():
    view = View(policies.policy("photos"), 4, 2)
    expected = apply.look(NOISE, NAMES, view.policy, 4, 2)
    np.testing.assert_allclose(reader(NOISE, NAMES, view)(SOME), expected[SOME], atol=2e-3)
    plain = reader(NOISE, NAMES, View())(SOME)
    assert plain.dtype == np.float32 and (plain == NOISE[SOME]).all()


def test_a_contact_sheet_shows_what_training_reads():
    for policy in (policies.policy("cutmix"), policies.policy("mixup"), policies.policy("photos")):
        cells = preview.sheet(NOISE, NAMES, policy, 2, seed=3)
        for number in range(2):
            read = reader(NOISE, NAMES, View(policy, 3, number))(np.arange(60))
            np.testing.assert_allclose(cells[:, 1 + number], read, atol=0.51)
