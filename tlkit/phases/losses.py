"""Losses on logits. One value per image, so that weights and intervals stay possible.

The truth is a label for each image, or soft targets [n, classes] that sum to 1, as mixed images
have them.
"""

import keras
from keras import ops

from tlkit.errors import unknown


def one_hot(truth, logits):
    """Returns targets [n, classes] of labels [n]; targets are returned as they are."""
    return truth if len(truth.shape) == 2 else ops.one_hot(truth, logits.shape[-1])


def softmax(truth, logits, smoothing=0.0, gamma=0.0):
    """Cross-entropy in nats, [n]; `smoothing` spreads that share evenly over all classes."""
    target = one_hot(truth, logits) * (1.0 - smoothing) + smoothing / logits.shape[-1]
    return keras.losses.categorical_crossentropy(target, logits, from_logits=True)


def focal(truth, logits, smoothing=0.0, gamma=2.0):
    """Cross-entropy of each class times (1 - p) ** gamma, [n] (Lin et al., ICCV 2017)."""
    target = one_hot(truth, logits) * (1.0 - smoothing) + smoothing / logits.shape[-1]
    log_p = ops.log_softmax(logits)
    # Below gamma 1 the power has an infinite slope at 0, where a sure image stands: NaN gradients.
    rest = ops.maximum(-ops.expm1(log_p), 1e-7)
    return -ops.sum(target * rest**gamma * log_p, -1)


def hinge(truth, logits, smoothing=0.0, gamma=0.0):
    """Multiclass hinge loss sum_j max(0, s_j - s_y + 1) over j != y, [n] (Weston, Watkins 1999).

    Of soft targets the largest is y. `smoothing` has no meaning here and must be 0.
    """
    target = one_hot(truth, logits)
    correct = ops.one_hot(ops.argmax(target, -1), logits.shape[-1])
    score = ops.sum(logits * correct, -1, keepdims=True)
    return ops.sum(ops.maximum(logits - score + 1.0, 0.0) * (1.0 - correct), -1)


LOSSES = {"softmax": softmax, "focal": focal, "hinge": hinge}


def get(name: str):
    """Returns the named loss function (truth, logits, smoothing, gamma) -> [n]."""
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return LOSSES[name]
