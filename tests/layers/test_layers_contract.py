"""What every layer of tlkit.layers promises: shapes, counts, saving, training, other dtypes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tlkit.layers as own

MAPS = ((0,), (0, 1), (1, 2))


def weight_normalized(**kwargs):
    return own.WeightNormalization(keras.layers.Conv2D(4, 3), **kwargs)


# layer, input shape, trainable weights by hand
CASES = [
    (own.LocalResponseNormalization, {}, (6, 5, 3), 0),
    (own.LocalResponseNormalization, {"caffe": True, "size": 3}, (6, 5, 3), 0),
    (own.Maxout, {"pieces": 2}, (6, 5, 4), 0),
    (own.Maxout, {"pieces": 3}, (6,), 0),
    (own.ScaledTanh, {}, (6, 5, 3), 0),
    (own.CeilMaxPool2D, {"pool_size": 3, "strides": 2}, (7, 6, 3), 0),
    (own.CeilMaxPool2D, {"pool_size": 3, "strides": 2, "padding": 1}, (8, 6, 3), 0),
    (own.CeilAveragePool2D, {"pool_size": 3, "strides": 2}, (8, 6, 3), 0),
    (own.ConstantPadding2D, {"padding": 2, "value": -1.0}, (6, 5, 3), 0),
    (own.LocallyConnected2D, {"filters": 4, "kernel_size": 3}, (6, 5, 3), 4 * 3 * (27 * 4 + 4)),
    (own.LocallyConnected2D, {"filters": 4, "kernel_size": 3, "strides": 2}, (7, 5, 1), 3 * 2 * 40),
    (own.UntiedBias, {}, (6, 5, 3), 90),
    (own.OuterProductConv2D, {"filters": 4, "kernel_size": 3}, (6, 5, 3), 4 * (9 + 3) + 4),
    (own.OuterProductConv2D, {"filters": 1, "kernel_size": 5, "use_bias": False}, (9, 9, 100), 125),
    (own.OuterProductConv2D, {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "valid"},
     (8, 5, 3), 52),
    (own.SparselyConnectedConv2D, {"maps": MAPS, "kernel_size": 3}, (6, 5, 3), 5 * 9 + 3),
    (own.SparselyConnectedConv2D, {"maps": MAPS, "kernel_size": 2, "strides": 2, "use_bias": False},
     (6, 5, 3), 5 * 4),
    (own.TrainableSubsampling2D, {}, (6, 5, 3), 6),
    (own.DigitDistance, {"classes": 12}, (84,), 0),
    (weight_normalized, {}, (6, 5, 3), 27 * 4 + 4 + 4),
    *((own.WindowPool2D, {"kind": kind, "pool_size": 3, "strides": 2}, (8, 7, 3), 0)
      for kind in ("max", "mean", "median", "l2", "distance")),
]  # fmt: skip
IDS = [f"{case[0].__name__}-{number}" for number, case in enumerate(CASES)]
each_layer = pytest.mark.parametrize(("cls", "config", "shape", "weights"), CASES, ids=IDS)


def images(shape, count=2):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


def wrapped(layer, shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@each_layer
def test_shapes_and_counts(cls, config, shape, weights):
    layer = cls(**config)
    y = layer(images(shape))
    assert layer.compute_output_shape((2, *shape)) == tuple(y.shape)
    assert sum(np.prod(w.shape) for w in layer.trainable_weights) == weights
    assert np.isfinite(np.asarray(y)).all()


@each_layer
def test_config_rebuilds_an_equal_layer(cls, config, shape, weights):
    layer = cls(**config, name="it")
    x = images(shape)
    y = layer(x)
    twin = type(layer).from_config(layer.get_config())
    twin(x)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(x), y)
    assert twin.get_config() == layer.get_config()


@each_layer
def test_saved_and_loaded_in_safe_mode(cls, config, shape, weights, tmp_path):
    model = wrapped(cls(**config), shape)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(images(shape)), model(images(shape)))


@each_layer
def test_input_and_every_weight_get_a_gradient(cls, config, shape, weights):
    layer, x = cls(**config), tf.Variable(images(shape, 4))
    layer(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(layer(x) - 1.0))
    sources = [x, *(w.value for w in layer.trainable_weights)]
    for source, gradient in zip(sources, tape.gradient(loss, sources), strict=True):
        assert np.isfinite(gradient).all(), source.name
        assert np.any(gradient), source.name


@each_layer
def test_half_precision(cls, config, shape, weights):
    layer = cls(**config, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(layer(images(shape)).dtype) == "bfloat16"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: own.LocalResponseNormalization(),
        lambda: own.CeilMaxPool2D(3, 2),
        lambda: own.CeilAveragePool2D(3, 2),
        lambda: own.LocallyConnected2D(2, 3),
        lambda: own.OuterProductConv2D(2, 3),
        lambda: own.UntiedBias(),
        lambda: own.TrainableSubsampling2D(),
        lambda: own.WindowPool2D("median", 2, 1),
        lambda: weight_normalized(),
    ],
)
def test_any_number_of_channels(layer, channels):
    layer = layer()
    assert layer.compute_output_shape((2, 9, 8, channels)) == tuple(
        layer(images((9, 8, channels))).shape
    )


def test_exported_layers_answer_as_the_model_does(tmp_path):
    inputs = x = keras.Input((16, 16, 3))
    for layer in (
        own.ConstantPadding2D(1),
        own.LocalResponseNormalization(),
        own.OuterProductConv2D(4, 3),
        own.CeilMaxPool2D(3, 2),
        own.SparselyConnectedConv2D(MAPS, 3),
        own.UntiedBias(),
        own.CeilAveragePool2D(2, 2),
        own.WindowPool2D("median", 2, 1),
        own.LocallyConnected2D(4, 2),
        own.Maxout(),
    ):
        x = layer(x)
    model = keras.Model(inputs, x)
    model.export(str(tmp_path / "saved"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for count in (1, 3):
        served = loaded.serve(images((16, 16, 3), count))
        np.testing.assert_allclose(served, model(images((16, 16, 3), count)), rtol=1e-4, atol=1e-5)
