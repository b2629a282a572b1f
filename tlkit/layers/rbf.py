"""The output layer of LeNet-5: distances to drawn digits (LeCun et al. 1998, section II.B)."""

from math import prod

import keras
import numpy as np
from keras import ops

# 7 x 12 drawings of our own: the paper shows its ten but prints no numbers.
DIGITS = """
..###.. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
.#...#. ..##... ##...## ##...## ....##. ##..... .##.... ##...## ##...## ##...##
##...## .###... ......# ......# ...###. ##..... ##..... .....## ##...## ##...##
##...## ...#... .....## .....## ..##.#. ##..... ##..... .....#. ##...## ##...##
##...## ...#... ....##. ....##. .##..#. #####.. #####.. ....##. .##.##. ##...##
##...## ...#... ...##.. ..###.. ##...#. ....##. ##..##. ....#.. ..###.. .##.###
##...## ...#... ..##... ....##. ####### .....## ##...## ...##.. .##.##. ..#####
##...## ...#... .##.... .....## .....#. .....## ##...## ...#... ##...## .....##
##...## ...#... ##..... ......# .....#. .....## ##...## ..##... ##...## .....##
##...## ...#... ##..... ......# .....#. ##...## ##...## ..#.... ##...## ....##.
.#...#. ...#... ##..... ##...## .....#. ##...## .##.##. .##.... ##...## ...##..
..###.. .#####. ####### .#####. .....#. .#####. ..###.. .#..... .#####. .###...
"""
CODE = 84


def digit_codes(classes: int) -> np.ndarray:
    """Returns (classes, 84) codes of -1 and 1: the drawn digits, then fixed random signs."""
    grid = np.array([[list(cell) for cell in line.split()] for line in DIGITS.split("\n")[1:-1]])
    drawn = np.where(grid == "#", 1.0, -1.0).transpose(1, 0, 2).reshape(10, CODE)
    more = np.random.default_rng(0).choice([-1.0, 1.0], size=(max(0, classes - 10), CODE))
    return np.concatenate([drawn, more])[:classes].astype("float32")


@keras.saving.register_keras_serializable("tlkit")
class DigitDistance(keras.layers.Layer):
    """Minus the squared distance to each class's fixed code: (n, 84) -> (n, classes) logits.

    The paper's penalty with its sign turned, so that the largest output wins as with logits.
    The codes are weights that do not train.
    """

    def __init__(self, classes=10, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes

    def build(self, input_shape):
        if input_shape[-1] != CODE:
            raise ValueError(
                f"{self.name!r} compares with drawings of {CODE} pixels, but its input has "
                f"{input_shape[-1]} values. Put a dense layer of {CODE} units before it."
            )
        self.codes = self.add_weight(
            (self.classes, CODE), self._initial, trainable=False, name="codes"
        )
        self.built = True

    def _initial(self, shape, dtype=None):
        return ops.convert_to_tensor(digit_codes(shape[0]), dtype)

    def call(self, x):
        return -ops.sum(ops.square(ops.expand_dims(x, 1) - self.codes), axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.classes)

    def multiply_adds(self) -> int:
        return 0

    def connections(self) -> int:
        return prod(self.codes.shape)

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}
