"""Layers with weights of their own kind against plain loops in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tlkit.layers as own
from tlkit.errors import TlkitError

RNG = np.random.default_rng(1)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


# --- local and sparse connection ---


@pytest.mark.parametrize("stride", [1, 2])
def test_locally_connected_by_loops(stride):
    x = normal(2, 7, 6, 3)
    layer = own.LocallyConnected2D(4, 3, stride)
    y = np.asarray(layer(x))
    layer.bias.assign(normal(*layer.bias.shape))
    kernel, bias = (w.numpy() for w in layer.weights)
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            patch = x[:, i * stride : i * stride + 3, j * stride : j * stride + 3].reshape(2, -1)
            expected = patch @ kernel[i, j] + bias[i, j]
            np.testing.assert_allclose(layer(x)[:, i, j], expected, rtol=1e-4, atol=1e-5)


def test_locally_connected_with_one_kernel_everywhere_is_a_convolution():
    x = normal(2, 7, 6, 3)
    layer, conv = own.LocallyConnected2D(4, 3), keras.layers.Conv2D(4, 3)
    layer(x), conv(x)
    layer.kernel.assign(np.broadcast_to(conv.kernel.numpy().reshape(27, 4), layer.kernel.shape))
    np.testing.assert_allclose(layer(x), conv(x), rtol=1e-4, atol=1e-5)


def test_locally_connected_starts_like_a_dense_layer_of_its_window():
    layer = own.LocallyConnected2D(50, 3)
    layer(normal(1, 12, 12, 8))
    assert layer.kernel.numpy().std() == pytest.approx((2 / 72) ** 0.5, rel=0.02)


MAPS = ((0, 1, 2), (1, 3), (0,), (0, 1, 2, 3))


def full_kernel(sparse, channels, size):
    kernel = np.zeros((size, size, channels, len(MAPS)), "float32")
    pairs = [(source, target) for target, row in enumerate(MAPS) for source in row]
    for place, (source, target) in enumerate(pairs):
        kernel[:, :, source, target] = sparse[..., place]
    return kernel


@pytest.mark.parametrize("stride", [1, 2])
def test_sparse_connection_is_a_convolution_with_zeros(stride):
    x = normal(2, 8, 7, 4)
    layer = own.SparselyConnectedConv2D(MAPS, 3, stride)
    layer(x)
    layer.bias.assign(normal(4))
    kernel = full_kernel(layer.kernel.numpy(), 4, 3)
    expected = tf.nn.conv2d(x, kernel, stride, "VALID") + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_a_filter_does_not_see_the_other_maps():
    layer = own.SparselyConnectedConv2D(MAPS, 3)
    x = normal(1, 5, 5, 4)
    before = np.asarray(layer(x))
    x[..., 3] += 1
    changed = (np.asarray(layer(x)) != before).any((0, 1, 2))
    np.testing.assert_array_equal(changed, [3 in row for row in MAPS])


def test_sparse_filters_start_with_their_own_fan_in():
    maps = ((0,),) * 200 + (tuple(range(8)),) * 200
    layer = own.SparselyConnectedConv2D(maps, 5)
    layer(normal(1, 6, 6, 8))
    kernel = layer.kernel.numpy()
    assert kernel[..., :200].std() == pytest.approx((2 / 25) ** 0.5, rel=0.05)
    assert kernel[..., 200:].std() == pytest.approx((2 / 200) ** 0.5, rel=0.05)


def test_a_table_that_reads_missing_maps_is_refused():
    with pytest.raises(ValueError, match="has 2 maps"):
        own.SparselyConnectedConv2D(MAPS, 3)(normal(1, 5, 5, 2))


def test_padding_is_the_constant():
    y = own.ConstantPadding2D(2, -1.0)(normal(1, 3, 3, 1))
    assert y.shape == (1, 7, 7, 1)
    np.testing.assert_array_equal(np.asarray(y)[0, :2], -np.ones((2, 7, 1)))


@pytest.mark.parametrize("value", [-1.0, 3.0])
def test_padding_lies_on_all_four_sides(value):
    x = normal(2, 3, 4, 2)
    sides = [(0, 0), (1, 1), (1, 1), (0, 0)]
    expected = np.pad(x, sides, constant_values=value)
    np.testing.assert_array_equal(own.ConstantPadding2D(1, value)(x), expected)


def test_untied_bias_adds_one_value_per_unit():
    layer, x, bias = own.UntiedBias(), normal(2, 3, 4, 2), normal(3, 4, 2)
    layer(x)
    layer.bias.assign(bias)
    np.testing.assert_array_equal(layer(x), x + bias)


# --- outer products ---


@pytest.mark.parametrize(("stride", "padding"), [(1, "same"), (2, "same"), (2, "valid")])
def test_outer_product_is_a_convolution_with_rank_one_filters(stride, padding):
    x = normal(2, 8, 7, 5)
    layer = own.OuterProductConv2D(4, 3, stride, padding)
    layer(x)
    layer.bias.assign(normal(4))
    mixing, spatial = layer.mixing.numpy()[0, 0], layer.spatial.numpy()[..., 0]
    kernel = np.einsum("xyk,ck->xyck", spatial, mixing)
    expected = tf.nn.conv2d(x, kernel, stride, padding.upper()) + layer.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, rtol=1e-3, atol=1e-4)


def test_outer_product_costs_less_than_the_separable_layer():
    layer = own.OuterProductConv2D(1, 5, use_bias=False)
    separable = keras.layers.SeparableConv2D(1, 5, use_bias=False)
    x = normal(1, 9, 9, 100)
    layer(x), separable(x)
    assert (layer.count_params(), separable.count_params()) == (125, 2600)


def test_outer_product_starts_each_filter_with_its_own_fan_in():
    layer = own.OuterProductConv2D(400, 5)
    layer(normal(1, 6, 6, 8))
    assert layer.mixing.numpy().std() == pytest.approx((2 / 8) ** 0.5, rel=0.05)
    assert layer.spatial.numpy().std() == pytest.approx((2 / 25) ** 0.5, rel=0.05)


# --- weight normalization ---


@pytest.mark.parametrize("make", [lambda: keras.layers.Dense(5), lambda: keras.layers.Conv2D(5, 3)])
def test_wrapping_changes_nothing_at_first(make):
    x = normal(2, 6, 6, 3)
    plain = make()
    y = np.asarray(plain(x))
    np.testing.assert_allclose(own.WeightNormalization(plain)(x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 2)])
def test_weight_is_g_times_the_direction(groups, stride):
    x = normal(2, 6, 6, 4)
    conv = keras.layers.Conv2D(6, 3, stride, groups=groups, activation="relu")
    layer = own.WeightNormalization(conv)
    layer(x)
    g, v = normal(6), conv.kernel.numpy()
    layer.g.assign(g)
    plain = keras.layers.Conv2D(6, 3, stride, groups=groups, activation="relu")
    plain(x)
    plain.kernel.assign(v * g / np.sqrt((v**2).sum((0, 1, 2))))
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("config", [
    {"padding": "same"}, {"padding": "same", "strides": 2}, {"dilation_rate": 2},
    {"use_bias": False}, {"activation": "tanh"},
])  # fmt: skip
def test_the_wrapped_convolution_keeps_its_settings(config):
    x = normal(2, 7, 6, 3)
    plain = keras.layers.Conv2D(4, 3, **config)
    y = np.asarray(plain(x))
    layer = own.WeightNormalization(plain)
    np.testing.assert_allclose(layer(x), y, rtol=1e-4, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == y.shape
    layer.g.assign(0 * layer.g)
    rest = 0 if plain.bias is None else plain.bias.numpy()
    np.testing.assert_array_equal(layer(x), np.zeros_like(y) + rest)


def test_length_of_v_does_not_matter():
    x = normal(2, 4)
    dense = keras.layers.Dense(3)
    layer = own.WeightNormalization(dense)
    y = np.asarray(layer(x))
    dense.kernel.assign(7 * dense.kernel)
    np.testing.assert_allclose(layer(x), y, rtol=1e-4, atol=1e-6)


def test_only_layers_it_knows_are_wrapped():
    with pytest.raises(TlkitError, match="Dense and Conv2D"):
        own.WeightNormalization(keras.layers.Flatten())
