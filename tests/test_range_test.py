"""The range test finds a known rate, and leaves everything as it was."""

import dataclasses
import random
import shlex

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests.conftest import tiny_backbone
from tlkit import range_test, untouched, weights
from tlkit.cli import main
from tlkit.commands.finetune import finetune
from tlkit.commands.lr_find import _command, _train_head
from tlkit.commands.lr_find import lr_find as lr_find_command
from tlkit.errors import AuditError, TlkitError
from tlkit.model import Classifier
from tlkit.phases import Phase
from tlkit.range_test import RangeTest
from tlkit.training import Trainee

TAIL = Phase("tail", unfreeze="stage3", augment="flip", batch_size=16)


def climb_of(losses):
    return RangeTest(np.geomspace(1e-6, 1, len(losses)), np.array(losses), TAIL)


def test_the_steepest_fall_is_suggested():
    places = np.linspace(0, 1, 200)
    fall = 2 - 1.5 / (1 + np.exp(-40 * (places - 0.5)))  # steepest at a rate of 1e-3
    rise = np.where(places > 0.8, 20 * (places - 0.8), 0)
    found = climb_of(fall + rise)
    assert 5e-4 < found.suggestion < 5e-3  # smoothing comes a little late
    assert 1e-3 < found.limit < 1e-1
    assert "falls fastest" in str(found)


def test_a_flat_curve_suggests_nothing():
    assert climb_of(np.full(50, 1.1)).suggestion is None
    assert "suggests no rate" in str(climb_of(np.linspace(1, 3, 50)))


def test_everything_is_as_it_was(data):
    model = Classifier(tiny_backbone(), data.class_names)
    before = weights.fingerprint(model.variables), [v.trainable for v in model.variables]
    states = random.getstate(), np.random.get_state()[1].tolist()
    found = range_test.lr_find(model, data, TAIL, steps=40, rates=(1e-7, 10.0))
    assert before == (
        weights.fingerprint(model.variables), [v.trainable for v in model.variables]
    )  # fmt: skip
    assert states == (random.getstate(), np.random.get_state()[1].tolist())
    assert len(found.losses) <= 40 and np.isfinite(found.losses).all()
    again = range_test.lr_find(model, data, TAIL, steps=40, rates=(1e-7, 10.0))
    np.testing.assert_array_equal(found.losses, again.losses)


def test_a_change_of_the_model_is_noticed(data, monkeypatch):
    model = Classifier(tiny_backbone(), data.class_names)
    monkeypatch.setattr(range_test.Classifier, "load", lambda folder: model)
    with pytest.raises(AuditError, match="weights, trainable flags"):
        range_test.lr_find(model, data, TAIL, steps=10)


def test_a_trained_model_keeps_its_optimizer_flags_and_momentum(data):
    model = Classifier(tiny_backbone(), data.class_names)
    Trainee(model, dataclasses.replace(TAIL, batch_norm="train"))  # live, compiled, low momentum
    keras_model = model.keras_model
    keras_model.fit(np.zeros((4, 32, 32, 3)), np.zeros(4), epochs=1, verbose=0)
    before = untouched.state(model)
    moments = [v.numpy().tobytes() for v in keras_model.optimizer.variables]
    assert any(map(any, moments)) and before["BatchNorm's mode"]
    range_test.lr_find(model, data, TAIL, steps=10)
    assert untouched.state(model) == before
    assert [v.numpy().tobytes() for v in keras_model.optimizer.variables] == moments


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("weights", lambda m: m.variables[0].assign_add(m.variables[0] * 0 + 1e-6)),
        ("trainable flags", lambda m: setattr(m.stage_layers("stage1")[0], "trainable", False)),
        ("BatchNorm's mode", lambda m: setattr(m.extractor, "live", not m.extractor.live)),
        ("momentum", lambda m: setattr(m.backbone.net.get_layer("norm3"), "momentum", 0.5)),
        ("compilation", lambda m: m.keras_model.compile("sgd")),
        ("Python's random state", lambda m: random.random()),
        ("NumPy's random state", lambda m: np.random.rand()),
    ],
)
def test_every_kind_of_change_is_seen(data, what, change):
    model = Classifier(tiny_backbone(), data.class_names)
    before = untouched.state(model)
    assert untouched.state(model) == before
    change(model)
    after = untouched.state(model)
    assert any(what in name and after[name] != before[name] for name in before)


def test_no_generator_draws_anything_else_afterwards(data):
    model = Classifier(tiny_backbone(), data.class_names)

    def draws(between):
        keras.utils.set_random_seed(5)
        tf.random.set_global_generator(tf.random.Generator.from_seed(5))
        keras.random.uniform([1])  # Keras makes its own generator only now
        between()
        drawn = keras.random.uniform([3]), tf.random.uniform([3])
        own = tf.random.get_global_generator().uniform([3])
        return [*map(np.asarray, (*drawn, own)), np.random.rand(), random.random()]

    expected = draws(lambda: None)
    found = draws(lambda: range_test.lr_find(model, data, TAIL, steps=10))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_climb_ends_where_the_loss_explodes(data):
    model = Classifier(tiny_backbone(), data.class_names)
    phase = Phase("tail", unfreeze="stage3", optimizer="sgd", augment="none", batch_size=16)
    found = range_test.lr_find(model, data, phase, steps=60, rates=(1e-3, 1e6))
    assert len(found.rates) == len(found.losses) < 60


def test_no_climb_is_an_error(data):
    with pytest.raises(TlkitError, match="No climb"):
        range_test.lr_find(Classifier(tiny_backbone(), data.class_names), data, rates=(1.0, 1.0))


def test_the_command_draws_and_says_what_next(photos, tmp_path):
    options = ["--backbone", "lenet-5", "--weights", "none", "--steps", "12"]
    out = tmp_path / "curve.png"
    done = CliRunner().invoke(main, ["lr-find", str(photos), *options, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "Range test of phase" in done.output and out.stat().st_size > 5000


def test_the_head_is_trained_before_a_deeper_climb(data, monkeypatch):
    model = Classifier(tiny_backbone(), data.class_names)
    frozen = weights.fingerprint(model.backbone.net.variables)
    assert not any(v.numpy().any() for v in model.classify.trainable_variables)
    _train_head(model, data, Phase("head", epochs=2), 0)
    assert any(v.numpy().any() for v in model.classify.trainable_variables)
    assert weights.fingerprint(model.backbone.net.variables) == frozen


def test_the_next_command_trains_what_was_tried():
    given = ["--backbone", "resnet50", "--weights", "none", "--unfreeze", "stage3"]
    given += ["--val-share", "0.2"]
    context = lr_find_command.make_context("lr-find", ["my photos", "--steps", "20", *given])
    with context:
        words = shlex.split(_command("my photos", 0.00312))
    assert words[:3] == ["tlkit", "finetune", "my photos"]
    assert sorted(words[3:]) == sorted([*given, "--rate", "0.0031"])
    finetune.make_context("finetune", words[2:])  # it takes them all
