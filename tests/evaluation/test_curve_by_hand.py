"""The learning curve's arithmetic by hand, and which images its probes see."""

import dataclasses
import itertools

import numpy as np
import pytest

from tlkit.errors import TlkitError
from tlkit.evaluation import more_images
from tlkit.evaluation.more_images import Curve, Measured
from tlkit.labels import charts


class Recorder:
    """Stands for `learning_curve.probe`, and keeps which rows each was trained and tested on."""

    def __init__(self, monkeypatch, features, answer=0):
        self.features, self.answer, self.seen = features, answer, []
        monkeypatch.setattr(more_images, "probe", self.probe)

    def probe(self, train, labels, test):
        self.seen.append((self._rows(train), np.asarray(labels), self._rows(test)))
        return np.full(len(test), self.answer)

    def _rows(self, turned):
        """Returns which images these are: the one axis is turned to one sign or the other."""
        values = self.features[:, 0] - self.features[:, 0].mean()
        apart = [np.abs(values[None] - sign * turned[:, :1]) for sign in (1, -1)]
        return min(apart, key=lambda found: found.min(1).sum()).argmin(1)


def numbered(count):
    """Returns features whose first and only axis tells the images apart, whatever its sign."""
    return (np.arange(count)[:, None] ** 1.3).astype(np.float64)


LABELS = np.repeat([0, 1, 2], [120, 40, 8])


def test_small_subsets_hold_all_classes_in_their_shares(monkeypatch):
    features = numbered(len(LABELS))
    recorder = Recorder(monkeypatch, features)
    found = more_images.measure(features, LABELS, repeats=1)
    sizes = len(found.sizes)
    assert len(recorder.seen) == 5 * sizes
    for fold in range(5):
        calls = recorder.seen[fold * sizes : (fold + 1) * sizes]
        held = np.flatnonzero(found.tested[fold])
        pool = np.bincount(LABELS[~found.tested[fold]])
        for size, (rows, labels, tested) in zip(found.sizes, calls, strict=True):
            np.testing.assert_array_equal(tested, held)
            assert len(set(rows)) == size and not set(rows) & set(held)
            np.testing.assert_array_equal(labels, LABELS[rows])
            counts = np.bincount(labels, minlength=3)
            assert np.abs(counts - size * pool / pool.sum()).max() <= 2 and counts.min() >= 1
        for (small, *_), (large, *_) in itertools.pairwise(calls):
            assert set(small) < set(large)  # each grows out of the one before


def test_wrong_is_said_of_the_images_left_out(monkeypatch):
    features = numbered(len(LABELS))
    Recorder(monkeypatch, features, answer=1)
    found = more_images.measure(features, LABELS, repeats=2)
    assert found.tested.shape == (10, len(LABELS))
    np.testing.assert_array_equal(found.tested.sum(0), 2)  # once in each repeat
    assert (found.tested[:5] != found.tested[5:]).any(), "the second repeat divides anew"
    for wrong, tested in zip(found.wrong, found.tested, strict=True):
        np.testing.assert_array_equal(wrong, np.tile(tested & (LABELS != 1), (len(wrong), 1)))
    np.testing.assert_allclose(found.errors(), 128 / 168)


def test_copies_are_never_on_both_sides(monkeypatch):
    features, clusters = numbered(len(LABELS)), np.arange(len(LABELS)) // 4
    recorder = Recorder(monkeypatch, features)
    curve = more_images.learning_curve(features, LABELS, clusters, repeats=1, seed=3)
    assert len(recorder.seen) == 5 * len(curve.sizes) and curve.count == len(LABELS)
    for rows, _, tested in recorder.seen:
        assert not set(clusters[rows]) & set(clusters[tested])
    again = Recorder(monkeypatch, features)
    more_images.measure(features, LABELS, clusters, repeats=1, seed=3)
    assert [set(rows) for rows, *_ in again.seen] == [set(rows) for rows, *_ in recorder.seen]
    other = Recorder(monkeypatch, features)
    more_images.measure(features, LABELS, clusters, repeats=1, seed=4)
    assert [set(rows) for rows, *_ in other.seen] != [set(rows) for rows, *_ in recorder.seen]


