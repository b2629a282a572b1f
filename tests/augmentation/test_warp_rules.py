"""Geometry and blur against SciPy and closed forms on pictures that are not square."""

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tlkit.augmentation import geometry, pixel_changes

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (3, 12, 16, 3)).astype(np.float32)
SIZE = (16, 12)


def flat(matrices):
    matrices = matrices / matrices[:, 2:, 2:]
    return tf.constant(matrices.reshape(-1, 9)[:, :8].astype(np.float32))


def changed(name, images, *rows):
    values = tf.constant(np.array(rows, np.float32))
    return pixel_changes.CHANGES[name].run(tf.constant(images, tf.float32), values).numpy()


def test_maps_are_about_the_middle_of_pictures_of_any_shape():
    turned = geometry.about_middle(geometry.rotate(np.ones((3, 1)), 180, SIZE), SIZE)
    found = geometry.projective(tf.constant(IMAGES), flat(turned)).numpy()
    np.testing.assert_allclose(found, IMAGES[:, ::-1, ::-1], atol=0.05)
    for name in ("zoom", "stretch", "shear_x", "perspective"):
        matrix = geometry.MATRICES[name].matrix(np.ones((1, 2)), 0.3, (17, 13))
        x, y, below = (geometry.about_middle(matrix, (17, 13)) @ [8, 6, 1])[0]
        np.testing.assert_allclose([x / below, y / below], [8, 6], err_msg=name)


def test_each_side_is_tilted_and_moved_by_a_number_of_its_own():
    tilt = geometry.perspective(np.array([[0.0, 1.0]]), 0.5, SIZE)[0]
    np.testing.assert_allclose(tilt @ [4, 3, 1], [4, 3, 1 + 0.5 * 3 / 12])
    moves = geometry.jitter(DRAW.uniform(-1, 1, (200, 2)), 2, SIZE)[:, :2, 2]
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.2 and set(moves[:, 1]) == {-2, -1, 0, 1, 2}
    moved = geometry.shift(np.array([[0.5, -0.25]]), 0.5, SIZE)[0]
    np.testing.assert_allclose(moved @ [0, 0, 1], [0.5 * 0.5 * 16, -0.25 * 0.5 * 12, 1])


@pytest.mark.parametrize(("fill", "mode"), [
    ("reflect", "reflect"), ("constant", "constant"), ("nearest", "nearest"), ("wrap", "grid-wrap"),
])  # fmt: skip
def test_reading_between_pixels_is_bilinear_within_and_beyond_the_border(fill, mode):
    x = DRAW.uniform(-9, 25, (3, 6, 7)).astype(np.float32)
    y = DRAW.uniform(-8, 19, (3, 6, 7)).astype(np.float32)
    found = geometry.sample(tf.constant(IMAGES), *padded(x, y), fill, 50.0)
    for image, right, down, one in zip(IMAGES, x, y, found.numpy(), strict=True):
        for channel in range(3):
            expected = scipy.ndimage.map_coordinates(
                image[..., channel], [down, right], order=1, mode=mode, cval=50
            )
            inside = (right > -1) & (right < 16) & (down > -1) & (down < 12)
            edge = inside & ~((right >= 0) & (right <= 15) & (down >= 0) & (down <= 11))
            shown = one[:6, :7, channel]
            keep = ~edge if fill == "constant" else np.full(edge.shape, True)  # SciPy has no blend
            np.testing.assert_allclose(shown[keep], expected[keep], atol=0.05)


def padded(x, y):
    """Puts coordinates into fields of the images' own size, which `sample` returns."""
    fields = [np.zeros((3, 12, 16), np.float32) for _ in range(2)]
    for field, part in zip(fields, (x, y), strict=True):
        field[:, : part.shape[1], : part.shape[2]] = part
    return map(tf.constant, fields)


def knots(row, column, axis, pull=0.05):
    values = np.zeros((1, geometry.KNOTS, geometry.KNOTS, 2), np.float32)
    values[0, row, column, axis] = pull
    return tf.constant(values.reshape(1, -1))


def pulled(values, size=(40, 20)):
    """Returns how far an elastic sheet moves x and y, [height, width] each."""
    x, y = (tf.constant(part[None].astype(np.float32))
            for part in np.meshgrid(np.arange(size[0]), np.arange(size[1])))  # fmt: skip
    across, down = geometry.elastic(x, y, values, size)
    return (across - x).numpy()[0], (down - y).numpy()[0]


def test_an_elastic_sheet_is_pulled_along_each_axis_by_numbers_of_its_own():
    for axis in (0, 1):
        moved = pulled(knots(2, 2, axis))
        assert np.abs(moved[axis]).max() > 0.5 and np.abs(moved[1 - axis]).max() < 1e-4
    both = np.tile(np.float32([0.05, -0.02]), (1, geometry.KNOTS**2))
    across, down = pulled(tf.constant(both))
    np.testing.assert_allclose(across, 0.05 * 20, rtol=1e-4)  # of the shorter side
    np.testing.assert_allclose(down, -0.02 * 20, rtol=1e-4)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 4), (4, 0), (2, 3)])
