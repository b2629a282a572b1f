"""What is tried next is valid, new, learns from the losses and is a function of the past."""

import json
import math

import pytest

from tlkit.errors import TlkitError
from tlkit.phases import phase
from tlkit.tuning import proposals
from tlkit.tuning.proposals import Past, propose
from tlkit.tuning.space import Row, Space, default_space, phases_of

STAGES = ("stage1", "stage2", "stage3")
PLAN = phase.head_then_upper(STAGES)
SPACE = default_space(PLAN, STAGES)
SMALL = Space((
    Row("augment", ("none", "photos"), default="photos"),
    Row("strength", (0.5, 1.0), default=1.0, when=("augment", ("photos",))),
    Row("smoothing", (0.0, 0.1), default=0.1),
))  # fmt: skip
FEWER = Space(tuple(
    row for row in SPACE.rows
    if row.name in ("unfreeze", "rate", "augment", "strength", "dropout", "head")
))  # fmt: skip
LINE = Space((Row("rate", low=1e-6, high=1e-1, log=True, default=1e-2),))


def _draw(algorithm, space, count, seed=0):
    """A search whose score is a formula."""
    past = []
    while len(past) < count:
        tried = propose(algorithm, space, past, seed)
        if tried is None:
            break
        score = abs(math.log10(tried.settings.get("rate", 1e-2)) + 3.5)
        past.append(Past(tried.settings, None if len(past) == 2 else score, tried.share))
    return past


@pytest.mark.parametrize("algorithm", proposals.ALGORITHMS)
def test_proposals_are_valid_new_and_a_function_of_the_past(algorithm):
    # A Gaussian process takes seconds for each suggestion, the more rows the more.
    rows = FEWER.rows[:2] if algorithm == "bayesian" else FEWER.rows
    _check_proposals(algorithm, Space(rows), _draw(algorithm, Space(rows), 8))


def _check_proposals(algorithm, space, past):
    assert past[0].settings == space.default
    for tried in past:
        assert space.only_active(tried.settings) == tried.settings
        for row in space.rows:
            assert row.name not in tried.settings or row.holds(tried.settings[row.name])
        phases_of(tried.settings, PLAN)
    if algorithm != "hyperband":  # which takes the best settings up again with more epochs
        assert len({json.dumps(tried.settings) for tried in past}) == len(past)
    assert _draw(algorithm, space, 8) == past
    assert propose(algorithm, space, past[:5], 0).settings == past[5].settings


@pytest.mark.parametrize("algorithm", ["random", "grid", "bayesian"])
def test_a_small_space_is_exhausted_without_repeats(algorithm):
    past = _draw(algorithm, SMALL, 50)
    found = {json.dumps(tried.settings) for tried in past}
    assert len(found) == len(past) == 6  # 2 of none, 4 of photos


def test_a_space_in_which_all_is_pinned_has_one_trial():
    pinned = Space((Row("augment", ("flip",)), Row("smoothing", (0.1,))))
    for algorithm in proposals.ALGORITHMS:
        assert propose(algorithm, pinned, []).settings == {"augment": "flip", "smoothing": 0.1}
        assert propose(algorithm, pinned, [Past(pinned.default, 0.5)]) is None


def test_a_grid_has_the_ends_and_the_default_of_a_range():
    row = Row("rate", low=1e-4, high=1e-2, log=True, default=2e-3)
    found = [past.settings["rate"] for past in _draw("grid", Space((row,)), 50)]
    assert found == [2e-3, 1e-4, pytest.approx(10**-3.5, 1e-3), 1e-3,
                     pytest.approx(10**-2.5, 1e-3), 1e-2]  # fmt: skip
    even = Space((Row("dropout", low=0.0, high=0.4, default=0.1),))
    assert [past.settings["dropout"] for past in _draw("grid", even, 50)] == pytest.approx(
        [0.1, 0.0, 0.2, 0.3, 0.4]
    )
    whole = Space((Row("epochs", low=2, high=10, default=3),))
    found = [past.settings["epochs"] for past in _draw("grid", whole, 50)]
    assert found == [3, 2, 4, 6, 8, 10] and all(isinstance(value, int) for value in found)


def test_on_a_grid_the_last_row_changes_first():
    rows = (Row("smoothing", (0.0, 0.1)), Row("dropout", (0.2, 0.4)))
    found = [tuple(past.settings.values()) for past in _draw("grid", Space(rows), 9)]
    assert found == [(0.0, 0.2), (0.0, 0.4), (0.1, 0.2), (0.1, 0.4)]


@pytest.mark.parametrize("algorithm", ["random", "hyperband"])
def test_another_seed_draws_other_settings(algorithm):
    assert _draw(algorithm, SPACE, 3, seed=1)[1] != _draw(algorithm, SPACE, 3)[1]


