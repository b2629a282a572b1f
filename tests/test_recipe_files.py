"""A recipe is read without being run, and says exactly what was written."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlkit import recipe_files
from tlkit.errors import TlkitError
from tlkit.model import Head
from tlkit.phases import Phase

PLAN = (Phase("head", rate=0.01), Phase("tail", unfreeze="stage3", epochs=3, smoothing=0.0))


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "winner.py"
    recipe = {"source": tmp_path / "photos", "backbone": "lenet-5", "weights": None,
              "head": Head("mlp", 0.5), "phases": PLAN, "seed": 3}  # fmt: skip
    recipe_files.write(path, recipe, {"backbone": "small", "tail.epochs": "few\nimages"})
    found = recipe_files.read(path)
    assert found["source"] == str(tmp_path / "photos")
    assert recipe_files.plan(found) == PLAN and Head(**found["head"]) == Head("mlp", 0.5)
    assert found["size"] is None and found["resize"] == "crop"  # what it leaves out
    text = path.read_text()
    assert "    # small\n" in text and "            # few images\n" in text
    assert "patience" not in text  # only what differs from the defaults


def test_reading_runs_nothing(tmp_path):
    path = tmp_path / "trap.py"
    path.write_text("raise SystemExit('run')\nSETTINGS = {'backbone': 'vgg16'}\n")
    assert recipe_files.read(path)["backbone"] == "vgg16"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "no line `SETTINGS"),
        ("SETTINGS = dict(seed=1)", "plain values, not code"),
        ("SETTINGS = [1]", "must be a dict"),
        ("SETTINGS = {'sed': 1}", "Did you mean 'seed'"),
        ("SETTINGS = {", "Cannot read"),
    ],
)
def test_other_files_are_refused_with_a_reason(tmp_path, text, words):
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(TlkitError, match=words):
        recipe_files.read(tmp_path / "a.py")


def test_what_is_no_literal_is_not_written(tmp_path):
    with pytest.raises(TlkitError, match="cannot be written"):
        recipe_files.write(tmp_path / "a.py", {"head": {"kind": object()}})
    assert not (tmp_path / "a.py").exists()


def test_an_unknown_field_of_a_phase_is_named():
    with pytest.raises(TlkitError, match="Did you mean 'epochs'"):
        recipe_files.plan({"phases": [{"name": "head", "epoch": 3}]})


def test_every_field_of_a_phase_survives():
    values = {
        field.name: getattr(PLAN[1], field.name) for field in dataclasses.fields(Phase)
    } | {"views": 7, "batch_norm": "train", "weight_decay": 0.5}  # fmt: skip
    phase = Phase(**values)
    assert Phase(**recipe_files.describe_phase(phase)) == phase


@given(st.text(), st.text())
def test_any_text_survives_and_any_note_is_harmless(tmp_path_factory, text, note):
    path = tmp_path_factory.mktemp("recipe") / "a.py"
    recipe_files.write(path, {"source": text}, {"source": note}, title=note)
    assert recipe_files.read(path)["source"] == text
    compile(path.read_text(encoding="utf-8"), str(path), "exec")
