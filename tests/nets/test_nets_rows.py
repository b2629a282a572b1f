"""The rows that tables are made of, one at a time against numpy, and what options do to them."""

import itertools

import keras
import numpy as np
import pytest

from tlkit import nets
from tlkit.layers import CeilMaxPool2D, OuterProductConv2D, WeightNormalization
from tlkit.nets import _count, _rows
from tlkit.nets._spec import NORMS, Options
from tlkit.nets.deepface import Local
from tlkit.nets.inception import SeparableStem
from tlkit.nets.mobilenet import Depthwise
from tlkit.nets.nasnet import separable
from tlkit.nets.resnet import Bare

RNG = np.random.default_rng(0)


def applied(row, shape, options=None):
    """Returns a model of one row, with random weights."""
    inputs = keras.Input(shape)
    model = keras.Model(inputs, row(inputs, "row", options or Options()))
    for weight in model.weights:
        weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
    return model


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


# Which axes share a mean: of (n, height, width, groups, channels of a group).
SHARED = {"layer": (64, (1, 2, 3, 4)), "group": (32, (1, 2, 4)), "instance": (64, (1, 2))}


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("norm", SHARED)
def test_normalization_is_numpys_with_the_epsilon_of_the_options(norm, scale):
    groups, axes = SHARED[norm]
    model = applied(_rows.Norm(), (3, 5, 64), Options(norm=norm, epsilon=0.5, scale=scale))
    x = normal(2, 3, 5, 64)
    parts = x.reshape(2, 3, 5, groups, 64 // groups)
    centred = parts - parts.mean(axes, keepdims=True)
    expected = (centred / np.sqrt(parts.var(axes, keepdims=True) + 0.5)).reshape(x.shape)
    layer = model.layers[-1]
    gamma = layer.gamma.numpy() if scale else 1
    assert len(layer.weights) == 1 + scale
    np.testing.assert_allclose(model(x), expected * gamma + layer.beta, rtol=1e-4, atol=1e-4)


def test_group_normalization_takes_what_32_and_the_channels_share():
    for channels, groups in ((48, 16), (32, 32), (20, 4), (7, 1)):
        layer = applied(_rows.Norm(), (2, 2, channels), Options(norm="group")).layers[-1]
        assert layer.groups == groups


def test_layer_normalization_of_a_vector_is_over_its_values():
    model = applied(_rows.Dense(6, norm=True, activation="linear"), (4,),
                    Options(norm="layer", epsilon=0.5))  # fmt: skip
    x = normal(3, 4)
    kernel, gamma, beta = model.get_weights()
    y = x @ kernel
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 0.5)
    np.testing.assert_allclose(model(x), y * gamma + beta, rtol=1e-4, atol=1e-4)


def test_batch_normalization_takes_all_three_constants_of_the_options():
    options = Options(norm="batch", epsilon=0.25, momentum=0.75, scale=False)
    layer = applied(_rows.Norm(), (2, 2, 4), options).layers[-1]
    assert (layer.epsilon, layer.momentum, layer.scale) == (0.25, 0.75, False)


def test_a_convolution_is_padded_then_normalized_then_activated():
    model = applied(_rows.Conv(3, 1, pad=1), (2, 2, 2), Options(norm="layer", epsilon=0.5))
    kernel, gamma, beta = model.get_weights()
    x = normal(1, 2, 2, 2)
    y = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]) @ kernel[0, 0]
    y = (y - y.mean()) / np.sqrt(y.var() + 0.5) * gamma + beta
    np.testing.assert_allclose(model(x), np.maximum(y, 0), rtol=1e-4, atol=1e-4)


def nasnet_separable(x, name, options):
    return separable(x, 4, 3, 1, name, options)


WEIGHTED = {
    "convolution": _rows.Conv(4, 3),
    "dense": _rows.Dense(4, norm=True),
    "bare": Bare(4, 3),
    "depthwise": Depthwise(),
    "separable": nasnet_separable,
    "local": Local(4, 3),
    "stem": SeparableStem(4, 3, 1, 2, norm=True),
}


def biases(model):
    """True or False for each layer with a kernel."""
    layers = (x.layer if isinstance(x, WeightNormalization) else x for x in model.layers)
    return {x.use_bias for x in layers if hasattr(x, "use_bias")}


# A vector has no map for "instance", and a separable layer no one kernel of an output for "weight".
LEFT_OUT = {("dense", "instance"), ("separable", "weight")}
BIASED = ("convolution", "dense", "bare", "depthwise", "separable")


@pytest.mark.parametrize(
    ("kind", "norm"),
    [pair for pair in itertools.product(BIASED, NORMS) if pair not in LEFT_OUT],
)
def test_a_bias_is_there_unless_a_normalization_shifts(kind, norm):
    shape = (5,) if kind == "dense" else (5, 5, 4)
    model = applied(WEIGHTED[kind], shape, Options(norm=norm))
    assert biases(model) == {norm in ("none", "weight")}


