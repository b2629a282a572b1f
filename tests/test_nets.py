"""Every net of tlkit.nets against its published numbers, and what all nets promise.

Tests take their nets from `names()`, so that a new family is tested by existing.
"""

import importlib
import json
import textwrap
from math import prod

import keras
import numpy as np
import pytest

from tests import published
from tlkit import nets
from tlkit.errors import TlkitError
from tlkit.nets import count, spec

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

# Keras needs seconds to trace these, or they are gigabytes; their small siblings run by default.
DEEP = (
    "-1202", "-190-", "-250-", "-100-", "-44", "-56", "wrn-40", "-110", "-169", "-101", "-152",
    "-161", "-201", "nasnet", "amoebanet", "inception-v4", "inception-resnet", "overfeat",
    "deepface", "zfnet-wide", "vgg-e", "vgg-c",
)  # fmt: skip
ALL = nets.names()


def by_cost(names, most=10**9):
    """Marks `large` the nets that are slow to trace or have more weights than `most`."""
    slow = {
        n for n in names if any(part in n for part in DEEP) or (nets.info(n).params or 0) > most
    }
    return [pytest.param(n, marks=pytest.mark.large) if n in slow else n for n in names]


def families():
    """Returns the net of fewest multiply-adds of each family."""
    return sorted(
        min(family, key=lambda n: nets.info(n).macs) for family in nets.families().values()
    )


each_family = pytest.mark.parametrize("name", by_cost(families(), most=10_000_000))


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


# --- the published numbers ---


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


def sources(model):
    """Returns {operation: names of the operations it reads}, in order."""
    made_by, reads = {}, {}
    for op in model.operations:
        inputs = [] if isinstance(op, keras.layers.InputLayer) else keras.tree.flatten(op.input)
        reads[op.name] = [made_by[id(tensor)] for tensor in inputs]
        made_by.update({id(tensor): op.name for tensor in keras.tree.flatten(op.output)})
    return reads


def ancestors(reads, tensor):
    """Returns the names of the operations that `tensor` depends on, its own included."""
    found, todo = set(), [tensor._keras_history.operation.name]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo.extend(reads[current])
    return found


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
    assert net.pixels in spec.PIXELS
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
        name: count.layer_connections(model.get_layer(name))
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
    assert count.dense_weights(128 * 128 * 3, 16 * 16 * 36, 10) == 453_076_992


def test_the_lectures_slide_of_vgg():
    rows = {row["layer"]: row for row in nets.layer_table("vgg-d")}
    assert sum(row["bytes"] for row in rows.values()) == 4 * 15_237_608
    assert rows["conv1_2"]["macs"] == 224 * 224 * 64 * 9 * 64
    assert rows["fc6"]["params"] == 102_764_544
    assert sum(row["macs"] for row in rows.values()) == 15_470_264_320


def test_the_table_is_published_numbers_and_json():
    rows = {row["name"]: row for row in json.loads(json.dumps(nets.table()))}
    assert sorted(rows) == nets.names()
    vgg = rows["vgg-d-bn"]
    assert (vgg["params"], vgg["trainable_params"]) == (138_374_440, 138_365_992)
    assert set(vgg) == {
        "name", "year", "input", "params", "trainable_params", "macs", "activation_bytes",
        "error", "source",
    }  # fmt: skip


# --- what all families promise ---


@each_family
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (4, 17)])
def test_other_channels_and_classes(name, channels, classes):
    shape = (*nets.info(name).input_shape[:2], channels)
    model = nets.build(name, input_shape=shape, classes=classes, init="zeros")
    assert model.input_shape == (None, *shape)
    assert {t.shape[-1] for t in keras.tree.flatten(model.output)} == {classes}


@each_family
def test_features_are_the_first_part_of_the_net(name):
    features, model = nets.features(name, init="zeros"), nets.build(name, init="zeros")
    assert features.operations[-1].name == nets.stages(name)[-1][1]
    inside = ancestors(sources(model), model.get_layer(nets.stages(name)[-1][1]).output)
    assert {op.name for op in features.operations} == inside
    for layer in features.layers:
        twin = model.get_layer(layer.name)
        assert [w.shape for w in layer.weights] == [w.shape for w in twin.weights], layer.name


@each_family
def test_saved_net_is_the_same(name, tmp_path):
    model = nets.build(name)
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras", safe_mode=True)
    x = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")
    for ours, theirs in zip(
        keras.tree.flatten(model(x)), keras.tree.flatten(loaded(x)), strict=True
    ):
        np.testing.assert_array_equal(theirs, ours)


def train(name, **choices):
    """Returns (first loss, mean of the last three, model) of a few steps on one batch."""
    model = nets.build(name, classes=3, **choices)
    model = keras.Model(model.input, keras.tree.flatten(model.output)[0])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, *model.input_shape[1:])).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # its noise would hide the trend of ten steps
    rate = 1e-3 if (nets.info(name).params or 0) < 15_000_000 else 1e-5
    model.compile(keras.optimizers.Adam(rate), loss)
    losses = model.fit(x, np.arange(6) % 3, batch_size=6, epochs=10, verbose=0).history["loss"]
    return losses[0], np.mean(losses[-3:]), model


def quick_to_train(name):
    """True for small images and few layers: most of the time of a step goes into tracing it."""
    net = nets.info(name)
    return prod(net.input_shape[:2]) <= 40 * 40 and not name.startswith(("densenet", "wrn"))


TRAINED = [
    name if quick_to_train(name) else pytest.param(name, marks=pytest.mark.large)
    for name in families()
]


