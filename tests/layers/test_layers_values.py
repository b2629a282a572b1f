"""Each layer of tlkit.layers against a closed form or plain loops in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

import tlkit.layers as own
from tlkit.errors import TlkitError

RNG = np.random.default_rng(1)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


# --- local response normalization ---


def test_lrn_is_tensorflows_with_the_papers_constants():
    x = 30 * normal(2, 4, 3, 9)
    expected = tf.nn.local_response_normalization(x, 2, bias=2, alpha=1e-4, beta=0.75)
    np.testing.assert_allclose(own.LocalResponseNormalization()(x), expected, rtol=1e-6)


def test_lrn_by_hand():
    x = np.arange(1, 6, dtype="float32").reshape(1, 1, 1, 5)
    y = own.LocalResponseNormalization(3, k=1.0, alpha=1.0, beta=1.0)(x)
    sums = np.array([1 + 4, 1 + 4 + 9, 4 + 9 + 16, 9 + 16 + 25, 16 + 25])
    np.testing.assert_allclose(np.ravel(y), np.arange(1, 6) / (1 + sums), rtol=1e-6)


def test_caffe_divides_alpha_by_the_size():
    x = 30 * normal(2, 4, 3, 9)
    caffe = own.LocalResponseNormalization(5, 1.0, 1e-4, caffe=True)(x)
    np.testing.assert_array_equal(caffe, own.LocalResponseNormalization(5, 1.0, 2e-5)(x))
    expected = tf.nn.local_response_normalization(x, 2, bias=1, alpha=2e-5, beta=0.75)
    np.testing.assert_allclose(caffe, expected, rtol=1e-6)


# --- activations and initializers ---


def test_maxout_takes_the_larger_neighbour():
    x = np.array([[1.0, -2.0, 3.0, 4.0]], "float32")
    np.testing.assert_array_equal(own.Maxout(2)(x), [[1.0, 4.0]])
    np.testing.assert_array_equal(own.Maxout(4)(x), [[4.0]])


def test_maxout_says_which_channels_it_needs():
    with pytest.raises(ValueError, match="multiple of 2"):
        own.Maxout(2)(np.zeros((1, 3), "float32"))


def test_scaled_tanh_is_the_identity_at_one():
    np.testing.assert_allclose(own.ScaledTanh()(np.array([1.0, 0.0, -1.0])), [1, 0, -1], atol=1e-5)


def test_fan_in_uniform_stays_in_its_range():
    values = np.asarray(own.FanInUniform(2.4)((5, 5, 4, 300)))
    assert 0.98 * 0.024 < np.abs(values).max() <= 0.024


def test_the_range_of_the_start_is_kept_in_saved_models():
    config = own.FanInUniform(0.5, seed=3).get_config()
    twin = keras.initializers.get({"class_name": "tlkit>FanInUniform", "config": config})
    np.testing.assert_array_equal(twin((5, 4)), own.FanInUniform(0.5, seed=3)((5, 4)))
    assert np.abs(np.asarray(twin((5, 4)))).max() <= 0.1


# --- pooling ---


def ceil_pool(x, size, stride, pad, reduce):
    """Caffe's loop, window by window, over the values that exist."""
    counts = []
    for length in x.shape:
        count = int(np.ceil((length + 2 * pad - size) / stride)) + 1
        counts.append(count - 1 if (count - 1) * stride >= length + pad else count)
    padded = np.full([n + 2 * pad for n in x.shape], np.nan)
    padded[pad : pad + x.shape[0], pad : pad + x.shape[1]] = x
    window = lambda i, j: padded[i * stride : i * stride + size, j * stride : j * stride + size]  # noqa: E731
    return np.array([[reduce(window(i, j)) for j in range(counts[1])] for i in range(counts[0])])


@given(
    st.integers(4, 9), st.integers(4, 9), st.integers(2, 3), st.integers(1, 3), st.integers(0, 1)
)
@settings(max_examples=25, deadline=None)
def test_ceil_pooling_is_caffes_loop(height, width, size, stride, pad):
    x = normal(1, height, width, 1)
    kwargs = {"pool_size": size, "strides": stride, "padding": pad}
    largest = ceil_pool(x[0, ..., 0], size, stride, pad, np.nanmax)
    np.testing.assert_array_equal(own.CeilMaxPool2D(**kwargs)(x)[0, ..., 0], largest)
    mean = ceil_pool(x[0, ..., 0], size, stride, pad, lambda v: np.nansum(v) / v.size)
    average = own.CeilAveragePool2D(**kwargs)(x)[0, ..., 0]
    np.testing.assert_allclose(average, mean, rtol=1e-5, atol=1e-6)


def test_ceil_pooling_keeps_googlenets_sizes():
    for before, after in ((112, 56), (56, 28), (28, 14), (14, 7)):
        assert own.CeilMaxPool2D(3, 2).compute_output_shape((1, before, before, 1))[1] == after


def test_ceil_pooling_needs_fixed_sizes():
    with pytest.raises(ValueError, match="fixed height and width"):
        own.CeilMaxPool2D(3, 2)(keras.Input((None, None, 3)))


