"""Channels, resize policies and reduced decoding against arithmetic that is not TensorFlow's."""

import io

import numpy as np
import pytest
from PIL import Image

from tlkit.errors import TlkitError
from tlkit.images import pixels
from tlkit.images.pixels import PixelRule

DRAW = np.random.default_rng(0)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "mixed": (200, 90, 20)}


def encode(image, kind="PNG", **options) -> bytes:
    out = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(out, kind, **options)
    return out.getvalue()


def weights(old, new):
    """Returns [new, old]: the share of each old pixel in a new one, along one side.

    The share is the length of overlap where the side shrinks, and the straight line between two
    centres where it grows.
    """
    if new <= old:
        edges, starts = np.arange(new + 1) * old / new, np.arange(old)
        low = np.maximum(edges[:-1, None], starts)
        return np.maximum(np.minimum(edges[1:, None], starts + 1) - low, 0) * new / old
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(1 - np.abs(centres[:, None] - np.arange(old)), 0)


def resized(image, height, width):
    down, across = weights(image.shape[0], height), weights(image.shape[1], width)
    return np.einsum("yh,xw,hwc->yxc", down, across, image.astype(float), optimize=True)


# Rec. 601: luma is 0.299 red, 0.587 green, 0.114 blue.
@pytest.mark.parametrize(("name", "gray"), [*zip(COLOURS, (76, 150, 29, 115), strict=True)])
def test_gray_is_luma(name, gray):
    for kind, near in (("PNG", 0), ("BMP", 0), ("JPEG", 1)):
        found = pixels.load(
            encode(Image.new("RGB", (20, 20), COLOURS[name]), kind), PixelRule(20, channels=1)
        )
        assert found.shape == (20, 20, 1) and np.abs(found.astype(int) - gray).max() <= near


def test_alpha_is_blended_over_white_or_kept_and_files_without_it_are_opaque():
    glass = encode(Image.new("RGBA", (20, 20), (200, 0, 100, 51)))  # a fifth of the colour
    assert pixels.load(glass, PixelRule(20))[0, 0].tolist() == [244, 204, 224]
    assert pixels.load(glass, PixelRule(20, channels=4))[0, 0].tolist() == [200, 0, 100, 51]
    expected = round(0.299 * 244 + 0.587 * 204 + 0.114 * 224)
    assert pixels.load(glass, PixelRule(20, channels=1))[0, 0].tolist() == [expected]
    for kind in ("JPEG", "GIF", "BMP", "PNG"):
        solid = encode(Image.new("RGB", (20, 20), (255, 255, 255)), kind)
        assert (pixels.load(solid, PixelRule(20, channels=4)) == 255).all()


def test_files_have_no_other_channels_but_arrays_may():
    with pytest.raises(TlkitError, match="1, 3 or 4 channels, not 5"):
        pixels.load(encode(np.zeros((8, 8, 3), np.uint8)), PixelRule(8, channels=5))
    five = DRAW.integers(0, 256, (12, 12, 5), np.uint8)
    found = pixels.fit_array(five, PixelRule(4, channels=5))
    assert np.abs(found - resized(five, 4, 4)).max() <= 0.501


def test_gray_arrays_are_repeated_and_floats_are_rounded():
    gray = DRAW.integers(0, 256, (6, 6), np.uint8)
    for image in (gray, gray[..., None]):
        np.testing.assert_array_equal(
            pixels.fit_array(image, PixelRule(6)), np.repeat(gray[..., None], 3, -1)
        )
    np.testing.assert_array_equal(pixels.fit_array(gray, PixelRule(6, channels=1)), gray[..., None])
    floats = np.array([[[1.7, 254.6, -3.0]], [[0.2, 300.0, 99.9]]])
    found = pixels.fit_array(np.repeat(floats, 2, 1), PixelRule(2))[:, 0]
    assert found.dtype == np.uint8 and found.tolist() == [[2, 255, 0], [0, 255, 100]]


