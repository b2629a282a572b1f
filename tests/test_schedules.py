"""Schedules against closed forms and the papers' own numbers."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import phases, schedules
from tlkit.errors import TlkitError
from tlkit.phases import Phase
from tlkit.schedules import Place


def at(name, epochs, **options):
    """Returns the factors at these epochs of 10, one step an epoch."""
    return [schedules.factor(name, options, Place(e, 10, e)) for e in epochs]


CLOSED = {
    "constant": ({}, [1, 1, 1, 1]),
    "inverse": ({}, [1, 1 / 2, 1 / 3, 1 / 4]),
    "inverse_time": ({"decay": 0.1}, [1, 1 / 1.1, 1 / 1.2, 1 / 1.3]),
    "compounding": ({"decay": 0.1}, [1, 1 / 1.1, 1 / 1.1**2, 1 / 1.1**3]),
    "step": ({"every": 2, "factor": 0.1}, [1, 1, 0.1, 0.1]),
    "exponential": ({"factor": 0.5}, [1, 0.5, 0.25, 0.125]),
    "linear": ({}, [1, 0.9, 0.8, 0.7]),
    "cosine": ({}, [(1 + math.cos(math.pi * e / 10)) / 2 for e in range(4)]),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name):
    options, expected = CLOSED[name]
    np.testing.assert_allclose(at(name, range(4), **options), expected, rtol=1e-12)


def test_restarts_are_the_published_ones():
    found = 0.05 * np.array(at("restarts", [0, 5, 9, 10, 20, 29, 30], cycle=10, times=2))
    golden = [0.05, 0.025, 0.001224, 0.05, 0.025, 0.000308, 0.05]
    np.testing.assert_allclose(found, golden, atol=1e-6)


def test_snapshots_are_the_published_ones():
    found = [
        0.2 * schedules.factor("snapshot", {"cycles": 6}, Place(t - 1, 300, 0.0))
        for t in (1, 26, 50, 51)
    ]
    np.testing.assert_allclose(found, [0.2, 0.1, 0.000197, 0.2], atol=1e-6)


def test_one_cycle_rises_peaks_and_ends_low():
    places = [Place(step, 1000, 0.0) for step in range(1001)]
    found = [schedules.factor("one_cycle", {}, place) for place in places]
    assert found[0] == pytest.approx(0.04) and found[-1] == pytest.approx(1e-5)
    assert np.argmax(found) == 300 and max(found) == 1.0
    assert (np.diff(found[:301]) >= 0).all() and (np.diff(found[300:]) <= 0).all()


def test_plateau_waits_then_falls_and_stops_at_the_least():
    def factor(*losses):
        options = {"factor": 0.1, "patience": 2, "least": 0.005}
        return schedules.factor("plateau", options, Place(0, 1, 0.0, losses))

    assert factor() == factor(3, 2, 1) == factor(3, 2, 2) == 1.0
    assert factor(3, 3, 3) == pytest.approx(0.1)
    assert factor(3, 3, 3, 2, 2) == pytest.approx(0.1)  # a better one starts the count anew
    assert factor(*[3] * 20) == 0.005
    assert factor(3, math.nan, math.nan) == pytest.approx(0.1)


def test_plateau_through_a_phase_is_the_same_after_a_resume():
    phase = Phase("p", epochs=9, schedule="plateau", warmup=0.0, rate=1.0)
    losses = [3, 2, 2, 2, 2, 2, 1, 1]
    rates = [phases.rate_at(phase, 4 * e, 36, losses[:e]) for e in range(9)]
    assert rates[3] == 1.0 and rates[4] == pytest.approx(0.2) and rates[6] == pytest.approx(0.04)
    assert rates[5] == phases.rate_at(phase, 4 * 5, 36, tuple(losses[:5]))


@pytest.mark.parametrize(
    ("images", "steps", "warm", "tenths"),
    [(5000, 500, 100, (200, 300, 400)), (10**5, 10_000, 500, (3000, 6000, 9000)),
     (10**6, 20_000, 500, (6000, 12_000, 18_000))],
)  # fmt: skip
def test_hyperrule_is_a_function_of_the_data(images, steps, warm, tenths):
    rule = schedules.hyperrule(images, batch_size=512)
    assert rule["steps"] == steps and (rule["size"], rule["crop"]) == (512, 480)
    phase = dataclasses.replace(Phase("bit", **rule["phase"]), epochs=1)
    rate = [phases.rate_at(phase, step, steps) for step in range(steps)]
    assert max(rate) == rate[warm] == pytest.approx(0.003)
    assert (np.diff(rate[:warm]) > 0).all()
    for number, milestone in enumerate(tenths, 1):
        assert rate[milestone - 1] == pytest.approx(0.003 * 0.1 ** (number - 1))
        assert rate[milestone] == pytest.approx(0.003 * 0.1**number)
    assert schedules.hyperrule(images, (32, 32))["crop"] == 128
    assert (rule["phase"]["augment"] == "mixup") == (images >= 20_000)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(schedules.SCHEDULES)),
    st.integers(1, 300), st.floats(0, 1, exclude_max=True), st.integers(1, 30),
    st.lists(st.floats(0, 10), max_size=30),
)  # fmt: skip
def test_every_rate_is_sane(name, steps, share, epochs, losses):
    phase = Phase("p", epochs=epochs, schedule=name, rate=0.5)
    rate = phases.rate_at(phase, int(share * steps), steps, losses)
    assert 0 <= rate <= 0.5


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_a_phase_survives_json(name):
    phase = Phase("p", schedule=name, schedule_options=dict(schedules.SCHEDULES[name].options))
    assert Phase(**json.loads(json.dumps(dataclasses.asdict(phase)))) == phase


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosin", {}, "Did you mean 'cosine'"),
        ("step", {"evry": 2}, "Did you mean 'every'"),
        ("step", {"every": 0}, "every cannot be 0"),
        ("one_cycle", {"rise": 1.0}, "rise cannot be 1.0"),
        ("inverse_time", {"decay": "much"}, "decay cannot be 'much'"),
    ],
)
def test_wrong_options_say_so(name, options, message):
    with pytest.raises(TlkitError, match=message):
        Phase("p", schedule=name, schedule_options=options)
