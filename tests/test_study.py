"""A study never mistakes old results for new ones, and survives what kills a search."""

import dataclasses

import pytest

from tlkit import study
from tlkit.errors import TlkitError
from tlkit.study import Study, Trial

PARTS = {"data": "d", "space": [{"name": "rate", "values": (1, 2)}], "weights": "w", "seed": 0}


def filled(folder, count=4):
    made = Study(folder, PARTS)
    for number in range(count):
        made.add(Trial(number, {"rate": 0.1 * number}, loss=1.0 / (number + 1), accuracy=0.5))
    return made


def test_an_identical_study_goes_on(tmp_path):
    first = filled(tmp_path)
    second = Study(tmp_path, dict(reversed(PARTS.items())))
    assert second.folder == first.folder and second.table() == first.table()
    assert [trial.number for trial in second.ranked] == [3, 2, 1, 0]


@pytest.mark.parametrize("name", [*PARTS, "code"])
def test_anything_else_is_another_study(tmp_path, name, monkeypatch, capsys):
    first = filled(tmp_path)
    if name == "code":
        monkeypatch.setattr(study, "code_version", lambda: "another")
    changed = PARTS if name == "code" else {**PARTS, name: "another"}
    second = Study(tmp_path, changed)
    assert second.folder != first.folder and not second.trials
    assert f"{name} changed since" in capsys.readouterr().err
    assert Study(tmp_path, changed).folder == study.latest(tmp_path)


def test_a_torn_file_is_a_trial_that_never_was(tmp_path, capsys):
    first = filled(tmp_path)
    path = first.folder / "trials" / "0002.json"
    path.write_bytes(path.read_bytes()[:40])
    again = Study(tmp_path, PARTS)
    assert [trial.number for trial in again.finished] == [0, 1]
    assert sorted(again.trials) == [0, 1, 3]
    assert "0002.json is damaged" in capsys.readouterr().err
    again.add(first.trials[2])
    assert len(Study(tmp_path, PARTS).finished) == 4


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"number": 9, "settings": {}}', "null"])
def test_nonsense_in_a_trial_file_is_no_trial(tmp_path, text):
    made = filled(tmp_path)
    (made.folder / "trials" / "0001.json").write_text(text)
    assert [trial.number for trial in Study(tmp_path, PARTS).finished] == [0]


def test_a_torn_study_file_does_not_stop_the_next_study(tmp_path):
    made = filled(tmp_path)
    (made.folder / "study.json").write_text("{")
    assert not Study(tmp_path, {**PARTS, "seed": 1}).trials
    assert len(Study(tmp_path, PARTS).finished) == 4


def test_a_cut_trial_is_tried_again_and_does_not_win(tmp_path):
    made = filled(tmp_path)
    made.add(Trial(4, {}, status="cut", loss=0.001))
    again = Study(tmp_path, PARTS)
    assert len(again.finished) == 4 and again.ranked[0].number == 3


def test_failed_and_short_trials_do_not_rank(tmp_path):
    made = filled(tmp_path, 1)
    made.add(Trial(1, {}, status="pruned", loss=0.001))
    made.add(Trial(2, {}, status="failed"))
    made.add(Trial(3, {}, share=1 / 9, loss=0.001))
    assert [trial.number for trial in made.ranked] == [0] and len(made.finished) == 4


def test_the_code_version_is_of_the_source(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(study, "_PACKAGE", tmp_path)
    study.code_version.cache_clear()
    before = study.code_version()
    (tmp_path / "a.py").write_text("x = 2\n")
    study.code_version.cache_clear()
    assert study.code_version() != before
    study.code_version.cache_clear()


def test_other_processes_trials_are_seen(tmp_path):
    mine, other = Study(tmp_path, PARTS), Study(tmp_path, PARTS)
    other.add(Trial(0, {"rate": 1.0}, loss=0.5))
    mine.refresh()
    assert dataclasses.asdict(mine.trials[0]) == dataclasses.asdict(other.trials[0])


def test_a_folder_without_a_study_is_said(tmp_path):
    with pytest.raises(TlkitError, match="holds no study"):
        study.latest(tmp_path)
