"""What is exported is what was trained, shown by a process that has only TensorFlow."""

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tlkit
from tests.deaths import Died, Watch, content, watched
from tlkit import files
from tlkit.backbones.backbone import Backbone, Stage
from tlkit.backbones.preprocess import Preprocess
from tlkit.errors import ParityError, TlkitError
from tlkit.images import pixels
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.serving import export, saved_model

NAMES = ("red", "ant", "Zebra", "sea lion", "blue", "bee", "Ärger")  # more than the five best


def one_stage(*layers, channels=3):
    """Returns a backbone of some layers behind its input."""
    inputs = x = keras.Input((32, 32, channels))
    for layer in layers:
        x = layer(x)
    net = keras.Model(inputs, x)
    stages = (Stage("stage1", layers[-1].name),)
    return Backbone("small", net, Preprocess("tf"), stages, 32, channels, "test values")


def convolution():
    """Returns the same layer, whatever was drawn before."""
    keras.utils.set_random_seed(0)
    return keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")


def with_wild_head(model, pictures):
    """Gives the head weights with which no class is the answer to all of the pictures."""
    kernel, bias = model.classify.get_layer("logits").weights
    kernel.assign(np.random.default_rng(3).normal(0, 4, kernel.shape))
    rows = np.stack([pixels.load_pixels(picture, model.rule) for picture in pictures])
    bias.assign(-model.logits(rows).mean(0))
    return model


