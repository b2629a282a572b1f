"""Outer-product convolution: every filter is a depth vector times a spatial kernel."""

from math import prod

import keras
from keras import initializers, ops


@keras.saving.register_keras_serializable("tlkit")
class OuterProductConv2D(keras.layers.Layer):
    """Convolution with W[x, y, c, k] = spatial[x, y, k] * mixing[c, k]: (n, h, w, c) -> (n, h', w',
    filters), filters * (size**2 + c) weights and a bias per filter.

    Depth is mixed first, then each mixed map gets its one spatial filter. SeparableConv2D has the
    other order: spatial first, c * (size**2 + filters) weights, and it is not of this form.
    """

    def __init__(self, filters, kernel_size, strides=1, padding="same", use_bias=True,
                 kernel_initializer="he_normal", **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.padding, self.use_bias = padding, use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape):
        start = self.kernel_initializer
        mixing = (1, 1, input_shape[-1], self.filters)
        self.mixing = self.add_weight(mixing, start, name="mixing")
        self.spatial = self.add_weight(self._spatial_shape(), self._initial, name="spatial")
        self.bias = (
            self.add_weight((self.filters,), "zeros", name="bias") if self.use_bias else None
        )
        self.built = True

    def _spatial_shape(self):
        return (self.kernel_size, self.kernel_size, self.filters, 1)

    def _initial(self, shape, dtype=None):
        # One input map per filter: read as (size, size, 1, filters), the fan-in is size**2.
        rows, columns, filters, _ = shape
        start = self.kernel_initializer((rows, columns, 1, filters), dtype=dtype)
        return ops.transpose(start, (0, 1, 3, 2))

    def call(self, x):
        x = ops.conv(x, self.mixing, strides=1, padding="valid")
        x = ops.depthwise_conv(x, self.spatial, strides=self.strides, padding=self.padding)
        return x + self.bias if self.use_bias else x

    def compute_output_shape(self, input_shape):
        window, step = self.kernel_size, self.strides
        shrink = window - 1 if self.padding == "valid" else 0
        sides = (n and -(-(n - shrink) // step) for n in input_shape[1:3])
        return (input_shape[0], *sides, self.filters)

    def multiply_adds(self) -> int:
        """Mixing at every place of the input, the spatial filters at every place of the output."""
        before, after = (prod(t.shape[1:3]) for t in (self.input, self.output))
        return before * prod(self.mixing.shape) + after * prod(self.spatial.shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }
