"""Optimizers with a rate and a weight decay of their own for every variable.

Keras has no learning-rate multiplier, and its MultiOptimizer addresses variables by paths that
change over a reload. Here the multipliers are a list in the order of the variables, so a saved
optimizer goes on where it stopped.
"""

from typing import Any

import keras
from keras import ops

from tlkit.errors import TlkitError, unknown


class PerVariableRates:
    """Makes the rate and the decay of a Keras optimizer differ by variable.

    Args:
        rates: Multiplier of the learning rate for each variable, in build order; None is 1.
        decays: Decoupled weight decay (Loshchilov and Hutter, ICLR 2019) for each variable: each
            step takes away learning rate x multiplier x decay of its value. None is 0.
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
        super().build(variables)  # type: ignore[misc]

    def update_step(self, gradient, variable, learning_rate):
        place = self._order[variable.ref()]
        learning_rate = learning_rate * (self.rates[place] if self.rates else 1.0)
        if self.decays and self.decays[place]:
            variable.assign_sub(variable * (learning_rate * self.decays[place]))
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]

    def get_config(self):
        config = super().get_config()  # type: ignore[misc]
        return {**config, "rates": self.rates, "decays": self.decays}


def _layerwise(base: type) -> type:
    """Returns `base` with per-variable rates; registered, so `.keras` files find it again."""
    made = type(f"Layerwise{base.__name__}", (PerVariableRates, base), {"__module__": __name__})
    return keras.saving.register_keras_serializable("tlkit")(made)


@keras.saving.register_keras_serializable("tlkit")
class DampedSGD(keras.optimizers.SGD):
    """SGD with the momentum of the UCL lecture: v = mu v + (1 - mu) g, w = w - lr v.

    Keras's own SGD is the other form, v = mu v - lr g, w = w + v; a rate found for one is wrong
    for the other by the factor 1 - mu.
    """

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * (1.0 - self.momentum), variable, learning_rate)


@keras.saving.register_keras_serializable("tlkit")
class ConvMuon(keras.optimizers.Muon):
    """Muon (Jordan 2024) for convolutions too, as matrices [height x width x in, out].

    Keras's turns 2-D kernels only, so that of most convnets it would train the head alone, and
    everything else by Adam. Here Adam takes what the method's author gives it: the layer of the
    logits, biases and norms, and depthwise kernels, which are no matrices.
    """

    def _should_use_adamw(self, variable):
        convolution = len(variable.shape) == 4 and variable.shape[-1] > 1
        return not convolution and super()._should_use_adamw(variable)

    def zeropower_via_newtonschulz5(self, x, steps):
        return ops.reshape(super().zeropower_via_newtonschulz5(_matrix(x), steps), x.shape)

    def lr_adjust(self, x):
        return ops.reshape(super().lr_adjust(_matrix(x)), x.shape)


def _matrix(kernel):
    return ops.reshape(kernel, (-1, kernel.shape[-1]))


# Left out: Ftrl, whose first step would wipe out pretrained weights (it knows but its own sums),
# and ScheduleFreeAdamW, which has no use for schedules.
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.Adam,  # the decay is the layerwise one, never on biases and norms
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "adafactor": keras.optimizers.Adafactor,  # its rates are relative to the size of a kernel
    "lamb": keras.optimizers.Lamb,
    "muon": ConvMuon,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
    "lion": keras.optimizers.Lion,
    "sgd": keras.optimizers.SGD,
    "momentum": keras.optimizers.SGD,
    "nesterov": keras.optimizers.SGD,
    "damped": DampedSGD,
}
_SETTINGS: dict[str, dict[str, Any]] = {
    # Keras would let everything decay, biases and norms too.
    "muon": {"weight_decay": None, "adam_weight_decay": None, "exclude_layers": ["(^|/)logits/"]},
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
