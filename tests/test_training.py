"""What a phase can be told beyond rates and epochs, each against its definition."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import tiny_backbone
from tests.test_finetune import DieAt, Dies, assert_same, state
from tlkit import features, finetune, regularisers, sampling, session, training
from tlkit.errors import TlkitError
from tlkit.features import Rows
from tlkit.model import Classifier, Head
from tlkit.phases import Phase

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 22)
NAMES = ("blue", "green", "red")
# Stochastic gradient descent shows a gradient as it is.
BARE = Phase(
    "bare", unfreeze="stage3", epochs=2, rate=0.1, optimizer="sgd", weight_decay=0.0, decay=1.0,
    schedule="constant", warmup=0.0, smoothing=0.0, augment="none", batch_size=4,
)  # fmt: skip


def new_trainee(**changes):
    model = Classifier(tiny_backbone(), NAMES, head=Head(dropout=0.0, init="scaled"))
    return training.Trainee(model, dataclasses.replace(BARE, **changes))


def rows(trainee, targets=None):
    shape = (len(LABELS), *trainee.model.boundary_shape(trainee.boundary))
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return Rows(lambda part, view: x[part], LABELS, targets)


def trained(trainee, epochs=1, targets=None):
    """Returns the open variables' values after some epochs."""
    for epoch in range(epochs):
        list(trainee.epoch(rows(trainee, targets), (0, 0), epoch))
    return [v.numpy() for v in trainee.variables]


def assert_close(one, two, atol=1e-6):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def test_hard_labels_are_one_hot_targets():
    hard = trained(new_trainee())
    soft = trained(new_trainee(), targets=lambda part, view: np.eye(3, dtype="f4")[LABELS[part]])
    assert_close(hard, soft)


def test_mixed_images_train_on_mixed_labels():
    even = trained(new_trainee(), targets=lambda part, view: np.full((len(part), 3), 1 / 3, "f4"))
    assert np.abs(even[-1] - trained(new_trainee())[-1]).max() > 0.01


