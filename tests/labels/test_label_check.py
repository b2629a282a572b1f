"""The whole label check on a folder: page, worklist, accepted list, and the user's files kept."""

import csv
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import label_flips
from tests.conftest import write_pictures
from tlkit.cli.labels import labels
from tlkit.images import pictures
from tlkit.images.dataset import load_images

TINY = "--backbone lenet-caffe --weights none --size 28".split()


@pytest.fixture
def folder(tmp_path):
    """Pictures, one of them under a wrong label, and one copied into another class."""
    photos = write_pictures(tmp_path / "photos", 24)
    shutil.move(photos / "red" / "0_3.png", photos / "blue" / "moved.png")
    draw = np.random.default_rng(5)
    smooth = Image.fromarray(draw.integers(0, 256, (6, 6, 3), np.uint8)).resize((90, 90), 3)
    smooth.save(photos / "red" / "scene.png")
    smooth.save(photos / "green" / "copy.jpg", quality=92)
    return photos


def run(*arguments):
    result = CliRunner().invoke(labels, [str(argument) for argument in arguments])
    assert result.exception is None, result.output
    return result.output


def test_from_folder_to_a_mended_list(folder, tmp_path):
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    out = tmp_path / "out"
    said = run(folder, *TINY, "--with-test", "--out", out)
    assert "labels are in doubt" in said
    rows = list(csv.DictReader((out / "worklist.csv").read_text().splitlines()))
    assert rows[0]["file"] in ("green/copy.jpg", "red/scene.png")
    assert "same picture" in rows[0]["reason"]
    page = (out / "labels.html").read_text()
    assert "data:image/jpeg;base64," in page and "http" not in page.replace("http-equiv", "")
    assert "Map of the images" in page and "<script" not in page
    rows[0]["accept"] = "yes"
    with (out / "worklist.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    said = run(folder, "--accept", out / "worklist.csv", "--out", out)
    assert "1 labels changed" in said
    mended = load_images(out / "labels.csv")
    changed = next(i for i, item in enumerate(mended.table.items) if rows[0]["file"] in item)
    assert mended.class_names[mended.table.labels[changed]] == rows[0]["suggested"]
    assert len(mended.table) == 74
    assert not [line for line in mended.warnings if "different labels" in line]
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_the_benchmark_runs_at_a_tiny_size(folder, capsys):
    label_flips.main(
        [str(folder), "--backbone", "lenet-caffe", "--weights", "none", "--size", "28",
         "--seeds", "1"]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "5 % flipped, mean of 1" in said and "planted copies found:" in said


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P"])
def test_any_picture_becomes_a_whole_tile(mode, tmp_path):
    values = np.full((20, 40), 40_000 if mode == "I;16" else 150)
    image = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.uint8))
    image = image if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "a.png")
    tile = pictures.picture((tmp_path / "a.png").read_bytes(), 40)
    assert tile.shape == (40, 40, 3) and tile.dtype == np.uint8
    assert (tile[0] == 255).all() and abs(int(tile[20, 20, 0]) - 153) < 5
    array = pictures.picture(np.full((20, 40, 1), 150.0), 40)
    assert abs(int(array[20, 20, 0]) - 150) < 2
