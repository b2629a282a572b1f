"""A moving average of the weights, judged and kept in their place while training goes on."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


class Average:
    """Follows `variables`: average = d x average + (1 - d) x value after every step.

    The decay d is the smaller of `decay` and (1 + t) / (10 + t) at step t, so that the first
    values are soon forgotten. Keras overwrites the weights by its own, and a reload loses it.
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float):
        self.variables = list(variables)
        self.decay = decay
        self.values = [tf.Variable(v.value, trainable=False) for v in self.variables]

    def update(self, step) -> None:
        """Takes up the values after step `step` (a tensor, counted from 0); can be traced."""
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.values, self.variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable.value)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Puts the average into the variables for as long as the block lasts."""
        raw = [variable.numpy().copy() for variable in self.variables]
        for variable, average in zip(self.variables, self.values, strict=True):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(self.variables, raw, strict=True):
                variable.assign(value)
