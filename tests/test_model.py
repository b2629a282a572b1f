"""A classifier can be cut anywhere, saved, loaded and taken over without changing an answer."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tlkit.errors import TlkitError
from tlkit.model import Classifier, Extractor, Head
from tlkit.pixels import PixelRule

NAMES = ("a", "b", "c")
ROWS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def model():
    return Classifier(tiny_backbone(), NAMES, head=Head("mlp", init="scaled"))


def test_segments_compose_to_the_whole(model):
    whole = model.logits(ROWS)
    order = ["pixels", *model.stages, "pooled"]
    for cuts in itertools.combinations(order[1:-1], 2):
        x = ROWS.astype(np.float32)
        for start, end in itertools.pairwise(["pixels", *cuts, "pooled"]):
            x = model.segment(start, end)(x, training=False)
        np.testing.assert_allclose(model.classify(x, training=False), whole, atol=1e-5)


def test_stages_hold_every_variable_once(model):
    found = [
        id(v)
        for name in model.stages
        for layer in model.stage_layers(name)
        for v in layer.variables
    ]
    assert sorted(found) == sorted(id(v) for v in model.backbone.net.variables)


def test_boundaries(model):
    assert model.boundary_below(None) == "pooled"
    assert model.boundary_below("stage3") == "stage2"
    assert model.boundary_below("all") == model.boundary_below("stage1") == "pixels"
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


def test_save_and_load_are_exact(model, tmp_path):
    model.temperature = 1.7
    model.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(ROWS), model.predict(ROWS))
    assert loaded.describe() == model.describe()
    with pytest.raises(TlkitError, match="holds no tlkit model"):
        Classifier.load(tmp_path / "elsewhere")


def test_a_trained_backbone_is_taken_over_as_a_copy(model):
    heir = Classifier(model, ("x", "y"))
    one, two = model.backbone.net, heir.backbone.net
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    two.trainable_variables[0].assign(two.trainable_variables[0] * 2)
    assert not np.array_equal(one.get_weights()[0], two.get_weights()[0])
    assert heir.stages == model.stages
    with pytest.raises(TlkitError, match="64"):
        Classifier(model, ("x", "y"), size=64)


def test_replace_from_renews_these_stages_and_no_other():
    kept = tiny_backbone()
    before = {v.path: v.numpy() for v in kept.net.variables}
    model = Classifier(kept, NAMES, replace_from="stage3", seed=1)
    for name in model.stages:
        for layer in model.stage_layers(name):
            for v in layer.variables:
                same = np.array_equal(before[v.path], v.numpy())
                assert (
                    same if name != "stage3" else not same or "gamma" in v.path or "beta" in v.path
                )


def test_probabilities_sum_to_one_and_follow_the_temperature(model):
    cool = model.predict(ROWS)
    np.testing.assert_allclose(cool.sum(1), 1, rtol=1e-6)
    model.temperature = 50.0
    hot = model.predict(ROWS)
    assert (hot.max(1) < cool.max(1)).all()
    np.testing.assert_array_equal(hot.argmax(1), cool.argmax(1))


@pytest.mark.parametrize("names", [(), ("one",), ("a", "a")])
def test_class_names_must_be_distinct_and_two_or_more(names):
    with pytest.raises(TlkitError, match="distinct class names"):
        Classifier(tiny_backbone(), names)


def test_unknown_backbone_gets_a_suggestion():
    with pytest.raises(TlkitError, match="mobilenet_v2"):
        Classifier("mobilnet_v2", NAMES)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels(channels):
    model = Classifier(
        "mobilenet_v2_0.35", NAMES, weights=None, size=PixelRule(32, "crop", channels)
    )
    rows = np.zeros((2, 32, 32, channels), np.uint8)
    assert model.predict(rows).shape == (2, 3)


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35", "lenet-5"])
def test_a_saved_model_loads_in_a_fresh_process(name, tmp_path):
    model = Classifier(name, NAMES, weights=None, size=32)
    model.save(tmp_path)
    script = f"import tlkit; print(tlkit.Classifier.load({str(tmp_path)!r}).stages)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == str(model.stages), done.stderr[-2000:]
