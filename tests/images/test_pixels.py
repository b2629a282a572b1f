"""One pixel rule: formats, orientation, policies and reference values."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tlkit.errors import TlkitError
from tlkit.images import exif, pixels
from tlkit.images.pixels import PixelRule

BLOCKS = np.kron(np.random.default_rng(0).integers(0, 255, (6, 8, 3)), np.ones((20, 20, 1))).astype(
    np.uint8
)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


READ_TAG = tf.function(
    exif.orientation, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)


def orientation(encoded: bytes) -> int:
    return int(READ_TAG(tf.constant(encoded)))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_lossless_formats_are_the_mean_of_the_area_under_each_new_pixel(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    ours = pixels.load(encode(Image.fromarray(BLOCKS), kind, **options), PixelRule(64, "squash"))
    assert np.abs(ours - area_means(BLOCKS, 64)).max() < 0.6


def area_means(image, side):
    """Returns [side, side, 3]: each new pixel's mean over exactly the area it covers."""
    height, width = image.shape[:2]
    return np.einsum(
        "yh,xw,hwc->yxc", overlap(height, side), overlap(width, side), image, optimize=True
    )


def overlap(old, new):
    edges, starts = np.arange(new + 1) * old / new, np.arange(old)
    low = np.maximum(edges[:-1, None], starts)
    high = np.minimum(edges[1:, None], starts + 1)
    return np.maximum(high - low, 0) * new / old


@pytest.mark.parametrize("tag", [3, 6])
def test_orientation_of_a_jpeg_is_read_and_applied(tag):
    note = Image.Exif()
    note[0x0112] = tag
    encoded = encode(Image.fromarray(BLOCKS), "JPEG", exif=note)
    assert orientation(encoded) == tag
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
    expected = area_means(np.asarray(upright), 64)
    found = pixels.load(encoded, PixelRule(64, "squash"))
    assert np.abs(found - expected).mean() < 4


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"]))
def test_orientation_survives_any_bytes(noise, start):
    assert 1 <= orientation(start + b"Exif\0\0" + noise) <= 8
    assert 1 <= orientation(start + b"\xe1\x00\x20Exif\0\0II*\0\x08\0\0\0" + noise) <= 8


def test_sixteen_bit_gray_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = pixels.load(encode(Image.fromarray(ramp), "PNG"), PixelRule(64))
    assert np.abs(found[..., 0] - ramp / 257).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_png_modes_decode_to_their_gray_value(mode):
    gray = Image.new("L", (12, 12), 255).convert(mode)
    assert (pixels.load(encode(gray, "PNG"), PixelRule(12)) == 255).all()


def test_cmyk_jpeg_keeps_its_color():
    red = Image.new("RGB", (32, 32), (220, 30, 30)).convert("CMYK")
    found = pixels.load(encode(red, "JPEG"), PixelRule(32)).reshape(-1, 3).mean(0)
    assert found[0] > 180 and found[1] < 80


# Written once by hand: eight pixels become four by pairs and three by 8/3 each; two
# become four by the straight line between their centres.
def test_reference_vectors():
    def resized(row, side):
        image = np.tile(np.array(row, np.uint8)[None, :, None], (len(row), 1, 3))
        return pixels.fit_array(image, PixelRule(side))[0, :, 1]

    row = [0, 8, 80, 160, 240, 8, 16, 248]
    np.testing.assert_array_equal(resized(row, 4), [4, 120, 124, 132])
    thirds = [(0 + 8 + 80 * 2 / 3), (80 / 3 + 160 + 240 + 8 / 3), (8 * 2 / 3 + 16 + 248)]
    np.testing.assert_allclose(resized(row, 3), np.array(thirds) * 3 / 8, atol=0.5)
    np.testing.assert_array_equal(resized([0, 200], 4), [0, 50, 150, 200])


def test_large_jpeg_is_decoded_at_reduced_scale_without_visible_change():
    smooth = Image.fromarray(BLOCKS).resize((1600, 1200), Image.Resampling.BICUBIC)
    found = pixels.load(encode(smooth, "JPEG", quality=95), PixelRule(100, "squash"))
    expected = area_means(np.asarray(smooth), 100)
    assert np.abs(found - expected).mean() < 2.5


def test_bad_rules_and_files_name_the_trouble(tmp_path):
    with pytest.raises(TlkitError, match="Did you mean 'crop'"):
        PixelRule(32, "corp")
    page = tmp_path / "page.jpg"
    page.write_text("<html>not found</html>")
    with pytest.raises(TlkitError, match=r"page\.jpg"):
        list(pixels.load_paths([str(page)], PixelRule(32)))
    with pytest.raises(TlkitError, match="channels"):
        pixels.fit_array(np.zeros((4, 4, 5)), PixelRule(4))


def test_paths_bytes_and_arrays_agree(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(BLOCKS).save(path)
    rule = PixelRule(32)
    loaded = [pixels.load_pixels(x, rule) for x in (path, path.read_bytes(), BLOCKS)]
    np.testing.assert_array_equal(loaded[0], loaded[1])
    np.testing.assert_array_equal(loaded[0], loaded[2])


@pytest.fixture
def many(tmp_path):
    """Files of every kind but TIFF, more than are read one by one."""
    kinds = ["JPEG", "PNG", "WEBP", "GIF", "BMP"]
    paths = [tmp_path / f"{i}.{kind.lower()}" for i, kind in enumerate(kinds)]
    for path, kind in zip(paths, kinds, strict=True):
        Image.fromarray(BLOCKS).save(path, kind)
    return [str(paths[i % len(paths)]) for i in range(pixels.FEW)]


def loaded(paths, rule, batch):
    found = list(pixels.load_paths(paths, rule, batch))
    assert [len(rows) for rows in found[:-1]] == [batch] * (len(found) - 1)
    return np.concatenate(found)


def test_many_files_are_read_as_each_is(many, monkeypatch):
    rule = PixelRule(24)
    expected = {path: pixels.load_path(path, rule) for path in set(many)}
    monkeypatch.delattr(pixels, "load_path")  # the pipeline alone must do it
    found = loaded(many, rule, 64)
    np.testing.assert_array_equal(found, [expected[path] for path in many])


def test_one_file_that_tensorflow_cannot_read_does_not_disturb_the_others(many, tmp_path):
    rule, page = PixelRule(24), tmp_path / "päge.tiff"
    Image.fromarray(255 - BLOCKS).save(page)
    many[200] = str(page)
    expected = {path: pixels.load_path(path, rule) for path in set(many)}
    np.testing.assert_array_equal(loaded(many, rule, 32), [expected[path] for path in many])
    page.unlink()
    with pytest.raises(TlkitError, match=r"päge\.tiff"):
        loaded(many, rule, 32)
