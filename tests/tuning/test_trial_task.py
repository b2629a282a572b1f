"""What a trial is told is trained, on the images it may see, and its score is calibrated."""

import dataclasses
import math

import numpy as np
import pytest

from tests import searches
from tests.conftest import tiny_backbone
from tests.searches import PLAN, nothing
from tlkit import files
from tlkit.evaluation import calibration
from tlkit.images import subset
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.models.heads import Head
from tlkit.training.run import Run
from tlkit.tuning import trial

HEAD = dataclasses.replace(PLAN[0], epochs=1, views=1)


@pytest.fixture(scope="module")
def images(photos, tmp_path_factory):
    return searches.read(photos, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def model(images):
    return Classifier(tiny_backbone(), images.class_names, size=PixelRule(32, "pad"))


@pytest.fixture(scope="module")
def start(model, images, tmp_path_factory):
    """A folder with the untrained model and the manifest, as a study has them."""
    folder = tmp_path_factory.mktemp("study")
    model.save(folder / "start")
    files.write_json(folder / "manifest.json", images.manifest)
    return folder


@pytest.fixture
def job(start, tmp_path):
    def told(*phases, **fields):
        return {
            "manifest": str(start / "manifest.json"), "model": str(start / "start"),
            "head": {"kind": "linear", "dropout": 0.2, "init": "zero"},
            "phases": [dataclasses.asdict(phase) for phase in phases or (HEAD,)], "seed": 0,
            "images": None, "engine": "constants", "store": str(tmp_path / "rows"),
            "deadline": None, "out": None, **fields,
        }  # fmt: skip

    return told


def log_loss(logits, labels, temperature=1.0):
    scaled = np.asarray(logits, np.float64) / temperature
    chances = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    return -np.log(chances[np.arange(len(labels)), labels]).mean()


# Steps so small that the head is right more often than it dares to say.
MODEST = dataclasses.replace(
    HEAD, epochs=2, rate=0.003, optimizer="sgd", schedule="constant", warmup=0.0, smoothing=0.0
)


@pytest.fixture
def kept(job, tmp_path):
    """A run that is kept, as a finalist's, with what its process said."""
    events = []
    head = {"kind": "concat_pool", "dropout": 0.4, "init": "zero"}
    phases = (MODEST, dataclasses.replace(PLAN[1], epochs=1, views=1, rate=1e-6))
    told = job(*phases, out=str(tmp_path / "0003-5"), seed=5, head=head)
    (tmp_path / "0003-5").mkdir()
    (tmp_path / "0003-5" / "run.json").write_text("of an interrupted attempt")
    result = trial.train(told, lambda **event: events.append(event), tmp_path)
    return Run.open(tmp_path / "0003-5"), result, events, phases


def test_a_finalist_is_trained_as_it_is_told_and_kept(kept, images, model, tmp_path):
    run, result, events, phases = kept
    assert run.finished and run.phases == phases and run.seed == 5
    assert run.model.head == Head("concat_pool", 0.4)
    assert run.model.rule == model.rule and run.model.class_names == images.class_names
    assert run.model.backbone.weights == "test values"
    assert len(run.require_data().train) == 72 and len(run.require_data().val) == 30
    _check_the_score(run, result, images)
    _check_the_events(run, result, events)


def _check_the_score(run, result, images):
    """The loss is that of the logits which are kept, and these are calibrated."""
    calibrated = np.load(run.folder / "val_logits.npy")
    labels = images.val.labels
    assert result["loss"] == pytest.approx(log_loss(calibrated, labels), rel=1e-5)
    assert result["accuracy"] == (calibrated.argmax(1) == labels).mean()
    temperature = run.model.temperature
    assert temperature < 0.8  # else nothing below could tell
    raw = log_loss(calibrated, labels, 1 / temperature)
    assert raw == pytest.approx(min(row["val_loss"] for row in run.history), rel=1e-4)
    assert result["loss"] < raw - 0.01


def _check_the_events(run, result, events):
    assert [event["event"] for event in events] == ["ready", "epoch", "epoch", "epoch"]
    assert [event["epoch"] for event in events[1:]] == [1, 2, 3]
    assert [event["phase"] for event in events[1:]] == ["head", "head", "tail"]
    losses = [row["val_loss"] for row in run.history]
    assert [event["val_loss"] for event in events[1:]] == losses
    assert result["curve"] == pytest.approx(losses, abs=1e-5) and result["epochs"] == 3
    assert (result["status"], result["message"]) == ("done", "")


def test_a_trial_is_scored_after_calibration(job, images, tmp_path):
    result = trial.train(job(MODEST), nothing, tmp_path)
    assert result["status"] == "done" and result["epochs"] == 2
    # The least of the curve is the raw loss of the weights that are judged.
    assert result["loss"] < min(result["curve"]) - 0.01


def test_a_trial_is_repeatable_and_leaves_the_start_as_it_was(job, start, model, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    told = job(HEAD, dataclasses.replace(PLAN[1], epochs=1, views=1))
    first, again = (trial.train(told, nothing, scratch) for _ in range(2))
    assert first == again and not list(scratch.iterdir())
    other = trial.train({**told, "seed": 1}, nothing, scratch)
    assert other["loss"] != first["loss"]


def test_a_trial_stops_after_the_epoch_in_which_time_is_up(job, tmp_path):
    out = tmp_path / "out"
    two = dataclasses.replace(HEAD, epochs=2)
    result = trial.train(job(two, deadline=0.0, out=str(out)), nothing, tmp_path)
    assert (result["status"], result["epochs"]) == ("cut", 1)
    assert result["message"] == trial.TIME_UP
    assert not (out / "val_logits.npy").exists()  # or it might be taken for a finalist
    assert trial.train(job(deadline=1e12), nothing, tmp_path)["status"] == "done"


@pytest.mark.parametrize("rate", [1.0, 1e30], ids=["diverging", "not finite"])
def test_divergence_prunes(job, tmp_path, rate):
    result = trial.train(job(dataclasses.replace(MODEST, rate=rate), seed=5), nothing, tmp_path)
    assert result["status"] == "pruned" and result["message"]
    assert result["epochs"] == (1 if rate == 1.0 else 0)


def test_nearly_three_times_the_loss_of_guessing_is_allowed(job, tmp_path):
    result = trial.train(job(dataclasses.replace(MODEST, rate=0.8), seed=5), nothing, tmp_path)
    assert 0.9 < result["curve"][0] / (3 * math.log(3)) < 1
    assert (result["status"], result["epochs"]) == ("done", 2)


# The images of a trial


def seen(monkeypatch, job, tmp_path):
    """Returns the run that a trial is about to train."""
    from tlkit.training import session

    found = []

    class Ended(Exception):
        pass

    def begun(run, *_):
        found.append(run)
        raise Ended

    monkeypatch.setattr(session, "Session", begun)
    with pytest.raises(Ended):
        trial.train(job, nothing, tmp_path)
    return found[0]


def test_a_trial_sees_its_share_of_the_training_images_and_no_test_image(
    job, images, tmp_path, monkeypatch
):
    data = seen(monkeypatch, job(images=36), tmp_path).require_data()
    assert len(data.test) == 0
    assert data.val.hashes == images.val.hashes
    assert np.bincount(data.train.labels).tolist() == [12, 12, 12]
    assert set(data.train.hashes) < set(images.train.hashes)


def test_without_a_number_a_trial_sees_every_training_image(job, images, tmp_path, monkeypatch):
    seen(monkeypatch, job(images=36), tmp_path)
    run = seen(monkeypatch, job(images=None), tmp_path)  # not what was kept of the one before
    data = run.require_data()
    assert data.train.hashes == images.train.hashes
    assert len(data.test) == 0 and data.val.hashes == images.val.hashes


def test_the_next_job_may_be_of_another_search(job, images, model, photos, tmp_path, monkeypatch):
    seen(monkeypatch, job(), tmp_path)
    data = searches.read(photos, tmp_path / "home", seed=1)
    files.write_json(tmp_path / "manifest.json", data.manifest)
    Classifier(tiny_backbone(seed=1), data.class_names).save(tmp_path / "start")
    other = job(manifest=str(tmp_path / "manifest.json"), model=str(tmp_path / "start"))
    run = seen(monkeypatch, other, tmp_path)
    assert run.require_data().train.hashes == data.train.hashes != images.train.hashes
    kernel, wanted, before = (
        one.backbone.net.weights[0].numpy()
        for one in (run.model, Classifier.load(tmp_path / "start"), model)
    )
    np.testing.assert_array_equal(kernel, wanted)
    assert not np.array_equal(kernel, before) and run.model.rule.resize == "crop"


def test_a_subset_keeps_the_shares_of_the_classes():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    np.random.default_rng(1).shuffle(labels)
    chosen = subset.stratified(labels, 90)
    assert len(np.unique(chosen)) == len(chosen) and (np.diff(chosen) > 0).all()
    assert np.bincount(labels[chosen]).tolist() == [60, 30, 1]
    np.testing.assert_array_equal(chosen, subset.stratified(labels, 90))
    assert len(subset.stratified(labels, 10_000)) == 903
    mine = np.flatnonzero(labels == 0)  # drawn, not the first ones
    assert chosen[labels[chosen] == 0].tolist() != mine[:60].tolist()


def test_the_temperature_of_a_trial_is_the_one_of_its_logits():
    """The score is what calibration makes of the logits: no factor on them changes it."""
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    logits = draw.normal(0, 1, (60, 3))
    logits[np.arange(60), labels] += 1.0
    losses = [
        log_loss(logits * factor, labels, calibration.fit_temperature(logits * factor, labels))
        for factor in (0.5, 1.0, 8.0)
    ]
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)
