"""What a trainee tells of its steps, what it calls frozen, and how it judges."""

import keras
import numpy as np
import pytest

from tests import plain_net
from tests.steps import BARE, LABELS, ONE_HOT, Done, new_model, shown
from tlkit.phases import losses
from tlkit.phases.phase import Phase
from tlkit.training import phase_trainer
from tlkit.training.averaging import Average


def names(variables):
    """Returns the last two parts of the paths, such as `conv1/kernel`."""
    return {"/".join(v.path.split("/")[-2:]) for v in variables}


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("unfreeze", [None, "stage3"])
def test_a_batch_is_told_with_its_hits_and_its_images(unfreeze, soft):
    targets = [np.roll(ONE_HOT, 1, 1) * 0.7 + 0.1] if soft else None
    done = Done(unfreeze=unfreeze, batch_size=4, rate=1e-7, targets=targets)
    first = 4 if unfreeze is None else 3
    for tick, (x, truth) in zip(done.ticks, done.shown.batches(first), strict=True):
        said = plain_net.logits(done.before, x, first).numpy().argmax(-1)
        assert tick["right"] == (said == truth.argmax(-1)).sum()
        assert tick["count"] == len(x) and tick["rate"] == 1e-7
    assert sum(tick["right"] for tick in done.ticks) not in (0, 6)


@pytest.mark.parametrize(("unfreeze", "first"), [(None, 4), ("stage2", 2), ("all", 1)])
def test_logits_are_the_plain_nets_for_every_row_in_order(unfreeze, first):
    trainee = phase_trainer.Trainee(
        new_model(0.5), Phase("p", unfreeze=unfreeze)
    )  # no dropout here
    rows = shown(trainee)
    x = plain_net.preprocessed(rows.x) if first == 1 else rows.x
    expected = plain_net.logits(plain_net.values(trainee.model), x, first)
    np.testing.assert_allclose(trainee.logits(rows.rows, batch=4), expected, atol=1e-5)
    assert {view for _, view in rows.seen} == {0}


def test_judging_a_live_net_goes_by_its_moving_statistics():
    done = Done(unfreeze="stage2", batch_norm="train")
    expected = plain_net.logits(done.after, done.shown.x, 2)
    np.testing.assert_allclose(done.trainee.logits(done.shown.rows), expected, atol=1e-5)
    assert plain_net.values(done.model).keys() == done.after.keys()
    for name, value in plain_net.values(done.model).items():  # and judging moves nothing
        np.testing.assert_array_equal(value, done.after[name])


def test_dropout_leaves_out_its_share_in_training():
    """With all logits at 0 a feature that is kept moves its weight by 2 x 2 / 3 x rate."""
    model = new_model(dropout=0.5)
    kernel, bias = model.classify.get_layer("logits").weights
    trainee = phase_trainer.Trainee(
        model, Phase("p", optimizer="sgd", weight_decay=0.0, smoothing=0.0)
    )
    masks = []
    for _ in range(8):
        kernel.assign(kernel * 0), bias.assign(bias * 0)
        trainee.step(np.ones((1, 16), np.float32), np.array([0]), 0.3)
        moved = kernel.numpy()[:, 0]
        np.testing.assert_allclose(moved[moved != 0], 0.3 * 2 * 2 / 3, rtol=1e-5)
        masks.append(moved != 0)
    assert 0.3 < np.mean(masks) < 0.7
    assert len({tuple(mask) for mask in masks}) == 8


def test_one_step_alone_goes_at_the_rate_it_is_given():
    trainee = phase_trainer.Trainee(new_model(), BARE)
    rows, v = shown(trainee), plain_net.values(trainee.model)
    loss = trainee.step(rows.x, LABELS, 0.25)
    expected, (told,) = plain_net.descended(v, [(rows.x, ONE_HOT)], [0.25])
    assert loss == pytest.approx(told, rel=1e-5)
    found = plain_net.values(trainee.model)
    for name in plain_net.opened(3):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("unfreeze", [None, "stage3", "stage2", "all"])
