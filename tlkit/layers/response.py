"""Local response normalization: Krizhevsky et al. 2012, section 3.3."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("tlkit")
class LocalResponseNormalization(keras.layers.Layer):
    """Divides each value by (k + alpha * s) ** beta, s the sum of squares of `size` channels
    around it at the same place: (n, height, width, channels) -> the same.

    As in the paper, `alpha` multiplies the sum. Caffe divides it by `size` first and takes k = 1;
    `caffe=True` reads `alpha` in that way, so that constants of a prototxt may be given as printed.
    """

    def __init__(self, size=5, k=2.0, alpha=1e-4, beta=0.75, caffe=False, **kwargs):
        super().__init__(**kwargs)
        self.size, self.k, self.alpha, self.beta, self.caffe = size, k, alpha, beta, caffe

    def build(self, input_shape):
        self.built = True

    def call(self, x):
        squares = ops.square(x)
        before = (self.size - 1) // 2
        padded = ops.pad(
            squares, [[0, 0]] * (len(x.shape) - 1) + [[before, self.size - 1 - before]]
        )
        total = sum(padded[..., i : i + x.shape[-1]] for i in range(self.size))
        alpha = self.alpha / self.size if self.caffe else self.alpha
        return x / ops.power(self.k + alpha * total, self.beta)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {name: getattr(self, name) for name in ("size", "k", "alpha", "beta", "caffe")}
        return {**super().get_config(), **own}
