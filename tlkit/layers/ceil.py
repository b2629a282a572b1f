"""Pooling whose last window may hang over the border, as in Caffe and in torch's ceil_mode."""

import keras
import numpy as np
from keras import ops


class _CeilPool2D(keras.layers.Layer):
    """(n, height, width, c) -> (n, ceil((height + 2 padding - size) / strides) + 1, ..., c).

    `padding` is "valid" or the zeros on every side. A last window that would start beyond the
    image and its padding is left out, as in both originals. Height and width must be known.
    """

    def __init__(self, pool_size, strides=None, padding="valid", **kwargs):
        super().__init__(**kwargs)
        self.pool_size, self.strides = pool_size, strides or pool_size
        self.padding = padding

    def build(self, input_shape):
        if None in input_shape[1:3]:
            raise ValueError(
                f"{self.name!r} pools in ceil mode, which needs a fixed height and width, but got "
                f"{tuple(input_shape[1:3])}. Give the model a fixed input shape."
            )
        self.built = True

    @property
    def border(self) -> int:
        return 0 if self.padding == "valid" else self.padding

    def _counts(self, shape):
        return [window_total(n, self.pool_size, self.strides, self.border) for n in shape[1:3]]

    def _padded(self, x, value):
        sides = [
            (self.border, max(0, (count - 1) * self.strides + self.pool_size - n - self.border))
            for n, count in zip(x.shape[1:3], self._counts(x.shape), strict=True)
        ]
        return ops.pad(x, [(0, 0), *sides, (0, 0)], constant_values=value)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self._counts(input_shape), input_shape[3])

    def get_config(self):
        own = {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tlkit")
class CeilMaxPool2D(_CeilPool2D):
    """Max pooling in ceil mode (GoogLeNet, SqueezeNet); shapes as in `_CeilPool2D`."""

    def call(self, x):
        return ops.max_pool(self._padded(x, -float("inf")), self.pool_size, self.strides)


@keras.saving.register_keras_serializable("tlkit")
class CeilAveragePool2D(_CeilPool2D):
    """Average pooling in ceil mode. The zeros of `padding` count as values; what lies beyond them
    does not (Caffe, and torch with count_include_pad)."""

    def call(self, x):
        total = ops.average_pool(self._padded(x, 0.0), self.pool_size, self.strides)
        rows, columns = (
            window_shares(n, self.pool_size, self.strides, self.border) for n in x.shape[1:3]
        )
        return total / ops.cast(np.outer(rows, columns)[None, :, :, None], x.dtype)


def window_total(length: int, size: int, stride: int, border: int) -> int:
    """Returns the number of windows along one side."""
    count = -(-(length + 2 * border - size) // stride) + 1
    return count - 1 if (count - 1) * stride >= length + border else count


def window_shares(length: int, size: int, stride: int, border: int) -> np.ndarray:
    """Returns which share of each window along one side lies on the image or its padding."""
    starts = stride * np.arange(window_total(length, size, stride, border))
    return (np.minimum(starts + size, length + 2 * border) - starts) / size
