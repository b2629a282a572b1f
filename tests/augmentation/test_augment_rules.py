"""A view is what its policy says: each part of it, and several in the stated order."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tlkit import files
from tlkit.augmentation import apply, draws
from tlkit.augmentation.policies import Change, Policy

HASHES = [files.content_hash(bytes([i, 3])) for i in range(120)]
HEIGHT, WIDTH = 31, 47
# Straight lines in x and y: bilinear reading is exact on them, however often it is repeated.
RAMPS = np.stack(
    [*np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), np.ones((HEIGHT, WIDTH))], -1
).astype(np.float32)
NOISE = np.random.default_rng(0).integers(0, 256, (120, 14, 18, 3)).astype(np.uint8)
MIDDLE = slice(8, 23), slice(12, 35)  # far from what lies beyond the border


def views(policy, images, seed=0, view=0, hashes=None):
    hashes = HASHES[: len(images)] if hashes is None else hashes
    numbers = draws.view_parameters(hashes, images.shape[1:3], policy, seed, view)
    return apply.apply(tf.constant(images), numbers, policy).numpy()


def maps(policy, count=120):
    """Returns where each output pixel looks: x and y [count, height, width], by looking."""
    found = views(policy, np.repeat(RAMPS[None], count, 0))
    return found[..., 0], found[..., 1]


def slopes(policy):
    """Returns the map's 2 x 2 matrices and its shift of the middle pixel, for 120 images."""
    x, y = maps(policy)
    row, column = HEIGHT // 2, WIDTH // 2
    across = [part[:, row, column + 1] - part[:, row, column] for part in (x, y)]
    down = [part[:, row + 1, column] - part[:, row, column] for part in (x, y)]
    matrix = np.stack([np.stack(across, 1), np.stack(down, 1)], 2)
    return matrix, np.stack([x[:, row, column] - column, y[:, row, column] - row], 1)


def spreads(values, limit):
    """Says that values fill -limit to limit, evenly enough."""
    assert np.abs(values).max() <= limit * 1.001
    assert values.min() < -0.85 * limit and values.max() > 0.85 * limit
    assert abs(np.mean(values)) < 0.2 * limit


def test_rotation_turns_about_the_middle_by_up_to_its_degrees_either_way():
    matrix, moved = slopes(Policy(rotate=30))
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), [np.eye(2)] * 120, atol=1e-3)
    spreads(np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])), 30)
    np.testing.assert_allclose(moved, 0, atol=1e-3)


def test_zoom_scales_about_the_middle_by_up_to_its_factor():
    matrix, moved = slopes(Policy(zoom=0.5))
    np.testing.assert_allclose(matrix[:, [0, 1], [1, 0]], 0, atol=1e-4)
    np.testing.assert_allclose(matrix[:, 0, 0], matrix[:, 1, 1], atol=1e-3)
    spreads(np.log(matrix[:, 0, 0]), np.log(1.5))
    np.testing.assert_allclose(moved, 0, atol=1e-3)


def test_shift_moves_along_each_axis_by_its_share_of_that_side():
    matrix, moved = slopes(Policy(shift=0.2))
    np.testing.assert_allclose(matrix, [np.eye(2)] * 120, atol=1e-3)
    spreads(moved[:, 0], 0.2 * WIDTH)
    spreads(moved[:, 1], 0.2 * HEIGHT)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.25


@pytest.mark.parametrize(("mirror", "upside_down"), [(True, False), (False, True), (True, True)])
def test_mirrors_happen_to_half_of_the_images_each_by_itself(mirror, upside_down):
    found = views(Policy(mirror=mirror, upside_down=upside_down), NOISE)
    shown = [image[:: 1 - 2 * down, :: 1 - 2 * across]
             for image in NOISE for down in (0, 1) for across in (0, 1)]  # fmt: skip
    shown = np.array(shown, np.float32).reshape(120, 4, *NOISE.shape[1:])
    which = np.abs(found[:, None] - shown).max((2, 3, 4)) < 0.1
    np.testing.assert_array_equal(which.sum(1), 1)
    counts = which.sum(0)
    ways = [1, mirror, upside_down, mirror and upside_down]
    for count, possible in zip(counts, ways, strict=True):
        assert abs(count - possible * 120 / sum(ways)) < 20


def test_quarter_turns_are_equally_frequent():
    found = views(Policy(quarter_turns=True), NOISE[:, :, :14])
    turned = [np.rot90(NOISE[:, :, :14], k, (1, 2)) for k in range(4)]
    which = np.array([np.abs(found - one).max((1, 2, 3)) < 0.5 for one in turned])
    np.testing.assert_array_equal(which.sum(0), 1)
    assert which.sum(1).min() > 15


def test_light_is_about_each_images_own_mean_and_within_its_limits():
    gentle = (100 + NOISE / 10).astype(np.float32)
    mean = gentle.mean((1, 2, 3), keepdims=True)
    found = views(Policy(contrast=0.4), gentle)
    gain = found.std((1, 2, 3)) / gentle.std((1, 2, 3))
    spreads(gain - 1, 0.4)
    np.testing.assert_allclose(found, mean + (gentle - mean) * gain[:, None, None, None], atol=0.01)
    found = views(Policy(brightness=0.2), gentle) - gentle
    np.testing.assert_allclose(found.std((1, 2, 3)), 0, atol=1e-3)
    spreads(found.mean((1, 2, 3)), 0.2 * 255)
    both = views(Policy(brightness=0.2, contrast=0.4), gentle)
    np.testing.assert_allclose(both - found, views(Policy(contrast=0.4), gentle), atol=0.01)


