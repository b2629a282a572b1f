"""Confident learning, far images and the list of doubts, each from a case made by hand."""

import dataclasses

import numpy as np
import pytest

from tlkit.labels import confident_learning, doubts, outliers, worklist
from tlkit.labels.confident_learning import Clean

# Given labels in the first column; of four classes the last has no image.
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
CHANCES = np.array([
    [0.90, 0.05, 0.03, 0.02],
    [0.70, 0.10, 0.15, 0.05],
    [0.05, 0.85, 0.05, 0.05],  # called 0, surely a 1
    [0.10, 0.80, 0.05, 0.05],
    [0.20, 0.60, 0.10, 0.10],
    [0.05, 0.05, 0.80, 0.10],
    [0.02, 0.03, 0.05, 0.90],  # the class without images cannot be anyone's
    [0.30, 0.20, 0.35, 0.15],  # below every threshold
])  # fmt: skip
NAMES = ("wolf", "cat", "eel", "ape")


def clean(least=0.0, chances=CHANCES):
    return Clean(chances, 1.0, least, least)


def test_thresholds_are_the_mean_chance_of_those_so_labelled():
    expected = [(0.9 + 0.7 + 0.05) / 3, 0.7, (0.8 + 0.05 + 0.35) / 3, np.inf]
    np.testing.assert_allclose(confident_learning.thresholds(CHANCES, LABELS), expected)


def test_no_image_is_put_into_a_class_without_images():
    np.testing.assert_array_equal(
        confident_learning.confident_labels(CHANCES, LABELS), [0, 0, 1, 1, -1, 2, -1, -1]
    )
    joint = confident_learning.joint_estimate(CHANCES, LABELS)
    assert not joint[:, 3].any() and not joint[3].any()
    # Counted: 2 and 1 of three wolves, 1 of two cats, 1 of three eels; scaled to the labels.
    np.testing.assert_allclose(joint[:3, :3] * 8, [[2, 1, 0], [0, 2, 0], [0, 0, 3]])


def test_a_class_of_which_no_one_is_sure_stays_as_labelled():
    chances, labels = np.array([[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]]), np.array([0, 1, 1])
    np.testing.assert_array_equal(confident_learning.confident_labels(chances, labels), [0, 1, 0])
    found = confident_learning.joint_estimate(
        np.array([[0.9, 0.1], [0.55, 0.45]]), np.array([0, 1])
    )
    np.testing.assert_allclose(found, [[0.5, 0], [0, 0.5]])


def test_the_chance_that_a_label_is_wrong():
    right, drawn = np.array([0.9, 0.05, 0.6]), 0.2 / 4  # a fifth of all labels is drawn at random
    expected = drawn * (1 - right) / (0.8 * right + drawn)
    found = confident_learning.chance_wrong(clean(0.2), LABELS)
    np.testing.assert_allclose(found[[0, 2, 4]], expected, rtol=1e-6)
    assert found[2] == pytest.approx(0.0475 / 0.09)  # likelier wrong than right
    assert not confident_learning.chance_wrong(clean(0.0), LABELS).any()
    assert clean(0.2).wrong == pytest.approx(0.15)  # a quarter of those drawn is right by chance


def test_margins_and_the_best_other_class():
    margins = confident_learning.margins_of(CHANCES[[2, 7]])
    np.testing.assert_allclose(margins, [[-0.8, 0.8, -0.8, -0.8], [-0.05, -0.15, 0.05, -0.2]])
    np.testing.assert_array_equal(
        confident_learning.best_other(CHANCES, LABELS), [1, 2, 1, 0, 0, 3, 3, 0]
    )
    assert CHANCES[2, 0] == 0.05, "the probabilities are left alone"


def test_a_label_is_wrong_where_another_is_sure():
    wrong, margins = confident_learning.label_errors(clean(0.2), LABELS, 0.01)
    assert np.flatnonzero(wrong).tolist() == [2]
    np.testing.assert_allclose(margins[[0, 2, 6]], [0.85, -0.8, -0.85])
    assert not confident_learning.label_errors(clean(0.0), LABELS, 1e-9)[0].any()
    # Were labels drawn from these rows, margins up to -.8 would come to (.02 + .03 + .05) / 8,
    # and then each further one of .05 to .05 / 8 more; half the rate may do so.
    assert confident_learning.label_errors(clean(0.0), LABELS, 0.2)[0][2]
    assert not confident_learning.label_errors(clean(0.0), LABELS, 0.02)[0].any()


def test_copies_follow_most_of_them_or_else_the_probabilities():
    labels = np.array([0, 1, 1, 2, 2, 0, 1])
    clusters = np.array([5, 5, 5, 8, 8, 9, 9])
    chances = np.full((7, 3), 1 / 3)
    chances[5:] = [[0.03, 0.02, 0.95], [0.02, 0.08, 0.9]]  # cat, not wolf; no one said eel
    found = confident_learning.contradictions(labels, clusters, chances)
    assert found == [(0, 1, 1), (5, 6, 1)]
    assert confident_learning.contradictions(labels, None, chances) == []


