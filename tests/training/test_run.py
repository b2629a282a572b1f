"""What a run writes down and answers, against numbers worked out from what it was given."""

import dataclasses
import datetime
import json
import math

import numpy as np
import pytest

import tlkit
from tests.conftest import UNSORTED, tiny_backbone, write_pictures
from tests.scripted import DEEPER, HEAD, Script, finished, logits_of, new_model, pictures
from tlkit.errors import TlkitError
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.models.classifier import Classifier
from tlkit.phases.phase import Phase
from tlkit.training.run import Run
from tlkit.workflows import run_report
from tlkit.workflows.run_facts import Settings

SOURCE = pictures()
LIVE = Phase(
    "live", unfreeze="stage2", epochs=3, rate=0.01, decay=0.5, batch_norm="train", views=2,
    augment="flip", batch_size=16, schedule="step", schedule_options={"every": 2, "factor": 0.5},
    l2={"stage3": 0.1},
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return load_images(SOURCE, val_share=0.3, cache=False)


def too_sure(labels, wrong):
    """Returns logits that are sure of all and wrong about the first few."""
    logits = 6.0 * np.eye(3, dtype=np.float32)[labels]
    logits[:wrong] = np.roll(logits[:wrong], 1, axis=1)
    return logits


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A finished run whose best epoch is the second, and the logits of that epoch."""
    best, labels = too_sure(data.val.labels, 3), data.val.labels
    losses = {
        "head": [1.6, best, 1.4, 1.5],
        "live": [too_sure(labels, 8), 1.7, too_sure(labels, 9)],
    }
    folder = tmp_path_factory.mktemp("made") / "run"
    plan = (dataclasses.replace(HEAD, rate=0.02), LIVE)
    run = finished(folder, data, plan, Script(losses), store=Store(), seed=11)
    draw = np.random.default_rng(0)  # the script's marks would answer the same for all classes
    for variable in run.model.classify.trainable_variables:
        variable.assign(draw.normal(0, 2, variable.shape))
    return run, best


def softmax(logits, temperature=1.0):
    raised = np.exp(logits.astype(np.float64) / temperature)
    return raised / raised.sum(1, keepdims=True)


def mean_loss(logits, labels, temperature):
    """The mean log loss at a temperature, with labels smoothed by one image in n + 2."""
    n, share = len(labels), 1 / (len(labels) + 2)
    truth = (1 - share) * np.eye(3)[labels] + share / 3
    return -(truth * np.log(softmax(logits, temperature))).sum() / n


def test_the_temperature_has_the_least_validation_loss_of_the_best_epoch(made, data):
    run, best = made
    grid = np.geomspace(0.2, 20, 2000)
    least = grid[np.argmin([mean_loss(best, data.val.labels, t) for t in grid])]
    assert run.model.temperature == pytest.approx(least, rel=5e-3)
    assert run.model.temperature > 1.5
    assert Run.open(run.folder).model.temperature == run.model.temperature


def test_the_validation_numbers_are_those_of_the_best_epoch_calibrated(made, data):
    run, best = made
    found = json.loads((run.folder / "metrics.json").read_text())["val"]
    chances = softmax(best, run.model.temperature)
    truth = chances[np.arange(len(best)), data.val.labels]
    assert found["log_loss"]["value"] == pytest.approx(-np.log(truth).mean(), rel=1e-6)
    assert found["accuracy"]["value"] == pytest.approx(1 - 3 / len(best))
    assert found["mean_confidence"] == pytest.approx(chances.max(1).mean(), rel=1e-6)
    assert found["class_names"] == list(UNSORTED)
    assert {row["file"] for row in found["top_losses"]} <= set(data.val.files)
    assert [row["file"] for row in found["top_losses"][:3]] == list(data.val.files[:3])


def by_keras(run, images):
    """Returns calibrated probabilities by Keras and NumPy."""
    x = np.stack([images.table.read(i) for i in range(len(images))]).astype(np.float32)
    logits = run.model.keras_model.predict(x, verbose=0)
    return softmax(logits, run.model.temperature)


def part(images, rows):
    """Returns some of the images."""
    table, rows = images.table.select(np.array(rows)), list(rows)
    hashes = tuple(images.hashes[i] for i in rows)
    return dataclasses.replace(images, table=table, labels=images.labels[rows], hashes=hashes)


def test_probabilities_are_calibrated_and_of_the_weights_as_they_are(made, data):
    run, _ = made
    for images in (data.test, part(data.val, range(5)), part(data.val, range(5, 10)), data.test):
        np.testing.assert_allclose(
            run.probabilities(images), by_keras(run, images), rtol=1e-3, atol=1e-5
        )
    bias = run.model.classify.trainable_variables[-1]
    old, before = bias.numpy(), run.probabilities(data.test)
    bias.assign(old + np.float32([3, 0, -3]))
    try:
        after = run.probabilities(data.test)
        np.testing.assert_allclose(after, by_keras(run, data.test), rtol=1e-3, atol=1e-5)
    finally:
        bias.assign(old)
    assert np.abs(after - before).max() > 0.1
    right = before.argmax(1) == data.test.labels
    np.testing.assert_array_equal(run.correct(data.test), right)


def test_an_evaluation_is_of_the_images_it_is_given_and_filed_by_name(made, data):
    run, _ = made
    chances = by_keras(run, data.test)
    truth = chances[np.arange(len(chances)), data.test.labels]
    found = run.evaluate()
    assert found["log_loss"]["value"] == pytest.approx(-np.log(truth).mean(), rel=1e-4)
    assert found["accuracy"]["value"] == (chances.argmax(1) == data.test.labels).mean()
    assert found["n"] == len(data.test)
    assert run.evaluate(data.train)["n"] == len(data.train)
    assert run.evaluate(data.val, name="again")["n"] == len(data.val)
    filed = json.loads((run.folder / "metrics.json").read_text())
    assert list(filed) == ["val", "test", "train", "again"]
    assert filed["test"]["log_loss"] == found["log_loss"]
    assert filed["val"]["log_loss"] != filed["again"]["log_loss"]  # only the name was asked for
    with pytest.raises(TlkitError, match="no test image"):
        none = dataclasses.replace(data.test, table=data.test.table.select(np.array([], int)))
        run.evaluate(none)


def test_a_record_counts_what_was_trained(made):
    head, live = made[0].records
    convolutions, norms = (216, 864, 1728), (16, 24, 32)  # values; each norm has as many statistics
    everything = sum(convolutions) + 2 * sum(norms) + 51
    wanted = {
        "name": "head", "unfreeze": "head only", "boundary": "pooled", "trainable": 51,
        "frozen": everything - 51, "epochs": 4, "best_epoch": 2, "rates": [0.02], "views": 1,
        "audited": True,
    }  # fmt: skip
    assert {key: head[key] for key in wanted} == wanted
    wanted = {
        "name": "live", "unfreeze": "stage2", "boundary": "stage1", "epochs": 3, "best_epoch": 2,
        "trainable": 864 + 24 + 1728 + 32 + 51, "frozen": 216 + 2 * 16, "views": 2,
        "rates": [0.01, 0.005], "audited": True,
    }  # fmt: skip
    assert {key: live[key] for key in wanted} == wanted
    assert head["seconds"] > 0 and live["seconds"] > 0


def test_a_run_is_read_back_as_it_was(made, data):
    run, _ = made
    again = Run.open(run.folder)
    assert again.phases == run.phases and again.phases[1].l2 == {"stage3": 0.1}
    assert (again.seed, again.finished, again.stopped) == (11, True, "")
    assert again.history == run.history and again.records == run.records
    assert again.seconds == run.seconds > 0 and again.began == run.began
    assert {"python", "machine", "tensorflow", "keras", "numpy", "tlkit"} <= set(again.versions)
    assert again.model.class_names == UNSORTED
    assert again.data is None and again.require_data(SOURCE).fingerprint == data.fingerprint
    assert again.require_data() is again.data
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "classifier.json", "log.txt", "manifest.json", "metrics.json", "model.keras",
        "quarantine.csv", "run.json",
    ]  # fmt: skip
    assert json.loads((run.folder / "manifest.json").read_text())["rows"] == data.manifest["rows"]


def test_the_log_has_a_line_for_each_epoch(made):
    lines = (made[0].folder / "log.txt").read_text().splitlines()
    assert len([line for line in lines if " epoch " in line]) == 7
    (first,) = [line for line in lines if "epoch   1 head" in line]
    train = f"loss {(10 + 29 * 3) / 39:.4f} accuracy {6 / 39:.3f}"  # as the script says
    assert f"  {train}  validation loss 1.6000 accuracy 0.000  " in first
    assert datetime.datetime.fromisoformat(first.split()[0]).year > 2000
    assert any("cached 2 views of" in line and "at stage1" in line for line in lines)


@pytest.fixture(scope="module")
def told(made):
    run, _ = made
    (run.folder / "metrics.json").write_text("{}")
    return run_report.facts(run), run


def test_a_report_has_the_numbers_of_its_run(told, data):
    facts, run = told
    labels = SOURCE[1]
    counts = {
        role: {
            name: int(((data.splits == role) & (labels == i)).sum())
            for i, name in enumerate(UNSORTED)
        }
        for role in ("train", "val", "test")
    }
    assert facts.data.counts == counts and facts.data.class_names == UNSORTED
    assert list(facts.data.counts["train"]) == list(UNSORTED)
    head, live = facts.phases
    assert head.trainable == 51 and head.total == 3003 and head.views == 1
    assert head.frozen_equal is True and live.from_stage == "stage2"
    assert [row.best for row in facts.history] == [False, True] + 5 * [False]
    for told_row, row in zip(facts.history, run.history, strict=True):
        assert dataclasses.asdict(told_row).items() - row.items() == {("best", told_row.best)}
    assert facts.temperature == run.model.temperature
    assert facts.versions == run.versions
    assert str(run.folder) in facts.usage["Python"]


def test_a_report_has_the_settings_of_its_run(told):
    facts, run = told
    assert facts.title == "arrays"
    assert facts.settings == Settings(
        task="3 classes, 39 training images", backbone="tiny", weights="test values", size=32,
        resize="crop", channels=3, head="linear", seed=11,
        started=datetime.datetime.fromtimestamp(int(run.began)), seconds=run.seconds,
        folder=str(run.folder),
        phases={
            "head": "adamw, rate 0.02 cosine, decay 0.001, smoothing 0.1, augmentation none, "
            "batch 16",
            "live": "adamw, rate 0.01 step, decay 0.001, smoothing 0.1, augmentation flip, "
            "batch 16",
        },
        stopped="",
    )  # fmt: skip


def test_what_the_checks_found_is_written_and_reported(tmp_path):
    photos = write_pictures(tmp_path / "photos", 8)
    (photos / "red" / "page.jpg").write_text("<html></html>")
    (photos / "red" / "notes.txt").write_text("hello")
    data = load_images(photos, cache=False, max_bad=0.1)
    model = Classifier(tiny_backbone(), data.class_names)
    run = Run.create(tmp_path / "run", model, data, (HEAD,), 0)
    assert "page.jpg" in (run.folder / "quarantine.csv").read_text()
    facts = run_report.facts(run)
    ((name, reason),) = data.quarantine
    assert name.endswith("page.jpg") and reason
    assert facts.data.quarantine == ((name, reason),)
    assert facts.data.skipped == {".txt": 1}
    assert facts.data.warnings == data.warnings != ()
    assert facts.phases == facts.history == () and facts.evaluations == {}


def test_a_reports_pictures_are_those_that_were_judged(told, data):
    facts, run = told
    assert not facts.evaluations  # so the validation images are shown
    chances = dict(zip(data.val.files, by_keras(run, data.val), strict=True))
    wrong = {
        name: row[label]
        for (name, row), label in zip(chances.items(), data.val.labels, strict=True)
        if row.argmax() != label
    }
    worst = sorted(wrong, key=wrong.get)[: run_report.PICTURES]
    assert [picture.file for picture in facts.mistakes] == worst
    assert len(facts.samples) == min(run_report.PICTURES, len(data.val))
    for picture in facts.samples + facts.mistakes:
        place = int(picture.file.split()[1])
        np.testing.assert_array_equal(picture.image, SOURCE[0][place])
        row, label = chances[picture.file], SOURCE[1][place]
        assert picture.true == UNSORTED[label] and picture.predicted == UNSORTED[row.argmax()]
        assert picture.probability == pytest.approx(row.max(), rel=1e-3)
        assert picture.true_probability == pytest.approx(row[label], rel=1e-3)


def test_once_the_test_images_are_judged_a_report_shows_them(told, data):
    _, run = told
    run.evaluate()
    facts = run_report.facts(run)
    assert {picture.file for picture in facts.samples} <= set(data.test.files)
    assert list(facts.evaluations) == ["test"]
    page = tlkit.report(run)
    assert page == run.folder / "report.html"
    words = f"{100 * facts.evaluations['test']['accuracy']['value']:.1f} %"
    assert words in page.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_stopped_run_says_so_everywhere(data, tmp_path):
    script = Script({"all": [1.0, math.nan, 0.1, 0.1], "deeper": [0.1] * 4})
    whole = dataclasses.replace(HEAD, name="all", unfreeze="all", batch_norm="train")
    run = finished(tmp_path / "r", data, (whole, DEEPER), script, store=Store())
    assert run.finished and len(run.history) == 1 and len(run.records) == 1
    assert Run.open(run.folder).stopped == run.stopped != ""
    facts = run_report.facts(run)
    (phase,) = facts.phases
    assert facts.settings.stopped == run.stopped
    assert phase.trainable == phase.total == 2808 + 72 + 51
    assert phase.views is phase.frozen_equal is None  # drawn live; nothing was frozen
    chances = softmax(logits_of(1.0, data.val.labels), run.model.temperature)
    expected = -np.log(chances[np.arange(len(chances)), data.val.labels]).mean()
    found = json.loads((run.folder / "metrics.json").read_text())["val"]["log_loss"]["value"]
    assert found == pytest.approx(expected, rel=1e-6) and found < 1


def test_a_run_without_a_name_has_a_free_folder(data, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = load_images(photos, cache=False)
    given = (data, named, named)
    folders = [str(Run.create(None, new_model(), x, (HEAD,), 0).folder) for x in given]
    stem = f"runs/{photos.name}-tiny"
    assert folders == ["runs/arrays-tiny", stem, f"{stem}-2"]
