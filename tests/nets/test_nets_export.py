"""Every architecture becomes a SavedModel that answers as the network does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkit import nets
from tlkit.nets._depth import deep_graphs

# One of each custom layer in the default run; all of them by mark.
SMALL = ("lenet-1989", "lenet-5", "all-cnn-c", "illing", "maxpool", "resnet-20", "squeezenet-1.1")
NETS = [
    name if name in SMALL else pytest.param(name, marks=pytest.mark.large) for name in nets.names()
]


@pytest.mark.parametrize("name", NETS)
def test_exported_equals_built(name, tmp_path):
    with deep_graphs():
        model = nets.build(name)
        archive = keras.export.ExportArchive()
        archive.track(model)
        shape = (None, *nets.info(name).input_shape)
        archive.add_endpoint(
            "serve",
            lambda x: model(x, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
        )
        # As `serving.export` does it: without files of generated code in the temporary folder.
        tf.autograph.experimental.do_not_convert(archive.write_out)(str(tmp_path), verbose=False)
    rows = np.random.default_rng(0).uniform(-1, 1, (2, *shape[1:])).astype(np.float32)
    loaded = tf.saved_model.load(str(tmp_path))
    served = tf.nest.flatten(loaded.serve(rows))
    for one, two in zip(served, tf.nest.flatten(model(rows, training=False)), strict=True):
        scale = np.abs(two).max() + 1e-6
        np.testing.assert_allclose(one / scale, two / scale, atol=1e-5)


def test_a_net_is_a_first_class_backbone(unsorted_data):
    """From its name to a probability, through the public path."""
    from tlkit.models.classifier import Classifier

    data = unsorted_data
    model = Classifier("resnet-20", data.class_names, weights=None)
    assert model.class_names == ("red", "blue", "green")
    assert model.stages == tuple(stage for stage, _ in nets.stages("resnet-20"))
    model.classify.get_layer("logits").bias.assign([0.0, 1.0, 2.0])  # the rest starts at zero
    answers = model.predict([data.val.table.read(i) for i in range(2)])
    shares = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    np.testing.assert_allclose(answers, [shares, shares], rtol=1e-5)
