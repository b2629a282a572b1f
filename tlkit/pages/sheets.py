"""A sheet of small pictures with a line of text under each, as one PNG."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tlkit import files

SIDE = 160  # pixels of one picture
_TEXT = 30
_GAP = 8


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
