"""Changes of pixel values: colour, light, noise, blur, holes and compression.

Each takes float32 images [n, height, width, channels], 0..255, and values [n, draws] drawn for
them, and treats every image by its own values. Keras's layers are used for none of them:
`RandomGaussianBlur` and `RandomPosterization` draw once for a batch, `RandomContrast` refuses
uint8, and all draw from a state of their own, so that a view could not be drawn again.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

RADIUS = 4  # of blurring: two standard deviations at the largest amount
GRAIN = 1.5  # pixels: standard deviation of what smooths correlated noise
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_YIQ = np.array(
    [_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], np.float32
)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """One change of pixel values.

    Attributes:
        values: (numbers in [0, 1) [n, draws], amount) to float32 [n, k].
        run: (images, values) to images.
        draws: Numbers it takes for each image.
        limit: Largest amount that makes sense.
        unit: What the amount is, at its largest.
    """

    values: Callable[[np.ndarray, float], np.ndarray]
    run: Callable
    draws: int
    limit: float
    unit: str


def either_way(u, amount) -> np.ndarray:
    """From -amount to amount."""
    return amount * (2 * u - 1)


def up_to(u, amount) -> np.ndarray:
    """From 0 to amount."""
    return amount * u


def seeded(u, amount) -> np.ndarray:
    """A level from 0 to amount, then two seeds as whole numbers."""
    return np.concatenate([amount * u[:, :1], u[:, 1:] * 2.0**24], 1)


def factor(u, amount) -> np.ndarray:
    """From 1 / (1 + amount) to 1 + amount, as often below 1 as above."""
    return (1 + amount) ** (2 * u - 1)


def box(u, amount) -> np.ndarray:
    """Area up to `amount` of the image, its aspect, its place, two seeds (Zhong 2017, alg. 1)."""
    low = min(0.02, amount)
    area = low + (amount - low) * u[:, :1]
    aspect = 0.3 ** (1 - 2 * u[:, 1:2])
    return np.concatenate([area, aspect, u[:, 2:4], u[:, 4:] * 2.0**24], 1)


def brightness(x, v):
    """Adds a share of 255."""
    return x + 255.0 * _each(v)


def contrast(x, v):
    """Stretches about the image's own mean."""
    middle = tf.reduce_mean(x, [1, 2, 3], keepdims=True)
    return (x - middle) * (1.0 + _each(v)) + middle


def gamma(x, v):
    """Raises to a power: dark parts change most."""
    return 255.0 * (x / 255.0) ** _each(v)


def colour_shift(x, v):
    """Adds a share of 255 to each colour by itself, as another lamp or sensor would."""
    return _coloured(x, lambda rgb: rgb + 255.0 * v[:, None, None, :])


def saturation(x, v):
    """Moves away from gray, or towards it; -1 is gray."""
    return _coloured(x, lambda rgb: _gray(rgb) + (rgb - _gray(rgb)) * (1.0 + _each(v)))


def hue(x, v):
    """Turns colours about the gray axis by degrees and keeps luma: a linear map in Y, I, Q."""
    angle = v[:, 0] * (math.pi / 180)
    one, zero = tf.ones_like(angle), tf.zeros_like(angle)
    turn = tf.reshape(
        tf.stack(
            [one, zero, zero, zero, tf.cos(angle), -tf.sin(angle), zero, tf.sin(angle),
             tf.cos(angle)], -1,
        ), [-1, 3, 3],
    )  # fmt: skip
    matrix = tf.constant(np.linalg.inv(_YIQ).astype(np.float32)) @ turn @ tf.constant(_YIQ)
    return _coloured(x, lambda rgb: tf.einsum("nhwc,ndc->nhwd", rgb, matrix))


def noise(x, v):
    """Adds white Gaussian noise; the level is a share of 255."""
    return x + 255.0 * _each(v[:, :1]) * _gaussian(x, v[:, 1:])


