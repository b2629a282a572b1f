"""Pooling that Keras lacks: other summaries than max and mean, and LeNet-5's trainable one."""

import keras
import numpy as np
from keras import ops

from tlkit.errors import unknown
from tlkit.layers.windows import window_count, windows


def _median(x):
    ordered = ops.sort(x, axis=3)
    middle = x.shape[3] // 2
    return (ordered[..., middle, :] + ordered[..., (x.shape[3] - 1) // 2, :]) / 2


def _length(x):
    # The root has no gradient at 0, where a window of a rectified map often is.
    squares = ops.sum(ops.square(x), axis=3)
    return ops.where(squares > 0, ops.sqrt(ops.where(squares > 0, squares, 1)), 0)


def _nearness(x):
    weights = distance_weights(int(np.sqrt(x.shape[3])))
    return ops.einsum("nhwkc,k->nhwc", x, ops.cast(weights, x.dtype))


KINDS = {
    "max": lambda x: ops.max(x, axis=3),
    "mean": lambda x: ops.mean(x, axis=3),
    "median": _median,
    "l2": _length,
    "distance": _nearness,
}


def distance_weights(size: int) -> np.ndarray:
    """Returns size * size weights 1 / (1 + distance to the window's middle), of sum 1."""
    offsets = np.arange(size) - (size - 1) / 2
    weights = 1 / (1 + np.hypot(*np.meshgrid(offsets, offsets, indexing="ij")))
    return (weights / weights.sum()).ravel()


@keras.saving.register_keras_serializable("tlkit")
class WindowPool2D(keras.layers.Layer):
    """One value per window and channel, windows wholly inside the image: (n, h, w, c) ->
    (n, (h - size) // stride + 1, (w - size) // stride + 1, c).

    `kind`: "max", "mean", "median" (mean of the middle two if even), "l2" (root of the sum of
    squares, Goodfellow et al. 2016, section 9.3), "distance" (mean weighted by `distance_weights`).
    """

    def __init__(self, kind="max", pool_size=2, strides=None, **kwargs):
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise unknown("pooling", kind, KINDS)
        self.kind, self.pool_size, self.strides = kind, pool_size, strides or pool_size

    def build(self, input_shape):
        self.built = True

    def call(self, x):
        return KINDS[self.kind](windows(x, self.pool_size, self.strides))

    def compute_output_shape(self, input_shape):
        sides = (window_count(n, self.pool_size, self.strides) for n in input_shape[1:3])
        return (input_shape[0], *sides, input_shape[3])

    def get_config(self):
        own = {"kind": self.kind, "pool_size": self.pool_size, "strides": self.strides}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tlkit")
class TrainableSubsampling2D(keras.layers.Layer):
    """Sum of a window, times one weight, plus one bias per map: LeCun et al. 1998, layers S2, S4.

    Windows do not overlap. The weights start at 1 / window, where it is average pooling.
    """

    def __init__(self, pool_size=2, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = pool_size

    def build(self, input_shape):
        start = keras.initializers.Constant(1 / self.pool_size**2)
        self.coefficient = self.add_weight((input_shape[-1],), start, name="coefficient")
        self.bias = self.add_weight((input_shape[-1],), "zeros", name="bias")
        self.built = True

    def call(self, x):
        total = ops.average_pool(x, self.pool_size, self.pool_size) * self.pool_size**2
        return total * self.coefficient + self.bias

    def compute_output_shape(self, input_shape):
        sides = (window_count(n, self.pool_size, self.pool_size) for n in input_shape[1:3])
        return (input_shape[0], *sides, input_shape[3])

    def multiply_adds(self) -> int:
        """Sub-sampling is pooling: by the convention of `nets.count` it counts nothing."""
        return 0

    def connections(self) -> int:
        """One per value of the window and one for the bias, for each unit (paper, section II.B)."""
        return int(np.prod(self.output.shape[1:])) * (self.pool_size**2 + 1)

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size}
