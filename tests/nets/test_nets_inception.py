"""The Inception families: end points of slim's tests, gammas, scales, padding."""

from math import prod

import keras
import numpy as np
import pytest

from tlkit import nets
from tlkit.errors import TlkitError
from tlkit.nets import _count, googlenet, inception
from tlkit.nets._branches import Branches, ScaledResidual, branches
from tlkit.nets._rows import Conv
from tlkit.nets._spec import Options

large = pytest.mark.large
# Layer: map and depth at the published size; slim's tests, and Szegedy et al. 2017 for v1.
END_POINTS = {
    "bn-inception": {
        "conv1": (112, 64), "pool1": (56, 64), "pool2": (28, 192), "inception_3a": (28, 256),
        "inception_3b": (28, 320), "inception_3c": (14, 576), "inception_4d": (14, 576),
        "inception_4e": (7, 1024), "inception_5b": (7, 1024),
    },
    "inception-v3": {
        "conv1": (149, 32), "conv2": (147, 32), "conv3": (147, 64), "pool3": (73, 64),
        "conv4": (73, 80), "conv5": (71, 192), "pool5": (35, 192), "mixed0": (35, 256),
        "mixed2": (35, 288), "mixed3": (17, 768), "mixed7": (17, 768), "mixed8": (8, 1280),
        "mixed10": (8, 2048),
    },
    "inception-v4": {
        "conv1": (149, 32), "conv2": (147, 32), "conv3": (147, 64), "stem1": (73, 160),
        "stem2": (71, 192), "stem3": (35, 384), "inception_a_4": (35, 384),
        "reduction_a": (17, 1024), "inception_b_7": (17, 1024), "reduction_b": (8, 1536),
        "inception_c_3": (8, 1536),
    },
    "inception-resnet-v1": {
        "conv6": (35, 256), "block_a_5": (35, 256), "reduction_a": (17, 896),
        "reduction_b": (8, 1792), "block_c_5": (8, 1792),
    },
    "inception-resnet-v2": {
        "pool3": (73, 64), "conv4": (73, 80), "pool5": (35, 192), "mixed_5b": (35, 320),
        "reduction_a": (17, 1088), "reduction_b": (8, 2080), "conv7": (8, 1536),
    },
    "inception-resnet-v2-drawn": {
        "stem3": (35, 384), "reduction_a": (17, 1152), "reduction_b": (8, 2144),
    },
}  # fmt: skip


SLOW = ("inception-resnet-v2", "inception-resnet-v2-drawn")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=large) if n in SLOW else n for n in END_POINTS]
)
def test_end_points(name):
    features = nets.features(name, init="zeros")
    for layer, (size, depth) in END_POINTS[name].items():
        assert features.get_layer(layer).output.shape[1:] == (size, size, depth), layer


@pytest.mark.parametrize("name", ["inception-v4", pytest.param("inception-resnet-v2", marks=large)])
def test_150_pixels_leave_3x3(name):
    features = nets.features(name, input_shape=(150, 150, 3), init="zeros")
    assert features.output_shape == (None, 3, 3, 1536)


# The released nets have no gamma, the ports to Caffe and PyTorch do: a gamma per statistic.
@pytest.mark.parametrize(("name", "ported"), [
    ("inception-v3", 23_834_568),
    ("inception-v3-aux", 27_161_264),
    pytest.param("inception-resnet-v2", 55_843_464, marks=large),
])  # fmt: skip
def test_ports_with_gamma_count_one_more_per_channel(name, ported):
    net = nets.info(name)
    assert net.params + (net.total - net.params) // 2 == ported
    model = nets.build(name, init="zeros")
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert sum(prod(layer.beta.shape) for layer in norms) == ported - net.params
    assert not any(layer.scale for layer in norms)


def test_bn_inception_on_the_231_pixels_of_the_prototxt():
    model = nets.build("bn-inception", input_shape=(231, 231, 3), init="zeros")
    assert _count.macs(model) == 2_197_132_672
    assert model.get_layer("conv1").output.shape == (None, 116, 116, 64)
    stem = model.get_layer("conv1")
    assert [tuple(w.shape) for w in stem.weights] == [(7, 7, 3, 8), (1, 1, 24, 64), (64,)]


def test_losses_of_auxiliary_heads_weigh_as_published():
    assert googlenet.AUXILIARY_WEIGHT == 0.3  # Szegedy et al. 2015, section 5
    assert inception.AUXILIARY_WEIGHT == 0.4  # slim, and torchvision's training reference


def test_auxiliary_head_of_v3():
    model = nets.build("inception-v3-aux", init="zeros")
    rows = {r["layer"]: r for r in nets.layer_table(model)}
    macs = [rows[f"aux_{name}"]["macs"] for name in ("conv1", "conv2", "fc")]
    assert macs == [2_457_600, 2_457_600, 768_000]
    assert rows["aux_conv2"]["output"] == (1, 1, 768)


def scaled(scale, activation, x):
    row = ScaledResidual(branches(Conv(3, 1)), scale, activation)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, row(inputs, "block", Options()))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    w1, b1, w2, b2 = (np.asarray(w) for w in model.get_weights())
    inner = np.maximum(x @ w1[0, 0] + b1, 0) @ w2[0, 0] + b2
    return np.asarray(model(x)), x + scale * inner


@pytest.mark.parametrize(("scale", "activation"), [(0.17, None), (1.0, "linear")])
def test_residuals_are_scaled_then_added_then_activated(scale, activation):
    x = np.random.default_rng(1).normal(size=(2, 3, 3, 4)).astype("float32")
    y, total = scaled(scale, activation, x)
    want = total if activation else np.maximum(total, 0)
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5)


def test_branches_keep_their_order_and_an_empty_chain_is_the_input():
    x = np.random.default_rng(1).normal(size=(1, 2, 2, 3)).astype("float32")
    inputs = keras.Input((2, 2, 3))
    row = Branches(((), (Conv(2, 1, activation="linear"),)))
    y = np.asarray(keras.Model(inputs, row(inputs, "mixed", Options(init="zeros")))(x))
    np.testing.assert_array_equal(y[..., :3], x)
    assert y.shape[-1] == 5 and not y[..., 3:].any()


def test_residual_blocks_refuse_maxout():
    with pytest.raises(TlkitError, match="Maxout halves the channels"):
        nets.build("inception-resnet-v1", activation="maxout", init="zeros")


def test_plain_inception_takes_maxout():
    shape = (107, 107, 3)
    features = nets.features("inception-v3", input_shape=shape, activation="maxout", init="zeros")
    assert features.output_shape[-1] == 2048
