"""What the bytes of one image turn out to be: a verdict, a thumbnail, and verdicts kept on disk.

A file is decoded completely, so a verdict of "good" is a promise to training.
"""

import dataclasses
import io
import zipfile
from typing import Any

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from tlkit import files

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
LEAST_SIDE = 4  # pixels; smaller ones are tracking dots and the like
THUMB = 16  # side of a thumbnail
_DRAFT = 64  # libjpeg's reduced scale reads the whole entropy-coded stream and skips the rest
_KEEP = 250_000  # verdicts, about 900 bytes each

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


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """What decoding one image told; sizes are upright, that is after EXIF orientation."""

    reason: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    mode: str = ""
    orientation: int = 1
    frames: int = 1
    bits16: bool = False
    alpha: bool = False
    gray: bool = False
    thumb: Any = 0  # uint8 [16, 16, 3]

    @property
    def ok(self) -> bool:
        """Whether the image can be used."""
        return not self.reason


def judge(data: bytes) -> Verdict:
    """Decodes the bytes of one file completely and says what they are."""
    if not data:
        return Verdict("empty file")
    try:
        with _opened(data) as image:
            return _judge_opened(image, data)
    except UnidentifiedImageError:
        return Verdict(f"not an image: {looks_like(data)}")
    except Image.DecompressionBombError:
        return Verdict("too large: more pixels than Pillow decodes safely")
    except Exception as error:  # decoders raise all sorts: SyntaxError, struct.error, IndexError
        text = " ".join(str(error).split())[:60] or type(error).__name__
        return Verdict("truncated" if "truncated" in text.lower() else f"unreadable: {text}")


def judge_array(pixels: np.ndarray) -> Verdict:
    """Says what one array [height, width, channels] is."""
    height, width, channels = pixels.shape
    if min(height, width) < LEAST_SIDE:
        return Verdict(f"too small: {width}x{height}")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        return Verdict("holds NaN or infinity")
    thumb = small(as_image(pixels), THUMB)
    kind = {"format": "array", "mode": str(pixels.dtype), "alpha": channels == 4}
    return Verdict("", width, height, gray=_is_gray(thumb), thumb=thumb, **kind)


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
    with _opened(held) as image:
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


class Kept:
    """Verdicts by content hash, in one file replaced as a whole; a damaged one counts as none."""

    ROW = np.dtype(
        [("hash", "S32"), ("reason", "S96"), ("width", "u4"), ("height", "u4"), ("format", "S8"),
         ("mode", "S8"), ("orientation", "u1"), ("frames", "u4"), ("bits16", "?"), ("alpha", "?"),
         ("gray", "?"), ("thumb", "u1", (THUMB, THUMB, 3))]
    )  # fmt: skip
    FIELDS = tuple(field.name for field in dataclasses.fields(Verdict))

    def __init__(self):
        # Another Pillow may read what this one does not.
        self.path = files.home() / "verdicts" / f"1-{PIL.__version__}.npz"
        self.rows = self._read()
        self.place = {name.decode(): i for i, name in enumerate(self.rows["hash"].tolist())}

    def _read(self) -> np.ndarray:
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                rows = stored["rows"]
        except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile):
            return np.empty(0, self.ROW)
        return rows if rows.dtype == self.ROW else np.empty(0, self.ROW)

    def get(self, name: str) -> Verdict | None:
        """Returns the verdict on the content `name`, if it is known."""
        if name not in self.place:
            return None
        row = self.rows[self.place[name]]
        plain = {field: row[field].item() for field in self.FIELDS[:-1]}
        text: Any = {k: v.decode() if isinstance(v, bytes) else v for k, v in plain.items()}
        return Verdict(**text, thumb=row["thumb"])

    def add(self, judged: dict[str, Verdict]) -> None:
        """Writes new verdicts to disk; the oldest give way."""
        new = {h: v for h, v in judged.items() if h and h not in self.place}
        if not new:
            return
        rows = np.empty(len(new), self.ROW)
        for i, (name, verdict) in enumerate(new.items()):
            fields = [getattr(verdict, field) for field in self.FIELDS]
            plain = (f.encode("ascii", "replace") if isinstance(f, str) else f for f in fields)
            rows[i] = (name, *plain)
        with files.replacing(self.path) as temporary:
            np.savez(temporary, rows=np.concatenate([self.rows, rows])[-_KEEP:])


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _judge_opened(image, data) -> Verdict:
    width, height = image.size
    if min(width, height) < LEAST_SIDE:
        return Verdict(f"too small: {width}x{height}")
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    alpha, mode = image.has_transparency_data, image.mode
    thumb = small(image, THUMB, _DRAFT)
    tag = orientation(image)  # PNG may carry EXIF after the pixels
    width, height = (height, width) if tag >= 5 else (width, height)
    bits16 = mode.startswith("I") or (image.format == "PNG" and data[24] == 16)
    kind = "JPEG" if image.format == "MPO" else image.format
    gray = _is_gray(thumb)
    return Verdict("", width, height, kind, mode, tag, frames, bits16, alpha, gray, thumb)


def _is_gray(thumb: np.ndarray) -> bool:
    return bool(np.ptp(thumb, axis=-1).max() <= 2)
