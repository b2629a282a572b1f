"""Numbers about predictions from one small case with all counts known, classes not in order."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tlkit.evaluation.bootstrap import paired_difference, resamples
from tlkit.evaluation.metrics import Evaluation, evaluate, fit_temperature, headline_text

NAMES = ["zebra", "ant", "moth", "bee", "yak"]
# Rows are true classes; no yak is there, though one is predicted. No two cells are alike.
MATRIX = np.array([
    [6, 3, 0, 1, 1],
    [5, 8, 2, 0, 0],
    [0, 4, 7, 0, 0],
    [0, 0, 0, 2, 0],
    [0, 0, 0, 0, 0],
])  # fmt: skip


def case():
    """Returns probabilities and labels that make `MATRIX`, .6 on what is predicted."""
    true, predicted = (
        np.repeat(axis, MATRIX.ravel()) for axis in np.indices((5, 5)).reshape(2, -1)
    )
    probabilities = np.full((len(true), 5), 0.1)
    probabilities[np.arange(len(true)), predicted] = 0.6
    return probabilities, true


@pytest.fixture(scope="module")
def result():
    return evaluate(*case(), NAMES, bootstrap=0)


def test_the_confusion_has_true_classes_as_rows(result):
    assert result["confusion"] == MATRIX.tolist()
    assert result["class_names"] == NAMES and result["absent_classes"] == ["yak"]


def test_precision_and_recall_by_hand(result):
    rows = {row["name"]: row for row in result["per_class"]}
    assert [row["name"] for row in result["per_class"]] == NAMES
    assert rows["zebra"]["recall"] == pytest.approx(6 / 11)
    assert rows["zebra"]["precision"] == pytest.approx(6 / 11)
    assert (rows["ant"]["recall"], rows["ant"]["precision"]) == pytest.approx((8 / 15, 8 / 15))
    assert (rows["moth"]["recall"], rows["moth"]["precision"]) == pytest.approx((7 / 11, 7 / 9))
    assert (rows["bee"]["recall"], rows["bee"]["precision"]) == pytest.approx((1, 2 / 3))
    assert rows["moth"]["f1"] == pytest.approx(14 / 20) and rows["bee"]["f1"] == pytest.approx(0.8)
    assert [row["support"] for row in result["per_class"]] == [11, 15, 11, 2, 0]
    assert (rows["yak"]["recall"], rows["yak"]["f1"], rows["yak"]["precision"]) == (None, None, 0)


def test_headlines_by_hand(result):
    recalls = [6 / 11, 8 / 15, 7 / 11, 1]
    assert result["accuracy"]["value"] == pytest.approx(23 / 39)
    assert result["balanced_accuracy"]["value"] == pytest.approx(np.mean(recalls))
    assert result["macro_f1"]["value"] == pytest.approx((12 / 22 + 16 / 30 + 14 / 20 + 4 / 5) / 4)
    assert result["log_loss"]["value"] == pytest.approx(-(23 * np.log(0.6) + 16 * np.log(0.1)) / 39)
    assert result["ece"]["value"] == pytest.approx(0.6 - 23 / 39)
    assert result["mean_confidence"] == pytest.approx(0.6) and result["n"] == 39


def test_the_first_three_hold_the_true_class():
    probabilities = np.array([
        [0.4, 0.3, 0.2, 0.06, 0.04],  # true: third
        [0.06, 0.2, 0.3, 0.4, 0.04],  # fourth
        [0.4, 0.2, 0.1, 0.1, 0.2],  # third of two equal ones, and the first of them
        [0.4, 0.3, 0.1, 0.1, 0.1],  # after two equal ones
        [0.9, 0.1, 0.0, 0.0, 0.0],  # first
    ])  # fmt: skip
    found = evaluate(probabilities, [2, 0, 4, 4, 0], NAMES, bootstrap=0)
    assert found["top3_accuracy"]["value"] == pytest.approx(3 / 5)
    assert found["accuracy"]["value"] == pytest.approx(1 / 5)


def test_the_most_confused_pairs_are_true_then_predicted(result):
    pairs = [(row["true"], row["predicted"], row["count"]) for row in result["most_confused"]]
    assert pairs == [
        ("ant", "zebra", 5), ("moth", "ant", 4), ("zebra", "ant", 3), ("ant", "moth", 2),
        ("zebra", "bee", 1), ("zebra", "yak", 1),
    ]  # fmt: skip


def test_no_more_than_ten_pairs_and_twenty_losses_are_shown():
    matrix = np.arange(1, 26).reshape(5, 5)
    true, predicted = (
        np.repeat(axis, matrix.ravel()) for axis in np.indices((5, 5)).reshape(2, -1)
    )
    found = evaluate(np.eye(5)[predicted], true, NAMES, bootstrap=0)
    assert [row["count"] for row in found["most_confused"]] == [
        24, 23, 22, 21, 20, 18, 17, 16, 15, 14
    ]  # fmt: skip
    assert len(found["top_losses"]) == 20
    assert all(row["true"] != row["predicted"] for row in found["top_losses"])


def test_the_worst_images_have_all_their_facts():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.05, 0.15, 0.8], [0.3, 0.6, 0.1]])
    files = ["b.jpg", "a.jpg", "c.jpg"]
    found = evaluate(probabilities, [0, 1, 0], NAMES[:3], files=files, bootstrap=0)
    first, second, third = found["top_losses"]
    assert first == {
        "index": 1, "file": "a.jpg", "true": "ant", "predicted": "moth", "probability": 0.8,
        "true_probability": 0.15, "loss": pytest.approx(-np.log(0.15)),
    }  # fmt: skip
    assert (second["file"], third["file"]) == ("c.jpg", "b.jpg")
    unnamed = evaluate(probabilities, [0, 1, 0], NAMES[:3], bootstrap=0)["top_losses"]
    assert unnamed[0]["file"] is None


def test_what_a_person_reads(result):
    assert str(Evaluation(result)).splitlines() == [
        "39 images, 5 classes",
        "  accuracy           59.0 %",
        f"  balanced accuracy  {100 * result['balanced_accuracy']['value']:.1f} %",
        "  macro F1           64.5 %",
        "  top-3 accuracy     100.0 %",
        f"  log loss           {result['log_loss']['value']:.3f}",
        "  calibration error  1.0 %",
        "Most confused: ant as zebra (5), moth as ant (4), zebra as ant (3).",
        "Weakest class: ant, 53% of 15 images found.",
        "No images of yak: balanced accuracy and macro F1 are over 4 of 5 classes.",
    ]
    headline = {"value": 0.5914, "low": 0.4, "high": 0.75}
    assert headline_text("accuracy", headline) == "59.1 % (40.0 to 75.0)"
    assert headline_text("log_loss", headline) == "0.591 (0.400 to 0.750)"


def test_a_perfect_result_names_no_weakest_class():
    said = str(Evaluation(evaluate(np.eye(3), [0, 1, 2], NAMES[:3], bootstrap=20)))
    assert "Weakest" not in said and "confused" not in said
    assert "In brackets: 95 % bootstrap interval, 20 resamples." in said


def test_reliability_bins_are_fifteen():
    confidence = np.array([0.99, 0.94, 0.52, 0.51])
    probabilities = np.stack([1 - confidence, confidence], 1)
    rows = evaluate(probabilities, [1, 0, 1, 1], ["b", "a"], bootstrap=0)["reliability"]
    assert [(row["low"], row["high"], row["count"]) for row in rows] == [
        (pytest.approx(7 / 15), pytest.approx(8 / 15), 2), (pytest.approx(14 / 15), 1, 2)
    ]  # fmt: skip
    assert [row["accuracy"] for row in rows] == [1, 0.5]
    assert [row["confidence"] for row in rows] == pytest.approx([0.515, 0.965])


def test_intervals_are_the_tails_of_scores_on_drawn_images():
    """Each draw is scored anew, by scikit-learn and by hand."""
    probabilities, labels = case()
    found = evaluate(probabilities, labels, NAMES, bootstrap=60, seed=4)
    counts = np.concatenate(list(resamples(len(labels), 60, 4))).astype(int)
    assert counts.shape == (60, 39) and (counts.sum(1) == 39).all()
    scores = {name: [] for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")}
    for count in counts:
        true, given = np.repeat(labels, count), np.repeat(probabilities, count, 0)
        said, present = given.argmax(1), np.unique(true)
        scores["accuracy"].append(sk.accuracy_score(true, said))
        recall = sk.recall_score(true, said, average="macro", labels=present)
        scores["balanced_accuracy"].append(recall)
        scores["macro_f1"].append(sk.f1_score(true, said, average="macro", labels=present))
        scores["log_loss"].append(sk.log_loss(true, given, labels=range(5)))
    for name, drawn in scores.items():
        ends = found[name]["low"], found[name]["high"]
        assert ends == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975]))), name
    other = evaluate(probabilities, labels, NAMES, bootstrap=60, seed=5)
    assert other["accuracy"] != found["accuracy"] and found["bootstrap"] == 60


def test_blocks_of_any_size_draw_the_same():
    whole = np.concatenate(list(resamples(60, 40, 3)))
    parts = list(resamples(60, 40, 3, block=60 * 7))
    assert [len(part) for part in parts] == [7] * 5 + [5]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_comparison_by_hand():
    first = np.array([1, 1, 1, 0, 0, 1, 1, 0])
    second = np.array([1, 0, 0, 0, 1, 0, 0, 0])
    found = paired_difference(first, second)
    assert (found["only_first"], found["only_second"], found["n"]) == (4, 1, 8)
    assert found["difference"] == 3 / 8 and found["p_value"] == pytest.approx(2 * 6 / 32)
    assert found["low"] < 3 / 8 < found["high"]


def test_twenty_images_are_enough_for_a_temperature():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 20)
    logits = 8 * (np.eye(3)[labels] + rng.normal(0, 0.8, (20, 3)))
    assert fit_temperature(logits, labels) != 1.0
    assert fit_temperature(logits[:19], labels[:19]) == 1.0
