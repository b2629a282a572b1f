"""What a phase adds to its loss: pulls of the kernels to zero, or to where they started.

Keras's convention throughout: `l2` times the sum of squares, so that the gradient is 2 x l2 x w.
Decoupled weight decay is another thing (`optimizers`); biases and norms are left alone by both.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tlkit.errors import unknown


@dataclasses.dataclass(frozen=True)
class Pull:
    """One term: `factor` times the squared distance of `variable` from `origin` (zero if None)."""

    variable: keras.Variable
    factor: float
    origin: tf.Variable | None = None

    def __call__(self):
        value = tf.convert_to_tensor(self.variable)
        return self.factor * tf.reduce_sum(
            tf.square(value if self.origin is None else value - self.origin)
        )


def pulls(
    groups: Mapping[str, Sequence[keras.Variable]], l2: float | Mapping[str, float], l2_sp: float
) -> list[Pull]:
    """Returns the terms for the kernels of the open groups.

    Args:
        groups: Open variables by stage name; the head's are under `head`.
        l2: For all groups, or by name.
        l2_sp: Towards the present values, head left out: it has no pretrained ones (Li, Grandvalet
            and Davoine, ICML 2018).

    Raises:
        TlkitError: `l2` names a group that is not open.
    """
    by_name = l2 if isinstance(l2, Mapping) else dict.fromkeys(groups, l2)
    for name in by_name:
        if name not in groups:
            raise unknown("open stage in l2", name, groups)
    found = []
    for name, group in groups.items():
        kernels = [variable for variable in group if len(variable.shape) > 1]
        if factor := by_name.get(name, 0.0):
            found += [Pull(kernel, factor) for kernel in kernels]
        if l2_sp and name != "head":
            found += [Pull(v, l2_sp, tf.Variable(v.value, trainable=False)) for v in kernels]
    return found