def test_a_knot_pulls_where_it_lies(row, column):
    across, _ = pulled(knots(row, column, 0))
    down, right = np.unravel_index(np.abs(across).argmax(), across.shape)
    assert abs(down - (row + 0.5) * 4) <= 2.5 and abs(right - (column + 0.5) * 8) <= 4.5


def test_a_bent_picture_shows_what_the_sheet_pulled_there():
    ramps = np.stack(np.meshgrid(np.arange(40), np.arange(20)), -1)[None].astype(np.float32)
    still = tf.constant([[1, 0, 0, 0, 1, 0, 0, 0]], tf.float32)
    values = knots(2, 2, 0) + knots(1, 3, 1)
    found = geometry.bent(tf.constant(ramps), still, [("elastic", values)]).numpy()[0]
    moved = np.stack(pulled(values), -1)
    np.testing.assert_allclose((found - ramps[0])[3:-3, 3:-3], moved[3:-3, 3:-3], atol=0.02)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.9])
def test_blur_is_scipys_along_both_sides_and_at_the_border(sigma):
    found = changed("blur", IMAGES, *[[sigma]] * 3)
    expected = scipy.ndimage.gaussian_filter(
        IMAGES, (0, sigma, sigma, 0), mode="nearest", radius=(0, 4, 4, 0)
    )
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_sharpness_adds_what_a_small_blur_takes_away():
    blurred = scipy.ndimage.gaussian_filter(
        IMAGES, (0, 0.85, 0.85, 0), mode="nearest", radius=(0, 4, 4, 0)
    )
    for share in (1.0, 0.3, -1.0):
        found = changed("sharpness", IMAGES, *[[share]] * 3)
        np.testing.assert_allclose(found, IMAGES + share * (IMAGES - blurred), atol=0.02)


@pytest.mark.parametrize("down", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("across", [0.0, 0.5, 0.999])
def test_erasing_takes_its_place_from_its_own_numbers(down, across):
    white = np.full((1, 20, 50, 3), 300.0, np.float32)
    row = [0.1, 0.5, down, across, 5, 6]
    covered = (changed("erase", white, row) != 300).any(-1)[0]
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    for places, share, size in ((rows, down, 20), (columns, across, 50)):
        assert places[0] == int(share * (size - len(places) + 1))


def test_erased_parts_are_noise_of_each_images_own_seeds():
    black = np.zeros((3, 30, 30, 3), np.float32)
    rows = [[0.9, 1.0, 0, 0, seed, 7] for seed in (1, 2, 1)]
    found = changed("erase", black, *rows)
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()
    drawn = found[0][:28, :28]
    assert abs(drawn.mean() - 127.5) < 5 and drawn.max() > 250 and drawn.min() < 5


@pytest.mark.parametrize("name", ["noise", "grain"])
def test_noise_is_drawn_from_each_images_own_two_seeds(name):
    gray = np.full((4, 9, 9, 3), 128.0, np.float32)
    found = changed(name, gray, *[[0.2, *seeds] for seeds in ((1, 2), (2, 1), (1, 3), (1, 2))])
    np.testing.assert_allclose(found[0], found[3], atol=1e-3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(found[i] - found[j]).mean() > 5


def test_a_colour_turns_and_fades_as_stated():
    red = np.full((1, 4, 4, 3), (200.0, 100.0, 100.0), np.float32)
    doubled = changed("saturation", red, [1.0])[0, 0, 0]
    luma = 0.299 * 200 + 0.701 * 100
    np.testing.assert_allclose(doubled, 2 * np.array([200, 100, 100]) - luma, atol=0.01)
    opposite = changed("hue", red, [180])[0, 0, 0]  # as far from gray on the other side
    np.testing.assert_allclose(opposite, 2 * luma - np.array([200, 100, 100]), atol=0.1)
    for name in ("hue", "saturation", "colour_shift"):
        gray = np.full((1, 4, 4, 1), 90.0, np.float32)
        np.testing.assert_array_equal(changed(name, gray, [0.5, 0.5, 0.5]), gray)


def test_autocontrast_goes_its_share_of_the_way_in_each_channel():
    dim = np.zeros((1, 1, 3, 3), np.float32)
    dim[0, 0] = [[50, 0, 80], [100, 100, 90], [150, 200, 100]]
    full = np.float32([[0, 0, 0], [127.5, 127.5, 127.5], [255, 255, 255]])
    for share in (1.0, 0.5):
        np.testing.assert_allclose(
            changed("autocontrast", dim, [share])[0, 0], dim[0, 0] + share * (full - dim[0, 0]),
            atol=0.01,
        )  # fmt: skip
