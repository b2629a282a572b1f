"""The promises of `fine_tune`, each with the fault that would break it."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import tiny_backbone, write_pictures
from tlkit import checkpoint, files, finetune, session, training
from tlkit.data import load_images
from tlkit.errors import AuditError, TlkitError
from tlkit.model import Classifier
from tlkit.phases import Phase
from tlkit.run import Run

HEAD = Phase("head", epochs=3, rate=0.02, views=2, augment="flip", batch_size=16)
TAIL = dataclasses.replace(HEAD, name="tail", unfreeze="stage2", rate=0.005)
DEEPER = dataclasses.replace(TAIL, name="deeper", unfreeze="stage1", epochs=2)
PLAN = (HEAD, TAIL, DEEPER)


def new_model(data, seed=0):
    return Classifier(tiny_backbone(), data.class_names, seed=seed)


def state(model):
    """Values by path; the counter in a random state's path belongs to the process."""
    return {
        re.sub(r"generator_\d+", "generator", v.path): v.numpy().copy() for v in model.variables
    }


def assert_same(one, two):
    assert one.keys() == two.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], two[path], err_msg=path)


def untimed(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


class Dies(BaseException):
    """Stands for kill -9: nothing in tlkit may catch it."""


class DieAt(keras.callbacks.Callback):
    """Dies at the end of an epoch, before the epoch is kept."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Dies


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """One uninterrupted run and its final values."""
    os.environ["TLKIT_HOME"] = str(tmp_path_factory.mktemp("whole_home"))
    data = load_images(photos)
    model = new_model(data)
    run = finetune.fine_tune(model, data, PLAN, out=tmp_path_factory.mktemp("runs") / "whole")
    return run, state(model)


def test_it_learns_and_returns_the_best_epoch(whole):
    run, _ = whole
    best = min(row["val_loss"] for row in run.history)
    logits = run.model.logits(pixels_of(run.data.val, run))
    assert session.log_loss(logits, run.data.val.labels) == pytest.approx(best, rel=2e-3)
    assert run.evaluate(run.data.test)["accuracy"]["value"] > 0.9


def pixels_of(images, run):
    from tlkit.features import pixel_rows
    from tlkit.store import Store

    return pixel_rows(Store(), images, run.model.rule)


def test_exactly_the_open_stages_move(data, tmp_path):
    model = new_model(data)
    before = state(model)
    finetune.fine_tune(model, data, (dataclasses.replace(TAIL, epochs=2),), out=tmp_path / "run")
    moved = {path for path, old in before.items() if not np.array_equal(old, state(model)[path])}
    trained = {path for path in moved if "seed" not in path}
    wanted = {p for p in before if p[:5] in ("conv2", "conv3") or p.startswith("logits")}
    assert trained == wanted  # and so no BatchNorm value at all


def test_batch_norm_trains_only_where_a_phase_says_so(data, tmp_path):
    model = new_model(data)
    before = state(model)
    phase = dataclasses.replace(TAIL, unfreeze="stage3", batch_norm="train", epochs=2)
    finetune.fine_tune(model, data, (phase,), out=tmp_path / "run")
    after = state(model)
    assert not np.array_equal(before["norm3/moving_mean"], after["norm3/moving_mean"])
    assert not np.array_equal(before["norm3/gamma"], after["norm3/gamma"])
    np.testing.assert_array_equal(before["norm2/moving_mean"], after["norm2/moving_mean"])


def test_the_same_seed_gives_identical_numbers_and_another_does_not(whole, data, tmp_path):
    run, values = whole
    again = new_model(data)
    second = finetune.fine_tune(again, data, PLAN, out=tmp_path / "again")
    assert_same(state(again), values)
    assert untimed(second.history) == untimed(run.history)
    other = new_model(data)
    finetune.fine_tune(other, data, (HEAD,), out=tmp_path / "other", seed=1)
    assert not np.array_equal(state(other)["logits/kernel"], values["logits/kernel"])


@pytest.mark.parametrize("epoch", [0, 1, 3, 5, 7])
def test_interrupted_equals_uninterrupted(whole, data, tmp_path, epoch):
    with pytest.raises(Dies):
        finetune.fine_tune(
            new_model(data), data, PLAN, out=tmp_path / "run", callbacks=[DieAt(epoch)]
        )
    resumed = finetune.resume(tmp_path / "run")
    assert_same(state(resumed.model), whole[1])
    assert resumed.model.temperature == whole[0].model.temperature
    assert [r["val_loss"] for r in resumed.history] == [r["val_loss"] for r in whole[0].history]
    assert len(resumed.records) == len(PLAN)
    saved = Run.open(tmp_path / "run").model.keras_model.get_weights()
    for one, two in zip(saved, whole[0].model.keras_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("save", [3, 5, 8, 12])
def test_dying_inside_a_save_loses_at_most_that_epoch(whole, data, tmp_path, monkeypatch, save):
    writes, real = [], os.replace

    def dying(*paths):
        if threading.current_thread() is threading.main_thread():  # others decode ahead
            writes.append(paths)
            if len(writes) == save:
                raise Dies
        return real(*paths)

    load_images(data.table.root)  # fills the cache, so that writes count the run's own
    monkeypatch.setattr(files.os, "replace", dying)
    with pytest.raises(Dies):
        finetune.fine_tune(new_model(data), data, PLAN, out=tmp_path / "run")
    monkeypatch.undo()
    if not (tmp_path / "run" / "run.json").exists():
        return  # it died while making the folder: there is nothing to resume yet
    assert_same(state(finetune.resume(tmp_path / "run").model), whole[1])


SCRIPT = """
import os, signal, sys
import keras
from tests.conftest import tiny_backbone
from tests.test_finetune import PLAN, new_model
from tlkit import finetune
from tlkit.data import load_images

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.epochs == 4 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    def on_epoch_begin(self, epoch, logs=None):
        self.epochs = epoch

data = load_images(sys.argv[1])
finetune.fine_tune(new_model(data), data, PLAN, out=sys.argv[2], callbacks=[Kill()])
"""


def test_kill_9_in_mid_epoch(whole, photos, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(photos), str(tmp_path / "run")],
        cwd=Path(__file__).parents[1],
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    resumed = finetune.resume(tmp_path / "run")
    assert_same(state(resumed.model), whole[1])


def test_a_phase_that_gets_worse_does_not_win(data, tmp_path):
    model = new_model(data)
    wild = dataclasses.replace(TAIL, rate=3.0, warmup=0, optimizer="sgd", epochs=2)
    run = finetune.fine_tune(model, data, (HEAD, wild), out=tmp_path / "run")
    assert run.records[1]["best_epoch"] <= HEAD.epochs
    best = min(row["val_loss"] for row in run.history)
    logits = model.logits(pixels_of(data.val, run))
    assert session.log_loss(logits, data.val.labels) == pytest.approx(best, rel=2e-3)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_nan_ends_the_run_with_the_last_good_model(data, tmp_path, monkeypatch):
    real = training.Trainee.epoch

    def poisoned(self, rows, seed, epoch, past=()):
        for step in real(self, rows, seed, epoch, past):
            if self.phase.name == "tail" and epoch == 1:
                self.variables[0].assign(self.variables[0] * np.nan)
                step["loss"] = float("nan")
            yield step

    monkeypatch.setattr(training.Trainee, "epoch", poisoned)
    run = finetune.fine_tune(new_model(data), data, PLAN, out=tmp_path / "run")
    assert "became nan in epoch 5" in run.stopped and len(run.history) == 4
    assert all(np.isfinite(v).all() for v in state(run.model).values())
    assert Run.open(tmp_path / "run").stopped == run.stopped


def test_the_auditor_stops_a_run_whose_frozen_part_moves(data, tmp_path, monkeypatch):
    real = training.Trainee.epoch

    def leaking(self, rows, seed, epoch, past=()):
        yield from real(self, rows, seed, epoch, past)
        norm = self.model.backbone.net.get_layer("norm1")
        norm.moving_mean.assign(norm.moving_mean * 1.001)

    monkeypatch.setattr(training.Trainee, "epoch", leaking)
    with pytest.raises(AuditError, match="norm1/moving_mean"):
        finetune.fine_tune(new_model(data), data, (HEAD,), out=tmp_path / "run")


def test_the_auditor_stops_a_run_in_which_nothing_trains(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training.Trainee, "_train_step", lambda *_, **__: (keras.ops.zeros(()), 0))
    with pytest.raises(AuditError, match=r"stage2, stage3, head"):
        finetune.fine_tune(new_model(data), data, (TAIL,), out=tmp_path / "run")


def test_without_phases_the_adviser_is_asked(data, tmp_path, monkeypatch):
    from tlkit import advice

    brief = dataclasses.replace(HEAD, epochs=1)
    plan = types.SimpleNamespace(phases=(brief,))
    monkeypatch.setattr(advice, "quick_advice", lambda *_: plan)
    run = finetune.fine_tune(new_model(data), data, out=tmp_path / "run")
    assert run.phases == (brief,)


def test_every_phase_compiles_the_model_with_a_fresh_optimizer(data, tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append((self.model.optimizer, len(self.model.trainable_variables)))

    finetune.fine_tune(new_model(data), data, PLAN, out=tmp_path / "run", callbacks=[Watch()])
    assert len({id(optimizer) for optimizer, _ in seen}) == len(PLAN)
    assert sorted({count for _, count in seen}) == [2, 4, 5]


def test_callbacks_can_stop_a_phase(data, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = "val_loss" in logs

    run = finetune.fine_tune(new_model(data), data, (HEAD,), out=tmp_path / "r", callbacks=[Stop()])
    assert len(run.history) == 1


def test_the_test_split_is_not_touched(photos, tmp_path):
    data = load_images(photos)
    blind = dataclasses.replace(data)
    object.__setattr__(blind, "test", None)  # any use of it in training would now fail
    finetune.fine_tune(new_model(data), blind, (HEAD,), out=tmp_path / "run")


def test_changed_images_are_refused_on_resume(tmp_path):
    photos = write_pictures(tmp_path / "own", 12)
    data = load_images(photos)
    with pytest.raises(Dies):
        finetune.fine_tune(new_model(data), data, (HEAD,), out=tmp_path / "r", callbacks=[DieAt(1)])
    picture = sorted((photos / "red").iterdir())[0]
    picture.write_bytes(sorted((photos / "blue").iterdir())[3].read_bytes())
    with pytest.raises(TlkitError, match=picture.name):
        finetune.resume(tmp_path / "r")


def test_clear_errors(whole, data, tmp_path):
    run, _ = whole
    with pytest.raises(TlkitError, match="already holds a run"):
        finetune.fine_tune(new_model(data), data, PLAN, out=run.folder)
    with pytest.raises(TlkitError, match="finished"):
        finetune.resume(run.folder)
    with pytest.raises(TlkitError, match="not a run folder"):
        finetune.resume(tmp_path)
    with pytest.raises(TlkitError, match="classes"):
        finetune.fine_tune(Classifier(tiny_backbone(), ("x", "y")), data, PLAN, out=tmp_path / "x")
    with pytest.raises(TlkitError, match="Did you mean 'stage3'"):
        plan = (dataclasses.replace(TAIL, unfreeze="stag3"),)
        finetune.fine_tune(new_model(data), data, plan, out=tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_a_damaged_checkpoint_is_named(tmp_path):
    checkpoint.write(tmp_path / "c.npz", {"a": 1}, {"x": [np.eye(2)]})
    facts, arrays = checkpoint.read(tmp_path / "c.npz")
    assert facts == {"a": 1} and np.array_equal(arrays["x"][0], np.eye(2))
    (tmp_path / "c.npz").write_bytes(b"PK torn")
    with pytest.raises(TlkitError, match=r"c\.npz is damaged"):
        checkpoint.read(tmp_path / "c.npz")


def test_tail_from_cache_equals_training_the_whole_network(data, tmp_path):
    """Step by step, the cached boundary gives what Keras's own fit on the whole model gives."""
    phase = dataclasses.replace(
        TAIL, epochs=1, views=1, augment="none", optimizer="sgd", schedule="constant", warmup=0,
        weight_decay=0, decay=1.0, rate=0.05, smoothing=0,
    )  # fmt: skip
    one, two = (Classifier(tiny_backbone(), data.class_names, head=no_dropout()) for _ in "12")
    run = Run(tmp_path, two, (phase,), 0)
    run.data = data
    trainee = training.Trainee(one, phase)
    from tlkit.features import Frozen, View
    from tlkit.store import Store

    rows = Frozen(one, Store()).training_rows(data.train, "stage1", [View()])
    list(trainee.epoch(rows, (0, 0), 0))
    training.set_trainable(two, phase)
    two.keras_model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    two.keras_model.optimizer.learning_rate = 0.05
    order = np.random.default_rng([0, 0, 0]).permutation(len(data.train))
    pixels = pixels_of(data.train, run)[order].astype(np.float32)
    two.keras_model.fit(
        pixels, data.train.labels[order], batch_size=16, shuffle=False, epochs=1, verbose=0
    )
    for a, b in zip(one.variables, two.variables, strict=True):
        if "seed" not in a.path:
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=3e-4, err_msg=a.path)


def no_dropout():
    from tlkit.model import Head

    return Head(dropout=0.0)
