"""Views depend on seed, view and image, and on nothing else."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tlkit import augment, files
from tlkit.augment import POLICIES, Policy
from tlkit.errors import TlkitError

HASHES = [files.content_hash(bytes([i])) for i in range(40)]
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 17, 21, 3)).astype(np.uint8)


def views(policy, hashes=HASHES, images=IMAGES, seed=0, view=0, run=lambda f: f):
    numbers = augment.view_parameters(hashes, images.shape[1:3], policy, seed, view)
    return run(augment.apply)(tf.constant(images), numbers).numpy()


@pytest.mark.parametrize("name", POLICIES)
def test_shape_type_and_range_are_kept_and_graph_equals_eager(name):
    eager = views(POLICIES[name])
    assert eager.shape == IMAGES.shape and eager.dtype == np.float32
    assert eager.min() >= 0 and eager.max() <= 255
    np.testing.assert_allclose(eager, views(POLICIES[name], run=tf.function), atol=1e-3)


def test_none_is_the_image_itself():
    np.testing.assert_array_equal(views(POLICIES["none"]), IMAGES)


@given(st.permutations(range(12)), st.integers(0, 5), st.integers(0, 3))
def test_draws_follow_the_image_not_its_place(order, seed, view):
    straight = augment.draws(HASHES[:12], seed, view, 9)
    moved = augment.draws([HASHES[i] for i in order], seed, view, 9)
    np.testing.assert_array_equal(straight[list(order)], moved)


def test_draws_are_uniform_and_differ_by_seed_view_and_lane():
    many = [files.content_hash(i.to_bytes(4)) for i in range(4000)]
    draws = augment.draws(many, 0, 0, 4)
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.03)
    np.testing.assert_allclose(draws.std(0), 12**-0.5, atol=0.02)
    others = [augment.draws(many, 1, 0, 4), augment.draws(many, 0, 1, 4), draws[:, ::-1]]
    for other in others:
        assert abs(np.corrcoef(draws.ravel(), other.ravel())[0, 1]) < 0.03


def test_mirror_shows_the_image_or_its_mirror_image():
    found = views(Policy(mirror=True))
    same = [np.allclose(a, b, atol=0.01) for a, b in zip(found, IMAGES, strict=True)]
    mirrored = [np.allclose(a, b[:, ::-1], atol=0.01) for a, b in zip(found, IMAGES, strict=True)]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert 8 <= sum(same) <= 32 and any(mirrored)


def test_quarter_turns_are_exact_on_squares():
    squares = IMAGES[:, :17, :17]
    found = views(Policy(quarter_turns=True), images=squares)
    for view, image in zip(found, squares, strict=True):
        assert min(np.abs(view - np.rot90(image, k)).max() for k in range(4)) < 0.1


def test_brightness_moves_the_mean_by_its_share_at_most():
    gray = np.full((40, 8, 8, 3), 100, np.uint8)
    moved = views(Policy(brightness=0.1), images=gray).mean((1, 2, 3)) - 100
    assert np.abs(moved).max() <= 25.6 and np.abs(moved).max() > 10


def test_unknown_policy_gets_a_suggestion():
    with pytest.raises(TlkitError, match="Did you mean 'photos'"):
        augment.policy("photo")
