"""Losses of labels and of soft targets, each against its definition."""

import numpy as np
import pytest
import tensorflow as tf

from tlkit.errors import TlkitError
from tlkit.phases import losses

LOGITS = tf.constant(np.random.default_rng(0).normal(size=(5, 3)).astype("f4"))
TRUTH = tf.constant([0, 1, 2, 1, 0])
SOFT = tf.constant(np.random.default_rng(1).dirichlet([1, 1, 1], 5).astype("f4"))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_label_is_its_one_hot_target(name):
    hard = losses.get(name)(TRUTH, LOGITS)
    np.testing.assert_allclose(losses.get(name)(tf.one_hot(TRUTH, 3), LOGITS), hard, rtol=1e-6)
    assert hard.shape == (5,)


@pytest.mark.parametrize("name", ["softmax", "focal"])
def test_soft_targets_weigh_the_losses_of_the_classes(name):
    loss = losses.get(name)
    classes = np.stack([loss(tf.fill(5, c), LOGITS, gamma=2.0) for c in range(3)], -1)
    expected = (SOFT.numpy() * classes).sum(-1)
    np.testing.assert_allclose(loss(SOFT, LOGITS, gamma=2.0), expected, rtol=1e-5)


def test_hinge_takes_the_largest_target():
    np.testing.assert_array_equal(
        losses.hinge(SOFT, LOGITS), losses.hinge(tf.argmax(SOFT, -1), LOGITS)
    )


def test_focal_is_cross_entropy_at_gamma_zero_and_spares_the_easy():
    plain = losses.softmax(TRUTH, LOGITS, 0.1)
    np.testing.assert_allclose(losses.focal(TRUTH, LOGITS, 0.1, gamma=0.0), plain, rtol=1e-5)
    p = tf.gather(tf.nn.softmax(LOGITS), TRUTH, batch_dims=1).numpy()
    expected = -np.log(p) * (1 - p) ** 2
    np.testing.assert_allclose(losses.focal(TRUTH, LOGITS), expected, rtol=1e-5)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradients_of_sure_images_are_finite(name, gamma):
    logits = tf.Variable([[60.0, 0.0, 0.0], [0.0, 60.0, 0.0]])  # right and wrong, both beyond doubt
    with tf.GradientTape() as tape:
        loss = losses.get(name)(tf.constant([0, 0]), logits, gamma=gamma)
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all()
    assert gradient[1, 0] < 0 < gradient[1, 1]


def test_an_unknown_loss_says_so():
    with pytest.raises(TlkitError, match="Did you mean 'focal'"):
        losses.get("fokal")
