"""What is kept of engines on disk: timed verdicts, and OpenVINO's networks, each with its key."""

import os
import sys
import time

import keras
import numpy as np
import pytest
from keras import layers

from tlkit.features import engines

SAMPLE = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
OPENVINO = pytest.mark.skipif(
    "openvino" not in engines.candidates(), reason="OpenVINO is the extra tlkit[fast]"
)


def net(activation="relu", seed=0, name=None, classes=4, trainable=True):
    """Returns a small part whose weights follow from the seed alone."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(classes, 3, activation=activation, name=name)(inputs)
    part = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    part.trainable = trainable
    draw = np.random.default_rng(seed)
    part.set_weights([draw.normal(0, 0.3, w.shape) for w in part.get_weights()])
    return part


class Timed:
    """An engine that must show its speed; it tells how often it was made and run."""

    def __init__(self, seconds=0.0, factor=1.0):
        self.seconds, self.factor = seconds, factor
        self.made = self.runs = 0

    def row(self):
        return engines.Row(self.build, timed=True)

    def build(self, source):
        self.made += 1
        answers = source.part(SAMPLE, training=False).numpy() * self.factor
        return lambda rows: (self.run(answers[: len(rows)]),)

    def run(self, answer):
        self.runs += 1
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        return answer


@pytest.fixture
def offer(monkeypatch):
    """Puts engines before an exact one that takes a fiftieth of a second."""
    exact = {"constants": engines.Row(Timed(0.02).build), "keras": engines.ENGINES["keras"]}

    def use(**timed):
        rows = {name: engine.row() for name, engine in timed.items()}
        monkeypatch.setattr(engines, "ENGINES", rows | exact)

    return use


def test_rounding_must_pay_and_the_verdict_is_kept(offer):
    slow = Timed(0.04)
    offer(slow=slow)
    engine = engines.compile(net(), SAMPLE)
    assert engine.name == "constants"
    assert engine.note.startswith("slow: only 0.") and engine.note.endswith("as constants")
    made = slow.made
    assert engines.compile(net(), SAMPLE).note == engine.note
    assert slow.made == made  # not even looked at
    assert engines.compile(net(), SAMPLE, engine="slow").name == "slow"  # asked for by name


def test_each_engine_has_a_verdict_of_its_own(offer):
    offer(slow=Timed(0.04), quick=Timed(0.001))
    for _ in range(2):  # judged, then from what was kept
        assert engines.compile(net(), SAMPLE).name == "quick"


def test_an_engine_as_fast_as_the_exact_one_does_not_pay(offer):
    offer(even=Timed(0.02))
    assert engines.compile(net(), SAMPLE).name == "constants"


def test_an_accepted_engine_is_not_timed_again_but_compared_again(offer):
    offer(quick=Timed(0.001))
    assert engines.compile(net(), SAMPLE).name == "quick"
    again = Timed(0.001)
    offer(quick=again)
    assert engines.compile(net(), SAMPLE).name == "quick"
    assert again.runs == 1
    offer(quick=Timed(0.001, factor=1.05))
    assert engines.compile(net(), SAMPLE).note == "quick: differs by 0.05, more than 0.01"


@pytest.mark.parametrize(
    ("change", "options", "known"),
    [
        ({"name": "another"}, {}, True),
        ({"trainable": False}, {}, True),  # as before and in the training of a head
        ({"seed": 1}, {}, False),
        ({"activation": "relu6"}, {}, False),
        ({"activation": "gelu"}, {}, False),
        ({"classes": 5}, {}, False),
        ({}, {"tolerance": 0.02}, False),
    ],
    ids=str,
)
def test_a_verdict_is_that_of_one_network_with_its_weights(offer, change, options, known):
    offer(slow=Timed(0.03))
    engines.compile(net(), SAMPLE)
    other = Timed(0.03)
    offer(slow=other)
    engines.compile(net(**change), SAMPLE, **options)
    assert (other.made == 0) == known
    third = Timed(0.03)
    offer(third=third)
    engines.compile(net(), SAMPLE)
    assert third.made == 1  # of another engine


@OPENVINO
def test_openvino_finds_the_kept_network_by_structure_and_weights(private_home):
    first = engines.compile(net(), SAMPLE, engine="openvino")
    assert (first.name, first.note) == ("openvino", "") and first.difference < 1e-5
    (kept,) = (private_home / "engines").glob("*.xml")
    before = kept.stat().st_ino, kept.with_suffix(".bin").stat().st_ino
    again = engines.compile(net(name="another"), SAMPLE, engine="openvino")
    assert (kept.stat().st_ino, kept.with_suffix(".bin").stat().st_ino) == before
    np.testing.assert_array_equal(again.call(SAMPLE)[0], first.call(SAMPLE)[0])
    for number, other in enumerate([net(seed=1), net("gelu")], 2):
        engine = engines.compile(other, SAMPLE, engine="openvino")
        assert engine.name == "openvino", engine.note  # not answered by another's network
        np.testing.assert_allclose(engine.call(SAMPLE)[0], other(SAMPLE), atol=1e-5)
        assert len(list(kept.parent.glob("*.xml"))) == number


@OPENVINO
def test_a_torn_network_is_converted_again_and_old_ones_go(private_home):
    folder = private_home / "engines"
    folder.mkdir()
    for age in range(14):
        for suffix in (".xml", ".bin"):
            (folder / f"{age}{suffix}").write_text("")
            os.utime(folder / f"{age}{suffix}", (age, age))
    engines.compile(net(), SAMPLE, engine="openvino")
    left = sorted(path.stem for path in folder.glob("*.xml"))
    assert len(left) == 12 and {str(age) for age in range(3, 14)} < set(left)
    assert left == sorted(path.stem for path in folder.glob("*.bin"))
    (kept,) = (path for path in folder.glob("*.xml") if not path.stem.isdigit())
    kept.write_text("torn")
    assert engines.compile(net(), SAMPLE, engine="openvino").name == "openvino"
    assert len(list(folder.iterdir())) == 24  # and nothing half-written beside them


@OPENVINO
def test_openvino_reports_to_nobody():
    engines.compile(net(), SAMPLE, engine="openvino")
    assert "openvino.tools.ovc" in sys.modules
    assert sys.modules["openvino_telemetry"] is None
