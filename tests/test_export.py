"""What is exported is what was trained, shown by a process that has only TensorFlow."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import tiny_backbone
from tlkit import export, files, serving
from tlkit.errors import ParityError, TlkitError
from tlkit.model import Classifier, Head
from tlkit.pixels import PixelRule

NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def model():
    made = Classifier(tiny_backbone(), NAMES, head=Head("linear", init="scaled"))
    made.temperature = 0.7
    return made


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return model.export(tmp_path_factory.mktemp("saved") / "model")


def test_bytes_in_label_and_probability_out(model, exported, photos):
    paths = sorted(photos.rglob("*.png"))[:5]
    loaded = tf.saved_model.load(str(exported))
    answer = loaded.serve(tf.constant([path.read_bytes() for path in paths]))
    expected = model.predict(paths)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    labels = [label.decode() for label in answer["label"].numpy()]
    assert labels == [NAMES[i] for i in expected.argmax(1)]
    np.testing.assert_allclose(answer["probability"], expected.max(1), atol=1e-5)
    pictures = tf.constant(np.stack([np.asarray(Image.open(p)) for p in paths]), tf.float32)
    by_pixels = loaded.serve_pixels(pictures)
    np.testing.assert_allclose(by_pixels["probabilities"], expected, atol=1e-5)


def test_labels_and_parity_lie_inside(exported):
    assert (exported / "assets.extra/labels.txt").read_text().split() == list(NAMES)
    facts = files.read_json(exported / serving.FACTS)
    assert facts["class_names"] == list(NAMES) and facts["temperature"] == 0.7
    assert facts["parity"]["largest_difference"] <= export.TOLERANCE


def test_saved_model_cli_can_run_it(exported, photos, tmp_path):
    picture = sorted(photos.rglob("*.png"))[0]
    np.save(tmp_path / "images.npy", np.array([picture.read_bytes()]))
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [tool, "run", "--dir", exported, "--tag_set", "serve"]
    command += ["--signature_def", "serving_default"]
    command += ["--inputs", f"images={tmp_path / 'images.npy'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "probabilities" in done.stdout


def with_random_layer(model):
    """The classifier of a careless author: augmentation inside the network."""
    faulty = Classifier(tiny_backbone(), NAMES, head=Head("linear", init="scaled"))
    inputs = keras.Input((32, 32, 3))
    turned = keras.layers.RandomFlip(seed=1)(inputs)
    noisy = keras.layers.RandomContrast(0.9, value_range=(0, 255), seed=1)(turned)
    faulty.keras_model = keras.Model(inputs, faulty.keras_model(noisy))
    faulty._logits = tf.function(lambda x: faulty.keras_model(x, training=False))
    return faulty


def test_augmentation_in_the_network_does_not_leak(model, tmp_path):
    folder = with_random_layer(model).export(tmp_path / "model")
    loaded = tf.saved_model.load(str(folder))
    image = tf.random.uniform((1, 32, 32, 3), 0, 255, seed=0)
    answers = [loaded.serve_pixels(image)["probabilities"].numpy() for _ in range(5)]
    assert all(np.array_equal(answers[0], answer) for answer in answers)


def test_a_leak_is_caught_by_the_parity_check(model, tmp_path, monkeypatch):
    faulty = with_random_layer(model)
    real = faulty.keras_model

    class Training:
        """Traces the endpoint in training mode, as `model.export()` does with these layers."""

        def __call__(self, x, training=False):
            return real(x, training=True)

        def __getattr__(self, name):
            return getattr(real, name)

    faulty.keras_model = Training()
    monkeypatch.setattr(export, "_write", lambda m, folder: _write_in_training(m, real, folder))
    with pytest.raises(ParityError, match="Nothing was exported"):
        faulty.export(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def _write_in_training(model, real, folder):
    archive = keras.export.ExportArchive()
    archive.track(real)
    spec = [tf.TensorSpec([None], tf.string, name="images")]
    archive.add_endpoint(
        "serve", export._endpoint(model, export.pixels.decode), input_signature=spec
    )
    archive.write_out(str(folder), verbose=False)


def test_an_earlier_export_is_replaced_and_anything_else_is_not(model, exported, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    with pytest.raises(TlkitError, match="holds no tlkit export"):
        model.export(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"
    before = (exported / "saved_model.pb").stat().st_mtime_ns
    assert model.export(exported) == exported
    assert (exported / "saved_model.pb").stat().st_mtime_ns > before
    assert sorted(p.name for p in exported.parent.iterdir()) == ["model"]


def test_more_channels_than_files_have_go_by_pixels(tmp_path):
    model = Classifier("mobilenet_v2_0.35", NAMES, weights=None, size=PixelRule(32, channels=5))
    folder = model.export(tmp_path / "five")
    loaded = tf.saved_model.load(str(folder))
    assert loaded.serve_pixels(tf.zeros((2, 40, 40, 5)))["probabilities"].shape == (2, 3)


def test_predict_needs_neither_tlkit_models_nor_training(exported, photos):
    picture = sorted(photos.rglob("*.png"))[0]
    script = (
        "import sys; from tlkit.serving import predict\n"
        f"found, errors = predict({str(exported)!r}, [{str(picture)!r}, 'gone.jpg'])\n"
        "print(found[0].label, errors, sorted(m for m in sys.modules if m.startswith('tlkit.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gone.jpg" in done.stdout
    assert "['tlkit.errors', 'tlkit.files', 'tlkit.serving']" in done.stdout


def test_predict_reads_tiff_and_names_what_it_cannot_read(exported, tmp_path):
    Image.fromarray(np.full((40, 40, 3), (200, 10, 10), np.uint8)).save(tmp_path / "a.tif")
    (tmp_path / "b.jpg").write_text("<html>")
    found, errors = serving.predict(exported, [tmp_path / "a.tif", tmp_path / "b.jpg"], top=2)
    assert [len(one.top) for one in found] == [2]
    assert found[0].probability == found[0].top[0][1] >= found[0].top[1][1]
    assert len(errors) == 1 and "b.jpg" in errors[0]
    with pytest.raises(TlkitError, match="not a model that tlkit exported"):
        serving.predict(tmp_path, [])
