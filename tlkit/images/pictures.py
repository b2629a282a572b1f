"""Opens image files and arrays as Pillow images, and draws them small."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from tlkit.images.table import Table

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")

DRAFT = 64  # libjpeg's reduced scale reads the whole entropy-coded stream and skips the rest

_SIGNS = {
    b"\xff\xd8\xff": "a JPEG that breaks off in its header",
    b"\x89PNG": "a PNG that breaks off in its header",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"version https://git-lfs": "a Git LFS pointer, whose content was never fetched",
    b"<!doctype html": "HTML",
    b"<html": "HTML",
    b"<svg": "SVG",
    b"<?xml": "XML",
}


def looks_like(data: bytes) -> str:
    """Says in words what bytes that are no image seem to be."""
    start = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for sign, words in _SIGNS.items():
        if start.startswith(sign.lower()):
            return f"looks like {words}"
    if data[4:8] == b"ftyp":
        return f"looks like {data[8:12].decode('latin-1').strip().upper()} (HEIC, AVIF or video)"
    text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in data[:512])
    return "looks like text" if text else "unknown content"


def look(held: bytes | np.ndarray, side: int) -> np.ndarray:
    """Returns encoded bytes or pixels [height, width, channels] as `small` does."""
    if not isinstance(held, bytes):
        return small(as_image(held), side)
    with opened(held) as image:
        return small(image, side, 2 * side)


def small(image: Image.Image, side: int, sharp: int = 0) -> np.ndarray:
    """Returns uint8 [side, side, 3]: the image upright, alpha over white, squashed.

    Args:
        sharp: A JPEG may be decoded at a reduced scale that keeps both sides at least this long.
    """
    scaled = image.draft(None, (sharp, sharp)) if sharp else None
    box = scaled[1] if scaled else None  # the part of the last row and column that is picture
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    tag = orientation(image)
    # Triangles, not boxes: Pillow's box filter counts whole pixels only, so copies would differ.
    image = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR, box)
    pixels = np.asarray(image)
    pixels = pixels.swapaxes(0, 1) if tag >= 5 else pixels
    down, right = (1 - 2 * (tag in flipped) for flipped in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(pixels[::down, ::right])


def as_image(pixels: np.ndarray) -> Image.Image:
    """Returns an array [height, width, channels] of any number type 0..255 as an image."""
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    if pixels.shape[2] in (3, 4):
        return Image.fromarray(pixels)
    return Image.fromarray(pixels[..., 0])


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation 1..8 of an opened image."""
    tag = image.getexif().get(0x0112, 1)
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=FORMATS)


def picture(held: bytes | np.ndarray, side: int) -> np.ndarray:
    """Returns uint8 [side, side, 3] of encoded bytes or pixels: upright, whole, on white."""
    opened: Image.Image
    if isinstance(held, bytes):
        opened = ImageOps.exif_transpose(Image.open(io.BytesIO(held)))
        if opened.mode.startswith("I"):  # 16 bits, which Pillow would clip, not scale
            opened = Image.fromarray((np.asarray(opened).astype(np.uint32) >> 8).astype(np.uint8))
    else:
        opened = as_image(held)
    opened = opened.convert("RGBA")
    opened = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened).convert("RGB")
    return np.asarray(ImageOps.pad(opened, (side, side), color="white"))


def rows_of(table: Table, rows: Sequence[int], side: int) -> list[np.ndarray]:
    """Returns `picture` of some rows of a table."""
    return [picture(table.read(row), side) for row in rows]
