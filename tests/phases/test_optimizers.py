"""The lectures' update rules, and rates that differ by variable and survive a reload."""

import keras
import numpy as np
import pytest

from tlkit.errors import TlkitError
from tlkit.phases import optimizers

# f(w) = w^2 / 2, w0 = 1, rate 0.1, five steps. Computed from the printed rules by hand.
GOLDEN = {
    "damped": (0.99, 0.9711, 0.944379, 0.910886, 0.871634),  # UCL: v = mu v + (1 - mu) g
    "momentum": (0.9, 0.72, 0.486, 0.2268, -0.02916),  # EMBL: v = mu v - lr g
    "adagrad": (0.9, 0.833104, 0.780456, 0.736223, 0.697715),  # EMBL, accumulator from 0
    "adam": (0.900001, 0.800414, 0.701589, 0.603943, 0.507968),
    "adamw": (0.900001, 0.800414, 0.701589, 0.603943, 0.507968),  # what decays is said apart
    "sgd": (0.9, 0.81, 0.729, 0.6561, 0.59049),
    "lion": (0.9, 0.8, 0.7, 0.6, 0.5),  # the sign alone (Chen et al. 2023)
    "lamb": (0.9, 0.81, 0.729, 0.6561, 0.59049),  # steps of |w| (You et al. 2020)
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


def by_rule(step):
    w, state, path = 1.0, {}, []
    for t in range(1, 6):
        w = step(w, t, state)
        path.append(w)
    return path


def adamax(w, t, s):
    """Kingma and Ba, algorithm 2."""
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * w
    s["u"] = max(0.999 * s.get("u", 0.0), abs(w))
    return w - 0.1 / (1 - 0.9**t) * s["m"] / (s["u"] + 1e-7)


def nadam(w, t, s):
    """Dozat 2015, with his schedule of the momentum."""
    now, then = (0.9 * (1 - 0.5 * 0.96**i) for i in (t, t + 1))
    s["product"] = s.get("product", 1.0) * now
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * w
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * w * w
    ahead = then * s["m"] / (1 - s["product"] * then) + (1 - now) * w / (1 - s["product"])
    return w - 0.1 * ahead / ((s["v"] / (1 - 0.999**t)) ** 0.5 + 1e-7)


def adafactor(w, t, s):
    """Shazeer and Stern 2018, algorithm 6, of a scalar."""
    share = 1 - t**-0.8
    s["v"] = share * s.get("v", 0.0) + (1 - share) * w * w
    update = w / s["v"] ** 0.5
    return w - max(1e-3, abs(w)) * min(0.1, t**-0.5) * update / max(1.0, abs(update))


@pytest.mark.parametrize("rule", [adamax, nadam, adafactor])
def test_rules_of_adams_family(rule):
    path = descend(optimizers.build(rule.__name__, 0.1))
    np.testing.assert_allclose(path, by_rule(rule), atol=1e-5)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_nothing_decays_that_was_not_told_to_and_the_rest_at_its_own_rate(name):
    still, decaying = keras.Variable([1.0, 2.0]), keras.Variable([1.0, 2.0])
    optimizer = optimizers.build(name, 0.1, rates=[1.0, 0.5], decays=[0.0, 0.4])
    optimizer.apply([keras.ops.zeros(2)] * 2, [still, decaying])
    np.testing.assert_allclose(still.numpy(), [1, 2], rtol=1e-6)
    np.testing.assert_allclose(decaying.numpy(), 0.98 * np.array([1, 2]), rtol=1e-6)


def test_settings_reach_the_optimizer_of_keras():
    assert optimizers.build("sgd", 0.1, clipnorm=0.5).clipnorm == 0.5
    assert optimizers.build("momentum", 0.1, momentum=0.5).momentum == 0.5
    assert float(optimizers.build("adam", 0.03).learning_rate) == pytest.approx(0.03)


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


@pytest.mark.parametrize("name", ["damped", "muon"])
def test_save_load_continue_equals_uninterrupted(name, tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
    y = x[:, :1] * 2
    settings = {"rates": [0.1, 0.1, 1, 1], "decays": [0.1, 0, 0.1, 0]}
    whole, half = (model_with(optimizers.build(name, 0.01, **settings)) for _ in range(2))
    for model in (whole, half):
        model.fit(x, y, shuffle=False, verbose=0)
    half.save(tmp_path / "half.keras")
    half = keras.saving.load_model(tmp_path / "half.keras", safe_mode=True)
    for model in (whole, half):
        model.fit(x, y, shuffle=False, verbose=0)
    for one, two in zip(whole.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
