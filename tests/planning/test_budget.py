"""Limits bind: a plan is shortened, rows are mapped, and training ends when the time is up."""

import dataclasses
import time
from types import SimpleNamespace

import keras
import pytest

from tlkit.errors import TlkitError
from tlkit.features.store import Store
from tlkit.phases.phase import Phase
from tlkit.planning import budget
from tlkit.planning import estimate as planner
from tlkit.planning.estimate import Estimate, PhaseCost
from tlkit.training.deadline import Deadline
from tlkit.workflows import fine_tuning

HEAD = Phase("head", epochs=4, views=2, augment="flip", batch_size=16, rate=0.01)
TAIL = dataclasses.replace(HEAD, name="tail", unfreeze="stage3")
# 40 + 2 + 4 and 8 + 2 + 40 seconds, and 4 for saving: 100.
COST = Estimate(
    (PhaseCost("head", 40, 0, 2, 1.0, 4, 10**6), PhaseCost("tail", 8, 0, 2, 10.0, 4, 0)), 2e9, 4.0
)
LARGE = dataclasses.replace(COST, memory=3e9, held=2 * 10**9, views=3)


class Clock:
    """The time, as a test sets it: `now` seconds are added to what has passed in truth."""

    def __init__(self, monkeypatch):
        self.now, true = 0.0, time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: true() + self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Told:
    """Stands for `planner.estimate` and `train`, and keeps what each was given."""

    def __init__(self, monkeypatch, cost, takes=0.0, clock=None):
        self.cost, self.takes, self.clock = cost, takes, clock
        self.estimated, self.trained, self.said = [], [], []
        monkeypatch.setattr(planner, "estimate", self.estimate)
        monkeypatch.setattr(fine_tuning, "train", self.train)

    def estimate(self, model, data, plan, **options):
        self.estimated.append((model, data, tuple(plan), options))
        if self.clock:
            self.clock.now += self.takes
        return self.cost

    def train(self, model, data, plan, **options):
        self.trained.append((model, data, tuple(plan), options))
        records = [{"epochs": 3}, {"epochs": 1}]
        return SimpleNamespace(records=records, seconds=75.0, say=self.said.append)


DATA = SimpleNamespace(train=range(10))


def test_what_does_not_fit_the_time_is_not_trained(monkeypatch, capsys):
    told = Told(monkeypatch, COST)
    store = Store()
    run = fine_tuning.fine_tune(
        "model", DATA, (HEAD, TAIL), max_minutes=1.4, store=store, seed=7, out="x"
    )
    (model, data, plan, options) = told.trained[0]
    assert (model, data, options["out"], options["seed"]) == ("model", DATA, "x", 7)
    assert options["store"] is store and [phase.views for phase in plan] == [1, 1]
    assert told.estimated == [("model", DATA, (HEAD, TAIL), {"store": store, "seed": 7})]
    said = capsys.readouterr().err
    assert "To end in 1.4 minutes: 1 view in place of 2." in said and "Estimate: at most" in said
    # Three and one of the epochs of the shortened plan: 20 + 2 + 3, 4 + 2 + 10, and 4.
    assert told.said == ["Estimated for these epochs 45 s, took 1 min 15 s."]
    assert run.seconds == 75


def test_the_time_runs_from_the_start_not_from_after_the_estimate(monkeypatch, clock):
    told = Told(monkeypatch, COST, takes=50.0, clock=clock)
    mine = keras.callbacks.Callback()
    fine_tuning.fine_tune("model", DATA, (HEAD,), max_minutes=2.0, store=Store(), callbacks=[mine])
    first, deadline = told.trained[0][3]["callbacks"]
    assert first is mine and not deadline.due()
    clock.now += 69
    assert not deadline.due()
    clock.now += 2
    assert deadline.due()


def test_a_deadline_stops_after_the_epoch_in_which_the_time_is_up(clock):
    deadline = Deadline(60.0)
    deadline.set_model(SimpleNamespace(stop_training=False))
    clock.now = 59.0
    deadline.on_epoch_end(0)
    assert not deadline.model.stop_training
    clock.now = 60.0
    deadline.on_epoch_end(1)
    assert deadline.model.stop_training


