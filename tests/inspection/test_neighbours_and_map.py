"""Neighbours are exact, the image itself comes first, and the map is the same every time."""

import io
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import tiny_backbone
from tlkit.errors import TlkitError
from tlkit.features.store import Store
from tlkit.images import subset
from tlkit.inspection import data_map, neighbours
from tlkit.models.classifier import Classifier

TINY = "--backbone lenet-caffe --weights none --size 28".split()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 50), st.integers(1, 60))
def test_the_search_is_exact_in_any_block(seed, count, top):
    rng = np.random.default_rng(seed)
    known, asked = rng.normal(size=(count, 6)), rng.normal(size=(3, 6))
    exact = (asked / np.linalg.norm(asked, axis=1)[:, None]) @ (
        known / np.linalg.norm(known, axis=1)[:, None]
    ).T
    rows, values = neighbours.nearest(known, asked, top, block=7)
    assert rows.shape == (3, min(top, count))
    np.testing.assert_allclose(values, -np.sort(-exact, axis=1)[:, :top], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(exact, rows, 1), values, atol=1e-5)


def test_neighbours_of_known_points():
    known = np.array([[1, 0], [0, 5], [3, 3], [-2, 0], [0, 1]], float)
    for block in (2, 8192):
        rows, values = neighbours.nearest(known, np.array([[0, 2], [9, 0]]), 4, block)
        # Cosines, so length does not count; the earlier of two equal ones is first.
        np.testing.assert_array_equal(rows, [[1, 4, 2, 0], [0, 2, 1, 4]])
        np.testing.assert_allclose(values, [[1, 1, 0.5**0.5, 0], [1, 0.5**0.5, 0, 0]], atol=1e-6)
    rows, _ = neighbours.nearest(known, np.array([[0.0, 0.0]]), 2)
    assert rows.tolist() == [[0, 1]]
    with pytest.raises(TlkitError, match="one neighbour or more, not 0"):
        neighbours.nearest(known, known, 0)


def test_neighbours_are_sought_in_all_splits_and_have_their_own_labels(unsorted_data):
    model = Classifier(tiny_backbone(), unsorted_data.class_names)
    images = subset.everything(unsorted_data)
    assert images.hashes == unsorted_data.hashes and len(images) == 120
    test = int(np.flatnonzero(unsorted_data.splits == "test")[0])
    given = np.asarray(unsorted_data.table.read(test))
    buffer = io.BytesIO()
    Image.fromarray(given).save(buffer, "png")
    store = Store()
    ((first, *rest),) = neighbours.similar(model, unsorted_data, buffer.getvalue(), store=store)
    assert len(rest) == 4
    label = unsorted_data.class_names[unsorted_data.table.labels[test]]
    assert (first.row, first.label) == (test, label) and first.file == f"row {test}"
    (found,) = neighbours.similar(model, unsorted_data.train, buffer.getvalue(), 3, store)
    assert len(found) == 3 and all(one.row < len(unsorted_data.train) for one in found)
    for one in found:
        assert one.label == unsorted_data.class_names[unsorted_data.train.labels[one.row]]


def test_images_are_gathered_from_a_list_whatever_its_split(tmp_path):
    draw = np.random.default_rng(0)
    lines = ["path,label,split"]
    for i in range(6):
        Image.fromarray(draw.integers(0, 256, (9, 9, 3), np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'zebra' if i % 2 else 'ant'},{('train', 'val', 'test')[i % 3]}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    images = subset.gather(tmp_path / "list.csv")
    named = [images.class_names[i] for i in images.labels]
    assert named == ["ant", "zebra"] * 3 and images.table.split is None
    assert len(set(images.hashes)) == 6
    (tmp_path / "5.png").write_bytes(b"no picture")
    with pytest.raises(TlkitError):
        subset.gather(tmp_path / "list.csv", max_bad=0.1)
    kept = subset.gather(tmp_path / "list.csv", max_bad=0.2)
    assert len(kept) == len(kept.hashes) == 5 and kept.hashes == images.hashes[:5]


def test_an_image_finds_itself_first(data):
    model, store = Classifier(tiny_backbone(), data.class_names), Store()
    rows = [0, 50, len(data.table) - 1]
    paths = [data.table.path(row) for row in rows]
    found = neighbours.similar(model, data, paths, top=4, store=store)
    for row, line in zip(rows, found, strict=True):
        assert line[0].row == row and line[0].similarity == pytest.approx(1, abs=1e-5)
        assert line[0].file == data.table.name(row)
        assert line[0].label == data.class_names[data.table.labels[row]]
        assert [one.similarity for one in line] == sorted([o.similarity for o in line])[::-1]
    as_bytes = neighbours.similar(model, data, paths[1].read_bytes(), top=4, store=store)
    assert [one.row for one in as_bytes[0]] == [one.row for one in found[1]]
    with pytest.raises(TlkitError, match="one neighbour or more"):
        neighbours.similar(model, data, paths[0], top=0, store=store)
    with pytest.raises(TlkitError, match=r"Cannot read the query .*none\.png"):
        neighbours.similar(model, data, "none.png", store=store)


def test_the_command_prints_and_draws(photos, tmp_path):
    from tlkit.cli.similar import similar as command

    query = sorted((photos / "red").iterdir())[0]
    run = CliRunner().invoke(command, [str(query), str(photos), *TINY, "--top", "3",
                                       "--out", str(tmp_path / "sheet.png")])  # fmt: skip
    assert run.exit_code == 0, run.output
    first = run.stdout.splitlines()[0].split()
    assert first == ["1.0000", "red", f"red/{query.name}"]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 160
    run = CliRunner().invoke(command, [str(query), str(photos), *TINY, "--json"])
    found = json.loads(run.stdout)
    assert found[0]["row"] == 80 and len(found) == 5


def test_the_map_keeps_groups_together_and_repeats():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = rng.normal(size=(3, 80))[labels] * 3 + rng.normal(size=(90, 80))
    one, two = (data_map.data_map(features, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.points, two.points)
    distance = np.linalg.norm(one.points[:, None] - one.points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(1)] == labels).mean() > 0.95
    assert one.note == "" and len(one.rows) == 90


def test_a_large_map_says_what_it_shows(monkeypatch):
    monkeypatch.setattr(data_map, "MOST", 40)
    features = np.random.default_rng(0).normal(size=(100, 8))
    found = data_map.data_map(features, keep=np.array([97, 3, 97]))
    assert len(set(found.rows)) == len(found.points) == 40 and {3, 97} <= set(found.rows.tolist())
    assert (np.diff(found.rows) > 0).all()
    assert found.note == "40 of 100 images, drawn at random beside 2 marked ones"
    plain = data_map.data_map(features, seed=1)
    assert plain.note == "40 of 100 images, drawn at random"
    assert (plain.rows != data_map.data_map(features, seed=2).rows).any()
    full = data_map.data_map(features, keep=np.arange(60, 0, -1))
    assert full.rows.tolist() == list(range(1, 41))
    with pytest.raises(TlkitError, match="at least 5"):
        data_map.data_map(features[:4])
