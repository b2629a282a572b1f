"""A known power law is recovered, intervals hold, and nothing is promised without evidence."""

import json

import numpy as np
import pytest

from tlkit.errors import TlkitError
from tlkit.evaluation import more_images

SIZES = np.array([30, 60, 120, 240, 480, 800])


def simulated(seed, a=0.05, b=0.9, c=0.5, n=1000, repeats=10):
    """Images of differing difficulty, wrong as often as the power law says."""
    rng = np.random.default_rng(seed)
    tested = (np.arange(n)[None] % 5) == (np.arange(repeats)[:, None] % 5)
    tested = tested[:, rng.permutation(n)]
    error = a + b * SIZES.astype(float) ** -c
    hard = rng.random(n)  # the same image is hard at every size
    noise = rng.normal(0, 0.02, (repeats, len(SIZES), 1))
    wrong = hard[None, None] < error[None, :, None] + noise
    return more_images.Measured(SIZES, tested, wrong)


@pytest.mark.parametrize(("a", "b", "c"), [(0.05, 0.9, 0.5), (0.0, 2.0, 0.3), (0.2, 5.0, 1.0)])
def test_a_power_law_is_recovered(a, b, c):
    errors = a + b * SIZES**-c
    found = more_images.fit(SIZES.astype(float), errors[None], np.ones(len(SIZES)))[0]
    assert found[0] == pytest.approx(a, abs=0.02) and found[2] == pytest.approx(c, rel=0.1)
    fitted = found[0] + found[1] * 1600.0 ** -found[2]
    assert fitted == pytest.approx(a + b * 1600.0**-c, abs=0.003)


def test_the_interval_of_the_gain_holds_the_truth():
    truth = 100 * 0.9 * (1000**-0.5 - 2000**-0.5)
    gains = [more_images.extrapolate(simulated(s), 1000, draws=150).gains[2] for s in range(20)]
    assert sum(low <= truth <= high for _, low, high in gains) >= 17
    assert np.mean([gain for gain, *_ in gains]) == pytest.approx(truth, abs=0.4)
    assert all(low <= high and low >= 0 for _, low, high in gains)


def test_without_a_fall_nothing_is_promised():
    flat = more_images.extrapolate(simulated(0, a=0.3, b=0.0), 1000, draws=150)
    assert not flat.falls and not flat.has_limit
    assert "not shown to help" in flat.summary()
    steep = more_images.extrapolate(simulated(0, a=0.0, b=2.0, c=0.3), 1000, draws=150)
    assert steep.falls and "Twice the images would bring" in steep.summary()


def classes(seed, count, copies=None):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(4, 60)) * 0.3
    labels = np.arange(count) % 4
    return (centres[labels] + rng.normal(size=(count, 60))).astype(np.float32), labels


def test_measured_on_features_it_falls_and_predicts_what_follows():
    features, labels = classes(0, 300)
    curve = more_images.learning_curve(features, labels)
    assert curve.falls and np.all(np.diff(curve.errors[[0, 3, -1]]) < 0)
    assert curve.sizes[-1] <= 240 and (curve.low <= curve.high).all()
    test, answers = classes(1, 4000)

    def error(count, draws=5):
        parts = [classes(10 + draw, count) for draw in range(draws)]
        return np.mean([(more_images.probe(*part, test) != answers).mean() for part in parts])

    gain, low, high = curve.gains[2]
    assert low - 1 <= 100 * (error(300) - error(600)) <= high + 1
    assert low <= gain <= high
    assert json.loads(json.dumps(curve.values()))["count"] == 300


def test_the_probe_agrees_with_ridge_regression():
    from sklearn.linear_model import RidgeClassifierCV

    features, labels = classes(0, 200)
    test, _ = classes(1, 500)
    theirs = RidgeClassifierCV(np.geomspace(1e-2, 1e4, 40)).fit(features, labels).predict(test)
    assert (more_images.probe(features, labels, test) == theirs).mean() > 0.97


def test_too_few_images_are_refused():
    with pytest.raises(TlkitError, match="too few for a learning curve"):
        more_images.measure(*classes(0, 24))
