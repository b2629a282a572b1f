"""Nets of searched cells: AmoebaNet by closed form, the padding and pairing of NASNet."""

import keras
import numpy as np
import pytest

from tlkit import nets
from tlkit.errors import TlkitError
from tlkit.nets import _count as count
from tlkit.nets._spec import Options
from tlkit.nets.amoebanet import TABLE, factored
from tlkit.nets.nasnet import adjust, factorized, halved

BATCH = Options(norm="batch")


class Tally:
    """Counts weights and multiply-adds of AmoebaNet-A from the cells of the paper's Figure 5."""

    def __init__(self, filters, count, stem, size, classes):
        self.weights = self.channels = self.macs = 0
        side = (size - 3) // 2 + 1
        self.conv(27, stem, side**2)
        h, p = (stem, side), None
        for width in (filters // 4, filters // 2):
            h, p = self.reduction(h, p, width), h
        for group in range(3):
            width = filters * 2**group
            if group:
                h, p = self.reduction(h, p, width), h
            for _ in range(count):
                h, p = self.normal(h, p, width), h
        head = h[0] * classes
        self.trainable = self.weights + 2 * self.channels + head + classes
        self.total, self.macs = self.trainable + 2 * self.channels, self.macs + head

    def conv(self, inputs, outputs, area):
        self.weights += inputs * outputs
        self.macs += inputs * outputs * area
        self.channels += outputs

    def separable(self, inputs, outputs, size, area):
        for depth in (inputs, outputs):
            kernels = size**2 * depth + depth * outputs
            self.weights, self.macs = self.weights + kernels, self.macs + kernels * area
            self.channels += outputs

    def inputs(self, h, p, width):
        """The 1x1 of h, and of p unless it is missing or fits; returns the depth of p."""
        self.conv(h[0], width, h[1] ** 2)
        if p is None:
            return h[0]
        if p != (width, h[1]):
            self.conv(p[0], width, h[1] ** 2)  # two halves together where p is larger
        return width

    def reduction(self, h, p, width):
        depth, side = self.inputs(h, p, width), -(-h[1] // 2)
        self.separable(depth, width, 3, side**2)
        for size in (7, 3, 7):  # of sum 1, of sum 3, of h
            self.separable(width, width, size, side**2)
        for _ in range(2 if depth != width else 0):  # a maximum and a mean of p, brought to width
            self.conv(depth, width, side**2)
        narrow = width // 4
        self.conv(width, narrow, h[1] ** 2)
        self.conv(7 * narrow, narrow, h[1] * side)
        self.conv(7 * narrow, narrow, side**2)
        self.conv(narrow, width, side**2)
        return 5 * width, side

    def normal(self, h, p, width):
        self.inputs(h, p, width)
        for size in (3, 3, 5, 3):
            self.separable(width, width, size, h[1] ** 2)
        return 4 * width, h[1]


def test_amoebanet_is_the_closed_form():
    net = nets.info("amoebanet-a")
    tally = Tally(*TABLE[net.variant], size=331, classes=1000)
    assert (net.params, net.total, net.macs) == (tally.trainable, tally.total, tally.macs)
    # Table 2 of the paper prints 86.7 M and 23.1 B
    assert (round(net.params / 1e6, 1), round(net.macs / 1e9, 1)) == (86.7, 23.1)


def test_the_tally_agrees_with_the_built_net_at_another_size():
    model = nets.build("amoebanet-a", input_shape=(75, 75, 3), classes=5, init="zeros")
    tally = Tally(*TABLE["n6-f190"], size=75, classes=5)
    assert (model.count_params(), count.macs(model)) == (tally.total, tally.macs)


@pytest.mark.parametrize(("length", "size", "sides"), [
    (8, 3, (0, 1)), (9, 3, (1, 1)), (8, 7, (2, 3)), (9, 7, (3, 3)), (None, 5, (2, 2)),
])  # fmt: skip
def test_strides_keep_half_the_pixels_rounded_up(length, size, sides):
    x = keras.Input((length, length, 2))
    padded, padding = halved(x, size, 2, "op")
    assert padding == "valid"
    if length is not None:
        assert padded.shape[1] == length + sum(sides)
        assert (padded.shape[1] - size) // 2 + 1 == (length + 1) // 2
    layer = padded._keras_history.operation
    assert layer.padding == (sides, sides)


def test_factorized_reduction_reads_even_and_odd_pixels():
    x = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, factorized(inputs, 2, "p", Options()))
    for weight in model.weights:
        weight.assign(np.full(weight.shape, weight.path.endswith("kernel")))
    y = np.asarray(model(x))[0]
    np.testing.assert_array_equal(y[..., 0], x[0, ::2, ::2, 0])
    np.testing.assert_array_equal(y[..., 1], x[0, 1::2, 1::2, 0])


def test_odd_filters_are_split_in_two_unequal_halves():
    y = factorized(keras.Input((4, 4, 1)), 95, "p", BATCH)
    assert y.shape == (None, 2, 2, 95)


def test_p_is_only_adjusted_where_it_must_be():
    p, h = keras.Input((4, 4, 6)), keras.Input((4, 4, 9))
    assert adjust(p, h, 6, "p", BATCH) is p
    assert adjust(p, h, 8, "p", BATCH).shape == (None, 4, 4, 8)


def test_factored_convolution_strides_one_way_at_a_time():
    inputs = keras.Input((9, 9, 8))
    model = keras.Model(inputs, factored(inputs, 16, 7, 2, "op", BATCH))
    shapes = [model.get_layer(f"op_{i}").output.shape[1:] for i in (1, 2, 3, 4)]
    assert shapes == [(9, 9, 4), (9, 5, 4), (5, 5, 4), (5, 5, 16)]


@pytest.mark.large
def test_large_hands_the_older_input_past_a_reduction():
    read = {}
    for name in ("nasnet-mobile", "nasnet-large"):
        model = nets.features(name, input_shape=(64, 64, 3), init="zeros")
        read[name] = model.get_layer("normal_2_1_p_0_act").input._keras_history.operation.name
    assert read == {"nasnet-mobile": "normal_1_4", "nasnet-large": "normal_1_5"}


@pytest.mark.parametrize("name", ["nasnet-mobile", "amoebanet-a"])
def test_cells_refuse_maxout(name):
    with pytest.raises(TlkitError, match="Maxout halves the channels"):
        nets.build(name, input_shape=(64, 64, 3), activation="maxout", init="zeros")
