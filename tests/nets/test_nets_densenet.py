"""DenseNet: closed forms for every net, growth, what the concatenation holds."""

import keras
import numpy as np
import pytest

from tlkit import nets
from tlkit.nets._spec import Options
from tlkit.nets.densenet import TABLE, Layer, Transition


def closed_form(growth, blocks, stem, bottleneck, compression):
    """Returns (trainable, with statistics, multiply-adds) from Table 1 alone."""
    imagenet = len(blocks) == 4
    size, classes, first = (56, 1000, 49 * 3) if imagenet else (32, 10, 27)
    weights, depth = first * stem, stem
    macs = weights * (112 if imagenet else 32) ** 2
    channels = stem if imagenet else 0
    for number, count in enumerate(blocks, start=1):
        for _ in range(count):
            narrow = 4 * growth if bottleneck else 0
            layer = depth * narrow + 9 * (narrow or depth) * growth
            weights, macs = weights + layer, macs + layer * size**2
            channels, depth = channels + depth + narrow, depth + growth
        channels += depth
        if number < len(blocks):
            after = int(depth * compression)
            weights, macs = weights + depth * after, macs + depth * after * size**2
            depth, size = after, size // 2
    trainable = weights + 2 * channels + depth * classes + classes
    return trainable, trainable + 2 * channels, macs + depth * classes


@pytest.mark.parametrize("variant", TABLE)
def test_numbers_are_the_closed_form(variant):
    net = nets.info(f"densenet-{variant}")
    assert (net.params, net.total, net.macs) == closed_form(*TABLE[variant])


def test_depth_grows_and_is_compressed():
    model = nets.features("densenet-121", input_shape=(64, 64, 3), init="zeros")
    ends = ("conv2_6", "pool2", "conv3_12", "pool3", "conv4_24", "pool4", "conv5_16")
    found = [model.get_layer(name).output.shape[-1] for name in ends]
    assert found == [256, 128, 512, 256, 1024, 512, 1024]


@pytest.mark.parametrize("bottleneck", [True, False])
def test_a_layer_hands_its_input_on_untouched(bottleneck):
    inputs = keras.Input((4, 4, 6))
    model = keras.Model(inputs, Layer(3, bottleneck)(inputs, "layer", Options(norm="batch")))
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype("float32")
    y = np.asarray(model(x))
    assert y.shape == (2, 4, 4, 9)
    np.testing.assert_array_equal(y[..., :6], x)
    assert np.abs(y[..., 6:]).max() > 0


def test_a_transition_halves_the_map_and_keeps_a_share_of_the_channels():
    inputs = keras.Input((4, 6, 10))
    y = Transition(0.5)(inputs, "pool", Options(norm="batch"))
    assert y.shape == (None, 2, 3, 5)
