"""GoogLeNet: module by module against the Caffe prototxt, the lecture's module, the heads."""

import keras
import numpy as np
import pytest

from tlkit import nets
from tlkit.nets import _count
from tlkit.nets._spec import Options
from tlkit.nets.googlenet import AUXILIARY_WEIGHT, Inception, NaiveInception

# Depth after the module, its parameters, its multiply-adds: BVLC deploy.prototxt.
MODULES = {
    "3a": (256, 163_696, 128_049_152),
    "3b": (480, 388_736, 304_267_264),
    "4a": (512, 376_176, 73_608_192),
    "4b": (512, 449_160, 87_908_352),
    "4c": (512, 510_104, 99_850_240),
    "4d": (528, 605_376, 118_515_712),
    "4e": (832, 868_352, 169_996_288),
    "5a": (832, 1_043_456, 51_079_168),
    "5b": (1024, 1_444_080, 70_697_984),
}


@pytest.fixture(scope="module")
def rows():
    return {row["layer"]: row for row in nets.layer_table("googlenet")}


@pytest.mark.parametrize("module", MODULES)
def test_modules(rows, module):
    inside = [row for name, row in rows.items() if name.startswith(f"inception_{module}_")]
    depths = [row["output"][-1] for row in inside if not row["layer"].endswith(("reduce", "_pool"))]
    found = sum(depths), sum(r["params"] for r in inside), sum(r["macs"] for r in inside)
    assert found == MODULES[module]


def test_map_sizes_need_ceil_mode(rows):
    sizes = {"conv1": 112, "pool1": 56, "conv2": 56, "pool2": 28, "pool3": 14, "pool4": 7}
    assert {name: rows[name]["output"][0] for name in sizes} == sizes


def module(row):
    inputs = keras.Input((28, 28, 256))
    return keras.Model(inputs, row(inputs, "module", Options(init="zeros")))


def test_the_lectures_module_on_28x28x256():
    naive = module(NaiveInception(n1x1=128, n3x3=192, n5x5=96))
    assert naive.output_shape == (None, 28, 28, 672)
    assert _count.macs(naive) == 854_196_224
    reduced = module(Inception(128, 64, 192, 64, 96, 64))
    assert reduced.output_shape == (None, 28, 28, 480)
    assert _count.macs(reduced) == 271_351_808  # not 358 million: that has the 3x3 branch twice


def test_naive_net_is_the_closed_form():
    # #1x1, #3x3, #5x5, map size of every module; each hands all of its input on besides.
    table = [
        (64, 128, 32, 28), (128, 192, 96, 28), (192, 208, 48, 14), (160, 224, 64, 14),
        (128, 256, 64, 14), (112, 288, 64, 14), (256, 320, 128, 14), (256, 320, 128, 7),
        (384, 384, 128, 7),
    ]  # fmt: skip
    depth, params, macs = 192, 9_472 + 4_160 + 110_784, 118_013_952 + 12_845_056 + 346_816_512
    for one, three, five, size in table:
        weights = depth * (one + 9 * three + 25 * five)
        params += weights + one + three + five
        macs += weights * size**2
        depth += one + three + five
    net = nets.info("googlenet-naive")
    assert (net.params, net.macs) == (params + 1001 * depth - depth + 1000, macs + 1000 * depth)


def test_auxiliary_heads():
    model = nets.build("googlenet-aux", init="zeros")
    assert [t.shape for t in model.outputs] == [(None, 1000)] * 3
    rows = nets.layer_table(model)
    heads = [sum(r["params"] for r in rows if r["layer"].startswith(f"aux{i}_")) for i in (1, 2)]
    assert heads == [3_188_840, 3_190_888]
    assert model.get_layer("aux1_pool").output.shape == (None, 4, 4, 512)
    assert model.get_layer("aux2_pool").output.shape == (None, 4, 4, 528)


def test_heads_train_with_their_weight_and_features_leave_them_out():
    shape = (112, 112, 3)
    model = nets.build("googlenet-aux", input_shape=shape, classes=2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    weights = [1.0, AUXILIARY_WEIGHT, AUXILIARY_WEIGHT]
    model.compile("sgd", loss=[loss] * 3, loss_weights=weights)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    labels = np.array([0, 1])
    parts = [float(loss(labels, y)) for y in model(images, training=False)]
    total = model.evaluate(images, [labels] * 3, verbose=0, return_dict=True)["loss"]
    assert total == pytest.approx(parts[0] + 0.3 * parts[1] + 0.3 * parts[2], rel=1e-4)
    features = nets.features("googlenet-aux", input_shape=shape, init="zeros")
    assert not any(layer.name.startswith("aux") for layer in features.layers)


def test_lrn_has_caffes_constants():
    layer = nets.features("googlenet", init="zeros").get_layer("norm1")
    squares = np.full((1, 1, 1, 9), 100.0, "float32")
    y = np.asarray(layer(squares))[0, 0, 0]
    inner = 100 / (1 + 1e-4 / 5 * 5 * 100**2) ** 0.75
    edge = 100 / (1 + 1e-4 / 5 * 3 * 100**2) ** 0.75
    np.testing.assert_allclose(y[[0, 4, 8]], [edge, inner, edge], rtol=1e-5)
