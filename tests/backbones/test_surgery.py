"""Cuts through networks: which are legal, which are clean, and that halves are the whole."""

import keras
import numpy as np
import pytest
from keras import layers

from tlkit.backbones import surgery
from tlkit.errors import TlkitError


def block(x, filters, name):
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    y = layers.BatchNormalization(name=f"{name}_bn")(y)
    return layers.ReLU(name=f"{name}_relu")(y)


def tiny():
    """Two plain blocks with a residual one between."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = block(x, 4, "a")
    x = layers.Add(name="sum")([x, block(x, 4, "b")])
    return keras.Model(inputs, block(x, 5, "c"), name="tiny")


@pytest.fixture
def net():
    return tiny()


def pictures(size=8, channels=3):
    return np.random.default_rng(0).normal(size=(2, size, size, channels)).astype("float32")


def names(net):
    return [name for name, _ in surgery.cut_points(net)]


def test_cuts_are_where_one_tensor_crosses(net):
    inside = ["a_conv", "a_bn", "a_relu", "sum", "c_conv", "c_bn", "c_relu"]
    assert names(net) == ["image", *inside]
    assert surgery.clean_cuts(net) == ["image", "a_relu", "sum", "c_relu"]


def test_tensors_of_cuts_are_those_of_the_net(net):
    for name, tensor in surgery.cut_points(net):
        assert tensor is surgery.tensor_at(net, name)


@pytest.mark.parametrize("boundary", ["image", "a_conv", "a_relu", "sum", "c_relu"])
def test_halves_are_bit_equal_to_the_whole(net, boundary):
    stem, tail = surgery.split(net, boundary)
    np.testing.assert_array_equal(tail(stem(pictures())), net(pictures()))


def test_halves_share_variables(net):
    stem, tail = surgery.split(net, "sum")
    assert {id(v) for v in net.variables} == {id(v) for v in stem.variables + tail.variables}
    assert not {id(v) for v in stem.variables} & {id(v) for v in tail.variables}
    before = np.asarray(net(pictures()))
    tail.get_layer("c_conv").kernel.assign_add(1.0 + 0 * tail.get_layer("c_conv").kernel)
    assert np.abs(np.asarray(net(pictures())) - before).max() > 1e-3


def test_parts_can_be_cut_again(net):
    stem, tail = surgery.split(net, "sum")
    assert names(net) == ["image", "a_conv", "a_bn", "a_relu", "sum", "c_conv", "c_bn", "c_relu"]
    assert [n for n in names(stem)] == ["image", "a_conv", "a_bn", "a_relu", "sum"]
    low, middle = surgery.split(stem, "a_relu")
    np.testing.assert_array_equal(tail(middle(low(pictures()))), net(pictures()))
    assert surgery.tensor_at(tail, "c_conv") is not surgery.tensor_at(net, "c_conv")


def test_illegal_and_unknown_cuts_are_explained(net):
    with pytest.raises(TlkitError, match="cannot be cut after 'b_conv': more than one tensor"):
        surgery.split(net, "b_conv")
    with pytest.raises(TlkitError, match=r"Unknown cut of tiny 'c_rel'.*'c_relu'"):
        surgery.split(net, "c_rel")
    with pytest.raises(TlkitError, match="Unknown operation of tiny"):
        surgery.tensor_at(net, "nothing")


def test_cut_before_an_activation_that_starts_the_next_blocks_is_clean():
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(3, 1, name="conv")(inputs))
    branches = [layers.ReLU(name=name)(x) for name in ("left", "right")]
    net = keras.Model(inputs, layers.Add(name="sum")(branches))
    assert surgery.clean_cuts(net) == ["image", "bn", "sum"]


WEIGHTED = {
    "conv": lambda: layers.Conv2D(3, 1, name="first"),
    "depthwise": lambda: layers.DepthwiseConv2D(1, name="first"),
    "separable": lambda: layers.SeparableConv2D(3, 1, name="first"),
    "dense": lambda: layers.Dense(3, name="first"),
}
FINISHING = {
    "norm": layers.BatchNormalization, "act": lambda: layers.Activation("tanh"),
    "relu": layers.ReLU, "leaky": layers.LeakyReLU, "prelu": layers.PReLU,
    "drop": lambda: layers.Dropout(0.5),
}  # fmt: skip


@pytest.mark.parametrize("before", WEIGHTED)
@pytest.mark.parametrize("after", FINISHING)
def test_no_cut_between_a_layer_and_what_finishes_it(before, after):
    x = inputs = keras.Input((4, 4, 3), name="image")
    x = FINISHING[after]()(WEIGHTED[before]()(x))
    net = keras.Model(inputs, layers.MaxPooling2D(name="pool")(x))
    assert "first" in names(net)
    assert surgery.clean_cuts(net) == ["image", x._keras_history.operation.name, "pool"]


@pytest.mark.parametrize(("after", "torn"), [
    ("act", True), ("relu", True), ("drop", True), ("norm", False),
])  # fmt: skip
def test_no_cut_between_a_normalization_and_its_activation(after, torn):
    x = inputs = keras.Input((4, 4, 3), name="image")
    x = layers.BatchNormalization(name="first")(x)
    net = keras.Model(inputs, FINISHING[after]()(x))
    assert ("first" in surgery.clean_cuts(net)) != torn


def test_pooling_after_a_convolution_may_be_cut_off():
    x = inputs = keras.Input((4, 4, 3), name="image")
    x = layers.MaxPooling2D(name="pool")(layers.Conv2D(3, 1, name="conv")(x))
    assert surgery.clean_cuts(keras.Model(inputs, x)) == ["image", "conv", "pool"]


def test_a_layer_called_twice_is_no_address():
    x = inputs = keras.Input((8, 8, 3), name="image")
    shared = layers.Conv2D(3, 1, name="shared")
    x = layers.ReLU(name="end")(shared(shared(x)))
    assert names(keras.Model(inputs, x)) == ["image", "end"]


def test_several_outputs_are_refused():
    inputs = keras.Input((2,))
    with pytest.raises(TlkitError, match="1 inputs and 2 outputs"):
        surgery.cut_points(keras.Model(inputs, [layers.ReLU()(inputs), layers.ReLU()(inputs)]))


def test_halves_have_the_names_of_their_place(net):
    stem, tail = surgery.split(net, "sum")
    assert (stem.name, tail.name) == ("tiny_stem", "tiny_tail")
    assert stem.output_shape == tail.input_shape == (None, 8, 8, 4)


def test_a_tensor_is_also_had_where_nothing_can_be_cut(net):
    inside = keras.Model(net.input, surgery.tensor_at(net, "b_conv"))
    assert inside.layers[-1].name == "b_conv"
    assert len(surgery.layers_with_weights([*net.operations, *net.operations])) == 6


def test_several_inputs_are_refused():
    a, b = keras.Input((2,)), keras.Input((2,))
    with pytest.raises(TlkitError, match="2 inputs"):
        surgery.cut_points(keras.Model([a, b], layers.Add()([a, b])))


def test_nested_and_augmented_models(net):
    inputs = keras.Input((8, 8, 3), name="raw")
    x = layers.RandomFlip(name="flip")(inputs)
    outer = keras.Model(inputs, layers.GlobalAveragePooling2D(name="pool")(net(x)))
    assert names(outer) == ["raw", "flip", "tiny", "pool"]
    assert len(names(net)) == 8, "being nested must not change the inner net"
    stem, tail = surgery.split(outer, "flip")
    x = pictures()
    np.testing.assert_array_equal(
        tail(stem(x, training=False), training=False), outer(x, training=False)
    )


def test_bare_operations_are_addresses():
    inputs = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2D(2, 1, name="conv")(inputs) * 2.0 + 1.0
    net = keras.Model(inputs, x)
    assert len(names(net)) == len(net.operations) == 4
    stem, tail = surgery.split(net, names(net)[2])
    np.testing.assert_array_equal(tail(stem(pictures(4))), net(pictures(4)))


def test_segments_hold_every_variable_once(net):
    parts = surgery.segments(net, ["a_relu", "sum", "c_relu"])
    held = [[layer.name for layer in surgery.layers_with_weights(part)] for part in parts]
    assert held == [["a_conv", "a_bn"], ["b_conv", "b_bn"], ["c_conv", "c_bn"]]
    assert [op for part in parts for op in part] == list(net.operations)


@pytest.mark.parametrize("boundaries", [[], ["sum"], ["sum", "a_relu", "c_relu"], ["c_relu"] * 2])
def test_segments_must_rise_to_the_output(net, boundaries):
    with pytest.raises(TlkitError, match="must rise and end at the output"):
        surgery.segments(net, boundaries)


def test_survives_saving(net, tmp_path):
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    assert names(loaded) == names(net)
    stem, tail = surgery.split(loaded, "sum")
    np.testing.assert_array_equal(tail(stem(pictures())), net(pictures()))


def test_guard_private_table_of_nodes(net):
    """`surgery.nodes` reads `_nodes_by_depth`: it must list what the public `operations` lists."""
    listed = [node.operation.name for node in surgery.nodes(net)]
    assert sorted(listed) == sorted(op.name for op in net.operations)
    for node in surgery.nodes(net):
        assert isinstance(node.input_tensors, list) and isinstance(node.output_tensors, list)
