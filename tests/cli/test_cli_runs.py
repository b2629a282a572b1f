"""The verbs of the command line on a few pictures: what a run holds, and what is said of it."""

import json
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.command_line import TINY, stand_in, tlkit
from tests.conftest import UNSORTED, write_pictures
from tlkit.advice.rules import Plan
from tlkit.backbones.backbone import Backbone, Stage
from tlkit.backbones.preprocess import Preprocess
from tlkit.images.dataset import load_images
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.phases import recipe_format
from tlkit.phases.phase import Phase
from tlkit.training.run import Run
from tlkit.workflows import fine_tuning

QUICK = (*TINY, "--epochs", "2", "--batch-size", "16", "--views", "1")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    write_pictures(folder / "photos", 12)
    result = tlkit("finetune", folder / "photos", *QUICK, "--out", folder / "run")
    assert result.exit_code == 0, result.output
    assert f"Next: tlkit export {folder / 'run'} saved_models/run" in result.stdout
    (folder / "said").write_text(result.stdout)
    return folder / "run"


def rows(run, role):
    """Returns file and class of each image of one role, from the run's manifest."""
    manifest = json.loads((run / "manifest.json").read_text())
    return [(run.parent / "photos" / row[0], row[1]) for row in manifest["rows"] if row[2] == role]


def test_finetune_writes_the_run_that_was_asked_for(run_folder):
    facts = json.loads((run_folder / "run.json").read_text())
    assert facts["finished"] and [row["epoch"] for row in facts["history"]] == [0, 1]
    (phase,) = facts["phases"]
    assert (phase["epochs"], phase["batch_size"], phase["views"]) == (2, 16, 1)
    model = json.loads((run_folder / "classifier.json").read_text())
    assert model["backbone"] == "lenet-caffe" and model["weights"].startswith("random")
    assert model["rule"] == {"size": 28, "resize": "crop", "channels": 3}


def test_the_test_images_are_judged_once_and_told_everywhere(run_folder):
    paths, labels = zip(*rows(run_folder, "test"), strict=True)
    model = Classifier.load(run_folder)
    right = [
        model.class_names[i] == label
        for i, label in zip(model.predict(paths).argmax(-1), labels, strict=True)
    ]
    share = float(np.mean(right))
    kept = json.loads((run_folder / "metrics.json").read_text())
    assert kept["test"]["accuracy"]["value"] == pytest.approx(share)
    assert kept["test"]["n"] == len(paths) and kept["val"]["n"] == len(rows(run_folder, "val"))
    (listed,) = json.loads(tlkit("evaluate", run_folder, "--json").stdout)
    assert listed == kept["test"]
    said = (run_folder.parent / "said").read_text()
    assert f"{len(paths)} images, 3 classes" in said and f"{100 * share:.1f} %" in said
    assert tlkit("evaluate", run_folder).stdout.strip() in said


