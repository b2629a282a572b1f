"""Small closed forms: heads, losses, schedules and the default phases."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from tlkit.errors import TlkitError
from tlkit.models import heads
from tlkit.phases import losses
from tlkit.phases import phase as phases
from tlkit.phases.phase import Phase


@pytest.mark.parametrize("kind", heads.HEADS)
@pytest.mark.parametrize("init", heads.INITS)
def test_heads_give_logits_and_pool_holds_no_variable(kind, init):
    pool, classify = heads.build(kind, (4, 5, 6), 3, init=init)
    features = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    pooled = pool(features)
    assert not pool.variables
    assert pooled.shape[-1] == (12 if kind == "concat_pool" else 6)
    logits = np.array(classify(pooled, training=False))
    assert logits.shape == (2, 3)
    assert (logits == 0).all() == (init == "zero")


def test_heads_take_vectors_and_refuse_nonsense():
    pool, classify = heads.build("linear", (7,), 2)
    assert classify.get_layer("dropout").rate == 0.2
    np.testing.assert_array_equal(pool(np.eye(7, dtype=np.float32)), np.eye(7))
    with pytest.raises(TlkitError, match="Did you mean 'linear'"):
        heads.build("linaer", (7,), 2)
    with pytest.raises(TlkitError, match="at least 2 classes"):
        heads.build("linear", (7,), 1)


def filled(kind, channels, classes, **options):
    """Returns a head's two models, with known values everywhere."""
    pool, classify = heads.build(kind, (4, 5, channels), classes, **options)
    draw = np.random.default_rng(3)
    for variable in classify.trainable_variables:
        variable.assign(draw.normal(size=variable.shape))
    return pool, classify, [v.numpy() for v in classify.trainable_variables]


FEATURES = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)


def test_a_linear_head_is_the_mean_and_one_product():
    pool, classify, (kernel, bias) = filled("linear", 6, 3)
    expected = FEATURES.mean((1, 2)) @ kernel + bias
    np.testing.assert_allclose(classify(pool(FEATURES)), expected, rtol=1e-5, atol=1e-6)


def test_concat_pool_is_the_mean_and_then_the_maximum():
    pool, classify, (kernel, bias) = filled("concat_pool", 6, 3)
    both = np.concatenate([FEATURES.mean((1, 2)), FEATURES.max((1, 2))], 1)
    np.testing.assert_allclose(pool(FEATURES), both, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classify(both), both @ kernel + bias, rtol=1e-5)


def test_an_mlp_has_256_rectified_units_between():
    pool, classify, (inner, offset, kernel, bias) = filled("mlp", 6, 3)
    assert inner.shape == (6, 256)
    hidden = np.maximum(FEATURES.mean((1, 2)) @ inner + offset, 0)
    np.testing.assert_allclose(classify(pool(FEATURES)), hidden @ kernel + bias, rtol=1e-4)


@pytest.mark.parametrize(("kind", "times"), [("linear", 1), ("concat_pool", 1), ("mlp", 2)])
def test_dropout_leaves_out_its_share_before_every_product(kind, times):
    _, classify = heads.build(kind, (256,), 256, dropout=0.25)
    for variable in classify.trainable_variables:
        variable.assign(np.eye(256) if len(variable.shape) == 2 else np.zeros(256))
    ones = np.ones((40, 256), np.float32)
    out = np.array(classify(ones, training=True))
    np.testing.assert_allclose(out[out != 0], 0.75**-times, rtol=1e-5)
    assert np.mean(out != 0) == pytest.approx(0.75**times, abs=0.03)
    np.testing.assert_array_equal(classify(ones, training=False), ones)


def test_a_head_starts_as_it_says():
    """Glorot's draw is even within sqrt(6 / (in + out)), He's normal of sqrt(2 / in)."""
    _, zero = heads.build("mlp", (400,), 50)
    hidden, _, kernel, bias = (v.numpy() for v in zero.trainable_variables)
    assert not kernel.any() and not bias.any()
    assert hidden.std() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    _, scaled = heads.build("linear", (400,), 50, init="scaled")
    kernel, limit = scaled.trainable_variables[0].numpy(), math.sqrt(6 / 450)
    assert 0.98 * limit < np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / math.sqrt(3), rel=0.02)


def test_hinge_is_the_lectures_number():
    # CS231n's worked example: scores -2.85, 0.86, 0.28 of the true class 2 give 1.58.
    scores = keras.ops.array([[-2.85, 0.86, 0.28]])
    assert float(losses.hinge(keras.ops.array([2]), scores)[0]) == pytest.approx(1.58, abs=0.005)


def test_softmax_is_the_natural_logarithm():
    scores = keras.ops.array([[-2.85, 0.86, 0.28]])
    assert float(losses.softmax(keras.ops.array([2]), scores)[0]) == pytest.approx(1.04, abs=0.005)


