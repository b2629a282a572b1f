"""Normalization and activation are a choice of every family, and no choice moves a cut."""

import keras
import pytest

from tlkit import nets
from tlkit.layers import WeightNormalization

# One net per family, and an input that leaves more than one value per channel.
SMALL = {
    "plain-20": 16, "resnet-20-b": 16, "resnet-18": 64, "wrn-16-4": 16, "densenet-40-12": 16,
    "squeezenet-1.1": 64, "googlenet": 75, "bn-inception": 75,
}  # fmt: skip
NORMALIZED = {
    "instance": keras.layers.GroupNormalization,
    "weight": WeightNormalization,
    "none": type(None),
}


def features(name, **choices):
    size = SMALL[name]
    return nets.features(name, input_shape=(size, size, 3), init="zeros", **choices)


@pytest.mark.parametrize("norm", NORMALIZED)
@pytest.mark.parametrize("name", SMALL)
def test_every_family_takes_every_kind_of_normalization(name, norm):
    model = features(name, norm=norm)
    layers = [x for x in model.layers if x.name.endswith("_norm") or norm == "weight"]
    found = {type(x) for x in layers if isinstance(x, tuple(NORMALIZED.values()))}
    assert found == {NORMALIZED[norm]} - {type(None)}
    assert not [x for x in model.layers if x.name.endswith("_norm") and norm in ("weight", "none")]
    biased = {x.use_bias for x in model.layers if isinstance(x, keras.layers.Conv2D)}
    assert norm == "weight" or biased == {norm == "none"} or name == "bn-inception"
    ends = [last for _, last in nets.stages(name)]
    assert {op.name for op in model.operations}.issuperset(ends)
    assert model.operations[-1].name == ends[-1]


@pytest.mark.parametrize("activation", ["leaky", "maxout"])
@pytest.mark.parametrize("name", ["plain-20", "densenet-40-12", "googlenet", "bn-inception"])
def test_every_family_takes_other_activations(name, activation):
    model = features(name, activation=activation)
    assert model.output_shape[1:3] == features(name).output_shape[1:3]
    assert not [x for x in model.layers if getattr(x, "activation", None) is keras.activations.relu]
    ends = {last for _, last in nets.stages(name)}
    assert {op.name for op in model.operations} >= ends


@pytest.mark.parametrize("name", ["resnet-20-b", "wrn-16-4"])
def test_residual_nets_take_activations_that_keep_the_channels(name):
    model = features(name, activation="elu")
    kinds = {x.activation for x in model.layers if isinstance(x, keras.layers.Activation)}
    assert kinds == {keras.activations.elu}
