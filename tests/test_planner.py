"""Estimates count right, leave the model alone, and budgets are kept."""

import dataclasses

import numpy as np
import pytest

from tests.conftest import tiny_backbone
from tlkit import augment, budget, features, finetune, planner, training, untouched, weights
from tlkit.errors import AuditError, TlkitError
from tlkit.model import Classifier
from tlkit.phases import Phase
from tlkit.planner import Estimate, PhaseCost
from tlkit.store import Store

HEAD = Phase("head", epochs=4, views=2, augment="flip", batch_size=16, rate=0.01)
TAIL = dataclasses.replace(HEAD, name="tail", unfreeze="stage3")
COST = Estimate(
    (PhaseCost("head", 40, 0, 2, 1.0, 4, 10**6), PhaseCost("tail", 8, 0, 2, 10.0, 4, 0)), 2e9, 4.0
)


@pytest.fixture
def model(data):
    return Classifier(tiny_backbone(), data.class_names)


@pytest.mark.parametrize("norm", ["frozen", "train"])
def test_the_model_ends_bit_equal(model, data, norm):
    flags = [layer.trainable for layer in model.backbone.net.layers]
    before = weights.fingerprint(model.variables), flags, model.extractor.live
    plan = (HEAD, dataclasses.replace(TAIL, batch_norm=norm))
    found = planner.estimate(model, data, plan, store=Store())
    flags = [layer.trainable for layer in model.backbone.net.layers]
    assert before == (weights.fingerprint(model.variables), flags, model.extractor.live)
    assert found.seconds > 0 and found.memory > planner.resident()
    assert [phase.epochs for phase in found.phases] == [4, 4]


def test_a_model_that_is_not_put_back_is_noticed(model, data, monkeypatch):
    monkeypatch.setattr(
        planner._Timer, "estimate", lambda self: model.variables[0].assign_add(
            np.ones(model.variables[0].shape))
    )  # fmt: skip
    with pytest.raises(AuditError, match="leave alone: weights"):
        planner.estimate(model, data, (HEAD,), store=Store())


def test_limits_are_kept_from_python_too(model, data, capsys, tmp_path):
    run = model.fine_tune(data, (HEAD, TAIL), max_minutes=5, max_memory=64, out=tmp_path / "run")
    assert "Estimate: at most" in capsys.readouterr().err
    assert "Estimated for these epochs" in (run.folder / "log.txt").read_text()


def test_only_the_highest_boundary_comes_out_of_the_head_pass(model, data):
    deeper = dataclasses.replace(TAIL, name="deeper", unfreeze="stage2")
    found = planner.estimate(model, data, (HEAD, TAIL, deeper), store=Store())
    assert [phase.views > 0 for phase in found.phases] == [True, False, True]


def test_rows_of_another_seed_are_missing(model, data):
    store = Store()
    finetune.fine_tune(model, data, (HEAD,), store=store)
    other = Classifier(tiny_backbone(), data.class_names)
    same, new = (
        planner.estimate(other, data, (HEAD,), store=store, seed=seed).phases[0] for seed in (0, 7)
    )
    assert same.views == 0 < new.views


def test_cached_bytes_are_those_of_the_rows(model, data):
    found = planner.estimate(model, data, (HEAD, TAIL), store=Store())
    assert found.phases[0].cache == 2 * len(data.train) * 16 * 4
    assert found.phases[1].cache == 2 * len(data.train) * 8 * 8 * 12 * 2  # float16 maps


def test_rows_that_are_there_cost_nothing(model, data):
    store = Store()
    fresh = planner.estimate(model, data, (HEAD, TAIL), store=store)
    assert fresh.phases[0].rows > 0
    run = finetune.fine_tune(model, data, (HEAD, TAIL), store=store)
    other = Classifier(tiny_backbone(), data.class_names)
    known = planner.estimate(other, data, (HEAD, TAIL), store=store)
    assert [phase.rows for phase in known.phases] == [0, 0]
    assert "took" in budget.compare(fresh, run)


