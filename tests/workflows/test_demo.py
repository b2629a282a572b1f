"""The demo teaches the digits 0-4 and judges what that is worth for 5-9, on images kept apart."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.command_line import tlkit
from tlkit.images.pixels import PixelRule
from tlkit.models.classifier import Classifier
from tlkit.training.run import Run
from tlkit.workflows import demo

DIGITS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4,
          "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKIT_HOME", str(folder / "home"))
        result = tlkit("demo", "--quick", "--out", folder / "demo")
    assert result.exit_code == 0, result.output
    return folder / "demo", result.stdout


def pictures(folder):
    """Returns the pixels of every picture below a folder, by its name and class."""
    return {
        (path.stem, path.parent.name): np.asarray(Image.open(path))
        for path in sorted(folder.rglob("*.png"))
    }


def test_digits_are_written_under_their_names_and_apart(tmp_path):
    demo.write_digits(tmp_path / "train", (3, 8), slice(0, 10))
    demo.write_digits(tmp_path / "test", (3, 8), slice(10, None))
    train, test = pictures(tmp_path / "train"), pictures(tmp_path / "test")
    collection = load_digits()
    assert {name for _, name in train} == {name for _, name in test} == {"three", "eight"}
    assert len(train) == 20 and not train.keys() & test.keys()
    assert len(train | test) == np.isin(collection.target, (3, 8)).sum()
    for digit in (3, 8):  # drawn from all of them: neighbours are by one hand
        examples = np.flatnonzero(collection.target == digit).tolist()
        ranks = [examples.index(int(stem)) for stem, name in train if DIGITS[name] == digit]
        assert min(ranks) < 60 and max(ranks) > 120
    for (stem, name), pixels in (train | test).items():
        assert pixels.shape == (32, 32) and collection.target[int(stem)] == DIGITS[name]
        small = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX))
        assert np.abs(small - collection.images[int(stem)] * 255 / 16).mean() < 20


def test_both_ways_take_as_many_epochs():
    for epochs in (2, 4, 30):
        head, rest = demo.transfer_phases(epochs)
        assert head.epochs + rest.epochs == epochs == demo.scratch_phase(epochs).epochs
        assert head.unfreeze is None and rest.unfreeze == "all" and head.epochs >= 1
        assert (head.rate, rest.rate) == (1e-2, 1e-3) and head.patience == rest.patience == 99
        assert (rest.decay, rest.batch_norm, head.batch_norm) == (1.0, "train", "frozen")
    whole = demo.scratch_phase(30)
    assert (whole.unfreeze, whole.batch_norm, whole.decay, whole.views) == ("all", "train", 1.0, 30)


def test_the_demo_itself_teaches_a_deep_net(tmp_path, monkeypatch):
    asked = {}

    def noted(model, data, phases, out):
        asked.update(model=model, data=data, phases=phases, out=out)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "fine_tune", noted)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path / "demo")
    assert asked["model"].backbone.name == "resnet-20" and len(asked["data"].table) == 600
    assert asked["model"].rule == PixelRule(32, "squash")
    assert asked["phases"] == [demo.scratch_phase(10)]
    assert asked["out"] == tmp_path / "demo" / "teacher"


def test_an_earlier_demo_is_kept(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(demo, "write_digits", lambda folder, *_: written.append(folder) or 1 / 0)
    for number in range(3):
        with pytest.raises(ZeroDivisionError):
            demo.run_demo(tmp_path / "demo")
        written[-1].mkdir(parents=True)
        assert written[-1].relative_to(tmp_path).parts[0] == ("demo", "demo-2", "demo-3")[number]


def test_the_demo_transfers_from_other_digits(said):
    folder, _ = said
    assert {name for _, name in pictures(folder / "digits_0-4")} == set(list(DIGITS)[:5])
    parts = {part: pictures(folder / "digits_5-9" / part) for part in ("train", "val", "test")}
    assert [len(parts[part]) for part in ("train", "val")] == [5 * demo.SHOTS, 50]
    assert all({name for _, name in part} == set(list(DIGITS)[5:]) for part in parts.values())
    assert len(set().union(*parts.values())) == sum(map(len, parts.values())) == 896


def test_the_pupil_begins_with_the_teacher_s_backbone(said):
    folder, _ = said
    teacher, transfer, scratch = (Run.open(folder / name) for name in
                                  ("teacher", "transfer", "scratch"))  # fmt: skip
    assert transfer.model.backbone.weights.startswith("trained on four, one, three, two, zero")
    assert scratch.model.backbone.weights.startswith("random")
    assert teacher.model.class_names == tuple(sorted(list(DIGITS)[:5]))
    assert (
        transfer.model.class_names == scratch.model.class_names == tuple(sorted(list(DIGITS)[5:]))
    )
    plans = [[(p.unfreeze, p.epochs) for p in run.phases] for run in (teacher, transfer, scratch)]
    assert plans == [[("all", 2)], [(None, 1), ("all", 3)], [("all", 4)]]
    phases = [phase for run in (teacher, transfer, scratch) for phase in run.phases]
    assert {(phase.augment, phase.batch_size, phase.smoothing) for phase in phases} == {
        ("digits", 16, 0.0)
    }


def test_the_numbers_that_are_told_are_those_of_the_test_images(said):
    folder, text = said
    shares = []
    for name in ("transfer", "scratch"):
        kept = json.loads((folder / name / "metrics.json").read_text())["test"]
        assert kept["n"] == 796
        shares.append(100 * kept["accuracy"]["value"])
    told = re.findall(r"^  accuracy +(\d+\.\d) %", text, re.MULTILINE)
    by_title = text.index("Transferred from 0-4") < text.index("From scratch")
    assert by_title and told == [f"{share:.1f}" for share in shares]
    difference = float(re.search(r"Transfer against scratch: ([+-]\d+\.\d) \(", text)[1])
    assert difference == pytest.approx(shares[0] - shares[1], abs=0.06)
    report = Path(re.search(r"Report: +(.+)", text)[1])
    assert report == folder / "transfer" / "report.html" and report.exists()


def test_the_prediction_is_of_a_test_picture_by_the_exported_model(said):
    folder, text = said
    found = re.search(r"Prediction: (.+) is '(\w+)' with probability (\d\.\d\d)", text)
    picture = Path(found[1])
    assert picture.parent == folder / "digits_5-9" / "test" / "seven"
    model = Classifier.load(folder / "transfer")
    (chances,) = model.predict([picture])
    assert found[2] == model.class_names[chances.argmax()]
    assert float(found[3]) == pytest.approx(chances.max(), abs=0.006)