def around(angle):
    return np.cos(np.radians(angle)), np.sin(np.radians(angle))


def test_distance_is_to_the_five_nearest_others_of_the_class():
    """Angles between directions; each class is compared with itself."""
    own = [0, 1, 3, 4.5, 8, 10, 11, 15, 21, 24, 30, 90]
    nine = [0.5, 2, 6, 7, 9, 13, 14, 18, 19]
    features = np.array([around(angle) for angle in [*own, *nine]])
    labels = np.array([0] * 12 + [1] * 9)
    far = outliers.class_distance(features * np.arange(1, 22)[:, None], labels)

    def centred(angles):
        logs = []
        for place, angle in enumerate(angles):
            apart = sorted(abs(angle - x) for i, x in enumerate(angles) if i != place)
            logs.append(np.log(np.mean([1 - np.cos(np.radians(a)) for a in apart[:5]]) + 1e-6))
        return np.array(logs) - np.median(logs)

    def spread(values):
        return 1.4826 * np.median(np.abs(values))

    first, second = centred(own), centred(nine)
    np.testing.assert_allclose(far[:12], first / spread(first), rtol=0.02, atol=0.02)
    # Nine are too few for a deviation of their own: that of all is taken.
    common = spread(np.concatenate([first, second]))
    np.testing.assert_allclose(far[12:], second / common, rtol=0.02, atol=0.02)
    assert far[:12].argmax() == 11 and far[11] > outliers.FAR > far[:11].max()


def evidence(**changes):
    files = [f"{name}.png" for name in "hgfedcba"]
    features = np.random.default_rng(0).normal(size=(8, 3))
    given = doubts.Evidence(files, LABELS, NAMES, CHANCES, features)
    return dataclasses.replace(given, **changes)


def test_a_doubt_says_what_speaks_against_the_label():
    clusters = np.array([0, 1, 2, 3, 4, 5, 6, 4])  # a cat and an eel are one picture
    found = doubts.find(evidence(clusters=clusters), rate=0.49)
    listed = {doubt.row: doubt for doubt in found.doubts}
    copy = listed[7]
    assert (copy.file, copy.label, copy.suggested, copy.score) == ("a.png", "eel", "cat", 1.0)
    assert copy.reasons == ("the same picture as d.png, labelled cat",)
    wrong = listed[2]
    assert (wrong.file, wrong.label, wrong.suggested) == ("f.png", "wolf", "cat")
    softened = found.temperature
    logits = np.log(CHANCES[2]) / softened
    here = np.exp(logits) / np.exp(logits).sum()
    assert wrong.reasons[0] == f"looks like cat ({here[1]:.3f}), not like wolf ({here[0]:.3f})"
    assert wrong.score == pytest.approx((1 + here[1] - here[0]) / 2)
    assert [doubt.score for doubt in found.doubts] == sorted(
        (doubt.score for doubt in found.doubts), reverse=True
    )
    assert (found.count, found.rate) == (8, 0.49)


def test_equal_doubts_are_in_the_order_of_their_files():
    clusters = np.array([0, 0, 0, 0, 4, 5, 6, 5])
    labels = np.array([0, 1, 2, 0, 1, 1, 2, 2])
    found = doubts.find(evidence(clusters=clusters, labels=labels), rate=1e-6)
    sure = [doubt.file for doubt in found.doubts if doubt.score == 1]
    assert sure == sorted(sure) and len(sure) == 3


def test_a_far_image_is_a_lesser_doubt(monkeypatch):
    far = np.zeros(8)
    far[[4, 7]] = 8.0, 4.0
    asked = []

    def class_distance(features, labels, clusters=None):
        asked.append((features, labels, clusters))
        return far

    monkeypatch.setattr(outliers, "class_distance", class_distance)
    given = evidence(clusters=np.arange(8))
    found = doubts.find(given, rate=1e-6)
    (doubt,) = [doubt for doubt in found.doubts if doubt.row in (4, 7)]
    assert (doubt.row, doubt.label, doubt.suggested, doubt.score) == (4, "cat", "", 0.625)
    assert doubt.reasons == ("far from the other images of cat (8.0 deviations)",)
    assert asked[0][0] is given.features and asked[0][2] is given.clusters
    far[2] = 8.0
    both = next(doubt for doubt in doubts.find(given, rate=0.49).doubts if doubt.row == 2)
    assert both.suggested == "cat" and both.score > 0.625, "the worst reason is the first"
    assert [words.split()[0] for words in both.reasons] == ["looks", "far"]


def test_the_list_says_how_long_it_would_be_if_all_were_right():
    doubt = worklist.Doubt(0, "a", "cat", "", 0.5, ())
    work = worklist.Worklist((doubt,) * 12, 1200, 0.01, 0.034, np.eye(2), 1.0)
    assert work.summary() == (
        "12 of 1,200 labels are in doubt; about 3.4 % are estimated to be wrong. Were all labels "
        "right, up to about 12 would be listed. This is no more than that."
    )
    assert dataclasses.replace(work, doubts=(doubt,) * 13).summary().endswith("would be listed.")
