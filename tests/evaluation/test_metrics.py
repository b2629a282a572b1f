import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tlkit.errors import TlkitError
from tlkit.evaluation.metrics import (
    Evaluation,
    evaluate,
    fit_temperature,
    paired_difference,
    softmax,
)


def task(n=400, classes=5, signal=1.5, seed=0):
    """Returns probabilities and labels of a fake classifier that is right more often than not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += signal
    return softmax(logits), labels


def names(classes):
    return [f"class {i}" for i in range(classes)]


def value(result, name):
    return result[name]["value"]


@pytest.mark.parametrize("classes", [2, 3, 5, 12])
def test_headlines_equal_scikit_learn(classes):
    probabilities, labels = task(classes=classes)
    predicted = probabilities.argmax(axis=1)
    result = evaluate(probabilities, labels, names(classes), bootstrap=0)
    assert value(result, "accuracy") == pytest.approx(sk.accuracy_score(labels, predicted))
    balanced = sk.balanced_accuracy_score(labels, predicted)
    assert value(result, "balanced_accuracy") == pytest.approx(balanced)
    macro = sk.f1_score(labels, predicted, average="macro")
    assert value(result, "macro_f1") == pytest.approx(macro)
    assert value(result, "log_loss") == pytest.approx(sk.log_loss(labels, probabilities))
    assert result["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    assert ("top3_accuracy" in result) == (classes > 3)
    if classes > 3:
        top3 = sk.top_k_accuracy_score(labels, probabilities, k=3)
        assert value(result, "top3_accuracy") == pytest.approx(top3)


def test_calibration_error_equals_its_definition():
    probabilities, labels = task(classes=4)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    expected = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    result = evaluate(probabilities, labels, names(4), bootstrap=0)
    assert value(result, "ece") == pytest.approx(expected)
    rows = result["reliability"]
    assert sum(row["count"] for row in rows) == len(labels)
    weighted = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows)
    assert weighted / len(labels) == pytest.approx(expected)


def test_bins_hold_their_upper_edge_and_not_their_lower():
    confidence = np.array([0.6, 0.6000001, 1.0, 0.55])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    rows = evaluate(probabilities, [0, 0, 0, 1], ["x", "y"], bootstrap=0)["reliability"]
    assert all(row["low"] < row["confidence"] <= row["high"] for row in rows)
    assert [row["count"] for row in rows] == [2, 1, 1]
    assert [row["accuracy"] for row in rows] == [0.5, 1, 1]


def test_interval_of_the_calibration_error_surrounds_it_even_when_it_is_small():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 3000)
    labels = (rng.random(3000) > confidence).astype(int)
    ece = evaluate(np.stack([confidence, 1 - confidence], 1), labels, ["x", "y"])["ece"]
    assert 0 <= ece["low"] < ece["value"] < ece["high"] < 0.04
    assert ece["value"] - ece["low"] == pytest.approx(ece["high"] - ece["value"], rel=0.5)


def test_result_is_json_and_repeatable():
    probabilities, labels = task(n=50)
    first = evaluate(probabilities, labels, names(5), bootstrap=50, seed=3)
    assert json.loads(json.dumps(first)) == first
    assert first == evaluate(probabilities, labels, names(5), bootstrap=50, seed=3)
    assert first["accuracy"] != evaluate(probabilities, labels, names(5), bootstrap=50)["accuracy"]


def test_interval_covers_the_truth_about_95_percent():
    checked = ("accuracy", "balanced_accuracy", "log_loss")
    truth = evaluate(*task(n=200_000, classes=3, seed=99), names(3), bootstrap=0)
    draws = [evaluate(*task(150, 3, seed=i), names(3), bootstrap=200) for i in range(100)]
    for name in checked:
        covered = [draw[name]["low"] <= value(truth, name) <= draw[name]["high"] for draw in draws]
        assert 0.89 <= np.mean(covered) <= 0.99, name


def test_a_perfect_score_is_not_certain():
    labels = np.arange(30) % 3
    result = evaluate(np.eye(3)[labels], labels, names(3), bootstrap=100)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert value(result, name) == result[name]["high"] == 1
        assert result[name]["low"] == pytest.approx(0.884, abs=1e-3)  # Clopper-Pearson for 30 of 30
    wrong = evaluate(np.eye(3)[(labels + 1) % 3], labels, names(3), bootstrap=100)
    assert wrong["accuracy"]["high"] == pytest.approx(0.116, abs=1e-3)


def test_classes_without_images_are_left_out_and_stated():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.eye(4)[[0, 3, 1, 1]]
    result = evaluate(probabilities, labels, ["ant", "bee", "cat", "dog"], bootstrap=20)
    assert result["absent_classes"] == ["cat", "dog"]
    assert value(result, "balanced_accuracy") == pytest.approx(0.75)
    assert value(result, "macro_f1") == pytest.approx((2 / 3 + 1) / 2)
    cat, dog = result["per_class"][2:]
    assert cat == {"name": "cat", "precision": None, "recall": None, "f1": None, "support": 0}
    assert dog["precision"] == 0 and dog["recall"] is None
    assert "No images of cat, dog" in str(Evaluation(result))


def test_most_confused_and_top_losses():
    labels = np.array([0, 0, 0, 1, 2])
    probabilities = np.array(
        [[0.1, 0.9, 0], [0.2, 0.8, 0], [0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [1, 0, 0]]
    )
    files = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    result = evaluate(probabilities, labels, ["x", "y", "z"], files=files, bootstrap=0)
    assert result["most_confused"] == [
        {"true": "x", "predicted": "y", "count": 2},
        {"true": "z", "predicted": "x", "count": 1},
    ]
    worst = result["top_losses"][0]
    assert (worst["file"], worst["true"], worst["predicted"]) == ("e.jpg", "z", "x")
    assert worst["true_probability"] == 0 and np.isfinite(worst["loss"])
    assert [row["index"] for row in result["top_losses"]] == [4, 0, 1, 3, 2]


def test_constant_predictions_get_no_credit_for_ties():
    labels = np.arange(100) % 10
    result = evaluate(np.full((100, 10), 0.1), labels, names(10), bootstrap=0)
    assert value(result, "accuracy") == pytest.approx(0.1)
    assert value(result, "top3_accuracy") == pytest.approx(0.3)


def test_summary_reads_well():
    probabilities, labels = task(n=1200)
    result = Evaluation(evaluate(probabilities, labels, names(5)))
    lines = str(result).splitlines()
    assert lines[0] == "1,200 images, 5 classes"
    share = 100 * result["accuracy"]["value"]
    assert lines[1].startswith(f"  accuracy           {share:.1f} % (")
    assert any(line.startswith("Most confused: ") for line in lines)
    assert "(" not in str(
        Evaluation(evaluate(probabilities, labels, names(5), bootstrap=0))["accuracy"]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probabilities": np.ones((4, 3))}, "sum to 1"),
        ({"probabilities": np.full((4, 3), np.nan)}, "sum to 1"),
        ({"probabilities": np.ones((4, 2)) / 2}, r"Expected probabilities of shape \(4, 3\)"),
        ({"labels": np.array([0, 1, 2, 3])}, "from 0 to 2"),
        ({"labels": np.array([0.0, 1, 2, 2])}, "must be integers"),
        ({"labels": np.array([], int)}, "no images"),
        ({"files": ["a.jpg"]}, "4 labels but 1 file names"),
    ],
)
def test_errors_say_what_is_wrong(change, words):
    given_ = {"probabilities": np.eye(3)[[0, 1, 2, 0]], "labels": np.array([0, 1, 2, 0])} | change
    with pytest.raises(TlkitError, match=words):
        evaluate(class_names=names(3), **given_)


def test_a_bad_row_is_named():
    probabilities = np.eye(2)[[0, 1, 0]] * [[1], [3], [1]]
    with pytest.raises(TlkitError, match=r"Image b\.jpg has the sum 3"):
        evaluate(probabilities, [0, 1, 0], ["x", "y"], files=["a.jpg", "b.jpg", "c.jpg"])


@settings(max_examples=40, deadline=None)
@given(
    classes=st.integers(2, 8),
    n=st.integers(1, 60),
    signal=st.floats(-2, 6),
    seed=st.integers(0, 2**16),
)
def test_every_result_is_consistent(classes, n, signal, seed):
    probabilities, labels = task(n, classes, signal, seed)
    result = evaluate(probabilities, labels, names(classes), bootstrap=30, seed=seed)
    assert np.sum(result["confusion"]) == n
    assert np.trace(result["confusion"]) == round(n * value(result, "accuracy"))
    assert sum(row["support"] for row in result["per_class"]) == n
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ece"):
        headline = result[name]
        assert 0 <= headline["low"] <= headline["high"] <= 1 and 0 <= headline["value"] <= 1
    for name in ("accuracy", "ece"):
        assert result[name]["low"] <= value(result, name) <= result[name]["high"]
    wrong = n - np.trace(result["confusion"])
    assert sum(pair["count"] for pair in result["most_confused"]) <= wrong
    assert str(Evaluation(result)).startswith(f"{n} images")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_order_of_images_does_not_matter(seed):
    probabilities, labels = task(40, 4, seed=seed)
    order = np.random.default_rng(seed).permutation(40)
    first = evaluate(probabilities, labels, names(4), bootstrap=0)
    second = evaluate(probabilities[order], labels[order], names(4), bootstrap=0)
    for name in ("accuracy", "macro_f1", "log_loss", "ece"):
        assert value(first, name) == pytest.approx(value(second, name))
    assert first["per_class"] == second["per_class"]


def calibrated_logits(n, seed=0):
    """Returns logits whose softmax is the true distribution of the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 2
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits)])
    return logits, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 20.0])
