"""The lectures' update rules, and rates that differ by variable and survive a reload."""

import keras
import numpy as np
import pytest

from tlkit import optimizers
from tlkit.errors import TlkitError

# f(w) = w^2 / 2, w0 = 1, rate 0.1, five steps. Computed from the printed rules by hand.
GOLDEN = {
    "damped": (0.99, 0.9711, 0.944379, 0.910886, 0.871634),  # UCL: v = mu v + (1 - mu) g
    "momentum": (0.9, 0.72, 0.486, 0.2268, -0.02916),  # EMBL: v = mu v - lr g
    "adagrad": (0.9, 0.833104, 0.780456, 0.736223, 0.697715),  # EMBL, accumulator from 0
    "adam": (0.900001, 0.800414, 0.701589, 0.603943, 0.507968),
    "nesterov": (0.81, 0.5751, 0.327321, 0.093888, -0.104582),  # Keras's look-ahead variable
    "rmsprop": (0.683772, 0.498871, 0.369181, 0.272825, 0.199795),
}


def descend(optimizer, steps=5):
    w = keras.Variable(1.0)
    path = []
    for _ in range(steps):
        optimizer.apply([w.value * 1.0], [w])
        path.append(float(w.value))
    return path


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_sequences(name):
    np.testing.assert_allclose(descend(optimizers.build(name, 0.1)), GOLDEN[name], atol=2e-6)


def test_adadelta_at_rate_one():
    golden = (0.998586, 0.997155, 0.995712, 0.994263, 0.992807)
    np.testing.assert_allclose(descend(optimizers.build("adadelta", 1.0)), golden, atol=2e-6)


def test_keras_adagrad_starts_its_sum_at_a_tenth():
    golden = (0.904654, 0.839339, 0.787513, 0.743783, 0.705609)
    optimizer = optimizers.build("adagrad", 0.1, initial_accumulator_value=0.1)
    np.testing.assert_allclose(descend(optimizer), golden, atol=2e-6)


def test_nesterov_is_the_lectures_rule_seen_from_where_it_looks():
    """Keras keeps w + mu v of EMBL's v = mu v - lr g(w + mu v), w = w + v."""
    optimizer, seen = optimizers.build("nesterov", 0.1), keras.Variable(1.0)
    path = []
    for _ in range(5):
        optimizer.apply([seen.value * 1.0], [seen])
        path.append(float(seen.value) - 0.9 * float(optimizer.momentums[0].value))
    np.testing.assert_allclose(path, (0.9, 0.729, 0.51759, 0.294589, 0.084499), atol=2e-6)


def test_the_lectures_adam_differs_by_its_tiny_epsilon():
    path = descend(optimizers.build("adam", 0.1))
    np.testing.assert_allclose(path, (0.9, 0.800412, 0.701586, 0.603939, 0.507964), atol=5e-6)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_row_descends(name):
    assert descend(optimizers.build(name, 0.01))[-1] < 1


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_row_takes_kernels_and_maps_and_keeps_what_was_learnt(name):
    """Ftrl does not: at any rate its first step puts a weight of small gradient to zero."""
    maps, bias = (keras.Variable(np.ones(s, "f4")) for s in ((3, 3, 2, 4), (4,)))
    optimizer = optimizers.build(name, 0.01)
    optimizer.apply([keras.ops.full(v.shape, 1e-3) for v in (maps, bias)], [maps, bias])
    for value in (maps.numpy(), bias.numpy()):
        assert ((value > 0.9) & (value < 1)).all()


def test_muon_turns_kernels_and_leaves_the_rest_to_adam():
    random = np.random.default_rng(0)
    shapes = {"maps": (3, 3, 2, 4), "dense": (6, 4), "depthwise": (3, 3, 4, 1), "bias": (4,)}
    weights = [keras.Variable(np.zeros(shape, "f4"), name=name) for name, shape in shapes.items()]
    with keras.name_scope("logits"):
        weights.append(keras.Variable(np.zeros((6, 4), "f4"), name="kernel"))
    gradients = [random.normal(size=w.shape).astype("f4") for w in weights]
    optimizers.build("muon", 0.1).apply([keras.ops.array(g) for g in gradients], weights)
    for weight in weights[:2]:  # all singular values near one: orthogonal, scaled as Adam's steps
        turned = weight.numpy().reshape(-1, 4)
        values = np.linalg.svd(turned / (0.1 * 0.2 * np.sqrt(len(turned))), compute_uv=False)
        assert (values > 0.5).all() and (values < 1.3).all()
    for weight, gradient in zip(weights[2:], gradients[2:], strict=True):
        np.testing.assert_allclose(weight.numpy(), -0.1 * np.sign(gradient), rtol=1e-3)


def test_muon_decays_no_bias_of_its_own_accord():
    bias = keras.Variable(np.ones(4, "f4"))
    optimizers.build("muon", 0.1).apply([keras.ops.zeros(4)], [bias])
    np.testing.assert_array_equal(bias.numpy(), 1)


def test_rates_and_decays_belong_to_their_variable():
    slow, fast, decaying = (keras.Variable(1.0) for _ in range(3))
    optimizer = optimizers.build("sgd", 0.1, rates=[0.1, 1.0, 1.0], decays=[0, 0, 0.5])
    ones = [keras.ops.ones(()), keras.ops.ones(()), keras.ops.zeros(())]
    optimizer.apply(ones, [slow, fast, decaying])
    values = [float(v.value) for v in (slow, fast, decaying)]
    np.testing.assert_allclose(values, [0.99, 0.9, 0.95], rtol=1e-6)


def test_wrong_number_of_rates_is_an_error():
    with pytest.raises(TlkitError, match="2 rates were given for 1 trainable"):
        optimizers.build("adam", 0.1, rates=[1, 1]).build([keras.Variable(1.0)])
    with pytest.raises(TlkitError, match="Did you mean 'adam'"):
        optimizers.build("adamm", 0.1)


def model_with(optimizer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, activation="tanh", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, name="out")(hidden))
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("name", ["adamw", "damped", "muon"])
def test_save_load_continue_equals_uninterrupted(name, tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    y = x[:, :1] * 2
    settings = {"rates": [0.1, 0.1, 1, 1], "decays": [0.1, 0, 0.1, 0]}
    whole, half = (model_with(optimizers.build(name, 0.01, **settings)) for _ in range(2))
    for model in (whole, half):
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    half.save(tmp_path / "half.keras")
    half = keras.saving.load_model(tmp_path / "half.keras", safe_mode=True)
    for model in (whole, half):
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for one, two in zip(whole.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
