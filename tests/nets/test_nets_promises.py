"""What all families of nets promise.

Tests take their nets from `families()`, so that a new family is tested by existing.
"""

from math import prod

import keras
import numpy as np
import pytest

from tlkit import nets
from tlkit.nets import _spec

# Keras needs seconds to trace these, or they are gigabytes; their small siblings run by default.
DEEP = (
    "-1202", "-190-", "-250-", "-100-", "-44", "-56", "wrn-40", "-110", "-169", "-101", "-152",
    "-161", "-201", "nasnet", "amoebanet", "inception-v4", "inception-resnet", "overfeat",
    "deepface", "zfnet-wide", "vgg-e", "vgg-c",
)  # fmt: skip


def by_cost(names, most=10**9):
    """Marks `large` the nets that are slow to trace or have more weights than `most`."""
    slow = {
        n for n in names if any(part in n for part in DEEP) or (nets.info(n).params or 0) > most
    }
    return [pytest.param(n, marks=pytest.mark.large) if n in slow else n for n in names]


def families():
    """Returns the net of fewest multiply-adds of each family."""
    return sorted(
        min(family, key=lambda n: nets.info(n).macs) for family in nets.families().values()
    )


each_family = pytest.mark.parametrize("name", by_cost(families(), most=10_000_000))


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def sources(model):
    """Returns {operation: names of the operations it reads}, in order."""
    made_by, reads = {}, {}
    for op in model.operations:
        inputs = [] if isinstance(op, keras.layers.InputLayer) else keras.tree.flatten(op.input)
        reads[op.name] = [made_by[id(tensor)] for tensor in inputs]
        made_by.update({id(tensor): op.name for tensor in keras.tree.flatten(op.output)})
    return reads


def ancestors(reads, tensor):
    """Returns the names of the operations that `tensor` depends on, its own included."""
    found, todo = set(), [tensor._keras_history.operation.name]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo.extend(reads[current])
    return found


@each_family
def test_other_channels_and_classes_change_the_first_and_the_last_layers_only(name):
    size = nets.info(name).input_shape[:2]
    few, many = (
        nets.build(name, input_shape=(*size, channels), classes=classes, init="zeros")
        for channels, classes in ((1, 2), (4, 17))
    )
    assert (few.input_shape[-1], many.input_shape[-1]) == (1, 4)
    ends = [{t.shape[-1] for t in keras.tree.flatten(model.output)} for model in (few, many)]
    assert ends == [{2}, {17}]
    pairs = zip(few.weights, many.weights, strict=True)
    changed = [(a.shape, b.shape) for a, b in pairs if a.shape != b.shape]
    sides = [(m, n) for a, b in changed for m, n in zip(a, b, strict=True) if m != n]
    assert sides and all((m, n) == (2, 17) or n == 4 * m for m, n in sides)
    assert len(changed) <= 4  # a stem of two kernels; the last kernel and bias


@each_family
def test_features_are_the_first_part_of_the_net(name):
    features, model = nets.features(name, init="zeros"), nets.build(name, init="zeros")
    assert features.operations[-1].name == nets.stages(name)[-1][1]
    inside = ancestors(sources(model), model.get_layer(nets.stages(name)[-1][1]).output)
    assert {op.name for op in features.operations} == inside
    for layer in features.layers:
        twin = model.get_layer(layer.name)
        assert [w.shape for w in layer.weights] == [w.shape for w in twin.weights], layer.name


@each_family
def test_saved_net_is_the_same(name, tmp_path):
    model = nets.build(name)
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras", safe_mode=True)
    x = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32")
    for ours, theirs in zip(
        keras.tree.flatten(model(x)), keras.tree.flatten(loaded(x)), strict=True
    ):
        np.testing.assert_array_equal(theirs, ours)


