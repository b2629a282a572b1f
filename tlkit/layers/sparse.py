"""Convolution whose filters read only some of the maps below: LeNet's H2 (1989) and C3 (1998)."""

from math import prod

import keras
import numpy as np
from keras import initializers, ops

from tlkit.layers.windows import window_count


@keras.saving.register_keras_serializable("tlkit")
class SparselyConnectedConv2D(keras.layers.Layer):
    """`maps[f]` lists the input maps that filter f reads; only those have weights, no padding:
    (n, h, w, c) -> (n, (h - size) // stride + 1, ..., len(maps)).

    The kernel is (size, size, number of pairs), pairs in the order of `maps`.
    """

    def __init__(
        self, maps, kernel_size, strides=1, use_bias=True, kernel_initializer="he_normal", **kwargs
    ):
        super().__init__(**kwargs)
        self.maps = [list(row) for row in maps]
        self.kernel_size, self.strides, self.use_bias = kernel_size, strides, use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape):
        channels = input_shape[-1]
        if max(map(max, self.maps)) >= channels:
            raise ValueError(
                f"{self.name!r} reads map {max(map(max, self.maps))}, counted from 0, but its "
                f"input has {channels} maps. Correct `maps` or the filters of the layer before."
            )
        shape = (self.kernel_size, self.kernel_size, sum(map(len, self.maps)))
        self.kernel = self.add_weight(shape, self._initial, name="kernel")
        self.bias = (
            self.add_weight((len(self.maps),), "zeros", name="bias") if self.use_bias else None
        )
        # Place of each (map, filter) pair in the kernel; pairs that are not wired read a zero.
        self._places = np.full((channels, len(self.maps)), shape[2])
        for place, (source, target) in enumerate(self._pairs()):
            self._places[source, target] = place
        self.built = True

    def _pairs(self):
        return [(source, target) for target, row in enumerate(self.maps) for source in row]

    def _initial(self, shape, dtype=None):
        # Each filter as in a convolution over its own maps, so that its fan-in is the true one.
        parts = [
            self.kernel_initializer((*shape[:2], len(row), len(self.maps)), dtype=dtype)[
                ..., target
            ]
            for target, row in enumerate(self.maps)
        ]
        return ops.concatenate(parts, axis=-1)

    def call(self, x):
        zero = ops.zeros_like(self.kernel[..., :1])
        kernel = ops.take(ops.concatenate([self.kernel, zero], axis=-1), self._places, axis=-1)
        y = ops.conv(x, ops.cast(kernel, x.dtype), strides=self.strides, padding="valid")
        return y + self.bias if self.use_bias else y

    def compute_output_shape(self, input_shape):
        sides = (window_count(n, self.kernel_size, self.strides) for n in input_shape[1:3])
        return (input_shape[0], *sides, len(self.maps))

    def multiply_adds(self) -> int:
        """Only the wired pairs count."""
        return prod(self.kernel.shape) * prod(self.output.shape[1:3])

    def get_config(self):
        return {
            **super().get_config(),
            "maps": self.maps,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }
