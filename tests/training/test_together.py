"""Steps taken in one call are the steps taken one by one, bit for bit."""

import dataclasses

import numpy as np
import pytest

from tests.steps import BARE, new_model, shown
from tests.training.test_finetune import assert_same, state
from tests.training.test_training import fresh
from tlkit.phases.phase import Phase
from tlkit.training import phase_trainer, train

LABELS = np.random.default_rng(0).integers(0, 3, 22)
SOFT = [np.eye(3, dtype="f4")[LABELS]]
CASES = [
    ({"class_weight": "balanced", "loss": "focal"}, True),
    ({"average": 0.9, "clip": 0.1, "l2": 0.01}, False),
    ({"sampling": "balanced"}, True),
    ({"accumulate": 2}, False),
    ({"batch_size": 64}, False),
    ({"unfreeze": "stage3"}, False),
    ({"optimizer": "adamw", "schedule": "cosine"}, False),
]


def trained_by(together, changes, soft):
    phase = dataclasses.replace(BARE, **{"epochs": 2, "batch_size": 4, "unfreeze": None} | changes)
    trainee = phase_trainer.Trainee(new_model(dropout=0.3), phase)
    trainee.together = together
    rows = shown(trainee, LABELS, SOFT if soft else None).rows
    ticks = [tick for epoch in (0, 1) for tick in trainee.epoch(rows, (0, 0), epoch)]
    return ticks, [v.numpy() for v in trainee.moving + trainee.memory]


@pytest.mark.parametrize(("changes", "soft"), CASES, ids=str)
def test_together_is_one_by_one(changes, soft):
    one, alone = trained_by(1, changes, soft)
    two, joined = trained_by(3, changes, soft)
    assert one == two
    for a, b in zip(alone, joined, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_without_callbacks_ends_like_one_with(data, tmp_path):
    import keras

    head = Phase("head", epochs=2, rate=0.02, views=1, augment="none", batch_size=16)
    ends = []
    for i, callbacks in enumerate([[], [keras.callbacks.Callback()]]):
        run = train.train(fresh(data), data, (head,), out=tmp_path / str(i), callbacks=callbacks)
        ends.append((state(run.model), [r["val_loss"] for r in run.history]))
    assert_same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
