"""A recipe is read without being run, and says exactly what was written."""

import dataclasses
import runpy
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import TlkitError
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.phases import recipe_format
from tlkit.phases.phase import Phase
from tlkit.workflows import recipes

PLAN = (Phase("head", rate=0.01), Phase("tail", unfreeze="stage3", epochs=3, smoothing=0.0))


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "winner.py"
    recipe = {"source": tmp_path / "photos", "backbone": "lenet-5", "weights": None,
              "head": Head("mlp", 0.5), "phases": PLAN, "seed": 3}  # fmt: skip
    recipe_format.write(path, recipe, {"backbone": "small", "tail.epochs": "few\nimages"})
    found = recipe_format.read(path)
    assert found["source"] == str(tmp_path / "photos")
    assert recipe_format.phases_in(found) == PLAN and Head(**found["head"]) == Head("mlp", 0.5)
    assert found["size"] is None and found["resize"] == "crop"  # what it leaves out
    text = path.read_text()
    assert "    # small\n" in text and "            # few images\n" in text
    assert "patience" not in text  # only what differs from the defaults


def test_reading_runs_nothing(tmp_path):
    path = tmp_path / "trap.py"
    path.write_text("raise SystemExit('run')\nSETTINGS = {'backbone': 'vgg16'}\n")
    assert recipe_format.read(path)["backbone"] == "vgg16"


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
        recipe_format.read(tmp_path / "a.py")


def test_what_is_no_literal_is_not_written(tmp_path):
    with pytest.raises(TlkitError, match="cannot be written"):
        recipe_format.write(tmp_path / "a.py", {"head": {"kind": object()}})
    assert not (tmp_path / "a.py").exists()


def test_an_unknown_field_of_a_phase_is_named():
    with pytest.raises(TlkitError, match="Did you mean 'epochs'"):
        recipe_format.phases_in({"phases": [{"name": "head", "epoch": 3}]})


def test_every_field_of_a_phase_survives():
    values = {
        field.name: getattr(PLAN[1], field.name) for field in dataclasses.fields(Phase)
    } | {"views": 7, "batch_norm": "train", "weight_decay": 0.5}  # fmt: skip
    phase = Phase(**values)
    assert Phase(**recipe_format.describe_phase(phase)) == phase


@settings(max_examples=40)
@given(st.text(), st.text())
def test_any_text_survives_and_any_note_is_harmless(tmp_path_factory, text, note):
    path = tmp_path_factory.mktemp("recipe") / "a.py"
    recipe_format.write(path, {"source": text}, {"source": note}, title=note)
    assert recipe_format.read(path)["source"] == text
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


# What a recipe trains


NET = {"backbone": "lenet-5-modern", "weights": None, "size": 32}


def test_each_setting_of_the_model_reaches_it():
    names = ("red", "blue", "green")
    head = {"kind": "mlp", "dropout": 0.4, "init": "scaled"}
    made = recipes.classifier(
        {**NET, "resize": "pad", "channels": 1, "head": head, "seed": 3}, names
    )
    assert made.rule == PixelRule(32, "pad", 1) and made.head == Head(**head)
    assert made.class_names == names and "lenet" in made.backbone.name
    weights = made.backbone.net.weights
    for seed in (3, 4):
        other = recipes.classifier({**NET, "channels": 1, "seed": seed}, names)
        pairs = zip(weights, other.backbone.net.weights, strict=True)
        same = all(np.array_equal(one.numpy(), two.numpy()) for one, two in pairs)
        assert same == (seed == 3)


def test_without_a_size_a_backbone_has_its_own():
    made = recipes.classifier({**NET, "size": None}, ("a", "b"))
    assert made.rule == PixelRule(made.backbone.size, "crop", 3)


def test_a_run_folder_brings_its_pixel_rule_and_its_weights(tmp_path, classifier):
    rule = PixelRule(32, "squash")
    source = Classifier(classifier, ("red", "green"), size=rule)
    source.backbone.net.weights[0].assign_add(source.backbone.net.weights[0])
    source.save(tmp_path)
    made = recipes.classifier(
        {"backbone": str(tmp_path), "size": 64, "weights": None, "replace_from": "stage3"},
        ("red", "blue", "green"),
    )
    assert made.rule == rule and made.class_names == ("red", "blue", "green")
    kept = [
        np.array_equal(one.numpy(), two.numpy())
        for one, two in zip(made.backbone.net.weights, source.backbone.net.weights, strict=True)
        if len(one.shape) == 4
    ]
    assert kept == [True, True, False]  # the last stage starts anew


