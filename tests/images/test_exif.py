"""The EXIF orientation in blocks written byte by byte, and the eight turns against NumPy."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tlkit.images import exif, pictures, pixels
from tlkit.images.pixels import PixelRule

READ_TAG = tf.function(
    exif.orientation, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
)
ORDERS = {"II": "<", "MM": ">"}  # little-endian and big-endian, as TIFF names them
TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),  # the camera was held a quarter turn to the left
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: lambda a: np.rot90(a, 1),
}
LETTER = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)


def orientation(encoded: bytes) -> int:
    return int(READ_TAG(tf.constant(encoded)))


def tiff_block(order, tag, gap=0):
    """Returns a header, a directory of three entries with the tag in the middle, and another."""
    end = ORDERS[order]

    def directory(value, following):
        entries = [
            struct.pack(f"{end}HHII", 0x010F, 2, 20, 8),  # maker, whose text is elsewhere
            struct.pack(f"{end}HHIHH", 0x0112, 3, 1, value, 0),
            struct.pack(f"{end}HHIHH", 0x0128, 3, 1, 2, 0),  # unit of resolution
        ]
        count, last = struct.pack(f"{end}H", 3), struct.pack(f"{end}I", following)
        return count + b"".join(entries) + last

    start = 8 + gap
    thumbnail = directory(8, 0)  # a camera's thumbnail has an orientation of its own
    header = order.encode() + struct.pack(f"{end}HI", 42, start) + b"\7" * gap
    return header + directory(tag, start + 42) + thumbnail


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments):
    """Returns a JPEG with these segments right after its first two bytes."""
    out = io.BytesIO()
    Image.fromarray(LETTER).save(out, "JPEG")
    return b"\xff\xd8" + b"".join(segments) + out.getvalue()[2:]


BEFORE = {
    "nothing": [],
    "JFIF": [segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")],
    "a colour profile": [segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(600))],
    "a comment": [segment(0xFE, b"Exif\0\0 is what this comment speaks of")],
    "XMP": [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x exif:Orientation='3'/>")],
    "Photoshop and Adobe": [segment(0xED, b"Photoshop 3.0\0" + bytes(300)), segment(0xEF, b"x")],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("before", BEFORE)
def test_a_jpeg_tells_its_orientation_whatever_stands_before(before, order):
    for tag in (3, 6):
        encoded = jpeg(*BEFORE[before], segment(0xE1, b"Exif\0\0" + tiff_block(order, tag)))
        assert orientation(encoded) == tag


@pytest.mark.parametrize("order", ORDERS)
def test_every_value_is_read_in_either_byte_order_and_others_count_as_upright(order):
    found = [orientation(jpeg(exif_segment(order, tag, gap=6))) for tag in (*range(1, 10), 0, 256)]
    assert found == [1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 1]


def exif_segment(order, tag, gap=0):
    return segment(0xE1, b"Exif\0\0" + tiff_block(order, tag, gap))


def test_a_word_is_no_tag_and_the_picture_itself_is_not_searched():
    assert orientation(jpeg(BEFORE["a comment"][0])) == 1
    tables = segment(0xDB, bytes(65))  # with these the picture begins
    assert orientation(jpeg(tables, exif_segment("MM", 6))) == 1
    assert orientation(jpeg(exif_segment("MM", 6))[:40]) == 1  # cut before the entry ends


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + bytes(4)


@pytest.mark.parametrize("order", ORDERS)
def test_png_and_webp_tell_their_orientation_wherever_the_chunk_is(order):
    tiff = tiff_block(order, 5)
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", bytes(13)) + png_chunk(b"IDAT", b"exif")
    assert orientation(start + png_chunk(b"eXIf", tiff)) == 5
    for prefix in (b"", b"Exif\0\0"):
        chunks = [(b"VP8X", bytes(10)), (b"ICCP", b"odd"), (b"EXIF", prefix + tiff)]
        body = b"".join(
            name + struct.pack("<I", len(part)) + part + bytes(len(part) % 2)
            for name, part in chunks
        )
        assert orientation(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body) == 5


def lossless(kind, tag):
    """Returns a square picture in a lossless file with an orientation."""
    note, out = Image.Exif(), io.BytesIO()
    note[0x0112] = tag
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    Image.fromarray(LETTER).save(out, kind, exif=note, **options)
    return out.getvalue()


@pytest.mark.parametrize("tag", TURNED)
def test_each_tag_is_its_turn_for_pixels_and_for_pictures_of_any_shape(tag):
    wide = LETTER[:9, :13]
    found = exif.upright(tf.constant(wide), tf.constant(tag)).numpy()
    np.testing.assert_array_equal(found, TURNED[tag](wide))
    for kind in ("PNG", "TIFF", "WEBP"):
        np.testing.assert_array_equal(
            pixels.load(lossless(kind, tag), PixelRule(24)), TURNED[tag](LETTER), err_msg=kind
        )


@pytest.mark.parametrize("tag", TURNED)
def test_what_only_pillow_reads_is_turned_before_it_is_passed_on(tag):
    with Image.open(io.BytesIO(pixels.as_png(lossless("WEBP", tag)))) as passed:
        np.testing.assert_array_equal(np.asarray(passed), TURNED[tag](LETTER))
        assert passed.format == "PNG" and not passed.getexif()


@pytest.mark.parametrize("tag", TURNED)
def test_thumbnails_and_tiles_are_turned_alike(tag):
    expected = TURNED[tag](LETTER)
    with Image.open(io.BytesIO(lossless("PNG", tag))) as opened:
        np.testing.assert_array_equal(pictures.small(opened, 24), expected)
    np.testing.assert_array_equal(pictures.picture(lossless("TIFF", tag), 24), expected)
