"""Which images are looked at, what is kept of a probe, and how backbones are ranked."""

import dataclasses
import os

import numpy as np
import pytest

from tests.advice.test_advice_text import candidate
from tlkit.advice import candidates
from tlkit.advice.candidates import ALL
from tlkit.errors import TlkitError
from tlkit.evaluation import probes
from tlkit.evaluation.probes import Accuracy, Probe
from tlkit.features.stages import Norms, StageFeatures
from tlkit.features.store import Store
from tlkit.images.dataset import load_images

COUNTS = {"red": 90, "blue": 30, "green": 6}


@pytest.fixture(scope="module")
def uneven():
    """Pictures as arrays: 90, 30 and 6 of a class, in an order that is not the alphabet's."""
    labels = np.repeat(np.arange(3), list(COUNTS.values()))
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3), np.uint8)
    return load_images((pixels, labels, tuple(COUNTS)), cache=False)


def test_a_sample_keeps_the_shares_of_classes_and_two_of_each(uneven):
    total = np.bincount(uneven.train.labels)
    looked = candidates.sample(uneven, 32)
    counts = np.bincount(looked.images.labels)
    assert len(looked.images) == 32 and looked.total == len(uneven.train)
    assert np.abs(counts - 32 * total / total.sum()).max() <= 2
    assert np.bincount(candidates.sample(uneven, 6).images.labels).tolist() == [2, 2, 2]
    first, second = (candidates.sample(uneven, 32, seed).images.hashes for seed in (0, 1))
    assert first == looked.images.hashes != second and set(looked.folds) == set(range(5))
    whole = candidates.sample(uneven, len(uneven.train))
    assert whole.images.hashes == uneven.train.hashes


def test_sampled_images_keep_their_labels_pixels_and_clusters(uneven):
    copies = np.arange(len(uneven.table)) // 3  # three neighbours are copies of one picture
    checked = dataclasses.replace(uneven.checked, clusters=copies)
    data = dataclasses.replace(uneven, checked=checked)
    looked = candidates.sample(data, 40)
    label = dict(zip(data.train.hashes, data.train.labels, strict=True))
    cluster = dict(zip(data.hashes, copies, strict=True))
    assert {label[name] for name in looked.images.hashes} == {0, 1, 2}
    assert [label[name] for name in looked.images.hashes] == looked.images.labels.tolist()
    assert looked.images.table.labels.tolist() == looked.images.labels.tolist()
    assert [cluster[name] for name in looked.images.hashes] == looked.clusters.tolist()
    for number in np.unique(looked.clusters):
        assert len(set(looked.folds[looked.clusters == number])) == 1
    for row in (0, 20, 39):
        place = data.hashes.index(looked.images.hashes[row])
        np.testing.assert_array_equal(looked.images.table.read(row), data.table.read(place))


def test_groups_of_the_user_stay_together(uneven):
    group = np.where(np.arange(len(uneven.table)) % 4 < 2, "same", "").astype("<U4")
    table = dataclasses.replace(uneven.table, group=group)
    clusters = np.arange(len(table))
    *alone, mixed = np.flatnonzero((uneven.splits == "train") & (group == ""))[:3]
    clusters[alone] = alone[0]  # two copies that are in no group
    clusters[mixed] = np.flatnonzero((uneven.splits == "train") & (group == "same"))[0]
    checked = dataclasses.replace(uneven.checked, table=table, clusters=clusters)
    grouped = dataclasses.replace(uneven, checked=checked)
    looked = candidates.sample(grouped, 10_000)
    rows = np.flatnonzero(uneven.splits == "train")
    together = (group[rows] == "same") | (rows == mixed)  # a copy of one that is in the group
    assert len(set(looked.folds[together])) == 1 < len(set(looked.folds[~together]))
    assert len(set(looked.clusters[together])) == 1
    assert len(set(looked.clusters[np.isin(rows, alone)])) == 1
    assert len(set(looked.clusters[~together])) == (~together).sum() - 1


def test_nineteen_images_are_too_few():
    def data(count):
        pixels = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), np.uint8)
        given = np.full(count, "train")
        found = load_images((pixels, np.arange(count) % 2), cache=False)
        return dataclasses.replace(found, splits=given)

    assert len(candidates.sample(data(20), 100).images) == 20
    with pytest.raises(TlkitError, match="19 training images are too few"):
        candidates.sample(data(19), 100)


@pytest.fixture
def counted(monkeypatch):
    """Returns the list of all that `probes.probe` was asked, which answers by their number."""
    asked = []

    def probe(rows, labels, folds):
        asked.append((rows, labels, folds))
        share = len(asked) / 10
        return Probe(
            Accuracy(share, share - 0.1, share + 0.1), Accuracy(share / 2, 0.01, 0.9), -share,
            np.full((len(labels), 3), share), np.arange(len(labels)) % 2 == 0,
        )  # fmt: skip

    monkeypatch.setattr(probes, "probe", probe)
    return asked


