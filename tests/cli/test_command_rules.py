"""What commands do beyond passing options on: where they write, and what they say."""

import dataclasses
import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.command_line import asked, prepared, stand_in, tlkit
from tlkit.cli.search import Table
from tlkit.images import pictures
from tlkit.inspection import neighbours
from tlkit.labels import worklist
from tlkit.pages import sheets
from tlkit.phases.phase import Phase
from tlkit.serving import saved_model
from tlkit.training import rate_finder
from tlkit.tuning import search
from tlkit.tuning.result import SearchResult

HEAD = Phase("head", epochs=40, rate=3e-3, patience=6)
TAIL = Phase("fine-tune", unfreeze="top", epochs=12, rate=3e-4, patience=5)


@pytest.fixture
def notes(monkeypatch, tmp_path):
    return prepared(monkeypatch, tmp_path)


def changed(phase, **changes):
    return dataclasses.replace(phase, **changes)


def test_accepted_labels_are_written_and_nothing_is_judged(notes, monkeypatch):
    given = stand_in(monkeypatch, worklist, "accepted", lambda _: 3)
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
    assert "Next: tlkit finetune --plan advice/advised.py" in result.stderr
    result = tlkit("advise", "photos", "--out", "advice")
    assert "Next: tlkit finetune --plan advice/advised.py" in result.stdout
    assert "Page: advice/page\n" in result.stdout


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
    stand_in(monkeypatch, rate_finder, "lr_find", lambda _: flat)
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
    stand_in(monkeypatch, pictures, "picture", lambda given: given["held"])
    stand_in(monkeypatch, pictures, "rows_of", lambda given: given["rows"])
    written = stand_in(monkeypatch, sheets, "write")
    result = tlkit("similar", "a.jpg", "photos", "--out", "sheet.png")
    assert result.stdout == (
        "0.7500  red  photos/c.png\n0.5000  blue  photos/a.png\nSheet: sheet.png\n"
    )
    (sheet,) = written
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
    stand_in(monkeypatch, search, "search", lambda _: found)
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
    table.end = time.time() + 65.9
    table.watch({"event": "trial", "trial": 5, "result": trial(5, 0.5)})
    assert capsys.readouterr().err.rstrip().endswith(" 1:05 left")


def test_on_a_terminal_the_table_is_drawn_and_no_line_is_printed(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Table(None) as table:
        for number in range(14):
            one = trial(number, 1 - 0.01 * number)
            table.watch({"event": "trial", "trial": number, "result": one})
    assert "rate 0.01" in terminal.getvalue() and ", accuracy " not in terminal.getvalue()
    drawn = table.render()
    assert list(drawn.columns[0].cells) == [str(number) for number in range(2, 14)]
    assert [column.header for column in drawn.columns][:3] == ["trial", "status", "loss"]
    assert [row.style for row in drawn.rows] == [""] * 11 + ["bold green"]
    assert "best 0.8700, trial 13" in drawn.title


def test_what_can_be_predicted_is_printed_before_an_error(notes, monkeypatch):
    good = saved_model.Prediction("a.jpg", "red", 0.75, (("red", 0.75), ("blue", 0.2)))
    stand_in(monkeypatch, saved_model, "predict", lambda _: ([good], ["b.png is gone.", "c too."]))
    result = tlkit("predict", "model", "a.jpg", "b.png")
    assert result.exit_code == 2
    assert result.stdout == "a.jpg: red 0.750, blue 0.200\n"
    assert result.stderr == "tlkit: b.png is gone. c too.\n"
