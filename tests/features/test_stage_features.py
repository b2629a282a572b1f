"""One pass gives what every stage and every normalization makes of an image."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from tests.conftest import UNSORTED, tiny_backbone
from tests.pictures import Watched, images_of, noise, seen, taken
from tlkit import files
from tlkit.backbones.backbone import Backbone, Stage
from tlkit.backbones.preprocess import Preprocess
from tlkit.features.frozen import View
from tlkit.features.stages import StageFeatures, stage_features
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier

IMAGES = images_of(noise(34))  # a batch and two more
RULE = PixelRule(32, "squash")


@pytest.fixture(scope="module")
def model():
    """Two normalizations in one stage, none in the next, and one of a vector."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = layers.BatchNormalization(name="norm1")(layers.Conv2D(4, 3, strides=4)(inputs))
    x = layers.Conv2D(5, 1, name="inner")(layers.ReLU()(x))
    x = layers.ReLU(name="low")(layers.BatchNormalization(name="norm2")(x))
    x = layers.Conv2D(6, 3, activation="relu", name="middle")(x)
    x = layers.Dense(7)(layers.GlobalAveragePooling2D()(x))
    x = layers.BatchNormalization(name="top")(x)
    net = keras.Model(inputs, x)
    draw = np.random.default_rng(0)
    for variable in net.non_trainable_variables:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    stages = (Stage("one", "low"), Stage("two", "middle"), Stage("three", "top"))
    backbone = Backbone("small", net, Preprocess("torch"), stages, 32, 3, "test values")
    return Classifier(backbone, UNSORTED, size=RULE)


def at(model, name):
    """Returns what Keras computes at one layer."""
    net = model.backbone.net
    pixels = model.backbone.preprocess(seen(IMAGES, RULE, View()))
    return keras.Model(net.input, net.get_layer(name).output)(pixels, training=False).numpy()


def test_rows_are_those_of_each_stage_and_of_its_last_norms_input(model):
    found = stage_features(model, IMAGES, Watched(engine="constants"))
    assert list(found.stages) == ["one", "two", "three"]
    for stage, name in (("one", "low"), ("two", "middle"), ("three", "top")):
        wanted = at(model, name)
        wanted = wanted if stage == "three" else wanted.mean((1, 2))
        np.testing.assert_allclose(found.stages[stage], wanted, rtol=1e-4, atol=1e-4)
    (norm,) = found.norms.values()
    assert list(found.norms) == ["one"]
    inner, layer = at(model, "inner"), model.backbone.net.get_layer("norm2")
    np.testing.assert_allclose(norm.mean, inner.mean((1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(norm.square, (inner**2).mean((1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(norm.moving_mean, layer.moving_mean.numpy())
    np.testing.assert_array_equal(norm.moving_variance, layer.moving_variance.numpy())
    assert 0 < found.rate < float("inf")


def test_all_stages_count_alike():
    one, two = np.array([[1.0, 3.0], [3.0, 5.0]]), np.array([[1000.0], [3000.0]])
    found = StageFeatures({"one": one, "two": two}, {}, 1.0).all_stages()
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found, [[-half, -half, -1], [half, half, 1]], rtol=1e-6)
    still = StageFeatures({"one": np.ones((3, 2))}, {}, 1.0).all_stages()
    np.testing.assert_array_equal(still, np.zeros((3, 2)))


def changed(weights=0, kind="tf", resize="crop", stages=3, shift=0.0):
    backbone = tiny_backbone(weights)
    backbone.net.get_layer("norm3").moving_variance.assign_add([shift] * 16)
    backbone = dataclasses.replace(
        backbone,
        preprocess=Preprocess(kind, 3, name="preprocess"),
        stages=backbone.stages[3 - stages :],
    )
    return Classifier(backbone, UNSORTED, size=PixelRule(32, resize))


def test_a_second_look_is_kept_and_what_changes_it_is_another(tmp_path):
    few = taken(IMAGES, np.arange(5))
    changes = [{}, {"weights": 1}, {"kind": "torch"}, {"resize": "pad"}, {"stages": 2}]
    for change in [*changes, {"shift": 0.1}, {"engine": "constants"}]:
        engine = change.pop("engine", "keras")
        model, store = changed(**change), Watched(tmp_path, engine=engine)
        found = stage_features(model, few, store)
        assert len(store.computed_of(store.computed[0][0])) == 5, f"{change}: found another's rows"
        for stage in model.stages:
            part = model.segment("pixels", stage)
            wanted = part(seen(few, model.rule, View())).numpy().mean((1, 2))
            np.testing.assert_allclose(found.stages[stage], wanted, rtol=1e-4, atol=1e-4)
        again = Watched(tmp_path, engine=engine)
        kept = stage_features(model, few, again)
        assert again.computed == []
        np.testing.assert_array_equal(kept.all_stages(), found.all_stages())
        assert kept.rate == found.rate


def test_the_rate_is_that_of_the_networks_own_time(model, private_home, monkeypatch):
    import time

    ticks = iter([0.0, 0.5, 0.5, 4.5, 4.5, 8.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    images = images_of(noise(90, (8, 8, 3), seed=1))  # three batches
    assert stage_features(model, images, Watched(engine="keras")).rate == 32 / 4
    (clock,) = private_home.rglob("advice/*.json")
    assert files.read_json(clock) == {"rate": 8.0}