def test_smoothing_spreads_over_all_classes():
    scores = keras.ops.array([[2.0, -1.0, 0.5]])
    plain = [float(losses.softmax(keras.ops.array([i]), scores)[0]) for i in range(3)]
    smooth = float(losses.softmax(keras.ops.array([0]), scores, 0.3)[0])
    assert smooth == pytest.approx(0.7 * plain[0] + 0.3 * np.mean(plain), rel=1e-5)


def test_cosine_with_warmup():
    phase = Phase("x", rate=1.0, warmup=0.1, schedule="cosine")
    rates = [phases.rate_at(phase, step, 100) for step in range(100)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 11)
    assert rates[10] == 1.0 and max(rates) == 1.0
    np.testing.assert_allclose(rates[55], 0.5, atol=1e-12)
    assert 0 < rates[-1] < 0.001


def test_default_opens_the_last_stage_at_a_tenth():
    head, tune = phases.head_then_upper(("stage1", "stage2", "stage3"))
    assert head == Phase("head", epochs=40, rate=3e-3, patience=6)
    assert tune == Phase("fine-tune", unfreeze="stage3", epochs=12, rate=3e-4, patience=5)
    assert phases.head_then_upper(("only",), "all")[1].unfreeze == "all"


def test_a_net_from_scratch_trains_whole_with_live_statistics():
    (phase,) = phases.from_scratch()
    assert (phase.unfreeze, phase.batch_norm, phase.decay) == ("all", "train", 1.0)
    assert (phase.epochs, phase.rate, phase.patience, phase.views) == (60, 1e-3, 15, 60)


def test_a_phase_that_is_told_nothing_is_this_one():
    """The numbers that reports and the README speak of."""
    assert dataclasses.asdict(Phase("p")) == {
        "name": "p", "unfreeze": None, "epochs": 10, "rate": 1e-3, "decay": 0.5,
        "schedule": "cosine", "warmup": 0.1, "patience": 5, "batch_norm": "frozen",
        "optimizer": "adamw", "weight_decay": 1e-3, "loss": "softmax", "smoothing": 0.1,
        "augment": "photos", "strength": 1.0, "views": 4, "batch_size": 32,
        "schedule_options": {}, "l2": 0.0, "l2_sp": 0.0, "clip": 0.0, "accumulate": 1,
        "average": 0.0, "class_weight": "none", "sampling": "natural", "gamma": 2.0,
        "arithmetic": "float32",
    }  # fmt: skip


def test_a_quick_phase_has_one_epoch_of_one_view_and_is_else_the_same():
    phase = Phase("p", unfreeze="all", epochs=7, views=5, rate=0.3, clip=2.0)
    assert phases.quick(phase) == dataclasses.replace(phase, epochs=1, views=1)
    counts = [phases.view_count(Phase("p", epochs=e, views=v)) for e, v in ((3, 5), (5, 3))]
    assert counts == [3, 3]


def test_a_warm_up_may_last_the_whole_phase_or_not_at_all():
    rates = [phases.rate_at(Phase("p", rate=1.0, warmup=1.0), step, 4) for step in range(4)]
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8])
    assert phases.rate_at(Phase("p", rate=1.0, warmup=0.0), 0, 4) == 1.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"batch_norm": "drift"}, "Unknown batch_norm"),
        ({"sampling": "even"}, "Unknown sampling"),
        ({"class_weight": "balance"}, "Did you mean 'balanced'"),
        ({"arithmetic": "float16"}, "Unknown arithmetic"),
        ({"epochs": 0}, "at least 1"),
        ({"views": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"patience": 0}, "at least 1"),
        ({"accumulate": 0}, "at least 1"),
        ({"loss": "hinge"}, "smoothing"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"smoothing": -0.1}, "smoothing"),
        ({"average": 1.0}, "average, clip"),
        ({"average": -0.1}, "average, clip"),
        ({"clip": -1.0}, "average, clip"),
        ({"l2_sp": -1.0}, "average, clip"),
        ({"gamma": -1.0}, "average, clip"),
    ],
)
def test_a_wrong_phase_says_so(wrong, message):
    with pytest.raises(TlkitError, match=message):
        Phase("x", **wrong)


@pytest.mark.parametrize(
    "edge",
    [{"smoothing": 0.0, "loss": "hinge"}, {"average": 0.0}, {"warmup": 0.0}, {"warmup": 1.0},
     {"rate": 0.0}, {"decay": 0.0}, {"gamma": 0.0}, {"smoothing": 0.99}, {"average": 0.9999}],
)  # fmt: skip
def test_what_lies_at_the_edge_is_allowed(edge):
    phase = Phase("x", **edge)
    assert {key: getattr(phase, key) for key in edge} == edge