def test_rows_are_mapped_from_disk_where_memory_is_short(monkeypatch, tmp_path, capsys):
    told = Told(monkeypatch, LARGE)
    store = Store(tmp_path, memory=10**9)
    fine_tuning.fine_tune("model", DATA, (HEAD,), max_memory=2.0, store=store)
    # 2 GB less 1 GB for the network, for pixels and three views.
    assert store.memory == 250_000_000 and told.trained[0][3]["store"] is store
    assert told.trained[0][2] == (HEAD,) and told.trained[0][3]["callbacks"] == []
    assert "views of more than 250 MB are mapped" in capsys.readouterr().err
    with pytest.raises(TlkitError, match="too little"):
        fine_tuning.fine_tune("model", DATA, (HEAD,), max_memory=0.9, store=store)


@pytest.mark.parametrize("limits", [{"max_minutes": 0}, {"max_memory": 0}])
def test_a_limit_of_nothing_is_no_limit_left_out(limits, monkeypatch):
    Told(monkeypatch, COST)
    with pytest.raises(TlkitError, match="too"):
        fine_tuning.fine_tune("model", DATA, (HEAD, TAIL), **limits, store=Store())


def test_a_short_job_without_limits_is_not_timed(monkeypatch, capsys):
    told = Told(monkeypatch, COST)
    fine_tuning.fine_tune("model", DATA, (HEAD, TAIL))
    assert not told.estimated and told.trained[0][2] == (HEAD, TAIL) and not told.said
    assert capsys.readouterr().err == "" and told.trained[0][3]["store"].folder is not None
    long = SimpleNamespace(train=range(10_000))
    fine_tuning.fine_tune("model", long, (HEAD, TAIL))
    assert told.estimated and told.trained[1][2] == (HEAD, TAIL) and told.said
    assert "Estimate: at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "phase", "pays"),
    [
        # Two views of each image; an open phase adds three passes an epoch.
        (9_999, HEAD, False), (10_000, HEAD, True), (1_428, TAIL, False), (1_429, TAIL, True),
        (5_000, dataclasses.replace(HEAD, views=9), True),  # no more views than four epochs
        (4_999, dataclasses.replace(HEAD, views=9), False),
    ],
)  # fmt: skip
def test_jobs_of_twenty_thousand_passes_are_timed(images, phase, pays):
    assert planner.worth(SimpleNamespace(train=range(images)), (phase,)) == pays


def test_limits_bind_in_training_too(classifier, data, monkeypatch, clock, tmp_path, capsys):
    class Slow(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):  # too late already, yet one epoch is to be judged
            clock.now += 100

    monkeypatch.setattr(planner, "estimate", lambda *_, **__: LARGE)
    store = Store(tmp_path / "rows", memory=10**9)
    run = fine_tuning.fine_tune(
        classifier, data, (HEAD, TAIL), max_minutes=1.5, max_memory=2.0, store=store,
        callbacks=[Slow()],
        out=tmp_path / "run",
    )  # fmt: skip
    assert [row["phase"] for row in run.history] == ["head"]  # of four epochs, and four more
    assert [phase.views for phase in run.phases] == [1, 1] and store.memory == 250_000_000
    assert run.finished and len(run.records) == 1
    log = (run.folder / "log.txt").read_text()
    assert "The time is up: tail is left out." in log and "Estimated for these epochs" in log
    said = capsys.readouterr().err
    assert "To end in 1.5 minutes: 1 view in place of 2." in said and "are mapped" in said


def test_time_is_saved_on_views_first_then_on_epochs():
    plan = (HEAD, TAIL)
    assert budget.fit_budget(plan, COST, None) == (plan, COST, [])
    assert budget.fit_budget(plan, COST, 100 / 60)[2] == []  # just in time
    fitted, cost, (line,) = budget.fit_budget(plan, COST, 1.4)
    assert [p.views for p in fitted] == [1, 1] and [p.epochs for p in fitted] == [4, 4]
    assert line == "To end in 1.4 minutes: 1 view in place of 2."
    assert cost.seconds == COST.seconds - 24
    fitted, cost, (line,) = budget.fit_budget(plan, COST, 1)
    assert [p.epochs for p in fitted] == [2, 2] and "at most: head 2, tail 2." in line
    assert [c.epochs for c in cost.phases] == [2, 2] and cost.seconds <= 60
    with pytest.raises(TlkitError, match=r"0.5 minutes are too few: .* take 0.7"):
        budget.fit_budget(plan, COST, 0.5)


