"""Linear probe, nearest neighbours and LogME against slow, independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit.errors import TlkitError
from tlkit.evaluation import logistic, probes
from tlkit.evaluation.folds import grouped_folds


def blobs(n=150, d=12, classes=3, apart=1.5, seed=0):
    """Returns features and labels of Gaussian classes, with scales that differ widely."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(n) % classes)
    centres = apart * draw.normal(size=(classes, d))
    return (centres[labels] + draw.normal(size=(n, d))) * np.geomspace(1e-2, 1e2, d), labels


def evidence_by_fixed_point(features, target):
    """Returns the log evidence per image as in the LogME paper, algorithm 1: matrices, no SVD."""
    n, d = features.shape
    prior = noise = 1.0
    for _ in range(3000):
        precision = prior * np.eye(d) + noise * features.T @ features
        mean = noise * np.linalg.solve(precision, features.T @ target)
        effective = d - prior * np.trace(np.linalg.inv(precision))
        before = prior, noise
        prior = effective / (mean @ mean)
        noise = (n - effective) / np.sum((features @ mean - target) ** 2)
        if np.allclose((prior, noise), before, rtol=1e-12):
            break
    precision = prior * np.eye(d) + noise * features.T @ features
    return (
        n * np.log(noise) + d * np.log(prior) - n * np.log(2 * np.pi)
        - noise * np.sum((features @ mean - target) ** 2) - prior * mean @ mean
        - np.linalg.slogdet(precision)[1]
    ) / (2 * n)  # fmt: skip


@pytest.mark.parametrize(("n", "d"), [(120, 8), (40, 60)])
def test_logme_equals_fixed_point(n, d):
    draw = np.random.default_rng(1)
    labels = np.arange(n) % 3
    features = draw.normal(size=(n, d)) + 0.8 * np.eye(3, d)[labels] + 0.5
    expected = np.mean([evidence_by_fixed_point(features, 1.0 * (labels == c)) for c in range(3)])
    assert probes.logme(features, labels) == pytest.approx(expected, abs=1e-6)


