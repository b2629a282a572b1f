"""Every setting of a phase, held against steps that are worked out in plain TensorFlow.

`tells` marks what fails where training does not heed a setting; each needs such a test.
"""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import plain_net
from tests.conftest import tiny_backbone
from tests.steps import BARE, LABELS, NAMES, ONE_HOT, Done, new_model, shown_loss
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.phases.phase import Phase
from tlkit.training import train

TOLD: set[str] = set()
WEIGHTS = np.float32([2 / 3, 1, 2])  # 6 images of 3 classes: 6 / (3 x 3), 6 / (3 x 2), 6 / (3 x 1)


def tells(*settings):
    """Marks a test that fails where these settings of a phase have no effect."""

    def mark(test):
        TOLD.update(settings)
        return test

    return mark


def test_every_setting_of_a_phase_has_a_test_of_its_effect():
    assert {field.name for field in dataclasses.fields(Phase)} == TOLD


@tells("unfreeze", "rate")
@pytest.mark.parametrize("unfreeze", [None, "stage3", "stage2", "all"])
def test_a_step_goes_down_the_gradient_of_what_is_open(unfreeze):
    Done(unfreeze=unfreeze, rate=0.03).check()


def test_what_is_frozen_stays_bit_equal_normalization_included():
    done = Done(unfreeze="stage2")
    still = set(done.before) - set(plain_net.opened(2))
    assert {"conv1/kernel", "norm3/gamma", "norm3/moving_variance"} < still
    for name in still:
        np.testing.assert_array_equal(done.after[name], done.before[name], err_msg=name)


def focal(gamma, smoothing=0.0):
    def each(targets, scores):
        p = tf.nn.softmax(scores)
        spread = targets * (1 - smoothing) + smoothing / 3
        return -tf.reduce_sum(spread * (1 - p) ** gamma * tf.math.log(p), -1)

    return each


def hinge(targets, scores):
    right = tf.reduce_sum(scores * targets, -1, keepdims=True)
    return tf.reduce_sum(tf.maximum(0.0, scores - right + 1) * (1 - targets), -1)


def smoothed(targets, scores):
    return plain_net.cross_entropy(0.8 * targets + 0.2 / 3, scores)


@tells("loss", "gamma", "smoothing")
@pytest.mark.parametrize(
    ("phase", "each"),
    [
        ({"smoothing": 0.2}, smoothed),
        ({"loss": "hinge"}, hinge),
        ({"loss": "focal"}, focal(2.0)),
        ({"loss": "focal", "gamma": 1.5, "smoothing": 0.2}, focal(1.5, 0.2)),
    ],
)
def test_the_gradient_is_that_of_the_phases_loss(phase, each):
    Done(unfreeze=None, **phase).check(each=each)


@tells("class_weight")
@pytest.mark.parametrize("unfreeze", [None, "stage3"])
def test_rare_classes_count_more(unfreeze):
    done = Done(unfreeze=unfreeze, batch_size=3, class_weight="balanced")
    done.check(weights=lambda targets: targets @ WEIGHTS)


def test_mixed_labels_count_as_their_classes_do():
    soft = [np.random.default_rng(3).dirichlet([1, 1, 1], 6).astype(np.float32)]
    done = Done(unfreeze=None, batch_size=3, class_weight="balanced", targets=soft)
    done.check(weights=lambda targets: targets @ WEIGHTS)
    plain = Done(unfreeze=None, batch_size=3, targets=soft)
    plain.check()


def squares(v, names):
    return sum(tf.reduce_sum(v[name] ** 2) for name in names)


@tells("l2")
@pytest.mark.parametrize(
    ("l2", "penalty"),
    [
        (0.3, lambda v: 0.3 * squares(v, ["conv2/kernel", "conv3/kernel", "logits/kernel"])),
        ({"stage2": 0.4}, lambda v: 0.4 * squares(v, ["conv2/kernel"])),
        (
            {"stage3": 0.1, "head": 0.2},
            lambda v: 0.1 * squares(v, ["conv3/kernel"]) + 0.2 * squares(v, ["logits/kernel"]),
        ),
    ],
)
def test_l2_adds_the_squares_of_the_kernels_it_names(l2, penalty):
    Done(unfreeze="stage2", l2=l2).check(penalty=penalty)


