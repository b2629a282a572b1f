"""Optimizers with a rate and a weight decay of their own for every variable.

Keras has no learning-rate multiplier, and its MultiOptimizer addresses variables by paths that
change over a reload. Here the multipliers are a list in the order of the variables, so a saved
optimizer goes on where it stopped.
"""

import keras

from tlkit.errors import TlkitError, unknown


def _layerwise(base: type) -> type:
    """Returns `base` with per-variable rates; registered, so `.keras` files find it again."""

    class Layerwise(base):
        """A Keras optimizer whose rate and decay differ by variable.

        Args:
            rates: Multiplier of the learning rate for each variable, in build order; None is 1.
            decays: Decoupled weight decay (Loshchilov and Hutter, ICLR 2019) for each variable:
                each step takes away learning rate x multiplier x decay of its value. None is 0.
        """

        def __init__(self, *args, rates=None, decays=None, **kwargs):
            super().__init__(*args, **kwargs)
            self.rates = None if rates is None else [float(rate) for rate in rates]
            self.decays = None if decays is None else [float(decay) for decay in decays]

        def build(self, variables):
            for name in ("rates", "decays"):
                values = getattr(self, name)
                if values is not None and len(values) != len(variables):
                    raise TlkitError(
                        f"{len(values)} {name} were given for {len(variables)} trainable variables."
                    )
            self._order = {variable.value.ref(): i for i, variable in enumerate(variables)}
            super().build(variables)

        def update_step(self, gradient, variable, learning_rate):
            place = self._order[variable.ref()]
            learning_rate = learning_rate * (self.rates[place] if self.rates else 1.0)
            if self.decays and self.decays[place]:
                variable.assign_sub(variable * (learning_rate * self.decays[place]))
            super().update_step(gradient, variable, learning_rate)

        def get_config(self):
            return {**super().get_config(), "rates": self.rates, "decays": self.decays}

    Layerwise.__name__ = Layerwise.__qualname__ = f"Layerwise{base.__name__}"
    return keras.saving.register_keras_serializable("tlkit")(Layerwise)


@keras.saving.register_keras_serializable("tlkit")
class DampedSGD(keras.optimizers.SGD):
    """SGD with the momentum of the UCL lecture: v = mu v + (1 - mu) g, w = w - lr v.

    Keras's own SGD is the other form, v = mu v - lr g, w = w + v; a rate found for one is wrong
    for the other by the factor 1 - mu.
    """

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * (1.0 - self.momentum), variable, learning_rate)


OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.Adam,  # the decay is the layerwise one, never on biases and norms
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "adafactor": keras.optimizers.Adafactor,
    "lamb": keras.optimizers.Lamb,
    "muon": keras.optimizers.Muon,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "ftrl": keras.optimizers.Ftrl,
    "lion": keras.optimizers.Lion,
    "sgd": keras.optimizers.SGD,
    "momentum": keras.optimizers.SGD,
    "nesterov": keras.optimizers.SGD,
    "damped": DampedSGD,
}
_SETTINGS = {
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "damped": {"momentum": 0.9},
    "adagrad": {"initial_accumulator_value": 0.0},  # the published rule; Keras starts at 0.1
}
_LAYERWISE = {base: _layerwise(base) for base in dict.fromkeys(OPTIMIZERS.values())}


def build(
    name: str, rate: float, rates=None, decays=None, **settings
) -> keras.optimizers.Optimizer:
    """Returns a fresh optimizer.

    Args:
        name: A key of `OPTIMIZERS`.
        rate: Learning rate before the multipliers.
        rates: Learning-rate multiplier for each trainable variable, or None.
        decays: Decoupled weight decay for each trainable variable, or None.
        settings: Passed on to the Keras class, such as `clipnorm=1.0`.
    """
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    settings = {**_SETTINGS.get(name, {}), **settings}
    return _LAYERWISE[OPTIMIZERS[name]](rate, rates=rates, decays=decays, **settings)
