"""Locally connected layers: weights, or only biases, that differ from place to place."""

from math import prod

import keras
from keras import initializers, ops

from tlkit.layers.windows import window_count, windows


@keras.saving.register_keras_serializable("tlkit")
class LocallyConnected2D(keras.layers.Layer):
    """A filter bank of its own at every place (Taigman et al. 2014, layers L4 to L6), no padding:
    (n, h, w, c) -> (n, (h - size) // stride + 1, ..., filters), one bias per unit."""

    def __init__(self, filters, kernel_size, strides=1, kernel_initializer="he_normal", **kwargs):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape):
        _, rows, columns, _ = self.compute_output_shape(input_shape)
        inputs = self.kernel_size**2 * input_shape[-1]
        shape = (rows, columns, inputs, self.filters)
        self.kernel = self.add_weight(shape, self._initial, name="kernel")
        self.bias = self.add_weight((rows, columns, self.filters), "zeros", name="bias")
        self.built = True

    def _initial(self, shape, dtype=None):
        # As one dense layer from a window: initializers would count places as inputs.
        rows, columns, inputs, filters = shape
        start = self.kernel_initializer((inputs, rows * columns * filters), dtype=dtype)
        return ops.transpose(ops.reshape(start, (inputs, rows, columns, filters)), (1, 2, 0, 3))

    def call(self, x):
        patches = windows(x, self.kernel_size, self.strides)
        n, rows, columns, _, _ = ops.shape(patches)
        patches = ops.reshape(patches, (n, rows, columns, self.kernel.shape[2]))
        return ops.einsum("nhwp,hwpf->nhwf", patches, self.kernel) + self.bias

    def compute_output_shape(self, input_shape):
        sides = (window_count(n, self.kernel_size, self.strides) for n in input_shape[1:3])
        return (input_shape[0], *sides, self.filters)

    def multiply_adds(self) -> int:
        """Every weight is used once."""
        return prod(self.kernel.shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable("tlkit")
class UntiedBias(keras.layers.Layer):
    """One bias per unit instead of one per map (LeCun et al. 1989): (n, h, w, c) -> the same."""

    in_place = True  # for nets.count

    def build(self, input_shape):
        self.bias = self.add_weight(tuple(input_shape[1:]), "zeros", name="bias")
        self.built = True

    def call(self, x):
        return x + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape

    def connections(self) -> int:
        return prod(self.bias.shape)


@keras.saving.register_keras_serializable("tlkit")
class ConstantPadding2D(keras.layers.Layer):
    """`padding` rows and columns of `value` on every side: the white -1 around LeCun's digits."""

    in_place = True  # for nets.count

    def __init__(self, padding, value=-1.0, **kwargs):
        super().__init__(**kwargs)
        self.padding, self.value = padding, value

    def build(self, input_shape):
        self.built = True

    def call(self, x):
        side = (self.padding, self.padding)
        return ops.pad(x, [(0, 0), side, side, (0, 0)], constant_values=self.value)

    def compute_output_shape(self, input_shape):
        n, *sides, channels = input_shape
        return (n, *(s and s + 2 * self.padding for s in sides), channels)

    def get_config(self):
        return {**super().get_config(), "padding": self.padding, "value": self.value}