def grain(x, v):
    """Adds noise that neighbours share: correlation exp(-d^2 / 4s^2) at distance d, s = 1.5.

    All channels get the same, so that gray pictures stay gray.
    """
    sigma = tf.fill([tf.shape(x)[0]], GRAIN)
    one = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * GRAIN**2))
    gain = np.sum(one**2) / np.sum(one) ** 2  # of the variance, squared for two axes
    return x + 255.0 * _each(v[:, :1]) * _smooth(_gaussian(x[..., :1], v[:, 1:]), sigma) / gain


def blur(x, v):
    """A Gaussian of up to two pixels."""
    return _smooth(x, v[:, 0])


def sharpness(x, v):
    """Adds what a small blur takes away, or takes it away."""
    return x + _each(v) * (x - _smooth(x, tf.fill([tf.shape(x)[0]], 0.85)))


def erase(x, v):
    """Covers a rectangle with noise: random erasing (Zhong et al. 2017, variant RE-R)."""
    height, width = x.shape[1:3]
    tall = tf.clip_by_value(tf.round(tf.sqrt(v[:, 0] * v[:, 1] * height * width)), 1, height)
    wide = tf.clip_by_value(tf.round(v[:, 0] * height * width / tall), 1, width)
    top = tf.floor(v[:, 2] * (height - tall + 1))
    left = tf.floor(v[:, 3] * (width - wide + 1))
    inside = _within(height, top, tall)[:, :, None] & _within(width, left, wide)[:, None, :]
    drawn = tf.map_fn(
        lambda seed: tf.random.stateless_uniform(x.shape[1:], seed, 0.0, 255.0, alg="philox"),
        tf.cast(v[:, 4:], tf.int32),
        fn_output_signature=tf.TensorSpec(x.shape[1:], tf.float32),
    )
    return tf.where(inside[..., None], drawn, x)


def jpeg(x, v):
    """Compresses with quality 100 less the value, 4:2:0, as libjpeg does."""
    quality = tf.cast(tf.round(100.0 - v[:, 0]), tf.int32)

    def one(pair):
        image = tf.cast(tf.round(pair[0]), tf.uint8)
        packed = tf.image.adjust_jpeg_quality(image, pair[1], dct_method="INTEGER_ACCURATE")
        return tf.cast(packed, tf.float32)

    if x.shape[-1] not in (1, 3):  # the format has no others
        return x
    signature = tf.TensorSpec(x.shape[1:], tf.float32)
    return tf.map_fn(one, (x, quality), fn_output_signature=signature)


def solarize(x, v):
    """Inverts what is brighter than 255 less a share of 255."""
    return tf.where(x > 255.0 * (1.0 - _each(v)), 255.0 - x, x)


def posterize(x, v):
    """Drops low bits of each value."""
    step = 2.0 ** tf.round(_each(v))
    return tf.floor(x / step) * step


def autocontrast(x, v):
    """Goes a share of the way to each channel's range being 0..255."""
    low = tf.reduce_min(x, [1, 2], keepdims=True)
    span = tf.reduce_max(x, [1, 2], keepdims=True) - low
    full = tf.where(span > 0, (x - low) * 255.0 / tf.maximum(span, 1e-3), x)
    return x + _each(v) * (full - x)


