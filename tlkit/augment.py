"""Augmentation: what a view of an image is, drawn from (seed, view, image) and nothing else.

It stands outside the model, between decoded pixels and the backbone, so it cannot leak into an
export. Every number of a view comes from a hash of the seed, the view's number and the image's
own content: the order of images, threads and batches cannot change it, and the features of a view
can be cached and found again.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tlkit.errors import unknown


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which changes leave the label alone, and how far each goes at strength 1.

    Geometry is applied as one warp with mirrored borders, light afterwards.
    """

    mirror: bool = False  # left-right
    upside_down: bool = False
    quarter_turns: bool = False
    rotate: float = 0.0  # degrees, either way
    zoom: float = 0.0  # share of the size, in or out
    shift: float = 0.0  # share of the size, along each axis
    brightness: float = 0.0  # share of 255, up or down
    contrast: float = 0.0  # share, up or down
    assumes: str = ""  # which invariance of the label it relies on


POLICIES = {
    "none": Policy(assumes="nothing: every view is the image itself"),
    "photos": Policy(
        mirror=True, rotate=10, zoom=0.1, shift=0.05, brightness=0.1, contrast=0.2,
        assumes="a thing seen in a mirror, a little turned, nearer or darker, is the same thing",
    ),
    "flip": Policy(mirror=True, assumes="a mirrored picture has the same label"),
    "digits": Policy(
        rotate=8, zoom=0.1, shift=0.08,
        assumes="writing slants and drifts, but a mirrored or turned sign is another sign",
    ),
    "textures": Policy(
        mirror=True, upside_down=True, quarter_turns=True, zoom=0.1, brightness=0.1, contrast=0.2,
        assumes="a surface has no up, no left and no right",
    ),
}  # fmt: skip


def policy(name: str) -> Policy:
    """Returns the named policy; unknown names get a suggestion."""
    if name not in POLICIES:
        raise unknown("augmentation policy", name, POLICIES)
    return POLICIES[name]


def draws(hashes, seed: int, view: int, count: int) -> np.ndarray:
    """Returns uniform numbers in [0, 1), float32 [len(hashes), count].

    Each row depends on its own content hash, the seed and the view only (the SplitMix64 mixer of
    Steele, Lea and Flood, OOPSLA 2014, used as a counter-based generator).
    """
    content = np.array([int(text[:16], 16) for text in hashes], np.uint64)
    lane = np.uint64(seed % 2**32) << np.uint64(32) | np.uint64(view)
    with np.errstate(over="ignore"):
        start = _mix(content ^ _mix(np.array([lane]))[0])[:, None]
        bits = _mix(start + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(40)).astype(np.float32) / np.float32(2**24)


def view_parameters(hashes, shape, chosen: Policy, seed: int, view: int) -> dict[str, np.ndarray]:
    """Returns what `apply` needs for one view of the images with these content hashes.

    Args:
        shape: (height, width) of the pixels in the view.

    Returns:
        transform float32 [n, 8] (output to input coordinates, as TensorFlow's projective
        transform takes them), gain and offset float32 [n, 1, 1, 1].
    """
    u = draws(hashes, seed, view, 9)
    signed = 2 * u - 1
    angle = np.radians(chosen.rotate * signed[:, 0])
    if chosen.quarter_turns:
        angle += np.pi / 2 * np.floor(4 * u[:, 1])
    scale = (1 + chosen.zoom) ** signed[:, 2]
    mirror = np.where(chosen.mirror & (u[:, 3] < 0.5), -1, 1)
    upside = np.where(chosen.upside_down & (u[:, 4] < 0.5), -1, 1)
    matrix = np.empty((len(u), 2, 2), np.float64)
    matrix[:, 0] = np.stack([np.cos(angle) * mirror, -np.sin(angle) * upside], 1)
    matrix[:, 1] = np.stack([np.sin(angle) * mirror, np.cos(angle) * upside], 1)
    matrix /= scale[:, None, None]
    height, width = shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = middle + chosen.shift * signed[:, 5:7] * [width, height] - matrix @ middle
    transform = np.zeros((len(u), 8), np.float32)
    transform[:, [0, 1, 3, 4]] = matrix.reshape(-1, 4)
    transform[:, [2, 5]] = shift
    gain = 1 + chosen.contrast * signed[:, 7]
    offset = 255 * chosen.brightness * signed[:, 8]
    return {
        "transform": transform,
        "gain": gain.astype(np.float32)[:, None, None, None],
        "offset": offset.astype(np.float32)[:, None, None, None],
    }


def apply(pixels, parameters):
    """Returns the views of a batch: float32 [n, height, width, channels], still 0..255.

    Args:
        pixels: uint8 or float tensor [n, height, width, channels].
        parameters: What `view_parameters` returned for the same images.
    """
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32),
        transforms=parameters["transform"],
        output_shape=tf.shape(pixels)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    warped = tf.ensure_shape(warped, pixels.shape)
    middle = tf.reduce_mean(warped, [1, 2, 3], keepdims=True)
    lit = (warped - middle) * parameters["gain"] + middle + parameters["offset"]
    return tf.clip_by_value(lit, 0.0, 255.0)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
