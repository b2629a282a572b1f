"""A search that is killed, resumed or changed: what is done stays, what is changed starts anew."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import searches
from tests.conftest import tiny_backbone
from tests.searches import LINE, PLAN, Script, ended, searcher
from tlkit import files
from tlkit.errors import TlkitError
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.tuning import proposals, search
from tlkit.tuning.searcher import Options
from tlkit.tuning.space import Space
from tlkit.tuning.study import Trial


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def images(photos, home):
    return searches.read(photos, home)


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names)


# The key of a study


def _changed_plan(**fields):
    return {"plan": (PLAN[0], dataclasses.replace(PLAN[1], **fields))}


def _wider(row):
    return Space((*LINE.rows[:2], dataclasses.replace(LINE.rows[2], **row)))


OPTIONS = {
    "a range": {"space": _wider({"high": 0.2})},
    "a default": {"space": _wider({"default": 0.03})},
    "the order of rows": {"space": Space((LINE.rows[2], *LINE.rows[:2]))},
    "a rate": _changed_plan(rate=0.006),
    "an option of a schedule": _changed_plan(schedule="step", schedule_options={"every": 3}),
    "a missing phase": {"plan": PLAN[:1]},
    "algorithm": {"algorithm": "random"},
    "seed": {"seed": 1},
    "images": {"images": 40},
    "epochs": {"epochs": 0.5},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_a_trial_under_other_options_is_not_taken_up(model, images, tmp_path, options):
    ended(searcher(model, images, tmp_path), [0.5])
    assert not searcher(model, images, tmp_path, **options).study.trials
    assert len(searcher(model, images, tmp_path).study.trials) == 1


PADDED = PixelRule(32, "pad")
MODELS = {
    "weights": lambda names: Classifier(tiny_backbone(seed=1), names),
    "how images are cut": lambda names: Classifier(tiny_backbone(), names, size=PADDED),
    "size": lambda names: Classifier(tiny_backbone(size=24), names),
    "kind of head": lambda names: Classifier(tiny_backbone(), names, head=Head("mlp")),
    "dropout": lambda names: Classifier(tiny_backbone(), names, head=Head(dropout=0.3)),
}  # fmt: skip


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
def test_a_trial_of_another_model_is_not_taken_up(model, images, tmp_path, build):
    ended(searcher(model, images, tmp_path), [0.5])
    assert not searcher(build(images.class_names), images, tmp_path).study.trials
    assert len(searcher(model, images, tmp_path).study.trials) == 1


def test_a_trial_on_other_images_is_not_taken_up(model, images, photos, home, tmp_path):
    ended(searcher(model, images, tmp_path), [0.5])
    other = searches.read(photos, home, seed=1)  # the same images, split in another way
    assert not searcher(model, other, tmp_path).study.trials
    assert len(list(tmp_path.iterdir())) == 2


def test_what_changes_no_number_goes_on_with_the_study(model, images, tmp_path):
    first = searcher(model, images, tmp_path, trials=2, algorithm="grid")
    ended(first, [0.5, 0.4])
    more = {
        "algorithm": "grid",
        "trials": 9,
        "minutes": 7.0,
        "finalists": 1,
        "repeats": 1,
        "memory": 5.0,
    }
    again = searcher(model, images, tmp_path, Script(), **more)
    again.explore()
    assert again.study.folder == first.study.folder
    assert again.study.finished[:2] == first.study.finished and len(again.study.finished) == 9
    assert len(again.worker.jobs) == 7


# Killed, interrupted


class Killed(BaseException):
    pass


def stopping(at, error):
    def watch(event):
        if event["event"] == "start" and event["trial"] == at:
            raise error

    return watch


def table(model, images, out, **options):
    found = searcher(model, images, out, **options)
    found.explore()
    return found.study.table()


@pytest.mark.parametrize("algorithm", proposals.ALGORITHMS)
def test_a_killed_and_resumed_search_gives_the_same_table(model, images, tmp_path, algorithm):
    options = {"algorithm": algorithm, "trials": 8}
    whole = table(model, images, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        table(model, images, tmp_path / "killed", watch=stopping(3, Killed()), **options)
    (folder,) = (tmp_path / "killed").iterdir()
    assert len(list((folder / "trials").glob("*.json"))) == 3
    (folder / "trials" / "0001.json").write_text('{"torn')
    assert table(model, images, tmp_path / "killed", **options) == whole
    assert len(whole) == 8 and whole[0]["settings"] == LINE.default


def test_a_trial_that_was_cut_is_tried_again(model, images, tmp_path):
    first = searcher(model, images, tmp_path, Script(lambda job: {"status": "cut", "loss": 0.1}))
    first.study.add(Trial(0, LINE.default, loss=0.5))
    trial = first.attempt(1, proposals.Proposal({"unfreeze": "none", "head_rate": 0.01}))
    first.study.add(trial)
    again = searcher(model, images, tmp_path, trials=2)
    again.explore()
    assert [trial.status for trial in again.study.finished] == ["done", "done"]
    assert len(again.worker.jobs) == 1


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(model, images, tmp_path, capsys):
    worker = Script()
    watch = stopping(2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        search.search(
            model, images, watch, worker, minutes=None, trials=5, space=LINE, plan=PLAN,
            out=tmp_path,
        )  # fmt: skip
    told = capsys.readouterr().err
    assert "2 trials are kept" in told and "same command" in told
    assert worker.stopped
    assert len(searcher(model, images, tmp_path).study.trials) == 2


def test_no_trial_at_its_end_is_an_error_with_the_reason(model, images, tmp_path):
    worker = Script(lambda job: {"status": "failed", "message": "a planted crash"})
    options = {"minutes": None, "trials": 2, "out": tmp_path, "plan": PLAN}
    with pytest.raises(TlkitError, match="a planted crash"):
        search.search(model, images, searches.silent, worker, **options)
    assert worker.stopped and len(worker.jobs) > 2  # the default is a finalist whatever it did


KILLED = """
import sys
from pathlib import Path
import tests.tuning.test_search_resumed as here
from tests import fake_trials
from tlkit.tuning.worker import Worker
images = here.searches.read(Path(sys.argv[1]), Path(sys.argv[2]))
model = here.Classifier(here.tiny_backbone(), images.class_names)
with Worker(sys.argv[3], task=fake_trials.slow_quadratic) as worker:
    here.table(model, images, sys.argv[3], worker=worker, trials=6)
