"""Activations and the initializer of the older papers."""

from math import prod

import keras
from keras import ops


@keras.saving.register_keras_serializable("tlkit")
class Maxout(keras.layers.Layer):
    """Maximum over groups of `pieces` neighbouring channels: (..., c) -> (..., c / pieces).

    Goodfellow et al. 2013; the linear layer before it must have `pieces` times the outputs.
    """

    def __init__(self, pieces=2, **kwargs):
        super().__init__(**kwargs)
        self.pieces = pieces

    def build(self, input_shape):
        if input_shape[-1] % self.pieces:
            raise ValueError(
                f"Maxout {self.name!r} takes the largest of every {self.pieces} channels, but got "
                f"{input_shape[-1]} channels. Give the layer before it a multiple of {self.pieces}."
            )
        self.built = True

    def call(self, x):
        shape = (*ops.shape(x)[:-1], x.shape[-1] // self.pieces, self.pieces)
        return ops.max(ops.reshape(x, shape), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.pieces)

    def get_config(self):
        return {**super().get_config(), "pieces": self.pieces}


@keras.saving.register_keras_serializable("tlkit")
class ScaledTanh(keras.layers.Layer):
    """1.7159 tanh(2/3 x), so that f(1) = 1 and f(-1) = -1: LeCun et al. 1998, appendix A."""

    in_place = True  # for nets.count

    def build(self, input_shape):
        self.built = True

    def call(self, x):
        return 1.7159 * ops.tanh(x * (2.0 / 3.0))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tlkit")
class FanInUniform(keras.initializers.RandomUniform):
    """Uniform between -c/F and c/F, F the inputs of a unit: LeCun et al. 1989 take c = 2.4.

    Without a seed it takes one as Keras's own do, so that a layer made anew under a seed is the
    same whatever was drawn before.
    """

    def __init__(self, c=2.4, seed=None):
        super().__init__(seed=seed)
        self.c = c

    def __call__(self, shape, dtype=None):
        fan_in = prod(shape[:-1])
        limit = self.c / fan_in
        return keras.random.uniform(shape, -limit, limit, dtype=dtype, seed=self.seed)

    def get_config(self):
        return {"c": self.c, "seed": super().get_config()["seed"]}
