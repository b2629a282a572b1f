"""Folding changes how a network is run, never what it computes."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tlkit.features import folding

RANDOM = np.random.default_rng(0)


def settled(part):
    """Gives every normalization frozen, plausible statistics far from their initial 0 and 1."""
    for layer in part.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
            for variable, low, high in zip(
                (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance),
                (0.5, -0.3, -0.3, 0.5),
                (1.5, 0.3, 0.3, 1.5),
                strict=True,
            ):
                if variable is not None:
                    variable.assign(RANDOM.uniform(low, high, variable.shape))
    return part


EVEN, ODD = ((0, 1), (0, 1)), ((1, 1), (1, 1))  # what TensorFlow's SAME adds before stride 2


def tiny_net(size=17, pad=ODD):
    """Every pattern that folds, and some that must not."""
    inputs = keras.Input((size, size, 3))
    x = layers.ZeroPadding2D(pad)(inputs)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = skip = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    x = layers.Activation("swish")(layers.BatchNormalization(scale=False)(x))
    x = layers.BatchNormalization(center=False)(layers.Conv2D(8, 1)(x))
    x = layers.add([x, skip])
    gate = layers.Conv2D(8, 1, activation="sigmoid")(
        layers.GlobalAveragePooling2D(keepdims=True)(x)
    )
    x = raw = layers.Conv2D(6, 3, dilation_rate=2)(layers.multiply([x, gate]))  # read twice
    x = layers.concatenate([layers.BatchNormalization()(x), raw])
    twice = layers.Conv2D(12, 1)  # called twice
    x = twice(layers.ReLU()(layers.BatchNormalization()(twice(x))))
    x = layers.BatchNormalization()(layers.SeparableConv2D(8, 3, padding="same")(x))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, activation="relu")(x))
    x = layers.BatchNormalization()(layers.Dense(7)(layers.Dropout(0.5)(x)))
    return settled(keras.Model(inputs, layers.GlobalAveragePooling2D()(x)))


def rows(part, count=4):
    return tf.constant(RANDOM.normal(size=(count, *part.input.shape[1:])), tf.float32)


def step(run, part, x):
    """Returns output and gradients of a loss to which every output counts differently."""
    variables = [v.value for v in part.trainable_variables]

    @tf.function(autograph=False)
    def compute(x):
        with tf.GradientTape() as tape:
            y = run(x)
            loss = tf.reduce_sum(y * tf.cos(tf.cast(tf.range(y.shape[-1]), tf.float32)))
        return y, tape.gradient(loss, variables)

    y, gradients = compute(x)
    return y.numpy(), [gradient.numpy() for gradient in gradients]


def relative(got, expected):
    return np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-6)


def assert_equal_step(part, x, tolerance=1e-5):
    expected, expected_gradients = step(lambda x: part(x, training=False), part, x)
    y, gradients = step(folding.fold(part), part, x)
    assert relative(y, expected) <= 1e-5
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        assert relative(got, wanted) <= tolerance


def operations(run, part):
    """Returns how often each kind of operation stands in the traced graph, by rank of output."""
    spec = tf.TensorSpec((None, *part.input.shape[1:]), tf.float32)
    graph = tf.function(run, autograph=False).get_concrete_function(spec).graph
    kinds = collections.Counter()
    for operation in graph.get_operations():
        shape = operation.outputs[0].shape if operation.outputs else tf.TensorShape([])
        of_rows = bool(shape.rank) and shape[0] is None
        kinds[operation.type, of_rows] += 1
    return kinds


def merged(run, part):
    """Returns how many normalizations and paddings of rows `run` does without."""
    plain = operations(lambda x: part(x, training=False), part)
    fewer = operations(run, part)
    return plain["Mul", True] - fewer["Mul", True], plain["Pad", True] - fewer["Pad", True]


@pytest.mark.parametrize(
    ("size", "pad", "pads"), [(17, ODD, 1), (16, EVEN, 1), (16, ODD, 0), (17, EVEN, 0)]
)
def test_output_and_gradients_are_those_of_keras(size, pad, pads):
    part = tiny_net(size, pad)
    assert_equal_step(part, rows(part))
    # five of eight normalizations, and the padding where SAME is the same
    assert merged(folding.fold(part), part) == (5, pads)


def test_what_does_not_fit_is_computed_as_it_is():
    inputs = keras.Input((12, 12, 4))
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(8, 3, use_bias=False)(inputs))  # of rows
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, groups=2, activation="relu")(x))
    x = layers.BatchNormalization()(layers.Conv2D(6, 1, strides=(2, 1))(x))
    x = layers.BatchNormalization()(layers.Conv2D(6, 1, strides=2)(x))  # fits
    pad = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.Conv2D(6, 3, strides=2)(pad)  # the padding is read twice
    x = layers.concatenate([layers.GlobalAveragePooling2D()(x), layers.Flatten()(pad)])
    part = settled(keras.Model(inputs, x))
    assert_equal_step(part, rows(part))
    assert merged(folding.fold(part), part) == (1, 0)


@pytest.mark.parametrize(("size", "pad"), [(17, ODD), (16, EVEN)])
def test_constant_folding_gives_the_same_answer(size, pad):
    part = tiny_net(size, pad)
    for layer in part.layers:
        layer.trainable = True  # which is no obstacle where nothing is trained
    run, x = folding.fold_constant(part), rows(part)
    expected = part(x, training=False).numpy()
    assert relative(tf.function(run, autograph=False)(x).numpy(), expected) <= 1e-5
    assert merged(run, part) == (5, 1)


def test_what_is_not_functional_is_called_as_it_is():
    class Own(keras.Model):
        def call(self, x, training=False):
            return 2 * x

    one, two = keras.Input((4,)), keras.Input((4,))
    both = keras.Model([one, two], layers.add([one, two]), name="both")
    for part in (Own(name="own"), both):
        assert folding.obstacle(part) == f"{part.name} is not a functional model with one input"
        assert folding.fold(part) is part
    assert folding.fold_constant(own := Own()) is own


@pytest.mark.large
def test_a_real_net_from_pixels_and_from_a_boundary():
    net = settled(keras.applications.MobileNetV2((64, 64, 3), 0.35, False, None))
    pooled = layers.GlobalAveragePooling2D()(net.output)
    whole, tail = (
        keras.Model(net.input, pooled),
        keras.Model(net.get_layer("block_12_add").output, pooled),
    )
    x = rows(whole)
    np.testing.assert_allclose(
        tf.function(folding.fold(whole), autograph=False)(x),
        whole(x, training=False),
        rtol=1e-4,
        atol=1e-5,
    )
    assert_equal_step(tail, rows(tail))


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("ResNet50", "conv4_block6_out"),
        ("EfficientNetB0", None),
        ("DenseNet121", "pool4_pool"),
        ("ResNet50V2", "conv4_block6_out"),
    ],
)
def test_big_nets(name, cut):
    net = settled(getattr(keras.applications, name)(False, None, input_shape=(96, 96, 3)))
    start = net.get_layer(cut).output if cut else net.input
    part = keras.Model(start, layers.GlobalAveragePooling2D()(net.output))
    assert_equal_step(part, tf.nn.relu(rows(part)), tolerance=1e-4)


def test_it_runs_the_keras_variables_themselves():
    part = tiny_net()
    run, x = tf.function(folding.fold(part), autograph=False), rows(part)
    before = run(x).numpy()
    for variable in part.trainable_variables:
        variable.assign(variable * 1.5)
    np.testing.assert_allclose(run(x), part(x, training=False), rtol=1e-4, atol=1e-5)
    assert relative(run(x).numpy(), before) > 0.1


def test_training_mode_is_that_of_the_part():
    part, run = tiny_net(), folding.fold(tiny_net())
    x = rows(part)
    np.testing.assert_array_equal(run(x), run(x))
    assert relative(run(x, training=True).numpy(), run(x).numpy()) > 1e-3  # dropout is on


def test_bfloat16_rounds_a_little_and_keeps_variables_float32():
    part = tiny_net()
    x = rows(part)
    expected, _ = step(lambda x: part(x, training=False), part, x)
    y, gradients = step(folding.fold(part, bfloat16=True), part, x)
    assert 1e-5 < relative(y, expected) < 2e-2
    assert {g.dtype for g in gradients} == {np.dtype("float32")}


def test_a_model_inside_is_folded_too():
    inner = tiny_net()
    inputs = keras.Input(inner.input.shape[1:])
    part = keras.Model(inputs, inner(layers.Rescaling(0.5)(inputs)))
    assert_equal_step(part, rows(part))


@pytest.mark.parametrize(
    "options", [{"kernel_regularizer": "l2"}, {"kernel_constraint": "unit_norm"}]
)
def test_a_layer_with_rules_is_an_obstacle(options):
    inputs = keras.Input((4, 4, 3))
    part = keras.Model(inputs, layers.Conv2D(2, 1, name="ruled", **options)(inputs))
    assert folding.obstacle(part) == f"ruled has a {next(iter(options))}"
    assert folding.fold(part) is part


def test_live_statistics_are_an_obstacle_inside_too():
    inputs = keras.Input((4, 4, 3))
    inner = keras.Model(inputs, layers.BatchNormalization(name="live")(layers.Conv2D(2, 1)(inputs)))
    outer = keras.Input((4, 4, 3))
    part = keras.Model(outer, inner(outer))
    assert "live is trainable" in folding.obstacle(part)
    assert folding.fold(part) is part


def test_a_subclass_is_called_as_it_is():
    class Doubled(layers.Conv2D):
        def call(self, x):
            return 2 * super().call(x)

    inputs = keras.Input((4, 4, 3))
    part = settled(keras.Model(inputs, layers.BatchNormalization()(Doubled(2, 1)(inputs))))
    assert_equal_step(part, rows(part))


def test_keras_still_runs_a_graph_in_a_way_that_can_be_folded():
    assert folding.obstacle(tiny_net()) == ""
