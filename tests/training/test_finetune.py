"""The promises of `fine_tune`, each with the fault that would break it."""

import dataclasses
import re
import types

import keras
import numpy as np
import pytest

from tests.conftest import tiny_backbone, write_pictures
from tests.scripted import new_model, pictures
from tlkit.errors import TlkitError
from tlkit.evaluation import calibration
from tlkit.features.decoded import pixel_kind, pixel_rows
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.models.network import PIXELS, POOLED
from tlkit.phases.phase import Phase
from tlkit.training import phase_trainer, train
from tlkit.training.run import Run
from tlkit.workflows import fine_tuning

HEAD = Phase("head", epochs=3, rate=0.02, views=2, augment="flip", batch_size=16)
TAIL = dataclasses.replace(HEAD, name="tail", unfreeze="stage3", rate=0.005, epochs=2)
DEEPER = dataclasses.replace(TAIL, name="deeper", unfreeze="stage2")
PLAN = (HEAD, TAIL, DEEPER)


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
def images():
    return load_images(pictures(30), cache=False)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """One uninterrupted run, what its model was before, and its final values."""
    model = new_model()
    store = Store(tmp_path_factory.mktemp("rows"))
    before, folder = state(model), tmp_path_factory.mktemp("runs") / "whole"
    run = train.train(model, images, PLAN, out=folder, store=store)
    return run, before, state(model)


def test_it_learns_and_returns_the_best_epoch(whole):
    run, _, _ = whole
    best = min(row["val_loss"] for row in run.history)
    logits = run.model.logits(pixels_of(run.data.val, run))
    assert calibration.log_loss(logits, run.data.val.labels) == pytest.approx(best, rel=2e-3)
    assert run.history[-1]["val_loss"] < 0.5 * run.history[0]["val_loss"]
    chances = run.model.predict(run.data.table.arrays[:9])
    assert [run.model.class_names[i] for i in chances.argmax(1)] == named(run.data.table.labels[:9])


def named(labels):
    return [("red", "blue", "green")[i] for i in labels]


def as_given(images):
    """Returns the pixels as they were given: they have the model's size."""
    return np.stack([images.table.read(i) for i in range(len(images))]).astype(np.float32)


def pixels_of(images, run):
    return pixel_rows(Store(), images, run.model.rule)


def test_exactly_the_open_stages_move(whole):
    _, before, after = whole
    moved = {path for path, old in before.items() if not np.array_equal(old, after[path])}
    trained = {path for path in moved if "seed" not in path}
    wanted = {p for p in before if p[:5] in ("conv2", "conv3") or p.startswith("logits")}
    assert trained == wanted  # and so no BatchNorm value at all


def test_batch_norm_trains_only_where_a_phase_says_so(images, tmp_path):
    model = new_model()
    before = state(model)
    phase = dataclasses.replace(TAIL, unfreeze="stage3", batch_norm="train")
    train.train(model, images, (phase,), out=tmp_path / "run")
    after = state(model)
    assert not np.array_equal(before["norm3/moving_mean"], after["norm3/moving_mean"])
    assert not np.array_equal(before["norm3/gamma"], after["norm3/gamma"])
    np.testing.assert_array_equal(before["norm2/moving_mean"], after["norm2/moving_mean"])


def test_the_same_seed_gives_identical_numbers_and_another_does_not(whole, images, tmp_path):
    run, _, values = whole
    plan = tuple(dataclasses.replace(phase) for phase in PLAN)
    again = new_model()
    second = train.train(again, images, plan, out=tmp_path / "again", store=run.store)
    assert_same(state(again), values)
    assert untimed(second.history) == untimed(run.history)
    other = train.train(new_model(), images, (HEAD,), out=tmp_path / "other", seed=1)
    assert other.history[0]["loss"] != run.history[0]["loss"]


def test_one_step_is_that_of_the_hand_gradient(images, tmp_path):
    """From a head of zeros every class has a third: the step is -rate x features' (p - y) / n."""
    model = new_model(head=Head(dropout=0.0))
    phase = Phase(
        "head", epochs=1, rate=0.05, schedule="constant", warmup=0.0, optimizer="sgd",
        weight_decay=0.0, smoothing=0.0, augment="none", batch_size=len(images.train),
    )  # fmt: skip
    x = as_given(images.train)
    features = model.segment(PIXELS, POOLED).predict(x, verbose=0)
    run = train.train(model, images, (phase,), out=tmp_path / "run")
    off = 1 / 3 - np.eye(3)[images.train.labels]
    found = state(model)
    kernel = -0.05 * features.T @ off / len(x)
    np.testing.assert_allclose(found["logits/kernel"], kernel, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found["logits/bias"], -0.05 * off.mean(0), rtol=1e-3, atol=1e-6)
    assert run.history[0]["loss"] == pytest.approx(np.log(3), rel=1e-5)


def test_without_phases_the_adviser_is_asked(images, tmp_path, monkeypatch):
    def quick_advice(*given):
        asked.append(given)
        return types.SimpleNamespace(phases=[brief])

    asked, brief = [], dataclasses.replace(HEAD, epochs=1)
    monkeypatch.setattr(fine_tuning, "quick_advice", quick_advice)
    model, store = new_model(), Store()
    run = fine_tuning.fine_tune(model, images, out=tmp_path / "run", store=store)
    assert run.phases == (brief,) and run.store is store
    assert asked == [(model, images, store)]
    kind, parts = pixel_kind(model.rule), (images.train, images.val, images.test)
    missing = [len(store.missing(kind, part.hashes)) for part in parts]
    assert missing == [0, 0, len(images.test)]  # nor are they decoded ahead


