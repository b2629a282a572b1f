"""Every operation against a closed form, NumPy or Pillow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tlkit.augmentation import geometry, pixel_changes

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (3, 12, 16, 3)).astype(np.float32)
SQUARES = IMAGES[:, :, :12]
FILL = 77.0


def column(*values):
    return np.array(values, np.float32)[:, None]


def warped(images, name, numbers, amount, fill="reflect"):
    """Applies one projective change with the given numbers in [-1, 1)."""
    size = (images.shape[2], images.shape[1])
    u = np.tile(np.atleast_2d(numbers), (len(images), 1))
    matrix = geometry.about_middle(geometry.MATRICES[name].matrix(u, amount, size), size)
    matrix = matrix / matrix[:, 2:, 2:]
    flat = matrix.reshape(-1, 9)[:, :8].astype(np.float32)
    done = geometry.projective(tf.constant(images), flat, fill, FILL).numpy()
    bent = geometry.bent(tf.constant(images), tf.constant(flat), [], fill, FILL).numpy()
    if fill != "wrap":  # TensorFlow's own wrap repeats with a seam between last and first pixel
        np.testing.assert_allclose(done, bent, atol=0.05)
    return done


def changed(name, images, *rows):
    values = tf.constant(np.array(rows, np.float32))
    done = pixel_changes.CHANGES[name].run(tf.constant(images, tf.float32), values).numpy()
    return np.clip(done, 0, 255)


@pytest.mark.parametrize("turns", [-1, 1, 2])
def test_rotation_by_right_angles_is_rot90(turns):
    found = warped(SQUARES, "rotate", [turns / 2], 180)
    np.testing.assert_allclose(found, np.rot90(SQUARES, turns, (1, 2)), atol=0.01)


@settings(max_examples=15, deadline=None)
@given(st.integers(-5, 5), st.integers(-4, 4), st.sampled_from(list(geometry.FILLS)))
def test_translation_by_whole_pixels_is_roll_or_pad(right, down, fill):
    height, width = IMAGES.shape[1:3]
    found = warped(IMAGES, "shift", [-right / width, -down / height], 1, fill)
    if fill == "wrap":
        expected = np.roll(IMAGES, (down, right), (1, 2))
    else:
        mode = {"reflect": "symmetric", "constant": "constant", "nearest": "edge"}[fill]
        extra = {"constant_values": FILL} if fill == "constant" else {}
        padded = np.pad(IMAGES, [(0, 0), (6, 6), (6, 6), (0, 0)], mode, **extra)
        expected = padded[:, 6 - down : 6 - down + height, 6 - right : 6 - right + width]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_bent_wraps_by_whole_pixels_too():
    flat = np.tile(np.array([1, 0, 3, 0, 1, -2, 0, 0], np.float32), (3, 1))
    found = geometry.bent(tf.constant(IMAGES), tf.constant(flat), [], "wrap").numpy()
    np.testing.assert_allclose(found, np.roll(IMAGES, (2, -3), (1, 2)), atol=1e-3)


def test_jitter_moves_by_whole_pixels():
    u = DRAW.uniform(-1, 1, (300, 2))
    moves = geometry.jitter(u, 1, (16, 12))[:, :2, 2]
    assert set(moves.ravel()) == {-1, 0, 1}
    np.testing.assert_allclose(np.mean(moves == 0), 1 / 3, atol=0.06)
    assert not geometry.jitter(np.zeros((1, 2)), 1, (16, 12))[:, :2, 2].any()


@pytest.mark.parametrize(
    ("name", "numbers", "amount", "expected"),
    [
        ("zoom", [1.0], 1, (2, 1.5)),  # twice as large: output (4, 3) shows input (2, 1.5)
        ("zoom", [-1.0], 1, (8, 6)),
        ("stretch", [1.0], 1, (2, 6)),
        ("shear_x", [1.0], 45, (7, 3)),
        ("shear_y", [1.0], 45, (4, 7)),
        ("rotate", [0.5], 180, (-3, 4)),
        ("shift", [0.5, -0.25], 0.5, (4 + 4, 3 - 1.5)),
        # 1 + 0.5 * 4 / 16 = 1.125 below
        ("perspective", [1.0, 0.0], 0.5, (4 / 1.125, 3 / 1.125)),
    ],
)
def test_matrices_map_known_points(name, numbers, amount, expected):
    matrix = geometry.MATRICES[name].matrix(np.array([numbers]), amount, (16, 12))[0]
    x, y, below = matrix @ [4, 3, 1]
    np.testing.assert_allclose([x / below, y / below], expected, atol=1e-6)


@pytest.mark.parametrize("name", [*geometry.MATRICES, *geometry.FIELDS])
def test_amount_zero_stays_in_place(name):
    u = DRAW.uniform(-1, 1, (3, 50)).astype(np.float32)
    if name in geometry.MATRICES:
        found = geometry.MATRICES[name].matrix(u, 0, (16, 12))
        np.testing.assert_allclose(found, np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-12)
    else:
        flat = np.tile(np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32), (3, 1))
        still = geometry.bent(tf.constant(IMAGES), tf.constant(flat), [(name, tf.constant(0 * u))])
        np.testing.assert_array_equal(still, IMAGES)


def test_lens_moves_the_corner_by_k1_and_keeps_the_middle():
    x, y = geometry.lens(
        tf.constant([[[8.0, 0.0, 4.0]]]), tf.constant([[[6.0, 0.0, 3.0]]]), column(0.2), (16, 12)
    )
    np.testing.assert_allclose(x, [[[8 * 1.2, 0, 4 * 1.05]]], rtol=1e-6)
    np.testing.assert_allclose(y, [[[6 * 1.2, 0, 3 * 1.05]]], rtol=1e-6)


def test_elastic_is_smooth_and_of_the_stated_size():
    values = DRAW.uniform(-0.05, 0.05, (20, geometry.FIELDS["elastic"].draws)).astype(np.float32)
    zero = tf.zeros((1, 64, 64))
    dx, dy = geometry.elastic(zero, zero, tf.constant(values), (64, 64))
    for d in (dx.numpy(), dy.numpy()):
        assert 0.3 < d.std() / (0.05 * 64 / 3**0.5) < 1.1  # of numbers uniform in +-0.05 * 64
        assert np.abs(np.diff(d, axis=1)).max() < 0.9  # no folds
    one = np.full((1, 50), 0.05, np.float32)
    np.testing.assert_allclose(
        geometry.elastic(zero, zero, tf.constant(one), (64, 64))[0], 3.2, rtol=1e-5
    )


def test_light_has_closed_forms():
    x = IMAGES
    mean = x.mean((1, 2, 3), keepdims=True)
    expected = {
        "brightness": (0.2, x + 51),
        "contrast": (0.5, (x - mean) * 1.5 + mean),
        "gamma": (2.0, x**2 / 255),
        "solarize": (0.25, np.where(x > 191.25, 255 - x, x)),
        "posterize": (3.0, x // 8 * 8),
    }
    for name, (value, form) in expected.items():
        found = changed(name, x, *[[value]] * 3)
        np.testing.assert_allclose(found, np.clip(form, 0, 255), atol=0.01, err_msg=name)


def test_each_image_has_its_own_value():
    found = changed("brightness", np.full((2, 4, 4, 3), 100), [0.1], [-0.1])
    np.testing.assert_allclose(found[:, 0, 0, 0], [125.5, 74.5], rtol=1e-6)


def luma(x):
    return x @ np.array([0.299, 0.587, 0.114], np.float32)


def test_colour_changes_keep_what_they_should():
    gentle = 100 + IMAGES / 8
    gray = changed("saturation", gentle, *[[-1]] * 3)
    np.testing.assert_allclose(gray, np.repeat(luma(gentle)[..., None], 3, -1), atol=0.01)
    turned = changed("hue", gentle, *[[40]] * 3)
    np.testing.assert_allclose(luma(turned), luma(gentle), atol=0.05)
    assert np.abs(turned - gentle).max() > 5
    np.testing.assert_allclose(changed("hue", gentle, *[[360]] * 3), gentle, atol=0.05)
    half = changed("hue", changed("hue", gentle, *[[75]] * 3), *[[-75]] * 3)
    np.testing.assert_allclose(half, gentle, atol=0.05)
    moved = changed("colour_shift", gentle, *[[0.1, 0, -0.1]] * 3)
    np.testing.assert_allclose((moved - gentle)[0, 0, 0], [25.5, 0, -25.5], atol=0.01)


def test_white_noise_is_white_and_has_the_stated_level():
    found = changed("noise", np.full((2, 200, 200, 1), 128), [0.1, 1, 2], [0.05, 3, 4]) - 128
    np.testing.assert_allclose(found.std((1, 2, 3)), [25.5, 12.75], rtol=0.02)
    neighbours = np.mean(found[0, 1:] * found[0, :-1]) / found[0].var()
    assert abs(neighbours) < 0.02


def test_grain_is_correlated_as_stated():
    found = (
        changed("grain", np.full((1, 300, 300, 1), 128), [0.1, 1, 2])[0, 10:-10, 10:-10, 0] - 128
    )
    np.testing.assert_allclose(found.std(), 25.5, rtol=0.06)
    for distance in (1, 2, 3):
        shared = np.mean(found[distance:] * found[:-distance]) / found.var()
        assert abs(shared - np.exp(-(distance**2) / (4 * pixel_changes.GRAIN**2))) < 0.05


def test_grain_keeps_gray_pictures_gray():
    found = changed("grain", np.full((1, 9, 9, 3), 128), [0.1, 1, 2])
    np.testing.assert_array_equal(found[..., 0], found[..., 2])
    assert found.std() > 5


def test_blur_is_a_gaussian():
    dot = np.zeros((2, 17, 17, 1), np.float32)
    dot[:, 8, 8] = 255
    found = changed("blur", dot, [1.5], [0.0])
    taps = np.exp(-(np.arange(-4, 5) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    np.testing.assert_allclose(found[0, 4:13, 4:13, 0], 255 * np.outer(taps, taps), atol=1e-3)
    np.testing.assert_allclose(found[1], dot[1], atol=1e-3)
    flat = np.full((1, 9, 9, 3), 90.0)
    np.testing.assert_allclose(changed("sharpness", flat, [2.0]), flat, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 0.5), st.floats(0.3, 3.3), st.floats(0, 0.999), st.floats(0, 0.999))
def test_erasing_covers_the_stated_area_and_nothing_else(area, aspect, down, across):
    white = np.full((1, 40, 50, 3), 300.0, np.float32)  # no drawn value is 300
    row = tf.constant([[area, aspect, down, across, 5, 6]], tf.float32)
    covered = (pixel_changes.erase(tf.constant(white), row).numpy() != 300).any(-1)[0]
    tall, wide = covered.any(1).sum(), covered.any(0).sum()
    assert covered.sum() == tall * wide
    if 1.5 < tall < 40 and wide < 50:
        assert abs(tall * wide / 2000 - area) <= (tall + wide) / 2 / 2000
        # The width follows from the rounded height, whose rounding thus counts twice.
        assert abs(tall / wide - aspect) <= aspect * (1.2 / tall + 0.6 / wide + 0.02)


def test_box_keeps_to_its_amount():
    boxes = pixel_changes.box(DRAW.uniform(0, 1, (500, 6)), 0.3)
    assert 0.02 <= boxes[:, 0].min() and boxes[:, 0].max() <= 0.3
    assert 0.29 < boxes[:, 1].min() and boxes[:, 1].max() < 3.34


@pytest.mark.parametrize("quality", [20, 75])
def test_jpeg_equals_pillow(quality):
    smooth = np.asarray(
        Image.fromarray(IMAGES[0].astype(np.uint8)).resize((48, 32), Image.Resampling.BICUBIC)
    )
    packed = io.BytesIO()
    Image.fromarray(smooth).save(packed, "JPEG", quality=quality)
    expected = np.asarray(Image.open(packed)).astype(np.float32)
    found = changed("jpeg", smooth[None], [100 - quality])[0]
    assert np.abs(found - expected).mean() < 1  # colour is upsampled a little differently
    assert np.abs(found - smooth).mean() > 1


def test_autocontrast_and_equalize_equal_pillow():
    dim = (IMAGES[0] / 3 + 40).astype(np.uint8)
    picture = Image.fromarray(dim)
    auto = changed("autocontrast", dim[None], [1.0])[0]
    np.testing.assert_allclose(auto, np.asarray(ImageOps.autocontrast(picture)), atol=1.0)
    large = DRAW.gamma(2, 20, (2, 40, 40, 3)).clip(0, 255).astype(np.uint8)
    for image, found in zip(large, changed("equalize", large, [1.0], [1.0]), strict=True):
        np.testing.assert_array_equal(found, ImageOps.equalize(Image.fromarray(image)))
    halfway = changed("equalize", large, [0.5], [0.5])
    np.testing.assert_allclose(halfway * 2 - large, changed("equalize", large, [1], [1]), atol=0.01)


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_a_flat_image_stays(name):
    flat = np.full((1, 20, 20, 3), 90.0)
    np.testing.assert_allclose(changed(name, flat, [1.0]), flat)
