"""What a session does with what its trainee answers, against losses written by hand."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from tests.scripted import DEEPER, HEAD, TAIL, Script, new_model, pictures, played, values
from tlkit.errors import AuditError
from tlkit.evaluation import calibration
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.training.deadline import Deadline


@pytest.fixture(scope="module")
def data():
    return load_images(pictures(), val_share=0.3, cache=False)


@pytest.fixture(scope="module")
def store():
    """Rows of the first phase are the same in all these tests."""
    return Store()


@pytest.fixture
def play(tmp_path, data, store):
    """Plays a script in a folder of its own and returns the session after it."""
    folders = (tmp_path / str(number) for number in range(9))

    def play(plan, script, **options):
        folder = next(folders)
        folder.mkdir()
        return played(folder, data, plan, script, store=store, **options)

    return play


def marks(weights):
    """Returns the mark of each variable of the stages and the head that has one."""
    names = ("conv1/kernel", "conv2/kernel", "conv3/kernel", "logits/kernel", "logits/bias")
    found = {name: np.unique(weights[name]) for name in names}
    return {name: float(value[0]) for name, value in found.items() if len(value) == 1}


def test_log_loss_against_hand_calculation():
    logits = np.array([[0.0, math.log(3)], [1000.0, 0.0], [0.0, 2.0]], np.float32)
    by_hand = [math.log(4 / 3), 0.0, 2 + math.log1p(math.exp(-2))]
    found = calibration.log_loss(logits, np.array([1, 0, 0]))
    assert found == pytest.approx(np.mean(by_hand), rel=1e-6)
    assert math.isnan(calibration.log_loss(np.array([[np.nan, 0.0]]), np.array([0])))


def test_a_phase_ends_after_patience_epochs_without_a_better_one(play):
    first = dataclasses.replace(HEAD, epochs=9, patience=3)
    second = dataclasses.replace(HEAD, name="again", epochs=9, patience=2)
    third = dataclasses.replace(HEAD, name="last", epochs=9, patience=1)
    losses = {
        "head": [1.0, 0.9, 1.1, 1.2, 1.3, 0.1],
        "again": [2.0, 1.5, 0.1],
        "last": [0.8, 0.7, 0.75, 0.1],
    }
    run = play((first, second, third), Script(losses)).run
    assert [row["phase"] for row in run.history] == ["head"] * 5 + ["again"] * 2 + ["last"] * 3
    assert [row["epoch"] for row in run.history] == list(range(10))
    shown = [row["val_loss"] for row in run.history]
    assert shown == pytest.approx([1.0, 0.9, 1.1, 1.2, 1.3, 2.0, 1.5, 0.8, 0.7, 0.75], rel=1e-5)
    assert [(r["epochs"], r["best_epoch"]) for r in run.records] == [(5, 2), (2, 2), (3, 9)]


def test_a_better_epoch_starts_patience_anew(play):
    phase = dataclasses.replace(HEAD, epochs=9, patience=2)
    run = play((phase,), Script({"head": [1.0, 1.1, 0.9, 1.1, 0.8, 1.1, 1.2, 0.1]})).run
    assert len(run.history) == 7 and run.records[0]["best_epoch"] == 5


def test_an_equal_loss_is_no_better(play):
    done = play((dataclasses.replace(HEAD, patience=2),), Script({"head": [0.5, 0.5, 0.5, 0.1]}))
    assert len(done.run.history) == 3 and done.run.records[0]["best_epoch"] == 1
    assert marks(values(done.model))["logits/bias"] == 11


def test_a_phase_ends_with_its_last_epoch(play):
    run = play((dataclasses.replace(HEAD, epochs=2),), Script({"head": [1.0, 0.9, 0.8]})).run
    assert len(run.history) == 2


PLAN = tuple(dataclasses.replace(phase, epochs=3) for phase in (HEAD, TAIL, DEEPER))


@pytest.mark.parametrize(
    ("losses", "starts", "ends"),
    [
        ([[1.0, 0.5, 0.8], [0.7, 0.6, 0.9], [0.9, 0.8, 0.7]], [0, 12, 12], (None, None, 12)),
        ([[1.0, 0.9, 0.8], [0.7, 0.4, 0.9], [0.5, 0.6, 0.7]], [0, 13, 22], (None, 22, 22)),
        ([[1.0, 0.9, 0.8], [0.9, 0.9, 0.9], [0.9, 0.7, 0.3]], [0, 13, 13], (33, 33, 33)),
    ],
    ids=["head", "tail", "deeper"],
)
def test_the_best_epoch_over_all_phases_comes_back(play, losses, starts, ends):
    script = Script(dict(zip(("head", "tail", "deeper"), losses, strict=True)))
    done = play(PLAN, script)
    first = [marks(e.before)["logits/bias"] for e in script.epochs if e.epoch == 0]
    assert first == starts  # a phase goes on from the best weights, not from the last
    found, untrained = values(done.model), values(new_model())
    for name, number in zip(("conv2/kernel", "conv3/kernel", "logits/kernel"), ends, strict=True):
        wanted = untrained[name] if number is None else np.full_like(untrained[name], number)
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)
    np.testing.assert_array_equal(found["conv1/kernel"], untrained["conv1/kernel"])
    row = np.concatenate(losses)
    assert done.run.records[-1]["best_epoch"] == row.argmin() + 1
    found = calibration.log_loss(done.best_logits, done.data.val.labels)
    assert found == pytest.approx(row.min(), rel=1e-5)


def test_a_schedule_looks_back_on_its_own_phase_only(play):
    script = Script({"head": [1.0, 0.9, 0.8], "tail": [0.7, 0.75, 0.6], "deeper": [0.6] * 3})
    play(PLAN, script)
    past = {(e.phase, e.epoch): e.past for e in script.epochs}
    assert past["head", 0] == past["tail", 0] == past["deeper", 0] == []
    assert past["head", 2] == pytest.approx([1.0, 0.9], rel=1e-5)
    assert past["tail", 1] == pytest.approx([0.7], rel=1e-5)
    assert past["tail", 2] == pytest.approx([0.7, 0.75], rel=1e-5)


def test_each_epoch_is_told_the_seed_its_phase_and_its_number_there(play):
    script = Script({"head": [1.0, 0.9, 0.8], "tail": [0.7] * 3, "deeper": [0.6] * 3})
    play(PLAN, script, seed=5)
    asked = [(e.phase, e.seed, e.epoch) for e in script.epochs]
    names = ("head", "tail", "deeper")
    assert asked == [(name, (5, n), e) for n, name in enumerate(names) for e in range(3)]


def test_the_row_of_an_epoch_counts_every_image_once(play, data):
    wrong = np.eye(3, dtype=np.float32)[data.val.labels]
    wrong[:5] = np.roll(wrong[:5], 1, axis=1)
    script = Script({"head": [wrong]}, training={("head", 0): 2.0})
    (row,) = play((dataclasses.replace(HEAD, epochs=1),), script).run.history
    images, judged = len(data.train), len(data.val)
    assert row["loss"] == pytest.approx((10 * 2.0 + (images - 10) * 6.0) / images)
    assert row["accuracy"] == pytest.approx(6 / images)
    assert row["val_accuracy"] == pytest.approx((judged - 5) / judged)
    by_hand = math.log(math.e + 2) - (judged - 5) / judged
    assert row["val_loss"] == pytest.approx(by_hand, rel=1e-6)
    assert row["learning_rate"] == 0.25 and row["phase"] == "head" and row["epoch"] == 0
    assert 0 < row["seconds"] < 60


TRAINING = [({("tail", 1): value}, 0.1) for value in (math.nan, math.inf)]
VALIDATION = [({}, value) for value in (math.nan, math.inf)]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(("training", "second"), TRAINING + VALIDATION)
def test_a_loss_that_is_not_finite_ends_the_run(play, training, second):
    losses = {"head": [1.0, 0.5, 0.8], "tail": [0.4, second, 0.1], "deeper": [0.1] * 3}
    script = Script(losses, training)
    done = play(PLAN, script)
    assert "in epoch 5 (tail)" in done.run.stopped
    assert [e.phase for e in script.epochs] == ["head"] * 3 + ["tail"] * 2
    assert len(done.run.history) == 4 and len(done.run.records) == 2
    assert marks(values(done.model))["conv3/kernel"] == 21
    assert calibration.log_loss(done.best_logits, done.data.val.labels) == pytest.approx(0.4, 1e-5)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_run_that_fails_at_once_gives_the_model_it_was_given(play):
    model = new_model()
    before = values(model)
    script = Script({"tail": [math.nan]}, still=(0,))  # nor does the auditor ask for movement
    done = play((TAIL, DEEPER), script, model=model)
    assert done.run.history == [] and done.run.records[0]["best_epoch"] == 0
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path])


def test_what_is_judged_is_what_is_kept(play):
    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(float(self.model.get_layer("head").weights[-1][0]))

    seen = []
    script = Script({"head": [1.0, 0.5, 0.8, 0.9]}, judging=0.5)
    done = play((HEAD,), script, callbacks=[Look()])
    assert marks(values(done.model))["logits/bias"] == 12.5
    assert seen == [11.5, 12.5, 13.5, 14.5]
    assert all(in_place for _, in_place in script.judged)


class Log(keras.callbacks.Callback):
    """Writes down what it is told."""

    def __init__(self):
        super().__init__()
        self.events = []

    def on_train_begin(self, logs=None):
        self.events.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(("epoch", epoch))

    def on_train_batch_end(self, batch, logs=None):
        self.events.append((batch, logs["loss"]))

    def on_epoch_end(self, epoch, logs=None):
        assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= logs.keys()
        self.events.append(("done", epoch, round(logs["val_loss"], 5)))
        logs.clear()  # what a callback does to its copy is its own affair

    def on_train_end(self, logs=None):
        self.events.append("end")


def test_callbacks_are_told_of_everything_in_order(play):
    log = Log()
    plan = [dataclasses.replace(HEAD, epochs=2), dataclasses.replace(TAIL, epochs=1)]
    run = play(plan, Script({"head": [1.0, 0.9], "tail": [0.8]}), callbacks=[log]).run
    batches = [(0, 1.0), (1, 3.0)]
    assert log.events == [
        "begin",
        ("epoch", 0), *batches, ("done", 0, 1.0),
        ("epoch", 1), *batches, ("done", 1, 0.9),
        ("epoch", 2), *batches, ("done", 2, 0.8),
        "end",
    ]  # fmt: skip
    assert [row["epoch"] for row in run.history] == [0, 1, 2]


def test_with_callbacks_each_batch_is_a_call_of_its_own(play):
    alone, watched = Script({"head": [1.0]}), Script({"head": [1.0]})
    play((dataclasses.replace(HEAD, epochs=1),), alone)
    play((dataclasses.replace(HEAD, epochs=1),), watched, callbacks=[Log()])
    assert alone.epochs[0].together > 1 and watched.epochs[0].together == 1


def test_a_callback_stops_its_phase_and_no_other(play):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    losses = {"head": [1.0, 0.9, 0.8], "tail": [0.7, 0.6, 0.5], "deeper": [0.4] * 3}
    run = play(PLAN, Script(losses), callbacks=[Stop()]).run
    assert [record["epochs"] for record in run.records] == [2, 3, 3]


def test_a_clock_leaves_out_later_phases_but_never_the_first(play):
    class Clock(Deadline):
        def due(self):  # from the start, but asked only between phases
            return True

        def on_epoch_end(self, epoch, logs=None):
            pass

    done = play(PLAN, Script({"head": [1.0, 0.5, 0.8]}), callbacks=[Clock(0)])
    assert [record["epochs"] for record in done.run.records] == [3]
    assert marks(values(done.model))["logits/bias"] == 12
    assert "The time is up: tail is left out." in (done.run.folder / "log.txt").read_text()


def test_a_run_that_is_told_to_stop_ends_with_its_best_epoch(play):
    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            script.run.stopped = "enough" if epoch == 1 else ""

    script = Script({"head": [0.5, 0.8, 0.1], "tail": [0.1] * 3})
    done = play(PLAN, script, callbacks=[Watch()])
    assert done.run.stopped == "enough"
    assert len(done.run.history) == 2 and len(done.run.records) == 1
    assert marks(values(done.model))["logits/bias"] == 11


def test_the_auditor_is_told_what_is_frozen_and_what_is_open(play):
    class Leak(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            norm = self.model.get_layer("backbone").net.get_layer("norm1")
            norm.moving_mean.assign(norm.moving_mean * 1.001)

    plan = (dataclasses.replace(TAIL, epochs=1),)
    with pytest.raises(AuditError, match="norm1/moving_mean"):
        play(plan, Script({"tail": [1.0]}), callbacks=[Leak()])
    with pytest.raises(AuditError, match="no variable moved in: stage3, head"):
        play(plan, Script({"tail": [1.0]}, still=(0,)))