def test_temperature_is_recovered(temperature):
    logits, labels = calibrated_logits(4000)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.07)


def test_temperature_lowers_loss_and_keeps_the_ranking():
    logits, labels = calibrated_logits(500)
    hot = logits * 3
    fitted = softmax(hot, fit_temperature(hot, labels))
    assert (fitted.argmax(axis=1) == hot.argmax(axis=1)).all()
    before, after = (evaluate(p, labels, names(4), bootstrap=0) for p in (softmax(hot), fitted))
    assert value(after, "log_loss") < value(before, "log_loss")
    assert value(after, "ece") < value(before, "ece")


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.eye(3)[[0, 1, 2]], [0, 1, 2]),
        (np.zeros((50, 3)), np.arange(50) % 3),
        (np.eye(3)[np.arange(60) % 3] * 4, (np.arange(60) + 1) % 3),
    ],
    ids=["few images", "equal logits", "all wrong"],
)
def test_temperature_is_one_where_the_data_cannot_tell(logits, labels):
    assert fit_temperature(logits, labels) == 1.0


def test_temperature_with_every_image_right_stays_short_of_certainty():
    logits, labels = np.eye(3)[np.arange(60) % 3] * 4, np.arange(60) % 3
    chances = softmax(logits, fit_temperature(logits, labels))
    # The least smoothed loss gives the label 1 - s + s / 3 with s = 1 / (60 + 2).
    np.testing.assert_allclose(chances.max(1), 1 - 2 / 3 / 62, atol=1e-4)