def _trained(monkeypatch, settings, **options):
    """Returns what a recipe reads and trains, without any training."""
    seen = {}

    def load_images(source, **given):
        seen.update(source=source, read=given)
        return Images()

    class Images:
        class_names = ("red", "blue", "green")

    def fine_tune(model, data, plan, **given):
        seen.update(model=model, data=data, plan=plan, given=given)
        return "a run"

    monkeypatch.setattr(recipes, "load_images", load_images)
    monkeypatch.setattr(recipes, "fine_tune", fine_tune)
    seen["run"] = recipes.train_recipe(settings, **options)
    return seen


def test_each_setting_of_the_training_reaches_it(monkeypatch, tmp_path):
    settings = {
        **NET, "source": "photos", "data": {"val_share": 0.3, "seed": 5}, "seed": 7,
        "phases": [dataclasses.asdict(phase) for phase in PLAN], "head": {"dropout": 0.4},
    }  # fmt: skip
    seen = _trained(monkeypatch, settings, out=tmp_path, store="a store")
    assert (seen["source"], seen["read"]) == ("photos", {"val_share": 0.3, "seed": 5})
    assert seen["plan"] == PLAN and seen["run"] == "a run"
    assert seen["given"] == {"out": tmp_path, "seed": 7, "store": "a store"}
    assert seen["model"].class_names == ("red", "blue", "green")
    assert seen["model"].head.dropout == 0.4
    assert _trained(monkeypatch, {**settings, "phases": None})["plan"] is None


def test_a_recipe_without_images_is_refused():
    with pytest.raises(TlkitError, match="names no images"):
        recipes.train_recipe({"backbone": "lenet-5", "weights": None})


def test_run_as_a_program_it_takes_other_images_and_a_folder(monkeypatch, capsys):
    seen = {}

    class Done:
        def require_data(self):
            return self

        test = (1, 2)

        def evaluate(self):
            return "accuracy 0.5"

    def train(settings, out):
        seen.update(settings=settings, out=out)
        return Done()

    monkeypatch.setattr(recipes, "train_recipe", train)
    monkeypatch.setattr(recipes, "write_report", lambda run: "runs/7/report.html")
    monkeypatch.setattr(sys, "argv", ["winner.py", "--source", "others", "--out", "runs/7"])
    recipes.run_recipe({"source": "photos", "seed": 3}, "What it is.\n\nMore.")
    assert seen == {"settings": {"source": "others", "seed": 3}, "out": "runs/7"}
    told = capsys.readouterr().out
    assert "Test images: accuracy 0.5" in told and "Report: runs/7/report.html" in told
    Done.test = ()
    monkeypatch.setattr(sys, "argv", ["winner.py"])
    recipes.run_recipe({"source": "photos"})
    assert seen == {"settings": {"source": "photos"}, "out": None}
    assert "Test images" not in capsys.readouterr().out


def test_a_written_recipe_is_a_program_that_trains_with_its_settings(tmp_path, monkeypatch):
    path = tmp_path / "winner.py"
    recipe_format.write(path, {"source": "photos", "seed": 4}, title="A title.")
    seen = []
    monkeypatch.setattr(recipes, "run_recipe", lambda *given: seen.append(given))
    runpy.run_path(str(path), run_name="__main__")
    ((settings, description),) = seen
    assert settings == {"source": "photos", "seed": 4}
    assert description.startswith("A title.") and "tlkit finetune --plan winner.py" in description
    runpy.run_path(str(path), run_name="imported")
    assert len(seen) == 1


def test_what_a_recipe_leaves_out_has_the_values_of_the_table(tmp_path):
    (tmp_path / "a.py").write_text("SETTINGS = {}\nSETTINGS = {'seed': 2}\n")
    assert recipe_format.read(tmp_path / "a.py") == {
        "source": None, "data": {}, "backbone": "mobilenet_v2", "weights": "imagenet",
        "size": None, "resize": "crop", "channels": 3, "head": {}, "replace_from": None,
        "phases": None, "seed": 2,
    }  # fmt: skip


def test_a_phase_says_only_what_is_unusual():
    phase = Phase("tail", unfreeze="stage3", smoothing=0.0, schedule_options={})
    assert recipe_format.describe_phase(phase) == {
        "name": "tail", "unfreeze": "stage3", "smoothing": 0.0
    }  # fmt: skip
