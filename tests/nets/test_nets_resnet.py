"""Residual nets: closed forms, shortcuts against plain numpy, where the strides are."""

import sys

import keras
import numpy as np
import pytest

from tlkit import nets
from tlkit.errors import TlkitError
from tlkit.layers.channels import PadChannels
from tlkit.nets._depth import deep_graphs
from tlkit.nets._spec import Options
from tlkit.nets.resnet import Basic

OLD = {"20": 3, "32": 5, "44": 7, "56": 9, "110": 18, "1202": 200}


@pytest.mark.parametrize("depth", OLD)
def test_cifar_nets_are_the_closed_form(depth):
    n, widths = OLD[depth], (16, 32, 64)
    assert 6 * n + 2 == int(depth)
    entries = 16 * 16 + 16 * 32 + 32 * 64
    convs = 27 * 16 + 9 * (entries + sum(w * w * (2 * n - 1) for w in widths))
    channels = 16 + 2 * n * sum(widths)
    net = nets.info(f"resnet-{depth}")
    assert net.params == convs + 2 * channels + 650
    assert net.total == net.params + 2 * channels
    if depth != "1202":
        projected, plain = nets.info(f"resnet-{depth}-b"), nets.info(f"plain-{depth}")
        assert (plain.params, plain.total, plain.macs) == (net.params, net.total, net.macs)
        assert projected.params - net.params == 16 * 32 + 32 * 64 + 2 * 96
        assert projected.macs - net.macs == 16 * 32 * 16**2 + 32 * 64 * 8**2


@pytest.mark.parametrize(("name", "n", "k"), [
    ("wrn-16-4", 2, 4), ("wrn-28-4", 4, 4), ("wrn-28-10", 4, 10), ("wrn-40-4", 6, 4),
])  # fmt: skip
def test_wide_nets_are_the_closed_form(name, n, k):
    params, macs, before, area = 27 * 16, 27 * 16 * 32**2, 16, 32**2
    for width, area in ((16 * k, 32**2), (32 * k, 16**2), (64 * k, 8**2)):
        group = 10 * before * width + 9 * (2 * n - 1) * width**2  # 3x3 and 1x1 from `before`
        params, macs, before = params + group, macs + group * area, width
    channels = 16 + 2 * n * 112 * k
    net = nets.info(name)
    assert net.params == params + 2 * channels + 640 * k + 10
    assert net.total == net.params + 2 * channels
    assert net.macs == macs + 640 * k


def test_option_c_projects_every_shortcut():
    every = ((3, 64, 56), (3, 128, 28), (5, 256, 14), (2, 512, 7))  # blocks, channels, map
    b, c = nets.info("resnet-34"), nets.info("resnet-34-c")
    weights = sum(count * depth * (depth + 2) for count, depth, _ in every)
    assert c.params - b.params == weights
    assert c.total - b.total == weights + sum(2 * count * depth for count, depth, _ in every)
    assert c.macs - b.macs == sum(count * depth**2 * size**2 for count, depth, size in every)


@pytest.mark.parametrize(("name", "projected"), [
    ("plain-34", ()),
    ("resnet-34-a", ()),
    ("resnet-34", ("3_1", "4_1", "5_1")),
    ("resnet-50", ("2_1", "3_1", "4_1", "5_1")),
])  # fmt: skip
def test_which_blocks_project(name, projected):
    model = nets.features(name, input_shape=(64, 64, 3), init="zeros")
    found = {x.name for x in model.layers if x.name.endswith("_shortcut")}
    assert found == {f"conv{block}_shortcut" for block in projected}
    assert any(isinstance(x, keras.layers.Add) for x in model.layers) == name.startswith("resnet")


def block(shortcut, stride, channels):
    inputs = keras.Input((5, 6, 4))
    row = Basic(channels, stride, shortcut)
    return keras.Model(inputs, row(inputs, "block", Options(init="zeros")))


def test_option_a_takes_every_other_pixel_and_adds_channels_of_zeros():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype("float32")
    y = np.asarray(block("A", 2, 8)(x))  # the convolutions are zero: what is left is the shortcut
    np.testing.assert_array_equal(y[..., :4], np.maximum(x[:, ::2, ::2], 0))
    assert y.shape == (2, 3, 3, 8) and not y[..., 4:].any()


def test_identity_and_plain():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype("float32")
    np.testing.assert_array_equal(block("B", 1, 4)(x), np.maximum(x, 0))
    assert not np.asarray(block("plain", 1, 4)(x)).any()


def test_projection_reads_every_other_pixel():
    model = block("B", 2, 8)
    kernel = np.random.default_rng(1).normal(size=(1, 1, 4, 8)).astype("float32")
    model.get_layer("block_shortcut").kernel.assign(kernel)
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype("float32")
    want = np.maximum(x[:, ::2, ::2] @ kernel[0, 0], 0)
    np.testing.assert_allclose(model(x), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "place", "field"), [
    ("resnet-50", 1, 483), ("resnet-50-v1.5", 2, 427),
])  # fmt: skip
def test_strides_and_receptive_fields(name, place, field):
    model = nets.features(name, init="zeros")
    convs = [x for x in model.layers if "_1_" in x.name and "shortcut" not in x.name]
    strided = [x.name for x in convs if getattr(x, "strides", 1) == (2, 2)]
    assert strided == [f"conv{group}_1_{place}" for group in (3, 4, 5)]
    fields = {row["layer"]: row["receptive_field"] for row in nets.layer_table(model)}
    assert fields["conv5_3_2"] == field


def test_v2_halves_in_the_last_block_of_a_group():
    model = nets.features("resnet-50-v2", init="zeros")
    ends = ("conv2_2", "conv2_3", "conv3_4", "conv4_6", "conv5_3")
    assert [model.get_layer(name).output.shape[1] for name in ends] == [56, 28, 14, 7, 7]


def test_maxout_is_refused_where_sums_are_and_taken_by_plain_nets():
    with pytest.raises(TlkitError, match="Maxout halves the channels"):
        nets.build("resnet-20", activation="maxout")
    plain = nets.features("plain-20", activation="maxout", init="zeros")
    assert plain.output_shape == (None, 8, 8, 64)


def test_pad_channels_only_adds(tmp_path):
    with pytest.raises(ValueError, match="cannot go from 8 channels down to 4"):
        PadChannels(4)(np.zeros((1, 2, 2, 8), "float32"))
    model = keras.Sequential([keras.Input((None, None, 2)), PadChannels(5)])
    assert model.output_shape == (None, None, None, 5)
    model.save(tmp_path / "net.keras")
    x = np.ones((1, 3, 3, 2), "float32")
    loaded = keras.saving.load_model(tmp_path / "net.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_plain_and_residual_take_each_others_weights():
    plain, residual = (nets.build(name) for name in ("plain-20", "resnet-20"))
    residual.set_weights(plain.get_weights())
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    assert np.abs(np.asarray(plain(x)) - np.asarray(residual(x))).max() > 1e-3


def test_depth_leaves_the_limit_of_python_alone():
    before = sys.getrecursionlimit()
    with deep_graphs():
        assert sys.getrecursionlimit() >= 40_000
    assert sys.getrecursionlimit() == before


@pytest.mark.large
def test_1202_layers_build_and_load(tmp_path):
    model = nets.build("resnet-1202", init="zeros")
    assert sum(isinstance(x, keras.layers.Conv2D) for x in model.layers) == 1201
    model.save(tmp_path / "net.keras")
    with deep_graphs():
        loaded = keras.saving.load_model(tmp_path / "net.keras", safe_mode=True)
    assert loaded.count_params() == nets.info("resnet-1202").total
