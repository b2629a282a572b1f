"""Channels out of nothing: the parameter-free shortcut of He et al. 2016, option A."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("tlkit")
class PadChannels(keras.layers.Layer):
    """Appends channels of zeros: (n, height, width, c) -> (n, height, width, `channels`)."""

    in_place = True  # its sum with the other branch needs the only memory

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, input_shape):
        if input_shape[-1] > self.channels:
            raise ValueError(
                f"PadChannels {self.name!r} cannot go from {input_shape[-1]} channels down to "
                f"{self.channels}: it only adds. Give at least {input_shape[-1]} channels."
            )
        self.built = True

    def call(self, x):
        missing = self.channels - x.shape[-1]
        return ops.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[0, missing]])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.channels)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}