def test_a_probe_is_kept_by_all_that_went_into_it(counted, private_home):
    rows = np.random.default_rng(0).normal(size=(60, 5))
    labels, folds = np.arange(60) % 3, np.arange(60) % 5
    first = candidates.probed(rows, labels, folds)
    again = candidates.probed(rows.copy(), labels, folds)
    assert len(counted) == 1
    assert (again.linear, again.knn, again.logme) == (first.linear, first.knn, first.logme)
    np.testing.assert_array_equal(again.correct, first.correct)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)
    others = [
        (rows + 1e-9, labels, folds), (rows, (labels + 1) % 3, folds),
        (rows, labels, (folds + 1) % 5), (rows.reshape(60, 1, 5), labels, folds),
    ]  # fmt: skip
    for number, other in enumerate(others, 2):
        assert candidates.probed(*other).linear.value == number / 10
    assert len(counted) == 5
    for file in private_home.rglob("*.npz"):
        file.write_bytes(b"damaged")
    assert candidates.probed(rows, labels, folds).linear.value == 0.6


def test_the_oldest_probes_are_dropped(counted, private_home):
    folder = private_home / "probes"
    folder.mkdir()
    for age in range(100):
        path = folder / f"{age}.npz"
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    candidates.probed(np.ones((4, 2)), np.arange(4) % 2, np.arange(4) % 2)
    kept = {path.stem for path in folder.glob("*.npz")}
    assert len(kept) == 100 and "99" not in kept and "0" in kept and "98" in kept
    candidates.probed(np.ones((4, 2)), np.arange(4) % 2, np.arange(4) % 2)
    assert len(counted) == 1


def test_a_candidate_is_probed_on_each_stage(classifier, uneven, counted, monkeypatch):
    looked = candidates.sample(uneven, 40)
    draw = np.random.default_rng(0)
    rows = {name: draw.normal(size=(40, 4)).astype(np.float32) for name in ("low", "high")}
    wide = np.ones(4, np.float32)
    norms = {"low": Norms(np.full((40, 4), 0.5), np.full((40, 4), 1.25), 0 * wide, wide)}
    seen = []

    def features(model, images, store):
        seen.append((model, images, store))
        return StageFeatures(rows, norms, 250.0)

    monkeypatch.setattr(candidates, "stage_features", features)
    store = Store()
    found, given = candidates.candidate(classifier, looked, store)
    assert seen == [(classifier, looked.images, store)] and given.rate == 250.0
    assert list(found.stages) == ["low", "high", ALL]
    for (asked, labels, folds), expected in zip(
        counted, [*rows.values(), given.all_stages()], strict=True
    ):
        np.testing.assert_array_equal(asked, expected)
        np.testing.assert_array_equal(labels, looked.images.labels)
        np.testing.assert_array_equal(folds, looked.folds)
    assert found.domain.best_stage == "high", "all stages joined are no stage"
    assert found.top is found.stages["high"] and found.domain.distance == pytest.approx(0.5)
    assert (found.name, found.size, found.cost.rate) == ("tiny", 32, 250.0)
    assert found.cost.joules == pytest.approx(10 * os.cpu_count() / 250)
    assert found.weights == "test values" and not found.behind
    short, _ = candidates.candidate(classifier, looked, store, every=False)
    assert list(short.stages) == ["low", "high"] and len(counted) == 3, "the second look is kept"


def outcome(name, right, adds=1):
    """Returns a candidate whose last stage got so many of 100 images right, the first ones."""
    correct = np.arange(100) < right
    made = candidate(name, right / 100, adds)
    stages = dict(made.stages)
    stages["high"] = dataclasses.replace(stages["high"], correct=correct)
    stages["low"] = dataclasses.replace(stages["low"], correct=~correct)
    return dataclasses.replace(made, stages=stages)


def test_ranking_never_names_a_winner_the_images_cannot_show():
    given = [outcome("bad", 40), outcome("close", 88), outcome("best", 90)]
    best, close, bad = candidates.ranked(given)
    assert (best.name, close.name, bad.name) == ("best", "close", "bad")
    assert not best.behind and best.tied and close.tied and not bad.tied
    assert (close.behind["difference"], bad.behind["difference"]) == (0.02, 0.5)
    assert (bad.behind["only_first"], bad.behind["only_second"]) == (50, 0)
    assert bad.behind["low"] > 0


def test_of_two_equal_ones_the_cheaper_is_first():
    cheap, dear = outcome("cheap", 90, adds=5), outcome("dear", 90, adds=9)
    assert [one.name for one in candidates.ranked([dear, cheap])] == ["cheap", "dear"]
