"""Small closed forms: heads, losses, schedules and the default phases."""

import keras
import numpy as np
import pytest

from tlkit import heads, losses, phases
from tlkit.errors import TlkitError
from tlkit.phases import Phase


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
    pool, _ = heads.build("linear", (7,), 2)
    np.testing.assert_array_equal(pool(np.eye(7, dtype=np.float32)), np.eye(7))
    with pytest.raises(TlkitError, match="Did you mean 'linear'"):
        heads.build("linaer", (7,), 2)
    with pytest.raises(TlkitError, match="at least 2 classes"):
        heads.build("linear", (7,), 1)


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
    assert (head.unfreeze, tune.unfreeze) == (None, "stage3")
    assert tune.rate == pytest.approx(head.rate / 10)
    assert phases.head_then_upper(("only",), "all")[1].unfreeze == "all"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"batch_norm": "drift"}, "Unknown batch_norm"),
        ({"epochs": 0}, "at least 1"),
        ({"loss": "hinge"}, "smoothing"),
    ],
)
def test_a_wrong_phase_says_so(wrong, message):
    with pytest.raises(TlkitError, match=message):
        Phase("x", **wrong)
