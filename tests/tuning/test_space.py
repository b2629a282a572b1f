"""A space is data: what a file says is what is searched, and the default is the default plan."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit.errors import TlkitError
from tlkit.models.heads import Head
from tlkit.phases import phase
from tlkit.tuning.space import RATE_SCALE, Row, Space, default_space, load, names, phases_of

STAGES = ("stage1", "stage2", "stage3")
PLAN = phase.head_then_upper(STAGES)
SPACE = default_space(PLAN, STAGES)


@pytest.mark.parametrize("plan", [PLAN, phase.from_scratch()], ids=["two phases", "one phase"])
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
    fields = {field.name for field in dataclasses.fields(phase.Phase)} - {"name"}
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


@given(st.floats(1e-9, 1.0), st.floats(1.1, 1e3))
def test_the_middle_of_any_range_is_in_it(low, factor):
    for log in (False, True):
        row = Row("rate", low=low, high=low * factor, log=log)
        assert row.holds(row.default)


# Each row, and the default space


def _plan():
    """Three phases that differ in what rows may set."""
    return (
        phase.Phase("head", rate=1e-2, epochs=4, weight_decay=0.02),
        phase.Phase("middle", unfreeze="stage3", rate=2e-3, epochs=5, weight_decay=0.03),
        phase.Phase("last", unfreeze="stage2", rate=3e-4, epochs=6, weight_decay=0.04),
    )


LAST = {"unfreeze": "all", "decay": 0.7, "batch_norm": "train", "rate": 0.05, "epochs": 9}
FIRST = {"head_rate": ("rate", 0.04), "head_epochs": ("epochs", 11)}
EVERY = {
    "schedule": "constant", "warmup": 0.3, "patience": 3, "weight_decay": 0.2, "loss": "focal",
    "smoothing": 0.05, "augment": "flip", "strength": 0.4, "views": 3, "batch_size": 8,
    "l2": 0.01, "l2_sp": 0.02, "clip": 0.5, "accumulate": 2, "average": 0.9,
    "class_weight": "balanced", "sampling": "balanced", "gamma": 1.5, "arithmetic": "bfloat16",
    "schedule_options": {},
}  # fmt: skip


def test_the_tables_here_name_every_row_there_is():
    assert {*LAST, *FIRST, *EVERY, "head", "dropout", "init", "optimizer"} == set(names())


@pytest.mark.parametrize("name", LAST)
def test_a_row_of_the_last_phase_changes_it_alone(name):
    head, plan = phases_of({name: LAST[name]}, _plan())
    assert plan[:2] == _plan()[:2] and head == Head()
    assert plan[2] == dataclasses.replace(_plan()[2], **{name: LAST[name]})


@pytest.mark.parametrize("name", FIRST)
def test_a_row_of_the_head_phase_changes_it_alone(name):
    field, value = FIRST[name]
    _, plan = phases_of({name: value}, _plan())
    assert plan[1:] == _plan()[1:]
    assert plan[0] == dataclasses.replace(_plan()[0], **{field: value})
    assert phases_of({name: value}, _plan()[2:])[1] == _plan()[2:]  # one phase is the last


@pytest.mark.parametrize("name", EVERY)
def test_any_other_row_changes_every_phase(name):
    _, plan = phases_of({name: EVERY[name]}, _plan())
    assert plan == tuple(dataclasses.replace(p, **{name: EVERY[name]}) for p in _plan())


@pytest.mark.parametrize(
    ("name", "head"),
    [("head", Head("mlp", 0.3)), ("dropout", Head("linear", 0.6)), ("init", None)],
)
def test_a_row_of_the_head_changes_the_head_alone(name, head):
    value = {"head": "mlp", "dropout": 0.6, "init": "scaled"}[name]
    wanted = head or Head("linear", 0.3, "scaled")
    assert phases_of({name: value}, _plan(), Head(dropout=0.3)) == (wanted, _plan())


def test_another_optimizer_keeps_the_rates_in_the_measure_of_adam():
    """Momentum takes ten times Adam's rate and lion 0.3 of it."""
    given_plan = (dataclasses.replace(PLAN[0], optimizer="momentum", rate=0.1), PLAN[1])
    _, plan = phases_of({"optimizer": "lion", "rate": 0.01}, given_plan)
    assert plan[0].rate == pytest.approx(0.1 / 10 * 0.3)
    assert plan[1].rate == pytest.approx(0.01 * 0.3)
    _, plan = phases_of({"rate": 0.01}, (PLAN[0], dataclasses.replace(PLAN[1], optimizer="sgd")))
    assert plan[1].rate == pytest.approx(0.3)


