"""The range test finds a known rate, and leaves everything as it was."""

import dataclasses
import random
import shlex

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests import plain_net
from tests.conftest import tiny_backbone
from tests.steps import NAMES, shown_loss
from tlkit.augmentation import policies, views
from tlkit.backbones import weights
from tlkit.cli import main
from tlkit.cli.finetune import finetune
from tlkit.cli.lr_find import lr_find as lr_find_command
from tlkit.cli.lr_find import next_command, train_head
from tlkit.errors import AuditError, TlkitError
from tlkit.features import decoded
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.phases import sampling
from tlkit.phases.phase import Phase
from tlkit.training import rate_finder, untouched
from tlkit.training.phase_trainer import Trainee
from tlkit.training.rate_finder import RangeTest

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


def test_the_curve_is_smoothed_without_the_bias_of_its_start():
    """m = 0.9 m + 0.1 l from 0, divided by 1 - 0.9^t."""
    found = climb_of([1.0, 0.0, 2.0]).smooth
    np.testing.assert_allclose(found, [1, 0.09 / 0.19, (0.081 + 0.2) / 0.271])


def test_the_limit_is_a_tenth_of_the_best_rate():
    found = RangeTest(np.geomspace(1e-4, 1e4, 9), np.r_[np.linspace(9, 1, 6), 50, 99, 99], TAIL)
    assert int(np.argmin(found.smooth)) == 5
    assert found.limit == pytest.approx(1.0)  # the least loss is at 1e-4 x 10^5


def test_a_fall_of_a_twentieth_is_the_least_that_says_anything():
    def after(share):
        return climb_of(np.r_[np.ones(5), np.full(400, share)])

    assert after(0.94).suggestion is not None and after(0.96).suggestion is None
    assert climb_of([9, 5, 1, 30, 60, 90]).suggestion is None  # the least is too near the start


def test_a_flat_curve_suggests_nothing():
    assert climb_of(np.full(50, 1.1)).suggestion is None
    assert "suggests no rate" in str(climb_of(np.linspace(1, 3, 50)))


def test_everything_is_as_it_was(data):
    model = Classifier(tiny_backbone(), data.class_names)
    before = weights.fingerprint(model.variables), [v.trainable for v in model.variables]
    states = random.getstate(), np.random.get_state()[1].tolist()
    found = rate_finder.lr_find(model, data, TAIL, steps=20, rates=(1e-7, 10.0))
    assert before == (
        weights.fingerprint(model.variables), [v.trainable for v in model.variables]
    )  # fmt: skip
    assert states == (random.getstate(), np.random.get_state()[1].tolist())
    assert len(found.losses) <= 20 and np.isfinite(found.losses).all()


def test_a_change_of_the_model_is_noticed(data, monkeypatch):
    model = Classifier(tiny_backbone(), data.class_names)
    monkeypatch.setattr(rate_finder.Classifier, "load", lambda folder: model)
    with pytest.raises(AuditError, match="weights, trainable flags"):
        rate_finder.lr_find(model, data, TAIL, steps=10)


def test_a_trained_model_keeps_its_optimizer_flags_and_momentum(data):
    model = Classifier(tiny_backbone(), data.class_names)
    Trainee(model, dataclasses.replace(TAIL, batch_norm="train"))  # live, compiled, low momentum
    keras_model = model.keras_model
    keras_model.fit(np.zeros((4, 32, 32, 3)), np.zeros(4), epochs=1, verbose=0)
    before = untouched.state(model)
    moments = [v.numpy().tobytes() for v in keras_model.optimizer.variables]
    assert any(map(any, moments)) and before["BatchNorm's mode"]
    rate_finder.lr_find(model, data, TAIL, steps=10)
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
def test_every_kind_of_change_is_seen(what, change):
    model = Classifier(tiny_backbone(), NAMES)
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
    found = draws(lambda: rate_finder.lr_find(model, data, TAIL, steps=10))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


HEAD = Phase(
    "head", optimizer="sgd", weight_decay=0.0, smoothing=0.0, schedule="linear", warmup=0.5,
    augment="none", batch_size=1000,
)  # fmt: skip


def test_the_climb_is_plain_descent_on_the_training_images_at_growing_rates(data):
    """All images are one batch here; the phase's own rate, schedule and warm-up stay out."""
    model = Classifier(tiny_backbone(), data.class_names, head=Head(dropout=0.0, init="scaled"))
    v = plain_net.values(model)
    found = rate_finder.lr_find(model, data, HEAD, steps=12, rates=(1e-3, 3.0))
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 3.0, 12))
    x = plain_net.preprocessed(decoded.pixel_rows(Store(), data.train, PixelRule(32)))
    for i in (1, 2, 3):
        x = plain_net.stage(v, x, i)
    batch = x.numpy().mean((1, 2)), np.eye(3, dtype="f4")[data.train.labels]
    _, losses = plain_net.descended(v, [batch] * 12, found.rates, first=4)
    np.testing.assert_allclose(found.losses, losses, rtol=2e-3)
    assert losses[-1] < 0.95 * losses[0] and found.phase == HEAD