def train(name, **choices):
    """Returns (first loss, mean of the last three, model) of a few steps on one batch."""
    model = nets.build(name, classes=3, **choices)
    model = keras.Model(model.input, keras.tree.flatten(model.output)[0])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, *model.input_shape[1:])).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # its noise would hide the trend of ten steps
    rate = 1e-3 if (nets.info(name).params or 0) < 15_000_000 else 1e-5
    model.compile(keras.optimizers.Adam(rate), loss)
    losses = model.fit(x, np.arange(6) % 3, batch_size=6, epochs=10, verbose=0).history["loss"]
    return losses[0], np.mean(losses[-3:]), model


SLOW = ("densenet", "wrn", "plain", "maxpool", "nin", "all-cnn")


def quick_to_train(name):
    """True for small images and few layers: most of the time of a step goes into tracing it."""
    net = nets.info(name)
    return prod(net.input_shape[:2]) <= 40 * 40 and not name.startswith(SLOW)


TRAINED = [
    name if quick_to_train(name) else pytest.param(name, marks=pytest.mark.large)
    for name in families()
]


@pytest.mark.parametrize("name", TRAINED)
def test_a_few_steps_lower_the_loss(name):
    before, after, _ = train(name)
    assert np.isfinite(after)
    assert after < before


def quick(kept, every):
    """Returns the kept values as they are and the rest marked as large."""
    marked = [pytest.param(value, marks=pytest.mark.large) for value in every if value not in kept]
    return [*kept, *marked]


NORMS = ["batch", "layer", "instance", "group", "weight", "none"]


@pytest.mark.parametrize("norm", quick(["batch", "group", "weight"], NORMS))
def test_every_normalization_trains(norm):
    before, after, model = train("illing", norm=norm)
    assert after < before
    kinds = {
        "batch": keras.layers.BatchNormalization,
        "layer": keras.layers.GroupNormalization,
        "instance": keras.layers.GroupNormalization,
        "group": keras.layers.GroupNormalization,
    }
    assert ("conv1_norm" in [layer.name for layer in model.layers]) == (norm in kinds)
    if norm in kinds:
        assert isinstance(model.get_layer("conv1_norm"), kinds[norm])


@pytest.mark.parametrize("activation", quick(["relu", "maxout"], list(_spec.ACTIVATIONS)))
def test_every_activation_trains(activation):
    before, after, model = train("illing", activation=activation)
    assert after < before
    x = np.linspace(-2, 2, 8, dtype="float32").reshape(1, 1, 1, 8)
    formulas = {
        "relu": np.maximum(x, 0),
        "leaky": np.where(x > 0, x, 0.1 * x),
        "elu": np.where(x > 0, x, np.expm1(x)),
        "tanh": np.tanh(x),
        "scaled-tanh": 1.7159 * np.tanh(2 / 3 * x),
        "sigmoid": 1 / (1 + np.exp(-x)),
        "maxout": x[..., 1::2],
    }
    y = model.get_layer("conv1_act")(x)
    np.testing.assert_allclose(y, formulas[activation], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("init", "spread"),
    [("he", (2 / 288) ** 0.5), ("glorot", (2 / (288 + 576)) ** 0.5), ("zeros", 0)],
)
def test_initialisation(init, spread):
    kernel = nets.build("illing", init=init).get_layer("conv3").kernel.numpy()
    assert kernel.std() == pytest.approx(spread, rel=0.02)


def test_historic_initialisation_is_the_familys():
    kernel = (
        nets.features("alexnet", input_shape=(80, 80, 3), init="historic").get_layer("conv3").kernel
    )
    assert kernel.numpy().std() == pytest.approx(0.01, rel=0.02)
    kernel = nets.build("lenet-5", init="historic").get_layer("c5").kernel.numpy()
    assert np.abs(kernel).max() <= 2.4 / 400
    assert kernel.std() == pytest.approx(2.4 / 400 / 3**0.5, rel=0.02)


def test_batch_normalization_replaces_the_bias_and_weight_keeps_it():
    biased = {
        n: nets.build("illing", norm=n).get_layer("conv1").weights
        for n in ("batch", "none", "weight")
    }
    assert [len(weights) for weights in biased.values()] == [1, 2, 3]
