"""Schedules against closed forms and the papers' own numbers."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import TlkitError
from tlkit.phases import phase as phases
from tlkit.phases import schedules
from tlkit.phases.phase import Phase
from tlkit.phases.schedules import Place


def at(name, epochs, **options):
    """Returns the factors at these epochs of 10, one step an epoch."""
    return [schedules.factor(name, options, Place(e, 10, e)) for e in epochs]


CLOSED = {
    "constant": ({}, [1, 1, 1, 1]),
    "inverse": ({}, [1, 1 / 2, 1 / 3, 1 / 4]),
    "inverse_time": ({"decay": 0.1}, [1, 1 / 1.1, 1 / 1.2, 1 / 1.3]),
    "inverse_step": ({"decay": 0.5}, [1, 1 / 1.5, 1 / 2, 1 / 2.5]),
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


def test_the_two_forms_of_time_decay_are_the_known_numbers():
    after = range(1, 4)
    compounding = 0.1 * np.array(at("compounding", after, decay=0.1))
    np.testing.assert_allclose(compounding, [0.0909, 0.0826, 0.0751], atol=5e-5)
    inverse = 0.1 * np.array(at("inverse_time", after, decay=0.1))
    np.testing.assert_allclose(inverse, [0.0909, 0.0833, 0.0769], atol=5e-5)


def test_decay_goes_by_steps_or_stays_through_an_epoch():
    def rates(name):
        phase = Phase("p", epochs=3, rate=1.0, warmup=0, schedule=name)
        return [phases.rate_at(phase, step, 12) for step in range(12)]

    assert len(set(rates("inverse_step"))) == 12
    for name in ("inverse", "inverse_time", "compounding"):
        assert [rates(name).count(rate) for rate in sorted(set(rates(name)))] == [4, 4, 4]


def test_epochs_count_from_the_end_of_the_warm_up():
    phase = Phase(
        "p", epochs=10, rate=1.0, warmup=0.2, schedule="step", schedule_options={"every": 3}
    )
    rates = [phases.rate_at(phase, step, 100) for step in range(100)]
    assert max(rates) == rates[20] == rates[49] == 1.0
    assert rates[50] == 0.1 and rates[80] == pytest.approx(0.01)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.37])
def test_the_first_three_schedules_are_bit_equal_to_their_formulas(warmup):
    steps = 97
    warm = round(warmup * steps)
    factors = {
        "constant": lambda share: 1.0,
        "linear": lambda share: 1 - share,
        "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    }
    for name, factor in factors.items():
        phase = Phase("p", rate=3e-3, warmup=warmup, schedule=name)
        for step in range(steps):
            rising = 3e-3 * (step + 1) / (warm + 1)
            falling = 3e-3 * factor((step - warm) / (steps - warm))
            assert phases.rate_at(phase, step, steps) == (rising if step < warm else falling)


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


def test_one_cycle_takes_no_warm_up():
    rates = [
        [phases.rate_at(Phase("p", schedule="one_cycle", warmup=w), s, 50) for s in range(50)]
        for w in (0.0, 0.1)
    ]
    assert rates[0] == rates[1]


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
    phase = Phase("bit", **rule["phase"])
    total = phase.epochs * math.ceil(images / 512)
    assert steps <= total < steps + math.ceil(images / 512) and phase.patience == phase.epochs
    rate = [phases.rate_at(phase, step, total) for step in range(total)]
    assert max(rate) == rate[warm] == pytest.approx(0.003)
    assert (np.diff(rate[:warm]) > 0).all()
    for number, milestone in enumerate(tenths, 1):
        assert rate[milestone - 1] == pytest.approx(0.003 * 0.1 ** (number - 1))
        assert rate[milestone] == pytest.approx(0.003 * 0.1**number)
    assert schedules.hyperrule(images, (32, 32))["crop"] == 128
    assert (rule["phase"]["augment"] == "mixup") == (images >= 20_000)


@pytest.mark.parametrize(("images", "batch_size"), [(1, 128), (100, 128), (5000, 128), (20_001, 7)])
def test_hyperrule_keeps_its_steps_at_any_size(images, batch_size):
    rule = schedules.hyperrule(images, batch_size=batch_size)
    each = math.ceil(images / batch_size)
    assert 0 <= rule["phase"]["epochs"] * each - rule["steps"] < each


@pytest.mark.parametrize(
    "edge", [(19_999, 500), (20_000, 10_000), (499_999, 10_000), (500_000, 20_000)]
)
def test_hyperrule_changes_at_its_edges(edge):
    images, steps = edge
    assert schedules.hyperrule(images)["steps"] == steps
    assert schedules.hyperrule(images, (96, 96))["size"] == 512
    assert schedules.hyperrule(images, (96, 95))["size"] == 160


def test_hyperrule_says_all_that_is_to_be_set():
    """The paper's rate is 0.003 for 512 images a step, the same for all layers, without decay."""
    rule = schedules.hyperrule(5000)
    assert rule["phase"] | {"schedule_options": None} == {
        "unfreeze": "all", "epochs": 13, "patience": 13, "batch_size": 128,
        "optimizer": "momentum", "rate": pytest.approx(0.00075), "decay": 1.0,
        "weight_decay": 0.0, "smoothing": 0.0, "warmup": pytest.approx(100 / (13 * 40)),
        "schedule": "bit", "schedule_options": None, "augment": "flip",
    }  # fmt: skip
    assert schedules.hyperrule(5000, batch_size=64)["phase"]["rate"] == pytest.approx(0.000375)
    assert schedules.hyperrule(20_000)["phase"]["augment"] == "mixup"
    assert schedules.hyperrule(19_999)["phase"]["augment"] == "flip"
    sizes = [(schedules.hyperrule(9, shape)["size"], schedules.hyperrule(9, shape)["crop"])
             for shape in ((32, 32), (300, 200))]  # fmt: skip
    assert sizes == [(160, 128), (512, 480)]


