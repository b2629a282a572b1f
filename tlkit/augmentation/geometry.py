"""Geometry: every change of place is a map from output to input coordinates, sampled once.

Maps that are projective multiply into one matrix; lenses and elastic sheets bend the coordinates
before it. However many changes a policy has, pixels are interpolated once. Keras's own layers
interpolate once each, and `RandomElasticTransform` and `RandomCrop` share numbers within a batch.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

FILLS = {
    "reflect": "mirrored at the border: dcba|abcd|dcba",
    "constant": "one value outside: kkkk|abcd|kkkk",
    "nearest": "the border goes on: aaaa|abcd|dddd",
    "wrap": "the opposite border: abcd|abcd|abcd",
}
KNOTS = 5  # along a side of an elastic sheet


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A projective change.

    Attributes:
        matrix: (numbers in [-1, 1) [n, draws], amount, (width, height)) to float64 [n, 3, 3], from
            output to input coordinates in pixels about the middle of the image.
        draws: Numbers it takes for each image.
        limit: Largest amount that makes sense.
        unit: What the amount is, at its largest.
    """

    matrix: Callable[[np.ndarray, float, tuple[int, int]], np.ndarray]
    draws: int
    limit: float
    unit: str


@dataclasses.dataclass(frozen=True)
class Field:
    """A change of place that no matrix describes.

    Attributes:
        bend: (x, y, values [n, draws], (width, height)) to (x, y): float32 [n, height, width] in
            pixels about the middle.
        draws, limit, unit: As for `Matrix`; the values are the numbers times the amount.
    """

    bend: Callable
    draws: int
    limit: float
    unit: str


def rotate(u, amount, size) -> np.ndarray:
    """Turns by up to `amount` degrees; positive numbers turn the picture counter-clockwise."""
    angle = np.radians(amount * u[:, 0])
    return _rows([np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0])


def zoom(u, amount, size) -> np.ndarray:
    """Enlarges or shrinks by a factor of up to 1 + `amount`."""
    scale = (1 + amount) ** -u[:, 0]
    return _rows([scale, 0, 0], [0, scale, 0])


def stretch(u, amount, size) -> np.ndarray:
    """Widens by a factor of up to 1 + `amount` and flattens by the same: the area stays."""
    scale = (1 + amount) ** -u[:, 0]
    return _rows([scale, 0, 0], [0, 1 / scale, 0])


def shear_x(u, amount, size) -> np.ndarray:
    """Slants upright lines by up to `amount` degrees."""
    slope = np.tan(np.radians(amount * u[:, 0]))
    return _rows([1, slope, 0], [0, 1, 0])


def shear_y(u, amount, size) -> np.ndarray:
    """Slants level lines by up to `amount` degrees."""
    slope = np.tan(np.radians(amount * u[:, 0]))
    return _rows([1, 0, 0], [slope, 1, 0])


def shift(u, amount, size) -> np.ndarray:
    """Moves along each axis by up to `amount` of the size."""
    return _rows([1, 0, amount * u[:, 0] * size[0]], [0, 1, amount * u[:, 1] * size[1]])


def jitter(u, amount, size) -> np.ndarray:
    """Moves along each axis by a whole number of pixels, at most `amount`."""
    pixels = np.floor((u[:, :2] + 1) / 2 * (2 * round(amount) + 1)) - round(amount)
    return _rows([1, 0, pixels[:, 0]], [0, 1, pixels[:, 1]])


def perspective(u, amount, size) -> np.ndarray:
    """Looks from the side: one border comes nearer by up to `amount`/2, the other recedes."""
    return _rows([1, 0, 0], [0, 1, 0], [amount * u[:, 0] / size[0], amount * u[:, 1] / size[1], 1])


def lens(x, y, values, size):
    """Radial distortion r (1 + k r^2), r = 1 in the corners (Brown 1966, first coefficient)."""
    corner = (size[0] ** 2 + size[1] ** 2) / 4
    factor = 1 + values[:, :1, None] * (x * x + y * y) / corner
    return x * factor, y * factor


def elastic(x, y, values, size):
    """A rubber sheet pulled at 5 x 5 knots.

    Simard et al. (2003) smooth a random field of the image's size; the coarse grid with bicubic
    interpolation of Ronneberger et al. (2015, section 3.1) is as smooth and a tenth of the cost.
    """
    knots = tf.reshape(values, [-1, KNOTS, KNOTS, 2]) * float(min(size))
    pull = tf.image.resize(knots, [size[1], size[0]], method="bicubic")
    return x + pull[..., 0], y + pull[..., 1]


