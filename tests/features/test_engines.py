"""An engine answers as Keras does, or it is not used."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tlkit.errors import TlkitError
from tlkit.features import cpu, engines

RANDOM = np.random.default_rng(0)
HERE = engines.candidates()


@pytest.fixture(scope="module")
def part():
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, use_bias=False, padding="same")(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = skip = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.add([layers.Conv2D(16, 1)(layers.ReLU()(x)), skip])
    net = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    for variable in net.variables:
        if "moving" in variable.name or "gamma" in variable.name:
            variable.assign(RANDOM.uniform(0.5, 1.5, variable.shape))
    return net


@pytest.fixture(scope="module")
def sample():
    return RANDOM.normal(size=(8, 16, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=HERE)
def engine(request, part, sample, tmp_path_factory):
    """Every engine of this machine, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_HOME", str(tmp_path_factory.mktemp("home")))
        made = engines.compile(part, sample, engine=request.param)
    assert (made.name, made.note) == (request.param, "")
    return made


@pytest.fixture
def table(monkeypatch):
    """Lets a test put rows before the exact engines; none but those two are there otherwise."""

    def use(**rows):
        exact = {name: engines.ENGINES[name] for name in ("constants", "keras")}
        monkeypatch.setattr(engines, "ENGINES", rows | exact)

    use()
    return use


def altered(change, **options):
    """Returns a row for Keras's answer with `change` made to it."""

    def build(source):
        exact = engines.ENGINES["keras"].build(source)
        return lambda x: tuple(change(y) for y in exact(x))

    return engines.Row(build, **options)


def test_each_engine_answers_as_keras(engine, part, sample):
    expected = part(sample, training=False).numpy()
    answer = engine.call(sample)[0]
    assert answer.dtype == np.float32
    worst = max(
        np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(answer, expected, strict=True)
    )
    assert engine.difference == pytest.approx(worst, rel=1e-2, abs=1e-6)
    assert worst < (1e-2 if "bfloat16" in engine.name else 1e-5)
    shorter = engine.call(tf.constant(sample[:3]))[0]
    assert engines.difference(shorter, expected[:3]) < 1e-2


def test_a_row_is_the_same_bits_wherever_it_stands(engine, sample):
    order = RANDOM.permutation(len(sample))
    expected = engine.call(sample)[0]
    np.testing.assert_array_equal(engine.call(sample)[0], expected)
    np.testing.assert_array_equal(engine.call(sample[order])[0], expected[order])
    others = np.concatenate([RANDOM.normal(size=sample[1:].shape).astype(np.float32), sample[:1]])
    np.testing.assert_array_equal(engine.call(others)[0][-1], expected[0])


@pytest.mark.large
def test_a_real_net_with_the_default():
    net = keras.applications.MobileNetV2((64, 64, 3), 0.35, False, None, pooling="avg")
    sample = RANDOM.uniform(-1, 1, (16, 64, 64, 3)).astype(np.float32)
    engine = engines.compile(net, sample)
    assert engine.name in HERE
    assert engines.difference(engine.call(sample)[0], net(sample, training=False).numpy()) < 1e-2


@pytest.mark.skipif(not cpu.has_bfloat16(), reason="needs a CPU with bfloat16")
def test_bfloat16_rounds_and_the_exact_engines_do_not(part, sample):
    assert engines.compile(part, sample, engine="bfloat16").difference > 1e-5
    assert engines.compile(part, sample, engine="constants").difference < 1e-6


def test_an_engine_keeps_the_weights_it_was_made_with(sample):
    inputs = keras.Input((16, 16, 3))
    part = keras.Model(inputs, layers.Conv2D(2, 3, name="conv")(inputs))
    engine = engines.compile(part, sample, engine="constants")
    before = part(sample).numpy()
    part.get_layer("conv").kernel.assign_add(np.ones((3, 3, 3, 2)))
    np.testing.assert_allclose(engine.call(sample)[0], before, atol=1e-5)
    again = engines.compile(part, sample, engine="constants")
    np.testing.assert_allclose(again.call(sample)[0], part(sample), atol=1e-5)


def test_what_matters_in_training_alone_does_not_matter(sample):
    inputs = keras.Input((16, 16, 3))
    x = raw = layers.Conv2D(8, 1, kernel_regularizer="l2")(inputs)
    x = layers.Dropout(0.5)(layers.BatchNormalization(name="live")(x))
    part = keras.Model(inputs, [raw, x])  # the normalization must not go into an output's kernel
    part.get_layer("live").moving_mean.assign(RANDOM.normal(size=8))
    for name in ("constants", "keras"):
        engine = engines.compile(part, sample, engine=name)
        expected = [output.numpy() for output in part(sample, training=False)]
        assert (engine.name, part.get_layer("live").trainable) == (name, True)
        assert engines.differences(engine.call(sample), expected) < 1e-6