@tells("l2_sp")
def test_l2_sp_pulls_the_open_stages_to_where_they_began():
    done = Done(unfreeze="stage2", l2_sp=0.7, batch_size=2)
    names = ["conv2/kernel", "conv3/kernel"]
    done.check(
        penalty=lambda v: sum(
            0.7 * tf.reduce_sum((v[name] - done.before[name]) ** 2) for name in names
        )
    )


def test_a_penalty_inside_the_network_is_part_of_the_loss():
    backbone = tiny_backbone()
    backbone.net.get_layer("conv3").kernel_regularizer = keras.regularizers.L2(0.5)
    twin = keras.models.clone_model(backbone.net)  # built with it
    twin.set_weights(backbone.net.get_weights())
    model = Classifier(
        dataclasses.replace(backbone, net=twin), NAMES, head=Head(dropout=0.0, init="scaled")
    )
    done = Done(model=model)
    done.check(penalty=lambda v: 0.5 * squares(v, ["conv3/kernel"]))


@tells("clip")
def test_all_gradients_of_a_step_are_clipped_together():
    done = Done(clip=0.05, rate=1.0)
    done.check(clip=0.05)
    moved = [done.after[name] - done.before[name] for name in plain_net.opened(3)]
    assert np.sqrt(sum(np.sum(part**2) for part in moved)) == pytest.approx(0.05, rel=1e-4)
    Done(clip=1e3).check()


@tells("accumulate")
@pytest.mark.parametrize(
    ("unfreeze", "size", "clip", "updates"),
    [
        (None, 4, 0.0, [[0, 1], [2, 3]]),  # of four and two images
        ("stage3", 2, 0.0, [[0, 1], [2], [3, 4], [5]]),  # the rest of an epoch is a step too
        ("stage3", 2, 0.4, [[0, 1], [2], [3, 4], [5]]),  # it is the sum that is clipped
    ],
)
def test_gathered_batches_are_one_step(unfreeze, size, clip, updates):
    done = Done(2, unfreeze=unfreeze, batch_size=size, accumulate=2, clip=clip)
    done.check(updates=updates, clip=clip)


@tells("weight_decay", "decay")
@pytest.mark.parametrize("live", [False, True])
def test_rates_fall_with_depth_and_kernels_alone_decay_at_their_own_rate(live):
    done = Done(
        unfreeze="all", decay=0.5, weight_decay=0.2, batch_norm="train" if live else "frozen"
    )
    rates = {"conv1": 0.25, "norm1": 0.25, "conv2": 0.5, "norm2": 0.5}  # stage3 and head: 1
    done.check(multiplier=rates, decay=0.2, live=live)


@tells("batch_norm")
def test_trained_normalization_uses_the_batch_and_its_statistics_follow():
    model = new_model()
    model.backbone.net.get_layer("norm2").momentum = 0.999  # as some pretrained nets have it
    done = Done(model=model, unfreeze="stage2", batch_norm="train", batch_size=3)
    done.check(live=True)
    assert np.abs(done.after["norm2/moving_mean"] - done.before["norm2/moving_mean"]).max() > 0.01
    np.testing.assert_array_equal(done.after["norm1/moving_mean"], done.before["norm1/moving_mean"])