def test_time_is_saved_on_views_first_then_on_epochs():
    plan = (HEAD, TAIL)
    assert budget.fit_budget(plan, COST, None) == (plan, COST, [])
    assert budget.fit_budget(plan, COST, 2)[2] == []
    fitted, cost, (line,) = budget.fit_budget(plan, COST, 1.4)
    assert [p.views for p in fitted] == [1, 1] and [p.epochs for p in fitted] == [4, 4]
    assert line == "To end in 1.4 minutes: 1 view in place of 2."
    assert cost.seconds == COST.seconds - 24
    fitted, cost, (line,) = budget.fit_budget(plan, COST, 1)
    assert [p.epochs for p in fitted] == [2, 2] and "fewer epochs" in line
    assert cost.seconds <= 60
    with pytest.raises(TlkitError, match=r"0.5 minutes are too few: .* take 0.7"):
        budget.fit_budget(plan, COST, 0.5)


def test_views_are_kept_where_fewer_would_save_nothing():
    known = dataclasses.replace(COST, phases=(PhaseCost("head", 0, 0, 2, 30.0, 4, 10**6),))
    (fitted,), _, (line,) = budget.fit_budget((HEAD,), known, 1.5)
    assert (fitted.views, fitted.epochs) == (2, 2) and "view" not in line
    drawn_live = dataclasses.replace(
        COST, phases=(COST.phases[0], PhaseCost("tail", 0, 0, 2, 30.0, 4, 0))
    )
    fitted, _, _ = budget.fit_budget((HEAD, TAIL), drawn_live, 2.5)
    assert [phase.views for phase in fitted] == [1, 2]


def test_memory_is_saved_by_mapping_rows(tmp_path):
    store = Store(tmp_path, memory=10**9)
    cost = dataclasses.replace(COST, memory=3e9, held=10**9, views=4)
    assert budget.fit_memory(cost, store, 3e9) == [] and store.memory == 10**9
    (line,) = budget.fit_memory(cost, store, 2.5e9)
    assert store.memory == 10**8 and "100 MB" in line
    with pytest.raises(TlkitError, match="too little"):
        budget.fit_memory(cost, store, 1e9)
    with pytest.raises(TlkitError, match="without a folder"):
        budget.fit_memory(cost, Store(), 2.5e9)


def test_no_more_rows_are_in_memory_than_is_said(model, data, tmp_path):
    views = [features.View(augment.policy("flip", 1.0), 0, number) for number in range(2)]
    train, val = len(data.train), len(data.val)
    one = train * 8 * 8 * 12 * 2  # a view of float16 maps at stage2
    pixel_bytes = (train + val) * 32 * 32 * 3
    for number, (limit, kept) in enumerate([(one, 2 * one), (one - 1, 0), (pixel_bytes, 2 * one)]):
        store = Store(tmp_path / str(number), memory=limit)
        found = planner.estimate(model, data, (TAIL,), store=store)
        frozen = features.Frozen(model, store)
        rows = [frozen.rows(data.train, "stage2", view) for view in views]
        held = sum(part.nbytes for part in rows if not isinstance(part, np.memmap))
        assert held == kept
        assert found.held == kept + (pixel_bytes if pixel_bytes <= limit else 0)


def test_a_timing_that_is_cut_off_leaves_the_model_as_it_was(model, data, monkeypatch):
    def cut_off(trainee, rows):
        raise KeyboardInterrupt

    before = untouched.state(model)
    monkeypatch.setattr(training.Trainee, "logits", cut_off)
    with pytest.raises(KeyboardInterrupt):
        planner.estimate(model, data, (TAIL,), store=Store())
    after = untouched.state(model)
    assert [name for name in before if after[name] != before[name]] == ["compilation", "optimizer"]


def test_after_the_deadline_no_epoch_begins(model, data, tmp_path):
    clock = budget.Deadline(0.0)
    run = finetune.fine_tune(model, data, (HEAD, TAIL), out=tmp_path / "run", callbacks=[clock])
    assert len(run.history) == 1 and run.finished  # one epoch, so that there is something to judge

    class Late(budget.Deadline):
        def on_epoch_end(self, epoch, logs=None):
            self.end = 0.0
            super().on_epoch_end(epoch, logs)

    other = Classifier(tiny_backbone(), data.class_names)
    late = finetune.fine_tune(other, data, (HEAD, TAIL), out=tmp_path / "l", callbacks=[Late(1e6)])
    assert len(late.history) == 1 and len(late.records) == 1
    assert "The time is up: tail is left out." in (tmp_path / "l" / "log.txt").read_text()


def test_short_jobs_are_not_timed(data):
    assert not planner.worth(data, (HEAD, TAIL))
    assert planner.worth(data, (dataclasses.replace(TAIL, epochs=1000, views=1000),))