def test_temperature_refuses_nan_and_softmax_refuses_zero():
    with pytest.raises(TlkitError, match="NaN"):
        fit_temperature(np.full((30, 2), np.nan), np.zeros(30, int))
    with pytest.raises(TlkitError, match="above 0"):
        softmax([1.0, 2.0], 0)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=6), st.floats(0.05, 50))
def test_softmax_is_a_distribution(logits, temperature):
    probabilities = softmax(logits, temperature)
    assert np.isfinite(probabilities).all() and probabilities.sum() == pytest.approx(1)


def test_paired_difference_against_direct_resampling():
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.9, rng.random(300) < 0.8
    result = paired_difference(a, b)
    drawn = rng.integers(0, 300, (5000, 300))
    direct = (a[drawn].mean(axis=1) - b[drawn].mean(axis=1)).astype(float)
    assert result["difference"] == pytest.approx(a.mean() - b.mean())
    assert result["low"] == pytest.approx(np.quantile(direct, 0.025), abs=0.01)
    assert result["high"] == pytest.approx(np.quantile(direct, 0.975), abs=0.01)


def outcomes(both, only_a, only_b, neither):
    counts = [both, only_a, only_b, neither]
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((80, 15, 0, 5), "+15.0 (+8.0 to +22.0): the first is better"),
        ((80, 0, 15, 5), "-15.0 (-22.0 to -8.0): the second is better"),
        ((80, 8, 7, 5), "cannot tell them apart"),
        ((90, 5, 0, 5), "they differ on only 5 images"),
        ((90, 0, 0, 10), "+0.0 (+0.0 to +0.0): right and wrong on the same images"),
    ],
)
def test_verdicts(counts, words):
    result = paired_difference(*outcomes(*counts))
    assert words in result["verdict"]
    json.dumps(result)


def test_paired_difference_wants_the_same_images():
    with pytest.raises(TlkitError, match="same images"):
        paired_difference([True, False], [True])


def test_equal_models_are_rarely_told_apart():
    rng = np.random.default_rng(5)
    draws = [paired_difference(*(rng.random((2, 80)) < 0.9), bootstrap=500) for _ in range(200)]
    assert np.mean(["better" in draw["verdict"] for draw in draws]) <= 0.06