@tells("average")
def test_what_is_judged_is_the_average_of_the_weights():
    done = Done(3, average=0.15, unfreeze=None)
    v, averages = dict(done.before), dict(done.before)
    for batch, share in zip(done.shown.batches(4), (0.1, 0.15, 0.15), strict=True):
        v, _ = plain_net.descended(v, [batch], [0.1], first=4)  # (1 + t) / (10 + t), at most 0.15
        averages = {name: share * averages[name] + (1 - share) * v[name] for name in v}
    with done.trainee.judged():
        judged = plain_net.values(done.model)
    for name in plain_net.opened(4):
        np.testing.assert_allclose(judged[name], averages[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(plain_net.values(done.model)[name], done.after[name])
    done.check()  # training itself went on with the raw values


@tells("arithmetic")
def test_products_in_bfloat16_are_near_those_in_float32():
    half, exact = Done(arithmetic="bfloat16"), Done()
    off = max(np.abs(half.after[name] - exact.after[name]).max() for name in half.after)
    assert 1e-6 < off < 0.02
    half.check(atol=0.01)


@tells("optimizer")
def test_the_phases_optimizer_takes_the_steps():
    adam = Done(optimizer="adam", unfreeze=None)
    _, slopes, _ = plain_net.gradients(adam.before, *adam.shown.batches(4)[0], first=4)
    for name, slope in slopes.items():  # the first step of Adam goes by the sign alone
        moved = adam.after[name] - adam.before[name]
        np.testing.assert_allclose(moved, -0.1 * np.sign(slope), rtol=0.01)


@tells("schedule", "schedule_options", "warmup", "epochs", "batch_size")
@pytest.mark.parametrize(
    ("phase", "rates"),
    [
        ({"schedule": "linear"}, [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        ({"schedule": "linear", "epochs": 4}, [0.6, 0.55, 0.5, 0.45, 0.4, 0.35]),
        ({"schedule": "linear", "warmup": 0.34}, [0.2, 0.4, 0.6, 0.45, 0.3, 0.15]),
        (
            {"schedule": "step", "schedule_options": {"every": 1, "factor": 0.5}},
            [0.6, 0.6, 0.6, 0.3, 0.3, 0.3],
        ),
    ],
)
def test_every_step_has_the_rate_of_its_place_in_the_phase(phase, rates):
    done = Done(2, unfreeze=None, rate=0.6, batch_size=2, **phase)
    assert [len(part) for part, _ in done.shown.seen] == [2] * 6
    np.testing.assert_allclose([tick["rate"] for tick in done.ticks], rates, rtol=1e-6)
    done.check(rates)


def test_gathered_batches_share_the_rate_of_their_step():
    done = Done(2, batch_size=2, accumulate=2, schedule="linear", rate=0.4)
    rates = [0.4, 0.4, 0.3, 0.2, 0.2, 0.1]  # four steps in all
    np.testing.assert_allclose([tick["rate"] for tick in done.ticks], rates, rtol=1e-6)


def test_a_plateau_lowers_the_rate_of_the_steps():
    options = {"factor": 0.5, "patience": 1}
    done = Done(past=[1.0, 2.0, 3.0], schedule="plateau", schedule_options=options)
    done.check([0.025])


@tells("sampling")
def test_balanced_sampling_draws_each_class_equally_often():
    done = Done(2, sampling="balanced", batch_size=6)
    for part, _ in done.shown.seen:
        np.testing.assert_array_equal(np.bincount(LABELS[part]), [2, 2, 2])
    done.check()


@tells("views")
def test_epochs_take_turns_with_the_views_and_their_labels():
    soft = [ONE_HOT, ONE_HOT[:, [1, 2, 0]]]
    done = Done(4, views=2, targets=soft, unfreeze=None)
    assert [view for _, view in done.shown.seen] == [0, 1, 0, 1]
    done.check()


@tells("name", "patience", "augment", "strength")
def test_a_run_shows_the_phases_views_until_its_patience_ends(data, tmp_path):
    """At a rate of next to nothing each epoch's loss is that of the images it was shown."""
    model = Classifier(tiny_backbone(), data.class_names, head=Head(dropout=0.0, init="scaled"))
    v = plain_net.values(model)
    look = {"augment": "photos", "strength": 0.5, "views": 2, "epochs": 9}
    phase = dataclasses.replace(BARE, name="look", unfreeze=None, rate=1e-12, patience=2, **look)
    run = train.train(model, data, [phase], out=tmp_path / "run", seed=3)
    assert [row["phase"] for row in run.history] == ["look"] * 3  # the first was never bettered
    losses = [shown_loss(v, run.store, data.train, view, strength=0.5) for view in (0, 1)]
    expected = [losses[0], losses[1], losses[0]]
    np.testing.assert_allclose([row["loss"] for row in run.history], expected, rtol=1e-4)
    others = [shown_loss(v, run.store, data.train, 0, strength) for strength in (0.0, 1.0)]
    for other in (losses[1], *others):
        assert abs(losses[0] - other) > 1e-3
