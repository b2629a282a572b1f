"""From encoded bytes to the pixels a model sees: one rule for training, prediction and export.

The rule is a TensorFlow graph, and the very same graph is written into the SavedModel, so the
pixels served are the pixels trained on. Steps: decode (JPEG at the largest reduced scale that
still exceeds the target), first frame only, alpha over white, EXIF orientation, resize under a
stated policy (each new pixel the mean of the area it covers; bilinear where it covers less than
one), round to uint8.
"""

import dataclasses
import functools
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from tlkit.errors import TlkitError, unknown
from tlkit.images import exif

RESIZE = {
    "crop": "short side to the size, centre cut out: keeps the aspect ratio, loses the border",
    "pad": "long side to the size, black bars: keeps the aspect ratio and the border",
    "squash": "both sides to the size: keeps the border, changes the aspect ratio",
}
CHANNELS = (1, 3, 4)
FEW = 300  # below it, setting up TensorFlow's pipeline (0.15 s) costs more than it saves
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what JPEG's own Y channel is


@dataclasses.dataclass(frozen=True)
class PixelRule:
    """How encoded images become uint8 arrays [size, size, channels]."""

    size: int
    resize: str = "crop"
    channels: int = 3

    def __post_init__(self):
        if self.resize not in RESIZE:
            raise unknown("resize policy", self.resize, RESIZE)
        if self.size < 1:
            raise TlkitError(f"The image size must be at least 1 pixel, not {self.size}.")


def decode(encoded, rule: PixelRule):
    """Returns the pixels of one encoded image under `rule`.

    Args:
        encoded: Scalar string tensor: a JPEG, PNG, GIF, BMP or WebP file.

    Returns:
        uint8 tensor [size, size, channels].

    Raises:
        tf.errors.InvalidArgumentError: The bytes are not such an image.
    """
    if rule.channels not in CHANNELS:
        raise TlkitError(
            f"Image files have 1, 3 or 4 channels, not {rule.channels}: give NumPy arrays instead."
        )
    is_jpeg = tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"
    image = tf.cond(
        is_jpeg, lambda: _decode_jpeg(encoded, rule), lambda: _decode_other(encoded, rule)
    )
    image = exif.upright(image, exif.orientation(encoded))
    return fit(image, rule)


def fit(image, rule: PixelRule):
    """Resizes one image tensor [height, width, channels] (any number type, 0..255) under `rule`."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    size = float(rule.size)
    if rule.resize == "squash":
        resized = _resized(image, tf.constant([rule.size, rule.size]))
    else:
        side = tf.minimum(height, width) if rule.resize == "crop" else tf.maximum(height, width)
        shape = tf.stack([height, width]) * size / side
        resized = _resized(image, tf.maximum(tf.cast(tf.round(shape), tf.int32), 1))
        resized = tf.image.resize_with_crop_or_pad(resized, rule.size, rule.size)
    resized = tf.ensure_shape(resized, [rule.size, rule.size, image.shape[2]])
    return _rounded(resized)


def _resized(image, shape):
    """Returns float32 pixels. Areas smooth as well as a triangle filter, at twice the speed."""
    smaller = tf.reduce_all(shape <= tf.shape(image)[:2])
    return tf.cond(
        smaller,
        lambda: tf.image.resize(image, shape, "area"),
        lambda: tf.image.resize(image, shape, "bilinear", antialias=True),  # one side may shrink
    )


def load(encoded: bytes, rule: PixelRule) -> np.ndarray:
    """Returns the pixels of one file's bytes, whatever format Pillow or TensorFlow can read."""
    try:
        return _compiled(rule)(tf.constant(encoded)).numpy()
    except tf.errors.InvalidArgumentError:
        return _compiled(rule)(tf.constant(as_png(encoded))).numpy()


def load_pixels(image: str | Path | bytes | np.ndarray, rule: PixelRule) -> np.ndarray:
    """Returns uint8 pixels of a path, of encoded bytes or of an array [height, width, channels]."""
    if isinstance(image, bytes):
        return load(image, rule)
    if isinstance(image, np.ndarray):
        return fit_array(image, rule)
    return load_path(str(image), rule)


def fit_array(image: np.ndarray, rule: PixelRule) -> np.ndarray:
    """Returns an array image, 0..255, under `rule`; gray arrays may lack the last axis.

    Raises:
        TlkitError: Its channels are neither 1 nor the rule's.
    """
    image = image[..., None] if image.ndim == 2 else image
    if image.shape[-1] == 1 and rule.channels == 3:
        image = np.repeat(image, 3, -1)
    if image.ndim != 3 or image.shape[-1] != rule.channels:
        raise TlkitError(f"An image of shape {image.shape} cannot have {rule.channels} channels.")
    if image.dtype == np.uint8 and image.shape[:2] == (rule.size, rule.size):
        return image
    return fit(tf.constant(image), rule).numpy()