def test_the_climb_sees_the_images_as_the_phase_shows_them(data):
    model = Classifier(tiny_backbone(), data.class_names, head=Head(dropout=0.0, init="scaled"))
    phase = dataclasses.replace(HEAD, augment="photos", strength=0.5)
    store = Store()
    found = rate_finder.lr_find(model, data, phase, steps=10, rates=(1e-12, 1e-11), seed=3,
                               store=store)  # fmt: skip
    assert not len(store.missing(decoded.pixel_kind(PixelRule(32)), data.train.hashes))
    expected = shown_loss(plain_net.values(model), store, data.train, 0, strength=0.5)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-4)


def test_the_climb_ends_where_the_loss_explodes(data):
    """The smoothed loss is then four times its least, and was not before."""
    model = Classifier(tiny_backbone(), data.class_names)
    phase = Phase("tail", unfreeze="stage3", optimizer="sgd", augment="none", batch_size=16)
    found = rate_finder.lr_find(model, data, phase, steps=60, rates=(1e-3, 1e6))
    assert len(found.rates) == len(found.losses) < 60
    over = found.smooth > 4 * np.minimum.accumulate(found.smooth)
    assert over[-1] and not over[:-1].any()


@pytest.fixture
def uneven():
    """Pictures as arrays, most of them of one class."""
    pixels = np.random.default_rng(0).integers(0, 256, (54, 32, 32, 3)).astype(np.uint8)
    return load_images((pixels, np.repeat([0, 1, 2], [30, 12, 12]), NAMES))


@pytest.mark.parametrize("draw", ["natural", "balanced"])
def test_the_climb_draws_as_the_phase_does_and_full_batches_only(uneven, draw):
    """The head gives every image of a class the same loss, so a batch's tells who is in it."""
    model = Classifier(tiny_backbone(), uneven.class_names)
    bias = model.classify.get_layer("logits").bias
    bias.assign(np.log([0.2, 0.3, 0.5]))
    each = -np.log([0.2, 0.3, 0.5])
    labels, size = uneven.train.labels, 10
    phase = dataclasses.replace(HEAD, batch_size=size, sampling=draw)
    found = rate_finder.lr_find(model, uneven, phase, steps=12, rates=(1e-9, 2e-9), seed=4)
    every, expected = len(labels) // size, []
    for epoch in range(12 // every + 1):
        order = sampling.order(labels, draw, (4, epoch))
        expected += [each[labels[order[i * size :][:size]]].mean() for i in range(every)]
    np.testing.assert_allclose(found.losses, expected[:12], rtol=1e-4)
    assert every * size < len(labels)


def test_the_climb_takes_mixed_labels_where_images_are_mixed(uneven):
    model = Classifier(tiny_backbone(), uneven.class_names)
    model.classify.get_layer("logits").bias.assign(np.log([0.2, 0.3, 0.5]))
    phase = dataclasses.replace(HEAD, augment="mixup")
    found = rate_finder.lr_find(model, uneven, phase, steps=10, rates=(1e-12, 1e-11), seed=4)
    labels, hashes = uneven.train.labels, uneven.train.hashes
    view = views.View(policies.policy("mixup", 1.0), 4)
    mixed = views.soft_labels(labels, 3, hashes, 32, [view])(np.arange(len(labels)), 0)
    each = -np.log([0.2, 0.3, 0.5])
    np.testing.assert_allclose(found.losses, (mixed @ each).mean(), rtol=1e-4)
    assert abs((mixed @ each).mean() - each[labels].mean()) > 1e-3


def test_without_a_phase_the_last_default_one_climbs(data):
    model = Classifier(tiny_backbone(), data.class_names)
    found = rate_finder.lr_find(model, data, steps=10, rates=(1e-9, 1e-8))
    assert (found.phase.name, found.phase.unfreeze) == ("fine-tune", "stage3")
    assert len(found.losses) == 10


@pytest.mark.parametrize(
    "wrong", [{"rates": (1.0, 1.0)}, {"rates": (0.0, 1.0)}, {"rates": (1.0, 0.1)}, {"steps": 9}]
)
def test_no_climb_is_an_error(wrong):
    with pytest.raises(TlkitError, match="No climb"):
        rate_finder.lr_find(Classifier(tiny_backbone(), NAMES), None, **wrong)


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
    train_head(model, data, Phase("head", epochs=2), 0)
    assert any(v.numpy().any() for v in model.classify.trainable_variables)
    assert weights.fingerprint(model.backbone.net.variables) == frozen


def test_the_next_command_trains_what_was_tried():
    given = ["--backbone", "resnet50", "--weights", "none", "--unfreeze", "stage3"]
    given += ["--val-share", "0.2"]
    context = lr_find_command.make_context("lr-find", ["my photos", "--steps", "20", *given])
    with context:
        words = shlex.split(next_command("my photos", 0.00312))
    assert words[:3] == ["tlkit", "finetune", "my photos"]
    assert sorted(words[3:]) == sorted([*given, "--rate", "0.0031"])
    finetune.make_context("finetune", words[2:])  # it takes them all
