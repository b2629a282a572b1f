"""Losses on logits. One value per image, so that weights and intervals stay possible."""

import keras
from keras import ops

from tlkit.errors import unknown


def softmax(labels, logits, smoothing=0.0):
    """Cross-entropy in nats, [n]; `smoothing` spreads that share evenly over all classes."""
    classes = logits.shape[-1]
    target = ops.one_hot(labels, classes) * (1.0 - smoothing) + smoothing / classes
    return keras.losses.categorical_crossentropy(target, logits, from_logits=True)


def hinge(labels, logits, smoothing=0.0):
    """Multiclass hinge loss sum_j max(0, s_j - s_y + 1) over j != y, [n] (Weston, Watkins 1999).

    `smoothing` has no meaning here and must be 0.
    """
    correct = ops.one_hot(labels, logits.shape[-1])
    score = ops.sum(logits * correct, -1, keepdims=True)
    return ops.sum(ops.maximum(logits - score + 1.0, 0.0) * (1.0 - correct), -1)


LOSSES = {"softmax": softmax, "hinge": hinge}


def get(name: str):
    """Returns the named loss function (labels, logits, smoothing) -> [n]."""
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return LOSSES[name]
