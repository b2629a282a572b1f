"""Heads: what turns a backbone's feature map into logits.

A head has two parts. `pool` has no variables and reads only the feature map, so it lies below
the boundary where frozen features are cached; `classify` is what the head phase trains.
"""

import dataclasses

import keras
from keras import layers

from tlkit.errors import TlkitError, unknown

INITS = ("scaled", "zero")


def linear(pooled, classes, dropout, init):
    """Dropout and one dense layer: the linear probe."""
    x = layers.Dropout(dropout, name="dropout")(pooled)
    return _logits(classes, init)(x)


def mlp(pooled, classes, dropout, init):
    """One hidden layer of 256 ReLU units between two dropouts."""
    x = layers.Dropout(dropout, name="dropout")(pooled)
    x = layers.Dense(256, activation="relu", kernel_initializer="he_normal", name="hidden")(x)
    x = layers.Dropout(dropout, name="hidden_dropout")(x)
    return _logits(classes, init)(x)


HEADS = {"linear": linear, "mlp": mlp, "concat_pool": linear}  # name -> (pooled, ...) -> logits


def build(name: str, features, classes: int, dropout: float = 0.2, init: str = "zero"):
    """Returns the models (pool, classify) of one head.

    Args:
        name: `linear`, `mlp`, or `concat_pool` (average and maximum pooling side by side).
        features: Shape of the backbone's output without the batch, [h, w, c] or [c].
        classes: Number of logits.
        dropout: Share of pooled features dropped in training.
        init: `zero` starts all logits at 0, as BiT does, so the first steps cannot be wild;
            `scaled` is Glorot's uniform draw.
    """
    if name not in HEADS:
        raise unknown("head", name, HEADS)
    if init not in INITS:
        raise unknown("head initialisation", init, INITS)
    if classes < 2:
        raise TlkitError(f"A classifier needs at least 2 classes, not {classes}.")
    inputs = keras.Input(features, name="features")
    pooled = _pool(inputs, name == "concat_pool")
    pool = keras.Model(inputs, pooled, name="pool")
    start = keras.Input(pooled.shape[1:], name="pooled")
    classify = keras.Model(start, HEADS[name](start, classes, dropout, init), name="head")
    return pool, classify


def _pool(x, both):
    if len(x.shape) == 2:
        return layers.Activation("linear", name="vector")(x)
    average = layers.GlobalAveragePooling2D(name="average_pool")(x)
    if not both:
        return average
    maximum = layers.GlobalMaxPooling2D(name="max_pool")(x)
    return layers.Concatenate(name="both_pools")([average, maximum])


def _logits(classes, init):
    kernel = "zeros" if init == "zero" else "glorot_uniform"
    return layers.Dense(classes, kernel_initializer=kernel, name="logits")


@dataclasses.dataclass(frozen=True)
class Head:
    """What stands on the backbone: a row of `heads.HEADS` with its two settings."""

    kind: str = "linear"
    dropout: float = 0.2
    init: str = "zero"