@pytest.fixture(scope="module")
def model(pictures):
    """A careless author's: augmentation inside the network, which must not be alive."""
    backbone = one_stage(
        keras.layers.RandomFlip(seed=1),
        keras.layers.RandomContrast(0.9, value_range=(-1, 1), seed=1),
        convolution(),
    )
    rule, head = PixelRule(32, "pad"), Head("mlp", dropout=0.5, init="scaled")
    made = with_wild_head(Classifier(backbone, NAMES, size=rule, head=head), pictures)
    made.temperature = 0.7
    return made


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return tlkit.export(model, tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def pictures(photos, tmp_path_factory):
    """Paths of pictures of several shapes and formats."""
    folder = tmp_path_factory.mktemp("formats")
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6
    wide, tall = (Image.fromarray(noise).resize(size) for size in ((90, 40), (33, 64)))
    wide.save(folder / "turned.jpg", quality=95, exif=turned)
    tall.convert("L").save(folder / "gray.png")
    tall.save(folder / "late.tif")
    return [*sorted(folder.iterdir()), *sorted(photos.rglob("*_7.png"))]


def assert_answers(answer, expected):
    """Labels and top labels must be those of the probabilities, best first."""
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert len({*expected.argmax(1)}) > 1  # else any constant label would do
    for row, probabilities in enumerate(expected):
        order = np.argsort(-probabilities)[:5]
        labels = [label.decode() for label in answer["top_labels"].numpy()[row]]
        assert labels == [NAMES[i] for i in order]
        np.testing.assert_allclose(
            answer["top_probabilities"][row], probabilities[order], atol=1e-5
        )
        assert answer["label"].numpy()[row].decode() == labels[0]
        np.testing.assert_allclose(answer["probability"][row], probabilities.max(), atol=1e-5)


def test_bytes_or_pixels_in_labels_and_probabilities_out(model, exported, pictures):
    loaded = tf.saved_model.load(str(exported))
    readable = [path for path in pictures if path.suffix != ".tif"]
    images = tf.constant([path.read_bytes() for path in readable])
    assert_answers(loaded.serve(images), model.predict(readable))
    assert_answers(loaded.signatures["serving_default"](images), model.predict(readable))
    photos = pictures[-3:]
    rows = np.stack([np.asarray(Image.open(path)) for path in photos])
    assert_answers(loaded.serve_pixels(tf.constant(rows, tf.float32)), model.predict(photos))


def test_labels_rule_and_parity_lie_inside(exported):
    labels = (exported / "assets.extra/labels.txt").read_text("utf-8")
    assert labels == "".join(f"{name}\n" for name in NAMES)
    facts = files.read_json(exported / saved_model.FACTS)
    parity = facts.pop("parity")
    assert parity["images"] >= 8 and 0 <= parity["largest_difference"] <= 1e-4
    assert facts == {
        "format": 1,
        "class_names": list(NAMES),
        "rule": {"size": 32, "resize": "pad", "channels": 3},
        "temperature": 0.7,
        "backbone": "small",
    }


@pytest.mark.large
def test_saved_model_cli_gets_the_same_answer(model, exported, pictures, tmp_path):
    picture = pictures[-1]
    np.save(tmp_path / "images.npy", np.array([picture.read_bytes()]))
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [tool, "run", "--dir", exported, "--tag_set", "serve", "--outdir", tmp_path / "out"]
    command += ["--signature_def", "serving_default"]
    command += ["--inputs", f"images={tmp_path / 'images.npy'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = np.load(tmp_path / "out" / "probabilities.npy")
    np.testing.assert_allclose(answer, model.predict([picture]), atol=1e-5)
    assert np.load(tmp_path / "out" / "label.npy", allow_pickle=True)[0].decode() in NAMES


@pytest.mark.parametrize("top", [1, 3, 9])
def test_predict_answers_as_the_classifier(model, exported, pictures, top):
    found, errors = saved_model.predict(exported, pictures, top=top)
    assert errors == [] and [one.file for one in found] == [str(path) for path in pictures]
    for one, probabilities in zip(found, model.predict(pictures), strict=True):
        order = np.argsort(-probabilities)[:top]
        assert [label for label, _ in one.top] == [NAMES[i] for i in order]
        np.testing.assert_allclose([p for _, p in one.top], probabilities[order], atol=1e-5)
        assert (one.label, one.probability) == one.top[0]


def test_a_prediction_as_it_is_printed():
    one = saved_model.Prediction("a.jpg", "red", 0.75, (("red", 0.75), ("ant", 0.25)))
    top = [{"label": "red", "probability": 0.75}, {"label": "ant", "probability": 0.25}]
    assert one.as_dict() == {"file": "a.jpg", "label": "red", "probability": 0.75, "top": top}


def test_predict_names_what_it_cannot_read(exported, pictures, tmp_path):
    (tmp_path / "b.jpg").write_text("<html>")
    asked = [tmp_path / "b.jpg", pictures[0], tmp_path / "gone.jpg"]
    found, errors = saved_model.predict(exported, asked)
    assert [(one.file, len(one.top)) for one in found] == [(str(pictures[0]), 3)]
    assert "b.jpg is not an image" in errors[0] and "gone.jpg" in errors[1] and len(errors) == 2
    with pytest.raises(TlkitError, match="not a model that tlkit exported"):
        saved_model.predict(tmp_path, [])
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(TlkitError, match="is a run folder: first do `tlkit export"):
        saved_model.predict(tmp_path, [])


def test_predict_loads_nothing_of_tlkit_that_knows_keras(model, exported, pictures):
    paths = [str(path) for path in pictures[:2]]
    script = (
        f"import json, sys, tlkit\nfound, errors = tlkit.predict({str(exported)!r}, {paths!r})\n"
        "ours = [name for name in sys.modules if name.partition('.')[0] == 'tlkit']\n"
        "heavy = [name for name in ours if 'keras' in vars(sys.modules[name])]\n"
        "print(json.dumps([[one.label for one in found], errors, heavy]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    labels = [NAMES[i] for i in model.predict(paths).argmax(1)]
    assert json.loads(done.stdout.splitlines()[-1]) == [labels, [], []]


@keras.saving.register_keras_serializable("tests")
class BatchMean(keras.layers.Layer):
    """Lets an image's answer depend a little on those beside it."""

    def call(self, x):
        return x + 0.01 * keras.ops.mean(x, axis=0, keepdims=True)


def test_what_does_not_answer_alike_is_not_exported(exported, pictures, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(exported, folder)
    before = content(folder)
    faulty = Classifier(one_stage(convolution(), BatchMean(name="mean")), NAMES)
    with_wild_head(faulty, pictures).temperature = 3.0
    alone = np.concatenate([faulty.predict([path]) for path in pictures])
    assert 1e-3 < np.abs(faulty.predict(pictures) - alone).max() < 0.05  # slight, but no rounding
    with pytest.raises(ParityError, match="Nothing was exported"):
        tlkit.export(faulty, folder)
    assert content(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_an_earlier_export_is_replaced_as_a_whole(model, exported, pictures, tmp_path, monkeypatch):
    folder, temporary = tmp_path / "saved" / "model", tmp_path / "temporary"
    shutil.copytree(exported, folder)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    other = tlkit.update_classes(model, drop=["bee"])
    other.temperature = 2.0
    with watched(Watch()) as watch:
        assert tlkit.export(other, folder) == folder
    touched = [(event, path) for event, path in watch.changes if path.startswith(f"{folder}")]
    assert touched == [("os.rename", str(folder))]  # and its successor's, which starts elsewhere
    assert list(folder.parent.iterdir()) == [folder]
    assert list(temporary.iterdir()) == []  # AutoGraph leaves its files there
    (one,), _ = saved_model.predict(folder, pictures[:1], top=6)
    probabilities = other.predict(pictures[:1])[0]
    left = [name for name in NAMES if name != "bee"]
    assert [label for label, _ in one.top] == [left[i] for i in np.argsort(-probabilities)]
    np.testing.assert_allclose(one.probability, probabilities.max(), atol=1e-5)


def test_anything_else_is_not_replaced(model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(TlkitError, match="holds no tlkit export"):
        tlkit.export(model, tmp_path / "mine")
    assert content(tmp_path) == {"mine/notes.txt": b"precious"}


@pytest.mark.parametrize("stays", [True, False], ids=["killed", "interrupted"])
def test_wherever_it_dies_the_earlier_or_the_new_export_is_whole(tmp_path, stays):
    old, new = ({f"{i}/{name}": name.encode() for i in "abc"} for name in ("old", "new"))
    for steps in itertools.count():
        place = tmp_path / str(steps)
        for folder, files_in in (("model", old), ("fresh", new)):
            for name, data in files_in.items():
                (place / folder / name).parent.mkdir(parents=True)
                (place / folder / name).write_bytes(data)
        try:
            with watched(Watch(steps, stays)):
                export.put_in_place(place / "fresh", place / "model", place / "old")
        except Died:
            found = content(place / "model")
            if stays and steps == 1:  # nobody could put it back, but it is there
                assert found is None
                found = content(place / "old")
            assert found in (old, new), f"{steps}: {sorted(found or ())}"
        else:
            break
    assert steps == 2 and content(place / "model") == new and content(place / "old") == old


def test_more_channels_than_files_have_go_by_pixels(tmp_path):
    rule = PixelRule(32, "squash", channels=5)
    model = Classifier(one_stage(convolution(), channels=5), NAMES, size=rule)
    rows = np.random.default_rng(0).integers(0, 256, (6, 44, 36, 5)).astype(np.uint8)
    rows[2:4, ..., 1:], rows[4:, ..., :4] = 0, 0
    with_wild_head(model, rows).temperature = 3.0
    folder = tlkit.export(model, tmp_path / "deep" / "five")
    loaded = tf.saved_model.load(str(folder))
    assert_answers(loaded.serve_pixels(tf.constant(rows, tf.float32)), model.predict(rows))
    facts = files.read_json(folder / saved_model.FACTS)
    assert facts["rule"] == dataclasses.asdict(rule) and facts["parity"]["images"] == 4
    _, errors = saved_model.predict(folder, [__file__])
    assert errors == ["This model takes pixels, not image files: use its `serve_pixels`."]
