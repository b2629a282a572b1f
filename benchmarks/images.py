"""Photos to train on: generated ones, the same on every machine, or any folder of yours.

Ten classes of patterns that stay what they are when mirrored or turned, drawn in random colours,
sizes and angles on noise of many octaves, as JPEG files of about 50 KB. Image `i` of a class
depends on the seed, the class and `i` alone, so a larger set contains the smaller ones.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.works import Work
from tlkit.errors import TlkitError

SEED = 20
VERSION = 1  # part of the cache folder's name: raise it when the pictures change
LARGEST_DRAWN = 1024  # larger photos are enlarged from this width: smooth, as phone photos are
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif"}

# Name of the class -> brightness in [-1, 1] at turned and scaled coordinates u, v.
PATTERNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "bars": lambda u, v: np.sign(np.sin(u)),
    "checks": lambda u, v: np.sign(np.sin(u) * np.sin(v)),
    "dots": lambda u, v: np.sign(np.cos(u) * np.cos(v) - 0.5),
    "grid": lambda u, v: np.sign(np.maximum(np.abs(np.sin(u)), np.abs(np.sin(v))) - 0.9),
    "hexagons": lambda u, v: np.sign(
        np.cos(u) + np.cos(u / 2 + 0.866 * v) + np.cos(u / 2 - 0.866 * v)
    ),
    "ladders": lambda u, v: np.where(np.sin(u) > 0, np.sign(np.sin(3 * v)), -1.0),
    "plaid": lambda u, v: (np.sin(u) + np.sin(v)) / 2,
    "rings": lambda u, v: np.sign(np.sin(np.hypot(u, v))),
    "rows": lambda u, v: np.sign(np.cos(u) * np.cos(3 * v) - 0.3),
    "waves": lambda u, v: np.sign(np.sin(u + 1.5 * np.sin(v))),
}


def draw(name: str, number: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Returns photo `number` of class `name`; `size` is (width, height) in pixels."""
    place = list(PATTERNS).index(name)
    rng = np.random.default_rng([SEED, place, number])
    width, height = size
    if width > LARGEST_DRAWN:
        small = (LARGEST_DRAWN, round(LARGEST_DRAWN * height / width))
        return draw(name, number, small).resize(size, Image.Resampling.BICUBIC)
    pattern = PATTERNS[name](*_coordinates(rng, width, height))
    contrast = rng.uniform(15, 45, 3) * rng.choice([-1, 1], 3)
    color = rng.uniform(70, 185, 3) + _noise(rng, width, height)
    color += contrast * pattern[..., None].astype(np.float32)
    return Image.fromarray(np.clip(color, 0, 255).astype(np.uint8))


def _coordinates(rng, width, height):
    angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.3) * 400 / width
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - rng.uniform(0.2, 0.8) * width, y - rng.uniform(0.2, 0.8) * height
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    return cos * x + sin * y, cos * y - sin * x


def _noise(rng, width, height) -> np.ndarray:
    """Adds up noise from coarse to fine, the finer the weaker, about as in photos."""
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(8):
        shape = (max(height >> (7 - octave), 2), max(width >> (7 - octave), 2), 3)
        coarse = Image.fromarray(rng.integers(0, 256, shape, np.uint8))
        layer = coarse.resize((width, height), Image.Resampling.BILINEAR)
        total += (np.asarray(layer, np.float32) - 127.5) * (0.4 * 0.8**octave)
    return total


def _save(path: Path, number: int, size: tuple[int, int]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.part")
    draw(path.parent.name, number, size).save(temporary, "JPEG", quality=88)
    os.replace(temporary, path)  # an interrupted run leaves no half image in the cache


def generate(folder: Path, size: tuple[int, int], count: int) -> dict[str, list[Path]]:
    """Returns at least `count` photos in all, by class, drawing those not yet in the cache."""
    pool = folder / f"photos-v{VERSION}-{size[0]}x{size[1]}"
    each = -(-count // len(PATTERNS))
    found = {name: [pool / name / f"{i:05d}.jpg" for i in range(each)] for name in PATTERNS}
    for name in PATTERNS:
        (pool / name).mkdir(parents=True, exist_ok=True)
    absent = [(path, i) for paths in found.values() for i, path in enumerate(paths)
              if not path.exists()]  # fmt: skip
    if absent:
        with ProcessPoolExecutor() as workers:
            jobs = [workers.submit(_save, path, i, size) for path, i in absent]
            for job in jobs:
                job.result()
    return found


def own(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Returns (for training, for testing) by class of a folder: classes, or train/ and test/.

    Raises:
        TlkitError: There are not two or more classes in it.
    """
    parts = [folder / name for name in ("train", "test")]
    if all(part.is_dir() for part in parts):
        train, test = map(_by_class, parts)
    else:
        train, test = _by_class(folder), {}
    if len(train) < 2:
        raise TlkitError(f"{folder} needs two or more folders of images, or train/ and test/.")
    return train, test


def _by_class(folder: Path) -> dict[str, list[Path]]:
    found = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in ENDINGS]
        if files:
            order = np.random.default_rng(SEED).permutation(len(files))
            found[place.name] = [files[i] for i in order]
    return found


def prepare(cache: Path, work: Work, data: Path | None = None) -> Path:
    """Returns a folder with photos/train, photos/val and test for a work: links or copies.

    Generated photos come in the work's own numbers. Of your own folder at most that many are
    used, in equal shares of the classes, and its test/ (else a fifth) is what is held out.
    """
    counts = {"test": work.test, "val": work.validation, "train": work.images}
    if data is None:
        pool, test = generate(cache, work.photo, sum(counts.values()) + 3 * len(PATTERNS)), {}
    else:
        pool, test = own(data)
        counts["test"] = 10**9  # all of it: the more are judged, the narrower the interval
    sizes = "-".join(map(str, (work.photo[0], *counts.values())))
    name = f"{data.name if data else 'generated'}-{sizes}"
    folder = cache / "sets" / name
    shutil.rmtree(folder, ignore_errors=True)
    rest = {label: list(files) for label, files in pool.items()}
    for part, count in counts.items():
        if part == "test" and data is not None:
            chosen = test or {label: files[: len(files) // 5] for label, files in rest.items()}
        else:
            chosen = _share(rest, count)
        _link(folder / (part if part == "test" else f"photos/{part}"), chosen)
        taken = {path for files in chosen.values() for path in files}
        rest = {label: [p for p in files if p not in taken] for label, files in rest.items()}
    return folder


def _share(pool: dict[str, list[Path]], count: int) -> dict[str, list[Path]]:
    """Takes `count` files in equal shares; the first classes get those that are left over."""
    each, more = divmod(count, len(pool))
    return {name: files[: each + (i < more)] for i, (name, files) in enumerate(pool.items())}


def _link(folder: Path, chosen: dict[str, list[Path]]) -> None:
    for name, files in chosen.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i, path in enumerate(files):
            target = folder / name / f"{i:05d}{path.suffix.lower()}"
            try:
                os.link(path, target)
            except OSError:  # another disk
                shutil.copy(path, target)