def test_logme_falls_with_noise():
    features, labels = blobs(apart=2.0)
    draw = np.random.default_rng(2)
    noise = draw.normal(size=features.shape) * features.std(0)
    values = [probes.logme(features + level * noise, labels) for level in (0, 0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_fit_equals_scikit_learn(penalty):
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs()
    rotated = logistic.rotate(features)
    part = np.arange(0, len(labels), 2)
    ours = logistic.fit(rotated, part, labels, 3, penalty).probabilities(rotated.rows)
    theirs = LogisticRegression(C=1 / (penalty * len(part)), tol=1e-8, max_iter=5000)
    theirs.fit(rotated.rows[part].astype(np.float64), labels[part])
    np.testing.assert_allclose(ours, theirs.predict_proba(rotated.rows), atol=3e-3)


@pytest.mark.parametrize("shape", [(60, 10), (30, 80)])
def test_rotation_keeps_distances(shape):
    x = np.random.default_rng(0).normal(size=shape)
    x[:, 3] = 7.0  # a dead channel must neither count nor divide by zero
    rows = logistic.rotate(x).rows.astype(np.float64)
    unit = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    unit /= np.sqrt((unit**2).sum(1).mean())
    np.testing.assert_allclose(rows @ rows.T, unit @ unit.T, atol=1e-4)
    across = rows.T @ rows
    assert np.abs(across - np.diag(np.diag(across))).max() < 1e-3
    full, few = logistic.rotate(x), logistic.rotate(x, axes=3)
    np.testing.assert_allclose(few.variances, full.variances[:3])
    np.testing.assert_allclose(full.variances, (rows**2).mean(0), rtol=1e-3)
    assert few.rows.shape == (len(x), 3) and (np.diff(full.variances) <= 0).all()


def test_start_does_not_change_the_answer():
    features, labels = blobs()
    rotated, part = logistic.rotate(features), np.arange(len(labels))
    strong = logistic.fit(rotated, part, labels, 3, 1.0)
    cold = logistic.fit(rotated, part, labels, 3, 1e-3).probabilities(rotated.rows)
    warm = logistic.fit(rotated, part, labels, 3, 1e-3, strong).probabilities(rotated.rows)
    np.testing.assert_allclose(cold, warm, atol=3e-3)


def test_out_of_fold_finds_classes_and_is_repeatable():
    features, labels = blobs(apart=3.0)
    chances = probes.out_of_fold(features, labels)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-9)
    assert (chances.argmax(1) == labels).mean() > 0.95
    np.testing.assert_array_equal(chances, probes.out_of_fold(features, labels))


def test_out_of_fold_promises_nothing_on_noise():
    draw = np.random.default_rng(3)
    features, labels = draw.normal(size=(400, 300)), np.arange(400) % 4
    found = probes.probe(features, labels, grouped_folds(labels))
    assert found.linear.low < 0.25 < found.linear.high
    assert found.knn.low < 0.25 < found.knn.high
    # The strongest penalty is as good as knowing nothing: no false confidence either.
    loss = -np.log(found.probabilities[np.arange(400), labels]).mean()
    assert loss < np.log(4) + 0.05


def test_no_image_is_judged_by_its_copy():
    draw = np.random.default_rng(4)
    once, labels = draw.normal(size=(120, 200)), np.arange(120) % 3  # nothing to learn
    features, labels = np.tile(once, (2, 1)), np.tile(labels, 2)
    clusters = np.tile(np.arange(120), 2)
    apart = grouped_folds(labels, clusters)
    leaky = grouped_folds(labels, seed=1)
    assert probes.probe(features, labels, leaky).knn.value > 0.7
    assert probes.probe(features, labels, apart).knn.value < 0.5
    assert probes.probe(features, labels, apart).linear.value < 0.5


def test_nearest_equals_a_loop():
    features, labels = blobs(n=60, apart=0.7)
    folds = grouped_folds(labels)
    x = features - features.mean(0)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    answers = {k: np.empty(60, int) for k in probes.NEIGHBOURS}
    for i in range(60):
        others = np.flatnonzero(folds != folds[i])
        order = others[np.argsort(-(x[others] @ x[i]))]
        for k, answer in answers.items():
            votes = [
                sum(1 + 1e-3 * x[j] @ x[i] for j in order[:k] if labels[j] == c) for c in range(3)
            ]
            answer[i] = int(np.argmax(votes))
    expected = np.empty(60, int)
    for fold in range(5):
        best = max(answers, key=lambda k: ((answers[k] == labels)[folds != fold].mean(), -k))
        expected[folds == fold] = answers[best][folds == fold]
    np.testing.assert_array_equal(probes.nearest(features, labels, folds), expected)


def test_a_probe_gives_each_number_its_own_name():
    """Two classes on alternate sectors of a circle: neighbours see them, no line does."""
    draw = np.random.default_rng(0)
    angle = draw.uniform(0, 2 * np.pi, 400)
    labels = (angle // (np.pi / 4)).astype(int) % 2
    features = np.stack([np.cos(angle), np.sin(angle)], 1)
    folds = grouped_folds(labels)
    found = probes.probe(features, labels, folds)
    assert found.linear.value < 0.65 and found.knn.value > 0.9
    assert found.linear.low < found.linear.value < found.linear.high
    assert found.logme == pytest.approx(probes.logme(features, labels))
    np.testing.assert_array_equal(found.correct, found.probabilities.argmax(1) == labels)
    assert found.linear.value == found.correct.mean()
    near = probes.nearest(features, labels, folds) == labels
    assert found.knn.value == near.mean() and (found.correct != near).any()
    assert found.linear == probes.accuracy(found.correct)


def test_the_penalty_is_chosen_by_the_other_folds():
    """Against scikit-learn: each fold is judged with what was best outside it."""
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs(n=90, apart=0.5)
    folds = grouped_folds(labels, count=3)
    rotated = logistic.rotate(features).rows.astype(np.float64)
    tried, losses = [], []
    for penalty in probes.PENALTIES[:4]:
        chances = np.empty((90, 3))
        for fold in range(3):
            part = folds != fold
            model = LogisticRegression(C=1 / (penalty * part.sum()), tol=1e-8, max_iter=5000)
            chances[~part] = model.fit(rotated[part], labels[part]).predict_proba(rotated[~part])
        tried.append(chances)
        losses.append(-np.log(chances[np.arange(90), labels]))
        if len(losses) > 1 and losses[-1].mean() > losses[-2].mean():
            break
    expected = np.empty((90, 3))
    for fold in range(3):
        best = int(np.stack(losses)[:, folds != fold].mean(1).argmin())
        expected[folds == fold] = tried[best][folds == fold]
    np.testing.assert_allclose(probes.out_of_fold(features, labels, folds), expected, atol=5e-3)


def test_an_interval_by_hand():
    correct = np.arange(400) < 320
    found = probes.accuracy(correct, bootstrap=4000)
    spread = 1.96 * (0.8 * 0.2 / 400) ** 0.5
    ends = 0.8 - spread, 0.8 + spread
    assert (found.low, found.high) == pytest.approx(ends, abs=0.003)
    assert probes.accuracy(correct, seed=1) != probes.accuracy(correct, seed=0)
    assert str(probes.Accuracy(0.8, 0.7, 0.9)) == "80.0 (70.0 to 90.0)"
    assert probes.accuracy(np.ones(10)).low == pytest.approx(0.05**0.1)
    assert probes.accuracy(np.zeros(10)).high == pytest.approx(1 - 0.05**0.1)


@given(st.integers(1, 300), st.data())
@settings(max_examples=25, deadline=None)
def test_interval_holds_the_value(n, data):
    right = data.draw(st.integers(0, n))
    found = probes.accuracy(np.arange(n) < right, bootstrap=200)
    assert 0 <= found.low <= found.value <= found.high <= 1
    if right in (0, n):  # a perfect score on few images is not perfect knowledge
        assert found.high - found.low == pytest.approx(1 - 0.05 ** (1 / n))


def test_interval_covers():
    draw = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        found = probes.accuracy(draw.random(150) < 0.8, seed=trial, bootstrap=300)
        held += found.low <= 0.8 <= found.high
    assert 0.89 <= held / 200 <= 0.99


def test_errors_say_what_is_missing():
    features, labels = blobs(n=30)
    with pytest.raises(TlkitError, match="29 labels"):
        probes.out_of_fold(features, labels[:-1], np.zeros(29, int))
    with pytest.raises(TlkitError, match="two classes"):
        probes.out_of_fold(features, np.zeros(30, int))