def under(image, size, policy):
    """Returns what the policy promises, from exact shares of pixels."""
    height, width = image.shape[:2]
    if policy == "squash":
        return resized(image, size, size)
    side = min(height, width) if policy == "crop" else max(height, width)
    tall, wide = round(height * size / side), round(width * size / side)
    scaled, top, left = resized(image, tall, wide), abs(tall - size) // 2, abs(wide - size) // 2
    if policy == "crop":
        return scaled[top : top + size, left : left + size]
    page = np.zeros((size, size, 3))
    page[top : top + tall, left : left + wide] = scaled
    return page


@pytest.mark.parametrize("policy", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(40, 100), (100, 40), (33, 57), (30, 30), (9, 14)])
def test_every_policy_is_the_share_of_each_old_pixel(policy, shape):
    image = DRAW.integers(0, 256, (*shape, 3), np.uint8)
    expected = under(image, 20, policy)  # the last one grows under each policy
    for found in (pixels.load(encode(image), PixelRule(20, policy)),
                  pixels.fit_array(image, PixelRule(20, policy))):  # fmt: skip
        assert found.shape == (20, 20, 3) and found.dtype == np.uint8
        assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("shape", [(10, 120), (120, 10)])
def test_where_one_side_grows_the_other_still_shrinks_without_aliases(shape):
    image = np.zeros((*shape, 3), np.uint8)
    image[tuple(slice(None, None, 2) if side == 120 else slice(None) for side in shape)] = 255
    found = pixels.load(encode(image), PixelRule(20, "squash"))
    assert np.abs(found.astype(int) - 127.5).max() < 12  # lines of one pixel become gray
    noise = DRAW.integers(0, 256, (*shape, 3), np.uint8)
    expected = Image.fromarray(noise).resize((20, 20), Image.Resampling.BILINEAR)
    found = pixels.load(encode(noise), PixelRule(20, "squash")).astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 2


# Bars as fine as the resized picture can show: decoded any smaller, they are one gray.
@pytest.mark.parametrize(
    ("shape", "size", "policy"),
    [
        ((40, 160), 20, "crop"), ((160, 40), 20, "crop"), ((40, 160), 20, "squash"),
        ((80, 160), 20, "pad"), ((160, 80), 20, "pad"), ((39, 39), 20, "crop"),
    ],
)  # fmt: skip
def test_a_jpeg_is_never_decoded_smaller_than_it_is_needed(shape, size, policy):
    side = max(shape) if policy == "pad" else min(shape)
    period = 4 * max(1, side // size)
    image = np.zeros((*shape, 3), np.uint8)
    image[np.arange(shape[0]) % period < period // 2] = 255
    found = pixels.load(encode(image, "JPEG", quality=95), PixelRule(size, policy))
    assert np.abs(found - under(image, size, policy)).mean() < 12


def test_the_first_frame_counts():
    frames = [Image.new("RGB", (20, 20), name) for name in ("red", "blue", "lime")]
    for kind, options in (("GIF", {}), ("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        film = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert pixels.load(film, PixelRule(20))[5, 5].tolist() == [255, 0, 0], kind


def test_a_rule_is_part_of_what_is_kept_compiled():
    image = encode(DRAW.integers(0, 256, (40, 60, 3), np.uint8))
    rules = [PixelRule(20, policy) for policy in ("crop", "pad", "squash")] + [PixelRule(9)]
    rules += [PixelRule(20, channels=1), PixelRule(20, channels=4)]
    found = [pixels.load(image, rule) for rule in rules]
    assert [part.shape for part in found] == [(r.size, r.size, r.channels) for r in rules]
    assert len({part.tobytes() for part in found}) == len(rules)


@pytest.mark.parametrize("count", [5, pixels.FEW])
def test_files_come_in_their_order_one_by_one_and_in_the_pipeline(tmp_path, count):
    paths = []
    for i in range(7):
        paths.append(str(tmp_path / f"{(i * 5) % 7}.png"))
        Image.new("RGB", (4, 4), (i * 30, 0, 0)).save(paths[-1])
    wanted = [(i * 3) % 7 for i in range(count)]
    batches = list(pixels.load_paths([paths[i] for i in wanted], PixelRule(20), batch=64))
    assert [len(rows) for rows in batches] == [min(64, count - i) for i in range(0, count, 64)]
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == [30 * i for i in wanted]
