"""Stages of a backbone, and the classic nets of tlkit.nets as backbones."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.backbone_helpers import pixels, run, scramble
from tlkit.backbones import backbone, loading
from tlkit.backbones.table import TABLE
from tlkit.errors import TlkitError


@pytest.fixture(scope="module")
def narrow():
    return loading.load("mobilenet_v2_0.35", size=32, weights="none")


def test_where_freezing_ends(narrow):
    assert backbone.frozen_until(narrow, "stage1") is None
    assert backbone.frozen_until(narrow, "stage2") == "expanded_conv_project_BN"
    assert backbone.frozen_until(narrow, "stage5") == "block_12_add"
    assert backbone.frozen_until(narrow, "block_13_expand") == "block_12_add"
    assert backbone.frozen_until(narrow, "Conv_1") == "block_16_project_BN"
    with pytest.raises(TlkitError, match=r"Unknown stage .* 'block_13_expand_BN'.*block_13_expand"):
        backbone.frozen_until(narrow, "block_13_expand_BN")


def test_replaced_stages_are_new_and_others_bit_equal(narrow):
    scramble(narrow.net)
    before = {v.path: v.numpy() for v in narrow.net.weights}
    backbone.reinitialise(narrow, ["stage4", "stage5"], seed=1)
    layers = backbone.stage_layers(narrow)
    new = {
        v.path for stage in ("stage4", "stage5") for layer in layers[stage] for v in layer.weights
    }
    assert 0 < len(new) < len(before)
    for variable in narrow.net.weights:
        changed = not np.array_equal(variable.numpy(), before[variable.path])
        assert changed == (variable.path in new), variable.path
    with pytest.raises(TlkitError, match=r"Unknown stage of mobilenet_v2_0\.35 'stage6'"):
        backbone.reinitialise(narrow, ["stage6"])


def test_replaced_stages_depend_on_the_seed(narrow):
    def replaced(seed):
        backbone.reinitialise(narrow, ["stage5"], seed=seed)
        return narrow.net.get_layer("Conv_1").kernel.numpy()

    first, second, again = replaced(1), replaced(2), replaced(1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, again)


def test_each_stage_holds_its_own_layers(narrow):
    held = {name: [x.name for x in found] for name, found in backbone.stage_layers(narrow).items()}
    assert list(held) == [stage.name for stage in narrow.stages]
    ends = {"stage1": "expanded_conv_project_BN", "stage2": "block_2_project_BN",
            "stage3": "block_5_project_BN", "stage4": "block_12_project_BN",
            "stage5": "Conv_1_bn"}  # fmt: skip
    assert {name: layers[-1] for name, layers in held.items()} == ends
    assert held["stage2"][0] == "block_1_expand" and held["stage5"][0] == "block_13_expand"


def test_the_size_is_that_of_the_paper_unless_given(monkeypatch):
    row = dataclasses.replace(TABLE["mobilenet_0.25"], size=64)
    monkeypatch.setitem(TABLE, "mobilenet_0.25", row)
    b = loading.load("mobilenet_0.25", weights="none")
    assert (b.size, b.net.input_shape) == (64, (None, 64, 64, 3))


# Networks of tlkit.nets


def test_classic_nets_are_backbones_too():
    b = loading.load("illing", channels=1, weights="none", seed=3)
    assert (b.name, b.size, b.channels) == ("illing", 40, 1)
    assert b.net.input_shape == (None, 40, 40, 1)
    assert b.stages == (
        backbone.Stage("conv1", "pool2"),
        backbone.Stage("conv3", "pool4"),
        backbone.Stage("conv5", "flatten"),
    )
    np.testing.assert_allclose(b.preprocess(pixels(40, 1)), pixels(40, 1) / 255, rtol=1e-6)
    assert list(backbone.stage_layers(b)) == ["conv1", "conv3", "conv5"]
    assert b.weights.startswith("random, seed 3, ")
    other = loading.load("illing", channels=1, weights="none", seed=4)
    assert other.weights.split(", ")[-1] != b.weights.split(", ")[-1]


def test_classic_nets_take_the_size_and_channels_they_are_given():
    b = loading.load("lenet-caffe", size=32, channels=4, weights="none")
    assert (b.size, b.channels, b.net.input_shape) == (32, 4, (None, 32, 32, 4))
    assert b.preprocess.kind == "unit" and "inflated" not in b.weights


def test_an_exact_name_of_a_classic_net_is_that_net():
    """In another spelling it would be the pretrained one."""
    b = loading.load("mobilenet-v1", size=32, weights="none")
    assert (b.name, b.stages[0].boundary) == ("mobilenet-v1", "block1_act")


def test_classic_nets_take_files_of_three_channels_for_gray_pictures(tmp_path):
    colour = loading.load("illing", weights="none")
    assert colour.net.input_shape == (None, 40, 40, 3)
    colour.net.save_weights(tmp_path / "w.weights.h5")
    gray = loading.load("illing", channels=1, weights=str(tmp_path / "w.weights.h5"))
    assert gray.weights.endswith(", inflated to 1 channels")
    x = pixels(40, 1)
    found, expected = (np.asarray(run(*of)) for of in ((gray, x), (colour, np.repeat(x, 3, -1))))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0


def test_four_random_channels_are_not_inflated():
    b = loading.load("illing", channels=4, weights=None)
    assert b.weights.startswith("random, seed 0, ") and "inflated" not in b.weights


def test_names_of_operations_do_not_depend_on_what_was_built_before():
    first = loading.load("illing", weights="none").net
    keras.layers.Dense(1)
    second = loading.load("illing", weights="none").net
    assert [op.name for op in first.operations] == [op.name for op in second.operations]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet-50", r" The pretrained one is 'resnet50'\."), ("illing", "")],
)
def test_classic_nets_have_no_imagenet_weights(name, hint):
    with pytest.raises(TlkitError, match=rf"without ImageNet weights\.{hint} Use --weights FILE"):
        loading.load(name)
