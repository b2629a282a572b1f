"""Records of the classic nets, and what papers print of single layers."""

import json
from math import prod

import pytest

from tests import published
from tlkit import nets
from tlkit.nets import _count, _spec

# Closed forms for the nets whose `oracle` says "by hand": (trainable, multiply-adds).
CONVS_3X3 = (9 * 32 + 32) + (9 * 32 * 64 + 64) + (9 * 64 * 128 + 128)
MLP = (784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10, 784 * 512 + 512 * 512 + 512 * 10)
LENET_5 = 28**2 * 6 * 25 + 10**2 * 60 * 25 + 120 * 16 * 25 + 120 * 84
MAXPOOL = (
    (25 * 3 * 96 + 96) + (25 * 96 * 128 + 128) + (25 * 128 * 256 + 256)
    + (4**2 * 256 * 2048 + 2048) + (2048 * 2048 + 2048) + (2048 * 10 + 10),
    32**2 * 25 * 3 * 96 + 16**2 * 25 * 96 * 128 + 8**2 * 25 * 128 * 256
    + 4**2 * 256 * 2048 + 2048 * 2048 + 2048 * 10,
)  # fmt: skip
HAND = {
    "linear": (784 * 10 + 10, 784 * 10),
    "mlp": MLP,
    "mlp-dropout": MLP,
    "lenet-1": (4 * 26 + 12 * 101 + 192 * 10 + 10, 24**2 * 4 * 25 + 8**2 * 12 * 100 + 192 * 10),
    "lenet-1989": (9_760, 64_660 - 768 - 192 - 30 - 10),
    "lenet-5": (60_000, LENET_5),
    "lenet-5-dense": (60_000 + 84 * 10 + 10, LENET_5 + 84 * 10),
    "illing": (CONVS_3X3 + 5130, 19**2 * 288 + 8**2 * 18_432 + 3**2 * 73_728 + 5120),
    "illing-pool2": (
        CONVS_3X3 + 1152 * 10 + 10,
        38**2 * 288 + 17**2 * 18_432 + 6**2 * 73_728 + 1152 * 10,
    ),
    "maxpool": MAXPOOL,
    "maxpool-dropout-dense": MAXPOOL,
    "maxpool-dropout": MAXPOOL,
}  # fmt: skip

ALL = nets.names()


def test_every_net_has_a_drawing_and_a_record():
    assert sorted(published.NETS) == ALL
    assert [row["name"] for row in nets.table()] == ALL
    assert sorted(name for family in nets.families().values() for name in family) == ALL
    assert nets.families()["zfnet"] == ["zfnet", "zfnet-wide"]


# What each net expects of its pixels: how its released weights, or its authors, were fed.
PIXELS = {
    "caffe": "alexnet alexnet-grouped caffenet zfnet zfnet-wide googlenet googlenet-aux "
    "googlenet-naive squeezenet-1.0 squeezenet-1.1 vgg-a vgg-a-lrn vgg-b vgg-c vgg-d vgg-e "
    "resnet-50-keras resnet-101-keras resnet-152-keras",
    "tf": "lenet-1989 lenet-1 lenet-5 lenet-5-dense bn-inception inception-v3 inception-v3-aux "
    "inception-v4 inception-resnet-v1 inception-resnet-v2 inception-resnet-v2-drawn mobilenet-v1 "
    "mobilenet-v2 nasnet-mobile nasnet-large amoebanet-a resnet-50-v2 resnet-101-v2 resnet-152-v2",
    "unit": "linear mlp mlp-dropout lenet-5-modern lenet-caffe deepface illing illing-pool2",
}
# How weights start unless told otherwise ("he"), and what "historic" means (nothing of its own).
STARTS = {
    "glorot": "googlenet googlenet-aux googlenet-naive squeezenet-1.0 squeezenet-1.1 "
    "vgg-a vgg-a-lrn vgg-b vgg-c vgg-d vgg-e",
    "historic": "lenet-1989 lenet-1 lenet-5 lenet-5-dense",
}
HISTORIC = {
    "lecun-2.4": "lenet-1989 lenet-1 lenet-5 lenet-5-dense lenet-5-modern lenet-caffe",
    "gauss-0.01": "alexnet alexnet-grouped caffenet alexnet-torchvision zfnet zfnet-wide "
    "overfeat-fast overfeat-fast-slim overfeat-accurate nin deepface maxpool maxpool-dropout "
    "maxpool-dropout-dense vgg-a vgg-a-lrn vgg-b vgg-c vgg-d vgg-e vgg-a-bn vgg-d-bn vgg-e-bn",
}


@pytest.mark.parametrize("name", ALL)
def test_pixels_and_first_weights(name):
    def kind(table, usual):
        return next((kind for kind, listed in table.items() if name in listed.split()), usual)

    net = nets.info(name)
    assert net.pixels == kind(PIXELS, "torch")
    assert net.options.init == kind(STARTS, "he")
    assert net.options.historic == kind(HISTORIC, "he")


@pytest.mark.parametrize("name", ALL)
def test_numbers_counted_by_hand_are_closed_forms(name):
    net = nets.info(name)
    assert ("by hand" in net.oracle) == (name in HAND)
    if name in HAND:
        assert (net.params, net.macs) == HAND[name]


@pytest.mark.parametrize("name", ALL)
def test_records_are_complete(name):
    net = nets.info(name)
    assert 1950 < net.year < 2030
    assert net.source and net.oracle and net.stages
    assert net.pixels in _spec.PIXELS
    assert net.options == net.options.choose(None, None, None)
    assert len({stage for stage, _ in net.stages}) == len(net.stages)