"""


@pytest.mark.large
def test_kill_9_loses_the_trial_that_runs_and_nothing_else(photos, tmp_path, home):
    place = {"TLKIT_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}

    def start(out):
        command = [sys.executable, "-c", KILLED, str(photos), str(home), str(tmp_path / out)]
        return subprocess.Popen(command, env=os.environ | place)

    assert start("whole").wait(120) == 0
    first = start("killed")
    while len(list(tmp_path.glob("killed/*/trials/*.json"))) < 2:
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert start("killed").wait(120) == 0
    names = ("number", "settings", "status", "loss")
    rows = [
        [[files.read_json(path)[name] for name in names] for path in sorted(found)]
        for found in (tmp_path.glob("whole/*/trials/*.json"), tmp_path.glob("killed/*/trials/*"))
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6


# What `search` itself refuses


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"minuts": 3}, "Did you mean 'minutes'"),
        ({"algorithm": "tpe"}, "Unknown search algorithm"),
        ({"minutes": None}, "needs an end"),
        ({"epochs": 2.0}, "a share of 1"),
        ({"epochs": 0.0}, "a share of 1"),
        ({"finalists": 0}, "must be 1 or more"),
        ({"repeats": 0}, "must be 1 or more"),
    ],
)
def test_wrong_options_are_explained(model, images, options, words):
    worker = Script(lambda job: pytest.fail("a search was begun"))
    with pytest.raises(TlkitError, match=words):
        search.search(model, images, searches.silent, worker, **options)


def test_arrays_are_refused_with_a_way_out(model, images, tmp_path):
    table = dataclasses.replace(images.table, root=None)
    checked = dataclasses.replace(images.checked, table=table)
    arrays = dataclasses.replace(images, checked=checked)
    with pytest.raises(TlkitError, match="write the images to files"):
        searcher(model, arrays, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_tuner_is_said_with_the_command(model, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_tuner", None)
    with pytest.raises(TlkitError, match=r"pip install 'tlkit\[search\]'"):
        search.search(model, images, minutes=1)


def test_the_options_have_the_values_of_the_docs_where_none_are_given():
    given = {field.name: field.default for field in dataclasses.fields(Options)}
    assert given == {
        "minutes": 20.0, "trials": None, "space": None, "algorithm": "bayesian", "seed": 0,
        "out": None, "images": 1000, "epochs": 1.0, "finalists": 3, "repeats": 3, "plan": None,
        "memory": None, "store": None, "origin": None,
    }  # fmt: skip