def test_the_default_space_is_around_the_plan():
    plan = (
        dataclasses.replace(PLAN[0], optimizer="momentum", rate=0.05),
        dataclasses.replace(
            PLAN[1], optimizer="sgd", rate=0.3, weight_decay=0.5, smoothing=0.2, strength=0.7
        ),
    )
    rows = {row.name: row for row in default_space(plan, STAGES, Head("mlp", 0.9)).rows}
    rate, head_rate = rows["rate"], rows["head_rate"]
    assert (rate.low, rate.default, rate.high) == pytest.approx((0.01 / 8, 0.01, 0.08))
    assert (head_rate.low, head_rate.default, head_rate.high) == pytest.approx(
        (0.005 / 4, 0.005, 0.02)
    )
    assert rate.log and head_rate.log and rows["weight_decay"].log
    assert rows["unfreeze"].values == ("none", "stage2", "stage3")
    assert rate.when == ("unfreeze", ("stage2", "stage3")) and head_rate.when is None
    assert rows["strength"].when == ("augment", ("photos",))
    assert rows["strength"].values == (0.5, 1.0, 0.7) and rows["strength"].default == 0.7
    assert rows["optimizer"].values == ("adamw", "nesterov", "sgd")
    assert rows["weight_decay"].default == 0.1 and rows["dropout"].default == 0.6
    assert rows["smoothing"].default == 0.2 and rows["head"].default == "mlp"


def test_a_row_matters_where_its_condition_holds():
    space = Space((
        Row("unfreeze", ("none", "stage3"), default="stage3"),
        Row("rate", low=1e-4, high=1e-2, when=("unfreeze", ("stage3",))),
        Row("decay", (0.5, 1.0), when=("rate", (1e-3,))),
    ))  # fmt: skip
    every = {"decay": 0.5, "rate": 1e-3, "unfreeze": "stage3", "strange": 1}
    assert list(space.only_active(every).items()) == [
        ("unfreeze", "stage3"), ("rate", 1e-3), ("decay", 0.5),
    ]  # fmt: skip
    assert space.only_active({**every, "unfreeze": "none"}) == {"unfreeze": "none"}
    assert space.only_active({"rate": 1e-3, "decay": 0.5}) == {}


def test_a_row_needs_no_default_and_a_range_is_whole_where_its_ends_are():
    assert Row("smoothing", (0.2, 0.1)).default == 0.2
    assert Row("rate", low=1e-4, high=1e-2, log=True).default == pytest.approx(1e-3)
    assert Row("dropout", low=0.2, high=0.6).default == pytest.approx(0.4)
    assert Row("epochs", low=1, high=4).whole and not Row("dropout", low=0, high=0.5).whole
    assert not Row("batch_size", low=1, high=64, log=True).whole
    row = Row("dropout", low=0.2, high=0.6)
    assert row.holds(0.2) and row.holds(0.6) and not row.holds(0.61) and not row.holds(0.19)


def test_twice_the_same_row_is_refused():
    with pytest.raises(TlkitError, match="more than one row called rate"):
        Space((Row("rate", (0.1, 0.2)), Row("rate", (0.1, 0.3))))


def test_a_default_in_a_file_goes_before_the_one_it_replaces(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "[rate]\nlow = 1e-5\nhigh = 1e-3\nlog = true\ndefault = 1e-4\n"
        "[weight_decay]\nlow = 0.5\nhigh = 0.7\n"
        "[strength]\nvalues = [0.5, 0.8]\nwhen = {augment = ['textures', 'photos']}\n"
    )
    rows = {row.name: row for row in load(path, SPACE).rows}
    assert rows["rate"].default == 1e-4
    assert rows["weight_decay"].default == pytest.approx(0.6)  # the old one is not in the range
    assert rows["strength"].when == ("augment", ("textures", "photos"))
    assert rows["strength"].values == (0.5, 0.8)


@pytest.mark.parametrize("name", ["epochs", "views", "batch_size", "patience", "accumulate"])
def test_what_is_counted_is_whole(name):
    """A range between fractions may be searched, or one whose default lies between two numbers."""
    _, plan = phases_of({name: 3.7}, PLAN)
    value = getattr(plan[1], name)
    assert value == 3 and isinstance(value, int)