# Layer outputs printed in the papers or in the lectures' tables.
SHAPES = {
    "lenet-5": {"c1": (28, 28, 6), "s2": (14, 14, 6), "c3": (10, 10, 16), "s4": (5, 5, 16),
                "c5": (1, 1, 120)},
    "lenet-1989": {"h1": (8, 8, 12), "h2": (4, 4, 12), "h3": (30,)},
    "lenet-1": {"h1": (24, 24, 4), "h2": (12, 12, 4), "h3": (8, 8, 12), "h4": (4, 4, 12)},
    "alexnet-grouped": {"conv1": (55, 55, 96), "pool1": (27, 27, 96), "conv2": (27, 27, 256),
                        "pool2": (13, 13, 256), "conv3": (13, 13, 384), "pool5": (6, 6, 256)},
    "zfnet": {"conv1": (110, 110, 96), "pool1": (55, 55, 96), "conv2": (26, 26, 256),
              "pool2": (13, 13, 256), "pool5": (6, 6, 256)},
    "vgg-d": {"pool1": (112, 112, 64), "pool2": (56, 56, 128), "pool3": (28, 28, 256),
              "pool4": (14, 14, 512), "pool5": (7, 7, 512)},
    "deepface": {"c1": (142, 142, 32), "m2": (71, 71, 32), "c3": (63, 63, 16), "l4": (55, 55, 16),
                 "l5": (25, 25, 16), "l6": (21, 21, 16)},
    "illing": {"conv1": (19, 19, 32), "pool2": (18, 18, 32), "conv3": (8, 8, 64),
               "pool4": (7, 7, 64), "conv5": (3, 3, 128), "pool6": (2, 2, 128)},
    "all-cnn-c": {"conv3": (16, 16, 96), "conv6": (8, 8, 192), "conv9": (8, 8, 10)},
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_layer_outputs(name):
    rows = {row["layer"]: row["output"] for row in nets.layer_table(name)}
    assert {layer: rows[layer] for layer in SHAPES[name]} == SHAPES[name]


# Trainable weights per layer, as the papers give them.
WEIGHTS = {
    "lenet-1989": {"h1": 300, "h1_bias": 768, "h2": 2_400, "h2_bias": 192, "h3": 5_790, "out": 310},
    "lenet-5": {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164},
    "alexnet-grouped": {"conv1": 34_944, "conv2": 307_456, "conv3": 885_120, "conv4": 663_936,
                        "conv5": 442_624, "fc6": 37_752_832, "fc7": 16_781_312, "fc8": 4_097_000},
    "deepface": {"c1": 11_648, "c3": 41_488, "l4": 62_774_800, "l5": 7_850_000, "l6": 2_829_456,
                 "f7": 28_905_472, "f8": 16_510_910},
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_of_each_layer(name):
    rows = {row["layer"]: row["params"] for row in nets.layer_table(name)}
    assert {layer: rows[layer] for layer in WEIGHTS[name]} == WEIGHTS[name]


def test_connections_of_each_layer_as_lecun_counts_them():
    model = nets.build("lenet-5")
    found = {
        name: _count.layer_connections(model.get_layer(name))
        for name in ("c1", "s2", "c3", "s4", "rbf")
    }
    assert found == {"c1": 122_304, "s2": 5_880, "c3": 151_600, "s4": 2_000, "rbf": 840}
    model = nets.build("lenet-1989")
    units = 256 + sum(
        prod(model.get_layer(name).output.shape[1:]) for name in ("h1", "h2", "h3", "out")
    )
    assert units == 1256


def test_receptive_fields():
    def last(name, layer):
        row = {row["layer"]: row for row in nets.layer_table(name)}[layer]
        return row["receptive_field"], row["stride"]

    assert last("vgg-d", "pool5") == (212, 32)
    assert last("alexnet", "pool5") == (195, 32)
    assert last("illing", "pool6") == (29, 8)
    assert last("vgg-d", "fc6") == (None, None)


def test_dense_calculator():
    # 128 x 128 x 3 pixels, 16 x 16 cells of 36 gradients, 10 classes: the first lecture's example
    assert _count.dense_weights(128 * 128 * 3, 16 * 16 * 36, 10) == 453_076_992


def test_the_lectures_slide_of_vgg():
    rows = {row["layer"]: row for row in nets.layer_table("vgg-d")}
    assert sum(row["bytes"] for row in rows.values()) == 4 * 15_237_608
    assert rows["conv1_2"]["macs"] == 224 * 224 * 64 * 9 * 64
    assert rows["fc6"]["params"] == 102_764_544
    assert sum(row["macs"] for row in rows.values()) == 15_470_264_320


def test_the_table_is_published_numbers_and_json():
    rows = {row["name"]: row for row in json.loads(json.dumps(nets.table()))}
    assert sorted(rows) == nets.names()
    assert rows["vgg-d-bn"] == {
        "name": "vgg-d-bn", "year": 2014, "input": [224, 224, 3], "params": 138_374_440,
        "trainable_params": 138_365_992, "macs": 15_470_264_320, "activation_bytes": 60_950_432,
        "error": None, "source": "Simonyan and Zisserman 2015, Table 1",
    }  # fmt: skip
    assert rows["squeezenet-1.0"]["params"] == rows["squeezenet-1.0"]["trainable_params"]
    assert rows["squeezenet-1.0"]["error"].startswith("42.5 / 19.7 %")
