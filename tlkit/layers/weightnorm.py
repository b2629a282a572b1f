"""Weight normalization: Salimans and Kingma 2016, equation 2."""

import keras
from keras import ops

from tlkit.errors import TlkitError


@keras.saving.register_keras_serializable("tlkit")
class WeightNormalization(keras.layers.Wrapper):
    """A Dense or Conv2D layer with weight w = g v / |v|, |v| over the inputs of each output.

    The kernel of the wrapped layer is v; `g` starts at |v|, so that wrapping changes nothing.
    (Their data-dependent start would need a batch; it is not done.)
    """

    def __init__(self, layer, **kwargs):
        super().__init__(layer, **kwargs)
        if not isinstance(self.layer, (keras.layers.Dense, keras.layers.Conv2D)):
            raise TlkitError(
                f"Weight normalization works on Dense and Conv2D layers, but {self.layer.name!r} "
                f"is a {type(self.layer).__name__}. Choose another norm for this net."
            )

    def build(self, input_shape=None):
        if not self.layer.built:
            self.layer.build(input_shape)
        units = (self.layer.kernel.shape[-1],)
        self.g = self.add_weight(units, lambda shape, dtype: self._length(), name="g")
        self.built = True

    def call(self, x):
        layer = self.layer
        # A length of zero (init="zeros") must give zero, not a division by it.
        kernel = layer.kernel * (self.g / ops.maximum(self._length(), 1e-12))
        if isinstance(layer, keras.layers.Dense):
            y = ops.matmul(x, kernel)
        else:
            y = ops.conv(x, kernel, layer.strides, layer.padding, dilation_rate=layer.dilation_rate)
        y = y if layer.bias is None else y + layer.bias
        return layer.activation(y)

    def _length(self):
        axes = tuple(range(len(self.layer.kernel.shape) - 1))
        return ops.sqrt(ops.sum(ops.square(self.layer.kernel), axis=axes))

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)
