"""What `finetune` makes of several options together, of `--set`, of a recipe, and what it says."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command_line import ADVISED, asked, options_of, prepared, stand_in, tlkit
from tlkit.cli import finetune
from tlkit.phases import recipe_format
from tlkit.phases.phase import Phase
from tlkit.training import train

HEAD = Phase("head", epochs=40, rate=3e-3, patience=6)
TAIL = Phase("fine-tune", unfreeze="top", epochs=12, rate=3e-4, patience=5)
FIRST, THEN = ADVISED


@pytest.fixture
def notes(monkeypatch, tmp_path):
    return prepared(monkeypatch, tmp_path)


def changed(phase, **changes):
    return dataclasses.replace(phase, **changes)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--unfreeze none", [HEAD]),
        ("--unfreeze none --epochs 5 --rate 0.1", [changed(HEAD, epochs=5, rate=0.1)]),
        ("--unfreeze all", [HEAD, changed(TAIL, unfreeze="all")]),
        ("--head-epochs 3 --epochs 2", [changed(HEAD, epochs=3), changed(TAIL, epochs=2)]),
        ("--rate 0", [HEAD, changed(TAIL, rate=0.0)]),
        ("--strength 0", [changed(HEAD, strength=0.0), changed(TAIL, strength=0.0)]),
        ("--set head.epochs=5 --set optimizer=nesterov",
         [changed(FIRST, epochs=5, optimizer="nesterov"), changed(THEN, optimizer="nesterov")]),
        ("--set advised.smoothing=0 --set head.smoothing=0.2",
         [changed(FIRST, smoothing=0.2), changed(THEN, smoothing=0)]),
        ("--epochs 7 --set fine-tune.epochs=9", [HEAD, changed(TAIL, epochs=9)]),
        ("--set advised.l2={'head':0.5} --set average=0.9",
         [changed(FIRST, average=0.9), changed(THEN, l2={"head": 0.5}, average=0.9)]),
    ],
)  # fmt: skip
def test_options_of_phases_make_one_plan(notes, words, expected):
    assert asked(notes, "finetune", *words.split())["job.plan"] == tuple(expected)


@pytest.mark.parametrize("swap", [False, True])
def test_settings_of_a_schedule_may_come_before_it(notes, swap):
    words = ["--set", "schedule=step", "--set", 'schedule_options={"every": 5}']
    words = words[2:] + words[:2] if swap else words
    step = {"schedule": "step", "schedule_options": {"every": 5}}
    found = asked(notes, "finetune", *words)["job.plan"]
    assert found == (changed(FIRST, **step), changed(THEN, **step))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optimizer", "write it as FIELD=VALUE"),
        ("epoch=5", "Did you mean 'epochs'"),
        ("haed.epochs=5", "Did you mean 'head'"),
        ("epochs=0", "at least 1"),
        ("sampling=equal", "Unknown sampling"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(notes, text, says):
    result = tlkit("finetune", "photos", "--set", text)
    assert result.exit_code == 2 and says in result.stderr
    assert "job.plan" not in notes


@pytest.mark.parametrize("option", ["--epochs", "--head-epochs", "--views", "--batch-size"])
def test_zero_is_refused_and_not_taken_for_nothing(notes, option):
    result = tlkit("finetune", "photos", option, 0)
    assert result.exit_code == 2 and "at least 1" in result.stderr


def test_a_net_without_weights_is_trained_in_one_phase(notes):
    notes.backbone.weights = "random, seed 0"
    found = asked(notes, "finetune", "--epochs", "4", "--views", "2")["job.plan"]
    assert [phase.unfreeze for phase in found] == ["all"]
    assert (found[0].epochs, found[0].views, found[0].batch_norm) == (4, 2, "train")


RECIPE = {
    "source": "elsewhere", "data": {"seed": 5, "val_share": 0.25, "labels": "list.csv"},
    "backbone": "resnet50", "weights": "some.h5", "size": 96, "resize": "squash", "channels": 1,
    "head": {"kind": "mlp", "dropout": 0.5, "init": "zero"}, "replace_from": "top",
    "phases": [HEAD, changed(TAIL, epochs=3)], "seed": 4001,
}  # fmt: skip
ASKED = {
    "data.source": "elsewhere", "data.seed": 5, "data.val_share": 0.25, "data.labels": "list.csv",
    "model.backbone": "resnet50", "model.weights": "some.h5", "model.size": 96,
    "model.resize": "squash", "model.channels": 1, "model.head": RECIPE["head"],
    "model.replace_from": "top", "model.seed": 4001,
    "job.plan": (HEAD, changed(TAIL, epochs=3)), "job.seed": 4001,
}  # fmt: skip


def follow(notes, recipe, *words, of=()):
    recipe_format.write("recipe.py", recipe)
    found = asked(notes, "finetune", "--plan", "recipe.py", *words, of=of)
    return {key: found[key] for key in ASKED}


def test_a_recipe_says_images_model_phases_and_seed(notes):
    assert follow(notes, RECIPE) == ASKED


def test_a_recipe_without_a_split_has_the_split_of_python(notes):
    # A search writes the seed of the winner's run; its images were divided by another one.
    found = follow(notes, {**RECIPE, "data": {}})
    assert (found["data.seed"], found["data.val_share"], found["job.seed"]) == (0, 0.15, 4001)


def test_options_that_a_recipe_leaves_open_still_count(notes):
    words = ["--max-bad", "0.5", "--engine", "auto", "--max-minutes", "3", "--out", "runs/b"]
    follow(notes, RECIPE, *words)
    found = {key: notes[key] for key in ("data.max_bad", "job.engine", "job.minutes", "job.out")}
    assert list(found.values()) == [0.5, "auto", 3.0, "runs/b"]
    changed_plan = follow(notes, RECIPE, "--set", "head.epochs=5")["job.plan"]
    assert changed_plan == (changed(HEAD, epochs=5), changed(TAIL, epochs=3))


def test_images_that_are_named_take_the_place_of_a_recipe_s(notes):
    assert follow(notes, RECIPE, of=("photos",)) == {**ASKED, "data.source": "photos"}


def test_a_recipe_without_phases_leaves_them_to_the_advice(notes):
    assert follow(notes, {**RECIPE, "phases": None})["job.plan"] == ADVISED


DECIDED = (
    ("--backbone", "vgg16"), ("--weights", "imagenet"), ("--size", 224), ("--resize", "crop"),
    ("--channels", 3), ("--head", "linear"), ("--replace-from", "top"),
)  # fmt: skip
SHAPED = (
    ("--unfreeze", "none"), ("--head-epochs", 1), ("--epochs", 2), ("--rate", 0.1),
    ("--augment", "flip"), ("--strength", 0), ("--views", 1), ("--batch-size", 8),
)  # fmt: skip


@pytest.mark.parametrize("given", [*DECIDED, *SHAPED], ids=str)
def test_an_option_that_a_recipe_decides_is_refused_and_named(notes, given):
    recipe_format.write("recipe.py", RECIPE)  # some of the options are even the usual ones
    result = tlkit("finetune", "--plan", "recipe.py", *given)
    assert result.exit_code == 2 and not notes
    assert f"recipe.py decides {given[0]}:" in result.stderr
    assert "edit the recipe" in result.stderr and "--set" in result.stderr


def test_all_options_that_a_recipe_decides_are_named_at_once(notes):
    recipe_format.write("recipe.py", RECIPE)
    result = tlkit("finetune", "photos", "--epochs", 3, "--plan", "recipe.py", "--head", "mlp")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "--epochs" in line and "--head" in line and "--backbone" not in line


@pytest.mark.parametrize("given", DECIDED, ids=str)
def test_a_recipe_without_phases_still_decides_the_network(notes, given):
    recipe_format.write("recipe.py", {**RECIPE, "phases": None})
    result = tlkit("finetune", "--plan", "recipe.py", *given)
    assert result.exit_code == 2 and given[0] in result.stderr and not notes


def test_a_recipe_without_phases_is_shaped_by_options(notes):
    plan = follow(notes, {**RECIPE, "phases": None}, "--epochs", 2, "--views", 3)["job.plan"]
    assert plan == (changed(HEAD, views=3), changed(TAIL, epochs=2, views=3))


def test_no_option_that_a_recipe_decides_is_forgotten():
    known = {option.name for option in options_of("finetune")}
    fields = {field.name for field in dataclasses.fields(Phase)} | {*recipe_format.KEYS} - {"seed"}
    decided = {*finetune.NETWORK, *finetune.SHAPING}
    assert known & fields <= decided <= known


def test_resume_goes_on_and_ignores_the_rest(notes, monkeypatch):
    images = SimpleNamespace(test=None)
    run = SimpleNamespace(require_data=lambda: images, folder=Path("runs/a"))
    resumed = stand_in(monkeypatch, train, "resume", lambda _: run)
    result = tlkit("finetune", "--resume", "runs/a", "--epochs", "3")
    assert result.exit_code == 0, result.output
    assert [str(given["folder"]) for given in resumed] == ["runs/a"] and not notes
    assert result.stdout.split("\n")[1:] == [
        "Report: page.html", "Next: tlkit export runs/a saved_models/a", "",
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 2])
def test_the_test_images_are_judged_where_there_are_any(notes, count):
    notes.run = SimpleNamespace(
        require_data=lambda: SimpleNamespace(test=range(count)), folder=Path("runs/a"),
        evaluate=lambda: "all of them right",
    )  # fmt: skip
    result = tlkit("finetune", "photos")
    assert result.exit_code == 0
    assert ("Test images: all of them right" in result.stdout) == bool(count)


def test_an_estimate_is_printed_and_nothing_is_trained(notes):
    limits = ("--max-minutes", "3", "--max-memory", "2")
    result = tlkit("finetune", "photos", "--estimate", *limits, "--engine", "auto", "--seed", "7")
    assert result.stdout == "cheap\n" and notes["only estimated"]
    assert (notes["job.minutes"], notes["job.memory"]) == (3.0, 2.0)  # what would be trained
    assert (notes["job.engine"], notes["job.seed"]) == ("auto", 7)