def test_snapshots_of_an_uneven_number_of_steps_are_rounded_up():
    """100 steps in 3 cycles: 34, 34 and what is left, 32."""
    factors = [schedules.factor("snapshot", {"cycles": 3}, Place(s, 100, 0.0)) for s in range(100)]
    assert [step for step, factor in enumerate(factors) if factor == 1.0] == [0, 34, 68]


def test_options_that_are_not_given_are_the_defaults():
    place = Place(6, 10, 10.0, (1.0, 1.0, 1.0))
    found = {name: schedules.factor(name, {}, place) for name in schedules.SCHEDULES}
    assert found["step"] == pytest.approx(0.1)  # a tenth every 10 epochs
    assert found["exponential"] == pytest.approx(0.9**10)
    assert found["inverse_time"] == pytest.approx(1 / 2)
    assert found["inverse_step"] == pytest.approx(1 / 1.006)
    assert found["plateau"] == pytest.approx(0.2)  # two epochs without a better one
    assert found["bit"] == pytest.approx(0.01)
    assert found["restarts"] == pytest.approx((1 + math.cos(math.pi / 2)) / 2)  # 5 of 5, 5 of 10


def test_hyperrule_needs_images():
    with pytest.raises(TlkitError, match="0 images"):
        schedules.hyperrule(0)


def _value(key):
    least, most = schedules.LIMITS[key]
    if key in ("cycles", "patience"):
        return st.integers(int(least), int(most))
    return st.one_of(st.sampled_from([least, most]), st.floats(least, most))


@st.composite
def _schedules(draw):
    name = draw(st.sampled_from(sorted(schedules.SCHEDULES)))
    keys = schedules.SCHEDULES[name].options
    return name, {key: draw(_value(key)) for key in keys if draw(st.booleans())}


@settings(max_examples=150, deadline=None)
@given(
    _schedules(), st.integers(1, 300), st.floats(0, 1, exclude_max=True), st.integers(1, 300),
    st.floats(0, 1), st.lists(st.floats(), max_size=30),
)  # fmt: skip
def test_every_rate_is_sane(drawn, steps, share, epochs, warmup, losses):
    name, options = drawn
    phase = Phase(
        "p", epochs=epochs, schedule=name, schedule_options=options, warmup=warmup, rate=0.5
    )
    step = int(share * steps)
    rate = phases.rate_at(phase, step, steps, losses)
    assert 0 <= rate <= 0.5
    kept = Phase(**json.loads(json.dumps(dataclasses.asdict(phase))))
    assert kept == phase and phases.rate_at(kept, step, steps, list(losses)) == rate


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_defaults_are_allowed_and_the_page_lists_them(name):
    row = schedules.SCHEDULES[name]
    schedules.check(name, row.options)
    options = ", ".join(f"{key} {value:g}" for key, value in row.options.items())
    page = Path(__file__).parents[2] / "docs" / "schedules.md"
    assert f"| `{name}` | {row.about} | {options} |" in page.read_text(encoding="utf-8")


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
        ("restarts", {"times": 0.5}, "times cannot be 0.5"),  # cycles would shrink for ever
        ("exponential", {"factor": 2}, "from 1e-06 to 1"),
        ("snapshot", {"cycles": 2.5}, "a whole number"),
        ("snapshot", {"cycles": math.inf}, "cycles cannot be inf"),
        ("snapshot", {"cycles": 0}, "cycles cannot be 0"),
        ("plateau", {"patience": 0}, "patience cannot be 0"),
        ("plateau", {"least": 1.1}, "least cannot be 1.1"),
        ("one_cycle", {"start": -0.1}, "start cannot be -0.1"),
        ("one_cycle", {"end": 1.1}, "end cannot be 1.1"),
        ("restarts", {"cycle": 0}, "cycle cannot be 0"),
        ("inverse_time", {"decay": -1}, "decay cannot be -1"),
        ("bit", {"third": 1.1}, "third cannot be 1.1"),
        ("plateau", {"patience": True}, "patience cannot be True"),
        ("step", {"factor": math.nan}, "factor cannot be nan"),
        ("step", [5], "options are a dict"),
        ("inverse_time", {"decay": "much"}, "decay cannot be 'much'"),
    ],
)
def test_wrong_options_say_so(name, options, message):
    with pytest.raises(TlkitError, match=message):
        Phase("p", schedule=name, schedule_options=options)


@pytest.mark.parametrize(
    "wrong", [{"warmup": -0.1}, {"warmup": 1.1}, {"warmup": math.nan}, {"rate": -1.0},
              {"rate": math.nan}, {"decay": -0.5}, {"decay": math.inf}],
)  # fmt: skip
def test_wrong_rates_say_so(wrong):
    with pytest.raises(TlkitError, match="warmup outside 0 to 1, rate or decay"):
        Phase("p", **wrong)