@pytest.mark.parametrize("batches", [3, 4])  # of 4 and 2 images at the end: a short last update
def test_gathered_batches_equal_one_large_batch(batches):
    gathered = new_trainee(accumulate=batches, l2=0.01)
    large = new_trainee(batch_size=4 * batches, l2=0.01)
    assert_close(trained(gathered, 2), trained(large, 2))
    assert (
        int(gathered.optimizer.iterations)
        == int(large.optimizer.iterations)
        == 2 * -(-len(LABELS) // (4 * batches))
    )


def test_l2_is_that_of_keras():
    kernel, bias = (
        keras.Variable(RANDOM.normal(size=(3, 2)).astype("f4")),
        keras.Variable([1.0, 2.0]),
    )
    (pull,) = regularisers.pulls({"head": [kernel, bias]}, 0.3, 0.0)
    theirs = keras.regularizers.L2(0.3)
    with tf.GradientTape(persistent=True) as tape:
        ours, expected = pull(), theirs(kernel.value)
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    gradient = tape.gradient(ours, kernel.value)
    np.testing.assert_allclose(gradient, 2 * 0.3 * kernel.numpy(), rtol=1e-6)


def test_l2_is_set_by_stage_and_spares_biases_and_norms():
    trainee = new_trainee(l2={"stage3": 0.1, "head": 0.0})
    assert [pull.variable.path.split("/")[-2] for pull in trainee._pulls] == ["conv3"]
    with pytest.raises(TlkitError, match="open stage in l2"):
        new_trainee(l2={"stage1": 0.1})


def test_l2_sp_pulls_back_to_the_start_and_leaves_the_head():
    free, tied = new_trainee(epochs=5), new_trainee(epochs=5, l2_sp=2.0)
    start = [v.numpy().copy() for v in free.variables]
    far, near = (
        np.abs(trained(t, 5)[0] - start[0]).max() for t in (free, tied)
    )  # fmt: skip
    assert 0 < near < 0.5 * far
    assert {pull.variable.path for pull in tied._pulls} == {tied.variables[0].path}


def test_clipping_bounds_all_gradients_together():
    trainee = new_trainee(clip=1e-3, rate=1.0, batch_size=len(LABELS))
    before = [v.numpy().copy() for v in trainee.variables]
    moved = [after - old for after, old in zip(trained(trainee), before, strict=True)]
    norm = np.sqrt(sum(np.sum(part**2) for part in moved))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_average_follows_its_rule():
    trainee = new_trainee(average=0.99, batch_size=len(LABELS))
    value = trainee.variables[-1].numpy().copy()
    expected = value
    for step in range(3):
        raw = trained_once(trainee, step)
        decay = min(0.99, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * raw
    with trainee.judged():
        np.testing.assert_allclose(trainee.variables[-1].numpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal(trainee.variables[-1].numpy(), raw)


def trained_once(trainee, epoch):
    list(trainee.epoch(rows(trainee), (0, 0), epoch))
    return trainee.variables[-1].numpy().copy()


def test_resumed_ends_bit_equal(data, tmp_path):
    changes = {"average": 0.9, "l2_sp": 0.5, "accumulate": 3, "sampling": "balanced", "clip": 1.0}
    head = Phase("head", epochs=1, rate=0.02, views=1, augment="none", batch_size=16)
    tail = dataclasses.replace(head, name="tail", unfreeze="stage3", epochs=3, **changes)
    whole = finetune.fine_tune(new_model(data), data, (head, tail), out=tmp_path / "whole")
    with pytest.raises(Dies):
        finetune.fine_tune(
            new_model(data), data, (head, tail), out=tmp_path / "half", callbacks=[DieAt(2)]
        )
    resumed = finetune.resume(tmp_path / "half")
    assert_same(state(resumed.model), state(whole.model))
    assert [r["val_loss"] for r in resumed.history] == [r["val_loss"] for r in whole.history]


def new_model(data):
    return Classifier(tiny_backbone(), data.class_names, seed=0)


def test_balanced_orders_show_every_class_equally_often():
    labels = np.repeat([0, 1, 2], [30, 8, 2])
    drawn = sampling.order(labels, "balanced", (0, 0, 1))
    assert len(drawn) == 40
    assert np.ptp(np.bincount(labels[drawn])) <= 1
    assert set(np.flatnonzero(labels == 2)) <= set(drawn)  # none is left out that need not be
    assert len(set(drawn[labels[drawn] == 0])) == (labels[drawn] == 0).sum()
    np.testing.assert_array_equal(drawn, sampling.order(labels, "balanced", (0, 0, 1)))
    assert not np.array_equal(drawn, sampling.order(labels, "balanced", (0, 0, 2)))


def test_class_weights_balance_and_know_soft_labels():
    weights = sampling.class_weights(LABELS, 3)
    assert weights[LABELS].mean() == pytest.approx(1)
    counts = np.bincount(LABELS)
    np.testing.assert_allclose(weights * counts, len(LABELS) / 3, rtol=1e-6)
    trainee = new_trainee(class_weight="balanced")
    weigh = trainee._weigher(rows(trainee))
    soft = np.array([[0.25, 0.75, 0.0]], np.float32)
    np.testing.assert_allclose(weigh(soft), [0.25 * weights[0] + 0.75 * weights[1]], rtol=1e-6)
    np.testing.assert_allclose(weigh(LABELS[:2]), weights[LABELS[:2]])
    with pytest.raises(TlkitError, match="Class 1 has no training image"):
        sampling.class_weights(np.array([0, 0, 2]), 3)


def test_bfloat16_products_are_near_and_refused_where_they_cannot_be():
    exact, half = trained(new_trainee()), trained(new_trainee(arithmetic="bfloat16"))
    off = max(np.abs(a - b).max() for a, b in zip(exact, half, strict=True))
    assert 0 < off < 0.02
    with pytest.raises(TlkitError, match="frozen normalization only"):
        dataclasses.replace(BARE, arithmetic="bfloat16", batch_norm="train")


def test_what_is_judged_is_multiplied_in_float32():
    exact, half = new_trainee(), new_trainee(arithmetic="bfloat16")
    np.testing.assert_array_equal(half.logits(rows(half)), exact.logits(rows(exact)))


def test_live_statistics_are_averaged_with_their_weights():
    trainee = new_trainee(average=0.5, batch_norm="train", batch_size=len(LABELS))
    moving = next(v for v in trainee.moving if v.path.endswith("norm3/moving_mean"))
    first = moving.numpy().copy()
    trained(trainee)
    last = moving.numpy().copy()
    assert np.abs(last - first).max() > 1e-3
    with trainee.judged():
        expected = 0.1 * first + 0.9 * last  # (1 + t) / (10 + t) at step 0
        np.testing.assert_allclose(moving.numpy(), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(moving.numpy(), last)


class Keeps(keras.callbacks.Callback):
    """Keeps the head's bias of each epoch, as a callback sees it."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.get_layer("head").weights[-1].numpy().copy())


def test_the_averaged_weights_are_kept(data, tmp_path):
    """The model of the run answers as the averages did when their epoch was judged."""
    keeps = Keeps()
    phase = Phase("head", epochs=2, rate=0.05, views=1, augment="none", average=0.9, patience=9)
    run = finetune.fine_tune(
        new_model(data), data, (phase,), out=tmp_path / "run", callbacks=[keeps]
    )
    raw = dataclasses.replace(phase, average=0.0)
    other = finetune.fine_tune(new_model(data), data, (raw,), out=tmp_path / "raw")
    logits = run.model.logits(features.pixel_rows(run.store, data.val, run.model.rule))
    best = min(row["val_loss"] for row in run.history)
    assert session.log_loss(logits, data.val.labels) == pytest.approx(best, rel=1e-5)
    kept = run.model.classify.weights[-1].numpy()
    assert any(np.array_equal(kept, bias) for bias in keeps.seen)
    assert [r["loss"] for r in run.history] == [r["loss"] for r in other.history]
    assert run.history[0]["val_loss"] != other.history[0]["val_loss"]


def test_balancing_twice_is_refused():
    with pytest.raises(TlkitError, match="count twice over"):
        dataclasses.replace(BARE, class_weight="balanced", sampling="balanced")
