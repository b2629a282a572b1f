"""Steps taken in one call are the steps taken one by one, bit for bit."""

import dataclasses

import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tests.test_finetune import assert_same, state
from tests.test_training import BARE, LABELS, NAMES, new_model, rows
from tlkit import batches, finetune, training
from tlkit.model import Classifier, Head
from tlkit.phases import Phase

CASES = [
    {"unfreeze": None, "class_weight": "balanced", "loss": "focal"},
    {"unfreeze": None, "average": 0.9, "clip": 0.1, "l2": 0.01},
    {"unfreeze": None, "sampling": "balanced"},
    {"unfreeze": None, "accumulate": 2},
    {"unfreeze": None, "batch_size": 64},
    {},
    {"unfreeze": None},
    {"unfreeze": None, "optimizer": "adamw", "schedule": "cosine"},
]


def trained_by(together, changes, dropout, soft):
    model = Classifier(tiny_backbone(), NAMES, seed=0, head=Head(dropout=dropout, init="scaled"))
    trainee = training.Trainee(model, dataclasses.replace(BARE, **changes))
    trainee.together = together
    targets = (lambda part, view: np.eye(3, dtype="f4")[LABELS[part]]) if soft else None
    ticks = [t for e in (0, 1) for t in trainee.epoch(rows(trainee, targets), (0, 0), e)]
    return ticks, [v.numpy() for v in trainee.moving + trainee.memory]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("changes", CASES, ids=str)
def test_together_is_one_by_one(changes, soft):
    one, alone = trained_by(1, changes, 0.3, soft)
    two, joined = trained_by(3, changes, 0.3, soft)
    assert one == two
    for a, b in zip(alone, joined, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_short_last_batch_is_alone():
    plan = [batches.Batch(np.arange(n), 0.1, 1.0, True) for n in (4, 4, 4, 4, 2)]
    assert [len(g) for g in batches.together(plan, 3)] == [3, 1, 1]


def test_all_lengths_are_traced_once():
    model = Classifier(tiny_backbone(), NAMES)
    trainee = training.Trainee(model, dataclasses.replace(BARE, unfreeze=None))
    trainee.together = 4
    list(trainee.epoch(rows(trainee), (0, 0), 0))
    trainee.together = 1
    list(trainee.epoch(rows(trainee), (0, 0), 1))
    assert len(trainee._traced) == 1


def test_a_run_without_callbacks_ends_like_one_with(data, tmp_path):
    import keras

    head = Phase("head", epochs=2, rate=0.02, views=1, augment="none", batch_size=16)
    ends = []
    for i, callbacks in enumerate([[], [keras.callbacks.Callback()]]):
        run = finetune.fine_tune(
            new_model(data), data, (head,), out=tmp_path / str(i), callbacks=callbacks
        )
        ends.append((state(run.model), [r["val_loss"] for r in run.history]))
    assert_same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_the_loop_is_the_plain_step():
    def ends(plain):
        model = Classifier(tiny_backbone(), NAMES, seed=0, head=Head(dropout=0.0, init="scaled"))
        trainee = training.Trainee(model, dataclasses.replace(BARE, unfreeze=None))
        x = rows(trainee)
        if plain:
            plan = batches.plan(LABELS, trainee.phase, (0, 0, 0), ())
            for b in plan:
                trainee.step(x.batch(b.part, 0), LABELS[b.part], b.rate)
        else:
            trainee.together = 3
            list(trainee.epoch(x, (0, 0), 0))
        return [v.numpy() for v in trainee.variables]

    for a, b in zip(ends(True), ends(False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