def test_no_more_views_are_given_up_than_must_be():
    plan = tuple(dataclasses.replace(p, views=v, epochs=8) for p, v in ((HEAD, 4), (TAIL, 1)))
    cost = Estimate((PhaseCost("head", 40, 5, 1, 1.0, 8, 4000),
                     PhaseCost("tail", 10, 0, 1, 1.0, 8, 1000)), 0, 0.0)  # fmt: skip
    fitted, left, (line,) = budget.fit_budget(plan, cost, 65 / 60)
    assert [p.views for p in fitted] == [3, 1] and [p.epochs for p in fitted] == [8, 8]
    assert "3 views in place of 4" in line
    assert [c.views for c in left.phases] == [30, 10] and [c.cache for c in left.phases] == [
        3000, 1000
    ]  # fmt: skip
    fitted, left, _ = budget.fit_budget(plan, cost, 55 / 60)
    assert [p.views for p in fitted] == [2, 1] and left.phases[0].others == 5


def test_views_are_kept_where_fewer_would_save_nothing():
    known = dataclasses.replace(COST, phases=(PhaseCost("head", 0, 0, 2, 30.0, 4, 10**6),))
    (fitted,), _, (line,) = budget.fit_budget((HEAD,), known, 1.5)
    assert (fitted.views, fitted.epochs) == (2, 2) and "view" not in line
    drawn_live = dataclasses.replace(
        COST, phases=(COST.phases[0], PhaseCost("tail", 0, 0, 2, 30.0, 4, 0))
    )
    fitted, _, _ = budget.fit_budget((HEAD, TAIL), drawn_live, 2.5)
    assert [phase.views for phase in fitted] == [1, 2]


def test_epochs_are_cut_in_one_share_and_one_is_left_to_each():
    plan = dataclasses.replace(HEAD, epochs=20), dataclasses.replace(TAIL, epochs=2)
    costs = PhaseCost("head", 0, 4, 3, 1.0, 20, 0), PhaseCost("tail", 0, 2, 1, 20.0, 2, 0)
    cost = Estimate(costs, 0, 5.0)
    # 75 seconds, 60 of them epochs; 41 leave 26.
    fitted, left, _ = budget.fit_budget(plan, cost, 41 / 60)
    assert [phase.epochs for phase in fitted] == [8, 1]
    assert left.seconds == 15 + 8 + 20


def test_memory_is_saved_by_mapping_rows(tmp_path):
    store = Store(tmp_path, memory=10**9)
    cost = dataclasses.replace(COST, memory=3e9, held=10**9, views=4)
    assert budget.fit_memory(cost, store, 3e9) == [] and store.memory == 10**9
    (line,) = budget.fit_memory(cost, store, 2.5e9)
    assert store.memory == 10**8 and "100 MB" in line
    assert budget.fit_memory(dataclasses.replace(cost, views=1), store, 2.9e9)
    assert store.memory == 10**8, "a store is never allowed more than it was"
    with pytest.raises(TlkitError, match=r"1.0 GB are too little: .* about 2.0 GB"):
        budget.fit_memory(cost, store, 1e9)
    with pytest.raises(TlkitError, match="without a folder"):
        budget.fit_memory(cost, Store(), 2.5e9)


def test_the_cost_of_so_many_epochs_by_hand():
    assert (COST.seconds, COST.cache) == (100, 10**6)
    assert budget.expected(COST, [3, 2]) == 4 + (40 + 2 + 3) + (8 + 2 + 20)
    assert budget.expected(COST, [3]) == 4 + (40 + 2 + 3)  # the second phase was left out
    run = SimpleNamespace(records=[{"epochs": 3}], seconds=61)
    assert fine_tuning.compare(COST, run) == "Estimated for these epochs 49 s, took 1 min 01 s."


def test_an_estimate_is_a_table():
    assert str(COST).splitlines() == [
        "Estimate: at most 1 min 40 s, 2.0 GB of memory, 1 MB of cached features",
        "  head         features  40.0 s, start  2.0 s, 4 epochs of 1.00 s at most",
        "  tail         features   8.0 s, start  2.0 s, 4 epochs of 10.00 s at most",
    ]
