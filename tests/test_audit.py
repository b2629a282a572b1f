"""Planted faults: each thing Keras lets happen in silence is found and named."""

import keras
import numpy as np
import pytest

from tlkit.audit import Audit, audited
from tlkit.errors import AuditError

IMAGES = np.random.default_rng(0).normal(2, 3, (32, 8, 8, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 2, 32)


def guide_model():
    """The official guide's form: base(x, training=False) in a functional model."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    base = keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(x), name="base")
    outer = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base(outer, training=False))
    return keras.Model(outer, keras.layers.Dense(2, name="head")(pooled)), base


def fit(model):
    model.fit(IMAGES, LABELS, epochs=1, verbose=0)


def compiled(model):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def test_the_guides_recipe_drifts_and_is_caught():
    model, _ = guide_model()
    compiled(model)
    with pytest.raises(AuditError, match=r"norm/moving_mean"), audited(model):
        fit(model)


def test_the_same_with_each_norm_frozen_passes():
    model, base = guide_model()
    base.get_layer("norm").trainable = False
    compiled(model)
    with audited(model):
        fit(model)


def test_drift_is_allowed_where_asked_for():
    model, _ = guide_model()
    compiled(model)
    with audited(model, statistics="train"):
        fit(model)


def test_a_forgotten_compile_is_caught_both_ways():
    model, base = guide_model()
    base.trainable = False
    compiled(model)
    fit(model)
    base.trainable = True
    base.get_layer("norm").trainable = False
    with pytest.raises(AuditError, match="until the next `compile`"), audited(model):
        fit(model)  # unfrozen without compile: nothing moves
    compiled(model)
    fit(model)
    base.trainable = False
    with pytest.raises(AuditError, match="conv/kernel"), audited(model):
        fit(model)  # frozen without compile: goes on moving


def test_an_audit_is_continued_after_a_restart():
    frozen, free = keras.Variable([1.0], name="f"), keras.Variable([1.0], name="o")
    state = Audit([frozen], {"head": [free]}).state()
    free.assign([2.0])
    Audit([frozen], {"head": [free]}, before=state).check()
    frozen.assign([np.nextafter(np.float32(1), np.float32(2))])
    with pytest.raises(AuditError, match="1 variables declared frozen"):
        Audit([frozen], {"head": [free]}, before=state).check()