REDUCTIONS = {
    "max": lambda w: w.max((-2, -1)),
    "mean": lambda w: w.mean((-2, -1)),
    "median": lambda w: np.median(w, axis=(-2, -1)),
    "l2": lambda w: np.linalg.norm(w, axis=(-2, -1)),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kind", REDUCTIONS)
def test_window_pooling_is_numpys(kind, size, stride):
    x = normal(2, 7, 8, 3)
    view = sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]
    y = own.WindowPool2D(kind, size, stride)(x)
    np.testing.assert_allclose(y, REDUCTIONS[kind](view), rtol=1e-5)


def test_distance_weighted_pooling_by_hand():
    edge, corner = 1 / 2, 1 / (1 + 2**0.5)
    weights = np.array([[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]])
    x = normal(1, 3, 3, 2)
    expected = np.einsum("hwc,hw->c", x[0], weights / weights.sum())
    np.testing.assert_allclose(own.WindowPool2D("distance", 3)(x)[0, 0, 0], expected, rtol=1e-5)


def test_two_by_two_distance_pooling_is_the_mean():
    x = normal(1, 4, 4, 1)
    distance, mean = (own.WindowPool2D(kind, 2)(x) for kind in ("distance", "mean"))
    np.testing.assert_allclose(distance, mean, rtol=1e-6)


def test_l2_pooling_of_zeros_has_a_gradient():
    x = tf.Variable(tf.zeros((1, 2, 2, 1)))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(own.WindowPool2D("l2", 2)(x))
    np.testing.assert_array_equal(tape.gradient(y, x), np.zeros((1, 2, 2, 1)))


def test_unknown_pooling_is_named():
    with pytest.raises(TlkitError, match="Did you mean 'median'"):
        own.WindowPool2D("medain")


def test_windows_of_sub_sampling_may_be_larger():
    x = normal(1, 6, 6, 1)
    layer = own.TrainableSubsampling2D(3)
    mean = x.reshape(1, 2, 3, 2, 3, 1).mean((2, 4))
    np.testing.assert_allclose(layer(x), mean, rtol=1e-5, atol=1e-6)
    model = keras.Sequential([keras.Input((6, 6, 2)), own.TrainableSubsampling2D(3)])
    assert model.layers[0].connections() == 8 * (9 + 1)


def test_subsampling_starts_as_average_pooling_and_is_linear():
    x = normal(2, 6, 4, 3)
    layer = own.TrainableSubsampling2D(2)
    mean = x.reshape(2, 3, 2, 2, 2, 3).mean((2, 4))
    np.testing.assert_allclose(layer(x), mean, rtol=1e-5, atol=1e-6)
    layer.coefficient.assign([1.0, 2.0, 3.0])
    layer.bias.assign([0.5, 0.0, -1.0])
    np.testing.assert_allclose(layer(x), 4 * mean * [1, 2, 3] + [0.5, 0, -1], rtol=1e-4, atol=1e-5)


# --- LeNet-5's outputs ---


def test_distance_is_zero_for_the_drawing_itself():
    layer = own.DigitDistance(10)
    codes = layer(np.zeros((1, 84), "float32")) is not None and layer.codes.numpy()
    scores = np.asarray(layer(codes))
    np.testing.assert_array_equal(np.diag(scores), np.zeros(10))
    expected = -((codes[:, None] - codes[None]) ** 2).sum(-1)
    np.testing.assert_allclose(scores, expected)
    assert (expected[~np.eye(10, dtype=bool)] <= -4 * 6).all()  # any two digits differ in 6 pixels


def test_drawings_are_plus_and_minus_one_and_do_not_train():
    layer = own.DigitDistance(300)
    layer(np.zeros((1, 84), "float32"))
    assert len(np.unique(layer.codes.numpy(), axis=0)) == 300
    assert set(np.unique(layer.codes.numpy())) == {-1.0, 1.0}
    assert layer.trainable_weights == []


def test_the_codes_are_the_drawings_row_by_row():
    layer = own.DigitDistance(10)
    layer(np.zeros((1, 84), "float32"))
    drawn = layer.codes.numpy().reshape(10, 12, 7)
    one = ["...#...", "..##...", ".###...", *["...#..."] * 8, ".#####."]
    signs = [[1 if cell == "#" else -1 for cell in row] for row in one]
    np.testing.assert_array_equal(drawn[1], signs)
    assert (drawn[7, 0] == 1).all()  # a seven has a bar on top, a two one at the bottom
    assert (drawn[2, -1] == 1).all() and not (drawn[2, 0] == 1).all()


def test_codes_beyond_the_digits_are_the_same_for_every_number_of_classes():
    many, few = own.DigitDistance(40), own.DigitDistance(12)
    many(np.zeros((1, 84), "float32")), few(np.zeros((1, 84), "float32"))
    np.testing.assert_array_equal(many.codes[:12], few.codes)


def test_distance_needs_84_values():
    with pytest.raises(ValueError, match="dense layer of 84"):
        own.DigitDistance()(np.zeros((1, 80), "float32"))