@pytest.mark.parametrize("name", TRAINED)
def test_a_few_steps_lower_the_loss(name):
    before, after, _ = train(name)
    assert np.isfinite(after)
    assert after < before


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group", "weight", "none"])
def test_every_normalization_trains(norm):
    before, after, model = train("illing", norm=norm)
    assert after < before
    kinds = {
        "batch": keras.layers.BatchNormalization,
        "layer": keras.layers.GroupNormalization,
        "instance": keras.layers.GroupNormalization,
        "group": keras.layers.GroupNormalization,
    }
    assert ("conv1_norm" in [layer.name for layer in model.layers]) == (norm in kinds)
    if norm in kinds:
        assert isinstance(model.get_layer("conv1_norm"), kinds[norm])


@pytest.mark.parametrize("activation", spec.ACTIVATIONS)
def test_every_activation_trains(activation):
    before, after, model = train("illing", activation=activation)
    assert after < before
    x = np.linspace(-2, 2, 8, dtype="float32").reshape(1, 1, 1, 8)
    formulas = {
        "relu": np.maximum(x, 0),
        "leaky": np.where(x > 0, x, 0.1 * x),
        "elu": np.where(x > 0, x, np.expm1(x)),
        "tanh": np.tanh(x),
        "scaled-tanh": 1.7159 * np.tanh(2 / 3 * x),
        "sigmoid": 1 / (1 + np.exp(-x)),
        "maxout": x[..., 1::2],
    }
    y = model.get_layer("conv1_act")(x)
    np.testing.assert_allclose(y, formulas[activation], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("init", "spread"),
    [("he", (2 / 288) ** 0.5), ("glorot", (2 / (288 + 576)) ** 0.5), ("zeros", 0)],
)
def test_initialisation(init, spread):
    kernel = nets.build("illing", init=init).get_layer("conv3").kernel.numpy()
    assert kernel.std() == pytest.approx(spread, rel=0.02)


def test_historic_initialisation_is_the_familys():
    kernel = (
        nets.features("alexnet", input_shape=(80, 80, 3), init="historic").get_layer("conv3").kernel
    )
    assert kernel.numpy().std() == pytest.approx(0.01, rel=0.02)
    kernel = nets.build("lenet-5", init="historic").get_layer("c5").kernel.numpy()
    assert np.abs(kernel).max() <= 2.4 / 400
    assert kernel.std() == pytest.approx(2.4 / 400 / 3**0.5, rel=0.02)


def test_batch_normalization_replaces_the_bias_and_weight_keeps_it():
    biased = {
        n: nets.build("illing", norm=n).get_layer("conv1").weights
        for n in ("batch", "none", "weight")
    }
    assert [len(weights) for weights in biased.values()] == [1, 2, 3]


# --- refusals ---


def test_unknown_names_are_met_with_near_ones():
    with pytest.raises(TlkitError, match="'vgg-d'"):
        nets.build("vgg-dd")


def test_no_classes_is_not_the_default_number():
    with pytest.raises(TlkitError, match="without top"):
        nets.build("linear", classes=0)


@pytest.mark.parametrize("choice", ["norm", "activation", "init"])
def test_unknown_choices_are_named(choice):
    with pytest.raises(TlkitError, match=r"Unknown .* 'batsch'"):
        nets.build("illing", **{choice: "batsch"})


@pytest.mark.parametrize(("name", "shape"), [
    ("vgg-a", (16, 16, 3)), ("lenet-5", (20, 20, 1)), ("alexnet", (40, 40, 3)),
    ("deepface", (50, 50, 3)),
])  # fmt: skip
def test_too_small_an_input_names_the_layer_that_refuses(name, shape):
    with pytest.raises(
        TlkitError, match=rf"'{name}' cannot take input .*its layer '.*larger input_shape"
    ):
        nets.build(name, input_shape=shape, init="zeros")


def test_dense_layers_need_a_known_size_and_convolutions_do_not():
    with pytest.raises(TlkitError, match="fixed height and width"):
        nets.build("vgg-a", input_shape=(None, None, 3), init="zeros")
    assert nets.features("vgg-a", input_shape=(None, None, 3), init="zeros").output_shape[1] is None
    assert nets.build("all-cnn-c", input_shape=(None, None, 3)).output_shape == (None, 10)


def test_instance_normalization_of_one_value_is_refused():
    with pytest.raises(TlkitError, match="one value"):
        nets.build("lenet-5", norm="instance")


@pytest.mark.parametrize("choice", [{"activation": "maxout"}, {"norm": "weight"}])
def test_the_wiring_table_of_lenet_5_refuses_what_it_cannot_do(choice):
    with pytest.raises(TlkitError, match="Choose another"):
        nets.build("lenet-5", **choice)


# --- a family is a file ---

FAMILY = """
from tlkit.nets.rows import Conv, GlobalAvgPool, MaxPool, logits
from tlkit.nets.spec import Net

def features(variant):
    yield "conv1", Conv(4, 3)
    yield "pool1", MaxPool(2)

def top(variant, classes):
    yield "pool", GlobalAvgPool()
    yield "logits", logits(classes)

NETS = {"novel": Net(variant="", year=2026, source="this test", oracle="by hand: 112 + 4 x 5 + 5",
                     params=137, macs=None, input_shape=(8, 8, 3), classes=5,
                     stages=(("one", "pool1"),))}
"""


def test_a_new_file_is_a_new_family_and_its_removal_the_end_of_it(tmp_path, monkeypatch):
    file = tmp_path / "novel_family.py"
    file.write_text(textwrap.dedent(FAMILY))
    before = nets.names()
    monkeypatch.setattr(nets, "__path__", [*nets.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    assert nets.names() == sorted([*before, "novel"])
    assert nets.build("novel").count_params() == nets.info("novel").params
    assert {row["name"]: row["params"] for row in nets.table()}["novel"] == 137
    file.unlink()
    importlib.invalidate_caches()
    assert nets.names() == before