def test_errors_are_shares_of_the_images_tested():
    tested = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]], bool)
    wrong = np.array([
        [[1, 1, 1, 1], [1, 0, 1, 0]],  # what was not tested does not count
        [[0, 0, 1, 0], [0, 0, 0, 0]],
        [[1, 1, 1, 0], [0, 1, 0, 0]],
    ], bool)  # fmt: skip
    found = Measured(np.array([10, 20]), tested, wrong)
    np.testing.assert_allclose(found.errors(), [4 / 5, 1 / 5])


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        # Four fifths of 168 are 134: from 16 up in seven steps.
        ([56, 56, 56], [16, 23, 33, 46, 66, 94, 134]),
        ([25, 25], [16, 22, 29, 40]),
    ],
)
def test_sizes_grow_by_one_factor(counts, sizes, monkeypatch):
    labels = np.repeat(np.arange(len(counts)), counts)
    Recorder(monkeypatch, numbered(len(labels)))
    found = more_images.measure(numbered(len(labels)), labels, repeats=1)
    assert found.sizes[0] == sizes[0] and len(found.sizes) == len(sizes)
    np.testing.assert_allclose(found.sizes, sizes, atol=1)


def test_one_image_of_a_class_is_too_few(monkeypatch):
    labels = np.repeat([0, 1], [60, 1])
    with pytest.raises(TlkitError, match="2 classes, 1 in the smallest, are too few"):
        more_images.measure(numbered(61), labels)


def test_a_curve_that_rises_is_fitted_flat_and_one_below_zero_through_zero():
    sizes = np.array([10.0, 20.0, 40.0, 80.0])
    even = np.ones(4)
    rising, falling = more_images.fit(sizes, np.stack([sizes / 100, 4 / sizes - 0.04]), even)
    assert rising[1] == 0 and rising[0] == pytest.approx(0.375)  # the mean
    assert falling[0] == 0 and falling[1] > 0
    heavy = more_images.fit(sizes, sizes[None] / 100, np.array([1, 0, 0, 1e9]))[0]
    assert heavy[0] == pytest.approx(0.8, abs=1e-3), "an uncertain error counts less"


def test_an_uncertain_error_does_not_bend_the_curve():
    sizes = np.array([10.0, 20.0, 40.0, 80.0, 160.0])
    errors = 0.05 + 2 / sizes
    errors[0] = 0.9  # of which next to nothing is known
    found = more_images.fit(sizes, errors[None], np.array([1e-9, 1, 1, 1, 1]))[0]
    assert found[2] == pytest.approx(1, rel=0.1) and found[0] == pytest.approx(0.05, abs=0.005)


def stepwise(a=0.0, b=2.0, c=0.5, count=2000, repeats=4):
    """Returns what was measured where each error is just what the power law says."""
    sizes = np.array([40, 80, 160, 320])
    wrong = np.zeros((repeats, 4, count), bool)
    order = np.random.default_rng(0).permutation(count)
    for place, size in enumerate(sizes):
        wrong[:, place, order[: round((a + b * size**-c) * count)]] = True
    return Measured(sizes, np.ones((repeats, count), bool), wrong)