def load_paths(paths: Sequence[str], rule: PixelRule, batch: int = 64) -> Iterator[np.ndarray]:
    """Yields uint8 batches [<= batch, size, size, channels] of the files, in order, on all cores.

    Raises:
        TlkitError: A file can no longer be read; the message names it.
    """
    if len(paths) < FEW:
        yield from _load_each(paths, rule, batch)
        return
    done = 0
    try:
        for rows in _pipeline(paths, rule, batch):
            yield rows
            done += len(rows)
    except tf.errors.OpError:  # one is damaged, gone, or of a kind that only Pillow reads
        yield from _load_each(paths[done:], rule, batch)


def _pipeline(paths, rule, batch) -> Iterator[np.ndarray]:
    """Yields the batches as TensorFlow reads them, the next one being read meanwhile."""
    names = tf.constant([os.fsencode(path) for path in paths], tf.string)
    dataset = tf.data.Dataset.from_tensor_slices(names).map(
        lambda name: _compiled(rule)(tf.io.read_file(name)), num_parallel_calls=os.cpu_count()
    )
    return dataset.batch(batch).prefetch(1).as_numpy_iterator()


def _load_each(paths, rule, batch) -> Iterator[np.ndarray]:
    """Yields the same batches by `load_path`, which knows more formats and whom to name."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the graph runs outside Python's lock
        for start in range(0, len(paths), batch):
            part = paths[start : start + batch]
            yield np.stack(list(pool.map(functools.partial(load_path, rule=rule), part)))


def load_path(path: str, rule: PixelRule) -> np.ndarray:
    """Returns the pixels of one file; a TlkitError names a file that cannot be read."""
    try:
        return load(Path(path).read_bytes(), rule)
    except (OSError, ValueError) as error:
        raise TlkitError(f"Cannot read {path}: {error}. Was it changed since the check?") from error


def as_png(encoded: bytes) -> bytes:
    """Returns the picture losslessly as PNG: for TIFF and what else TensorFlow cannot decode.

    Raises:
        OSError: Pillow cannot read it either.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(encoded)) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode == "F":
            image = image.convert("L")
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            image = image.convert("I;16" if image.mode.startswith("I") else "RGB")
        out = io.BytesIO()
        image.save(out, "PNG", exif=b"")
    return out.getvalue()


@functools.lru_cache(maxsize=32)
def _compiled(rule: PixelRule):
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(
        lambda encoded: decode(encoded, rule), input_signature=signature, autograph=False
    )


def _decode_jpeg(encoded, rule):
    """Decodes at scale 1/8, 1/4, 1/2 or 1: libjpeg's reduced DCT is a good and cheap low-pass."""
    shape = tf.image.extract_jpeg_shape(encoded)
    side = (tf.reduce_max if rule.resize == "pad" else tf.reduce_min)(shape[:2])
    ratios = [1, 2, 4, 8]
    step = tf.reduce_sum([tf.cast(side >= rule.size * ratio, tf.int32) for ratio in ratios[1:]])
    read = functools.partial(tf.io.decode_jpeg, encoded, channels=3)
    image = tf.switch_case(step, [functools.partial(read, ratio=ratio) for ratio in ratios])
    return _to_channels(image, None, rule.channels)


@exif.rare
def _decode_other(encoded, rule):
    is_png = tf.strings.substr(encoded, 0, 4) == b"\x89PNG"
    four = tf.cond(is_png, lambda: tf.io.decode_png(encoded, 4), lambda: _opaque(encoded))
    four = tf.ensure_shape(four, [None, None, 4])
    return _to_channels(four[..., :3], four[..., 3:], rule.channels)


def _opaque(encoded):
    """Decodes GIF, BMP or WebP (first frame) and adds a full alpha channel."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image = tf.reshape(image, tf.concat([tf.shape(image)[-3:-1], [3]], 0))
    return tf.pad(image, [[0, 0], [0, 0], [0, 1]], constant_values=255)


def _to_channels(color, alpha, channels):
    """Returns uint8 [height, width, channels]; alpha is blended over white unless asked for."""
    if channels == 4:
        alpha = tf.fill(tf.concat([tf.shape(color)[:2], [1]], 0), 255) if alpha is None else alpha
        return tf.concat([color, tf.cast(alpha, tf.uint8)], -1)
    if alpha is not None:
        share = tf.cast(alpha, tf.float32) / 255.0
        color = _rounded(tf.cast(color, tf.float32) * share + 255.0 * (1.0 - share))
    if channels == 3:
        return color
    return _rounded(tf.reduce_sum(tf.cast(color, tf.float32) * _LUMA, -1, keepdims=True))


def _rounded(values):
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)
