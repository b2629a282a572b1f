"""What the bytes of one image turn out to be: a verdict, a thumbnail, and verdicts kept on disk.

A file is decoded completely, so a verdict of "good" is a promise to training.
"""

import dataclasses
import zipfile
from typing import Any

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from tlkit import files
from tlkit.images.pictures import DRAFT, as_image, looks_like, opened, orientation, small

LEAST_SIDE = 4  # pixels; smaller ones are tracking dots and the like
THUMB = 16  # side of a thumbnail
_KEEP = 250_000  # verdicts, about 900 bytes each


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
        with opened(data) as image:
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


class VerdictCache:
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


def _judge_opened(image, data) -> Verdict:
    width, height = image.size
    if min(width, height) < LEAST_SIDE:
        return Verdict(f"too small: {width}x{height}")
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    alpha, mode = image.has_transparency_data, image.mode
    thumb = small(image, THUMB, DRAFT)
    tag = orientation(image)  # PNG may carry EXIF after the pixels
    width, height = (height, width) if tag >= 5 else (width, height)
    bits16 = mode.startswith("I") or (image.format == "PNG" and data[24] == 16)
    kind = "JPEG" if image.format == "MPO" else image.format
    gray = _is_gray(thumb)
    return Verdict("", width, height, kind, mode, tag, frames, bits16, alpha, gray, thumb)


def _is_gray(thumb: np.ndarray) -> bool:
    return bool(np.ptp(thumb, axis=-1).max() <= 2)