@pytest.mark.parametrize("mode", ["frozen", "train"])
def test_open_and_frozen_are_told_apart_by_name(unfreeze, mode):
    model = new_model()
    model.extractor.trainable = False  # a parent's False would hide its children's True
    trainee = phase_trainer.Trainee(model, Phase("p", unfreeze=unfreeze, batch_norm=mode))
    first = {None: 4, "stage3": 3, "stage2": 2, "all": 1}[unfreeze]
    live = mode == "train" and unfreeze is not None
    free = set(plain_net.opened(first, live))
    assert names(trainee.variables) == free
    assert list(trainee.groups) == [f"stage{i}" for i in range(first, 4)] + ["head"]
    assert names(trainee.groups["head"]) == {"logits/kernel", "logits/bias"}
    moving = {f"norm{i}/moving_{s}" for i in range(first, 4) for s in ("mean", "variance")}
    everything = set(plain_net.values(model))
    assert names(trainee.frozen) == everything - free - (moving if live else set())
    assert names(model.keras_model.trainable_variables) == free
    assert model.extractor.live == live
    assert free | (moving if live else set()) <= names(trainee.moving)


def test_a_momentum_that_is_quick_already_stays():
    model = new_model()
    norms = [model.backbone.net.get_layer(f"norm{i}") for i in (1, 2, 3)]
    for norm, momentum in zip(norms, (0.99, 0.5, 0.999), strict=True):
        norm.momentum = momentum
    phase_trainer.set_trainable(model, Phase("p", unfreeze="stage2", batch_norm="frozen"))
    assert [norm.momentum for norm in norms] == [0.99, 0.5, 0.999]
    phase_trainer.set_trainable(model, Phase("p", unfreeze="stage2", batch_norm="train"))
    assert [norm.momentum for norm in norms] == [0.99, 0.5, 0.9]


def test_the_model_is_compiled_for_logits_with_the_phases_optimizer():
    model = new_model()
    phase_trainer.Trainee(
        model, Phase("p", unfreeze="stage3", optimizer="adam", decay=0.5, rate=0.02)
    )
    scores = np.array([[2.0, -1.0, 0.5]], np.float32)
    loss = model.keras_model.compute_loss(y=np.array([0]), y_pred=scores)
    assert float(loss) == pytest.approx(np.log(np.exp(scores).sum()) - 2.0, rel=1e-5)
    assert isinstance(model.keras_model.optimizer, keras.optimizers.Adam)
    assert float(model.keras_model.optimizer.learning_rate) == pytest.approx(0.02)


def test_all_lengths_of_batches_are_traced_once(monkeypatch):
    traces = []

    def counted(*args):
        traces.append(1)
        return losses.softmax(*args)

    monkeypatch.setitem(losses.LOSSES, "counted", counted)
    done = Done(2, unfreeze=None, batch_size=4, loss="counted")  # of 4 and of 2 images
    done.trainee.together = 1
    list(done.trainee.epoch(done.shown.rows, (0, 0), 2))
    assert len(traces) == 1


def test_averages_start_at_the_values_and_leave_again_even_after_an_error():
    variable = keras.Variable([2.0])
    average = Average([variable], 0.99)
    variable.assign([4.0])
    for step, expected in enumerate([3.8, 3.8 * 2 / 11 + 4.0 * 9 / 11]):
        average.update(step)
        with pytest.raises(ZeroDivisionError), average.in_place():
            assert variable.numpy() == pytest.approx([expected])
            raise ZeroDivisionError
        assert variable.numpy() == [4.0]


def test_what_a_resumed_phase_must_remember_is_listed():
    model = new_model()
    phase = Phase("p", unfreeze="stage3", l2_sp=0.1, average=0.9, batch_norm="train")
    trainee = phase_trainer.Trainee(model, phase)
    shapes = sorted(tuple(v.shape) for v in trainee.memory)
    origin, averaged = [(3, 3, 12, 16)], [(3, 3, 12, 16), (16, 3), (3,), *[(16,)] * 4]
    assert shapes == sorted([*origin, *averaged])
    assert phase_trainer.Trainee(new_model(), BARE).memory == []
