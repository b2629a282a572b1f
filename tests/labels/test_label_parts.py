"""The label check hands each part the images, clusters and settings it was asked with."""

import csv
import dataclasses
import re

import numpy as np
import pytest

from tests.conftest import UNSORTED, tiny_backbone
from tests.evaluation.test_curve_by_hand import CURVE
from tlkit.errors import TlkitError
from tlkit.evaluation import more_images, probes
from tlkit.features.frozen import Frozen, View
from tlkit.features.store import Store
from tlkit.images.dataset import load_images
from tlkit.images.subset import everything
from tlkit.inspection import data_map
from tlkit.inspection.data_map import DataMap
from tlkit.labels import charts, doubts, worklist
from tlkit.labels import page as label_page
from tlkit.labels.check import check_labels
from tlkit.labels.result import LabelCheck
from tlkit.models.classifier import Classifier
from tlkit.models.network import POOLED


@pytest.fixture(scope="module")
def data():
    """Noisy pictures, 20 of each class in no order; each three neighbours are copies."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(3), 20))
    pixels = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 3), np.uint8)
    found = load_images((pixels, labels, UNSORTED), cache=False)
    checked = dataclasses.replace(found.checked, clusters=np.arange(60) // 3)
    return dataclasses.replace(found, checked=checked)


@pytest.fixture(scope="module")
def model(data):
    return Classifier(tiny_backbone(), data.class_names)


class Played:
    """Stands for the parts of a check, and keeps what each was given."""

    def __init__(self, monkeypatch):
        self.given = {}
        for module, name, answer in (
            (probes, "out_of_fold", self.chances),
            (doubts, "find", lambda *_: self.worklist),
            (data_map, "data_map", lambda *_: DataMap(np.arange(3), np.zeros((3, 2)), "few")),
            (more_images, "learning_curve", lambda *_, **__: CURVE),
        ):
            monkeypatch.setattr(module, name, self.noted(name, answer))
        rows = [worklist.Doubt(row, "f", "a", "b", 0.5, ()) for row in (7, 2)]
        self.worklist = worklist.Worklist(tuple(rows), 60, 0.01, 0.0, np.eye(3) / 3, 1.0)

    def noted(self, name, answer):
        def part(*given, **options):
            self.given[name] = given, options
            return answer(*given)

        return part

    @staticmethod
    def chances(features, labels, folds, seed):
        return np.full((len(labels), 3), 1 / 3)


@pytest.mark.parametrize("with_test", [False, True])
def test_every_part_sees_the_same_images(data, model, monkeypatch, with_test):
    played = Played(monkeypatch)
    store = Store()
    found = check_labels(model, data, with_test=with_test, rate=0.03, seed=6, store=store)
    rows = np.arange(60) if with_test else np.flatnonzero(data.splits != "test")
    assert found.images.hashes == tuple(data.hashes[i] for i in rows) and len(rows) < 60 + with_test
    labels, clusters = data.table.labels[rows], data.checked.clusters[rows]
    features = Frozen(model, store).rows(everything(data), POOLED, View())[rows]

    (seen, given, folds, seed), _ = played.given["out_of_fold"]
    np.testing.assert_array_equal(seen, features)
    np.testing.assert_array_equal(given, labels)
    assert seed == 6 and set(folds) == set(range(5))
    for number in np.unique(clusters):
        assert len(set(folds[clusters == number])) == 1, "no image is judged by its copy"

    (evidence, rate), _ = played.given["find"]
    assert rate == 0.03 and tuple(evidence.class_names) == UNSORTED
    assert list(evidence.files) == [data.table.name(i) for i in rows]
    np.testing.assert_array_equal(evidence.labels, labels)
    np.testing.assert_array_equal(evidence.clusters, clusters)
    np.testing.assert_array_equal(evidence.features, features)
    np.testing.assert_array_equal(evidence.probabilities, np.full((len(rows), 3), 1 / 3))

    (mapped, marked, seed), _ = played.given["data_map"]
    assert mapped is evidence.features and marked.tolist() == [7, 2] and seed == 6
    (curved, given, of), options = played.given["learning_curve"]
    assert curved is evidence.features and options == {"seed": 6}
    np.testing.assert_array_equal(given, labels)
    np.testing.assert_array_equal(of, clusters)
    assert found.worklist is played.worklist and found.curve is CURVE and not found.notes
    assert found.summary().splitlines()[1:] == CURVE.summary().splitlines()


def test_folds_are_as_many_as_the_smallest_class_has_pictures(data, model, monkeypatch):
    played = Played(monkeypatch)

    def folds(labels, clusters):
        table = dataclasses.replace(data.table, labels=labels)
        checked = dataclasses.replace(data.checked, table=table, clusters=clusters)
        check_labels(model, dataclasses.replace(data, checked=checked), with_test=True)
        return len(set(played.given["out_of_fold"][0][2]))

    labels = np.array([0] * 30 + [1] * 26 + [2] * 4)
    assert folds(labels, np.arange(60)) == 4
    copies = np.arange(60)
    copies[57:] = 57  # of the four last pictures three are one
    assert folds(labels, copies) == 2
    copies[56] = 57
    with pytest.raises(TlkitError, match=f"class '{UNSORTED[2]}' has 1 pictures"):
        folds(labels, copies)


def test_what_cannot_be_told_is_left_out_and_said(data, model, monkeypatch):
    Played(monkeypatch)

    def few(*_, **__):
        raise TlkitError("too few for a learning curve.")

    monkeypatch.setattr(more_images, "learning_curve", few)
    found = check_labels(model, data)
    assert found.curve is None and found.plane is not None
    assert found.summary().endswith("Left out: too few for a learning curve.")


@pytest.fixture
def check(data):
    doubt = worklist.Doubt
    listed = (
        doubt(11, "one/a.png", "red", "blue", 0.9, ("first reason", "second reason")),
        doubt(4, "two/b.png", "green", "blue", 0.8, ("why",)),
        doubt(30, "two/c.png", "red", "blue", 0.7, ("why",)),
        doubt(2, "d.png", "blue", "", 0.6, ("far",)),
    )
    work = worklist.Worklist(listed, 60, 0.01, 0.02, np.eye(3) / 3, 1.0)
    points = np.arange(12.0).reshape(6, 2)
    plane = DataMap(np.array([2, 3, 4, 11, 20, 30]), points, "6 of 60 images")
    return LabelCheck(everything(data), work, CURVE, plane, ("a note",))


def test_the_page_shows_doubts_worst_first_and_what_is_taken_for_what(check, monkeypatch):
    page = label_page.render(check)
    words = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    tiles = re.findall(r"<figcaption>\s*<span class=\"row\"><b>(.*?)</b>\s*<b>(.*?)</b>", words)
    assert tiles == [
        ("red", "→ blue"), ("green", "→ blue"), ("red", "→ blue"), ("blue", "no suggestion")
    ]  # fmt: skip
    assert re.findall(r'title="(.*?)">(.*?)</span>', words)[0] == ("one/a.png", "a.png · 0.900")
    pairs = re.findall(r"<tr><td>(\w+)</td><td>(\w+)</td><td>(\d+)</td></tr>", words)
    assert pairs == [("red", "blue", "2"), ("green", "blue", "1")]
    assert "first reason; " in words and "a note" in words and "6 of 60 images" in words
    assert CURVE.summary() in words and "worklist.csv holds all" not in words
    assert page.count("<svg") == 2 and "http" not in words
    assert len(set(re.findall(r'src="(data:image.*?)"', words))) == 4
    monkeypatch.setattr(label_page, "SHOWN", 3)
    assert "The first 3 of 4; worklist.csv holds all." in label_page.render(check)


def test_the_map_of_the_page_has_the_labels_of_its_own_images(check, data, monkeypatch):
    drawn, plain = [], charts.data_map
    monkeypatch.setattr(charts, "data_map", lambda *of: drawn.append(of) or plain(*of))
    label_page.render(check)
    ((points, labels, names, doubtful),) = drawn
    assert points is check.plane.points and tuple(names) == UNSORTED
    np.testing.assert_array_equal(labels, data.table.labels[check.plane.rows])
    assert doubtful.tolist() == [True, False, True, True, False, True]
    bare = label_page.render(dataclasses.replace(check, plane=None, curve=None))
    assert "<svg" not in bare and "Map of the images" not in bare


def test_both_files_are_written(check, tmp_path):
    page = label_page.write(check, tmp_path / "out")
    assert page == tmp_path / "out" / "labels.html" and "Pictures in doubt" in page.read_text()
    lines = list(csv.reader((tmp_path / "out" / label_page.LIST).read_text().splitlines()))
    assert lines[0] == ["file", "label", "suggested", "score", "reason", "accept"]
    assert lines[1] == ["one/a.png", "red", "blue", "0.9000", "first reason; second reason", ""]
    assert lines[4] == ["d.png", "blue", "", "0.6000", "far", ""] and len(lines) == 5
