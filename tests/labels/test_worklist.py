"""The list of doubts is written, marked by the user and read, with classes in any order."""

import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image

from tlkit.images.dataset import load_images
from tlkit.labels.worklist import COLUMNS, Doubt, Worklist, accepted, write_csv

LABELS = {"p0.png": "zebra", "p1.png": "ant", "p2.png": "moth", "p3.png": "ant"}


@pytest.fixture
def listed(tmp_path):
    """Forty pictures in a CSV of their own, whose classes are first met in no order."""
    draw = np.random.default_rng(0)
    rows = []
    for i in range(40):
        name = f"p{i}.png"
        Image.fromarray(draw.integers(0, 256, (12, 12, 3), np.uint8)).save(tmp_path / name)
        label = LABELS.get(name, ("zebra", "moth", "ant")[i % 3])
        rows.append((name, label, f"group {i // 2}", "test" if i < 6 else "train"))
    path = tmp_path / "photos.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group", "split"), *rows])
    return path, {row[0]: row[1:] for row in rows}


def marked(path, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *((*row[:3], "0.9", "why", row[3])
                                                      for row in rows)])  # fmt: skip
    return path


def reversed_classes(data):
    """Returns the same data with its classes in another order."""
    table = data.table
    turned = dataclasses.replace(
        table, class_names=table.class_names[::-1], labels=len(table.class_names) - 1 - table.labels
    )
    return dataclasses.replace(data, checked=dataclasses.replace(data.checked, table=turned))


@pytest.mark.parametrize("kind", ["csv", "data"])
def test_only_accepted_rows_are_changed(listed, tmp_path, kind):
    source, before = listed
    data = reversed_classes(load_images(source))
    assert data.class_names == ("zebra", "moth", "ant")
    worklist = marked(
        tmp_path / "work.csv",
        ("p0.png", "zebra", "moth", "YES"), ("p1.png", "ant", "zebra", ""),
        ("p2.png", "moth", "", " x "), ("p3.png", "ant", "zebra", "0"),
        ("p7.png", before["p7.png"][0], "ant", "1"),
    )  # fmt: skip
    out = tmp_path / "deep" / "labels.csv"
    assert accepted(worklist, data if kind == "data" else source, out) == 3
    with out.open() as file:
        lines = {row["path"].removeprefix("../"): row for row in csv.DictReader(file)}
    expected = {name: row[0] for name, row in before.items()} | {"p0.png": "moth", "p7.png": "ant"}
    expected.pop("p2.png")
    assert {name: row["label"] for name, row in lines.items()} == expected
    assert {name: row["group"] for name, row in lines.items()} == {
        name: before[name][1] for name in expected
    }
    splits = dict(zip(data.table.items, data.splits, strict=True))
    wanted = splits if kind == "data" else {name: row[2] for name, row in before.items()}
    assert {name: row["split"] for name, row in lines.items()} == {
        name: wanted[name] for name in expected
    }
    again = load_images(out)
    assert len(again.table) == 39 and all(again.table.path(i).exists() for i in range(39))


@pytest.mark.parametrize("word", ["yes", "Y", "1", "true", "x", "Accept"])
def test_words_for_yes(listed, tmp_path, word):
    worklist = marked(tmp_path / "work.csv", ("p0.png", "zebra", "ant", word))
    assert accepted(worklist, listed[0], tmp_path / "out.csv") == 1


@pytest.mark.parametrize("word", ["", "no", "N", "0", "FALSE", "  "])
def test_words_for_no(listed, tmp_path, word):
    worklist = marked(tmp_path / "work.csv", ("p0.png", "zebra", "ant", word))
    assert accepted(worklist, listed[0], tmp_path / "out.csv") == 0


def test_a_list_without_marks_is_written_anew(listed, tmp_path):
    doubt = Doubt(3, 'a "b", c.png', "zebra", "ant", 0.51239, ("one; two", "three"))
    work = Worklist((doubt,), 40, 0.01, 0.0, np.eye(3) / 3, 1.0)
    path = tmp_path / "work.csv"
    for _ in range(2):
        write_csv(work, path)
        (row,) = csv.DictReader(path.read_text().splitlines())
        assert row == {"file": 'a "b", c.png', "label": "zebra", "suggested": "ant",
                       "score": "0.5124", "reason": "one; two; three", "accept": ""}  # fmt: skip
