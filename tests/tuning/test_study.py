"""A study never mistakes old results for new ones, and survives what kills a search."""

import dataclasses
import shutil
from pathlib import Path

import pytest

import tlkit
from tlkit.errors import TlkitError
from tlkit.tuning import study
from tlkit.tuning.study import Study, Trial

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
def test_anything_else_is_another_study(tmp_path, name, capsys):
    first = filled(tmp_path)
    changed = {**PARTS, name: "another"}
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


def test_the_code_version_is_of_the_source_and_of_folders_in_it(tmp_path):
    found = set()
    for name in ("first", "second", "third"):
        (tmp_path / name / "nets").mkdir(parents=True)
        (tmp_path / name / "a.py").write_text("x = 2\n" if name == "second" else "x = 1\n")
        (tmp_path / name / "nets" / "b.py").write_text("y = 2\n" if name == "third" else "y = 1\n")
        (tmp_path / name / "c.txt").write_text(name)
        found.add(study.code_version(tmp_path / name))
    assert len(found) == 3
    (tmp_path / "third" / "nets" / "b.py").write_text("y = 1\n")
    shutil.copytree(tmp_path / "third", tmp_path / "as the first")
    assert study.code_version(tmp_path / "as the first") == study.code_version(tmp_path / "first")


def test_the_code_version_is_of_all_of_tlkit(tmp_path):
    """Of a copy with one changed line in a folder, wherever this module itself may lie."""
    copied = shutil.copytree(Path(tlkit.__file__).parent, tmp_path / "tlkit")
    assert study.code_version(copied) == study.code_version() == filled(tmp_path).parts["code"]
    changed = shutil.copytree(copied, tmp_path / "changed") / "nets" / "__init__.py"
    changed.write_text(changed.read_text() + "# one more line\n")
    assert study.code_version(tmp_path / "changed") != study.code_version()


def test_other_processes_trials_are_seen(tmp_path):
    mine, other = Study(tmp_path, PARTS), Study(tmp_path, PARTS)
    other.add(Trial(0, {"rate": 1.0}, loss=0.5))
    mine.refresh()
    assert dataclasses.asdict(mine.trials[0]) == dataclasses.asdict(other.trials[0])


def test_a_trial_that_another_process_runs_again_is_read_again(tmp_path):
    mine, other = filled(tmp_path, 1), Study(tmp_path, PARTS)
    other.add(Trial(1, {"rate": 1.0}, status="cut", loss=0.9))
    mine.refresh()
    assert mine.trials[1].status == "cut"
    other.add(Trial(1, {"rate": 2.0}, loss=0.5))
    mine.refresh()
    assert mine.trials[1] == Trial(1, {"rate": 2.0}, loss=0.5) and len(mine.finished) == 2


def test_every_fact_of_a_trial_survives(tmp_path):
    trial = Trial(
        3, {"rate": 0.5, "head": "mlp"}, 0.25, "pruned", 1.5, 0.75, 12.5, 8, 4, [2.0, 1.5], 90.5,
        "diverged",
    )  # fmt: skip
    assert len({str(value) for value in dataclasses.astuple(trial)}) == 12  # none can be swapped
    Study(tmp_path, PARTS).add(trial)
    assert Study(tmp_path, PARTS).trials == {3: trial}


def test_a_process_that_dies_in_a_write_leaves_the_trial_as_it_was(tmp_path):
    made = filled(tmp_path, 2)
    with pytest.raises(TypeError):  # in the middle of its settings
        made.add(Trial(1, {"rate": object()}, loss=0.1))
    assert [trial.loss for trial in Study(tmp_path, PARTS).finished] == [1.0, 0.5]


def test_the_best_comes_first_and_of_equals_the_earlier(tmp_path):
    made = Study(tmp_path, PARTS)
    for number, loss in enumerate([0.5, 0.25, 0.75, 0.25]):
        made.add(Trial(number, {}, loss=loss))
    assert [trial.number for trial in made.ranked] == [1, 3, 0, 2]


def test_a_score_is_the_loss_of_a_trial_that_came_to_its_end():
    assert Trial(0, {}, loss=0.5).score == 0.5
    assert all(Trial(0, {}, status=s, loss=0.5).score is None for s in ("pruned", "failed", "cut"))


def test_a_folder_without_a_study_is_said(tmp_path):
    with pytest.raises(TlkitError, match="holds no study"):
        study.latest(tmp_path)
