"""What 0.2.0 wrote still loads: a run folder, and recipe files that run as they stand."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tlkit
from tests.conftest import write_pictures
from tlkit.phases import recipe_format

FIXTURES = Path(__file__).parent / "fixtures"


def test_a_run_folder_of_0_2_0_answers_as_it_did():
    kept = json.loads((FIXTURES / "run_0_2_0_answers.json").read_text())
    run = tlkit.Run.open(FIXTURES / "run_0_2_0")
    assert run.finished and [phase.name for phase in run.phases] == ["head", "tail"]
    assert run.model.class_names == ("red", "blue", "green")
    answers = run.model.predict(np.array(kept["pixels"], np.uint8))
    np.testing.assert_allclose(answers, kept["probabilities"], atol=1e-6)


@pytest.mark.parametrize(("name", "optimizer"), [("winner", "nesterov"), ("advised", "adamw")])
def test_a_recipe_of_0_2_0_is_read(name, optimizer):
    settings = recipe_format.read(FIXTURES / f"{name}_0_2_0.py")
    (phase,) = recipe_format.phases_in(settings)
    assert phase.optimizer == optimizer and settings["backbone"] == "lenet-5-modern"


def test_a_recipe_of_0_2_0_runs_as_a_program(tmp_path, monkeypatch, capsys):
    write_pictures(tmp_path / "photos", 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["winner.py", "--out", "run"])
    runpy.run_path(str(FIXTURES / "winner_0_2_0.py"), run_name="__main__")
    run = tlkit.Run.open(tmp_path / "run")
    assert run.finished and run.model.head.kind == "mlp" and run.phases[0].optimizer == "nesterov"
    assert "report.html" in capsys.readouterr().out
