"""A classifier is its parts in order, can be cut anywhere, saved, loaded and taken over."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests import plain_net
from tests.conftest import tiny_backbone
from tests.steps import NAMES
from tlkit.errors import TlkitError
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.extractor import Extractor
from tlkit.models.heads import Head

ROWS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
INSIDE = ("stage1", "stage2", "stage3")


@pytest.fixture
def model():
    """With a hidden layer, so that nothing depends on the head being one product."""
    return Classifier(tiny_backbone(), NAMES, head=Head("mlp", init="scaled"))


def test_logits_are_the_plain_nets_whatever_the_batch():
    model = Classifier(tiny_backbone(), NAMES, head=Head(dropout=0.9, init="scaled"))
    x = plain_net.preprocessed(ROWS)
    expected = plain_net.logits(plain_net.values(model), x)
    for batch in (2, 64):
        np.testing.assert_allclose(model.logits(ROWS, batch), expected, atol=1e-5)
    assert model.logits(ROWS[:0]).shape == (0, 3)


def test_every_boundary_is_the_plain_nets(model):
    v, x = plain_net.values(model), plain_net.preprocessed(ROWS)
    expected = []
    for i in (1, 2, 3):
        x = plain_net.stage(v, x, i)
        expected.append(x.numpy())
    expected.append(expected[-1].mean((1, 2)))
    found = model.segment("pixels", *INSIDE, "pooled")(ROWS.astype(np.float32))
    for one, two, name in zip(found, expected, (*INSIDE, "pooled"), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
        assert model.boundary_shape(name) == two.shape[1:]
    assert model.boundary_shape("pixels") == (32, 32, 3)


def test_segments_compose_to_the_whole(model):
    whole = model.logits(ROWS)
    for cuts in itertools.combinations(INSIDE, 2):
        x = ROWS.astype(np.float32)
        for start, end in itertools.pairwise(["pixels", *cuts, "pooled"]):
            x = model.segment(start, end)(x, training=False)
        np.testing.assert_allclose(model.classify(x, training=False), whole, atol=1e-5)


def test_segments_share_the_variables_of_the_model(model):
    part = model.segment("stage1", "stage2")
    assert {id(v) for v in part.weights} == {
        id(v) for layer in model.stage_layers("stage2") for v in layer.weights
    }


def test_stages_hold_every_variable_once(model):
    names = [[layer.name for layer in model.stage_layers(name)] for name in model.stages]
    assert model.stages == INSIDE
    assert names == [["conv1", "norm1"], ["conv2", "norm2"], ["conv3", "norm3"]]
    inside = [v for n in INSIDE for layer in model.stage_layers(n) for v in layer.variables]
    assert sorted(map(id, inside)) == sorted(map(id, model.backbone.net.variables))
    every = [id(v) for v in model.variables]
    assert len(every) == len(set(every))
    assert {id(v) for v in model.keras_model.variables} == set(every)


def test_boundaries(model):
    assert model.boundary_below(None) == "pooled"
    assert model.boundary_below("stage3") == "stage2"
    assert model.boundary_below("all") == model.boundary_below("stage1") == "pixels"
    assert model.stages_from("stage2") == ("stage2", "stage3")
    assert model.stages_from("all") == INSIDE
    with pytest.raises(TlkitError, match="Did you mean 'stage3'"):
        model.boundary_below("stage33")


def test_fit_cannot_move_batch_norm_or_wake_dropout():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(inputs)
    net = keras.Model(inputs, keras.layers.Dropout(0.9)(x))
    outer = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(Extractor(net)(outer))
    model = keras.Model(outer, keras.layers.Dense(2)(pooled))
    model.compile("sgd", "mse")
    before = [v.numpy() for v in net.non_trainable_weights]
    images = np.random.default_rng(0).normal(3, 2, (16, 8, 8, 3)).astype(np.float32)
    model.fit(images, np.zeros((16, 2)), epochs=2, verbose=0)
    for old, new in zip(before, net.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    extractor = Extractor(net)
    np.testing.assert_array_equal(extractor(images, training=True), extractor(images))
    live = Extractor(net, live=True)
    assert (np.array(live(images, training=True)) == 0).mean() > 0.8
    np.testing.assert_array_equal(live(images, training=False), extractor(images))


def test_save_and_load_are_exact(tmp_path):
    rule = PixelRule(32, "pad")
    head = Head("concat_pool", dropout=0.4, init="scaled")
    model = Classifier(tiny_backbone(), NAMES, size=rule, head=head)
    model.temperature = 1.7
    model.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS))
    assert loaded.describe() == model.describe()
    assert (loaded.rule, loaded.head, loaded.temperature) == (rule, head, 1.7)
    assert (loaded.class_names, loaded.stages) == (NAMES, INSIDE)
    assert (loaded.backbone.name, loaded.backbone.weights) == ("tiny", "test values")
    assert (loaded.backbone.size, loaded.backbone.channels) == (32, 3)
    np.testing.assert_allclose(
        loaded.segment("stage2", "pooled")(np.ones((1, 8, 8, 12), "f4")),
        model.segment("stage2", "pooled")(np.ones((1, 8, 8, 12), "f4")),
    )
    with pytest.raises(TlkitError, match="holds no tlkit model"):
        Classifier.load(tmp_path / "elsewhere")


def test_a_description_holds_all_but_the_weights(model):
    assert model.describe() == {
        "class_names": ["red", "blue", "green"],
        "rule": {"size": 32, "resize": "crop", "channels": 3},
        "head": {"kind": "mlp", "dropout": 0.2, "init": "scaled"},
        "temperature": 1.0,
        "backbone": "tiny",
        "stages": [{"name": f"stage{i}", "boundary": f"relu{i}"} for i in (1, 2, 3)],
        "weights": "test values",
    }


def test_probabilities_are_the_softmax_of_logits_over_the_temperature(model):
    logits = model.logits(ROWS).astype(np.float64)
    for temperature in (1.0, 2.5):
        model.temperature = temperature
        raised = np.exp(logits / temperature)
        expected = raised / raised.sum(1, keepdims=True)
        np.testing.assert_allclose(model.predict(ROWS), expected, rtol=1e-5)


def test_a_saved_model_loads_in_a_fresh_process(tmp_path):
    model = Classifier("lenet-5", NAMES, weights=None, head=Head(init="scaled"))
    model.save(tmp_path)
    script = (
        f"import tlkit, numpy; model = tlkit.Classifier.load({str(tmp_path)!r});"
        "print(model.logits(numpy.full((1, 32, 32, 3), 90))[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = model.logits(np.full((1, 32, 32, 3), 90))[0]
    np.testing.assert_allclose([float(x) for x in done.stdout.strip("[]\n").split(",")], expected,
                               rtol=1e-5)  # fmt: skip