def test_every_phase_compiles_the_model_with_a_fresh_optimizer(images, tmp_path):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append((self.model.optimizer, len(self.model.trainable_variables)))

    plan = [dataclasses.replace(phase, epochs=1) for phase in PLAN]
    train.train(new_model(), images, plan, out=tmp_path / "run", callbacks=[Watch()])
    assert len({id(optimizer) for optimizer, _ in seen}) == len(PLAN)
    assert [count for _, count in seen] == [2, 3, 4]


def test_changed_images_are_refused_on_resume(tmp_path):
    photos = write_pictures(tmp_path / "own", 12)
    data = load_images(photos)
    model = Classifier(tiny_backbone(), data.class_names)
    with pytest.raises(Dies):
        train.train(model, data, (HEAD,), out=tmp_path / "r", callbacks=[DieAt(1)])
    picture = sorted((photos / "red").iterdir())[0]
    picture.write_bytes(sorted((photos / "blue").iterdir())[3].read_bytes())
    with pytest.raises(TlkitError, match=picture.name):
        train.resume(tmp_path / "r")


def test_a_resumed_run_has_the_store_and_the_callbacks_it_is_given(images, tmp_path):
    class Count(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(epoch)

    seen, store, model = [], Store(), new_model()
    with pytest.raises(Dies):
        train.train(model, images, (HEAD,), out=tmp_path / "r", callbacks=[DieAt(1)])
    moved = (tmp_path / "r").rename(tmp_path / "moved")  # a run folder may be moved
    run = train.resume(moved, source=pictures(30), callbacks=[Count()], store=store)
    kind = pixel_kind(model.rule)
    assert run.store is store and not len(store.missing(kind, images.train.hashes))
    assert seen == [1, 2] and run.finished and len(run.history) == 3
    with pytest.raises(TlkitError, match="finished"):
        train.resume(moved, source=pictures(30))


def test_a_model_of_other_classes_is_refused(images, tmp_path):
    orders = ("blue", "green", "red"), ("red", "green", "blue"), ("red", "blue"), ("x", "y", "z")
    for names in orders:
        other = Classifier(tiny_backbone(), names)
        with pytest.raises(TlkitError, match="The model has the classes"):
            train.train(other, images, PLAN, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_taken_folder_is_refused_with_the_way_on(whole, images, tmp_path):
    with pytest.raises(TlkitError, match=r"already holds a run\. Choose another folder\.$"):
        train.train(new_model(), images, PLAN, out=whole[0].folder)
    run = Run.create(tmp_path / "r", new_model(), images, PLAN, 0)
    with pytest.raises(TlkitError, match=r"or resume it: tlkit finetune --resume .*/r\.$"):
        train.train(new_model(), images, PLAN, out=run.folder)
    with pytest.raises(TlkitError, match="not a run folder"):
        train.resume(tmp_path)


def test_a_mistake_in_a_later_phase_is_an_error_before_anything_is_written(images, tmp_path):
    mistakes = {"unfreeze": ("stag3", "'stage3'"), "augment": ("fotos", "'photos'")}
    for field, (value, hint) in mistakes.items():
        plan = (HEAD, TAIL, dataclasses.replace(TAIL, **{field: value}))
        with pytest.raises(TlkitError, match=f"Did you mean {hint}"):
            train.train(new_model(), images, plan, out=tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_default_phases_are_a_head_then_the_last_stage():
    model = new_model()
    head, upper = train.default_phases(model, batch_size=7, augment="flip")
    assert (head.unfreeze, upper.unfreeze) == (None, "stage3")
    assert {(p.batch_size, p.augment) for p in (head, upper)} == {(7, "flip")}
    assert upper.rate < head.rate
    model.backbone = dataclasses.replace(model.backbone, weights="random, seed 0, 1a2b")
    (whole,) = train.default_phases(model, epochs=2)
    assert (whole.unfreeze, whole.batch_norm, whole.epochs) == ("all", "train", 2)
    with pytest.raises(TlkitError, match="no field 'epoch'"):
        train.default_phases(model, epoch=2)


def test_tail_from_cache_equals_training_the_whole_network(images, tmp_path):
    """Step by step, the cached boundary gives what Keras's own fit on the whole model gives."""
    phase = dataclasses.replace(
        TAIL, epochs=1, views=1, augment="none", optimizer="sgd", schedule="constant", warmup=0,
        weight_decay=0, decay=1.0, rate=0.05, smoothing=0,
    )  # fmt: skip
    one, two = (new_model(head=Head(dropout=0.0)) for _ in "12")
    trainee = phase_trainer.Trainee(one, phase)
    rows = Frozen(one, Store()).training_rows(images.train, "stage2", [View()])
    list(trainee.epoch(rows, (0, 0), 0))
    phase_trainer.set_trainable(two, phase)
    two.keras_model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    two.keras_model.optimizer.learning_rate = 0.05
    order = np.random.default_rng([0, 0, 0]).permutation(len(images.train))
    pixels = as_given(images.train)[order]
    two.keras_model.fit(
        pixels, images.train.labels[order], batch_size=16, shuffle=False, epochs=1, verbose=0
    )
    for a, b in zip(one.variables, two.variables, strict=True):
        if "seed" not in a.path:
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=3e-4, err_msg=a.path)
