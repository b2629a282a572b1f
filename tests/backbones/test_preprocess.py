"""Pixels to what networks expect: the published functions, known values, other channels."""

import keras
import numpy as np
import pytest

from tlkit.backbones.preprocess import KINDS, Preprocess, constants
from tlkit.backbones.table import TABLE
from tlkit.errors import TlkitError

PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 5, 7, 3)).astype("float32")


def published(constructor):
    """The `preprocess_input` of the family that has this constructor."""
    modules = (getattr(keras.applications, name) for name in dir(keras.applications))
    family = next(m for m in modules if hasattr(m, "preprocess_input") and hasattr(m, constructor))
    return family.preprocess_input


# Those of EfficientNet, ConvNeXt and MobileNetV3 do nothing, since the models do it inside:
# test_backbones compares with the models themselves.
OUTSIDE = [row for row in TABLE.values() if not (row.inside or row.arguments)]


@pytest.mark.parametrize("row", OUTSIDE, ids=lambda row: row.name)
def test_equals_the_published_preprocessing(row):
    expected = published(row.constructor)(PIXELS.copy())
    np.testing.assert_array_equal(Preprocess(row.preprocessing)(PIXELS), expected)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("none", [0, 128, 255]),
        ("unit", [0, 0.50196, 1]),
        ("tf", [-1, 0.00392, 1]),
        ("tf128", [-1, 0, 0.99219]),
        ("torch", [-2.11790, 0.20518, 2.64000]),
        ("caffe", [151.061, 11.221, -123.68]),
    ],
)
def test_known_values(kind, expected):
    rgb = np.array([0, 128, 255], "float32").reshape(1, 1, 1, 3)
    np.testing.assert_allclose(np.ravel(Preprocess(kind)(rgb)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gray_copied_to_three_planes_is_the_rgb_picture(kind):
    gray = PIXELS[..., :1]
    np.testing.assert_array_equal(
        Preprocess(kind, 3)(gray), Preprocess(kind, 3)(np.repeat(gray, 3, axis=-1))
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_keeps_other_channels(kind, channels):
    pixels = np.random.default_rng(1).uniform(0, 255, (1, 4, 4, channels)).astype("float32")
    layer = Preprocess(kind)
    out = np.asarray(layer(pixels))
    assert out.shape == pixels.shape == layer.compute_output_shape(pixels.shape)
    if channels > 3:
        np.testing.assert_array_equal(out[..., :3], Preprocess(kind)(pixels[..., :3]))
        row = KINDS[kind]
        extra = (pixels[..., 3:] / row.divide - np.mean(row.mean)) / np.mean(row.std)
        np.testing.assert_allclose(out[..., 3:], extra, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_fewer_channels_take_the_average_constants_in_their_order(kind, channels):
    pixels = np.random.default_rng(2).uniform(0, 255, (1, 3, 3, channels)).astype("float32")
    row = KINDS[kind]
    expected = (pixels / row.divide - np.mean(row.mean)) / np.mean(row.std)
    np.testing.assert_allclose(Preprocess(kind)(pixels), expected, rtol=1e-4, atol=1e-4)


def test_caffe_turns_the_first_three_of_four_channels():
    pixels = np.array([10, 20, 30, 40], "float32").reshape(1, 1, 1, 4)
    means = np.array([103.939, 116.779, 123.68])
    expected = [*(np.array([30, 20, 10]) - means), 40 - means.mean()]
    np.testing.assert_allclose(np.ravel(Preprocess("caffe", 4)(pixels)), expected, rtol=1e-5)


def test_the_shape_says_the_planes_of_the_network():
    assert Preprocess("caffe", 3).compute_output_shape((None, 5, 6, 1)) == (None, 5, 6, 3)
    assert Preprocess("caffe").compute_output_shape((None, 5, 6, 1)) == (None, 5, 6, 1)
    assert Preprocess("tf", 1)(np.zeros((1, 2, 2, 1), "float32")).shape == (1, 2, 2, 1)


def test_constants():
    assert constants((1.0, 2.0, 6.0), 1) == [3.0]
    assert constants((1.0, 2.0, 6.0), 3) == [1.0, 2.0, 6.0]
    assert constants((1.0, 2.0, 6.0), 5) == [1.0, 2.0, 6.0, 3.0, 3.0]


def test_integers_and_half_precision_lose_nothing_before_the_cast():
    exact = np.asarray(Preprocess("torch")(PIXELS))
    half = np.asarray(Preprocess("torch", dtype="mixed_float16")(PIXELS))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, exact.astype("float16"))
    whole = PIXELS.astype("uint8")
    np.testing.assert_array_equal(
        Preprocess("torch")(whole), Preprocess("torch")(whole.astype("float32"))
    )


def test_survives_saving(tmp_path):
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, Preprocess("caffe", 3)(inputs))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", safe_mode=True)
    gray = PIXELS[:, :4, :4, :1]
    np.testing.assert_array_equal(loaded(gray), model(gray))
    assert loaded.output_shape == (None, 4, 4, 3)


def test_wrong_channels_and_kind_are_named():
    with pytest.raises(TlkitError, match="takes 3 channels but the pictures have 4"):
        Preprocess("tf", 3)(np.zeros((1, 2, 2, 4), "float32"))
    with pytest.raises(TlkitError, match=r"Unknown preprocessing 'cafe'.*'caffe'"):
        Preprocess("cafe")
