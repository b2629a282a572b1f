"""What commands do beyond passing options on: plans from several options, recipes, what is said."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command_line import ADVISED, asked, prepared, stand_in, tlkit
from tlkit import (
    contact_sheet,
    doubts,
    finetune,
    neighbours,
    range_test,
    recipe_files,
    searching,
    serving,
)
from tlkit.commands.search import Table
from tlkit.phases import Phase
from tlkit.searching import SearchResult

HEAD = Phase("head", epochs=40, rate=3e-3, patience=6)
TAIL = Phase("fine-tune", unfreeze="top", epochs=12, rate=3e-4, patience=5)


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
         [changed(HEAD, epochs=5, optimizer="nesterov"), changed(TAIL, optimizer="nesterov")]),
        ("--set fine-tune.smoothing=0 --set head.smoothing=0.2",
         [changed(HEAD, smoothing=0.2), changed(TAIL, smoothing=0)]),
        ("--epochs 7 --set fine-tune.epochs=9", [HEAD, changed(TAIL, epochs=9)]),
        ("--set fine-tune.l2={'head':0.5} --set average=0.9",
         [changed(HEAD, average=0.9), changed(TAIL, l2={"head": 0.5}, average=0.9)]),
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
    assert found == (changed(HEAD, **step), changed(TAIL, **step))


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
    recipe_files.write("recipe.py", recipe)
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


def test_resume_goes_on_and_ignores_the_rest(notes, monkeypatch):
    images = SimpleNamespace(test=None)
    run = SimpleNamespace(
        require_data=lambda: images, folder=Path("runs/a"), report=lambda: "page.html"
    )
    resumed = stand_in(monkeypatch, finetune, "resume", lambda _: run)
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
        evaluate=lambda: "all of them right", report=lambda: "page.html",
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


def test_accepted_labels_are_written_and_nothing_is_judged(notes, monkeypatch):
    given = stand_in(monkeypatch, doubts, "accepted", lambda _: 3)
    for words, folder in (((), "labels-photos"), (("--out", "there"), "there")):
        result = tlkit("labels", "photos", "--accept", "marked.csv", *words)
        assert result.exit_code == 0 and "3 labels changed" in result.stdout
        asked_for = given.pop()
        assert (asked_for["worklist"], asked_for["out"]) == (
            "marked.csv", Path(folder) / "labels.csv")  # fmt: skip
        assert asked_for["source"].class_names == ("red", "blue", "green")
    assert "job.rate" not in notes


def test_weights_are_given_to_backbones_by_name(notes):
    words = ["--backbones", "vgg16,lenet-5", "--weights", "vgg16=a=b.h5", "--weights"]
    found = asked(notes, "advise", *words, "lenet-5=none")
    assert found["job.weights"] == {"vgg16": "a=b.h5", "lenet-5": None}
    for text in ("vgg16", "vgg16=", "a.h5"):
        result = tlkit("advise", "photos", "--weights", text)
        assert result.exit_code == 2 and "NAME=FILE" in result.stderr


def test_advice_in_json_keeps_the_next_step_off_standard_output(notes):
    result = tlkit("advise", "photos", "--json", "--out", "advice")
    assert json.loads(result.stdout) == [{"plan": "cheap"}]
    assert "Next: tlkit finetune --plan advice/page" in result.stderr
    result = tlkit("advise", "photos", "--out", "advice")
    assert "Next: tlkit finetune --plan advice/page" in result.stdout
    assert "Page: advice/advice.html\n" in result.stdout


def test_a_weights_file_is_found_from_anywhere(notes):
    Path("some.h5").touch()
    for command in ("labels", "lr-find", "finetune", "search", "similar"):
        found = asked(notes, command, "--weights", "some.h5")
        assert found["model.weights"] == str(Path("some.h5").absolute())
    assert found["job.top"] == 5  # `similar` was the last
    assert asked(notes, "labels", "--weights", "gone.h5")["model.weights"] == "gone.h5"


@pytest.mark.parametrize(
    ("words", "weights", "phase", "first"),
    [
        ("--unfreeze none", "a file", HEAD, False),
        ("--unfreeze all", "a file", changed(TAIL, unfreeze="all"), True),
        ("", "random, seed 0", None, False),
    ],
)
def test_a_climb_is_of_what_finetune_would_train(notes, words, weights, phase, first):
    notes.backbone.weights = weights
    found = asked(notes, "lr-find", *words.split())
    assert (
        found["job.phase"].name == "from scratch" if phase is None else found["job.phase"] == phase
    )
    assert ("first.phases" in found) == first


def test_a_climb_without_a_suggestion_suggests_no_command(notes, monkeypatch):
    flat = SimpleNamespace(plot=notes.written, suggestion=None)
    stand_in(monkeypatch, range_test, "lr_find", lambda _: flat)
    assert "Next" not in tlkit("lr-find", "photos").output


def test_what_was_written_is_named(notes):
    said = tlkit("labels", "photos", "--out", "there").stdout
    assert said == "what was found\nPage: there/page\nList: there/worklist.csv\n"
    assert "Curve: curve.png/page\n" in tlkit("lr-find", "photos", "--out", "curve.png").stdout
    said = tlkit("augment", "photos", "--strength", "0.5", "--views", "2", "--images", "2").stdout
    assert said == "2 images in 2 views of photos at strength 0.5: augment-photos.png\n"


@pytest.mark.parametrize(
    "words", ["--views 0", "--views 33", "--images 0", "--images 65", "--size 15", "--size 1025"]
)
def test_a_sheet_has_limits(notes, words):
    result = tlkit("augment", "photos", *words.split())
    assert result.exit_code == 2 and "is not in the range" in result.stderr


def test_the_sheet_of_similar_images_begins_with_the_query(notes, monkeypatch):
    near = [neighbours.Neighbour("photos/c.png", "red", 0.75, 2)]
    near.append(neighbours.Neighbour("photos/a.png", "blue", 0.5, 0))
    stand_in(monkeypatch, neighbours, "similar", lambda _: [near])
    stand_in(monkeypatch, contact_sheet, "picture", lambda given: given["held"])
    stand_in(monkeypatch, contact_sheet, "rows_of", lambda given: given["rows"])
    sheets = stand_in(monkeypatch, contact_sheet, "write")
    result = tlkit("similar", "a.jpg", "photos", "--out", "sheet.png")
    assert result.stdout == (
        "0.7500  red  photos/c.png\n0.5000  blue  photos/a.png\nSheet: sheet.png\n"
    )
    (sheet,) = sheets
    (tiles,) = sheet["lines"]
    assert tiles == [
        (Path("a.jpg").read_bytes(), "query\na.jpg"), (2, "red 0.750\nc.png"),
        (0, "blue 0.500\na.png"),
    ]  # fmt: skip
    (told,) = [json.loads(tlkit("similar", "a.jpg", "photos", "--json").stdout)]
    assert [row["file"] for row in told] == ["photos/c.png", "photos/a.png"]
    assert told[0] == {"file": "photos/c.png", "label": "red", "similarity": 0.75, "row": 2}


def test_a_search_without_a_clock_has_none(notes):
    assert asked(notes, "search", "--minutes", "0", "--trials", "3")["job.minutes"] is None


def test_the_verdict_and_the_files_of_a_search_are_told(notes, monkeypatch):
    found = SearchResult(
        Path("study"), [], finalists=["some"], verdict="the first is better",
        comparisons=[{"verdict": "the first is better"}, {"verdict": "a tie with the third"}],
    )  # fmt: skip
    stand_in(monkeypatch, searching, "search", lambda _: found)
    result = tlkit("search", "photos")
    lines = [line for line in result.stdout.splitlines() if line]
    assert lines == [
        "The first is better.", "  a tie with the third", "Report: study/report.html",
        "Recipe: study/winner.py", "Next: tlkit export study/best saved_models/study",
    ]  # fmt: skip


def trial(number, loss, status="done"):
    accuracy = None if loss is None else 1 - loss
    return SimpleNamespace(
        number=number, loss=loss, score=loss, accuracy=accuracy, status=status, seconds=2.0,
        settings={"rate": 0.01},
    )  # fmt: skip


def test_the_table_of_a_search_keeps_the_least_loss(capsys):
    with Table(None) as table:
        for number, loss in enumerate((0.5, 0.25, None, 0.75)):
            table.watch({"event": "start", "trial": number})
            one = trial(number, loss, "done" if loss else "failed")
            table.watch({"event": "trial", "trial": number, "result": one})
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert not said.out and "left" not in said.err
    assert (
        lines[0].split() == "trial 0 done loss 0.5000, accuracy 0.500 best 0.5000 (trial 0)".split()
    )
    assert [line.rpartition("best ")[2] for line in lines] == [
        "0.5000 (trial 0)", "0.2500 (trial 1)", "0.2500 (trial 1)", "0.2500 (trial 1)",
    ]  # fmt: skip
    assert "failed" in lines[2] and "loss" not in lines[2]


def test_the_table_tells_of_finalists_and_halved_batches(capsys):
    table = Table(60.0)
    table.watch({"event": "halved", "trial": 3, "batch_size": 16})
    table.watch({"event": "finalist", "trial": 2, "seed": 4001})
    assert capsys.readouterr().err.splitlines() == [
        "trial 3: out of memory, again with batches of 16",
        "trial 2 again on all images, seed 4001",
    ]
    table.watch({"event": "epoch", "trial": 2, "epoch": 7, "val_loss": 0.125})
    assert table.now.startswith("trial 2 ") and table.now.endswith("epoch 7, validation loss 0.125")
    table.watch({"event": "trial", "trial": 4, "result": trial(4, 0.5)})
    assert capsys.readouterr().err.rstrip().endswith("59:59 left")


def test_what_can_be_predicted_is_printed_before_an_error(notes, monkeypatch):
    good = serving.Prediction("a.jpg", "red", 0.75, (("red", 0.75), ("blue", 0.2)))
    stand_in(monkeypatch, serving, "predict", lambda _: ([good], ["b.png is gone.", "c too."]))
    result = tlkit("predict", "model", "a.jpg", "b.png")
    assert result.exit_code == 2
    assert result.stdout == "a.jpg: red 0.750, blue 0.200\n"
    assert result.stderr == "tlkit: b.png is gone. c too.\n"