def test_the_first_engine_that_agrees_is_taken(table, part, sample):
    table(first=altered(lambda y: y * 1.001), second=altered(lambda y: y))
    assert engines.candidates() == ("first", "second", "constants", "keras")
    assert engines.candidates("second") == ("second", "constants", "keras")
    engine = engines.compile(part, sample)
    assert (engine.name, engine.difference) == ("first", pytest.approx(0.001, rel=0.01))
    lacking = engines.Row(lambda source: pytest.fail("it is not there"), lambda: "a licence")
    table(lacking=lacking)
    assert engines.compile(part, sample).name == "constants"
    with pytest.raises(TlkitError, match="'lacking' cannot be used here: a licence"):
        engines.compile(part, sample, engine="lacking")


def test_a_wrong_engine_is_refused(table, part, sample):
    table(wrong=altered(lambda y: y * 1.05))
    engine = engines.compile(part, sample)
    assert engine.name == "constants"
    assert engine.note == "wrong: differs by 0.05, more than 0.01"
    assert engines.compile(part, sample, engine="wrong").name == "constants"
    assert engines.compile(part, sample, tolerance=0.1).name == "wrong"


def test_one_wrong_row_is_enough(table, part, sample):
    def spoil(y):
        y = np.array(y)
        y[5] *= 1.05
        return y

    table(wrong=altered(spoil))
    assert engines.compile(part, sample).difference < 1e-5


def test_values_that_are_not_finite_are_refused(table, part, sample):
    table(broken=altered(lambda y: np.where(y == y.max(), np.nan, y)))
    engine = engines.compile(part, sample)
    assert (engine.name, engine.note) == ("constants", "broken: values that are not finite")


def test_an_engine_that_fails_is_passed_over(table, part, sample):
    def build(source):
        raise RuntimeError("no such kernel")

    table(failing=engines.Row(build))
    engine = engines.compile(part, sample)
    assert (engine.name, engine.note) == ("constants", "failing: RuntimeError: no such kernel")


def test_a_network_that_is_broken_itself_is_said_to_be(part, sample):
    engine = engines.compile(part, sample * np.nan, engine="keras")
    assert (engine.name, engine.note) == ("keras", "keras: values that are not finite")


def test_unknown_and_missing_engines(monkeypatch, part, sample):
    with pytest.raises(TlkitError, match=r"Unknown engine 'openvin'\. Did you mean 'openvino'"):
        engines.compile(part, sample, engine="openvin")
    real = importlib.util.find_spec

    def find_spec(name, *rest):
        return None if name == "openvino" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(TlkitError, match=r"not installed; pip install tlkit\[fast\]"):
        engines.compile(part, sample, engine="openvino")
    assert not any("openvino" in name for name in engines.candidates())
    assert "openvino" not in engines.signature()


def test_what_a_machine_tells_of_its_features(monkeypatch):
    told = "model name : Xeon\nflags : fpu amx_bf16 avx2\nbugs : none\nflags : fpu\n"
    monkeypatch.setattr(pathlib.Path, "read_text", lambda *_, **__: told)
    assert cpu.cpu_flags.__wrapped__() == {"fpu", "amx_bf16", "avx2"}

    def unreadable(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(pathlib.Path, "read_text", unreadable)
    assert cpu.cpu_flags.__wrapped__() == frozenset()


@pytest.mark.parametrize(
    ("flags", "there"), [({"avx2"}, False), ({"avx512_bf16"}, True), ({"amx_bf16"}, True)]
)
def test_bfloat16_needs_a_cpu_that_multiplies_in_it(flags, there, monkeypatch):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset(flags))
    assert cpu.has_bfloat16() == there
    rounding = [name for name in engines.candidates() if name.endswith("bfloat16")]
    assert ("bfloat16" in rounding) == there == bool(rounding)


def test_the_signature_tells_engines_apart():
    names = ["auto", "constants", "keras"]
    assert len({engines.signature(name) for name in names}) == (3 if len(HERE) > 2 else 2)
    assert engines.signature("keras").split()[1:2] == ["keras"]
    assert engines.signature("constants").split()[1:3] == ["constants", "keras"]


def test_difference_is_that_of_the_worst_row():
    expected = np.array([[3.0, 4.0], [0.0, 2.0]])
    answer = np.array([[3.0, 4.0], [0.6, 2.0]])
    assert engines.difference(answer, expected) == pytest.approx(0.3)
    assert engines.difference(answer[:1], expected) == np.inf
    assert engines.difference(answer * np.nan, expected) == np.inf
    assert engines.difference(answer, expected * np.nan) == np.inf
    assert engines.differences([expected, answer], [expected, expected]) == pytest.approx(0.3)
    maps = expected.reshape(2, 1, 2)
    assert engines.difference(answer.reshape(2, 1, 2), maps) == pytest.approx(0.3)


def test_several_outputs_come_out_of_one_pass(sample):
    inputs = keras.Input((16, 16, 3))
    low = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    both = keras.Model(inputs, [low, keras.layers.GlobalAveragePooling2D()(low)])
    engine = engines.compile(both, sample, engine="constants")
    for answer, expected in zip(engine.call(sample), both(sample), strict=True):
        np.testing.assert_allclose(answer, expected, atol=1e-5)