def test_random_settings_fill_their_ranges_evenly_in_their_own_measure():
    rows = (*LINE.rows, Row("dropout", low=0.0, high=0.6), Row("views", low=1, high=4))
    past = _draw("random", Space(rows), 80)[1:]
    logs = [math.log10(tried.settings["rate"]) for tried in past]
    assert sum(value < -3.5 for value in logs) == pytest.approx(40, abs=12)
    drops = [tried.settings["dropout"] for tried in past]
    assert sum(value < 0.3 for value in drops) == pytest.approx(40, abs=12)
    assert {tried.settings["views"] for tried in past} == {1, 2, 3, 4}


def test_bayes_goes_where_the_loss_is_least():
    late = [p.settings["rate"] for p in _draw("bayesian", LINE, 12)[-3:]]
    assert min(abs(math.log10(rate) + 3.5) for rate in late) < 0.3


def _line(scores):
    """Trials at even steps of the rate, from 10^-6 to 10^-1, with these scores."""
    rates = [float(f"{10 ** (-6 + 5 * i / (len(scores) - 1)):.4g}") for i in range(len(scores))]
    return [Past({"rate": rate}, score) for rate, score in zip(rates, scores, strict=True)]


def test_a_failed_trial_counts_as_the_worst():
    """Where rates above 10^-3.5 fail and those below get better with the rate, it stays below."""
    failed = _line([4.0, 3.5, 3.0, 2.5, 2.0, None, None, None, None, None])
    worst = [Past(p.settings, 4.0 if p.score is None else p.score) for p in failed]
    best = [Past(p.settings, 2.0 if p.score is None else p.score) for p in failed]
    asked = [propose("bayesian", LINE, past).settings["rate"] for past in (failed, worst, best)]
    assert asked[0] == asked[1] != asked[2]
    assert asked[0] < 10**-3.2 < asked[2]


def test_before_six_trials_bayes_draws_at_random():
    past = _line([3.0, 2.0, 1.0, 0.1, 1.0, 2.0])
    turned = _line([1.0, 0.1, 1.0, 2.0, 3.0, 4.0])
    early = {propose("bayesian", LINE, trials[:5]).settings["rate"] for trials in (past, turned)}
    late = {propose("bayesian", LINE, trials).settings["rate"] for trials in (past, turned)}
    assert len(early) == 1 and len(late) == 2


def test_a_trial_that_failed_is_not_tried_again():
    past = [Past(SMALL.default, None)]
    while (tried := propose("random", SMALL, past)) is not None:
        assert tried.settings not in [p.settings for p in past]
        past.append(Past(tried.settings, None))
    assert len(past) == 6


def test_hyperband_gives_few_epochs_first_and_the_best_go_on():
    """Brackets as in Li et al. 2018 with R = 9 and a factor of 3: 9 or so at 1/9, then a third."""
    past = _draw("hyperband", SPACE, 17)
    shares = [tried.share for tried in past]
    assert shares[0] == 1.0 and shares[1] == pytest.approx(1 / 9)
    first = shares.index(pytest.approx(1 / 3))
    again = past[first]
    short = [tried for tried in past[1:first] if tried.score is not None]
    assert again.settings == min(short, key=lambda tried: tried.score).settings
    assert {round(share, 3) for share in shares} == {0.111, 0.333, 1.0}


def test_an_unknown_algorithm_is_named():
    with pytest.raises(TlkitError, match="Did you mean 'bayesian'"):
        propose("bayes", SPACE, [])


MIXED = {
    "numbers": (0, 0.5), "none": (None, "stage3"), "yes or no": (True, False),
    "by stage": ({"head": 1.0}, 0.5), "whole": (2, 1), "pinned": ({"head": 1.0},),
}  # fmt: skip


@pytest.mark.parametrize("values", MIXED.values(), ids=MIXED.keys())
@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband"])
def test_a_choice_may_be_of_any_values(algorithm, values):
    """keras-tuner takes texts or numbers of one type only; what comes back is what was given."""
    rows = (
        Row("l2", values, default=values[-1]), Row("smoothing", (0.0, 0.1)),
        Row("clip", low=1.0, high=2.0, when=("l2", values[:1])),
    )  # fmt: skip
    space = Space(rows)
    chosen = proposals.settings(space, proposals.keys(space, space.default))
    assert chosen == space.default and type(chosen["l2"]) is type(values[-1])
    past = [Past(space.default, 0.5)]
    for _ in range(4):
        tried = propose(algorithm, space, past).settings
        (known,) = [value for value in values if value == tried["l2"]]
        assert type(tried["l2"]) is type(known) and ("clip" in tried) == (known == values[0])
        past.append(Past(tried, 0.5))


def test_drawn_numbers_have_four_digits_and_stay_in_range():
    row = Row("rate", low=0.123456, high=0.1234567, log=True)
    for past in _draw("random", Space((row,)), 3):
        assert row.holds(past.settings["rate"])
    rates = [past.settings["rate"] for past in _draw("random", LINE, 6)[1:]]
    assert all(float(f"{rate:.4g}") == rate for rate in rates)