def test_what_is_asked_of_a_bias_is_done_whatever_the_norm():
    for norm in ("none", "batch"):
        for bias in (True, False):
            assert biases(applied(_rows.Conv(4, 3, bias=bias), (5, 5, 4), Options(norm))) == {bias}
    assert biases(applied(_rows.Conv(4, 3, norm=False), (5, 5, 4), Options("batch"))) == {True}


@pytest.mark.parametrize("kind", WEIGHTED)
def test_every_row_with_weights_starts_them_as_the_options_say(kind):
    shape = (5,) if kind == "dense" else (5, 5, 4)
    inputs = keras.Input(shape)
    row = WEIGHTED[kind](inputs, "row", Options(init="zeros"))
    model = keras.Model(inputs, row)
    kernels = [w for w in model.weights if "kernel" in w.path]
    assert kernels and not any(np.any(w) for w in kernels)


def test_zeros_around_a_mean_count_and_those_of_same_do_not():
    x = np.ones((1, 3, 3, 1), "float32")
    counted = applied(_rows.AvgPool(3, 1, pad=1), (3, 3, 1))(x)
    left_out = applied(_rows.AvgPool(3, 1, pad="same"), (3, 3, 1))(x)
    np.testing.assert_allclose(np.ravel(counted)[:2], [4 / 9, 6 / 9], rtol=1e-6)
    np.testing.assert_array_equal(left_out, x)


def test_pools_stride_by_their_size_unless_told():
    for row in (_rows.MaxPool(2), _rows.AvgPool(2), _rows.MaxPool(2, ceil=True)):
        assert applied(row, (6, 6, 1)).output_shape == (None, 3, 3, 1)
    assert applied(_rows.MaxPool(3, 2, ceil=True), (6, 6, 1)).output_shape == (None, 3, 3, 1)
    assert applied(_rows.MaxPool(3, 2), (6, 6, 1)).output_shape == (None, 2, 2, 1)


def test_choices_replace_their_own_field_only():
    known = Options("batch", "tanh", "glorot", "lecun-2.4", 0.5, 0.25, False)
    chosen = known.choose("group", None, "historic")
    assert chosen == Options("group", "tanh", "historic", "lecun-2.4", 0.5, 0.25, False)
    assert known.choose(None, "elu", None).activation == "elu"


def test_build_and_features_hand_every_choice_on():
    for make in (nets.build, nets.features):
        model = make(
            "illing", norm="group", activation="elu", init="zeros", input_shape=(40, 32, 2)
        )
        assert model.input_shape == (None, 40, 32, 2)
        assert isinstance(model.get_layer("conv1_norm"), keras.layers.GroupNormalization)
        assert model.get_layer("conv1_act").activation is keras.activations.elu
        assert not np.any(model.get_layer("conv1").kernel)


# --- counting ---


def two_ways():
    """A 3x3 beside a dilated 3x3, then a separable, an outer-product and a pooling layer."""
    x = inputs = keras.Input((12, 12, 2))
    narrow = keras.layers.Conv2D(4, 3, padding="same", name="narrow")(x)
    wide = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=2, groups=2, name="wide")(x)
    x = keras.layers.Add(name="sum")([narrow, wide])
    x = keras.layers.SeparableConv2D(6, 3, 2, padding="same", name="separable")(x)
    x = OuterProductConv2D(5, 3, 2, name="outer")(x)
    x = CeilMaxPool2D(2, 2, name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(x)))


def test_the_table_counts_what_is_multiplied_and_how_far_one_sees():
    found = {row["layer"]: row for row in nets.layer_table(two_ways())}
    macs = {name: row["macs"] for name, row in found.items() if row["macs"]}
    assert macs == {
        "narrow": 144 * 9 * 2 * 4, "wide": 144 * 9 * 1 * 4, "separable": 36 * (9 * 4 + 4 * 6),
        "outer": 36 * 6 * 5 + 9 * 9 * 5, "logits": 2 * 2 * 5 * 3,
    }  # fmt: skip
    fields = {name: (found[name]["receptive_field"], found[name]["stride"]) for name in found}
    # The dilated branch sees 5; then 2, 4 and 4 pixels further by steps of 1, 2 and 4.
    assert fields["narrow"] == (3, 1) and fields["wide"] == (5, 1)
    assert fields["separable"] == (7, 2) and fields["outer"] == (11, 4)
    assert fields["pool"] == (15, 8) and fields["logits"] == (None, None)


def test_memory_is_the_input_and_what_cannot_be_done_in_place():
    model = two_ways()
    values = 144 * 2 + 2 * 144 * 4 + 36 * 6 + 9 * 5 + 4 * 5 + 3
    assert _count.activations(model) == 4 * values
    found = {row["layer"]: row for row in nets.layer_table(model)}
    assert "sum" not in found and found["pool"]["bytes"] == 4 * 4 * 5
    assert found["logits"]["output"] == (3,) and found["logits"]["params"] == 20 * 3 + 3


def test_connections_count_a_bias_for_each_unit():
    model = two_ways()
    layers = {
        name: _count.layer_connections(model.get_layer(name)) for name in ("narrow", "logits")
    }
    assert layers == {"narrow": 144 * (9 * 2 * 4 + 4), "logits": 20 * 3 + 3}
