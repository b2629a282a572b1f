"""The contact sheet shows the views that training would see, and the docs show every row."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tlkit import files
from tlkit.augmentation import apply, geometry, policies, preview
from tlkit.cli.augment import augment as command
from tlkit.errors import TlkitError

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3)).astype(np.uint8)
HASHES = [files.content_hash(image.tobytes()) for image in IMAGES]


def test_a_sheet_holds_the_originals_and_the_views_of_training():
    cells = preview.sheet(IMAGES, HASHES, policies.policy("photos"), 2, seed=5)
    assert cells.shape == (3, 3, 20, 20, 3) and cells.dtype == np.uint8
    np.testing.assert_array_equal(cells[:, 0], IMAGES)
    view = apply.look(IMAGES, HASHES, policies.policy("photos"), 5, 1)
    np.testing.assert_array_equal(cells[:, 2], np.rint(view))
    paper = np.asarray(preview.picture(cells))
    gap = preview.GAP
    np.testing.assert_array_equal(paper[gap : gap + 20, gap : gap + 20], IMAGES[0])


def test_a_sheet_shows_mixing():
    cells = preview.sheet(IMAGES, HASHES, policies.policy("cutmix"), 4)
    plain = preview.sheet(IMAGES, HASHES, policies.policy("photos"), 4)
    assert (cells != plain).any()


def test_the_command_writes_a_captioned_picture(photos, tmp_path):
    out = tmp_path / "sheet.png"
    options = ["--policy", "xray", "--views", "2", "--images", "3", "--size", "24"]
    done = CliRunner().invoke(command, [str(photos), *options, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "3 images in 2 views of xray at strength 1" in done.output
    options += ["--strength", "2.5", "--seed", "3"]
    done = CliRunner().invoke(command, [str(photos), *options, "--out", str(tmp_path / "2.png")])
    assert "at strength 2.5" in done.output
    paths = preview.choose(photos, 3)
    expected = preview.preview(paths, "xray", 2.5, views=2, size=24, seed=3)
    with Image.open(tmp_path / "2.png") as sheet:
        np.testing.assert_array_equal(np.asarray(sheet), np.asarray(expected))
    with Image.open(out) as sheet:
        assert sheet.size[0] == 6 + 3 * 30 and sheet.size[1] > 6 + 3 * 30
    chosen = preview.choose(photos, 3)
    assert len({path.parent for path in chosen}) == 3  # spread over the classes


def test_the_caption_says_policy_strength_and_assumption():
    text = " ".join(preview.caption("textures", 0.5, 300))
    assert "textures, strength 0.5" in text and policies.POLICIES["textures"].assumes in text
    assert max(map(len, preview.caption("textures", 0.5, 300))) <= 50


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(TlkitError, match="No images in"):
        preview.choose(tmp_path, 3)


def test_every_policy_operation_and_fill_has_its_picture():
    names = [f"policy_{name}" for name in policies.POLICIES if name != "guide"]
    names += [*policies.OPERATIONS, *(f"fill_{name}" for name in geometry.FILLS)]
    names += ["mirror", "upside_down", "quarter_turns"]
    page = (DOCS / "augmentation.md").read_text()
    for name in names:
        assert f"(augment/{name}.jpg)" in page, "run docs/augment_pictures.py"
        assert (DOCS / "augment" / f"{name}.jpg").stat().st_size < 40_000
