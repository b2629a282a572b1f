"""What a phase refuses, and what a run makes of averages, penalties and gathered batches.

That each setting has its effect is held against plain arithmetic in `test_step_by_hand`.
"""

import dataclasses

import keras
import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tests.steps import BARE, Done, new_model, shown
from tests.training.test_finetune import DieAt, Dies, assert_same, state
from tlkit.errors import TlkitError
from tlkit.evaluation import calibration
from tlkit.features import decoded
from tlkit.models.classifier import Classifier
from tlkit.phases import sampling
from tlkit.phases.phase import Phase
from tlkit.training import phase_trainer, train


def fresh(data):
    return Classifier(tiny_backbone(), data.class_names, seed=0)


def test_l2_of_a_stage_that_is_not_open_says_so():
    with pytest.raises(TlkitError, match="open stage in l2"):
        phase_trainer.Trainee(new_model(), dataclasses.replace(BARE, l2={"stage1": 0.1}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"loss": "fokal"}, "Did you mean 'focal'"), ({"optimizer": "adamm"}, "Did you mean 'adam'"),
     ({"unfreeze": "stage4"}, "stage3")],
)  # fmt: skip
def test_a_name_nobody_knows_is_an_error_before_training(wrong, message):
    with pytest.raises(TlkitError, match=message):
        phase_trainer.Trainee(new_model(), dataclasses.replace(BARE, **wrong))


def test_a_class_without_images_cannot_be_weighed():
    with pytest.raises(TlkitError, match="Class 1 has no training image"):
        sampling.class_weights(np.array([0, 0, 2]), 3)
    with pytest.raises(TlkitError, match="Class 2 has no training image"):
        Done(labels=np.array([0, 1, 0, 1, 0, 1]), class_weight="balanced")


def test_bfloat16_is_refused_where_normalization_trains():
    with pytest.raises(TlkitError, match="frozen normalization only"):
        dataclasses.replace(BARE, arithmetic="bfloat16", batch_norm="train")


def test_what_is_judged_is_multiplied_in_float32():
    exact, half = (
        phase_trainer.Trainee(new_model(), dataclasses.replace(BARE, arithmetic=kind))
        for kind in ("float32", "bfloat16")
    )
    rows = shown(exact).rows
    np.testing.assert_array_equal(half.logits(rows), exact.logits(rows))


def test_live_statistics_are_averaged_with_their_weights():
    done = Done(average=0.5, batch_norm="train")
    trainee, norm = done.trainee, done.model.backbone.net.get_layer("norm3")
    first, last = (v["norm3/moving_mean"] for v in (done.before, done.after))
    assert np.abs(last - first).max() > 1e-3
    with trainee.judged():
        expected = 0.1 * first + 0.9 * last  # (1 + t) / (10 + t) at step 0
        np.testing.assert_allclose(norm.moving_mean.numpy(), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), last)


def test_balancing_twice_is_refused():
    with pytest.raises(TlkitError, match="count twice over"):
        dataclasses.replace(BARE, class_weight="balanced", sampling="balanced")


def test_resumed_ends_bit_equal(data, tmp_path):
    changes = {"average": 0.9, "l2_sp": 0.5, "accumulate": 3, "sampling": "balanced", "clip": 1.0}
    head = Phase("head", epochs=1, rate=0.02, views=1, augment="none", batch_size=16)
    tail = dataclasses.replace(head, name="tail", unfreeze="stage3", epochs=3, **changes)
    whole = train.train(fresh(data), data, (head, tail), out=tmp_path / "whole")
    with pytest.raises(Dies):
        train.train(fresh(data), data, (head, tail), out=tmp_path / "half", callbacks=[DieAt(2)])
    resumed = train.resume(tmp_path / "half")
    assert_same(state(resumed.model), state(whole.model))
    assert [r["val_loss"] for r in resumed.history] == [r["val_loss"] for r in whole.history]


class Keeps(keras.callbacks.Callback):
    """Keeps the head's bias after each batch, and of each epoch, as a callback sees it."""

    def on_train_begin(self, logs=None):
        self.raw, self.seen = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.raw.append(self.bias())

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.bias())

    def bias(self):
        return self.model.get_layer("head").weights[-1].numpy().copy()


def test_the_averaged_weights_are_judged_and_kept(data, tmp_path):
    """The model of the run answers as the averages did when their epoch was judged."""
    keeps = Keeps()
    phase = Phase("head", epochs=2, rate=0.05, views=1, augment="none", average=0.9, patience=9)
    run = train.train(fresh(data), data, (phase,), out=tmp_path / "run", callbacks=[keeps])
    average, seen = np.zeros(3, np.float32), []
    for step, raw in enumerate(keeps.raw):
        share = min(0.9, (1 + step) / (10 + step))
        average = share * average + (1 - share) * raw
        seen.append(average)
    each = len(seen) // 2
    np.testing.assert_allclose(keeps.seen, [seen[each - 1], seen[-1]], rtol=1e-4, atol=1e-6)
    logits = run.model.logits(decoded.pixel_rows(run.store, data.val, run.model.rule))
    best = min(row["val_loss"] for row in run.history)
    assert calibration.log_loss(logits, data.val.labels) == pytest.approx(best, rel=1e-5)
    kept = run.model.classify.weights[-1].numpy()
    assert any(np.array_equal(kept, bias) for bias in keeps.seen)
