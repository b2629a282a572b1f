"""Planted faults: each thing Keras lets happen in silence is found and named."""

import keras
import numpy as np
import pytest

from tests.scripted import new_model
from tlkit.errors import AuditError
from tlkit.training.audit import Audit, audited

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


def test_statistics_of_frozen_layers_stay_where_those_of_others_may_drift():
    model = new_model().keras_model
    norms = [model.get_layer("backbone").net.get_layer(f"norm{i}") for i in (2, 3)]
    norms[0].trainable = False
    with audited(model, statistics="train"):
        move(*model.trainable_variables, norms[1].moving_mean)
    with pytest.raises(AuditError, match="1 variables declared frozen have changed: norm2/moving"):
        with audited(model, statistics="train"):
            move(*model.trainable_variables, norms[0].moving_mean)
    with pytest.raises(AuditError, match="norm3/moving_mean"), audited(model):
        move(*model.trainable_variables, norms[1].moving_mean)


def test_an_audited_block_tells_its_own_error_first():
    model, _ = guide_model()
    with pytest.raises(ZeroDivisionError), audited(model):
        raise ZeroDivisionError


def test_every_layer_must_move_by_itself():
    model, _ = guide_model()
    conv, head = model.get_layer("base").get_layer("conv"), model.get_layer("head")
    norm = model.get_layer("base").get_layer("norm")
    with pytest.raises(AuditError, match="no variable moved in: head"), audited(model):
        move(conv.kernel, norm.gamma)
    with audited(model):
        move(conv.kernel, norm.gamma, head.bias)  # one variable of each layer is enough


def variables(*values, name="v"):
    return [keras.Variable([float(value)], name=f"{name}{i}") for i, value in enumerate(values)]


def move(*moved):
    """Moves each variable by the least that a float can move, which no tolerance would see."""
    for variable in moved:
        variable.assign(np.nextafter(variable.numpy(), np.float32(np.inf)))


def test_one_variable_of_each_open_group_must_move():
    stage, head = variables(1.0, 2.0), variables(3.0, 4.0)
    audit = Audit([], {"stage3": stage, "head": head, "none": []})
    with pytest.raises(AuditError, match=r"no variable moved in: stage3, head\. Was"):
        audit.check()
    audit.check(trained=False)
    move(stage[0])
    with pytest.raises(AuditError, match=r"no variable moved in: head\. Was"):
        audit.check()
    move(head[1])
    audit.check()


def test_what_is_frozen_must_stay_whether_anything_was_trained_or_not():
    frozen, free = variables(*range(8), name="f"), variables(1.0)
    audit = Audit(frozen, {"head": free})
    move(*free, *frozen[1:])
    for trained in (True, False):
        with pytest.raises(AuditError, match=r"7 variables declared frozen .* f5 and 2 more"):
            audit.check(trained)
    for number, variable in enumerate(frozen):
        variable.assign([float(number)])
    audit.check()  # values that come back are the same values


def test_an_audit_is_continued_after_a_restart():
    frozen, free = keras.Variable([1.0], name="f"), keras.Variable([1.0], name="o")
    state = Audit([frozen], {"head": [free]}).state()
    free.assign([2.0])
    Audit([frozen], {"head": [free]}, before=state).check()
    frozen.assign([np.nextafter(np.float32(1), np.float32(2))])
    with pytest.raises(AuditError, match="1 variables declared frozen"):
        Audit([frozen], {"head": [free]}, before=state).check()