# fmt: off
MATRICES = {
    #              matrix       draws  limit  the amount is
    "rotate":      Matrix(rotate,      1, 180.0, "degrees, either way"),
    "zoom":        Matrix(zoom,        1,   4.0, "share of the size, in or out"),
    "stretch":     Matrix(stretch,     1,   4.0, "share of the width gained, of the height lost"),
    "shear_x":     Matrix(shear_x,     1,  60.0, "degrees that upright lines lean"),
    "shear_y":     Matrix(shear_y,     1,  60.0, "degrees that level lines lean"),
    "shift":       Matrix(shift,       2,   1.0, "share of the size, along each axis"),
    "jitter":      Matrix(jitter,      2,  16.0, "whole pixels, along each axis"),
    "perspective": Matrix(perspective, 2,   0.9, "share by which one border comes nearer"),
}
FIELDS = {
    "lens":        Field(lens,                   1, 0.5, "k1, barrel or pincushion, in corners"),
    "elastic":     Field(elastic, KNOTS * KNOTS * 2, 0.2, "share of the size, at each knot"),
}
# fmt: on


def identity(count: int) -> np.ndarray:
    """Returns float64 [count, 3, 3] matrices that leave everything in place."""
    return np.tile(np.eye(3), (count, 1, 1))


def about_middle(matrices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Turns maps about the middle of a (width, height) image into maps of pixel coordinates."""
    there = np.eye(3)
    there[:2, 2] = [(size[0] - 1) / 2, (size[1] - 1) / 2]
    return there @ matrices @ np.linalg.inv(there)


def projective(images, transform, fill: str = "reflect", value: float = 0.0):
    """Returns float32 images warped by `transform` [n, 8], output to input pixel coordinates."""
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transform,
        output_shape=tf.shape(images)[1:3],
        fill_value=value,
        interpolation="BILINEAR",
        fill_mode=fill.upper(),
    )
    return tf.ensure_shape(warped, images.shape)


def bent(images, transform, fields, fill: str = "reflect", value: float = 0.0):
    """Returns images whose coordinates pass through `fields`, then through `transform`.

    Args:
        images: [n, height, width, channels].
        transform: float32 [n, 8], as for `projective`.
        fields: (name, values [n, draws]) pairs; names are keys of `FIELDS`.
    """
    height, width = images.shape[1:3]
    middle = ((width - 1) / 2, (height - 1) / 2)
    x, y = np.meshgrid(
        np.arange(width, dtype=np.float32) - middle[0],
        np.arange(height, dtype=np.float32) - middle[1],
    )
    x, y = tf.constant(x[None]), tf.constant(y[None])
    for name, values in fields:
        x, y = FIELDS[name].bend(x, y, values, (width, height))
    x, y = x + middle[0], y + middle[1]
    a = [transform[:, i, None, None] for i in range(8)]
    below = a[6] * x + a[7] * y + 1
    return sample(
        tf.cast(images, tf.float32),
        (a[0] * x + a[1] * y + a[2]) / below,
        (a[3] * x + a[4] * y + a[5]) / below,
        fill,
        value,
    )


def sample(images, x, y, fill: str = "reflect", value: float = 0.0):
    """Returns float32 images read at (x, y), bilinearly; x and y are [n, height, width]."""
    shape = images.shape
    left, top = tf.floor(x), tf.floor(y)
    flat = tf.reshape(images, [-1, shape[1] * shape[2], shape[3]])
    total = 0.0
    for i, across in ((0, 1 - (x - left)), (1, x - left)):
        for j, down in ((0, 1 - (y - top)), (1, y - top)):
            column, row = tf.cast(left, tf.int32) + i, tf.cast(top, tf.int32) + j
            corner = _read(flat, column, row, shape, fill, value)
            total += corner * (across * down)[..., None]
    return tf.ensure_shape(total, shape)


def _read(flat, column, row, shape, fill, value):
    place = _folded(row, shape[1], fill) * shape[2] + _folded(column, shape[2], fill)
    found = tf.gather(flat, place, batch_dims=1)
    if fill != "constant":
        return found
    inside = (column >= 0) & (column < shape[2]) & (row >= 0) & (row < shape[1])
    return tf.where(inside[..., None], found, value)


def _folded(index, size: int, fill: str):
    """Returns where outside indices point to inside."""
    if fill == "wrap":
        return index % size
    if fill == "reflect":
        index = index % (2 * size)
        return tf.minimum(index, 2 * size - 1 - index)
    return tf.clip_by_value(index, 0, size - 1)


def _rows(*rows) -> np.ndarray:
    """Stacks rows of numbers and [n] arrays into [n, 3, 3]; the third row defaults to 0, 0, 1."""
    matrix = identity(max(np.size(value) for row in rows for value in row))
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            matrix[:, i, j] = value
    return matrix
