"""A sheet of small pictures with a line of text under each, as one PNG."""

import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tlkit import files
from tlkit.images.table import Table
from tlkit.images.verdicts import as_image

SIDE = 160  # pixels of one picture
_TEXT = 30
_GAP = 8


def picture(held: bytes | np.ndarray, side: int = SIDE) -> np.ndarray:
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


def rows_of(table: Table, rows: Sequence[int], side: int = SIDE) -> list[np.ndarray]:
    """Returns `picture` of some rows of a table."""
    return [picture(table.read(row), side) for row in rows]


def write(path: str | os.PathLike[str], lines: Sequence[Sequence[tuple[np.ndarray, str]]]) -> None:
    """Writes one line of pictures for each of `lines`, atomically.

    Args:
        lines: (picture uint8 [side, side, 3], text) of each tile; lines may differ in length.
    """
    width = max(map(len, lines)) * (SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(lines) * (SIDE + _TEXT + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for down, line in enumerate(lines):
        for right, (pixels, text) in enumerate(line):
            left, top = _GAP + right * (SIDE + _GAP), _GAP + down * (SIDE + _TEXT + _GAP)
            sheet.paste(Image.fromarray(pixels).resize((SIDE, SIDE)), (left, top))
            for number, part in enumerate(text.split("\n")[:2]):
                draw.text((left, top + SIDE + 2 + 13 * number), part[:27], "black", font)
    with files.replacing(path) as temporary:
        sheet.save(temporary, "PNG")