def test_gains_are_points_of_accuracy_from_now_on():
    curve = more_images.extrapolate(stepwise(), 400, draws=100)
    np.testing.assert_allclose(curve.errors, [0.316, 0.2235, 0.158, 0.112], atol=1e-3)
    assert curve.power == pytest.approx((0, 2, 0.5), abs=0.15)
    now, twice, four = (2 * n**-0.5 for n in (400, 800, 1600))
    assert curve.gains[2][0] == pytest.approx(100 * (now - twice), abs=0.5)
    assert curve.gains[4][0] == pytest.approx(100 * (now - four), abs=0.8)
    for gain, low, high in curve.gains.values():
        assert 0 < low < gain < high
    assert (curve.grid[0], curve.grid[-1]) == (40, pytest.approx(1600))
    middle, low, high = curve.fitted
    assert (low <= middle + 1e-9).all() and (middle <= high + 1e-9).all()
    assert middle[-1] == pytest.approx(four, abs=0.01)
    assert curve.falls and curve.has_limit
    later = more_images.extrapolate(stepwise(), 1000, draws=100).gains[2][0]
    assert later == pytest.approx(100 * 2 * (1000**-0.5 - 2000**-0.5), abs=0.5)
    limit = more_images.extrapolate(stepwise(0.1, 1.0, 0.3, 200), 400, draws=100)
    assert limit.falls and not limit.has_limit, "200 images do not say where this ends"
    # 95 % of a share of 2,000 images of which 31.6 % are wrong.
    spread = 1.96 * (0.316 * 0.684 / 2000) ** 0.5
    assert curve.high[0] - 0.316 == pytest.approx(spread, rel=0.35)
    assert 0.316 - curve.low[0] == pytest.approx(spread, rel=0.35)


def test_repeats_that_disagree_widen_the_interval():
    wrong = np.zeros((4, 4, 50), bool)
    wrong[:2] = True  # all wrong in half of the repeats
    found = Measured(np.array([20, 40, 80, 160]), np.ones((4, 50), bool), wrong)
    curve = more_images.extrapolate(found, 200, draws=200)
    np.testing.assert_allclose(curve.errors, 0.5)
    assert (curve.low < 0.2).all() and (curve.high > 0.8).all() and not curve.falls


CURVE = Curve(
    500, np.array([50, 100, 200, 400]), np.array([0.4, 0.3, 0.25, 0.2]),
    np.array([0.35, 0.26, 0.22, 0.18]), np.array([0.46, 0.33, 0.27, 0.23]),
    np.array([50.0, 500.0, 2000.0]),
    np.array([[0.4, 0.2, 0.1], [0.3, 0.15, 0.05], [0.5, 0.3, 0.2]]),
    {2: (3.0, 1.24, 4.06), 4: (5.0, 2.0, 8.0)}, (0.0, 1.0, 0.5), True, True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Twice the images would bring 1.2 to 4.1 points (95 % interval)."),
        ({"gains": {2: (1, 0.0, 0.04)}}, "Twice the images would bring less than 0.1 points ("),
        ({"gains": {2: (9, 5.4, 12.6)}}, "Twice the images would bring 5 to 13 points ("),
        ({"gains": {2: (9, 2.01, 2.04)}}, "Twice the images would bring about 2.0 points ("),
        ({"falls": False}, "From 50 to 400 images the error does not fall beyond chance"),
        ({"has_limit": False}, "in the end cannot be told from these images."),
    ],
)
def test_a_curve_in_words(changes, words):
    said = dataclasses.replace(CURVE, **changes).summary()
    assert words in said and ("cannot be told" in said) == ("has_limit" in changes)


def test_a_curve_as_plain_values():
    values = CURVE.values()
    assert values["sizes"] == [50, 100, 200, 400] and values["low"][0] == 0.35
    assert values["gains"][2] == (3.0, 1.24, 4.06) and values["falls"] is True


def test_a_curve_is_drawn_in_percent_with_now_and_twice():
    axes = charts.more_images(CURVE).axes[0]
    fitted = next(line for line in axes.lines if line.get_label().startswith("a + b"))
    np.testing.assert_allclose(fitted.get_xydata(), [(50, 40), (500, 20), (2000, 10)])
    points, _, (bars,) = axes.containers[0].lines
    np.testing.assert_allclose(points.get_xydata(), [(50, 40), (100, 30), (200, 25), (400, 20)])
    np.testing.assert_allclose([part[:, 1] for part in bars.get_segments()],
                               [(35, 46), (26, 33), (22, 27), (18, 23)])  # fmt: skip
    assert [text.get_text() for text in axes.texts] == ["now\n500", "twice\n1,000"]
    assert [text.xy[0] for text in axes.texts] == [500, 1000]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(5) and band[:, 1].max() == pytest.approx(50)
