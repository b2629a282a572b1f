"""The layer that keeps a backbone in inference mode."""

from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    pass


@keras.saving.register_keras_serializable("tlkit")
class Extractor(keras.layers.Layer):
    """Runs a backbone in inference mode, whatever mode the model around it is in.

    In Keras 3 a `training=False` written into a functional graph is overridden by `fit`, and then
    BatchNorm statistics drift and drop-connect stays alive. Inside a layer's own `call` it holds.

    Args:
        net: Functional model, preprocessed image to feature map.
        live: True lets `training` through, for a net trained from scratch.
    """

    def __init__(self, net, live=False, **kwargs):
        super().__init__(**kwargs)
        self.net = net
        self.live = live

    def build(self, input_shape):
        self.built = True  # the net was built by whoever made it

    def call(self, images, training=None):
        return self.net(images, training=bool(training) and self.live)

    def compute_output_shape(self, input_shape):
        return self.net.compute_output_shape(input_shape)

    def get_config(self):
        net = keras.saving.serialize_keras_object(self.net)
        return {**super().get_config(), "net": net, "live": self.live}

    @classmethod
    def from_config(cls, config):
        net = keras.saving.deserialize_keras_object(config.pop("net"))
        return cls(net, **config)
