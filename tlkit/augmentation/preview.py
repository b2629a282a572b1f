"""A contact sheet of what a policy does: originals first, then one column for each view."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tlkit import files
from tlkit.augmentation import apply, mixing, policies
from tlkit.augmentation.policies import Policy
from tlkit.errors import TlkitError
from tlkit.images import pixels
from tlkit.images.sources import READABLE

GAP = 6  # pixels between pictures
_LINE = 16


def sheet(images: np.ndarray, hashes: Sequence[str], chosen: Policy, views: int, seed: int = 0):
    """Returns uint8 [rows, 1 + views, height, width, channels]: each image and its views.

    Args:
        images: uint8 [rows, height, width, channels].
        hashes: Their content hashes; policies that mix take partners from the same images.
    """
    columns = [images]
    for number in range(views):
        shown = apply.look(images, hashes, chosen, seed, number)
        if chosen.mix:
            pool = mixing.pool(hashes)
            found = mixing.pairs(hashes, images.shape[1:3], chosen, pool, seed, number)
            shown = mixing.mixed(shown, shown[found.partners], found)
        columns.append(np.rint(shown).astype(np.uint8))
    return np.stack(columns, 1)


def picture(cells: np.ndarray, caption: Sequence[str] = ()) -> Image.Image:
    """Returns cells [rows, columns, height, width, channels] as one image under caption lines."""
    rows, columns, height, width, channels = cells.shape
    top = GAP + _LINE * len(caption)
    size = (GAP + columns * (width + GAP), top + rows * (height + GAP))
    paper = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(paper)
    for i, line in enumerate(caption):
        draw.text((GAP, GAP // 2 + i * _LINE), line, "black", ImageFont.load_default(12))
    for row in range(rows):
        for column in range(columns):
            cell = cells[row, column, ..., 0] if channels == 1 else cells[row, column, ..., :3]
            place = (GAP + column * (width + GAP), top + row * (height + GAP))
            paper.paste(Image.fromarray(cell), place)
    return paper


def caption(name: str, strength: float, width: int) -> list[str]:
    """Returns the lines that say which policy is shown and what it assumes."""
    row = policies.policy(name, strength)
    text = f"policy {name}, strength {strength:g}. Left: the image. It assumes: {row.assumes}."
    room = max(20, width // 6)  # letters of six pixels
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= room:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def choose(photos: str | Path, count: int) -> list[Path]:
    """Returns up to `count` image files, evenly spread over a folder and its subfolders.

    Raises:
        TlkitError: There is none.
    """
    root = Path(photos)
    found = [root] if root.is_file() else sorted(path for path in root.rglob("*") if _shown(path))
    if not found:
        raise TlkitError(f"No images in {root}: expected files such as {', '.join(READABLE)}.")
    count = min(count, len(found))
    return [found[i * len(found) // count] for i in range(count)]


def _shown(path: Path) -> bool:
    return path.suffix.lower() in READABLE and not path.name.startswith(".")


def preview(
    paths: Sequence[str | Path], name: str, strength: float = 1.0, *, views: int = 6,
    size: int = 160, seed: int = 0,
) -> Image.Image:  # fmt: skip
    """Returns the contact sheet of a named policy on image files.

    Raises:
        TlkitError: An unknown policy, or a file that is no image.
    """
    chosen = policies.policy(name, strength)
    rule = pixels.PixelRule(size)
    images = np.concatenate(list(pixels.load_paths([str(path) for path in paths], rule)))
    hashes = [files.content_hash(Path(path).read_bytes()) for path in paths]
    cells = sheet(images, hashes, chosen, views, seed)
    return picture(cells, caption(name, strength, cells.shape[1] * (size + GAP)))