AMOUNTS = {
    "rotate": 8, "shear_x": 8, "shear_y": 8, "shift": 0.06, "perspective": 0.5, "lens": 0.3,
    "elastic": 0.01,
}  # fmt: skip


def change(name):
    return Change(name, AMOUNTS.get(name, 0.1))


def one_by_one(images, *policies):
    for policy in policies:
        images = views(policy, images)
    return images


@pytest.mark.parametrize(
    "names",
    [
        ("rotate", "shift"), ("shear_x", "rotate"), ("stretch", "shear_y"), ("shift", "zoom"),
        ("shift", "rotate", "shear_x"),
    ],
)  # fmt: skip
def test_several_changes_of_place_are_done_in_their_order(names):
    images = np.repeat(RAMPS[None], 20, 0)
    found = views(Policy(changes=tuple(map(change, names))), images)
    expected = one_by_one(images, *(Policy(changes=(change(name),)) for name in names))
    turned = one_by_one(images, *(Policy(changes=(change(name),)) for name in names[::-1]))
    middle = (slice(None), *MIDDLE)
    np.testing.assert_allclose(found[middle], expected[middle], atol=0.01)
    assert np.abs(found[middle] - turned[middle]).max() > 0.1


@pytest.mark.parametrize("name", ["rotate", "shear_x", "perspective", "lens", "elastic"])
def test_a_policys_own_warp_comes_first_and_its_changes_after_it(name):
    images = np.repeat(RAMPS[None], 20, 0)
    classic = Policy(mirror=True, rotate=10, zoom=0.1, shift=0.06)
    found = views(dataclasses.replace(classic, changes=(change(name),)), images)
    expected = one_by_one(images, classic, Policy(changes=(change(name),)))
    middle = (slice(None), *MIDDLE)
    # Where lines are bent, reading twice is not quite exact.
    np.testing.assert_allclose(found[middle], expected[middle], atol=0.05)
    for other in (classic, Policy(changes=(change(name),))):
        assert (
            np.abs(found[middle] - views(other, images)[middle]).max() > 0.3
        )  # neither is left out


@pytest.mark.parametrize("names", [("shift", "lens"), ("elastic", "lens")])
def test_lenses_and_sheets_bend_before_the_maps_and_in_their_order(names):
    images = np.repeat(RAMPS[None], 20, 0)
    amount = {"lens": 0.4, "elastic": 0.04, "shift": 0.1}
    changes = [Change(name, amount[name]) for name in names]
    found = views(Policy(changes=tuple(changes)), images)
    singles = [Policy(changes=(one,)) for one in changes]
    if names[0] != "shift":  # what bends coordinates first is seen last
        singles = singles[::-1]
    middle = (slice(None), *MIDDLE)
    expected, turned = (one_by_one(images, *part)[middle] for part in (singles, singles[::-1]))
    away, wrong = (np.abs(found[middle] - other).max() for other in (expected, turned))
    assert away < 0.1 and wrong > 0.2


LIGHTS = (
    ("solarize", "brightness"), ("posterize", "contrast"), ("blur", "noise"), ("erase", "blur"),
    ("gamma", "saturation", "posterize"),
)  # fmt: skip
DEGREES = {"posterize": 5, "blur": 2, "noise": 0.2, "solarize": 0.9, "gamma": 1, "contrast": 0.8}


@pytest.mark.parametrize("names", LIGHTS)
def test_pixel_changes_are_done_in_their_order(names):
    changes = [Change(name, DEGREES.get(name, 0.4)) for name in names]
    images = NOISE[:20].astype(np.float32)
    found = views(Policy(changes=tuple(changes)), images)
    singles = [Policy(changes=(one,)) for one in changes]
    np.testing.assert_allclose(found, one_by_one(images, *singles), atol=1e-3)
    assert np.abs(found - one_by_one(images, *singles[::-1])).max() > 1


def test_geometry_comes_first_then_light_then_pixel_changes():
    images = NOISE[:20].astype(np.float32)
    posterize, turn = Change("posterize", 6), Change("rotate", 40)
    light = Policy(brightness=0.3, contrast=0.8)
    whole = dataclasses.replace(light, changes=(posterize, turn))
    expected = one_by_one(images, Policy(changes=(turn,)), light, Policy(changes=(posterize,)))
    np.testing.assert_allclose(views(whole, images), expected, atol=0.01)


def test_one_change_twice_is_drawn_twice():
    twice = Policy(changes=(Change("brightness", 0.1), Change("brightness", 0.1)))
    gray = np.full((120, 6, 6, 3), 128.0, np.float32)
    once = views(Policy(changes=(Change("brightness", 0.1),)), gray)[:, 0, 0, 0] - 128
    both = views(twice, gray)[:, 0, 0, 0] - 128
    spreads(once, 25.5)
    spreads(both - once, 25.5)
    assert abs(np.corrcoef(once, both - once)[0, 1]) < 0.25