def test_a_run_has_the_model_that_was_asked_for(run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gray = PixelRule(28, channels=1)
    net = Classifier("lenet-caffe", UNSORTED, weights=None, size=gray, seed=5).backbone.net
    net.save_weights("some.weights.h5")
    words = (
        "--backbone lenet-caffe --size 28 --weights some.weights.h5 --channels 1 --resize pad "
        "--head concat_pool --replace-from ip1 --unfreeze conv2 --head-epochs 1 --epochs 1 "
        "--rate 1e-5 --views 1 --batch-size 64 --augment none --seed 3"
    )
    result = tlkit("finetune", run_folder.parent / "photos", *words.split())
    assert result.exit_code == 0, result.output
    run = Run.open("runs/photos-lenet-caffe")  # what help says of --out
    assert run.model.rule == PixelRule(28, "pad", 1) and run.model.head.kind == "concat_pool"
    assert [phase.unfreeze for phase in run.phases] == [None, "conv2"] and run.seed == 3
    pairs = zip(run.model.backbone.net.weights, net.weights, strict=True)
    kernels = [(one.numpy(), other.numpy()) for one, other in pairs if len(one.shape) > 1]
    far = [np.abs(one - other).max() for one, other in kernels]
    frozen, open_, fresh = far  # conv1, conv2, ip1
    assert frozen == 0 < open_ < 1e-3 < fresh


def test_report_writes_the_page_and_says_where(run_folder):
    page = run_folder / "report.html"
    page.unlink()
    assert tlkit("report", run_folder).stdout == f"{page}\n"
    assert "lenet-caffe" in page.read_text()


def test_check_prints_a_summary_and_leaves_the_photos_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = write_pictures(tmp_path / "photos", 10)
    result = tlkit("check", "photos", "--val-share", "0.2", "--test-share", "0.3")
    assert result.exit_code == 0, result.output
    assert "train 15, val 6, test 9" in result.stdout and not result.stderr
    assert not Path("quarantine.csv").exists()
    (photos / "red" / "page.jpg").write_text("<html></html>")
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    result = tlkit("check", "photos")
    assert result.exit_code == 0 and "quarantine.csv" in result.stdout
    header, row = Path("quarantine.csv").read_text().splitlines()
    assert header == "file,reason" and row.startswith("red/page.jpg,")
    few = tlkit("check", "photos", "--max-bad", "0.01")
    assert few.exit_code == 2 and "page.jpg" in few.stderr
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before


def test_a_taken_run_folder_is_refused_and_kept(run_folder):
    before = (run_folder / "run.json").read_text()
    result = tlkit("finetune", run_folder.parent / "photos", *QUICK, "--out", run_folder)
    assert result.exit_code == 2 and "already holds a run" in result.stderr
    assert (run_folder / "run.json").read_text() == before


def test_an_interrupted_run_resumes_and_ends_as_if_nothing_had_been(
    run_folder, tmp_path, monkeypatch
):
    real = Run.append

    def interrupted(self, row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt
        real(self, row)

    monkeypatch.setattr(Run, "append", interrupted)
    photos = run_folder.parent / "photos"
    result = tlkit("finetune", photos, *QUICK, "--out", tmp_path / "run")
    assert result.exit_code == 130 and "tlkit: interrupted" in result.stderr
    assert "--resume" in result.stderr
    assert not json.loads((tmp_path / "run" / "run.json").read_text())["finished"]
    monkeypatch.undo()
    resumed = tlkit("finetune", "--resume", tmp_path / "run")
    assert resumed.exit_code == 0, resumed.output
    found, expected = (
        json.loads((folder / "run.json").read_text()) for folder in (tmp_path / "run", run_folder)
    )
    assert found["finished"]
    for one, other in zip(found["history"], expected["history"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    again = tlkit("finetune", "--resume", tmp_path / "run")
    assert again.exit_code == 2 and "nothing to resume" in again.stderr


def test_python_command_and_recipe_train_the_same_plan(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    advised = (Phase("head", epochs=2, views=1), Phase("tail", unfreeze="ip1", epochs=1, views=2))
    plan = Plan("some", advised, {}, depth=1, is_default=False)
    asked = stand_in(monkeypatch, fine_tuning, "quick_advice", lambda _: plan)
    photos = str(run_folder.parent / "photos")
    settings = {"source": photos, "backbone": "lenet-caffe", "weights": None, "size": 28}
    recipe_format.write("recipe.py", {**settings, "phases": None})

    data = load_images(photos)
    model = Classifier("lenet-caffe", data.class_names, weights=None, size=28)
    fine_tuning.fine_tune(model, data, out="python")
    told = [
        tlkit("finetune", photos, *TINY, "--out", "command"),
        tlkit("finetune", "--plan", "recipe.py", "--out", "followed"),
    ]
    assert [result.exit_code for result in told] == [0, 0], [result.output for result in told]
    monkeypatch.setattr(sys, "argv", ["recipe.py", "--out", "recipe"])
    runpy.run_path("recipe.py", run_name="__main__")

    assert len(asked) == 4 and "Report: recipe/report.html" in capsys.readouterr().out
    for folder in ("python", "command", "followed", "recipe"):
        run = Run.open(folder)
        assert run.finished and tuple(run.phases) == advised, folder
        losses = [row["val_loss"] for row in run.history]
        assert losses == [row["val_loss"] for row in Run.open("python").history], folder


# Labels in an order that is not the alphabet's


def brightest():
    """A classifier that needs no training: the class is the channel with the largest mean."""
    inputs = keras.Input((24, 24, 3))
    same = keras.layers.Conv2D(3, 1, use_bias=False, name="same")
    net = keras.Model(inputs, same(inputs), name="means")
    same.set_weights([np.eye(3)[None, None]])
    unit = Preprocess("unit", 3, name="preprocess")
    backbone = Backbone("means", net, unit, (Stage("stage1", "same"),), 24, 3, "set by hand")
    model = Classifier(backbone, UNSORTED)
    (dense,) = [layer for layer in model.classify.layers if layer.weights]
    columns = [("red", "green", "blue").index(name) for name in UNSORTED]
    dense.set_weights([20 * np.eye(3)[:, columns], np.zeros(3)])
    return model


@pytest.fixture(scope="module")
def unsorted_run(tmp_path_factory):
    """A finished run of classes out of order, made without training, beside ten pictures."""
    folder = tmp_path_factory.mktemp("unsorted")
    photos = write_pictures(folder / "photos", 4)
    (photos / "red" / "0_0.png").rename(photos / "blue" / "wrong.png")
    pixels = np.random.default_rng(1).integers(0, 255, (30, 24, 24, 3)).astype(np.uint8)
    images = load_images((pixels, np.arange(30) % 3, UNSORTED), cache=False)
    run = Run.create(folder / "run", brightest(), images, [Phase("head")], 0)
    run.complete(np.zeros((len(images.val), 3), np.float32))
    return folder / "run"


def test_other_images_are_judged_by_the_names_of_their_classes(unsorted_run):
    photos = unsorted_run.parent / "photos"
    (found,) = json.loads(tlkit("evaluate", unsorted_run, photos, "--json").stdout)
    assert found["n"] == 12 and found["accuracy"]["value"] == pytest.approx(11 / 12)
    assert [row["name"] for row in found["per_class"]] == list(UNSORTED)
    shown = tlkit("evaluate", unsorted_run, photos).stdout
    assert "91.7 %" in shown and "red" in shown
    kept = json.loads((unsorted_run / "metrics.json").read_text())
    assert kept[str(photos)] == found


def test_what_is_exported_answers_with_the_right_names(unsorted_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exported = tlkit("export", unsorted_run, "model")
    assert exported.exit_code == 0, exported.output
    assert exported.stdout.startswith("Wrote model: a fresh process agrees on 8 images, ")
    photos = unsorted_run.parent / "photos"
    pictures = [photos / "green" / "0_1.png", photos / "red" / "0_2.png", photos / "blue/0_3.png"]
    answer = json.loads(tlkit("predict", "model", *pictures, "--top", "2", "--json").stdout)
    assert [row["file"] for row in answer] == [str(path) for path in pictures]
    assert [row["label"] for row in answer] == ["green", "red", "blue"]
    logits = Classifier.load(unsorted_run).predict(pictures)
    for row, chances in zip(answer, logits, strict=True):
        assert set(row) == {"file", "label", "probability", "top"}
        assert [one["label"] for one in row["top"]] == [
            UNSORTED[i] for i in np.argsort(-chances)[:2]
        ]
        best = [one["probability"] for one in row["top"]]
        np.testing.assert_allclose(best, np.sort(chances)[:0:-1], atol=1e-4)
        assert row["probability"] == best[0] > 0.5
    broken = tlkit("predict", "model", pictures[1], "gone.jpg")
    assert broken.exit_code == 2 and broken.stderr.startswith("tlkit: Cannot read gone.jpg")
    assert broken.stdout.startswith(f"{pictures[1]}: red 0.")
