"""A space is data: what a file says is what is searched, and the default is the default plan."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit import oracles, phases
from tlkit.errors import TlkitError
from tlkit.model import Head
from tlkit.oracles import Past, propose
from tlkit.space import RATE_SCALE, Row, Space, default_space, load, names, phases_of

STAGES = ("stage1", "stage2", "stage3")
PLAN = phases.head_then_upper(STAGES)
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


@pytest.mark.parametrize("plan", [PLAN, phases.from_scratch()], ids=["two phases", "one phase"])
@pytest.mark.parametrize("head", [Head(), Head("mlp", 0.5)])
def test_the_default_settings_are_the_default_plan(plan, head):
    space = default_space(plan, STAGES, head)
    assert phases_of(space.default, plan, head) == (head, plan)


def test_each_setting_lands_where_it_should():
    head, (first, last) = phases_of(
        {"head": "mlp", "dropout": 0.4, "head_rate": 0.02, "rate": 1e-4, "unfreeze": "stage1",
         "weight_decay": 0.05, "epochs": 7, "views": 2.0}, PLAN,
    )  # fmt: skip
    assert head == Head("mlp", 0.4)
    assert first == dataclasses.replace(PLAN[0], rate=0.02, weight_decay=0.05, views=2)
    assert last == dataclasses.replace(
        PLAN[1], rate=1e-4, unfreeze="stage1", weight_decay=0.05, epochs=7, views=2
    )


def test_no_unfreezing_leaves_out_the_last_phase():
    _, plan = phases_of({"unfreeze": "none", "rate": 1e-4}, PLAN)
    assert plan == PLAN[:1]


@pytest.mark.parametrize("name", RATE_SCALE)
def test_rates_are_in_the_measure_of_adam(name):
    _, given_rate = phases_of({"optimizer": name, "rate": 1e-3}, PLAN)
    assert given_rate[1].rate == pytest.approx(1e-3 * RATE_SCALE[name])
    assert given_rate[0].rate == pytest.approx(PLAN[0].rate * RATE_SCALE[name])


def test_every_field_of_a_phase_can_be_searched():
    fields = {field.name for field in dataclasses.fields(phases.Phase)} - {"name"}
    assert fields <= set(names())


def test_a_file_replaces_rows_pins_and_adds(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        'augment = "flip"\n[rate]\nlow = 1e-5\nhigh = 1e-3\nlog = true\n'
        "[batch_size]\nvalues = [16, 32]\n[optimizer]\npin = 'adamw'\n"
    )
    space = load(path, SPACE)
    rows = {row.name: row for row in space.rows}
    assert rows["rate"].default == 3e-4  # the default it had, since it is in the new range
    assert (rows["rate"].low, rows["rate"].log) == (1e-5, True)
    assert rows["augment"].values == ("flip",) and rows["augment"].pinned
    assert rows["batch_size"].values == (16, 32)
    assert rows["dropout"] == next(row for row in SPACE.rows if row.name == "dropout")
    assert "strength" not in space.default  # which a mirror image has not


def test_json_and_toml_say_the_same(tmp_path):
    values = {"only": True, "dropout": {"low": 0.0, "high": 0.5}, "head": {"values": ["mlp"]}}
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.toml").write_text(
        'only = true\n[dropout]\nlow = 0.0\nhigh = 0.5\n[head]\nvalues = ["mlp"]\n'
    )
    assert load(tmp_path / "a.json", SPACE) == load(tmp_path / "a.toml", SPACE)
    assert len(load(tmp_path / "a.json", SPACE).rows) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rato]\nlow = 1\nhigh = 2", "Did you mean 'rate'"),
        ("[rate]\nlow = 1\nhigh = 1", "`low` below `high`"),
        ("[rate]\nlow = 0\nhigh = 1\nlog = true", "above 0"),
        ("[rate]\nlow = 1\nhihg = 2", "Did you mean 'high'"),
        ("[rate]\nvalues = [1, 2]\ndefault = 3", "default 3 is not in"),
        ("only = true\n[dropout]\nlow = 0\nhigh = 1\nwhen = {head = ['mlp']}", "must precede"),
        ("[rate", "Cannot read"),
    ],
)
def test_mistakes_in_a_file_are_explained(tmp_path, text, words):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(TlkitError, match=words):
        load(tmp_path / "space.toml", SPACE)


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


@pytest.mark.parametrize("algorithm", oracles.ALGORITHMS)
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


@pytest.mark.parametrize("algorithm", ["random", "grid"])
def test_a_small_space_is_exhausted_without_repeats(algorithm):
    past = _draw(algorithm, SMALL, 50)
    found = {json.dumps(tried.settings) for tried in past}
    assert len(found) == len(past) == 6  # 2 of none, 4 of photos


def test_a_grid_has_the_ends_and_the_default_of_a_range():
    row = Row("rate", low=1e-4, high=1e-2, log=True, default=2e-3)
    found = [past.settings["rate"] for past in _draw("grid", Space((row,)), 50)]
    assert found == [2e-3, 1e-4, pytest.approx(10**-3.5, 1e-3), 1e-3,
                     pytest.approx(10**-2.5, 1e-3), 1e-2]  # fmt: skip


def test_another_seed_draws_other_settings():
    assert _draw("random", SPACE, 3, seed=1)[1] != _draw("random", SPACE, 3)[1]


def test_bayes_uses_what_it_has_seen():
    line = Space((Row("rate", low=1e-6, high=1e-1, log=True, default=1e-2),))
    late = [p.settings["rate"] for p in _draw("bayesian", line, 14)[-5:]]
    assert min(abs(math.log10(rate) + 3.5) for rate in late) < 0.3


def test_hyperband_gives_few_epochs_first_and_more_to_the_best():
    shares = [tried.share for tried in _draw("hyperband", SPACE, 14)]
    assert min(shares) == pytest.approx(1 / oracles.ROUNDS) and len(set(shares)) > 2


def test_an_unknown_algorithm_is_named():
    with pytest.raises(TlkitError, match="Did you mean 'bayesian'"):
        propose("bayes", SPACE, [])


@given(st.floats(1e-9, 1.0), st.floats(1.1, 1e3))
def test_the_middle_of_any_range_is_in_it(low, factor):
    for log in (False, True):
        row = Row("rate", low=low, high=low * factor, log=log)
        assert row.holds(row.default)