def equalize(x, v):
    """Goes a share of the way to each channel's equalized histogram, as Pillow equalizes."""
    size = tf.shape(x)
    levels = tf.cast(tf.round(x), tf.int32)
    segment = tf.reshape(tf.range(size[0] * size[3]), [-1, 1, 1, size[3]]) * 256
    counts = tf.math.bincount(
        tf.reshape(levels + segment, [-1]), minlength=size[0] * size[3] * 256, binary_output=False
    )
    counts = tf.reshape(counts, [-1, 256])
    last = tf.reduce_max(tf.where(counts > 0, tf.range(256), 0), 1, keepdims=True)
    step = (size[1] * size[2] - tf.gather(counts, last, batch_dims=1)) // 255
    sums = tf.cumsum(counts, 1, exclusive=True) + step // 2
    table = tf.where(step > 0, tf.minimum(sums // tf.maximum(step, 1), 255), tf.range(256))
    full = tf.cast(tf.gather(tf.reshape(table, [-1]), levels + segment), tf.float32)
    return x + _each(v) * (full - x)


# fmt: off
CHANGES = {
    #                      values      run       draws  limit  the amount is
    "brightness":   Pixels(either_way, brightness,   1,  1.0, "share of 255, up or down"),
    "contrast":     Pixels(either_way, contrast,     1,  1.0, "share, up or down"),
    "gamma":        Pixels(factor,     gamma,        1,  4.0, "power: 1 + it, or its inverse"),
    "colour_shift": Pixels(either_way, colour_shift, 3,  1.0, "share of 255, for each colour"),
    "saturation":   Pixels(either_way, saturation,   1,  1.0, "share, to gray or away from it"),
    "hue":          Pixels(either_way, hue,          1, 180., "degrees on the colour wheel"),
    "noise":        Pixels(seeded,     noise,        3,  1.0, "share of 255, standard deviation"),
    "grain":        Pixels(seeded,     grain,        3,  1.0, "share of 255, standard deviation"),
    "blur":         Pixels(up_to,      blur,         1,  2.0, "pixels, standard deviation"),
    "sharpness":    Pixels(either_way, sharpness,    1,  1.0, "share of the fine detail"),
    "erase":        Pixels(box,        erase,        6,  0.9, "share of the area"),
    "jpeg":         Pixels(up_to,      jpeg,         1, 99.0, "quality lost, of 100"),
    "solarize":     Pixels(up_to,      solarize,     1,  1.0, "share of the range inverted"),
    "posterize":    Pixels(up_to,      posterize,    1,  7.0, "bits dropped, of 8"),
    "autocontrast": Pixels(up_to,      autocontrast, 1,  1.0, "share of the way"),
    "equalize":     Pixels(up_to,      equalize,     1,  1.0, "share of the way"),
}
# fmt: on


def change(name: str, x, values):
    """Returns images after the named change, 0..255; an alpha channel stays as it is.

    Args:
        name: A key of `CHANGES`.
        x: float32 [n, height, width, channels], 0..255; a fourth channel is alpha.
        values: float32 [n, k], what the row's `values` made of its draws.
    """
    seen = x[..., :3] if x.shape[-1] == 4 else x
    done = tf.clip_by_value(CHANGES[name].run(seen, values), 0.0, 255.0)
    return tf.concat([done, x[..., 3:]], -1) if x.shape[-1] == 4 else done


def _each(v):
    return v[:, :1, None, None]


def _gray(rgb):
    return tf.reduce_sum(rgb * _LUMA, -1, keepdims=True)


def _coloured(x, function):
    """Applies to red, green and blue; images of other channels have no colours to change."""
    return function(x) if x.shape[-1] == 3 else x


def _gaussian(x, seeds):
    """Standard normal noise shaped as `x`, each image from its own two seeds."""
    return tf.map_fn(
        lambda seed: tf.random.stateless_normal(x.shape[1:], seed, alg="philox"),
        tf.cast(seeds, tf.int32),
        fn_output_signature=tf.TensorSpec(x.shape[1:], tf.float32),
    )


def _smooth(x, sigma):
    """Blurs each image with its own sigma [n]; adds shifted copies, since a convolution would
    round differently from batch to batch."""
    taps = tf.range(-RADIUS, RADIUS + 1, dtype=tf.float32)
    weights = tf.exp(-(taps**2) / (2 * tf.maximum(sigma[:, None], 1e-3) ** 2))
    weights /= tf.reduce_sum(weights, 1, keepdims=True)
    for axis in (1, 2):
        size = x.shape[axis]
        total = 0.0
        for i in range(2 * RADIUS + 1):
            places = np.clip(np.arange(size) + i - RADIUS, 0, size - 1)
            total += tf.gather(x, places, axis=axis) * weights[:, i, None, None, None]
        x = total
    return x


def _within(size, start, length):
    places = tf.range(size, dtype=tf.float32)[None]
    return (places >= start[:, None]) & (places < (start + length)[:, None])
