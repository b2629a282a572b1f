"""The command line as a user meets it: every verb, help, suggestions, exit codes."""

import json
import shutil

import pytest
from click.testing import CliRunner

from tests.conftest import write_pictures
from tlkit.cli import main

QUICK = (
    "--backbone lenet-caffe --weights none --size 28 --epochs 2 --batch-size 16 --views 1"
).split()


def tlkit(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    write_pictures(folder / "photos", 20)
    result = tlkit("finetune", folder / "photos", *QUICK, "--out", folder / "run")
    assert result.exit_code == 0, result.output
    assert "Test images" in result.output and "report.html" in result.output
    return folder / "run"


def test_help_of_every_command_names_its_options():
    top = tlkit("--help")
    assert top.exit_code == 0
    for name, command in main.commands.items():
        assert name in top.output
        shown = tlkit(name, "--help")
        assert shown.exit_code == 0
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.opts[0] in shown.output and parameter.help


def test_check_prints_a_summary_and_leaves_the_photos_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = write_pictures(tmp_path / "photos", 12)
    (photos / "red" / "page.jpg").write_text("<html></html>")
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    result = tlkit("check", "photos")
    assert result.exit_code == 0, result.output
    assert "3 classes" in result.output
    assert "page.jpg" in (tmp_path / "quarantine.csv").read_text()
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before


def test_evaluate_report_export_predict(run_folder, tmp_path):
    photos = run_folder.parent / "photos"
    shown = tlkit("evaluate", run_folder, photos)
    assert shown.exit_code == 0 and "accuracy" in shown.output
    listed = json.loads(tlkit("evaluate", run_folder, "--json").stdout)
    assert 0 <= listed[0]["accuracy"]["value"] <= 1
    assert tlkit("report", run_folder).output.strip().endswith("report.html")
    exported = tlkit("export", run_folder, tmp_path / "model")
    assert exported.exit_code == 0 and "largest difference" in exported.output
    pictures = sorted(photos.rglob("*.png"))[:2]
    answer = tlkit("predict", tmp_path / "model", *pictures, "--top", "2", "--json")
    rows = json.loads(answer.stdout)
    assert [row["file"] for row in rows] == [str(p) for p in pictures]
    assert all(set(row) == {"file", "label", "probability", "top"} for row in rows)
    assert rows[0]["top"][0] == {"label": rows[0]["label"], "probability": rows[0]["probability"]}
    broken = tlkit("predict", tmp_path / "model", pictures[0], "gone.jpg")
    assert (
        broken.exit_code == 2 and "gone.jpg" in broken.output and str(pictures[0]) in broken.output
    )


def test_backbones_and_nets_are_listed():
    rows = json.loads(tlkit("backbones", "--json").stdout)
    assert {"name", "parameters", "size", "preprocessing", "stages"} <= set(rows[0])
    assert "mobilenet_v2" in tlkit("backbones").output
    nets = json.loads(tlkit("nets", "--json").stdout)
    assert {"name", "year", "params", "trainable_params", "macs"} <= set(nets[0])
    assert "conv" in tlkit("nets", "vgg-a").output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["finetun", "photos"], "Did you mean 'finetune'"),
        (["finetune", "no/such/folder"], "no/such/folder"),
        (["finetune"], "Say which images"),
        (["check", "no/such/folder"], "no/such/folder"),
        (["evaluate", "no/such/run"], "not a run folder"),
        (["export", "no/such/run", "x"], "holds no tlkit model"),
        (["predict", "no/such/model", "a.jpg"], "not a model that tlkit exported"),
        (["nets", "vgg-z"], "Did you mean"),
        (["finetune", "--resume", "no/such/run"], "not a run folder"),
    ],
)
def test_user_errors_exit_2_with_one_line(arguments, says):
    result = tlkit(*arguments)
    assert result.exit_code == 2
    assert says in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backbone", "mobilnet"], "Did you mean"),
        (["--resize", "corp"], "Did you mean 'crop'"),
        (["--unfreeze", "con2"], "Did you mean 'conv2'"),
        (["--augment", "photo"], "Did you mean 'photos'"),
        (["--weights", "gone.h5"], "gone.h5"),
    ],
)
def test_wrong_options_are_named_before_anything_is_written(run_folder, tmp_path, options, says):
    photos = run_folder.parent / "photos"
    result = tlkit("finetune", photos, *QUICK, *options, "--out", tmp_path / "run")
    assert result.exit_code == 2 and says in result.output
    assert not (tmp_path / "run").exists()


def test_a_taken_run_folder_is_refused_and_kept(run_folder):
    before = (run_folder / "run.json").read_text()
    result = tlkit("finetune", run_folder.parent / "photos", *QUICK, "--out", run_folder)
    assert result.exit_code == 2 and "already holds a run" in result.output
    assert (run_folder / "run.json").read_text() == before


def test_an_interrupted_run_resumes(run_folder, tmp_path, monkeypatch):
    from tlkit import session

    real = session.Session._epoch

    def interrupted(self, number, epoch, *rest):
        if epoch == 1:
            raise KeyboardInterrupt
        return real(self, number, epoch, *rest)

    monkeypatch.setattr(session.Session, "_epoch", interrupted)
    photos = run_folder.parent / "photos"
    result = tlkit("finetune", photos, *QUICK, "--out", tmp_path / "run")
    assert result.exit_code == 130 and "--resume" in result.output
    monkeypatch.undo()
    resumed = tlkit("finetune", "--resume", tmp_path / "run")
    assert resumed.exit_code == 0, resumed.output
    shutil.rmtree(tmp_path / "run")
