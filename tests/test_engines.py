"""An engine answers as Keras does, or it is not used."""

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tlkit import engines
from tlkit.errors import TlkitError

RANDOM = np.random.default_rng(0)
HERE = engines.candidates()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_HOME", str(tmp_path))
    return tmp_path


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
        exact = engines._keras(source)
        return lambda x: tuple(change(y) for y in exact(x))

    return engines._Row(build, **options)


@pytest.mark.parametrize("name", HERE)
def test_each_engine_answers_as_keras(name, part, sample):
    engine = engines.compile(part, sample, engine=name)
    expected = part(sample, training=False).numpy()
    assert (engine.name, engine.note) == (name, "")
    answer = engine.call(sample)[0]
    assert answer.dtype == np.float32
    assert engine.difference == engines.difference(answer, expected) or engine.difference < 1e-6
    assert engine.difference < (1e-2 if "bfloat16" in name else 1e-5)
    shorter = engine.call(tf.constant(sample[:3]))[0]
    assert engines.difference(shorter, expected[:3]) < 1e-2


@pytest.mark.parametrize("name", HERE)
def test_a_row_is_the_same_bits_wherever_it_stands(name, part, sample):
    engine = engines.compile(part, sample, engine=name)
    order = RANDOM.permutation(len(sample))
    expected = engine.call(sample)[0]
    np.testing.assert_array_equal(engine.call(sample)[0], expected)
    np.testing.assert_array_equal(engine.call(sample[order])[0], expected[order])
    others = np.concatenate([RANDOM.normal(size=sample[1:].shape).astype(np.float32), sample[:1]])
    np.testing.assert_array_equal(engine.call(others)[0][-1], expected[0])


def test_a_real_net_with_the_default():
    net = keras.applications.MobileNetV2((64, 64, 3), 0.35, False, None, pooling="avg")
    sample = RANDOM.uniform(-1, 1, (16, 64, 64, 3)).astype(np.float32)
    engine = engines.compile(net, sample)
    assert engine.name in HERE
    assert engines.difference(engine.call(sample)[0], net(sample, training=False).numpy()) < 1e-2


@pytest.mark.skipif(not engines.has_bfloat16(), reason="needs a CPU with bfloat16")
def test_the_graph_option_for_bfloat16_still_has_an_effect(part, sample):
    assert engines.compile(part, sample, engine="bfloat16").difference > 1e-5


def test_no_variable_is_left_in_the_constant_graph(part):
    graph, rows, outputs = engines._constant_graph(engines._Source(part, (16, 16, 3)))
    kinds = {node.op for node in graph.as_graph_def().node}
    assert "Const" in kinds
    assert not kinds & {"ReadVariableOp", "VarHandleOp", "StatefulPartitionedCall"}
    assert not any("Norm" in kind for kind in kinds)  # each one is inside a kernel
    assert (rows.shape.as_list(), len(outputs)) == ([None, 16, 16, 3], 1)


def test_what_matters_in_training_alone_does_not_matter(sample):
    inputs = keras.Input((16, 16, 3))
    x = raw = layers.Conv2D(8, 1, kernel_regularizer="l2")(inputs)
    x = layers.Dropout(0.5)(layers.BatchNormalization(name="live")(x))
    part = keras.Model(inputs, [raw, x])  # the normalization must not go into an output's kernel
    part.get_layer("live").moving_mean.assign(RANDOM.normal(size=8))
    engine = engines.compile(part, sample, engine="constants")
    expected = [output.numpy() for output in part(sample, training=False)]
    assert (engine.name, part.get_layer("live").trainable) == ("constants", True)
    assert engines.differences(engine.call(sample), expected) < 1e-6


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

    table(failing=engines._Row(build))
    engine = engines.compile(part, sample)
    assert (engine.name, engine.note) == ("constants", "failing: RuntimeError: no such kernel")


def test_a_network_that_is_broken_itself_is_said_to_be(part, sample):
    engine = engines.compile(part, sample * np.nan, engine="keras")
    assert (engine.name, engine.note) == ("keras", "keras: values that are not finite")


def test_rounding_must_pay_and_the_verdict_is_kept(table, part, sample, monkeypatch):
    def slow(y):
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        return y

    table(slow=altered(slow, timed=True))
    engine = engines.compile(part, sample)
    assert engine.name == "constants"
    assert engine.note.startswith("slow: only 0.")
    monkeypatch.setattr(engines, "_gain", lambda *_: pytest.fail("timed again"))
    assert engines.compile(part, sample).note == engine.note
    assert engines.compile(part, sample, engine="slow").name == "slow"  # asked for by name


def test_an_accepted_engine_is_not_timed_again_but_compared_again(table, part, sample, monkeypatch):
    monkeypatch.setattr(engines, "_gain", lambda *_: 2.0)
    table(quick=altered(lambda y: y * 1.001, timed=True))
    assert engines.compile(part, sample).name == "quick"
    monkeypatch.setattr(engines, "_gain", lambda *_: pytest.fail("timed again"))
    assert engines.compile(part, sample).name == "quick"
    table(quick=altered(lambda y: y * 1.05, timed=True))
    assert engines.compile(part, sample).note == "quick: differs by 0.05, more than 0.01"


def test_unknown_and_missing_engines(monkeypatch, part, sample):
    with pytest.raises(TlkitError, match=r"Unknown engine 'openvin'\. Did you mean 'openvino'"):
        engines.compile(part, sample, engine="openvin")
    monkeypatch.setattr(engines, "_installed", lambda package: False)
    with pytest.raises(TlkitError, match=r"not installed; pip install tlkit\[fast\]"):
        engines.compile(part, sample, engine="openvino")
    assert "openvino" not in engines.candidates()


def test_a_machine_that_does_not_tell_its_features(monkeypatch):
    def unreadable(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(engines.Path, "read_text", unreadable)
    assert engines.cpu_flags.__wrapped__() == frozenset()
    monkeypatch.setattr(engines, "cpu_flags", frozenset)
    assert "bfloat16" not in engines.candidates()
    assert " keras " in engines.signature("keras")


def test_difference_is_that_of_the_worst_row():
    expected = np.array([[3.0, 4.0], [0.0, 2.0]])
    answer = np.array([[3.0, 4.0], [0.6, 2.0]])
    assert engines.difference(answer, expected) == pytest.approx(0.3)
    assert engines.difference(answer[:1], expected) == np.inf
    assert engines.difference(answer * np.nan, expected) == np.inf
    assert engines.difference(answer, expected * np.nan) == np.inf


def test_openvino_converts_once(part, sample, monkeypatch, home):
    pytest.importorskip("openvino", reason="OpenVINO is the extra tlkit[fast]")
    assert engines.compile(part, sample, engine="openvino").name == "openvino"
    (kept,) = (home / "engines").glob("*.xml")
    assert kept.with_suffix(".bin").exists()
    with monkeypatch.context() as patch:
        patch.setattr(engines, "_convert", lambda *_: pytest.fail("converted again"))
        assert engines.compile(part, sample, engine="openvino").name == "openvino"
    kept.write_text("torn")
    engine = engines.compile(part, sample, engine="openvino")
    assert engine.name == "openvino"  # a torn file is made anew


def test_several_outputs_come_out_of_one_pass(sample):
    inputs = keras.Input((16, 16, 3))
    low = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    both = keras.Model(inputs, [low, keras.layers.GlobalAveragePooling2D()(low)])
    engine = engines.compile(both, sample, engine="constants")
    for answer, expected in zip(engine.call(sample), both(sample), strict=True):
        np.testing.assert_allclose(answer, expected, atol=1e-5)
